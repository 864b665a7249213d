"""What a typed path cannot stand for, and what is said of it."""

from __future__ import annotations

import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from locate_support import (
    LFS,
    _file,
    _named,
    _steps,
    _without,
    safetensors,
    saved_model,
    several,
    state,
    v1,
)

from ckpttool.errors import InputError
from ckpttool.formats.locating.locate import locate
from ckpttool.storage.crc32c import crc32c, mask


class Refusal(NamedTuple):
    """``typed`` is refused with ``code``; the message or hint has ``words``."""

    make: Callable[[Path], Any]
    typed: str
    code: str
    words: tuple[str, ...]


def _zip_of(name: str, member: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(member, b"x")

    return make


def _tar(folder: Path) -> None:
    with tarfile.open(folder / "m.ckpt", "w") as archive:
        archive.addfile(tarfile.TarInfo("x"))


def _record(payload: bytes) -> bytes:
    length = len(payload).to_bytes(8, "little")
    return length + mask(crc32c(length)).to_bytes(4, "little") + payload + b"\0\0\0\0"


def _cut_v1(folder: Path) -> None:
    v1(folder / "m")
    (folder / "m").write_bytes((folder / "m").read_bytes()[:-20])


REFUSALS = {
    "nothing": Refusal(lambda f: None, "m", "INP001", ("no checkpoint",)),
    "no directory": Refusal(lambda f: None, "no/m", "INP001", ("no such directory",)),
    "empty directory": Refusal(lambda f: None, ".", "INP001", ("no checkpoint in this directory",)),
    "a near miss": Refusal(
        _named("model.ckpt-168"), "modle.ckpt-168", "INP001", ("model.ckpt-168", "ckpttool tree")
    ),
    "several extend it": Refusal(_steps, "m", "INP013", ("m-100, ", "m-9", "ckpttool tree")),
    "several versions": Refusal(
        several(lambda f: saved_model(f / "1"), lambda f: saved_model(f / "2")),
        ".",
        "INP013",
        ("2", "1"),
    ),
    "several weights": Refusal(
        several(
            lambda f: safetensors(f / "a.safetensors"), lambda f: safetensors(f / "b.safetensors")
        ),
        ".",
        "INP013",
        ("a.safetensors", "b.safetensors"),
    ),
    "data without index": Refusal(
        _without(_named("m"), "m.index"), "m", "INP001", ("index is missing",)
    ),
    "shard without index": Refusal(
        _without(_named("m"), "m.index"), "m.data-00000-of-00001", "INP001", ("index is missing",)
    ),
    "directory of data": Refusal(
        _without(_named("m"), "m.index"), ".", "INP001", ("index is missing",)
    ),
    "state names what is gone": Refusal(lambda f: state(f, "m-1"), ".", "INP015", ("m-1",)),
    "state file typed, all gone": Refusal(
        lambda f: state(f, "m-1"), "checkpoint", "INP015", ("m-1",)
    ),
    "pointer as index": Refusal(_file("m.index", LFS), "m", "INP003", ("LFS", "git lfs pull")),
    "pointer as v1": Refusal(_file("m.ckpt", LFS), "m.ckpt", "INP003", ("LFS",)),
    "pointer as meta": Refusal(_file("m.meta", LFS), "m.meta", "INP003", ("LFS",)),
    "pointer as saved model": Refusal(
        _file("saved_model.pb", LFS), ".", "INP003", ("LFS",)
    ),
    "pointer as safetensors": Refusal(
        _file("m.safetensors", LFS), ".", "INP003", ("LFS",)
    ),
    "pytorch zip": Refusal(_zip_of("m.ckpt", "a/data.pkl"), "m.ckpt", "INP003", ("PyTorch",)),
    "pytorch zip in a directory": Refusal(
        _zip_of("pytorch_model.bin", "a/data.pkl"), ".", "INP003", ("PyTorch",)
    ),
    "pytorch pickle": Refusal(
        _file("m.ckpt", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M"),
        "m.ckpt",
        "INP003",
        ("PyTorch",),
    ),
    "pickle": Refusal(_file("m.ckpt", pickle.dumps({"a": 1}, 4)), "m.ckpt", "INP003", ("pickle",)),
    "zip": Refusal(_zip_of("m.ckpt", "m.index"), "m.ckpt", "INP003", ("zip", "unzip")),
    "gzip": Refusal(_file("m.ckpt", b"\x1f\x8b\x08\0"), "m.ckpt", "INP003", ("gzip", "tar xzf")),
    "tar": Refusal(_tar, "m.ckpt", "INP003", ("tar archive", "tar xf")),
    "web page": Refusal(
        _file("m.ckpt", b"\n <!DOCTYPE html>\n<html>"), "m.ckpt", "INP003", ("HTML",)
    ),
    "web page as index": Refusal(_file("m.index", b"<html></html>"), "m", "INP003", ("HTML",)),
    "web page in a directory": Refusal(_file("m.ckpt", b"<html>"), ".", "INP003", ("HTML",)),
    "events": Refusal(
        _file("m", _record(b"\x09\0\0\0\0\0\0\0\0\x1a\x0dbrain.Event:2")),
        "m",
        "INP003",
        ("event file",),
    ),
    "records": Refusal(_file("m", _record(b"x" * 40)), "m", "INP003", ("TFRecord",)),
    "tflite": Refusal(_file("m", b"\x1c\0\0\0TFL3\0\0"), "m", "INP003", ("Lite",)),
    "onnx": Refusal(_file("m", b"\x08\x08\x12\x07pytorch:\x00"), "m", "INP003", ("ONNX",)),
    "npy": Refusal(_file("m", b"\x93NUMPY\x01\0"), "m", "INP003", ("npy",)),
    "empty file": Refusal(_file("m.ckpt"), "m.ckpt", "INP003", ("empty",)),
    "cut v1": Refusal(_cut_v1, "m", "INP004", ("cut short", "V1")),
    "random bytes": Refusal(_file("m", bytes(range(200, 256))), "m", "INP003", ("known kind",)),
    "json that is no map": Refusal(
        _file("m.json", b'{"a": 1}'), "m.json", "INP003", ("weight map",)
    ),
    "map that leads out": Refusal(
        _file("m.json", b'{"weight_map": {"a": "../x.safetensors"}}'), "m.json", "INP004", ("out",)
    ),
    "damaged zip": Refusal(_file("m.npz", b"PK\x03\x04" + b"x" * 60), "m.npz", "INP004", ("zip",)),
    "NUL": Refusal(lambda f: None, "a\0b", "INP001", ("no checkpoint",)),
}  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in REFUSALS.items()])
def test_refused(case: Refusal, tmp_path: Path) -> None:
    case.make(tmp_path)
    with pytest.raises(InputError) as caught:
        locate(f"{tmp_path}/{case.typed}" if case.typed != "." else str(tmp_path))
    problem = caught.value.problems[0]
    assert problem.code == case.code
    told = " | ".join(str(part) for part in problem)
    for words in case.words:
        assert words in told
