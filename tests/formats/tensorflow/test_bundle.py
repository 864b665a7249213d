"""V2 bundles made by hand: every dtype, slices, shards, both byte orders, damage."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from format_makers import Bundle, entry_message, located, string_payload

from ckpttool.errors import CkptError, CorruptError, InputError, TensorNotFoundError
from ckpttool.formats.tensorflow.bundle import BundleReader, open_bundle
from ckpttool.formats.tensorflow.ordered_code import FULL, encode_slice_key
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.tensors import BY_NAME, Slice, TensorSpec

FIXED = [
    dtype.name
    for dtype in BY_NAME.values()
    if dtype.itemsize and dtype.kind not in ("quantized",) and dtype.name not in ("bool",)
]
TWO_WAYS = [name for name in FIXED if BY_NAME[name].itemsize > 1]


def code(raised: pytest.ExceptionInfo[CkptError]) -> str:
    return raised.value.problems[0].code


def same(a: np.ndarray[Any, Any], b: np.ndarray[Any, Any]) -> bool:
    if a.dtype == object:
        return a.shape == b.shape and a.tolist() == b.tolist()
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def joined(reader: BundleReader, name: str, max_bytes: int) -> np.ndarray[Any, Any]:
    """The chunks of a tensor, each where it says it begins."""
    parts = []
    at = 0
    for chunk in reader.chunks(name, max_bytes):
        assert chunk.start == at
        assert chunk.array.ndim == 1
        assert len(chunk.array)
        at += len(chunk.array)
        parts.append(chunk.array)
    shape = reader.specs[name].shape
    return np.concatenate(parts).reshape(shape) if parts else np.empty(shape)


def sample(name: str, shape: tuple[int, ...] = (3, 5)) -> np.ndarray[Any, Any]:
    # int2 ends at 1
    values = np.random.default_rng(3).uniform(0, 1 if name == "int2" else 3, shape).round()
    return np.asarray(values.astype(BY_NAME[name].numpy))


@pytest.mark.parametrize("name", FIXED)
def test_each_dtype(tmp_path: Path, name: str) -> None:
    bundle = Bundle()
    array = sample(name)
    bundle.add(b"w", array, name)
    bundle.add(b"scalar", array[0, 0].reshape(()), name)
    bundle.add(b"empty", array[:0], name)
    reader = open_bundle(bundle.write(tmp_path))
    assert reader.specs["w"] == TensorSpec("w", name, (3, 5))
    assert list(reader.specs) == ["empty", "scalar", "w"]
    assert same(reader.read("w"), array)
    assert reader.read("w").flags.writeable
    assert same(reader.read("scalar"), array[0, 0].reshape(()))
    assert reader.read("empty").shape == (0, 5)
    assert same(joined(reader, "w", 4), array)
    assert reader.stored_bytes("w") == array.nbytes
    assert reader.entry_dtype_enum("w") == BY_NAME[name].enum


@pytest.mark.parametrize("name", TWO_WAYS)
def test_big_endian(tmp_path: Path, name: str) -> None:
    bundle = Bundle(big_endian=True)
    array = sample(name)
    bundle.add(b"w", array, name)
    bundle.add(b"s", np.array([b"a", b"", b"ccc"], object))
    reader = open_bundle(bundle.write(tmp_path))
    assert reader.endianness == "big"
    assert same(reader.read("w"), array)
    assert same(joined(reader, "w", 20), array)
    assert reader.read("s").tolist() == [b"a", b"", b"ccc"]


@pytest.mark.parametrize(
    ("name", "stored", "values"),
    [
        ("bool", b"\x00\x01\x02\xff", [False, True, True, True]),
        ("int4", b"\x0f\xf8\x07\x13", [-1, -8, 7, 3]),
        ("uint4", b"\xff\xf8\x0f\x13", [15, 8, 15, 3]),
        ("int2", b"\x03\x02\x01\x00", [-1, -2, 1, 0]),
        ("uint2", b"\x07\x02", [3, 2]),
        ("float4_e2m1fn", b"\x02\xf2", [1.0, 1.0]),
        ("qint8", b"\xff\x7f", [-1, 127]),
        ("quint16", b"\xff\xff\x01\x00", [65535, 1]),
        ("qint32", b"\xfe\xff\xff\xff", [-2]),
    ],
)
def test_stored_bytes_that_are_not_canonical(
    tmp_path: Path, name: str, stored: bytes, values: list[Any]
) -> None:
    bundle = Bundle()
    shape = (len(values),)
    crc = mask(crc32c(stored))
    entry = entry_message(BY_NAME[name].enum, shape, size=len(stored), crc=crc)
    bundle.entries[b"w"] = entry
    bundle.shards[0] += stored
    read = open_bundle(bundle.write(tmp_path)).read("w")
    assert read.dtype == BY_NAME[name].numpy
    assert [value.item() if hasattr(value, "item") else value for value in read] == values
    assert same(read, np.array(values).astype(BY_NAME[name].numpy))


def test_strings_as_tensorflow_writes_them(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"s", np.array([b"a", b"", b"ccc"], object))
    bundle.add(b"scalar", np.array(b"", object))
    bundle.add(b"none", np.empty((0, 2), object))
    assert bytes(bundle.shards[0]).hex() == "0100033fdb2b736163636300a67b113ad8ea82a2"
    bundle.entries[b"void"] = entry_message(7, (0,), crc=0)  # nothing stored at all
    bundle.add(b"many", np.array([b"x" * (n % 7) for n in range(9000)], object))
    reader = open_bundle(bundle.write(tmp_path))
    assert reader.read("s").tolist() == [b"a", b"", b"ccc"]
    assert reader.read("scalar").tolist() == b""
    assert reader.read("none").shape == (0, 2)
    assert reader.read("void").shape == (0,)
    assert reader.read("many").tolist() == [b"x" * (n % 7) for n in range(9000)]
    assert same(joined(reader, "many", 1000), reader.read("many"))
    assert max(len(chunk.array) for chunk in reader.chunks("many", 1000)) <= 1000 // 48
    assert reader.specs["s"].nbytes == 0
    assert reader.stored_bytes("s") == 11


@pytest.mark.parametrize("payload", [b"\x01\x02ab", b"\x05" * 12, b"\xff" * 12, b"\x00", b""])
def test_damaged_strings(tmp_path: Path, payload: bytes) -> None:
    bundle = Bundle()
    entry = entry_message(7, (2,), size=len(payload), crc=mask(crc32c(payload)))
    bundle.entries[b"s"] = entry
    bundle.shards[0] += payload
    with pytest.raises(CorruptError):
        open_bundle(bundle.write(tmp_path)).read("s")


@pytest.mark.parametrize(
    "array",
    [
        np.arange(70, dtype=np.float32).reshape(10, 7),
        np.arange(70, dtype=np.uint16).reshape(10, 7),
        np.array([b"s" * n for n in range(70)], object).reshape(10, 7),
    ],
    ids=["float32", "uint16", "string"],
)
@pytest.mark.parametrize(
    "slices",
    [
        [[(0, 3), (0, 7)], [(3, 3), (0, 7)], [(6, 4), (0, 7)]],
        [[(0, FULL), (0, 2)], [(0, FULL), (2, 5)]],
        [[(5, 5), (0, 7)], [(0, 5), (4, 3)], [(0, 5), (0, 4)]],
    ],
    ids=["rows", "columns", "mixed"],
)
def test_partitioned(tmp_path: Path, array: Any, slices: Any) -> None:
    bundle = Bundle(shards=2)
    bundle.add_slices(b"emb/w", array, slices, [n % 2 for n in range(len(slices))])
    bundle.add(b"other", np.float32([1]))
    reader = open_bundle(bundle.write(tmp_path))
    assert list(reader.specs) == ["emb/w", "other"]
    reader.check_slices("emb/w")
    reader.check("emb/w")
    assert same(reader.read("emb/w"), array)
    for max_bytes in (1, 100, 1 << 20):
        assert same(joined(reader, "emb/w", max_bytes), array)
    parts = reader.slices("emb/w")
    assert parts == sorted(parts)
    for index, part in enumerate(parts):
        place = tuple(slice(a, a + n) for a, n in zip(part.start, part.shape, strict=True))
        assert same(reader.read_slice("emb/w", index), np.ascontiguousarray(array[place]))
    assert reader.slices("other") == ()
    stored = reader.stored_parts("emb/w")
    assert [part.slice for part in stored] == parts
    assert reader.stored_bytes("emb/w") == sum(part.size for part in stored)
    for part in stored:
        data = Path(part.path).read_bytes()[part.offset : part.offset + part.size]
        if array.dtype != object:
            assert mask(crc32c(data)) == part.crc32c
        assert encode_slice_key(b"emb/w", part.extents) in bundle.entries
    with pytest.raises(InputError):
        reader.read_slice("emb/w", len(slices))


def test_damage_in_a_string_or_a_slice(tmp_path: Path) -> None:
    bundle = Bundle()
    strings = np.array([b"ab", b"cde"], object)
    bundle.add(b"s", strings)
    bundle.add_slices(b"p", np.arange(4, dtype=np.float32), [[(0, 2)], [(2, 2)]])
    bundle.add_slices(b"q", strings, [[(0, 1)], [(1, 1)]])
    for position in range(len(bundle.shards[0])):
        bundle.shards[0][position] ^= 0x10
        reader = open_bundle(bundle.write(tmp_path))
        fine = []
        for name in ("s", "p", "q"):
            with contextlib.suppress(CorruptError):
                reader.read(name)
                reader.check(name)
                fine.append(name)
        assert len(fine) == 2
        bundle.shards[0][position] ^= 0x10


def test_damaged_lengths_give_no_string(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"s", np.array([b"ab", b"cde"], object))
    bundle.shards[0][0:2] = b"\x03\x02"  # they still add up
    with pytest.raises(CorruptError) as raised:
        next(iter(open_bundle(bundle.write(tmp_path)).chunks("s", 1)))
    assert code(raised) == "INP005"
    payload, crc = string_payload([b"ab", b"cde"])
    bundle.shards[0][:] = payload + b"z"
    bundle.entries[b"s"] = entry_message(7, (2,), size=len(payload) + 1, crc=crc)
    with pytest.raises(CorruptError, match="do not add up"):
        next(iter(open_bundle(bundle.write(tmp_path)).chunks("s", 1)))


def test_slices_must_cover_exactly(tmp_path: Path) -> None:
    array = np.arange(10, dtype=np.float32)
    for name, slices in (
        (b"gap", [[(0, 4)], [(5, 5)]]),
        (b"overlap", [[(0, 6)], [(5, 5)]]),
        (b"twice", [[(0, 5)], [(0, 5)]]),
    ):
        bundle = Bundle()
        bundle.add_slices(name, array, slices)
        bundle.add(b"fine", array)
        reader = open_bundle(bundle.write(tmp_path))
        for job in (reader.read, reader.check_slices, reader.check):
            with pytest.raises(CorruptError) as raised:
                job(name.decode())
            assert code(raised) == "INP008"
        assert same(reader.read("fine"), array)
        assert same(reader.read_slice(name.decode(), 0), array[: slices[0][0][1]])


def test_a_slice_that_is_gone_or_changed(tmp_path: Path) -> None:
    array = np.arange(10, dtype=np.float32)
    bundle = Bundle()
    bundle.add_slices(b"w", array, [[(0, 5)], [(5, 5)]])
    key = encode_slice_key(b"w", [(5, 5)])
    entry = bundle.entries.pop(key)
    with pytest.raises(CorruptError) as raised:
        open_bundle(bundle.write(tmp_path)).read("w")
    assert code(raised) == "INP008"
    for changed in (entry.replace(b"\x08\x05", b"\x08\x04"), b"\x08\x03" + entry[2:]):
        bundle.entries[key] = changed  # another shape; int32 for float32
        with pytest.raises(CorruptError, match="not what its variable says"):
            open_bundle(bundle.write(tmp_path)).read("w")
    bundle.entries[b"w"] = entry_message(1, (10,), slices=[[(0, 5)], [(7, 5)]])
    with pytest.raises(CorruptError) as raised:
        open_bundle(bundle.write(tmp_path)).slices("w")
    assert code(raised) == "INP008"


def test_a_slice_that_is_everything_is_the_entry_itself(tmp_path: Path) -> None:
    array = np.arange(4, dtype=np.float32)
    bundle = Bundle()
    bundle.add(b"w", array)
    bundle.entries[b"w"] += b"\x3a\x02\x0a\x00"  # one slice, without a length
    for slices in ((), [Slice((0,), (4,))]):
        reader = open_bundle(bundle.write(tmp_path))
        assert list(reader.slices("w")) == list(slices)
        assert same(reader.read("w"), array)
        assert [part.size for part in reader.stored_parts("w")] == [16]
        bundle.add_slices(b"parted", array, [[(0, 2)], [(2, 2)]])


def test_a_variable_whose_parts_are_all_gone(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.entries[b"w"] = entry_message(1, (4,), slices=[[(0, 2)], [(2, 2)]])
    with pytest.raises(CorruptError):
        open_bundle(bundle.write(tmp_path)).read("w")
    with pytest.raises(CorruptError) as raised:
        open_bundle(bundle.write(tmp_path), salvage=True).read("w")
    assert code(raised) == "INP008"


def test_odd_names_are_listed_not_hidden(tmp_path: Path) -> None:
    array = np.float32([1, 2])
    orphan = encode_slice_key(b"gone", [(0, 2)])
    names = [b"\0odd", b"\xff\xfe/w", "gr\u00fc\u00df/w".encode(), b"a\nb", b"w:0", orphan, b"\0"]
    bundle = Bundle()
    for name in names:
        bundle.add(name, array)
    bundle.add_slices(b"parted", array, [[(0, 1)], [(1, 1)]])
    reader = open_bundle(bundle.write(tmp_path))
    keys = [name.encode("utf-8", "surrogateescape") for name in reader.specs]
    assert keys == sorted([*names, b"parted"])
    for name in reader.specs:
        assert same(reader.read(name), array)


def test_shards(tmp_path: Path) -> None:
    bundle = Bundle(shards=3)
    array = np.arange(6, dtype=np.int64)
    for shard in range(3):
        bundle.add(b"w%d" % shard, array + shard, shard=shard)
    bundle.add_slices(b"p", array, [[(0, 3)], [(3, 3)]], [0, 1])
    where = bundle.write(tmp_path)
    gone = tmp_path / "m.data-00001-of-00003"
    gone.unlink()
    reader = open_bundle(where)
    assert reader.info.shards == 3
    assert reader.info.missing_files == (str(gone),)
    assert same(reader.read("w0"), array)
    assert same(reader.read("w2"), array + 2)
    assert same(reader.read_slice("p", 0), array[:3])
    for name in ("w1", "p"):
        with pytest.raises(InputError) as raised:
            reader.read(name)
        assert code(raised) == "INP006"
        assert raised.value.problems[0].where == str(gone)
    assert [part.shard for part in reader.stored_parts("p")] == [0, 1]
    reader.close()
    assert same(reader.read("w0"), array)


def test_an_index_alone(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"w", np.float32([1]))
    where = bundle.write(tmp_path)
    (tmp_path / "m.data-00000-of-00001").unlink()
    reader = open_bundle(where)
    assert list(reader.specs) == ["w"]
    with pytest.raises(InputError) as raised:
        reader.read("w")
    assert code(raised) == "INP012"


def test_a_short_shard(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"a", np.float32([1, 2]))
    bundle.add(b"b", np.float32([3, 4]))
    bundle.add(b"s", np.array([b"xyz"], object))
    where = bundle.write(tmp_path)
    data = tmp_path / "m.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:12])
    reader = open_bundle(where)
    assert reader.read("a").tolist() == [1, 2]
    for name in ("b", "s"):
        with pytest.raises(CorruptError) as raised:
            reader.read(name)
        assert code(raised) == "INP007"


def test_a_flipped_bit_harms_its_own_tensor_only(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"a", np.float32([1, 2]))
    bundle.add(b"b", np.float32([3, 4]))
    where = bundle.write(tmp_path)
    data = tmp_path / "m.data-00000-of-00001"
    raw = bytearray(data.read_bytes())
    raw[3] ^= 1
    data.write_bytes(bytes(raw))
    reader = open_bundle(where)
    for job in (reader.read, reader.check):
        with pytest.raises(CorruptError) as raised:
            job("a")
        assert code(raised) == "INP005"
        assert raised.value.problems[0].where == f"{data}: byte 0"
    assert reader.read("b").tolist() == [3, 4]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (entry_message(1, (2,), size=9, crc=0), "INP004"),
        (entry_message(1, (2,), size=8, shard=1, crc=0), "INP004"),
        (entry_message(1, (2,), size=8, offset=1 << 62, crc=0), "INP007"),
        (entry_message(1, (1 << 60,), size=1 << 62, crc=0), "INP007"),
        (entry_message(7, (1 << 60,), size=8, crc=0), "INP004"),
        (entry_message(21, (), size=8, crc=0), "INP011"),
        (entry_message(20, (), size=8, crc=0), "INP011"),
        (entry_message(99, (2,), size=8, crc=0), "INP011"),
        (entry_message(1, (2,), size=8, crc=0) + b"\x12\x02\x12\x00", "INP004"),
        (entry_message(1, (2,), size=-8, crc=0), "INP004"),
        (entry_message(1, (2,), size=8, crc=0)[:-2], "INP004"),
        (entry_message(1, (-1,), size=8, crc=0), None),
        (entry_message(1, (1,) * 255, size=8, crc=0), None),
        (entry_message(0, (2,), size=8, crc=0), None),
        (entry_message(1, (3,))[:-1], None),
        (b"\x20\x01" + entry_message(1, (2,)) + b"\x12", None),
        (b"", None),
        (b"\x0a\x01", None),
    ],
)
def test_hostile_entries(tmp_path: Path, entry: bytes, expected: str | None) -> None:
    """An entry that makes no sense is an error of its own tensor, or is not listed, with why."""
    bundle = Bundle()
    bundle.add(b"fine", np.float32([1, 2]))
    bundle.entries[b"w"] = entry
    reader = open_bundle(bundle.write(tmp_path))
    assert reader.read("fine").tolist() == [1, 2]
    if expected is None:
        assert list(reader.specs) == ["fine"]
        assert list(reader.unlisted) == ["w"]
        assert reader.info.damage[0].code == "INP004"
        return
    with pytest.raises(InputError) as raised:
        reader.read("w")
    assert code(raised) in (expected, "INP004")


def test_entries_in_another_order_of_fields(tmp_path: Path) -> None:
    """Canonical writers put dtype and shape first; a message may have them anywhere."""
    array = np.float32([1, 2])
    bundle = Bundle()
    bundle.add(b"a", array)
    entry = bundle.entries[b"a"]
    head = entry_message(1, (2,))
    assert entry.startswith(head)
    bundle.entries[b"b"] = entry[len(head) :] + head
    bundle.entries[b"c"] = entry_message(3, (7,)) + entry  # the last of each field counts
    reader = open_bundle(bundle.write(tmp_path))
    assert reader.read("b").tolist() == [1, 2]
    assert reader.specs["b"] == TensorSpec("b", "float32", (2,))
    for name in ("a", "b", "c"):
        with contextlib.suppress(CorruptError):
            assert same(reader.read(name), array)


@pytest.mark.parametrize(
    "header",
    [
        b"\x08\x01\x1a\x02\x10\x02",  # wants consumer version 2
        b"\x08\x01\x1a\x03\x1a\x01\x01",  # names this version as a bad one
        b"\x08\x01\x10\x05",
        b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x08\xff\xff\xff\x7f",
        b"\x1a\x09",
    ],
)
def test_hostile_headers(tmp_path: Path, header: bytes) -> None:
    bundle = Bundle()
    bundle.entries[b""] = header
    with pytest.raises(InputError):
        open_bundle(bundle.write(tmp_path))


def test_a_table_that_is_no_bundle(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"w", np.float32([1]))
    del bundle.entries[b""]
    with pytest.raises(InputError) as raised:
        open_bundle(bundle.write(tmp_path))
    assert code(raised) == "INP003"


def test_names_that_are_not_there(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"layer/kernel", np.float32([1]))
    reader = open_bundle(bundle.write(tmp_path))
    for job in (reader.read, reader.slices, reader.stored_bytes, reader.stored_parts):
        with pytest.raises(TensorNotFoundError) as raised:
            job("layer/kernal")
        assert "layer/kernel" in str(raised.value.problems[0].hint)


def test_salvage(tmp_path: Path) -> None:
    bundle = Bundle()
    for number in range(40):
        bundle.add(b"w%02d" % number, np.float32([number]))
    where = bundle.write(tmp_path, block_size=200)
    path = tmp_path / "m.index"
    whole = list(open_bundle(where).specs)
    data = bytearray(path.read_bytes())
    data[10] ^= 1  # the first block, with the header
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptError) as raised:
        open_bundle(where)
    assert code(raised) == "INP005"
    reader = open_bundle(where, salvage=True)
    assert 0 < len(reader.specs) < 40
    assert set(reader.specs) < set(whole)
    assert [error.problems[0].code for _, error in reader.damaged_blocks] == ["INP005"]
    assert reader.info.damage[0].code == "INP005"
    for name in reader.specs:
        assert reader.read(name).tolist() == [int(name[1:])]


def test_every_truncation_and_bit_flip_of_a_small_index(tmp_path: Path) -> None:
    """Damage ends in an error, or in what was there: never in another value or a crash."""
    bundle = Bundle()
    arrays = {"a": np.float32([1, 2]), "p": np.arange(4, dtype=np.int64)}
    bundle.add(b"a", arrays["a"])
    bundle.add_slices(b"p", arrays["p"], [[(0, 2)], [(2, 2)]])
    where = bundle.write(tmp_path)
    path = tmp_path / "m.index"
    data = path.read_bytes()
    damaged = [data[:size] for size in range(len(data))]
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        damaged.append(bytes(flipped))
    for content in damaged:
        path.write_bytes(content)
        for salvage in (False, True):
            with contextlib.suppress(CkptError):
                reader = open_bundle(where, salvage=salvage)
                for name in reader.specs:
                    assert same(reader.read(name), arrays[name])


def test_flips_under_right_checksums(tmp_path: Path) -> None:
    """A hostile index has right checksums: every value of every entry byte is tried."""
    bundle = Bundle()
    bundle.add(b"s", np.array([b"ab", b"c"], object))
    bundle.add(b"w", np.float32([[1, 2]]))
    bundle.add_slices(b"p", np.arange(4, dtype=np.int64), [[(0, 2)], [(2, 2)]])
    entries = dict(bundle.entries)
    for key, entry in entries.items():
        for position in range(len(entry)):
            for value in (
                0,
                1,
                0x7F,
                0x80,
                0xFF,
                entry[position] ^ 0x08,
                entry[position] + 1 & 255,
            ):
                changed = entry[:position] + bytes((value,)) + entry[position + 1 :]
                bundle.entries = {**entries, key: changed}
                with contextlib.suppress(CkptError):
                    reader = open_bundle(bundle.write(tmp_path))
                    for name in reader.specs:
                        with contextlib.suppress(CkptError):
                            reader.read(name)
                        with contextlib.suppress(CkptError):
                            reader.stored_parts(name)


def test_formats_and_info(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"w", np.float32([1]))
    where = bundle.write(tmp_path)
    info = open_bundle(where._replace(step=7)).info
    assert (info.format, info.shards, info.step) == ("tf-v2", 1, 7)
    assert info.files == (str(tmp_path / "m.index"), str(tmp_path / "m.data-00000-of-00001"))
    assert info.missing_files == ()
    bundle.add(b"_CHECKPOINTABLE_OBJECT_GRAPH", np.array(b"", object))
    bundle.write(tmp_path)
    with open_bundle(where) as reader:
        assert reader.info.format == "tf2"
        graph = reader.object_graph()
        assert graph is not None
        assert graph.nodes == []
    assert open_bundle(where._replace(format="saved-model")).info.format == "saved-model"


def test_a_graph_that_is_no_scalar_string(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"_CHECKPOINTABLE_OBJECT_GRAPH", np.array([b""], object))
    with pytest.raises(CorruptError):
        open_bundle(bundle.write(tmp_path)).object_graph()
    flipped = Bundle()
    flipped.add(b"_CHECKPOINTABLE_OBJECT_GRAPH", np.array(b"\x0a\x00", object))
    for position in range(len(flipped.shards[0])):
        flipped.shards[0][position] ^= 1
        with pytest.raises(CorruptError):
            open_bundle(flipped.write(tmp_path)).object_graph()
        flipped.shards[0][position] ^= 1


def test_bfloat16_is_ml_dtypes(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"w", np.array([1.5], ml_dtypes.bfloat16))
    assert open_bundle(bundle.write(tmp_path)).read("w").dtype == ml_dtypes.bfloat16


def test_no_index(tmp_path: Path) -> None:
    for where in (located(tmp_path / "m"), located(tmp_path / "m")._replace(index=None)):
        with pytest.raises(InputError) as raised:
            open_bundle(where)
        assert code(raised) == "INP001"
