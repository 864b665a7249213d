"""How the numbers of ``diff`` are written for people."""

from __future__ import annotations

import math

from ckpttool.analysis.metrics import Metrics
from ckpttool.tensors import Shape


def number(value: float | int | None) -> str:
    """Three significant digits; a dash where there is nothing to say."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return f"{value:.3g}" if abs(value) < 0.999 or abs(value) >= 1 else f"{value:.6f}"


def percent(metrics: Metrics) -> str:
    """The changed fraction; never 0 or 100 where that would be rounded."""
    if not metrics.differing:
        return "0%"
    if metrics.differing == metrics.elements:
        return "100%"
    share = 100 * metrics.changed_fraction
    return "<0.1%" if share < 0.1 else f"{min(share, 99.9):.1f}%"


def shape_text(shape: Shape) -> str:
    """``[3, 4]``."""
    return "[" + ", ".join(map(str, shape)) + "]"
