"""Statistics and histograms of a tensor, in one pass each and in bounded memory.

NaN is left out of all but its own count.  ``min`` and ``max`` may be infinite; ``mean`` and ``std``
(of the population) are those of the finite values.  Blocks are merged as Chan, Golub and LeVeque
do it, in the platform's widest float, so that neither the order nor the size of the values harms
the result.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_BLOCK = 1 << 16  # elements that stay in the processor's cache as float64
_NO_INF = frozenset(
    (
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e4m3b11fnuz",
        "float8_e5m2fnuz",
        "float4_e2m1fn",
    )
)
_NO_NAN = frozenset(("float4_e2m1fn",))
# Beyond these a square leaves the range of a float64.
_HUGE = 1e150
_TINY = 1e-150
_EXACT = 1 << 53  # larger integers are rounded in a float64
BINS = 20

Number = int | float


class Statistics(NamedTuple):
    """What the values are like; None where the dtype has no such thing, or nothing to take it of.

    ``mean`` of a complex tensor is ``(real, imaginary)``, its ``std`` the root mean square distance
    from it.  ``zeros`` of a string tensor are its empty strings.  ``inf`` counts both infinities.
    """

    min: Number | None = None
    max: Number | None = None
    mean: float | tuple[float, float] | None = None
    std: float | None = None
    zeros: int | None = None
    nan: int | None = None
    inf: int | None = None


class Histogram(NamedTuple):
    """Counts of the finite values in bins of equal width; ``edges`` has one more item.

    A bin holds its lower edge; the last one holds both.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


class Partial:
    """Statistics so far of a tensor of one dtype; feed it arrays, or merge another into it."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype_named(dtype)
        self.count = 0  # elements seen
        self.zeros = 0
        self.nan = 0
        self.inf = 0
        self.low: Number | None = None
        self.high: Number | None = None
        self.finite_low: Number | None = None
        self.finite_high: Number | None = None
        self._n = 0  # finite elements
        self._mean: Any = 0.0
        self._m2: Any = 0.0

    def add(self, array: Array) -> None:
        """Take in elements of the dtype."""
        import numpy as np

        flat = array.reshape(-1)
        self.count += flat.size
        kind = self.dtype.kind
        if kind == "string":
            self.zeros += sum(not item for item in flat)
            return
        if kind == "opaque" or not flat.size:
            return
        with np.errstate(all="ignore"):
            for start in range(0, flat.size, _BLOCK):
                block = plain(flat[start : start + _BLOCK], kind)
                self.zeros += block.size - int(np.count_nonzero(block))
                if kind == "complex":
                    self._complex(block)
                elif kind == "float":
                    self._floats(block)
                else:
                    low, high = int(block.min()), int(block.max())
                    self._range(low, high, finite=True)
                    largest = max(abs(low), abs(high))
                    wide = np.float64 if largest <= _EXACT else np.longdouble
                    self._moments(block.astype(wide), largest)

    def merge(self, other: Partial) -> None:
        """Take in what another partial of the same dtype has seen."""
        self.count += other.count
        self.zeros += other.zeros
        self.nan += other.nan
        self.inf += other.inf
        self._range(other.low, other.high, finite=False)
        self._range(other.finite_low, other.finite_high, finite=True)
        self._chan(other._n, other._mean, other._m2)

    def result(self) -> Statistics:
        """The statistics of all that was seen."""
        kind, name = self.dtype.kind, self.dtype.name
        if kind == "opaque":
            return Statistics()
        if kind == "string":
            return Statistics(zeros=self.zeros)
        mean: float | tuple[float, float] | None = None
        if self._n:
            centre = complex(self._mean)
            mean = (centre.real, centre.imag) if kind == "complex" else centre.real
        can_be = kind in ("float", "complex")
        return Statistics(
            self.low,
            self.high,
            mean,
            self._std(),
            self.zeros,
            self.nan if can_be and name not in _NO_NAN else None,
            self.inf if can_be and name not in _NO_INF else None,
        )

    def _std(self) -> float | None:
        import numpy as np

        # The root is taken before the number leaves the wide type: its square may not fit.
        return float(np.sqrt(np.longdouble(self._m2) / self._n)) if self._n else None

    def _floats(self, block: Array) -> None:
        import numpy as np

        low, high = float(block.min()), float(block.max())  # NaN if any is
        if not (math.isfinite(low) and math.isfinite(high)):
            nan = int(np.count_nonzero(np.isnan(block)))
            self.nan += nan
            if nan < block.size:
                self._range(float(np.nanmin(block)), float(np.nanmax(block)), finite=False)
            finite = block[np.isfinite(block)]
            self.inf += block.size - nan - finite.size
            if not finite.size:
                return
            block, low, high = finite, float(finite.min()), float(finite.max())
        self._range(low, high, finite=True)
        self._moments(block.astype(np.float64), max(abs(low), abs(high)))

    def _complex(self, block: Array) -> None:
        import numpy as np

        nan = np.isnan(block)
        finite = np.isfinite(block)
        bad = int(np.count_nonzero(nan))
        self.nan += bad
        self.inf += block.size - bad - int(np.count_nonzero(finite))
        good = block[finite].astype(np.complex128)
        if good.size:
            largest = max(float(np.abs(good.real).max()), float(np.abs(good.imag).max()))
            self._moments(good, largest)

    def _moments(self, block: Array, largest: float) -> None:
        """Mean and squared distances of finite float64 or complex128 values."""
        import numpy as np

        if largest > _HUGE or 0 < largest < _TINY:
            wide = np.clongdouble if block.dtype.kind == "c" else np.longdouble
            block = block.astype(wide)
        mean = block.mean()
        block -= mean
        if block.dtype.kind == "c":
            m2 = (block.real**2 + block.imag**2).sum()
        else:
            # Not a dot product: BLAS starts threads for one, which take longer than the work.
            m2 = np.square(block, out=block).sum()
        self._chan(block.size, mean, m2)

    def _chan(self, count: int, mean: Any, m2: Any) -> None:
        import numpy as np

        if not count:
            return
        wide = np.clongdouble if self.dtype.kind == "complex" else np.longdouble
        mean = wide(mean)
        total = self._n + count
        delta = mean - self._mean
        self._mean = self._mean + delta * (np.longdouble(count) / total)
        distance = delta.real**2 + delta.imag**2
        self._m2 = self._m2 + m2 + distance * (np.longdouble(self._n) / total * count)
        self._n = total

    def _range(self, low: Number | None, high: Number | None, *, finite: bool) -> None:
        if low is None or high is None:
            return
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        if finite:
            self.finite_low = low if self.finite_low is None else min(self.finite_low, low)
            self.finite_high = high if self.finite_high is None else max(self.finite_high, high)


class Counter:
    """A histogram so far: the second pass over a tensor, once its finite range is known."""

    def __init__(self, partial: Partial, bins: int = BINS) -> None:
        low, high = partial.finite_low, partial.finite_high
        self._kind = partial.dtype.kind
        self.usable = low is not None and high is not None and self._kind != "complex"
        self._low, self._high = (low or 0), (high or 0)
        whole = self._kind not in ("float", "complex")
        if self.usable and whole and self._high - self._low < bins:
            self._high += 1  # one bin for each integer
            bins = int(self._high - self._low)
        elif self._high == self._low:
            bins = 1
        # Halves: the distance between two finite numbers may itself be infinite.
        self._half = float(self._high) / 2 - float(self._low) / 2
        self._bins = bins if self._half > 0 else 1
        self._counts = [0] * self._bins

    def add(self, array: Array) -> None:
        """Count the finite elements."""
        import numpy as np

        if not self.usable:
            return
        flat = array.reshape(-1)
        for start in range(0, flat.size, _BLOCK):
            block = plain(flat[start : start + _BLOCK], self._kind).astype(np.float64)
            block = block[np.isfinite(block)]
            if self._bins == 1:
                self._counts[0] += block.size
                continue
            place = (block / 2 - float(self._low) / 2) / self._half * self._bins
            index = np.clip(place, 0, self._bins - 1).astype(np.intp)
            for at, count in enumerate(np.bincount(index, minlength=self._bins).tolist()):
                self._counts[at] += count

    def result(self) -> Histogram | None:
        """The histogram; None where there is nothing to count or no order to count in."""
        if not self.usable:
            return None
        low = float(self._low)
        inner = (2 * (low / 2 + self._half * (at / self._bins)) for at in range(1, self._bins))
        return Histogram((low, *inner, float(self._high)), tuple(self._counts))


def plain(block: Array, kind: str) -> Array:
    """A block in a dtype that NumPy computes in without loss (float32 for the small floats)."""
    import numpy as np

    if kind == "bool":
        return block.view(np.uint8)
    if kind == "float" and (block.dtype.itemsize < 4 or block.dtype.kind != "f"):
        return block.astype(np.float32)
    if kind in ("int", "uint") and block.dtype.kind not in "iu":  # int4 and the like
        return block.astype(np.int8 if kind == "int" else np.uint8)
    return block


def statistics_of(dtype: str, arrays: Iterable[Array]) -> Statistics:
    """The statistics of arrays that together are one tensor of ``dtype``."""
    partial = Partial(dtype)
    for array in arrays:
        partial.add(array)
    return partial.result()
