"""``diff`` of two checkpoints as lines and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from ckpttool.analysis.diff import Change, DiffResult, Listed, Rename
from ckpttool.analysis.metrics import Metrics
from ckpttool.analysis.tree import CheckpointSummary
from ckpttool.render.lines import Layout, Line, Segment, plural, safe
from ckpttool.tensors import Shape

TOP = 30  # rows of each section that are shown unless told otherwise
_SCOPES = 12  # rows of the summary by scope

# --- JSON ----------------------------------------------------------------------------------------


def diff_body(result: DiffResult) -> dict[str, Any]:
    """The keys of ``diff --json`` for two checkpoints; see docs/reference/json.md."""
    return {
        "checkpoints": [checkpoint_data(item) for item in result.checkpoints],
        "added": [item.name for item in result.added],
        "removed": [item.name for item in result.removed],
        "changed": [change_data(item) for item in result.changed],
        "close": [change_data(item) for item in result.close],
        "renamed": [_rename_data(item) for item in result.renamed],
        "identical": len(result.identical),
        "identical_by_checksum": result.by_index,
        "unreadable": [item.name for item in result.unreadable],
        "dropped": list(result.dropped),
    }


def checkpoint_data(summary: CheckpointSummary) -> dict[str, Any]:
    """One checkpoint's path and kind."""
    return {
        "path": summary.path,
        "format": summary.format,
        "step": summary.step,
        "shards": summary.shards,
        "has_graph": summary.has_graph,
    }


def change_data(item: Change) -> dict[str, Any]:
    """One tensor that changed."""
    return {
        "name": item.name,
        "kind": item.kind,
        "a": {"dtype": item.a.dtype, "shape": list(item.a.shape)},
        "b": {"dtype": item.b.dtype, "shape": list(item.b.shape)},
        **_metrics_data(item.metrics),
        "role": item.role,
        "owner": item.owner,
    }


def _metrics_data(metrics: Metrics | None) -> dict[str, Any]:
    if metrics is None:
        keys = ("max_abs", "mean_abs", "rel_l2", "cosine", "changed_fraction")
        counts = ("nan_a", "nan_b", "inf_a", "inf_b", "elements", "differing")
        return dict.fromkeys((*keys, *counts))
    return {
        "max_abs": metrics.max_abs,
        "mean_abs": metrics.mean_abs,
        "rel_l2": metrics.rel_l2,
        "cosine": metrics.cosine,
        "changed_fraction": metrics.changed_fraction,
        "nan_a": metrics.nan_a,
        "nan_b": metrics.nan_b,
        "inf_a": metrics.inf_a,
        "inf_b": metrics.inf_b,
        "elements": metrics.elements,
        "differing": metrics.differing,
    }


def _rename_data(item: Rename) -> dict[str, Any]:
    change = item.change
    return {
        "a": item.a,
        "b": item.b,
        "evidence": item.evidence,
        "identical": change is None,
        **({} if change is None else _metrics_data(change.metrics)),
        "role": item.role,
        "owner": item.owner,
    }


# --- lines ---------------------------------------------------------------------------------------


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
    table = list(_scope_table(result, layout))
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


# --- summary -------------------------------------------------------------------------------------


class _Scope:
    __slots__ = ("added", "changed", "identical", "removed", "renamed", "squares_a", "squares_d")

    def __init__(self) -> None:
        self.added = self.removed = self.changed = self.renamed = self.identical = 0
        self.squares_a = self.squares_d = 0.0

    def relative(self) -> float:
        if not self.squares_d:
            return 0.0
        return math.sqrt(self.squares_d / self.squares_a) if self.squares_a else math.inf


def _scope_table(result: DiffResult, layout: Layout) -> Iterator[Line]:
    """One row for each scope, most changed first; nothing where there is one scope only."""
    names = [
        *(item.name for item in (*result.added, *result.removed)),
        *(item.name for item in (*result.changed, *result.close)),
        *(item.b for item in result.renamed),
        *result.identical,
    ]
    scope_of = _scopes(names)
    scopes: dict[str, _Scope] = {}

    def scope(name: str) -> _Scope:
        return scopes.setdefault(scope_of[name], _Scope())

    for item in (*result.changed, *result.close):
        entry = scope(item.name)
        entry.changed += 1
        _add_squares(entry, item)
    for listed in result.added:
        scope(listed.name).added += 1
    for listed in result.removed:
        scope(listed.name).removed += 1
    for rename in result.renamed:
        scope(rename.b).renamed += 1
    for name in result.identical:
        scope(name).identical += 1
    if len(scopes) < 2 or result.same:
        return
    width = max(len(safe(name, layout.unicode)) for name in scopes)
    heads = ("changed", "same", "added", "removed", "renamed", "rel L2")
    yield [(f"{'scope':<{width}}  " + "  ".join(f"{head:>7}" for head in heads), "dim")]
    for name, entry in sorted(scopes.items(), key=lambda pair: _scope_order(*pair)):
        numbers = (entry.changed, entry.identical, entry.added, entry.removed, entry.renamed)
        cells = [f"{value:>7,}" if value else f"{'':>7}" for value in numbers]
        relative = number(entry.relative()) if entry.changed else ""
        yield [
            (f"{safe(name, layout.unicode):<{width}}  ", "scope"),
            ("  ".join([*cells, f"{relative:>7}"]), "number"),
        ]


def _add_squares(entry: _Scope, item: Change) -> None:
    metrics = item.metrics
    # A step counter's thousands would drown every weight beside it.
    if metrics is None or item.role != "variable" or metrics.norm_a is None:
        return
    if metrics.rel_l2 is None or metrics.norm_b is None or not math.isfinite(metrics.norm_a):
        return
    distance = metrics.rel_l2 * metrics.norm_a if metrics.norm_a else metrics.norm_b
    if math.isfinite(distance) and distance < 1e150 and metrics.norm_a < 1e150:
        entry.squares_d += distance * distance
        entry.squares_a += metrics.norm_a * metrics.norm_a


def _scope_order(name: str, entry: _Scope) -> tuple[float, int, str]:
    touched = entry.added + entry.removed + entry.changed + entry.renamed
    relative = entry.relative()
    return (-(relative if math.isfinite(relative) else 0.0), -touched, name)


def _scopes(names: Sequence[str]) -> dict[str, str]:
    """The scope to sum each name up under: as deep as still gives few scopes.

    What lies under another tensor's name (a slot) is summed up with that.
    """
    known = frozenset(names)
    heads: dict[str, tuple[str, ...]] = {}
    for name in names:
        head = name.rpartition("/")[0]
        while head in known:
            head = head.rpartition("/")[0]
        heads[name] = tuple(head.split("/")) if head else ()
    depth = 1
    while depth < 3 and len({head[: depth + 1] for head in heads.values()}) <= _SCOPES:
        depth += 1
    return {name: "/".join(head[:depth]) or "." for name, head in heads.items()}


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


# --- texts ---------------------------------------------------------------------------------------


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
    if metrics.differing == metrics.elements:
        return "100%"
    share = 100 * metrics.changed_fraction
    return "<0.1%" if share < 0.1 else f"{min(share, 99.9):.1f}%"


def shape_text(shape: Shape) -> str:
    """``[3, 4]``."""
    return "[" + ", ".join(map(str, shape)) + "]"
