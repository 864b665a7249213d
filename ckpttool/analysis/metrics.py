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
from collections.abc import Iterable
from typing import Any, NamedTuple


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

    def state(self) -> tuple[Any, ...]:
        """Everything in plain tuples and numbers, for another process."""
        return tuple(
            tuple(value) if isinstance(value, Wide) else value
            for value in (getattr(self, name) for name in self.__slots__)
        )

    @classmethod
    def from_state(cls, state: Iterable[Any]) -> Tally:
        """What :meth:`state` gave."""
        tally = cls()
        for name, value in zip(cls.__slots__, state, strict=True):
            setattr(tally, name, Wide(*value) if isinstance(value, tuple) else value)
        return tally

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


def whole(value: Wide | int) -> int:
    """A sum that is known to be a whole number."""
    return value if isinstance(value, int) else int(value.number())


def _plain(value: Wide | int) -> float | int:
    return value if isinstance(value, int) else value.number()
