"""CRC32C, and the masked form that tables and bundles store.

The mask (rotate right by 15 bits, add a constant) is LevelDB's: it keeps the checksum of data
that itself holds checksums from being degenerate.  Source: ``leveldb:util/crc32c.h``.
"""

from __future__ import annotations

import google_crc32c

_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC32C of ``data``, continuing from ``crc``; the GIL is free while it runs."""
    return int(google_crc32c.extend(crc, data))


def mask(crc: int) -> int:
    """The stored form of a CRC."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def unmask(masked: int) -> int:
    """The CRC behind its stored form."""
    rotated = (masked - _MASK_DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF
