"""Write a LevelDB-style table, byte for byte as TensorFlow's own table builder does.

Layout: data blocks, an empty metaindex block, an index block, a footer of 48 bytes.  Every block is
stored raw and followed by its type (0) and its masked CRC32C.  Source of the layout:
``tensorflow:core/lib/io/table_builder.cc``, ``block_builder.cc`` and ``format.cc``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.wire import encode_varint

MAGIC = 0xDB4775248B80FB57
FOOTER_BYTES = 48
BLOCK_BYTES = 256 << 10  # table::Options::block_size
RESTART_INTERVAL = 16  # entries between two keys that are stored whole

_RAW = b"\x00"
_OVERSIZE = 2
_HANDLES_BYTES = 40  # two varint pairs, padded with zeros


def write_table(
    entries: Iterable[tuple[bytes, bytes]],
    *,
    block_size: int = BLOCK_BYTES,
    restart_interval: int = RESTART_INTERVAL,
) -> Iterator[bytes]:
    """The table's bytes, in pieces, for ``entries`` in strictly ascending order of their keys.

    The same entries always give the same bytes.  Raises :class:`ValueError` for a key that is not
    greater than the one before it.
    """
    writer = TableWriter(block_size=block_size, restart_interval=restart_interval)
    for key, value in entries:
        block = writer.add(key, value)
        if block:
            yield block
    yield writer.finish()


class TableWriter:
    """A table that is written entry by entry; each call hands over the bytes that are complete."""

    def __init__(
        self, *, block_size: int = BLOCK_BYTES, restart_interval: int = RESTART_INTERVAL
    ) -> None:
        if block_size < 1 or restart_interval < 1:
            raise ValueError("block_size and restart_interval must be positive")
        self._block_size = block_size
        self._data = _BlockWriter(restart_interval)
        self._index = _BlockWriter(1)  # index keys are few: each is a restart point
        self._last_key: bytes | None = None
        self._offset = 0
        # The block that has no index entry yet: its separator depends on the key that follows.
        self._pending: bytes | None = None

    def add(self, key: bytes, value: bytes) -> bytes:
        """Append an entry; returns the bytes of the block that it completes, often none."""
        last = self._last_key
        if last is not None and key <= last:
            raise ValueError(f"table keys must ascend: {key!r} after {last!r}")
        # An entry far larger than a block gets a block of its own, as in TensorFlow.
        oversized = len(key) + len(value) >= _OVERSIZE * self._block_size
        before = self._flush() if oversized and self._data.count else b""
        if self._pending is not None:
            self._index.add(_separator(last or b"", key), self._pending)
            self._pending = None
        self._last_key = key
        if self._data.add(key, value) < self._block_size:
            return before
        return before + self._flush()

    def finish(self) -> bytes:
        """The rest of the table: last block, metaindex, index, footer."""
        out = [self._flush() if self._data.count else b""]
        stored, metaindex = self._stored(_BlockWriter(1))
        out.append(stored)
        if self._pending is not None:
            self._index.add(_successor(self._last_key or b""), self._pending)
            self._pending = None
        stored, index = self._stored(self._index)
        out.append(stored)
        out.append((metaindex + index).ljust(_HANDLES_BYTES, b"\0") + struct.pack("<Q", MAGIC))
        return b"".join(out)

    def _flush(self) -> bytes:
        stored, self._pending = self._stored(self._data)
        return stored

    def _stored(self, block: _BlockWriter) -> tuple[bytes, bytes]:
        """The block with its trailer, and the handle under which the index finds it."""
        contents = block.finish()
        checksum = mask(crc32c(_RAW, crc32c(contents)))
        handle = encode_varint(self._offset) + encode_varint(len(contents))
        self._offset += len(contents) + 5
        return contents + _RAW + struct.pack("<I", checksum), handle


class _BlockWriter:
    """One block: entries that share prefixes, then the restart array."""

    def __init__(self, restart_interval: int) -> None:
        self._interval = restart_interval
        self._clear()

    def _clear(self) -> None:
        self.count = 0  # entries in the block so far
        self._buffer = bytearray()
        self._restarts = [0]
        self._last_key = b""

    def add(self, key: bytes, value: bytes) -> int:
        """Append; returns the size that the finished block would have."""
        shared = 0
        if self.count % self._interval:
            shared = _shared_prefix(self._last_key, key)
        elif self.count:
            self._restarts.append(len(self._buffer))
        buffer = self._buffer
        rest = len(key) - shared
        size = len(value)
        if shared < 0x80 and rest < 0x80 and size < 0x80:
            buffer += bytes((shared, rest, size))
        else:
            buffer += encode_varint(shared) + encode_varint(rest) + encode_varint(size)
        buffer += key[shared:] if shared else key
        buffer += value
        self._last_key = key
        self.count += 1
        return len(buffer) + 4 * len(self._restarts) + 4

    def finish(self) -> bytes:
        """The contents, without the trailer; the writer is empty again afterwards."""
        count = len(self._restarts)
        contents = bytes(self._buffer) + struct.pack(f"<{count + 1}I", *self._restarts, count)
        self._clear()
        return contents


def _shared_prefix(left: bytes, right: bytes) -> int:
    """Length of the common prefix: the highest differing byte of both taken as one number."""
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return size
    differing = int.from_bytes(left[:size], "big") ^ int.from_bytes(right[:size], "big")
    return size - (differing.bit_length() + 7) // 8


def _separator(key: bytes, following: bytes) -> bytes:
    """A short key ``k`` with ``key <= k < following``."""
    shared = _shared_prefix(key, following)
    if shared < min(len(key), len(following)) and key[shared] + 1 < following[shared]:
        return key[:shared] + bytes((key[shared] + 1,))
    return key


def _successor(key: bytes) -> bytes:
    """A short key that is not less than ``key``."""
    for position, byte in enumerate(key):
        if byte != 0xFF:
            return key[:position] + bytes((byte + 1,))
    return key
