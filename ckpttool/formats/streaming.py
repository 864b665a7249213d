"""Elements from stored bytes, piece by piece: one stream for a whole tensor or for one slice.

A stream is consumed in C order and checks the stored checksum when it is finished, so memory
stays bounded whatever the tensor's size.  NumPy is imported when the first stream is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ckpttool.errors import CorruptError, InputError, Problem, corrupt
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.files import RangedFile
from ckpttool.tensors import DType

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

STRING_OVERHEAD = 48  # a bytes object and its place in an array

_WINDOW = 256 << 10
_MAX_VARINT = 10
_VARINTS = 64 << 10  # numbers decoded at once


class Stream(Protocol):
    """Elements in C order."""

    count: int  # elements in all

    def take(self, count: int, max_bytes: int | None = None) -> Array:
        """The next ``count`` elements, 1-D; fewer (at least one) if they exceed ``max_bytes``."""

    def finish(self) -> None:
        """Check that the stream ended where it should, and its checksum."""


class Where:
    """What a message says about a stored tensor: its name, its file and its first byte."""

    __slots__ = ("name", "offset", "path")

    def __init__(self, name: str, path: str, offset: int) -> None:
        self.name = name
        self.path = path
        self.offset = offset

    def damaged(self, what: str, found: object = None, expected: object = None) -> CorruptError:
        """An INP004 about this tensor."""
        message = f"{what} in tensor {self.name}"
        return corrupt(message, self.path, self.offset, found=found, expected=expected)

    def mismatch(self, crc: int, stored: int) -> CorruptError:
        """An INP005 about this tensor; both checksums masked, as stored."""
        return corrupt(
            f"the checksum of tensor {self.name} does not match",
            self.path,
            self.offset,
            code="INP005",
            found=f"{mask(crc):08x}",
            expected=f"{stored:08x}",
        )

    def short(self, found: int, expected: int) -> CorruptError:
        """An INP007 about this tensor."""
        return corrupt(
            f"the file ends inside tensor {self.name}",
            self.path,
            self.offset,
            code="INP007",
            found=f"{found} bytes",
            expected=f"{expected} bytes",
        )


class RawStream:
    """Elements of fixed size, as they lie in the file."""

    def __init__(
        self,
        file: RangedFile,
        offset: int,
        count: int,
        dtype: DType,
        where: Where,
        *,
        crc: int | None = None,
        big_endian: bool = False,
    ) -> None:
        """``crc`` is the stored (masked) checksum of the bytes, None where there is none."""
        self.count = count
        self._file = file
        self._pos = offset
        self._dtype = dtype
        self._where = where
        self._stored = crc
        self._crc = 0
        self._big = big_endian
        if offset + count * dtype.itemsize > file.size:
            raise where.short(max(0, file.size - offset), count * dtype.itemsize)

    def take(self, count: int, max_bytes: int | None = None) -> Array:
        """The next ``count`` elements; always all of them (the caller counts fixed sizes)."""
        size = count * self._dtype.itemsize
        data = self._file.pread(self._pos, size)
        if len(data) != size:
            raise self._where.short(len(data), size)
        self._pos += size
        if self._stored is not None:
            self._crc = crc32c(data, self._crc)
        return elements(data, self._dtype, self._big)

    def finish(self) -> None:
        """Compare the checksum."""
        if self._stored is not None and mask(self._crc) != self._stored:
            raise self._where.mismatch(self._crc, self._stored)


def elements(data: bytes | memoryview, dtype: DType, big_endian: bool = False) -> Array:
    """The elements that ``data`` holds.  Sub-byte types take a byte each, in its low bits.

    ``tensorflow:core/util/tensor_bundle/byte_swap_array.cc``: complex numbers are swapped half by
    half.  A bool is true if its byte is not zero.
    """
    import numpy as np

    if dtype.name == "bool":
        truth: Array = np.frombuffer(data, np.uint8) != 0
        return truth
    if dtype.name in _LOW_BITS:
        return _low_bits(np.frombuffer(data, np.uint8), dtype)
    array = np.frombuffer(data, dtype.numpy)
    unit = dtype.itemsize // 2 if dtype.kind == "complex" else dtype.itemsize
    if big_endian and unit > 1:
        array = array.view(f"u{unit}").byteswap().view(dtype.numpy)
    return array


_LOW_BITS = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2, "float4_e2m1fn": 4}


def _low_bits(raw: Array, dtype: DType) -> Array:
    import numpy as np

    drop = 8 - _LOW_BITS[dtype.name]
    if dtype.kind == "int":  # shifting back brings the sign down
        return ((raw << drop).view(np.int8) >> drop).astype(dtype.numpy)
    low = raw & (0xFF >> drop)
    return low.astype(dtype.numpy) if dtype.kind == "uint" else low.view(dtype.numpy)


class Varints:
    """``count`` varints from ``file[start:stop]``, decoded a window at a time."""

    def __init__(self, file: RangedFile, start: int, stop: int, count: int, where: Where) -> None:
        self.position = start  # the first byte that is not yet taken
        self._file = file
        self._stop = stop
        self._left = count
        self._where = where
        self._values: list[Array] = []
        self._ends: list[Array] = []
        self._have = 0
        self._next = start

    def take(self, count: int) -> Array:
        """The next ``count`` values as uint64."""
        import numpy as np

        while self._have < count:
            self._refill()
        if not count:
            return np.empty(0, np.uint64)
        values = np.concatenate(self._values) if len(self._values) > 1 else self._values[0]
        ends = np.concatenate(self._ends) if len(self._ends) > 1 else self._ends[0]
        self._values, self._ends = [values[count:]], [ends[count:]]
        self._have -= count
        self.position = int(ends[count - 1])
        return values[:count]

    def _refill(self) -> None:
        import numpy as np

        data = self._file.pread(self._next, min(_WINDOW, self._stop - self._next))
        window = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(window < 0x80)[: self._left]
        if not len(ends):
            raise self._where.damaged("a list of numbers is cut")
        values = decode_varints(window, ends)
        if values is None:
            raise self._where.damaged("a number is longer than 10 bytes")
        self._values.append(values)
        self._ends.append(ends + (self._next + 1))
        self._have += len(ends)
        self._left -= len(ends)
        self._next += int(ends[-1]) + 1


def decode_varints(window: Array, ends: Array) -> Array | None:
    """The varints of ``window`` whose last bytes are at ``ends``; None if one is too long."""
    import numpy as np

    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    sizes = ends - starts + 1
    longest = int(sizes.max())
    if longest > _MAX_VARINT:
        return None
    values = (window[starts] & 0x7F).astype(np.uint64)
    for index in range(1, longest):
        longer = np.flatnonzero(sizes > index)
        piece = (window[starts[longer] + index] & 0x7F).astype(np.uint64)
        values[longer] |= piece << np.uint64(7 * index)
    return values


class VarintStream:
    """``count`` numbers stored as the varints of ``file[start:stop]``.

    ``convert`` makes elements of them (from a uint64 array).  The bytes are checked already.
    """

    def __init__(
        self,
        file: RangedFile,
        start: int,
        stop: int,
        count: int,
        convert: Callable[[Array], Array],
        where: Where,
    ) -> None:
        self.count = count
        self._stop = stop
        self._where = where
        self._convert = convert
        self._varints = Varints(file, start, stop, count, where)
        if count > stop - start:
            raise where.damaged("too few bytes for the numbers", stop - start, f"≥ {count}")

    def take(self, count: int, max_bytes: int | None = None) -> Array:
        """The next ``count`` elements; always all of them."""
        import numpy as np

        # A uint64 takes up to eight times its element: only a few are held as such at once.
        pieces = [
            self._convert(self._varints.take(min(_VARINTS, count - start)))
            for start in range(0, max(1, count), _VARINTS)
        ]
        return np.concatenate(pieces)

    def finish(self) -> None:
        """Check that no number is left over."""
        if self._varints.position != self._stop:
            raise self._where.damaged("more numbers than elements")


def allocate(shape: tuple[int, ...], dtype: DType, name: str) -> Array:
    """An empty array, or :class:`InputError` where memory does not hold it."""
    import numpy as np

    try:
        return np.empty(shape, dtype.numpy)
    except (MemoryError, ValueError) as error:
        raise InputError(
            Problem("INP009", f"tensor {name} does not fit in memory", None, str(list(shape)))
        ) from error
