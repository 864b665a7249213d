"""A row of numbers as a row of bars, one column each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

_BLOCKS = "▁▂▃▄▅▆▇█"
_ASCII = ".:-=+*#@"
_DECADES = 4.0  # from the smallest bar to the largest


def sparkline(
    values: Sequence[float | None], *, unicode: bool = True, width: int | None = None
) -> str:
    """Bars on a logarithmic scale of four decades below the largest value.

    Zero is a blank-like ``·`` (``_`` in ASCII), None a space, an infinity or NaN ``!``.  Where
    there are more values than ``width``, a bar stands for the largest of several.
    """
    if width is not None and len(values) > width > 0:
        edges = [len(values) * index // width for index in range(width + 1)]
        values = [_largest(values[start:stop]) for start, stop in pairwise(edges)]
    finite = [value for value in values if value is not None and math.isfinite(value) and value > 0]
    top = math.log10(max(finite)) if finite else 0.0
    return "".join(_bar(value, top, unicode) for value in values)


def _largest(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    odd = [value for value in known if not math.isfinite(value)]
    return odd[0] if odd else max(known, default=None)


def _bar(value: float | None, top: float, unicode: bool) -> str:
    if value is None:
        return " "
    if not math.isfinite(value):
        return "!"
    if value <= 0:
        return "·" if unicode else "_"
    bars = _BLOCKS if unicode else _ASCII
    height = 1 + (math.log10(value) - top) / _DECADES
    return bars[min(len(bars) - 1, max(0, int(height * len(bars))))]
