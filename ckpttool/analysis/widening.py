"""Elements of small types as float32, faster than NumPy's casts one by one."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ckpttool.tensors import BY_NAME

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Types whose elements float32 holds exactly.
SMALL_FLOATS = frozenset(
    dtype.name for dtype in BY_NAME.values() if dtype.kind == "float" and dtype.itemsize <= 4
)
# Integers of a byte: the sums of a few thousand of them, too, are exact in float32.
BYTE_INTS = frozenset(
    dtype.name
    for dtype in BY_NAME.values()
    if dtype.itemsize == 1 and dtype.kind in ("int", "uint", "bool", "quantized")
)

_HALF_INFINITY = 0x7C00
# Sign, exponent and fraction of a half, at their places in a float32 whose exponent is 112 too low.
_HALF_BITS = -0x70002000


def widen(array: Array, out: Array) -> None:
    """Write the elements of ``array`` to ``out`` (float32, as long); nothing is lost."""
    import numpy as np

    if array.dtype == np.float16 and _all_finite(array.view(np.uint16)):
        bits = out.view(np.int32)
        bits[:] = array.view(np.int16)
        np.left_shift(bits, 13, out=bits)
        np.bitwise_and(bits, np.int32(_HALF_BITS), out=bits)
        np.multiply(out, np.float32(2.0**112), out=out)
    elif array.dtype.itemsize == 1 and array.dtype.kind not in "iub":
        np.take(_table(array.dtype), array.view(np.uint8), out=out, mode="clip")
    else:
        out[:] = array


def _all_finite(bits: Array) -> bool:
    import numpy as np

    return not len(bits) or int((bits & np.uint16(0x7FFF)).max()) < _HALF_INFINITY


@lru_cache(maxsize=16)
def _table(dtype: np.dtype[Any]) -> Array:
    """What each of the 256 bytes is."""
    import numpy as np

    table: Array = np.arange(256, dtype=np.uint8).view(dtype).astype(np.float32)
    return table
