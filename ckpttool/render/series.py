"""``diff`` of three or more checkpoints as lines and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ckpttool.analysis.series import CLASSES, SeriesResult, SeriesRow, still_scopes
from ckpttool.render.diff import DiffView
from ckpttool.render.diff_json import checkpoint_data
from ckpttool.render.diff_texts import number
from ckpttool.render.lines import Layout, Line, plural, safe
from ckpttool.render.sparkline import sparkline

_STYLES = {
    "diverging": "bad",
    "reset": "warn",
    "moving": "good",
    "frozen": "flag",
    "never_moved": "dim",
    "partial": "warn",
}
_WORDS = {"never_moved": "never moved"}
_LEAST_BARS = 8  # however narrow the terminal
_MAX_COLUMNS = 8  # steps that get a column of numbers each


def series_body(result: SeriesResult) -> dict[str, Any]:
    """``checkpoints``, ``steps``, ``series`` and ``classes``; see docs/reference/json.md."""
    return {
        "checkpoints": [checkpoint_data(item) for item in result.checkpoints],
        "steps": list(result.steps),
        "series": [_row_data(row, result.steps) for row in result.rows],
        "still_scopes": list(still_scopes(result.rows)),
        "classes": {name: sum(row.status == name for row in result.rows) for name in CLASSES},
    }


def _row_data(row: SeriesRow, steps: Sequence[int | str]) -> dict[str, Any]:
    data: dict[str, Any] = {
        "name": row.name,
        "dtype": row.dtype,
        "shape": list(row.shape),
        "role": row.role,
        "owner": row.owner,
        "steps": [steps[position] for position in row.present],
        "rel_l2": list(row.rel_l2),
        "norms": list(row.norms),
        "nan_or_inf": list(row.nan_or_inf),
        "class": row.status,
        "note": row.note,
    }
    if row.values:
        data["values"] = [[plain(value) for value in values] for values in row.values]
    return data


def values_data(result: SeriesResult) -> dict[str, list[list[Any]]]:
    """The watched values by name: a list for each checkpoint that holds the variable."""
    return {row.name: [[plain(v) for v in values] for values in row.values] for row in result.rows}


def plain(value: Any) -> Any:
    """A tensor's element as JSON has it: bytes as text, complex numbers as pairs."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, complex):
        return [value.real, value.imag]
    return value


def series_lines(result: SeriesResult, view: DiffView, layout: Layout) -> Iterator[Line]:
    """The checkpoints, one row a variable, the classes, and the values that are watched."""
    for step, summary in zip(result.steps, result.checkpoints, strict=True):
        yield [
            (f"{safe(str(step), layout.unicode):>8}  ", "number"),
            (safe(summary.path, layout.unicode), "title"),
        ]
    yield []
    rows = _shown(result, view)
    limit = view.top or None
    yield from _table(rows[:limit], result, layout)
    if limit is not None and len(rows) > limit:
        yield [(f"and {len(rows) - limit:,} more: --top 0 shows all", "dim")]
    folded = len(result.rows) - len(rows)
    if folded:
        yield [(f"{plural(folded, 'slot and average')} folded: --slots lists them", "dim")]
    yield []
    counts = [(name, sum(row.status == name for row in result.rows)) for name in CLASSES]
    line: Line = []
    for name, count in counts:
        if count:
            line += [(f"{count:,} {_WORDS.get(name, name)}", _STYLES[name]), (", ", "dim")]
    yield line[:-1]
    for scope, count in still_scopes(result.rows).items():
        yield [
            ("nothing ever moved under ", "warn"),
            (safe(scope, layout.unicode) + "/", "scope"),
            (f" ({plural(count, 'variable')})", "dim"),
        ]
    for row in rows[:limit]:
        if row.values:
            yield from _values(row, result, layout)


def watched_lines(result: SeriesResult, layout: Layout) -> Iterator[Line]:
    """The watched values of every row alone."""
    for row in result.rows:
        yield from _values(row, result, layout)


def _shown(result: SeriesResult, view: DiffView) -> list[SeriesRow]:
    """Rows by class, then by how much they moved in the last interval; slots go with theirs."""
    status = {row.name: row.status for row in result.rows}
    rows = [
        row
        for row in result.rows
        # A slot that does as its variable does says nothing more.
        if view.slots or row.owner is None or status.get(row.owner) != row.status
    ]
    return sorted(
        rows, key=lambda row: (row.role == "step", CLASSES.index(row.status), -_last(row))
    )


def _last(row: SeriesRow) -> float:
    moved = [value for value in row.rel_l2 if value is not None and math.isfinite(value)]
    return moved[-1] if moved else 0.0


def _table(rows: Sequence[SeriesRow], result: SeriesResult, layout: Layout) -> Iterator[Line]:
    if not rows:
        return
    steps = [safe(str(step), layout.unicode) for step in result.steps]
    names = max(len(safe(row.name, layout.unicode)) for row in rows)
    words = max(len(_WORDS.get(row.status, row.status)) for row in rows)
    arrow = "→" if layout.unicode else ">"
    heads = [f"{arrow}{step}" for step in steps[1:]]
    columns = [max(len(head), 8) for head in heads]
    room = names + words + sum(columns) + 2 * len(columns) + len(steps) + 6
    wide = layout.width is None or room <= layout.width
    bars = None if layout.width is None else max(_LEAST_BARS, layout.width - names - words - 4)
    numbers = len(heads) <= _MAX_COLUMNS and wide
    head = f"{'':<{names}}  {'':<{words}}  "
    if numbers:
        head += "  ".join(f"{text:>{size}}" for text, size in zip(heads, columns, strict=True))
    else:
        head += f"rel L2 {steps[0]}{arrow}{steps[-1]}"
    yield [(head, "dim")]
    for row in rows:
        cells = _cells(row, len(steps))
        line: Line = [
            (f"{safe(row.name, layout.unicode):<{names}}  ", "name"),
            (f"{_WORDS.get(row.status, row.status):<{words}}  ", _STYLES[row.status]),
        ]
        if numbers:
            texts = [
                f"{_text(cell):>{size}}" for cell, size in zip(cells[1:], columns, strict=True)
            ]
            line.append(("  ".join(texts) + "  ", "number"))
        line.append((sparkline(cells[1:], unicode=layout.unicode, width=bars), "role"))
        if row.note:
            line.append((f"  {safe(row.note, layout.unicode)}", "dim"))
        if row.role != "variable":
            line.append((f"  {row.role}", "dim"))
        yield line


def _cells(row: SeriesRow, count: int) -> list[float | None]:
    """The relative change at every step of the series; None where the variable is not there."""
    cells: list[float | None] = [None] * count
    for position, value in zip(row.present, row.rel_l2, strict=True):
        cells[position] = value
    return cells


def _text(value: float | None) -> str:
    return "=" if value == 0 else number(value)


def _values(row: SeriesRow, result: SeriesResult, layout: Layout) -> Iterator[Line]:
    yield []
    yield [
        (safe(row.name, layout.unicode), "name"),
        (f"  {row.dtype} [{', '.join(map(str, row.shape))}]", "dtype"),
    ]
    width = max(len(str(step)) for step in result.steps)
    for position, values in zip(row.present, row.values, strict=True):
        texts = "  ".join(_value(value, layout) for value in values)
        step = safe(str(result.steps[position]), layout.unicode)
        yield [(f"  {step:>{width}}  ", "dim"), (texts, "number")]


def _value(value: Any, layout: Layout) -> str:
    if isinstance(value, bytes):
        return safe(repr(value)[1:], layout.unicode)
    return f"{value:>12.8g}" if isinstance(value, float) else str(value)
