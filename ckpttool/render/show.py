"""``show`` as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

from ckpttool.analysis.inspect_listing import (
    NOT_CONVERTIBLE,
    ParameterCount,
    count_lines,
    elements,
    tensor_line,
)
from ckpttool.analysis.show import NOT_SAVED, ShownTensor, ShowResult
from ckpttool.analysis.statistics import Statistics
from ckpttool.render.histogram import histogram_lines
from ckpttool.render.lines import Layout, Line, human_bytes, plural, safe
from ckpttool.render.values import json_values, value_lines
from ckpttool.tensors import TensorSpec

_STATISTICS = Statistics._fields


class ValueOptions(NamedTuple):
    """Whether to print values, and NumPy's print options."""

    values: bool
    options: Mapping[str, Any]


def show_body(
    result: ShowResult, *, values: bool = False, count: ParameterCount | None = None
) -> dict[str, Any]:
    """``tensors``, and ``parameters`` where they were counted."""
    body: dict[str, Any] = {
        "checkpoint": {"path": result.checkpoint.path, "format": result.checkpoint.format},
        "tensors": [_tensor_body(tensor, values) for tensor in result.tensors],
        "not_shown": dict(result.others),
    }
    if count is not None:
        body["parameters"] = asdict(count)
    return body


def _tensor_body(tensor: ShownTensor, values: bool) -> dict[str, Any]:
    body: dict[str, Any] = {
        "name": tensor.name,
        "dtype": tensor.dtype,
        "shape": tensor.shape,
        "role": tensor.role,
        "owner": tensor.owner,
        "statistics": None if tensor.statistics is None else tensor.statistics._asdict(),
        "initializer": tensor.initializer,
        "note": tensor.note or (tensor.problem.message if tensor.problem else None),
    }
    if tensor.histogram is not None:
        body["histogram"] = tensor.histogram._asdict()
    if tensor.slices is not None:
        body["slices"] = [part._asdict() for part in tensor.slices]
    if tensor.index is not None:
        body["slice"] = tensor.index
    if values or tensor.index is not None:
        body["values"] = None if tensor.values is None else json_values(tensor.values)
    return body


def tensor_lines(tensor: ShownTensor, layout: Layout, view: ValueOptions) -> Iterator[Line]:
    """One tensor: what it is, its statistics, histogram, parts and values."""
    unicode = layout.unicode
    yield _heading(tensor, unicode)
    if tensor.initializer is not None:
        yield [("  initializer  ", "dim"), (safe(tensor.initializer, unicode), "")]
    if tensor.statistics is not None:
        facts = list(_facts(tensor))
        for at in range(0, len(facts), 4):
            line: Line = [("  ", "")]
            for label, text in facts[at : at + 4]:
                line += [(f"{label} ", "dim"), (f"{text}   ", "number")]
            yield line
    if tensor.histogram is not None:
        yield from histogram_lines(tensor.histogram, layout)
    if tensor.slices is not None:
        yield from _slice_lines(tensor)
    if tensor.note is not None:
        yield [(f"  {safe(tensor.note, unicode)}", "warn")]
    if tensor.problem is not None:
        yield [(f"  {_unreadable(tensor)}", "bad")]
    if view.values and tensor.values is not None:
        if tensor.index is not None:
            shape = list(tensor.values.shape)
            yield [(f"  [{tensor.index}] ", "dim"), (f"{shape}", "shape")]
        yield from value_lines(
            tensor.values, view.options, shortened=tensor.shortened, unicode=unicode
        )
    yield []


def _heading(tensor: ShownTensor, unicode: bool) -> Line:
    shape = "?" if tensor.shape is None else str(list(tensor.shape))
    line: Line = [
        (safe(tensor.name, unicode), "name"),
        (f"  {safe(tensor.dtype, unicode)}", "dtype"),
        (f"  {shape}", "shape"),
    ]
    if tensor.shape is not None and min(tensor.shape, default=0) >= 0:
        count = elements(tensor.shape)
        line.append((f"  {plural(count, 'parameter')}", "number"))
        size = TensorSpec(tensor.name, tensor.dtype, tensor.shape).nbytes
        if size or not count:
            line.append((f"  {human_bytes(size)}", "number"))
    if tensor.role != "variable":
        of = "" if tensor.owner is None else f" of {safe(tensor.owner, unicode)}"
        line.append((f"  {tensor.role}{of}", "role"))
    return line


def _facts(tensor: ShownTensor) -> Iterator[tuple[str, str]]:
    """The statistics that the tensor has, as label and text."""
    count = elements(tensor.shape)
    for label, value in zip(_STATISTICS, tensor.statistics or (), strict=False):
        if value is None:
            continue
        text = number(value)
        if label == "zeros" and isinstance(value, int) and value and count:
            text += f" ({100 * value / count:.3g}%)"
        if label == "zeros" and tensor.dtype == "string":
            label = "empty"
        yield {"nan": "NaN", "inf": "Inf"}.get(label, label), text


def number(value: float | int | tuple[float, float]) -> str:
    """A number in the few digits that a table has room for; integers whole up to a trillion."""
    if isinstance(value, tuple):
        imaginary = number(value[1])
        return f"{number(value[0])}{'' if imaginary[:1] in '+-' else '+'}{imaginary}j"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) < 10**12 else f"{value}"
    return f"{value:.6g}"


def _slice_lines(tensor: ShownTensor) -> Iterator[Line]:
    parts = tensor.slices or ()
    if not parts:
        yield [("  not partitioned", "dim")]
        return
    yield [(f"  {plural(len(parts), 'partition')}", "flag")]
    for at, part in enumerate(parts):
        spans = (
            f"{start}:{start + size}" for start, size in zip(part.start, part.shape, strict=True)
        )
        yield [
            (f"    {at:>3}  ", "dim"),
            (f"[{', '.join(spans)}]", ""),
            (f"  {list(part.shape)}", "shape"),
        ]


def _unreadable(tensor: ShownTensor) -> str:
    problem = tensor.problem
    return "" if problem is None else f"<not readable: {problem.code} {safe(problem.message)}>"


# The table's columns besides the name, in the order in which a narrow terminal gives them up.
_COLUMNS = ("dtype", "shape", "min", "max", "mean", "std", "zeros", "nan", "inf")
_GIVEN_UP = ("inf", "dtype", "zeros", "shape", "std", "nan", "mean")
_LEFT = ("dtype", "shape")
_HEADS = {"nan": "NaN", "inf": "Inf"}


def table_lines(result: ShowResult, layout: Layout) -> Iterator[Line]:
    """A line for each tensor with its statistics, and how to see more."""
    unicode = layout.unicode
    names = [safe(tensor.name, unicode) for tensor in result.tensors]
    cells = [_cells(tensor) for tensor in result.tensors]
    # Of a graph alone there are no statistics.
    columns = _COLUMNS if any(tensor.note is None for tensor in result.tensors) else _LEFT
    widths = {
        column: max([len(_HEADS.get(column, column)), *(len(row[column]) for row in cells)])
        for column in columns
    }
    label = max(map(len, names), default=0)
    if layout.width is not None:
        for column in _GIVEN_UP:
            if label + sum(width + 2 for width in widths.values()) <= layout.width:
                break
            widths.pop(column, None)
        label = min(label, max(24, layout.width - sum(width + 2 for width in widths.values())))
    yield [
        ("name".ljust(label), "dim"),
        *_row({c: _HEADS.get(c, c) for c in columns}, widths, "dim"),
    ]
    for tensor, name, row in zip(result.tensors, names, cells, strict=True):
        line: Line = [(name.ljust(label), "name")]
        if tensor.problem is not None:
            yield [*line, (f"  {_unreadable(tensor)}", "bad")]
        elif tensor.note is not None:
            yield [
                *line,
                *_row(row, {c: w for c, w in widths.items() if c in _LEFT}, ""),
                (f"  {safe(tensor.note, unicode)}", "warn"),
                (f"  {safe(tensor.initializer or '', unicode)}", ""),
            ]
        else:
            yield [*line, *_row(row, widths, "")]
    yield from _table_footer(result)


def _cells(tensor: ShownTensor) -> dict[str, str]:
    cells = dict.fromkeys(_COLUMNS, "")
    cells["dtype"] = safe(tensor.dtype)
    cells["shape"] = "?" if tensor.shape is None else str(list(tensor.shape))
    for label, value in (tensor.statistics or Statistics())._asdict().items():
        cells[label] = "-" if value is None else _short(value)
    return cells


def _short(value: float | int | tuple[float, float]) -> str:
    return f"{value:.4g}" if isinstance(value, float) else number(value)


def _row(cells: Mapping[str, str], widths: Mapping[str, int], style: str) -> Line:
    return [
        (
            f"  {cells[column]:<{width}}" if column in _LEFT else f"  {cells[column]:>{width}}",
            style or {"dtype": "dtype", "shape": "shape"}.get(column, "number"),
        )
        for column, width in widths.items()
    ]


def _table_footer(result: ShowResult) -> Iterator[Line]:
    yield []
    yield [(plural(len(result.tensors), "tensor"), "title")]
    if result.others:
        words = ", ".join(plural(count, role) for role, count in result.others.items())
        yield [(f"not shown: {words} (--all shows every tensor)", "dim")]
    if any(tensor.note is None for tensor in result.tensors):
        yield [("values: name the tensors, e.g. 'NAME' or 'NAME[0:2]', or give --values", "dim")]


def count_summary(count: ParameterCount) -> Iterator[Line]:
    """The count as ``inspect_checkpoint`` gives it, and what the parameters are for."""
    for text in count_lines(count, "current"):
        yield [(safe(text), "title")]
    parts: list[tuple[str, int]] = []
    if count.trainable is None:
        parts.append(("variables", count.variables))
    else:
        parts.append(("trainable", count.trainable))
        parts.append(("not trainable", count.variables - count.trainable))
    parts += [("slots", count.slots), ("averages", count.averages), ("other", count.other)]
    words = ", ".join(f"{label} {value}" for label, value in parts if value)
    if words:
        yield [(f"# {words}", "dim")]


def inspect_tensor(
    tensor: ShownTensor, style: str, view: ValueOptions, unicode: bool
) -> Iterator[Line]:
    """One tensor as ``inspect_checkpoint`` prints it; its lines are the same byte for byte."""
    heading = tensor_line(tensor.name, tensor.dtype, tensor.shape, style)
    yield [(safe(heading, unicode), "")]
    if tensor.problem is not None:
        yield [(_unreadable(tensor), "bad")]
    elif not view.values or style == "debug":
        return
    elif tensor.note == NOT_SAVED:
        yield [(f"<{NOT_SAVED}>", "warn")]
    elif tensor.values is None:
        yield [(NOT_CONVERTIBLE, "warn")]
    else:
        yield from value_lines(
            tensor.values, view.options, shortened=tensor.shortened, unicode=unicode
        )


def inspect_count(count: ParameterCount, style: str, unicode: bool) -> Iterator[Line]:
    """The closing lines of :func:`inspect_tensor`'s listing."""
    for text in count_lines(count, style):
        yield [(safe(text, unicode), "")]


def exported_lines(path: str, labels: Sequence[str], size: int, unicode: bool) -> Iterator[Line]:
    """What an export wrote."""
    yield [
        (safe(path, unicode), "title"),
        (f"  {plural(len(labels), 'tensor')}  {human_bytes(size)}", "dim"),
    ]
