"""Attribute values and constant tensors of graph nodes, without NumPy.

Layout: ``tensorflow:core/framework/attr_value.proto``, ``tensor.proto``, ``tensor_shape.proto``.
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any, NamedTuple

from ckpttool.storage import wire
from ckpttool.storage.wire import WireError, signed
from ckpttool.tensors import DType, dtype_from_enum

MAX_RANK = 254  # tensorflow:core/framework/tensor_shape.h, TensorShape::MaxDimensions
MAX_STRINGS = 10_000_000
MAX_SPLAT = 1 << 16  # stored elements that are compared

GraphShape = tuple[int | None, ...]

# dtype -> struct code of one stored element; bfloat16 is widened by hand.
_CODES = {
    "float32": "f", "float64": "d", "float16": "e", "int8": "b", "uint8": "B", "int16": "h",
    "uint16": "H", "int32": "i", "uint32": "I", "int64": "q", "uint64": "Q", "bool": "?",
    "bfloat16": "H",
}  # fmt: skip

# The TensorProto field that holds the elements of a dtype; struct code of one, None: a varint.
_TYPED: dict[str, tuple[int, str | None]] = {
    "float32": (5, "f"), "float64": (6, "d"), "float16": (13, None), "bfloat16": (13, None),
    "int8": (7, None), "uint8": (7, None), "int16": (7, None), "uint16": (7, None),
    "int32": (7, None), "int64": (10, None), "bool": (11, None), "uint32": (16, None),
    "uint64": (17, None),
}  # fmt: skip


class Attr(NamedTuple):
    """One attribute: ``kind`` is a field name of AttrValue (``i f b s type shape tensor list …``).

    ``type`` is the enum number; ``shape`` a tuple or None; ``tensor`` a :class:`TensorValue`;
    ``func`` and ``placeholder`` are bytes; ``list`` is a list of the elements' own values.
    """

    kind: str
    value: Any


def attr_spans(buf: bytes, start: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Where each attribute's AttrValue lies, in a NodeDef at ``buf[start:end]``."""
    spans = {}
    for field, kind, a, b in wire.fields(buf, start, end):
        if field != 5 or kind != wire.BYTES:
            continue
        key = b""
        value = (b, b)
        for entry_field, entry_kind, c, d in wire.fields(buf, a, b):
            if entry_kind == wire.BYTES:
                if entry_field == 1:
                    key = buf[c:d]
                elif entry_field == 2:
                    value = (c, d)
        spans[key] = value
    return spans


def attr_value(buf: bytes, start: int, end: int) -> Attr:
    """Decode an AttrValue; an empty one is ``Attr("none", None)``.  Raises :class:`WireError`."""
    found = Attr("none", None)
    for field, kind, a, b in wire.fields(buf, start, end):
        decoded = _element(buf, field, kind, a, b)
        if decoded is not None:
            found = decoded
        elif kind == wire.BYTES and field == 1:
            found = Attr("list", _list(buf, a, b))
        elif kind == wire.BYTES and field == 10:
            found = Attr("func", _first_bytes(buf, a, b))
        elif kind == wire.BYTES and field == 9:
            found = Attr("placeholder", buf[a:b])
    return found


def _element(buf: bytes, field: int, kind: int, a: int, b: int) -> Attr | None:
    if kind == wire.BYTES:
        if field == 2:
            return Attr("s", buf[a:b])
        if field == 7:
            return Attr("shape", shape(buf, a, b))
        if field == 8:
            return Attr("tensor", TensorValue(buf, a, b))
    elif kind == wire.VARINT:
        if field == 3:
            return Attr("i", signed(a))
        if field == 5:
            return Attr("b", a != 0)
        if field == 6:
            return Attr("type", a)
    elif kind == wire.FIXED32 and field == 4:
        return Attr("f", struct.unpack("<f", a.to_bytes(4, "little"))[0])
    return None


def _list(buf: bytes, start: int, end: int) -> list[Any]:
    out: list[Any] = []
    for field, kind, a, b in wire.fields(buf, start, end):
        if kind == wire.BYTES and field in (3, 5, 6):
            values = wire.packed_varints(buf, a, b)
            out += [signed(value) if field == 3 else value for value in values]
        elif kind == wire.BYTES and field == 4:
            out += struct.unpack(f"<{(b - a) // 4}f", buf[a : b - (b - a) % 4])
        elif kind == wire.BYTES and field == 9:
            out.append(_first_bytes(buf, a, b))
        else:
            decoded = _element(buf, field, kind, a, b)
            if decoded is not None:
                out.append(decoded.value)
    return out


def _first_bytes(buf: bytes, start: int, end: int) -> bytes:
    """The NameAttrList's name."""
    for field, kind, a, b in wire.fields(buf, start, end):
        if field == 1 and kind == wire.BYTES:
            return buf[a:b]
    return b""


def shape(buf: bytes, start: int, end: int) -> GraphShape | None:
    """A TensorShapeProto; None if the rank is unknown, a None dimension where it is open."""
    dims: list[int | None] = []
    for field, kind, a, b in wire.fields(buf, start, end):
        if field == 3 and kind == wire.VARINT and a:
            return None
        if field == 2 and kind == wire.BYTES:
            size = 0
            for dim_field, dim_kind, value, _ in wire.fields(buf, a, b):
                if dim_field == 1 and dim_kind == wire.VARINT:
                    size = signed(value)
            dims.append(None if size < 0 else size)
            if len(dims) > MAX_RANK:
                raise WireError(f"a shape of more than {MAX_RANK} dimensions", start)
    return tuple(dims)


class TensorValue:
    """A TensorProto: dtype and shape at once, elements when asked for.

    A constant can be huge; :meth:`numbers` decodes at most what it is asked for, and
    :meth:`splat` says whether all elements are one value without decoding them.
    """

    __slots__ = ("_buf", "_content", "_end", "_start", "_typed", "dtype", "shape")

    def __init__(self, buf: bytes, start: int, end: int) -> None:
        self._buf = buf
        self._start = start
        self._end = end
        self.dtype: DType = dtype_from_enum(0)
        self.shape: GraphShape | None = ()
        self._content: tuple[int, int] | None = None
        self._typed = False
        shaped = False
        for field, kind, a, b in wire.fields(buf, start, end):
            if field == 1 and kind == wire.VARINT:
                self.dtype = dtype_from_enum(a)
            elif field == 2 and kind == wire.BYTES:
                self.shape = shape(buf, a, b)
                shaped = True
            elif field == 4 and kind == wire.BYTES and b > a:
                self._content = (a, b)
            elif field > 4:
                self._typed = True
                if shaped and self.dtype.enum:
                    break  # element fields come last, and there may be very many of them

    def __repr__(self) -> str:
        return f"TensorValue({self.dtype.name}, {self.shape})"

    @property
    def count(self) -> int:
        """Number of elements, 0 where the shape is not known."""
        if self.shape is None or None in self.shape:
            return 0
        return prod(size for size in self.shape if size is not None)

    def strings(self) -> list[bytes]:
        """The elements of a string tensor (as stored: fewer than ``count`` if the last repeats)."""
        buf, pos, end = self._buf, self._start, self._end
        out: list[bytes] = []
        while pos < end:
            if buf[pos] == 0x42 and pos + 1 < end and buf[pos + 1] < 0x80:  # field 8, short
                after = pos + 2 + buf[pos + 1]
                if after <= end:
                    out.append(buf[pos + 2 : after])
                    pos = after
                    continue
            field, kind, a, b = next(wire.fields(buf, pos, end))
            if field == 8 and kind == wire.BYTES:
                out.append(buf[a:b])
            pos = b
        if len(out) > MAX_STRINGS:
            raise WireError(f"more than {MAX_STRINGS} strings", self._start)
        return out

    def numbers(self, limit: int) -> list[float] | list[int] | list[bool] | None:
        """The elements in C order, at most ``limit`` of them; None if this dtype has no numbers."""
        code = _CODES.get(self.dtype.name)
        if code is None:
            return None
        wanted = min(self.count, limit)
        if self._content is not None:
            return self._from_content(code, wanted)
        stored = self._from_fields(wanted)
        if not stored:
            stored = self._integers([0])
        return [*stored[:wanted], *(stored[-1:] * (wanted - len(stored)))]

    def splat(self) -> Any:
        """The one value of all elements; None if they differ, or there are none or no numbers."""
        if self.count == 0:
            return None
        if self._content is not None:
            first = self.numbers(1)
            size = self.dtype.itemsize
            start, end = self._content
            if not first or size == 0:
                return None
            return first[0] if _repeats(self._buf, start, end, size) else None
        if self.dtype.name not in _CODES:
            return None
        values = self._from_fields(MAX_SPLAT)
        if len(values) == MAX_SPLAT:
            return None  # nobody stores one value so often element by element
        return (values or [0])[0] if len(set(values)) <= 1 else None

    def _from_content(self, code: str, wanted: int) -> list[Any]:
        start, end = self._content or (0, 0)
        size = self.dtype.itemsize
        have = min(wanted, (end - start) // size)
        raw = self._buf[start : start + have * size]
        return self._convert(list(struct.unpack(f"<{have}{code}", raw)))

    def _from_fields(self, wanted: int) -> list[Any]:
        if not self._typed:
            return []
        number, code = _TYPED[self.dtype.name]
        single = {"f": wire.FIXED32, "d": wire.FIXED64}.get(code or "", wire.VARINT)
        out: list[Any] = []
        for field, kind, a, b in wire.fields(self._buf, self._start, self._end):
            if field != number:
                continue
            if kind == wire.BYTES:
                out += _packed(self._buf, a, b, code, wanted)
            elif kind == single:
                out.append(a if code is None else _fixed(a, kind))
            if len(out) >= wanted:
                break
        return self._integers(out[:wanted])

    def _integers(self, values: list[Any]) -> list[Any]:
        """Varints of the proto as values of this dtype (float16 travels as its bits)."""
        name = self.dtype.name
        if name == "float16":
            return [_half(value) for value in values]
        if name == "bfloat16":
            return self._convert([value & 0xFFFF for value in values])
        if name == "bool":
            return [bool(value) for value in values]
        if self.dtype.kind == "int":
            return [signed(value) for value in values]
        if self.dtype.kind == "uint":  # an int_val of -1 is 255 in a uint8
            return [value & ((1 << 8 * self.dtype.itemsize) - 1) for value in values]
        return values

    def _convert(self, values: list[Any]) -> list[Any]:
        if self.dtype.name != "bfloat16":
            return values
        return [struct.unpack("<f", struct.pack("<I", value << 16))[0] for value in values]


def _half(bits: int) -> float:
    value: float = struct.unpack("<e", struct.pack("<H", bits & 0xFFFF))[0]
    return value


def _fixed(value: int, kind: int) -> float:
    code, size = ("f", 4) if kind == wire.FIXED32 else ("d", 8)
    number: float = struct.unpack(f"<{code}", value.to_bytes(size, "little"))[0]
    return number


def _packed(buf: bytes, start: int, end: int, code: str | None, wanted: int) -> list[Any]:
    if code is None:
        out: list[int] = []
        while start < end and len(out) < wanted:
            value, start = wire.varint(buf, start, end)
            out.append(value)
        return out
    size = 4 if code == "f" else 8
    count = min(wanted, (end - start) // size)
    return list(struct.unpack(f"<{count}{code}", buf[start : start + count * size]))


def _repeats(buf: bytes, start: int, end: int, size: int) -> bool:
    """Whether ``buf[start:end]`` is its first ``size`` bytes again and again, in bounded memory."""
    step = size * (1 << 16)
    pattern = buf[start : start + size] * min(1 << 16, (end - start) // size + 1)
    for pos in range(start, end, step):
        piece = buf[pos : min(pos + step, end)]
        if piece != pattern[: len(piece)]:
            return False
    return True
