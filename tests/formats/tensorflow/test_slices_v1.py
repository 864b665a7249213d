"""V1 files made by hand: dtypes, slices, shards, damage."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

import numpy as np
import pytest
from format_makers import V1Tensor, located_v1, v1_table

import ckpttool.formats.tensorflow.table as table_module
from ckpttool.errors import CkptError, CorruptError, InputError
from ckpttool.formats.tensorflow.ordered_code import FULL
from ckpttool.formats.tensorflow.slices_v1 import V1Reader, open_v1
from ckpttool.formats.tensorflow.table_writer import write_table
from ckpttool.storage.wire import encode_bytes_field, encode_varint
from ckpttool.tensors import Slice, TensorSpec


def floats(*values: float) -> bytes:
    return encode_bytes_field(5, struct.pack(f"<{len(values)}f", *values))


def ints(number: int, *values: int) -> bytes:
    return encode_bytes_field(number, b"".join(map(encode_varint, values)))


def strings(*values: bytes) -> bytes:
    return b"".join(encode_bytes_field(8, value) for value in values)


X = V1Tensor(b"x", 1, (2,), [([(0, FULL)], floats(1, 2))])
PARTED = V1Tensor(
    b"emb/w",
    1,
    (3, 2),
    [([(2, 1), (0, 2)], floats(5, 6)), ([(0, 2), (0, 2)], floats(1, 2, 3, 4))],
)
NAMES = V1Tensor(b"names", 7, (3,), [([(0, FULL)], strings(b"a", b"", b"cc"))])
STEP = V1Tensor(b"step", 9, (), [([], ints(10, -3))])
HALF = V1Tensor(
    b"half", 19, (2,), [([(0, 2)], encode_bytes_field(13, bytes.fromhex("8078808003")))]
)


def opened(tmp_path: Path, *tensors: V1Tensor) -> V1Reader:
    path = tmp_path / "model.ckpt"
    path.write_bytes(v1_table(tensors))
    return open_v1(located_v1(path))


def test_reading(tmp_path: Path) -> None:
    reader = opened(tmp_path, X, PARTED, NAMES, STEP, HALF)
    assert list(reader.specs) == ["emb/w", "half", "names", "step", "x"]
    assert reader.specs["emb/w"] == TensorSpec("emb/w", "float32", (3, 2))
    assert reader.read("x").tolist() == [1, 2]
    assert reader.read("x").flags.writeable
    assert reader.read("step").tolist() == -3
    assert reader.read("half").dtype == np.float16
    assert reader.read("half").tolist() == [1, -2]
    assert reader.read("names").tolist() == [b"a", b"", b"cc"]
    assert reader.read("emb/w").tolist() == [[1, 2], [3, 4], [5, 6]]
    assert reader.slices("emb/w") == [Slice((0, 0), (2, 2)), Slice((2, 0), (1, 2))]
    assert reader.slices("half") == ()  # one part that is everything, in numbers
    assert reader.read_slice("emb/w", 1).tolist() == [[5, 6]]
    assert [c.array.tolist() for c in reader.chunks("emb/w", 8)] == [[1, 2], [3, 4], [5, 6]]
    assert [c.array.tolist() for c in reader.chunks("names", 1)] == [[b"a"], [b""], [b"cc"]]
    assert reader.stored_bytes("emb/w") == 24
    assert reader.stored_bytes("names") > 5
    assert (reader.info.format, reader.info.shards) == ("tf-v1", 1)


def test_large_blocks_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = (X, PARTED, NAMES, STEP, HALF)
    expected = {name: opened(tmp_path, *tensors).read(name).tolist() for name in ("x", "names")}
    monkeypatch.setattr(table_module, "STREAM_BYTES", 0)
    monkeypatch.setattr("ckpttool.formats.tensorflow.slices_v1._PRELOAD", 0)
    reader = opened(tmp_path, *tensors)
    for name, values in expected.items():
        assert reader.read(name).tolist() == values
    assert reader.read("emb/w").tolist() == [[1, 2], [3, 4], [5, 6]]
    assert reader.read("half").tolist() == [1, -2]


def test_shards(tmp_path: Path) -> None:
    first, second = tmp_path / "m-00000-of-00002", tmp_path / "m-00001-of-00002"
    first.write_bytes(v1_table([X, PARTED._replace(slices=PARTED.slices[:1])]))
    second.write_bytes(v1_table([STEP, PARTED._replace(slices=PARTED.slices[1:])]))
    reader = open_v1(located_v1(first, second))
    assert list(reader.specs) == ["emb/w", "step", "x"]
    assert reader.read("emb/w").tolist() == [[1, 2], [3, 4], [5, 6]]
    assert reader.info.shards == 2
    second.unlink()
    reader = open_v1(located_v1(first, second))
    assert reader.info.missing_files == (str(second),)
    assert reader.info.damage[0].code == "INP006"
    assert reader.read("x").tolist() == [1, 2]
    with pytest.raises(CorruptError) as raised:
        reader.read("emb/w")
    assert raised.value.problems[0].code == "INP006"
    first.unlink()
    with pytest.raises(InputError):
        open_v1(located_v1(first, second))


def test_shards_that_contradict(tmp_path: Path) -> None:
    first, second = tmp_path / "m-00000-of-00002", tmp_path / "m-00001-of-00002"
    first.write_bytes(v1_table([X, STEP]))
    second.write_bytes(v1_table([X._replace(shape=(3,))]))
    reader = open_v1(located_v1(first, second))
    assert list(reader.unlisted) == ["x"]
    assert reader.info.damage[0].code == "INP008"
    assert reader.read("step").tolist() == -3


@pytest.mark.parametrize(
    ("tensor", "code"),
    [
        (X._replace(shape=(3,)), "INP004"),  # too few values
        (X._replace(slices=[([(0, FULL)], floats(1, 2, 3))]), "INP004"),
        (X._replace(slices=[([(0, FULL)], b"")]), "INP004"),
        (X._replace(slices=[([(0, 1)], floats(1))]), "INP008"),
        (X._replace(slices=[([(0, 1)], floats(1)), ([(0, 2)], floats(1, 2))]), "INP008"),
        (X._replace(slices=[([(1, 2)], floats(1, 2))]), "INP008"),  # outside
        (X._replace(slices=[]), "INP008"),
        (X._replace(enum=7), "INP004"),
        (X._replace(enum=21), "INP011"),
        (X._replace(enum=21, slices=[]), "INP011"),
        (STEP._replace(slices=[([], ints(10, 1, 2))]), "INP004"),
        (STEP._replace(slices=[([], encode_bytes_field(10, b"\xff"))]), "INP004"),
        (NAMES._replace(slices=[([(0, FULL)], strings(b"a"))]), "INP004"),
        (X._replace(slices=[([(0, FULL)], b"\x2a\x7f")]), "INP004"),
        (X._replace(shape=(1 << 60,)), "INP004"),
    ],
)
def test_damaged_tensors_harm_no_other(tmp_path: Path, tensor: V1Tensor, code: str) -> None:
    reader = opened(tmp_path, tensor, HALF)
    name = tensor.name.decode()
    for job in (reader.read, reader.check):
        with pytest.raises(InputError) as raised:
            job(name)
        assert raised.value.problems[0].code == code
    assert reader.read("half").tolist() == [1, -2]


def test_tables_that_list_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t"
    for entries in ([(b"w", b"")], [(b"", b"")], [(b"", b"\x08\x01\x1a\x02\x08\x01")]):
        path.write_bytes(b"".join(write_table(entries)))
        with pytest.raises(InputError) as raised:
            open_v1(located_v1(path))
        assert raised.value.problems[0].code == "INP003"
    path.write_bytes(b"".join(write_table([(b"", b"\x0a\x09\x0a\x07\x12\x05\x12\x03\x08\xff")])))
    with pytest.raises(CorruptError):
        open_v1(located_v1(path))


def test_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(b"".join(write_table([(b"", b"\x0a\x04\x12\x02\x10\x02")])))
    with pytest.raises(InputError) as raised:
        open_v1(located_v1(path))
    assert raised.value.problems[0].code == "INP003"


def test_a_damaged_block_harms_its_own_tensors(tmp_path: Path) -> None:
    path = tmp_path / "m"
    data = bytearray(v1_table([X, HALF, STEP], block_size=1))
    data[data.index(floats(1, 2)) + 3] ^= 1
    path.write_bytes(bytes(data))
    reader = open_v1(located_v1(path))
    with pytest.raises(CorruptError) as raised:
        reader.read("x")
    assert raised.value.problems[0].code == "INP005"
    assert reader.read("half").tolist() == [1, -2]
    assert reader.read("step").tolist() == -3


def test_every_truncation_and_bit_flip(tmp_path: Path) -> None:
    path = tmp_path / "m"
    data = v1_table([X, PARTED])
    damaged = [data[:size] for size in range(len(data))]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    expected = {"x": [1, 2], "emb/w": [[1, 2], [3, 4], [5, 6]]}
    for content in damaged:
        path.write_bytes(content)
        for salvage in (False, True):
            with contextlib.suppress(CkptError):
                reader = open_v1(located_v1(path), salvage=salvage)
                for name in reader.specs:
                    assert reader.read(name).tolist() == expected[name]
