"""Small directories of every kind, for tests of what a typed path resolves to."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from format_makers import Bundle, V1Tensor, v1_table

from ckpttool.formats.tensorflow.ordered_code import FULL

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 123456\n"
SAVED_MODEL = b"\x08\x01\x12\x02\x0a\x00"
META = b"\x0a\x02\x2a\x00\x12\x0c\x0a\x0a\x0a\x01x\x12\x05Const"
TEXT_GRAPH = b'node {\n  name: "x"\n  op: "Const"\n}\n'
GRAPH_DEF = b"\x0a\x0a\x0a\x01x\x12\x05Const" * 2


def v2(folder: Path, base: str, *, shards: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    bundle = Bundle(shards=shards)
    bundle.add(b"w", np.arange(3, dtype=np.float32))
    bundle.write(folder, base)


def v1(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    tensor = V1Tensor(b"w", 1, [1], [([(0, FULL)], b"\x08\x01\x2a\x04\x00\x00\x80\x3f")])
    path.write_bytes(v1_table([tensor]))


def saved_model(folder: Path, *, variables: bool = True, text: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if text:
        (folder / "saved_model.pbtxt").write_bytes(b"saved_model_schema_version: 1\n")
    else:
        (folder / "saved_model.pb").write_bytes(SAVED_MODEL)
    if variables:
        v2(folder / "variables", "variables")


def safetensors(path: Path) -> None:
    header = b'{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\1\2")


def keras3(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.zeros(2, np.float32)


def legacy(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["d/d/kernel:0"] = np.zeros(2, np.float32)
        file.attrs["layer_names"] = [b"d"]
        file["d"].attrs["weight_names"] = [b"d/kernel:0"]


def keras_archive(path: Path) -> None:
    inner = io.BytesIO()
    with h5py.File(inner, "w") as file:
        file["layers/dense/vars/0"] = np.zeros(2, np.float32)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", inner.getvalue())


def state(folder: Path, latest: str, *others: str, name: str = "checkpoint") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [f'model_checkpoint_path: "{latest}"']
    lines += [f'all_model_checkpoint_paths: "{each}"' for each in (*others, latest)]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


class Case(NamedTuple):
    """``make`` fills the directory; ``typed`` is found as ``path`` of that ``format``."""

    make: Callable[[Path], Any]
    typed: str
    path: str
    format: str
    notices: tuple[str, ...] = ()


def several(*makers: Callable[[Path], Any]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        for maker in makers:
            maker(folder)

    return make


def _steps(folder: Path) -> None:
    for step in (9, 10, 100):
        v2(folder, f"m-{step}")


def _named(base: str, **options: int) -> Callable[[Path], None]:
    return lambda folder: v2(folder, base, **options)


def _v1_shards(folder: Path) -> None:
    for shard in range(2):
        v1(folder / f"m-7-{shard:05d}-of-00002")


def _file(name: str, data: bytes = b"") -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(data)


def _without(maker: Callable[[Path], Any], *names: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        maker(folder)
        for name in names:
            (folder / name).unlink()

    return make


def _weight_map(folder: Path) -> None:
    safetensors(folder / "model-00001-of-00001.safetensors")
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"a": "model-00001-of-00001.safetensors"}}'
    )


def _keras_map(folder: Path) -> None:
    keras3(folder / "x_00000.weights.h5")
    (folder / "x.weights.json").write_text(
        '{"weight_map": {"/layers/dense/vars": "x_00000.weights.h5"}}'
    )


def _lost_suffix(folder: Path) -> None:
    v2(folder, "m")
    (folder / "m.index").rename(folder / "m")
