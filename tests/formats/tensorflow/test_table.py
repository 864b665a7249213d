"""The table, written and read: round trips, damage, lookups."""

from __future__ import annotations

import contextlib
from pathlib import Path

import cramjam
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpttool.formats.tensorflow.table as table_module
from ckpttool.errors import CkptError, CorruptError, InputError
from ckpttool.formats.tensorflow.table import MemoryFile, Table
from ckpttool.formats.tensorflow.table_writer import TableWriter, write_table
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.files import LocalFile
from ckpttool.storage.wire import encode_varint

ENTRIES = st.dictionaries(st.binary(max_size=40), st.binary(max_size=200), min_size=1, max_size=60)


def table_of(data: bytes) -> Table:
    return Table(MemoryFile("t", data))


def listed(table: Table) -> list[tuple[bytes, bytes]]:
    return [
        (key, contents[start:stop])
        for _, contents, found in table.entries()
        for key, start, stop in found
    ]


def snappy_table(entries: list[tuple[bytes, bytes]]) -> bytes:
    """A one-block table whose data block is compressed."""
    raw = b"".join(write_table(entries))
    block = table_of(raw).blocks[0]
    return rebuilt(bytes(cramjam.snappy.compress_raw(raw[: block.size])), 1)


def rebuilt(stored: bytes, kind: int) -> bytes:
    """A table around one stored data block of the given type."""

    def trailed(data: bytes, block_type: int = 0) -> bytes:
        tail = bytes((block_type,))
        return data + tail + mask(crc32c(data + tail)).to_bytes(4, "little")

    out = trailed(stored, kind)
    handle = b"\0" + encode_varint(len(stored))
    empty = b"\0\0\0\0\1\0\0\0"
    meta_at = len(out)
    out += trailed(empty)
    index = b"\0\1" + bytes((len(handle),)) + b"\xff" + handle + empty
    index_at = len(out)
    out += trailed(index)
    footer = encode_varint(meta_at) + encode_varint(8)
    footer += encode_varint(index_at) + encode_varint(len(index))
    return out + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


@settings(max_examples=80, deadline=None)
@given(ENTRIES, st.sampled_from([1, 64, 300, 1 << 18]), st.sampled_from([1, 2, 16]))
def test_what_is_written_is_read(entries: dict[bytes, bytes], block: int, restart: int) -> None:
    ordered = sorted(entries.items())
    data = b"".join(write_table(ordered, block_size=block, restart_interval=restart))
    table = table_of(data)
    assert listed(table) == ordered
    for key, value in ordered:
        found = table.get(key)
        assert found is not None
        assert found.file.pread(found.start, found.stop - found.start) == value
        assert found.offset > 0 or key == b""
        assert data[found.offset : found.offset + len(value)] == value
    for key in (b"\xff" * 41, b"no such key", b"\0"):
        assert (table.get(key) is None) == (key not in entries)


def test_known_bytes() -> None:
    # The empty metaindex block and its checksum, as TensorFlow writes them.
    data = b"".join(write_table([(b"", b"v"), (b"w", b"x" * 3)]))
    assert bytes.fromhex("000000000100000000c0f2a1b0") in data
    assert data.endswith(bytes.fromhex("57fb808b247547db"))
    assert data.startswith(b"\x00\x00\x01v\x00\x01\x03wxxx")


def test_separators_are_short_and_between_the_keys() -> None:
    entries = [(b"abcdefgh", b"1" * 50), (b"abzz", b"2" * 50), (b"ac", b"3" * 50)]
    table = table_of(b"".join(write_table(entries, block_size=10)))
    assert [block.separator for block in table.blocks] == [b"abd", b"abzz", b"b"]
    entries = [(b"abcx", b"1" * 50), (b"abex", b"2" * 50), (b"abfx", b"3" * 50)]
    table = table_of(b"".join(write_table(entries, block_size=10)))
    assert [block.separator for block in table.blocks] == [b"abd", b"abex", b"b"]


def test_an_oversized_entry_gets_its_own_block() -> None:
    entries = [(b"a", b"1"), (b"b", b"2" * 200), (b"c", b"3")]
    table = table_of(b"".join(write_table(entries, block_size=100)))
    assert [found for *_, found in table.entries()] == [
        [(b"a", 4, 5)],
        [(b"b", 5, 205)],
        [(b"c", 4, 5)],
    ]


def test_the_writer_refuses_keys_out_of_order() -> None:
    writer = TableWriter()
    writer.add(b"b", b"")
    with pytest.raises(ValueError, match="ascend"):
        writer.add(b"b", b"")
    with pytest.raises(ValueError, match="ascend"):
        writer.add(b"a", b"")


def test_a_compressed_block() -> None:
    entries = [(b"", b"head"), (b"name/kernel", b"x" * 500), (b"name/kernel/Adam", b"x" * 500)]
    data = snappy_table(entries)
    assert len(data) < 300
    assert listed(table_of(data)) == entries
    found = table_of(data).get(b"name/kernel")
    assert found is not None
    assert found.offset == 0  # in a compressed block there is only the block's own place


@pytest.mark.parametrize(
    ("stored", "kind", "code"),
    [
        (b"\xff\xff\xff\xff\x07" + b"\0" * 20, 1, "INP009"),  # says it grows to 2 GiB
        (b"\x20" + b"\xff" * 20, 1, "INP004"),
        (b"", 1, "INP004"),
        (b"\0\0\0\0\1\0\0\0", 4, "INP004"),  # zlib in LevelDB's descendants
        (b"\xff\xff\xff\xff", 0, "INP004"),  # a restart array larger than the block
        (b"\0", 0, "INP004"),
        (b"\0\x05\x05abc" + b"\0\0\0\0\1\0\0\0", 0, "INP004"),  # key longer than the block
        (b"\x03\x01\x01ab" + b"\0\0\0\0\1\0\0\0", 0, "INP004"),  # shares with no key
        (b"\0\x01\xff\xff\xff\xff\x0fab" + b"\0\0\0\0\1\0\0\0", 0, "INP004"),
        (b"\xff\xff" + b"\0\0\0\0\1\0\0\0", 0, "INP004"),
    ],
)
def test_a_damaged_block_with_a_right_checksum(stored: bytes, kind: int, code: str) -> None:
    with pytest.raises(CorruptError) as raised:
        listed(table_of(rebuilt(stored, kind)))
    assert raised.value.problems[0].code == code


def test_no_restart_points_means_no_entries() -> None:
    assert listed(table_of(rebuilt(b"\0\0\0\0", 0))) == []


def test_salvage_reports_a_damaged_block_and_goes_on() -> None:
    entries = [(b"%03d" % number, b"v" * 30) for number in range(30)]
    data = bytearray(b"".join(write_table(entries, block_size=200)))
    table = table_of(bytes(data))
    second = table.blocks[1]
    data[second.offset + 9] ^= 1
    damaged = []
    table = table_of(bytes(data))
    left = [
        key
        for _, _, found in table.entries(lambda block, error: damaged.append((block, error)))
        for key, _, _ in found
    ]
    assert [block for block, _ in damaged] == [second]
    problem = damaged[0][1].problems[0]
    assert problem.code == "INP005"
    assert problem.where == f"t: byte {second.offset}"
    assert left == [key for key, _ in entries if not entries[6][0] <= key <= entries[11][0]]
    with pytest.raises(CorruptError):
        listed(table)


@pytest.mark.parametrize("offset", [0, 60, 1 << 40, (1 << 64) - 1])
def test_handles_that_point_outside(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "t"
    data = b"".join(write_table([(b"", b"head")]))
    handle = encode_varint(0) + encode_varint(0) + encode_varint(offset) + encode_varint(1 << 40)
    path.write_bytes(data[:-48] + handle.ljust(40, b"\0") + data[-8:])
    with pytest.raises(CorruptError, match="points outside the file"):
        Table(LocalFile(str(path)), preload=0)


@pytest.mark.parametrize("data", [b"", b"x" * 47, b"x" * 100, bytes(48)])
def test_not_a_table(data: bytes) -> None:
    with pytest.raises(InputError) as raised:
        table_of(data)
    assert raised.value.problems[0].code == "INP003"


def test_every_truncation_and_every_bit_flip_is_an_error_or_no_change() -> None:
    entries = [(b"", b"head"), (b"a", b"1"), (b"ab", b"2" * 20), (b"b", b"3")]
    data = b"".join(write_table(entries, block_size=20))
    for size in range(len(data)):
        with pytest.raises(CkptError):
            listed(table_of(data[:size]))
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        # Handles, the metaindex and the padding may change without changing what is read.
        with contextlib.suppress(CkptError):
            assert listed(table_of(bytes(flipped))) in (entries, [])


def test_large_raw_blocks_are_searched_without_holding_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = [(b"", b"head"), (b"big", bytes(range(256)) * 800), (b"bigger", b"z" * 70_000)]
    path = tmp_path / "t"
    path.write_bytes(b"".join(write_table(entries)))
    monkeypatch.setattr(table_module, "STREAM_BYTES", 100)
    monkeypatch.setattr(table_module, "_PIECE", 1000)
    table = Table(LocalFile(str(path)), preload=0)
    for key, value in entries:
        found = table.get(key)
        assert found is not None
        assert found.file.pread(found.start, found.stop - found.start) == value
    assert table.get(b"bigg") is None
    data = bytearray(path.read_bytes())
    data[5000] ^= 4
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptError) as raised:
        Table(LocalFile(str(path)), preload=0).get(b"big")
    assert raised.value.problems[0].code == "INP005"
