"""Read a LevelDB-style table: the ``.index`` of a V2 bundle, and the whole of a V1 file.

Nothing in the file is trusted: handles must lie inside it, each block's masked CRC32C must match
before the block is parsed, and a compressed block is refused if it says it is larger than its
bytes can make.  Source: ``tensorflow:core/lib/io/format.cc``, ``table.cc`` and ``block.cc``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from ckpttool.errors import CorruptError, InputError, Problem, corrupt
from ckpttool.formats.tensorflow.table_writer import FOOTER_BYTES, MAGIC
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.files import RangedFile
from ckpttool.storage.wire import WireError, varint

TRAILER_BYTES = 5  # block type, masked CRC32C
PRELOAD_BYTES = 16 << 20  # a table up to this size is read at once
STREAM_BYTES = 8 << 20  # a raw block above this size is checked and read piece by piece
SNAPPY_RATIO = 32  # no snappy stream grows by more than about 22
# Bytes of one decompressed block, which is held whole.  TensorFlow closes a block at 256 KiB and
# one entry; it packs indexes alone, whose entries are small.
SNAPPY_CAP = 64 << 20
MAX_BLOCKS = 4 << 20  # a V1 file of 1 TB with full blocks
MAX_ENTRIES = 4_000_000  # keys that are held at once
# Each restart point, one in 16 entries where TensorFlow writes, stores its key whole: keys that
# share more than that with those before them are made to fill the memory.
KEY_RATIO = 64
KEY_CAP = 1 << 30  # bytes of a block's keys

_MAGIC_BYTES = MAGIC.to_bytes(8, "little")
_RAW, _SNAPPY = 0, 1
_PIECE = 4 << 20
_WINDOW = 64 << 10
_NEAR = 1 << 10  # an entry's lengths and a usual key fit into this


class Block(NamedTuple):
    """Where a block is stored, without its trailer, and a key not below any of its keys."""

    separator: bytes
    offset: int
    size: int


class MemoryFile:
    """Bytes that are read like a file; ``path`` is where they came from."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.size = len(data)
        self.data = data

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes ``[offset, offset + length)``, fewer at the end."""
        return self.data[offset : offset + length]

    def close(self) -> None:
        """Nothing is held."""


class Value(NamedTuple):
    """The bytes of one entry's value: ``file[start:stop]``, already checked.

    ``offset`` is where they, or the compressed block that holds them, lie in the table's file.
    """

    file: RangedFile
    start: int
    stop: int
    offset: int


class Table:
    """An open table.  Raises :class:`InputError` or :class:`CorruptError` with the byte offset."""

    def __init__(self, file: RangedFile, *, preload: int = PRELOAD_BYTES) -> None:
        self.path = file.path
        self.size = file.size
        self._file = file
        if file.size <= preload:
            data = file.pread(0, file.size)
            self._file = MemoryFile(file.path, data)
            self.size = len(data)
        self.blocks = self._index(self._footer())
        self._separators = [block.separator for block in self.blocks]
        # The block of the last lookup: neighbours are often asked for one after the other.
        self._last: tuple[Block, bytes, dict[bytes, tuple[int, int]]] | None = None

    def entries(
        self,
        on_damage: Callable[[Block, CorruptError], None] | None = None,
        most: int = MAX_ENTRIES,
    ) -> Iterator[tuple[Block, bytes, list[tuple[bytes, int, int]]]]:
        """Each block with its contents and its entries as ``(key, start, stop)`` of the value.

        With ``on_damage`` a block that cannot be read is handed to it and left out.  More than
        ``most`` entries in all are refused in any case.
        """
        left = most
        for block in self.blocks:
            try:
                contents = self.contents(block)
                found = list(islice(walk(contents, self.path, block.offset), left + 1))
            except CorruptError as error:
                if on_damage is None:
                    raise
                on_damage(block, error)
                continue
            left -= len(found)
            if left < 0:
                raise _too_many("entries", most, self.path, block.offset)
            yield block, contents, found

    def get(self, key: bytes) -> Value | None:
        """The value of ``key``, reading only the block that may hold it; None if it is absent."""
        position = bisect_left(self._separators, key)
        if position == len(self.blocks):
            return None
        block = self.blocks[position]
        if block.size > STREAM_BYTES and self._kind(block) == _RAW:
            if self._last is None or self._last[0] != block:
                self._last = (block, b"", self._streamed(block))
            place = self._last[2].get(key)
            return None if place is None else Value(self._file, *place, place[0])
        if self._last is None or self._last[0] != block:
            contents = self.contents(block)
            found = islice(walk(contents, self.path, block.offset), MAX_ENTRIES + 1)
            places = {k: (start, stop) for k, start, stop in found}
            if len(places) > MAX_ENTRIES:
                raise _too_many("entries", MAX_ENTRIES, self.path, block.offset)
            self._last = (block, contents, places)
        _, contents, places = self._last
        place = places.get(key)
        if place is None:
            return None
        start = place[0] if self._kind(block) == _RAW else 0
        return Value(MemoryFile(self.path, contents), *place, block.offset + start)

    def contents(self, block: Block) -> bytes:
        """A block's checked and decompressed contents."""
        _, offset, size = block
        stored = self._file.pread(offset, size + TRAILER_BYTES)
        if len(stored) != size + TRAILER_BYTES:
            raise corrupt("a table block is cut short", self.path, offset, found=len(stored))
        kind = stored[size]
        expected = int.from_bytes(stored[size + 1 :], "little")
        self._match(block, expected, crc32c(stored[: size + 1]))
        if kind == _RAW:
            return stored[:size]
        if kind == _SNAPPY:
            return _decompress(stored[:size], self.path, offset)
        raise corrupt("unknown block type", self.path, offset + size, found=kind, expected="0 or 1")

    def close(self) -> None:
        """Close the file underneath."""
        self._file.close()

    def _footer(self) -> Block:
        if self.size < FOOTER_BYTES:
            raise _not_a_table(self.path, "the file is too short for a table", self.size)
        start = self.size - FOOTER_BYTES
        footer = self._file.pread(start, FOOTER_BYTES)
        if footer[-8:] != _MAGIC_BYTES:
            raise _not_a_table(self.path, "the file does not end like a table", footer[-8:].hex())
        try:
            _, pos = self._handle(footer, 0, start)  # the metaindex is empty and never used
            return self._handle(footer, pos, start)[0]
        except WireError as error:
            raise corrupt("the table footer is damaged", self.path, start + error.offset) from error

    def _handle(self, data: bytes, pos: int, where: int, key: bytes = b"") -> tuple[Block, int]:
        offset, pos = varint(data, pos, len(data))
        size, pos = varint(data, pos, len(data))
        if offset + size + TRAILER_BYTES > self.size - FOOTER_BYTES:
            raise corrupt(
                "a block handle points outside the file",
                self.path,
                where,
                found=f"{size} bytes at {offset}",
                expected=f"inside {self.size} bytes",
            )
        return Block(key, offset, size), pos

    def _index(self, handle: Block) -> list[Block]:
        contents = self.contents(handle)
        blocks: list[Block] = []
        for key, start, stop in walk(contents, self.path, handle.offset):
            try:
                block, _ = self._handle(contents[start:stop], 0, handle.offset + start, key)
            except WireError as error:
                where = handle.offset + start
                raise corrupt("a block handle is damaged", self.path, where) from error
            if blocks and key < blocks[-1].separator:
                raise corrupt("the index block is not sorted", self.path, handle.offset + start)
            blocks.append(block)
            if len(blocks) > MAX_BLOCKS:
                raise _too_many("blocks", MAX_BLOCKS, self.path, handle.offset)
        # Blocks that share bytes would let a small file stand for any amount of work.
        end = 0
        for block in sorted(blocks, key=_offset):
            if block.offset < end:
                raise corrupt("blocks overlap", self.path, block.offset)
            end = block.offset + block.size + TRAILER_BYTES
        return blocks

    def _kind(self, block: Block) -> int:
        return self._file.pread(block.offset + block.size, 1)[0]

    def _match(self, block: Block, expected: int, crc: int) -> None:
        if mask(crc) != expected:
            raise corrupt(
                "the checksum of a table block does not match",
                self.path,
                block.offset,
                code="INP005",
                found=f"{mask(crc):08x}",
                expected=f"{expected:08x}",
            )

    def _streamed(self, block: Block) -> dict[bytes, tuple[int, int]]:
        """Where the values of a large raw block lie in the file; the block is not held."""
        _, offset, size = block
        crc = 0
        for position in range(0, size + 1, _PIECE):
            piece = self._file.pread(offset + position, min(_PIECE, size + 1 - position))
            crc = crc32c(piece, crc)
        trailer = self._file.pread(offset + size + 1, 4)
        self._match(block, int.from_bytes(trailer, "little"), crc)
        count = int.from_bytes(self._file.pread(offset + size - 4, 4), "little")
        limit = offset + size - 4 - 4 * count
        places: dict[bytes, tuple[int, int]] = {}
        key, base, window = b"", offset, b""
        room = min(KEY_RATIO * size, KEY_CAP)
        position = offset
        while position < limit:
            if position + _NEAR > base + len(window) < limit:
                base, window = position, self._file.pread(position, min(_WINDOW, limit - position))
            at = position - base
            try:
                shared, at = varint(window, at, len(window))
                rest, at = varint(window, at, len(window))
                length, at = varint(window, at, len(window))
            except WireError as error:
                raise _bad_entry(self.path, position) from error
            start = base + at + rest
            if shared > len(key) or start + length > limit:
                raise _bad_entry(self.path, position)
            tail = window[at : at + rest]
            if len(tail) < rest:
                tail = self._file.pread(base + at, rest)
            key = key[:shared] + tail
            room -= len(key)
            if room < 0 or len(places) > MAX_ENTRIES:
                raise _too_many("keys", MAX_ENTRIES, self.path, offset)
            places[key] = (start, start + length)
            position = start + length
        return places


def walk(contents: bytes, path: str, base: int) -> Iterator[tuple[bytes, int, int]]:
    """The entries of a block as ``(key, start, stop)``: the value is ``contents[start:stop]``.

    ``base`` is the block's offset, for messages.  Keys are rebuilt entry by entry; the restart
    array is not needed for that, only stepped over.
    """
    size = len(contents)
    restarts = int.from_bytes(contents[-4:], "little") if size >= 4 else 1 << 32
    limit = size - 4 - 4 * restarts
    if limit < 0:
        raise corrupt("the restart array of a block does not fit", path, base, found=restarts)
    key = b""
    pos = 0
    room = min(KEY_RATIO * size, KEY_CAP)  # bytes of keys longer than the fast way makes them
    while pos < limit:
        # The four bytes after `limit` are there, so the next three never run off the buffer.
        shared = contents[pos]
        rest = contents[pos + 1]
        length = contents[pos + 2]
        if (shared | rest | length) < 0x80 and shared <= len(key):
            start = pos + 3 + rest
            key = key[:shared] + contents[pos + 3 : start]
        else:
            key, start, length = _long_entry(contents, pos, limit, key, path, base)
            room -= len(key)
            if room < 0:
                raise _too_many("bytes of keys", min(KEY_RATIO * size, KEY_CAP), path, base)
        stop = start + length
        if stop > limit:
            raise _bad_entry(path, base + pos)
        yield key, start, stop
        pos = stop


def _long_entry(
    contents: bytes, pos: int, limit: int, key: bytes, path: str, base: int
) -> tuple[bytes, int, int]:
    """Key, start and length of an entry with a length above 127."""
    try:
        shared, at = varint(contents, pos, limit)
        rest, at = varint(contents, at, limit)
        length, at = varint(contents, at, limit)
    except WireError as error:
        raise _bad_entry(path, base + pos) from error
    if shared > len(key) or at + rest > limit:
        raise _bad_entry(path, base + pos)
    return key[:shared] + contents[at : at + rest], at + rest, length


def _offset(block: Block) -> int:
    return block.offset


def _too_many(what: str, most: int, path: str, offset: int) -> CorruptError:
    return corrupt(
        f"too many {what} in a table", path, offset, code="INP009",
        found=f"more than {most}", expected=f"≤ {most}",
    )  # fmt: skip


def _bad_entry(path: str, offset: int) -> CorruptError:
    return corrupt("an entry of a table block is damaged", path, offset)


def _not_a_table(path: str, message: str, found: object) -> InputError:
    return InputError(
        Problem(
            "INP003",
            message,
            path,
            str(found),
            f"magic {_MAGIC_BYTES.hex()}",
            "the file is cut short, or of another kind",
        )
    )


def _decompress(data: bytes, path: str, offset: int) -> bytes:
    try:
        declared, _ = varint(data, 0, min(len(data), 5))
    except WireError as error:
        raise corrupt("a compressed block is damaged", path, offset) from error
    most = min(SNAPPY_CAP, SNAPPY_RATIO * len(data))
    if declared > most:
        raise corrupt(
            "a compressed block says it is larger than it can be",
            path,
            offset,
            code="INP009",
            found=f"{declared} bytes from {len(data)}",
            expected=f"≤ {most}",
        )
    from cramjam import DecompressionError, snappy

    try:
        return bytes(snappy.decompress_raw(data))
    except DecompressionError as error:
        raise corrupt(f"a compressed block is damaged: {error}", path, offset) from error
