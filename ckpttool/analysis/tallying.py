"""Tally one pair of blocks of any dtype: exact for integers, scaled where float64 is left.

What is counted is said in :mod:`ckpttool.analysis.metrics`; float32 in bulk has a faster way in
:mod:`ckpttool.analysis.blocks`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ckpttool.analysis.metrics import EXACT, Tally, Tolerance, Wide

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Sums of squares below and above these are formed again with a scale: their terms may have
# underflowed or overflowed.
_SMALL, _LARGE = 1e-280, 1e280
_LOW_WORD = 0xFFFFFFFF


def compare(a: Array, b: Array, tolerance: Tolerance = EXACT) -> Tally:
    """Tally one pair of 1-D blocks of equal length, of any decodable dtypes."""
    import numpy as np

    if a.dtype == object or b.dtype == object:
        return _strings(a, b)
    with np.errstate(all="ignore"):
        kinds = {_kind(a), _kind(b)}
        if kinds <= {"int"}:
            return _integers(a, b, tolerance)
        if kinds == {"int", "float"}:
            return _int_and_float(a, b, tolerance)
        if "complex" in kinds:
            return _complexes(a.astype(np.complex128), b.astype(np.complex128), tolerance)
        return _floats(a.astype(np.float64), b.astype(np.float64), tolerance)


def _kind(array: Array) -> str:
    kind = array.dtype.kind
    if kind in "iub" or array.dtype.name in ("int4", "uint4", "int2", "uint2"):
        return "int"
    return "complex" if kind == "c" else "float"


def _strings(a: Array, b: Array) -> Tally:
    tally = Tally()
    tally.numeric = False
    tally.elements = len(a)
    pairs = zip(a.tolist(), b.tolist(), strict=True)
    tally.differing = tally.beyond = sum(x != y for x, y in pairs)
    return tally


# --- integers --------------------------------------------------------------------------------


def _integers(a: Array, b: Array, tolerance: Tolerance) -> Tally:
    import numpy as np

    a, b = _widened(a), _widened(b)
    if a.dtype != b.dtype and (min(int(a.min()), int(b.min())) < 0 if len(a) else False):
        return _big_integers(a, b, tolerance)
    tally = Tally()
    tally.elements = tally.finite = len(a)
    if not len(a):
        return tally
    x, y = a.astype(np.uint64), b.astype(np.uint64)  # modulo 2**64: their difference is exact
    signed = a.dtype == b.dtype == np.int64
    larger = (a > b) if signed else (x > y)
    distance = np.where(larger, x - y, y - x)
    tally.differing = tally.beyond = int(np.count_nonzero(distance))
    tally.max_abs = int(distance.max())
    low, high = distance & np.uint64(_LOW_WORD), distance >> np.uint64(32)
    tally.sum_abs = (int(high.sum()) << 32) + int(low.sum())
    _squares(tally, a.astype(np.float64), b.astype(np.float64), distance.astype(np.float64))
    if tolerance:
        limit = _limit(b.astype(np.float64), tolerance)
        tally.beyond = int(np.count_nonzero(distance.astype(np.float64) > limit))
    return tally


def _widened(array: Array) -> Array:
    import numpy as np

    return array.astype(np.uint64 if array.dtype == np.uint64 else np.int64)


def _big_integers(a: Array, b: Array, tolerance: Tolerance) -> Tally:
    """Negative numbers against uint64: differences that no NumPy integer holds."""
    import numpy as np

    tally = Tally()
    tally.elements = tally.finite = len(a)
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    distances = [abs(x - y) for x, y in pairs]
    tally.differing = tally.beyond = sum(map(bool, distances))
    tally.max_abs = max(distances)
    tally.sum_abs = sum(distances)
    floats = np.array([float(item) for item in distances])
    _squares(tally, a.astype(np.float64), b.astype(np.float64), floats)
    if tolerance:
        limit = _limit(b.astype(np.float64), tolerance)
        tally.beyond = int(np.count_nonzero(floats > limit))
    return tally


# --- floating point --------------------------------------------------------------------------


def _int_and_float(a: Array, b: Array, tolerance: Tolerance) -> Tally:
    """Integers that float64 may not hold: subtracted in two halves, which are exact."""
    import numpy as np

    swap = _kind(b) == "int"
    whole, real = (_widened(b), a) if swap else (_widened(a), b)
    real = real.astype(np.float64)
    low = (whole & whole.dtype.type(_LOW_WORD)).astype(np.float64)
    high = (whole >> whole.dtype.type(32)).astype(np.float64) * 2.0**32
    distance = np.abs((high - real) + low)
    x, y = (real, high + low) if swap else (high + low, real)
    return _floats(x, y, tolerance, distance)


def _floats(a: Array, b: Array, tolerance: Tolerance, distance: Array | None = None) -> Tally:
    """float64 blocks; the caller has silenced floating-point warnings."""
    import numpy as np

    tally = Tally()
    tally.elements = len(a)
    if not len(a):
        return tally
    if distance is None:
        distance = np.abs(a - b)
    _squares(tally, a, b, distance)
    _rest(tally, a, b, distance)
    if tolerance:
        _count_beyond(tally, a, b, distance, tolerance)
    return tally


def _rest(tally: Tally, a: Array, b: Array, distance: Array) -> None:
    """What there is beside the sums of squares, which may have to be formed again."""
    import numpy as np

    largest = float(distance.max())
    norms = tally.squares_a.mantissa, tally.squares_b.mantissa
    if not (
        all(_SMALL < item < _LARGE for item in norms)  # so all elements are finite
        and (not largest or _SMALL < tally.squares_d.mantissa < _LARGE)
    ):
        _extremes(tally, a, b, distance)
        return
    tally.finite = len(a)
    tally.differing = tally.beyond = int(np.count_nonzero(distance))
    tally.max_abs = Wide(largest)
    tally.sum_abs = Wide(float(distance.sum()))


def _extremes(tally: Tally, a: Array, b: Array, distance: Array) -> None:
    """Blocks with values that are not finite, or whose squares leave float64's range."""
    import numpy as np

    nan_a, nan_b = np.isnan(a), np.isnan(b)
    both = np.isfinite(a) & np.isfinite(b)
    same = (distance == 0) | ((a == b) & ~both) | (nan_a & nan_b)
    tally.nan_a, tally.nan_b = int(np.count_nonzero(nan_a)), int(np.count_nonzero(nan_b))
    tally.inf_a = int(np.count_nonzero(np.isinf(a) & ~nan_a))  # a complex number may be both
    tally.inf_b = int(np.count_nonzero(np.isinf(b) & ~nan_b))
    tally.differing = tally.beyond = len(a) - int(np.count_nonzero(same))
    tally.unlike = int(np.count_nonzero(nan_a ^ nan_b))
    tally.finite = int(np.count_nonzero(both))
    tally.infinite = int(np.count_nonzero(~same & ~both & ~nan_a & ~nan_b))
    _scaled(tally, a[both], b[both], distance[both])


def _scaled(tally: Tally, a: Array, b: Array, distance: Array) -> None:
    """The sums over finite elements, real or complex, with a power of two taken out of each.

    Elements that are 2**500 times smaller than the largest do not count in a sum of squares.
    """
    import numpy as np

    shift = 0
    if len(distance) and not np.isfinite(distance.max()):
        distance, shift = np.abs(_shifted(a, -2) - _shifted(b, -2)), 2
    own = _exponent(distance)
    distance = _shifted(distance, -own)
    shift += own
    tally.max_abs = Wide(float(distance.max()) if len(distance) else 0.0, shift)
    tally.sum_abs = Wide(float(distance.sum()), shift)
    tally.squares_d = Wide(float((distance * distance).sum()), 2 * shift)
    scale_a, scale_b = _exponent(a), _exponent(b)
    x, y = _parts(_shifted(a, -scale_a)), _parts(_shifted(b, -scale_b))
    tally.squares_a = Wide(float((x * x).sum()), 2 * scale_a)
    tally.squares_b = Wide(float((y * y).sum()), 2 * scale_b)
    tally.dot = Wide(float((x * y).sum()), scale_a + scale_b)


def _exponent(array: Array) -> int:
    """The binary exponent of the largest part; 0 for none and for zeros."""
    import numpy as np

    largest = float(np.abs(_parts(array)).max()) if len(array) else 0.0
    return math.frexp(largest)[1]


def _shifted(array: Array, exponent: int) -> Array:
    import numpy as np

    if array.dtype.kind == "c":
        shifted: Array = np.ldexp(_parts(array), exponent).view(array.dtype)
        return shifted
    result: Array = np.ldexp(array, exponent)
    return result


def _parts(array: Array) -> Array:
    """Complex numbers as twice as many real ones."""
    import numpy as np

    if array.dtype.kind == "c":
        return np.ascontiguousarray(array).view(array.real.dtype)
    return array


def _complexes(a: Array, b: Array, tolerance: Tolerance) -> Tally:
    """complex128 blocks.  A number is NaN, or infinite, if one of its parts is."""
    import numpy as np

    tally = Tally()
    tally.elements = len(a)
    if len(a):
        distance = np.abs(a - b)
        _squares(tally, _parts(a), _parts(b), distance)
        _rest(tally, a, b, distance)
        if tolerance:
            _count_beyond(tally, a, b, distance, tolerance)
    return tally


def _squares(tally: Tally, a: Array, b: Array, distance: Array) -> None:
    tally.squares_a = Wide(float((a * a).sum()))
    tally.squares_b = Wide(float((b * b).sum()))
    tally.squares_d = Wide(float((distance * distance).sum()))
    tally.dot = Wide(float((a * b).sum()))


def _limit(b: Array, tolerance: Tolerance) -> Array:
    import numpy as np

    limit: Array = tolerance.atol + tolerance.rtol * np.abs(b)
    return limit


def _count_beyond(tally: Tally, a: Array, b: Array, distance: Array, tolerance: Tolerance) -> None:
    """Elements that are neither the same nor close; an infinity is close to itself only."""
    import numpy as np

    close = (distance <= _limit(b, tolerance)) & np.isfinite(a) & np.isfinite(b)
    close |= (distance == 0) | ((a == b) & ~np.isfinite(a)) | (np.isnan(a) & np.isnan(b))
    tally.beyond = len(a) - int(np.count_nonzero(close))
