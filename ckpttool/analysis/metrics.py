"""How far two tensors are apart: one pass over pairs of blocks, in sums that can be merged.

What is counted, and how (docs/how-to/compare-checkpoints.md says the same for people):

- two elements are the same if they are equal or both NaN, so -0 and +0 are the same;
- differences and norms are over the places where both elements are finite; an infinity against
  another value is an infinite difference; a NaN against a number is a changed element without a
  difference, told by the NaN counts;
- integers are subtracted exactly; floating point is summed in float64, with a scale of its own
  where squares would leave float64's range.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Sums of squares below and above these are formed again with a scale: their terms may have
# underflowed or overflowed.
_SMALL, _LARGE = 1e-280, 1e280
_LOW_WORD = 0xFFFFFFFF


class Metrics(NamedTuple):
    """What changed from ``a`` to ``b``.

    ``differing`` of ``elements`` are not the same; ``beyond`` are outside the tolerances (equal to
    ``differing`` where none were given).  ``max_abs`` is an exact ``int`` for integer dtypes.  A
    number is None where nothing can be said: strings have no differences, and no cosine exists
    with one zero vector.  ``rel_l2`` is the norm of the difference by the norm of ``a``: 0 if
    nothing differs, infinite if ``a`` is zero and ``b`` is not.
    """

    elements: int
    differing: int
    beyond: int
    max_abs: float | int | None
    mean_abs: float | None
    rel_l2: float | None
    cosine: float | None
    nan_a: int = 0
    nan_b: int = 0
    inf_a: int = 0
    inf_b: int = 0
    norm_a: float | None = None
    norm_b: float | None = None

    @property
    def changed_fraction(self) -> float:
        """The part of the elements that is not the same; 0 for an empty tensor."""
        return self.differing / self.elements if self.elements else 0.0


class Tolerance(NamedTuple):
    """An element is close if ``|a - b| <= atol + rtol * |b|``."""

    rtol: float = 0.0
    atol: float = 0.0

    def __bool__(self) -> bool:
        return self.rtol > 0 or self.atol > 0


EXACT = Tolerance()


class Wide(NamedTuple):
    """``mantissa * 2**exponent``: a sum that may lie outside float64's range."""

    mantissa: float = 0.0
    exponent: int = 0

    def plus(self, other: Wide) -> Wide:
        """The sum of both, aligned to the larger exponent."""
        if not other.mantissa:
            return self
        if not self.mantissa:
            return other
        top = max(self.exponent, other.exponent)
        mine = math.ldexp(self.mantissa, self.exponent - top)
        return Wide(mine + math.ldexp(other.mantissa, other.exponent - top), top)

    def root(self) -> Wide:
        """The square root; the exponent stays an integer."""
        if self.exponent % 2:
            return Wide(math.sqrt(self.mantissa * 2), (self.exponent - 1) // 2)
        return Wide(math.sqrt(self.mantissa), self.exponent // 2)

    def number(self) -> float:
        """As a float: infinite where it is too large."""
        try:
            return math.ldexp(self.mantissa, self.exponent)
        except OverflowError:
            return math.inf

    def over(self, other: Wide) -> float:
        """The quotient as a float."""
        quotient = self.mantissa / other.mantissa
        return Wide(quotient, self.exponent - other.exponent).number()


ZERO = Wide()


class Tally:
    """The sums over some blocks of a pair of tensors; two of them can be merged in any order."""

    __slots__ = (
        "beyond",
        "differing",
        "dot",
        "elements",
        "finite",
        "inf_a",
        "inf_b",
        "infinite",
        "max_abs",
        "nan_a",
        "nan_b",
        "numeric",
        "squares_a",
        "squares_b",
        "squares_d",
        "sum_abs",
        "unlike",
    )

    def __init__(self) -> None:
        self.elements = self.differing = self.beyond = 0
        self.finite = 0  # places where both are finite
        self.infinite = 0  # places where an infinity meets another value that is not NaN
        self.unlike = 0  # places where one of the two is NaN
        self.nan_a = self.nan_b = self.inf_a = self.inf_b = 0
        self.max_abs: Wide | int = 0
        self.sum_abs: Wide | int = 0
        self.squares_a = self.squares_b = self.squares_d = self.dot = ZERO
        self.numeric = True

    def merge(self, other: Tally) -> None:
        """Take in the sums of other blocks of the same pair."""
        for name in ("elements", "differing", "beyond", "finite", "infinite", "unlike"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("nan_a", "nan_b", "inf_a", "inf_b"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("squares_a", "squares_b", "squares_d", "dot"):
            setattr(self, name, getattr(self, name).plus(getattr(other, name)))
        self.max_abs = _larger(self.max_abs, other.max_abs)
        self.sum_abs = _sum(self.sum_abs, other.sum_abs)
        self.numeric = self.numeric and other.numeric

    def metrics(self) -> Metrics:
        """The numbers for people."""
        if not self.numeric:
            return Metrics(self.elements, self.differing, self.beyond, None, None, None, None)
        largest: float | int | None
        mean: float | None
        if self.infinite:
            largest = mean = relative = math.inf
        else:
            largest = _plain(self.max_abs)
            mean = None
            if self.finite:
                total = self.sum_abs
                mean = (
                    total / self.finite
                    if isinstance(total, int)
                    else Wide(total.mantissa / self.finite, total.exponent).number()
                )
            relative = self._relative()
        unknown = self.unlike and not self.finite and not self.infinite
        return Metrics(
            self.elements,
            self.differing,
            self.beyond,
            None if unknown else largest,
            None if unknown else mean,
            None if unknown else relative,
            None if unknown or self.infinite else self._cosine(),
            self.nan_a,
            self.nan_b,
            self.inf_a,
            self.inf_b,
            self.squares_a.root().number(),
            self.squares_b.root().number(),
        )

    def _relative(self) -> float:
        if not self.squares_d.mantissa:
            return 0.0
        if not self.squares_a.mantissa:
            return math.inf
        return self.squares_d.root().over(self.squares_a.root())

    def _cosine(self) -> float | None:
        zero_a, zero_b = not self.squares_a.mantissa, not self.squares_b.mantissa
        if zero_a or zero_b:
            return 1.0 if zero_a and zero_b else None
        a, b = self.squares_a.root(), self.squares_b.root()
        norms = Wide(a.mantissa * b.mantissa, a.exponent + b.exponent)
        return max(-1.0, min(1.0, self.dot.over(norms)))


def compare(a: Array, b: Array, tolerance: Tolerance = EXACT) -> Tally:
    """Tally one pair of 1-D blocks of equal length, of any decodable dtypes."""
    import numpy as np

    if a.dtype == object or b.dtype == object:
        return _strings(a, b)
    with np.errstate(all="ignore"):
        kinds = {_kind(a), _kind(b)}
        if kinds <= {"int"}:
            return _integers(a, b, tolerance)
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


def _floats(a: Array, b: Array, tolerance: Tolerance) -> Tally:
    """float64 blocks; the caller has silenced floating-point warnings."""
    import numpy as np

    tally = Tally()
    tally.elements = len(a)
    if not len(a):
        return tally
    distance = np.abs(a - b)
    _squares(tally, a, b, distance)
    sums = (tally.squares_a, tally.squares_b, tally.squares_d)
    if all(_SMALL < item.mantissa < _LARGE for item in sums):  # so all elements are finite
        tally.finite = len(a)
        tally.differing = tally.beyond = int(np.count_nonzero(distance))
        tally.max_abs = Wide(float(distance.max()))
        tally.sum_abs = Wide(float(distance.sum()))
    else:
        _extremes(tally, a, b)
    if tolerance:
        _count_beyond(tally, a, b, distance, tolerance)
    return tally


def _extremes(tally: Tally, a: Array, b: Array) -> None:
    """Blocks with values that are not finite, or whose squares leave float64's range."""
    import numpy as np

    nan_a, nan_b = np.isnan(a), np.isnan(b)
    both = np.isfinite(a) & np.isfinite(b)
    same = (a == b) | (nan_a & nan_b)
    tally.nan_a, tally.nan_b = int(np.count_nonzero(nan_a)), int(np.count_nonzero(nan_b))
    tally.inf_a = int(np.count_nonzero(np.isinf(a) & ~nan_a))  # a complex number may be both
    tally.inf_b = int(np.count_nonzero(np.isinf(b) & ~nan_b))
    tally.differing = tally.beyond = len(a) - int(np.count_nonzero(same))
    tally.unlike = int(np.count_nonzero(nan_a ^ nan_b))
    tally.finite = int(np.count_nonzero(both))
    tally.infinite = int(np.count_nonzero(~same & ~both & ~nan_a & ~nan_b))
    _scaled(tally, a[both], b[both])


def _scaled(tally: Tally, a: Array, b: Array) -> None:
    """The sums over finite elements, real or complex, with a power of two taken out of each.

    Elements that are 2**500 times smaller than the largest do not count in a sum of squares.
    """
    import numpy as np

    distance, shift = np.abs(a - b), 0
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
        _extremes(tally, a, b)
        if tolerance:
            _count_beyond(tally, a, b, np.abs(a - b), tolerance)
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
    close |= (a == b) | (np.isnan(a) & np.isnan(b))
    tally.beyond = len(a) - int(np.count_nonzero(close))


def _larger(a: Wide | int, b: Wide | int) -> Wide | int:
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    x, y = _wide(a), _wide(b)
    if not x.mantissa or not y.mantissa:
        return y if not x.mantissa else x
    (m, e), (n, f) = math.frexp(x.mantissa), math.frexp(y.mantissa)
    return x if (e + x.exponent, m) >= (f + y.exponent, n) else y


def _sum(a: Wide | int, b: Wide | int) -> Wide | int:
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return _wide(a).plus(_wide(b))


def _wide(value: Wide | int) -> Wide:
    return Wide(float(value)) if isinstance(value, int) else value


def _plain(value: Wide | int) -> float | int:
    return value if isinstance(value, int) else value.number()
