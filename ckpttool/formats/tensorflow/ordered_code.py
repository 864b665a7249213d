"""Keys of tensor slices: a name and extents in an encoding that sorts like what it encodes.

``key = NumInc(0) String(name) NumInc(rank) {SignedInc(start) SignedInc(length)}*``; a full
dimension has start 0 and length -1.  Source: ``tensorflow:core/lib/strings/ordered_code.cc`` and
``core/util/saved_tensor_slice_util.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence

# One dimension of a stored slice: (start, length); (0, FULL) where no length is stored.
Extent = tuple[int, int]
FULL = -1

MAX_RANK = 254  # TensorShape::MaxDimensions
_MAX_SIGNED_BYTES = 10


def encode_slice_key(name: bytes, extents: Sequence[Extent]) -> bytes:
    """The table key of the slice ``extents`` of the tensor ``name``."""
    escaped = name
    if b"\x00" in name or b"\xff" in name:
        escaped = b"".join(_ESCAPES.get(byte) or bytes((byte,)) for byte in name)
    parts = [b"\x00", escaped, b"\x00\x01", _encode_number(len(extents))]
    for start, length in extents:
        parts.append(encode_signed(start))
        parts.append(encode_signed(length))
    return b"".join(parts)


_ESCAPES = {0x00: b"\x00\xff", 0xFF: b"\xff\x00"}


def decode_slice_key(key: bytes) -> tuple[bytes, tuple[Extent, ...]] | None:
    """Name and extents of a slice key; None for a key that is not wholly one."""
    if key[:1] != b"\x00":
        return None
    try:
        name, pos = _decode_string(key, 1)
        rank, pos = _decode_number(key, pos)
        if rank > MAX_RANK:
            return None
        extents = []
        for _ in range(rank):
            start, pos = decode_signed(key, pos)
            length, pos = decode_signed(key, pos)
            extents.append((start, length))
    except (IndexError, ValueError):
        return None
    return (name, tuple(extents)) if pos == len(key) else None


def _encode_number(value: int) -> bytes:
    size = (value.bit_length() + 7) // 8
    return bytes((size,)) + value.to_bytes(size, "big")


def _decode_number(data: bytes, pos: int) -> tuple[int, int]:
    size = data[pos]
    stop = pos + 1 + size
    if size > 8 or stop > len(data):
        raise ValueError("number is cut")
    return int.from_bytes(data[pos + 1 : stop], "big"), stop


def _decode_string(data: bytes, pos: int) -> tuple[bytes, int]:
    out = bytearray()
    while True:
        byte = data[pos]
        if byte not in _ESCAPES:
            out.append(byte)
            pos += 1
            continue
        following = data[pos + 1]
        pos += 2
        if byte == 0x00 and following == 0x01:
            return bytes(out), pos
        if _ESCAPES[byte][1] != following:
            raise ValueError("unknown escape")
        out.append(byte)


def encode_signed(value: int) -> bytes:
    """An int64 in 1 to 10 bytes: sign and length in the leading bits, then two's complement."""
    size = 1
    while not -(1 << 7 * size - 1) <= value < 1 << 7 * size - 1:
        size += 1
    # `size` leading one bits, seen as a number of `size` bytes, flip the sign extension.
    header = ((1 << size) - 1) << 7 * size
    return ((value & ((1 << 8 * size) - 1)) ^ header).to_bytes(size, "big")


def decode_signed(data: bytes, pos: int) -> tuple[int, int]:
    """The signed number at ``pos`` and the position after it; ValueError or IndexError if cut."""
    flip = 0 if data[pos] & 0x80 else 0xFF
    size = 0
    mask = 0x80
    at = pos
    while (data[at] ^ flip) & mask:
        size += 1
        mask >>= 1
        if not mask:
            at += 1
            mask = 0x80
        if size > _MAX_SIGNED_BYTES:
            raise ValueError("number longer than 10 bytes")
    stop = pos + size
    if stop > len(data):
        raise ValueError("number is cut")
    header = ((1 << size) - 1) << 7 * size
    value = int.from_bytes(data[pos:stop], "big") ^ header
    if flip:  # negative: the bits above the payload are those of the sign
        value -= 1 << 8 * size
    if not -(1 << 63) <= value < 1 << 63:
        raise ValueError("number exceeds 64 bits")
    return value, stop
