"""Values of a ``TensorProto``: in V1 checkpoints, and in the constants of a graph.

Each dtype has its own repeated field, packed or not; ``tensor_content`` holds raw little-endian
elements instead.  Source: ``tensorflow:core/framework/tensor.proto`` and ``tensor.cc``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any

from ckpttool.formats.streaming import (
    STRING_OVERHEAD,
    RawStream,
    Stream,
    VarintStream,
    Where,
    decode_varints,
    elements,
)
from ckpttool.formats.tensorflow.slice_layout import parse_shape
from ckpttool.formats.tensorflow.table import MemoryFile
from ckpttool.storage.files import RangedFile
from ckpttool.storage.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    VARINT,
    WireError,
    encode_varint,
    fields,
    varint,
)
from ckpttool.tensors import DType, Shape, dtype_from_enum

if TYPE_CHECKING:
    from ckpttool.formats.streaming import Array

CONTENT = 4
CONSTANT_CAP = 1 << 30  # bytes of one decoded graph constant
LOOSE_CAP = 64 << 20  # bytes of a value that is stored in an unusual way and read at once

_WINDOW = 64 << 10
_HEAD_BYTES = 20  # a tag and a length, at most 10 bytes each

_FIXED, _VARINTS, _STRINGS, _BYTES = "fixed", "varints", "strings", "bytes"
_FIELDS: dict[str, tuple[int, str]] = {
    "float32": (5, _FIXED),
    "float64": (6, _FIXED),
    "string": (8, _STRINGS),
    "complex64": (9, _FIXED),
    "int64": (10, _VARINTS),
    "bool": (11, _VARINTS),
    "complex128": (12, _FIXED),
    "float16": (13, _VARINTS),
    "bfloat16": (13, _VARINTS),
    "uint32": (16, _VARINTS),
    "uint64": (17, _VARINTS),
    **dict.fromkeys(("int32", "int16", "int8", "uint8", "uint16"), (7, _VARINTS)),
    **dict.fromkeys(("qint8", "quint8", "qint16", "quint16", "qint32"), (7, _VARINTS)),
    **dict.fromkeys(("int4", "uint4", "int2", "uint2"), (7, _VARINTS)),
    **dict.fromkeys(
        (
            "float8_e5m2",
            "float8_e4m3fn",
            "float8_e4m3fnuz",
            "float8_e4m3b11fnuz",
            "float8_e5m2fnuz",
            "float4_e2m1fn",
        ),
        (18, _BYTES),
    ),
}


def tensor_head(buf: bytes, start: int = 0, end: int | None = None) -> tuple[DType, Shape]:
    """Dtype and shape of a ``TensorProto``; :class:`WireError` for damage."""
    enum = 0
    shape: Shape = ()
    for number, wire_type, a, b in fields(buf, start, end):
        if number == 1 and wire_type == VARINT:
            enum = a
        elif number == 2 and wire_type == BYTES:
            shape = parse_shape(buf, a, b)
    return dtype_from_enum(enum), shape


def decode_tensor(
    buf: bytes, start: int = 0, end: int | None = None, *, cap: int = CONSTANT_CAP
) -> Array:
    """The array of a whole ``TensorProto``, as ``Tensor::FromProto`` makes it.

    Fewer values than elements: the last one is repeated; none: zeros.  Raises :class:`WireError`
    for damage, for a dtype without values, and for more than ``cap`` bytes.
    """
    import numpy as np

    dtype, shape = tensor_head(buf, start, end)
    if dtype.array_type is None:
        raise WireError(f"a constant of dtype {dtype.name} has no values", start)
    count = prod(shape)
    if count * (dtype.itemsize or STRING_OVERHEAD) > cap:
        raise WireError(f"a constant of {count} elements", start)
    values = decode_values(buf, start, len(buf) if end is None else end, dtype, count)
    if len(values) > count:
        raise WireError(f"{len(values)} values for {count} elements", start)
    if len(values) == count:
        return _shaped(values, shape, start)
    out = np.empty(count, dtype.numpy)
    out[: len(values)] = values
    empty: Any = b"" if dtype.kind == "string" else np.zeros(1, dtype.numpy)[0]
    out[len(values) :] = values[-1] if len(values) else empty
    return _shaped(out, shape, start)


def _shaped(values: Array, shape: Shape, start: int) -> Array:
    """``values`` in their shape; :class:`WireError` where NumPy has no such (32 or 64 axes)."""
    try:
        return values.reshape(shape)
    except ValueError as error:
        raise WireError(f"a constant of {len(shape)} dimensions", start) from error


def decode_values(buf: bytes, start: int, end: int, dtype: DType, count: int) -> Array:
    """The values that a ``TensorProto`` spells out, 1-D, however many they are.

    ``count`` is the number of elements: ``tensor_content`` must hold exactly as many.
    """
    number, kind = _FIELDS[dtype.name]
    strings: list[bytes] = []
    raw = bytearray()  # fixed-size values, or varints, as they would be packed in one field
    for field, wire_type, a, b in fields(buf, start, end):
        if field == CONTENT and wire_type == BYTES and b > a:
            if kind == _STRINGS:
                return _objects(_string_list(buf, a, b, count))
            if b - a != count * dtype.itemsize:
                raise WireError(f"{b - a} bytes for {count} elements", a)
            return elements(buf[a:b], dtype)
        if field != number:
            continue
        if kind == _STRINGS and wire_type == BYTES:
            strings.append(buf[a:b])
        elif wire_type == BYTES:
            raw += memoryview(buf)[a:b]
        elif kind == _VARINTS and wire_type == VARINT:
            raw += encode_varint(a)
        elif kind == _FIXED and wire_type in (FIXED32, FIXED64):
            raw += a.to_bytes(4 if wire_type == FIXED32 else 8, "little")
    if kind == _STRINGS:
        return _objects(strings)
    if kind == _VARINTS:
        return _packed(bytes(raw), start, dtype)
    if len(raw) % dtype.itemsize:
        raise WireError("half an element", start)
    return elements(bytes(raw), dtype)


def value_stream(
    file: RangedFile, start: int, stop: int, dtype: DType, count: int, where: Where
) -> Stream:
    """The ``count`` elements of the ``TensorProto`` in ``file[start:stop]``, as a stream.

    There must be exactly as many values as elements: checkpoints spell out all of them.  The
    bytes are checked already.  :class:`WireError` if the message itself is damaged.
    """
    number, kind = _FIELDS[dtype.name]
    spans = []
    strings = 0
    loose = False
    for field, wire_type, a, b in file_fields(file, start, stop):
        if field == CONTENT and wire_type == BYTES and b > a and kind != _STRINGS:
            return _fixed(file, a, b, dtype, count, where)
        if field == number:
            strings += 1
            loose |= wire_type != BYTES
            if kind != _STRINGS:
                spans.append((a, b))
                loose |= len(spans) > 1
        if loose:
            break
    if kind == _STRINGS:
        if strings != count:
            raise where.damaged("wrong number of strings", strings, count)
        return _Strings(file, start, stop, count)
    if loose:
        return _at_once(file, start, stop, dtype, count, where)
    a, b = spans[0] if spans else (stop, stop)
    if kind == _VARINTS:
        return VarintStream(file, a, b, count, _converter(dtype), where)
    return _fixed(file, a, b, dtype, count, where)


def file_fields(file: RangedFile, start: int, stop: int) -> Iterator[tuple[int, int, int, int]]:
    """Like :func:`ckpttool.storage.wire.fields`, over a file, holding one window of it."""
    if isinstance(file, MemoryFile):
        yield from fields(file.data, start, stop)
        return
    base, buf = start, b""
    pos = start
    while pos < stop:
        if pos + _HEAD_BYTES > base + len(buf):
            base, buf = pos, file.pread(pos, min(_WINDOW, stop - pos))
        at = pos - base
        tag, at = varint(buf, at, len(buf))
        if tag & 7 == BYTES:
            length, at = varint(buf, at, len(buf))
            first, pos = base + at, base + at + length
            if pos > stop:
                raise WireError(f"field {tag >> 3} of {length} bytes runs past the end", first)
            yield tag >> 3, BYTES, first, pos
        else:
            size = {1: 8, 5: 4}.get(tag & 7)
            if size is None:
                size = varint(buf, at, len(buf))[1] - at
            number, kind, value, _ = next(fields(buf, pos - base, min(at + size, len(buf))))
            pos = base + at + size
            yield number, kind, value, pos


class _Strings:
    """The ``string_val`` fields of a message, one after the other."""

    def __init__(self, file: RangedFile, start: int, stop: int, count: int) -> None:
        self.count = count
        self._file = file
        self._fields = file_fields(file, start, stop)

    def take(self, count: int, max_bytes: int | None = None) -> Array:
        """The next strings as an object array of bytes."""
        out: list[bytes] = []
        left = max_bytes
        for field, wire_type, a, b in self._fields:
            if field != _FIELDS["string"][0] or wire_type != BYTES:
                continue
            out.append(self._file.pread(a, b - a))
            if left is not None:
                left -= b - a + STRING_OVERHEAD
            if len(out) == count or (left is not None and left <= 0):
                break
        return _objects(out)

    def finish(self) -> None:
        """The strings were counted before."""


class _Held:
    """Elements that are in memory already."""

    def __init__(self, array: Array) -> None:
        self.count = len(array)
        self._array = array
        self._pos = 0

    def take(self, count: int, max_bytes: int | None = None) -> Array:
        """The next ``count`` elements."""
        self._pos += count
        return self._array[self._pos - count : self._pos]

    def finish(self) -> None:
        """Nothing to check."""


def _fixed(
    file: RangedFile, start: int, stop: int, dtype: DType, count: int, where: Where
) -> Stream:
    if stop - start != count * dtype.itemsize:
        raise where.damaged("wrong amount of data", stop - start, count * dtype.itemsize)
    return RawStream(file, start, count, dtype, where)


def _at_once(
    file: RangedFile, start: int, stop: int, dtype: DType, count: int, where: Where
) -> Stream:
    if stop - start > LOOSE_CAP:
        raise where.damaged("unpacked values too large to read", stop - start, f"≤ {LOOSE_CAP}")
    values = decode_values(file.pread(start, stop - start), 0, stop - start, dtype, count)
    if len(values) != count:
        raise where.damaged("wrong number of values", len(values), count)
    return _Held(values)


def _packed(raw: bytes, where: int, dtype: DType) -> Array:
    import numpy as np

    window = np.frombuffer(raw, np.uint8)
    ends = np.flatnonzero(window < 0x80)
    if not len(raw):
        return np.empty(0, dtype.numpy)
    values = decode_varints(window, ends) if len(ends) and ends[-1] == len(raw) - 1 else None
    if values is None:
        raise WireError("a list of numbers is cut", where)
    return _converter(dtype)(values)


def _converter(dtype: DType) -> Callable[[Array], Array]:
    """From varint values (uint64) to elements, as the proto's integer fields are cast."""
    import numpy as np

    if dtype.name == "bool":
        return lambda values: values != 0
    if dtype.name in ("float16", "bfloat16"):
        return lambda values: values.astype(np.uint16).view(dtype.numpy)
    if dtype.name in ("int4", "uint4", "int2", "uint2"):
        return lambda values: elements(values.astype(np.uint8).tobytes(), dtype)
    return lambda values: values.astype(dtype.numpy)  # wraps, so two's complement comes out right


def _string_list(buf: bytes, start: int, end: int, count: int) -> list[bytes]:
    """``tensor_content`` of strings: all the lengths, then all the bytes."""
    if count > end - start:
        raise WireError("too few bytes for the strings", start)
    lengths = []
    pos = start
    for _ in range(count):
        length, pos = varint(buf, pos, end)
        lengths.append(length)
    if pos + sum(lengths) != end:
        raise WireError("strings longer than their place", start)
    out = []
    for length in lengths:
        out.append(buf[pos : pos + length])
        pos += length
    return out


def _objects(strings: list[bytes]) -> Array:
    import numpy as np

    array = np.empty(len(strings), object)
    array[:] = strings
    return array
