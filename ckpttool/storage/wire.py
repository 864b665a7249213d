"""A bounds-checked cursor over protocol-buffer wire bytes.

Reading field by field, and stepping over what is not asked for, lists a large graph without
building it and starts in no time.  Every length is checked against the end of its own message, so
hostile input ends in :class:`WireError` with the byte offset, never in a wrong value.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

VARINT = 0
FIXED64 = 1
BYTES = 2
GROUP_START = 3
GROUP_END = 4
FIXED32 = 5

_unpack_fixed32 = struct.Struct("<I").unpack_from
_unpack_fixed64 = struct.Struct("<Q").unpack_from
_MAX_VARINT_SHIFT = 63


class WireError(ValueError):
    """Bytes that are no valid message; ``offset`` counts from the start of the buffer."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(f"{message} at byte {offset}")
        self.message = message
        self.offset = offset


def varint(buf: bytes, pos: int, end: int) -> tuple[int, int]:
    """The unsigned varint at ``pos`` and the position after it."""
    result = 0
    shift = 0
    start = pos
    while pos < end:
        byte = buf[pos]
        pos += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, pos
        shift += 7
        if shift > _MAX_VARINT_SHIFT:
            raise WireError("varint longer than 10 bytes", start)
    raise WireError("varint runs past the end", start)


def signed(value: int) -> int:
    """A varint's value as a signed 64-bit integer (protobuf's int32 and int64)."""
    return value - (1 << 64) if value >= 1 << 63 else value


def fields(
    buf: bytes, start: int = 0, end: int | None = None
) -> Iterator[tuple[int, int, int, int]]:
    """Yield ``(number, wire_type, a, b)`` for each field of the message in ``buf[start:end]``.

    For length-delimited fields ``a`` and ``b`` are the payload's start and end; for varints and
    fixed fields ``a`` is the (unsigned) value and ``b`` the position after it.
    """
    if end is None:
        end = len(buf)
    pos = start
    while pos < end:
        tag = buf[pos]
        if tag < 0x80:
            pos += 1
        else:
            tag, pos = varint(buf, pos, end)
        wire_type = tag & 7
        if wire_type == BYTES:
            if pos < end and buf[pos] < 0x80:
                length = buf[pos]
                pos += 1
            else:
                length, pos = varint(buf, pos, end)
            stop = pos + length
            if stop > end:
                raise WireError(f"field {tag >> 3} of {length} bytes runs past the end", pos)
            yield tag >> 3, BYTES, pos, stop
            pos = stop
        elif wire_type == VARINT:
            value, pos = varint(buf, pos, end)
            yield tag >> 3, VARINT, value, pos
        elif wire_type == FIXED32:
            if pos + 4 > end:
                raise WireError("fixed32 field runs past the end", pos)
            yield tag >> 3, FIXED32, _unpack_fixed32(buf, pos)[0], pos + 4
            pos += 4
        elif wire_type == FIXED64:
            if pos + 8 > end:
                raise WireError("fixed64 field runs past the end", pos)
            yield tag >> 3, FIXED64, _unpack_fixed64(buf, pos)[0], pos + 8
            pos += 8
        else:
            raise WireError(f"unknown wire type {wire_type}", pos - 1)


def packed_varints(buf: bytes, start: int, end: int) -> list[int]:
    """The varints of a packed repeated field."""
    values = []
    pos = start
    while pos < end:
        value, pos = varint(buf, pos, end)
        values.append(value)
    return values


def encode_varint(value: int) -> bytes:
    """``value`` (negative numbers as 64-bit two's complement) as a varint."""
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_varint_field(number: int, value: int) -> bytes:
    """A varint field with its tag."""
    return encode_varint(number << 3 | VARINT) + encode_varint(value)


def encode_bytes_field(number: int, payload: bytes) -> bytes:
    """A length-delimited field with its tag."""
    return encode_varint(number << 3 | BYTES) + encode_varint(len(payload)) + payload


def encode_fixed32_field(number: int, value: int) -> bytes:
    """A fixed32 field with its tag."""
    return encode_varint(number << 3 | FIXED32) + struct.pack("<I", value)
