"""``diff`` of two checkpoints as lines."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ckpttool.analysis.diff import Change, DiffResult, Listed, Rename
from ckpttool.analysis.tree import CheckpointSummary
from ckpttool.render.diff_scopes import scope_table
from ckpttool.render.diff_texts import number, percent, shape_text
from ckpttool.render.lines import Layout, Line, Segment, plural, safe

TOP = 30  # rows of each section that are shown unless told otherwise


class DiffView(NamedTuple):
    """What to show: ``top`` rows of each section (0: all), slots listed or folded."""

    top: int = TOP
    slots: bool = False


class _Row(NamedTuple):
    """A change with what belongs to its variable."""

    change: Change
    followers: tuple[Change, ...]


def diff_lines(result: DiffResult, view: DiffView, layout: Layout) -> Iterator[Line]:
    """Header, summary by scope, then what changed most first."""
    for mark, style, summary in zip("-+", ("removed", "added"), result.checkpoints, strict=True):
        yield _header(mark * 3, style, summary, layout)
    yield []
    table = list(scope_table(result, layout))
    if table:
        yield from table
        yield []
    limit = view.top or None
    yield from _only(result.removed, "-", "removed", limit, layout)
    yield from _only(result.added, "+", "added", limit, layout)
    yield from _renames(result.renamed, limit, layout)
    yield from _changes(result, view, layout)
    yield _totals(result, layout)


def _header(mark: str, style: str, summary: CheckpointSummary, layout: Layout) -> Line:
    words = summary.title or summary.format
    if summary.step is not None:
        words += f"{' · ' if layout.unicode else ' - '}step {summary.step}"
    return [
        (f"{mark} ", style),
        (safe(summary.path, layout.unicode), "title"),
        ("  " + safe(words, layout.unicode), "dim"),
    ]


def _only(
    items: Sequence[Listed], mark: str, style: str, limit: int | None, layout: Layout
) -> Iterator[Line]:
    for item in items[:limit]:
        line: Line = [
            (f"{mark} ", style),
            (safe(item.name, layout.unicode), "name"),
            (f"  {item.spec.dtype} {shape_text(item.spec.shape)}", "dtype"),
        ]
        if item.role != "variable":
            line.append((f"  {item.role}", "role"))
        yield line
    yield from _more(len(items), limit, style)


def _renames(items: Sequence[Rename], limit: int | None, layout: Layout) -> Iterator[Line]:
    arrow = "→" if layout.unicode else "->"
    for item in items[:limit]:
        line: Line = [
            ("> ", "flag"),
            (safe(item.a, layout.unicode), "name"),
            (f" {arrow} ", "guide"),
            (safe(item.b, layout.unicode), "name"),
            (f"  {item.evidence}", "dim"),
        ]
        if item.change is not None and item.change.metrics is not None:
            line.append((f"  rel L2 {number(item.change.metrics.rel_l2)}", "warn"))
        yield line
    yield from _more(len(items), limit, "renamed")


def _more(count: int, limit: int | None, what: str) -> Iterator[Line]:
    if limit is not None and count > limit:
        yield [(f"  and {count - limit:,} more {what}: --top 0 shows all", "dim")]


def _changes(result: DiffResult, view: DiffView, layout: Layout) -> Iterator[Line]:
    rows = _folded([*result.changed, *result.close], view.slots)
    rows.sort(key=lambda row: _weight(row.change), reverse=True)
    if not rows:
        return
    shown = rows[: view.top or None]
    close = frozenset(item.name for item in result.close)
    table = [_cells(row, row.change.name in close, layout) for row in shown]
    yield from _columns(table, layout)
    yield from _more(len(rows), view.top or None, "changed")


_HEADINGS = ("", "rel L2", "max |d|", "mean |d|", "cosine", "changed", "")
# Columns that go first where the terminal is narrow.
_DROP = (3, 4, 2)


def _cells(row: _Row, close: bool, layout: Layout) -> list[Segment]:
    item = row.change
    mark, style = ("=", "good") if close else ("~", "warn")
    cells: list[Segment] = [(f"{mark} {safe(item.name, layout.unicode)}", style)]
    metrics = item.metrics
    if metrics is None or item.kind == "shape":
        cells += [("", "")] * 5
    else:
        cells += [
            (number(metrics.rel_l2), "number"),
            (number(metrics.max_abs), "number"),
            (number(metrics.mean_abs), "number"),
            (number(metrics.cosine), "number"),
            (percent(metrics), "number"),
        ]
    cells.append((" ".join(_remarks(row, layout)), "flag"))
    return cells


def _remarks(row: _Row, layout: Layout) -> Iterator[str]:
    item = row.change
    arrow = "→" if layout.unicode else "->"
    if item.kind == "shape":
        yield f"shape {shape_text(item.a.shape)} {arrow} {shape_text(item.b.shape)}"
    if item.a.dtype != item.b.dtype:
        yield f"dtype {item.a.dtype} {arrow} {item.b.dtype}"
    if item.metrics is None and item.kind == "value":
        yield "other bytes"
    if item.metrics is not None:
        for what, a, b in (
            ("NaN", item.metrics.nan_a, item.metrics.nan_b),
            ("Inf", item.metrics.inf_a, item.metrics.inf_b),
        ):
            if a or b:
                yield f"{what} {a:,} {arrow} {b:,}"
    if item.role != "variable":
        yield item.role
    if row.followers:
        most = max(row.followers, key=_weight)
        change = most.metrics and number(most.metrics.rel_l2)
        words = f"+{plural(len(row.followers), 'slot')}"
        yield f"{words} (rel L2 up to {change})" if change else words


def _columns(table: list[list[Segment]], layout: Layout) -> Iterator[Line]:
    dash = layout.unicode
    headings = [(text.replace("|d|", "|Δ|" if dash else "|d|"), "dim") for text in _HEADINGS]
    rows = [headings, *table]
    widths = [max(len(row[index][0]) for row in rows) for index in range(len(_HEADINGS))]
    keep = list(range(len(_HEADINGS)))
    for column in _DROP:
        used = sum(widths[index] + 2 for index in keep)
        if layout.width is not None and used > layout.width:
            keep.remove(column)
    for row in rows:
        line: Line = []
        for index in keep:
            text, style = row[index]
            if index in (0, len(_HEADINGS) - 1):
                line.append((f"{text:<{widths[index]}}  ", style))
            else:
                line.append((f"{text:>{widths[index]}}  ", style))
        yield line


def _folded(changes: Iterable[Change], slots: bool) -> list[_Row]:
    """Slots and averages under their variables, where those changed too."""
    changes = list(changes)
    if slots:
        return [_Row(item, ()) for item in changes]
    names = {item.name for item in changes}
    followers: dict[str, list[Change]] = {}
    rows = []
    for item in changes:
        if item.owner in names and item.owner is not None and item.owner != item.name:
            followers.setdefault(item.owner, []).append(item)
        else:
            rows.append(item)
    return [_Row(item, tuple(followers.get(item.name, ()))) for item in rows]


def _weight(item: Change) -> tuple[float, float]:
    """How much a tensor changed: shapes and dtypes first, then NaN, then by relative norm."""
    metrics = item.metrics
    if item.role == "step":
        return (0.0, 0.0)
    if metrics is None or item.kind != "value":
        return (3.0, 0.0)
    if metrics.nan_a != metrics.nan_b or metrics.inf_a != metrics.inf_b:
        return (2.0, metrics.changed_fraction)
    relative = metrics.rel_l2
    if relative is None or not math.isfinite(relative):
        # From zero to something there is no ratio: such are ordered by size, after real ones.
        return (0.5, float(metrics.max_abs or 0))
    return (1.0, relative)


def _totals(result: DiffResult, layout: Layout) -> Line:
    counts = [
        (len(result.changed), "changed", "warn"),
        (len(result.close), "close", "good"),
        (len(result.added), "added", "added"),
        (len(result.removed), "removed", "removed"),
        (len(result.renamed), "renamed", "flag"),
        (len(result.unreadable), "unreadable", "bad"),
    ]
    line: Line = []
    for count, word, style in counts:
        if count:
            line += [(f"{count:,} {word}", style), (", ", "dim")]
    line.append((f"{len(result.identical):,} identical", "good"))
    if result.by_index:
        line.append((f" ({result.by_index:,} by checksum, not read)", "dim"))
    if result.dropped:
        line.append((f", {len(result.dropped):,} dropped by the mapping", "dim"))
    return line
