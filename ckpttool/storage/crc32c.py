"""CRC32C, and the masked form that tables and bundles store.

The mask (rotate right by 15 bits, add a constant) is LevelDB's: it keeps the checksum of data
that itself holds checksums from being degenerate.  Source: ``leveldb:util/crc32c.h``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import google_crc32c

_MASK_DELTA = 0xA282EAD8
_POLYNOMIAL = 0x82F63B78  # bit 31 is the coefficient of x**0


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC32C of ``data``, continuing from ``crc``; the GIL is held while it runs."""
    return int(google_crc32c.extend(crc, data))


def mask(crc: int) -> int:
    """The stored form of a CRC."""
    return (((crc >> 15) | (crc << 17)) + _MASK_DELTA) & 0xFFFFFFFF


def unmask(masked: int) -> int:
    """The CRC behind its stored form."""
    rotated = (masked - _MASK_DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


@lru_cache(maxsize=1)
def unlocked_crc32c() -> Callable[[int, int, int], int] | None:
    """``f(crc, address, size)``, which leaves the GIL free; None where there is no such function.

    The C library is linked to the extension module, which calls it with the GIL held; through
    ctypes the same function runs without.  Worth it for large buffers and several threads only.
    """
    import ctypes

    try:
        from google_crc32c import _crc32c

        extend = ctypes.CDLL(_crc32c.__file__).crc32c_extend
    except (ImportError, OSError, AttributeError):
        return None
    extend.restype = ctypes.c_uint32
    extend.argtypes = (ctypes.c_uint32, ctypes.c_void_p, ctypes.c_size_t)
    check = b"123456789"
    if extend(0, check, len(check)) != crc32c(check):
        return None
    found: Callable[[int, int, int], int] = extend
    return found


def combine(first: int, second: int, length: int) -> int:
    """The CRC of two runs of bytes put together; ``length`` is the second one's.

    So the parts of a tensor can be checked by several threads.
    """
    return _times(_power(8 * length), first) ^ second


@lru_cache(maxsize=256)
def _power(exponent: int) -> int:
    """``x**exponent`` modulo the polynomial, by squaring."""
    result, square = 1 << 31, 1 << 30
    while exponent:
        if exponent & 1:
            result = _times(square, result)
        square = _times(square, square)
        exponent >>= 1
    return result


def _times(a: int, b: int) -> int:
    """The product of two polynomials modulo the polynomial."""
    product, bit = 0, 1 << 31
    while bit:
        if a & bit:
            product ^= b
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
        bit >>= 1
    return product
