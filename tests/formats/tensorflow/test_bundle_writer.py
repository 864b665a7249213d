"""The V2 writer: what it writes is read back, copied bytes are the source's, byte for byte."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remap_support import open_prefix, write_bundle

from ckpttool.errors import CkptError
from ckpttool.formats import copying
from ckpttool.formats.copying import merge_runs
from ckpttool.formats.tensorflow.bundle_writer import BundleWriter, PartSource
from ckpttool.tensors import BY_NAME

NUMBERS = [row for row in BY_NAME.values() if row.itemsize and row.kind != "quantized"]


def copy_all(source: Path, target: Path, **options: Any) -> None:
    """An identity copy of a bundle."""
    with open_prefix(source) as reader:
        copy_names(source, target, list(reader.specs), **options)


def copy_names(source: Path, target: Path, names: list[str], **options: Any) -> None:
    with open_prefix(source) as reader:
        writer = BundleWriter(str(target), endianness=reader.endianness, **options)
        with writer:
            for name in names:
                parts = [
                    PartSource(p.path, p.offset, p.size, p.crc32c, p.extents, p.shard)
                    for p in reader.stored_parts(name)
                ]
                spec = reader.specs[name]
                writer.copy(name, reader.entry_dtype_enum(name), spec.shape, parts)
            writer.write()
            writer.commit()


@pytest.mark.parametrize("dtype", NUMBERS, ids=lambda row: row.name)
def test_every_dtype_is_encoded(tmp_path: Path, dtype: Any) -> None:
    values = np.array([[0, 1, 1], [1, 0, 1]]).astype(dtype.numpy)
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.encode("x", dtype.enum, (2, 3), lambda: [values[:1], values[1:]])
        writer.write()
        written = writer.commit()
    assert written.tensors == 1
    assert written.bytes == sum(os.path.getsize(path) for path in written.files)
    with open_prefix(tmp_path / "m") as reader:
        back = reader.read("x")
    assert back.dtype == values.dtype
    assert back.tobytes() == values.tobytes()


def test_strings_are_encoded(tmp_path: Path) -> None:
    values = np.array([[b"", b"a\0b"], [b"x" * 300, "é".encode()]], object)
    write_bundle(tmp_path / "m", {"s": values, "empty": np.empty((0, 2), object)})
    with open_prefix(tmp_path / "m") as reader:
        assert reader.read("s").tolist() == values.tolist()
        assert reader.read("empty").shape == (0, 2)


def test_narrow_and_foreign_arrays(tmp_path: Path) -> None:
    int4 = np.array([-8, -1, 7], ml_dtypes.int4)
    big = np.arange(4, dtype=">f8")
    strided = np.arange(12, dtype=np.float32).reshape(3, 4).T
    with BundleWriter(str(tmp_path / "m")) as writer:
        writer.encode("int4", BY_NAME["int4"].enum, (3,), lambda: [int4])
        writer.encode("big", BY_NAME["float64"].enum, (4,), lambda: [big])
        writer.encode("strided", BY_NAME["float32"].enum, (4, 3), lambda: [strided])
        writer.write()
        writer.commit()
    data = (tmp_path / "m.data-00000-of-00001").read_bytes()
    assert data[:3] == b"\x08\x0f\x07"  # the low bits alone, as TensorFlow stores them
    with open_prefix(tmp_path / "m") as reader:
        assert reader.read("int4").tolist() == [-8, -1, 7]
        assert reader.read("big").tolist() == [0, 1, 2, 3]
        assert reader.read("strided").tolist() == strided.tolist()


def test_the_same_tensors_give_the_same_bytes(tmp_path: Path) -> None:
    arrays = {"b": np.arange(5.0), "a": np.array([b"x"], object), "c": np.zeros((), np.int64)}
    write_bundle(tmp_path / "1", arrays)
    write_bundle(tmp_path / "2", arrays)
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"1{suffix}").read_bytes() == (tmp_path / f"2{suffix}").read_bytes()


IDENTICAL = [
    "my_scope/model.ckpt",
    "deep_scopes/model.ckpt",
    "partitioned/model.ckpt-2",
    "dtypes/model.ckpt",
    "strings/model.ckpt",
    "shapes/model.ckpt",
    "tf2_keras/ckpt",
]


@pytest.mark.parametrize("name", IDENTICAL)
def test_copying_all_of_what_tensorflow_wrote_gives_its_bytes(
    samples: Path, tmp_path: Path, name: str
) -> None:
    copy_all(samples / name, tmp_path / "m")
    for suffix in (".index", ".data-00000-of-00001"):
        original = Path(f"{samples / name}{suffix}")
        assert (tmp_path / f"m{suffix}").read_bytes() == original.read_bytes()


@pytest.mark.parametrize(
    "name",
    ["sharded/model.ckpt-2", "sharded_partitioned/model.ckpt", "big_endian/model.ckpt-2"],
)
@pytest.mark.parametrize("link", [False, True])
def test_shards_and_byte_orders(samples: Path, tmp_path: Path, name: str, link: bool) -> None:
    source = tmp_path / "source"
    for path in (samples / name).parent.iterdir():
        source.mkdir(exist_ok=True)
        (source / path.name).write_bytes(path.read_bytes())
    prefix = source / Path(name).name
    with open_prefix(prefix) as reader:
        links = reader.shard_paths if link else ()
    copy_all(prefix, tmp_path / "m", link=links)
    with open_prefix(prefix) as reader, open_prefix(tmp_path / "m") as back:
        assert back.specs == reader.specs
        assert back.endianness == reader.endianness
        assert back.info.shards == (reader.info.shards if link else 1)
        for key in reader.specs:
            assert back.slices(key) == reader.slices(key)
            assert np.array_equal(back.read(key), reader.read(key))
    if link:
        for number, path in enumerate(links):
            final = f"{tmp_path}/m.data-{number:05d}-of-{len(links):05d}"
            assert os.path.samefile(path, final)


def test_only_the_bytes_of_what_is_kept_are_copied(tmp_path: Path) -> None:
    arrays = {name: np.full(100, index, np.int32) for index, name in enumerate("abcd")}
    write_bundle(tmp_path / "m", arrays)
    copy_names(tmp_path / "m", tmp_path / "n", ["a", "c", "d"])
    assert (tmp_path / "n.data-00000-of-00001").stat().st_size == 1200
    with open_prefix(tmp_path / "n") as reader:
        assert reader.read("c").tolist() == [2] * 100
        assert reader.read("d").tolist() == [3] * 100


def test_shared_bytes_stay_shared(tmp_path: Path) -> None:
    """An index whose entries all point at the same bytes must not be blown up."""
    write_bundle(tmp_path / "m", {"a": np.arange(1000, dtype=np.int32)})
    with open_prefix(tmp_path / "m") as reader:
        part = reader.stored_parts("a")[0]
    with BundleWriter(str(tmp_path / "n")) as writer:
        for number in range(50):
            source = PartSource(part.path, part.offset, part.size, part.crc32c)
            writer.copy(f"a{number}", 3, (1000,), [source])
        writer.write()
        writer.commit()
    assert (tmp_path / "n.data-00000-of-00001").stat().st_size == 4000
    with open_prefix(tmp_path / "n") as reader:
        assert reader.read("a49").tolist() == list(range(1000))


class Piece(tuple[int, int]):
    path = "f"

    @property
    def offset(self) -> int:
        return self[0]

    @property
    def size(self) -> int:
        return self[1]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 12)), max_size=12))
@settings(max_examples=100, deadline=None)
def test_runs_hold_each_wanted_byte_once(pieces: list[tuple[int, int]]) -> None:
    runs = merge_runs(Piece(item) for item in pieces).get("f", [])
    wanted = {at for offset, size in pieces for at in range(offset, offset + size)}
    held = [at for run in runs for at in range(run.offset, run.offset + run.size)]
    assert held == sorted(wanted)
    target = 0
    for run in runs:
        assert run.target == target
        target += run.size


@pytest.mark.parametrize("fail_after", [0, 1])
def test_copying_without_the_kernels_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_after: int
) -> None:
    arrays = {"a": np.random.default_rng(0).random(3000), "b": np.arange(7)}
    write_bundle(tmp_path / "m", arrays)
    real = getattr(os, "copy_file_range", None)
    calls = 0

    def limited(src: int, dst: int, count: int, *more: int) -> int:
        nonlocal calls
        calls += 1
        if calls > fail_after or real is None:
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return int(real(src, dst, min(count, 1000), *more))

    monkeypatch.setattr(os, "copy_file_range", limited, raising=False)
    copy_names(tmp_path / "m", tmp_path / "n", ["a"])
    with open_prefix(tmp_path / "n") as reader:
        assert np.array_equal(reader.read("a"), arrays["a"])
    assert calls >= 1


def test_a_full_disk_while_copying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_bundle(tmp_path / "m", {"a": np.arange(7)})

    def full(*_: int) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copying.os, "copy_file_range", full, raising=False)
    with pytest.raises(CkptError) as raised:
        copy_all(tmp_path / "m", tmp_path / "out" / "n")
    assert raised.value.problems[0].code == "OUT002"
    assert raised.value.exit_code == 5
    assert not (tmp_path / "out").exists()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(("damage", "code"), [(cut, "INP007"), (Path.unlink, "INP006")])
def test_a_source_without_its_bytes(tmp_path: Path, damage: Any, code: str) -> None:
    write_bundle(tmp_path / "m", {"a": np.arange(7), "z": np.arange(3)})
    damage(tmp_path / "m.data-00000-of-00001")
    with pytest.raises(CkptError) as raised:
        copy_all(tmp_path / "m", tmp_path / "out" / "n")
    assert raised.value.problems[0].code == code
    if code == "INP007":
        assert "tensor z" in raised.value.problems[0].message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("bad", ["", "out/", "here"])
def test_an_output_must_be_a_prefix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    with pytest.raises(CkptError) as raised:
        BundleWriter(bad)
    assert raised.value.problems[0].code == "OUT002"
    assert "model.ckpt" in (raised.value.problems[0].hint or "")


@pytest.mark.parametrize("there", ["m", "m.data-00000-of-00002"])
def test_older_outputs_of_another_kind_are_existing_output(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"old")
    with pytest.raises(CkptError) as raised:
        write_bundle(tmp_path / "m", {"a": np.arange(3)})
    assert raised.value.problems[0].code == "OUT001"
    write_bundle(tmp_path / "m", {"a": np.arange(3)}, force=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m.data-00000-of-00001",
        "m.index",
    ]


def test_declaring_what_cannot_be(tmp_path: Path) -> None:
    writer = BundleWriter(str(tmp_path / "m"))
    with pytest.raises(CkptError) as raised:
        writer.encode("v", BY_NAME["variant"].enum, (), list)
    assert raised.value.problems[0].code == "OUT005"
    writer.encode("a", 1, (2,), lambda: [np.zeros(3, np.float32)])
    with pytest.raises(ValueError, match="twice"):
        writer.encode("a", 1, (), list)
    with pytest.raises(ValueError, match="3 values"), writer:
        writer.write()
    assert list(tmp_path.iterdir()) == []
