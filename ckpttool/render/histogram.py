"""A histogram in block characters, as wide as the terminal allows."""

from __future__ import annotations

from collections.abc import Iterator

from ckpttool.analysis.statistics import Histogram
from ckpttool.render.lines import Layout, Line

_EIGHTHS = " ▏▎▍▌▋▊▉"
_FULL = "█"
_DEFAULT_WIDTH = 80
_MOST = 60  # columns of a bar: longer ones tell no more


def histogram_lines(histogram: Histogram, layout: Layout, indent: str = "  ") -> Iterator[Line]:
    """One line a bin: where it begins, a bar, and the count; the last line has the upper end."""
    starts = [f"{edge:.4g}" for edge in histogram.edges]
    counts = [f"{count:,}" for count in histogram.counts]
    label = max(map(len, starts))
    number = max(map(len, counts))
    room = (layout.width or _DEFAULT_WIDTH) - len(indent) - label - number - 4
    room = max(1, min(room, _MOST))
    most = max(histogram.counts, default=0)
    edge, corner = ("│", "┘") if layout.unicode else ("|", "+")
    for start, count, text in zip(starts, histogram.counts, counts, strict=False):
        yield [
            (f"{indent}{start:>{label}} ", "dim"),
            (edge, "guide"),
            (f"{_bar(count, most, room, layout.unicode):<{room}} ", "flag"),
            (f"{text:>{number}}", "number"),
        ]
    yield [(f"{indent}{starts[-1]:>{label}} ", "dim"), (corner, "guide")]


def _bar(count: int, most: int, room: int, unicode: bool) -> str:
    """A bar of ``count`` in ``most``; anything that is there shows."""
    if not count:
        return ""
    if not unicode:
        return "#" * max(1, count * room // most)
    eighths = max(1, count * room * 8 // most)
    rest = eighths % 8
    return _FULL * (eighths // 8) + (_EIGHTHS[rest] if rest else "")
