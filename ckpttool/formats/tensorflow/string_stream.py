"""String tensors of a bundle: varint lengths, a checksum of the lengths, then the bytes.

Each length enters the checksums as a uint32 in the writer's byte order, as a uint64 if it does not
fit, so the files of old writers, which knew 32-bit lengths only, read the same.  Source:
``tensorflow:core/util/tensor_bundle/tensor_bundle.cc``, ``ReadStringTensor``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ckpttool.formats.streaming import STRING_OVERHEAD, Varints, Where
from ckpttool.storage.crc32c import crc32c, mask, unmask
from ckpttool.storage.files import RangedFile
from ckpttool.storage.wire import WireError, varint

if TYPE_CHECKING:
    from ckpttool.formats.streaming import Array

SCALAR_CAP = 512 << 20  # bytes of a string that is read at once

_WINDOW = 256 << 10  # bytes of strings read at once
_GROUP = 4096  # lengths of strings held at once
_FULL32 = 0xFFFFFFFF


class StringStream:
    """The strings of a tensor, in C order."""

    def __init__(
        self,
        file: RangedFile,
        offset: int,
        size: int,
        count: int,
        where: Where,
        *,
        crc: int,
        big_endian: bool,
    ) -> None:
        self.count = count
        self._file = file
        self._where = where
        self._stored = crc
        self._order: Literal["big", "little"] = "big" if big_endian else "little"
        self._stop = offset + size
        if self._stop > file.size:
            raise where.short(max(0, file.size - offset), size)
        if count > size:
            raise where.damaged("too few bytes for the strings", size, f"≥ {count}")
        self._lengths = Varints(file, offset, self._stop, count, where)
        self._unread = count  # lengths that are not taken yet
        self._pending: list[int] = []  # lengths that are taken and not used, last first
        self._empty = size == 0  # no strings and no checksum: nothing to check
        self._crc = 0
        self._pos = offset if self._empty else self._check_lengths(offset)

    def take(self, count: int, max_bytes: int | None = None) -> Array:
        """The next strings as an object array of bytes."""
        import numpy as np

        out: list[bytes] = []
        left = max_bytes
        while len(out) < count and (left is None or left > 0 or not out):
            lengths = self._group(count - len(out), left)
            if left is not None:
                left -= sum(lengths) + STRING_OVERHEAD * len(lengths)
            data = self._bytes(sum(lengths))
            at = 0
            for length in lengths:
                out.append(data[at : at + length])
                at += length
        array = np.empty(len(out), object)
        array[:] = out
        return array

    def _group(self, count: int, budget: int | None) -> list[int]:
        """Lengths of the next strings to read at once: at least one, up to a window of bytes."""
        if not self._pending:
            few = min(self._unread, _GROUP)
            self._unread -= few
            self._pending = self._lengths.take(few).tolist()[::-1]
        room = _WINDOW if budget is None else min(_WINDOW, budget)
        lengths: list[int] = []
        while self._pending and len(lengths) < count and (room > 0 or not lengths):
            lengths.append(self._pending.pop())
            room -= lengths[-1] + STRING_OVERHEAD
        return lengths

    def finish(self) -> None:
        """Compare the checksum, and that the strings fill their place."""
        if self._empty:
            return
        if self._pos != self._stop:
            raise self._where.damaged("bytes are left over", self._stop - self._pos, 0)
        if mask(self._crc) != self._stored:
            raise self._where.mismatch(self._crc, self._stored)

    def _bytes(self, size: int) -> bytes:
        if self._pos + size > self._stop:
            raise self._where.damaged("strings longer than their place")
        data = self._file.pread(self._pos, size)
        if len(data) != size:
            raise self._where.short(len(data), size)
        self._pos += size
        self._crc = crc32c(data, self._crc)
        return data

    def _check_lengths(self, offset: int) -> int:
        """Check the checksum over the lengths; returns where the strings begin."""
        lengths = Varints(self._file, offset, self._stop, self.count, self._where)
        left = self.count
        total = 0
        while left:
            values = lengths.take(min(left, 65536))
            left -= len(values)
            total += sum(values.tolist())
            self._crc = crc32c(self._length_bytes(values), self._crc)
        stored = self._file.pread(lengths.position, 4)
        expected = int.from_bytes(stored, self._order)
        if len(stored) < 4 or lengths.position + 4 > self._stop:
            raise self._where.damaged("no room for the checksum of the lengths")
        if unmask(expected) != self._crc:
            raise self._where.mismatch(self._crc, expected)
        if lengths.position + 4 + total != self._stop:
            expected = self._stop - lengths.position - 4
            raise self._where.damaged("lengths do not add up", total, expected)
        self._crc = crc32c(stored, self._crc)
        return lengths.position + 4

    def _length_bytes(self, values: Array) -> bytes:
        if int(values.max()) <= _FULL32:
            return bytes(values.astype(">u4" if self._order == "big" else "<u4").tobytes())
        numbers = values.tolist()
        return b"".join(v.to_bytes(4 if v <= _FULL32 else 8, self._order) for v in numbers)


def scalar_string(
    file: RangedFile, offset: int, size: int, where: Where, *, crc: int, big_endian: bool
) -> bytes:
    """The one string of a scalar string tensor of a bundle, checked, without NumPy."""
    if size > SCALAR_CAP:
        raise where.damaged("a string too large to read at once", size, f"≤ {SCALAR_CAP}")
    data = file.pread(offset, size)
    if len(data) != size:
        raise where.short(len(data), size)
    try:
        length, at = varint(data, 0, size)
    except WireError as error:
        raise where.damaged("no length") from error
    order: Literal["big", "little"] = "big" if big_endian else "little"
    lengths_crc = crc32c(length.to_bytes(4 if length <= _FULL32 else 8, order))
    stored = data[at : at + 4]
    if unmask(int.from_bytes(stored, order)) != lengths_crc:
        raise where.mismatch(lengths_crc, int.from_bytes(stored, order))
    if at + 4 + length != size:
        raise where.damaged("lengths do not add up", length, size - at - 4)
    whole = crc32c(data[at:], lengths_crc)
    if mask(whole) != crc:
        raise where.mismatch(whole, crc)
    return data[at + 4 :]
