"""``diff`` of three or more checkpoints: how each variable moved from step to step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.analysis.diff import DiffResult, diff
from ckpttool.analysis.roles import VARIABLE, Role
from ckpttool.analysis.selecting import (
    DiffOptions,
    comparison_keys,
    roles_of,
    selected,
    summary_of,
)
from ckpttool.analysis.series_status import (
    CLASSES,
    DIVERGING,
    FROZEN,
    MOVING,
    NEVER_MOVED,
    PARTIAL,
    RESET,
    Point,
    Returns,
    filled,
    status_of,
)
from ckpttool.analysis.sides import Side
from ckpttool.analysis.tree import CheckpointSummary
from ckpttool.errors import CkptError, Problem
from ckpttool.tensors import Shape, dtype_named

if TYPE_CHECKING:
    from ckpttool.analysis.comparing import Progress
    from ckpttool.checkpoint import Checkpoint

__all__ = [
    "CLASSES",
    "DIVERGING",
    "FROZEN",
    "MOVING",
    "NEVER_MOVED",
    "PARTIAL",
    "RESET",
    "SeriesResult",
    "SeriesRow",
    "series",
    "still_scopes",
    "watched",
]

_Roles = Callable[[], "Mapping[str, Role]"]


class SeriesRow(NamedTuple):
    """One variable over the steps.

    ``present`` has the positions (in the result's ``steps``) of the checkpoints that hold it.
    ``rel_l2`` is aligned with ``present``: the norm of the change since the one before, by that
    one's norm; None for the first, and where no number can be told.  ``norms`` are aligned too,
    None where nothing had to be read; so is ``nan_or_inf``, where that counts as 0.  ``status`` is
    one of CLASSES and ``note`` says since when, or what is wrong.  ``values`` are the first ones
    at each step.
    """

    name: str
    dtype: str
    shape: Shape
    role: str
    owner: str | None
    present: tuple[int, ...]
    rel_l2: tuple[float | None, ...]
    norms: tuple[float | None, ...]
    nan_or_inf: tuple[int, ...]
    status: str
    note: str
    values: tuple[tuple[Any, ...], ...] = ()


class SeriesResult(NamedTuple):
    """Rows in the order of the last checkpoint.  ``steps`` label the checkpoints, in order."""

    checkpoints: tuple[CheckpointSummary, ...]
    steps: tuple[int | str, ...]
    rows: tuple[SeriesRow, ...]
    problems: tuple[Problem, ...]
    notices: tuple[Problem, ...]

    @property
    def same(self) -> bool:
        """Whether no variable ever moved, came or went."""
        return not self.problems and all(row.status == NEVER_MOVED for row in self.rows)


def still_scopes(rows: Sequence[SeriesRow]) -> dict[str, int]:
    """The widest scopes under which no variable ever moved, with the number of variables.

    Such a scope beside one that learns is a frozen part, or the twin of one that was meant to be
    shared and is not.  Empty where nothing moved at all.
    """
    total: dict[str, int] = {}
    still: dict[str, int] = {}
    for row in rows:
        if row.role != "variable":
            continue
        scope = row.name
        while scope:
            scope = scope.rpartition("/")[0]
            total[scope] = total.get(scope, 0) + 1
            still[scope] = still.get(scope, 0) + (row.status == NEVER_MOVED)
    whole = {scope for scope, count in total.items() if count == still[scope]}
    if "" in whole:
        return {}
    return {scope: total[scope] for scope in total if scope in whole and _above(scope) not in whole}


def _above(scope: str) -> str:
    return scope.rpartition("/")[0]


class _OpenSide(Side):
    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Series:
    """One series: its checkpoints are gone through in order, two at a time."""

    def __init__(self, checkpoints: Sequence[Checkpoint], options: DiffOptions) -> None:
        self.checkpoints = checkpoints
        self.options = options._replace(renames=False)
        self.tracks: dict[str, list[Point]] = {}
        self.specs: dict[str, tuple[str, Shape, Role]] = {}
        self.values: dict[str, list[tuple[Any, ...]]] = {}
        self.problems: list[Problem] = []

    def side(self, position: int) -> _OpenSide:
        """One checkpoint under the names of the comparison."""
        checkpoint = self.checkpoints[position]
        keys = comparison_keys(checkpoint, self.options, first=not position)
        return _OpenSide(checkpoint.reader, keys)

    def compare(
        self, position: int, progress: Callable[[int], Progress] | None
    ) -> DiffResult | None:
        """The checkpoint at ``position`` with the one before it, where there is one."""
        if not position:
            return None
        options = self.options
        if position > 1:
            options = options._replace(keys_a=None, strip_prefix_a=options.strip_prefix_b)
        before, here = self.checkpoints[position - 1 : position + 1]
        result = diff(before, here, options, progress=progress)
        self.problems += [item for bad in result.unreadable for item in bad.problems]
        return result

    def visit(self, position: int, side: Side, watch: int) -> list[str]:
        """Take down what is at ``position``; the names that are selected."""
        roles = roles_of(self.checkpoints[position], self.options)

        def role(name: str) -> Role:
            found = roles().get(side.keys[name], VARIABLE)
            if found.owner is None:
                return found
            return found._replace(owner=side.name_of(found.owner))

        chosen = selected(side.specs, self.options, role)
        for name in chosen:
            spec = side.specs[name]
            self.specs[name] = (spec.dtype, spec.shape, role(name))
            if watch:
                first = _first(side, name, watch, self.problems)
                self.values.setdefault(name, []).append(first)
        return chosen

    def row(self, name: str, labels: Sequence[int | str]) -> SeriesRow:
        """What is known of one variable."""
        points = filled(self.tracks[name])
        dtype, shape, role = self.specs[name]
        status, note = status_of(points, len(self.checkpoints), labels)
        if status in (MOVING, FROZEN):
            back = Returns(self.checkpoints, self.side, labels).note(name, points)
            status, note = (RESET, back) if back else (status, note)
        return SeriesRow(
            name,
            dtype,
            shape,
            role.role,
            role.owner,
            tuple(point.position for point in points),
            tuple(point.rel_l2 for point in points),
            tuple(point.norm for point in points),
            tuple(point.odd or 0 for point in points),
            status,
            note,
            tuple(self.values.get(name, ())),
        )

    def result(self, row: Callable[[str, Sequence[int | str]], SeriesRow]) -> SeriesResult:
        """All rows, and what else there is to tell."""
        summaries = tuple(summary_of(one, self.options) for one in self.checkpoints)
        labels = _labels(summaries)
        with self.side(len(self.checkpoints) - 1) as side:
            names = [name for name in side.specs if name in self.tracks]
        known = frozenset(names)
        names += [name for name in self.tracks if name not in known]
        rows = tuple(row(name, labels) for name in names)
        problems = tuple(dict.fromkeys(self.problems))
        notices = dict.fromkeys(item for one in self.checkpoints for item in one.notices())
        return SeriesResult(summaries, labels, rows, problems, tuple(notices))


def series(
    checkpoints: Sequence[Checkpoint],
    options: DiffOptions | None = None,
    *,
    watch: int = 0,
    progress: Callable[[int], Progress] | None = None,
) -> SeriesResult:
    """Follow every variable through ``checkpoints`` in the order given.

    ``watch`` is the number of first values to keep of each.  What differs within the tolerances
    has not moved.
    """
    run = _Series(checkpoints, options or DiffOptions())
    before: Side | None = None
    for position in range(len(checkpoints)):
        result = run.compare(position, progress)
        with run.side(position) as side:
            chosen = run.visit(position, side, watch)
            _extend(run.tracks, position, chosen, (before, side), result)
        if position:
            checkpoints[position - 1].reader.close()  # its files; it opens them again if need be
        before = side
    return run.result(run.row)


def watched(checkpoints: Sequence[Checkpoint], options: DiffOptions, count: int) -> SeriesResult:
    """The ``count`` first values of every variable at each step; nothing is compared."""
    run = _Series(checkpoints, options)
    for position in range(len(checkpoints)):
        with run.side(position) as side:
            for name in run.visit(position, side, count):
                point = Point(position, None, None, None, False, None)
                run.tracks.setdefault(name, []).append(point)

    def row(name: str, _: Sequence[int | str]) -> SeriesRow:
        dtype, shape, role = run.specs[name]
        present = tuple(point.position for point in run.tracks[name])
        nothing = (None,) * len(present)
        zeros, values = (0,) * len(present), tuple(run.values[name])
        return SeriesRow(
            name,
            dtype,
            shape,
            role.role,
            role.owner,
            present,
            nothing,
            nothing,
            zeros,
            "",
            "",
            values,
        )

    return run.result(row)


def _content(side: Side, name: str) -> object | None:
    """What the index tells of a tensor's bytes, with what they mean."""
    content, spec = side.content(name), side.specs[name]
    return None if content is None else (spec.dtype, spec.shape, content)


def _extend(
    tracks: dict[str, list[Point]],
    position: int,
    chosen: Sequence[str],
    sides: tuple[Side | None, Side],
    result: DiffResult | None,
) -> None:
    """Add this checkpoint's point to every variable that it holds.

    What tells the contents is looked up where a variable moved only.
    """
    before, here = sides
    changed = {} if result is None else {item.name: item for item in result.changed}
    close = {} if result is None else {item.name: item for item in result.close}
    same = frozenset(() if result is None else result.identical)
    for name in chosen:
        points = tracks.setdefault(name, [])
        if name in same:
            points.append(points[-1]._replace(position=position, rel_l2=0.0, moved=False))
            continue
        change = changed.get(name) or close.get(name)
        metrics = None if change is None else change.metrics
        content = _content(here, name) if points else None
        if points and before is not None and name in before.keys and points[-1].content is None:
            points[-1] = points[-1]._replace(content=_content(before, name))
        if metrics is None:
            points.append(Point(position, None, None, None, bool(points), content))
            continue
        points[-1] = points[-1]._replace(norm=metrics.norm_a, odd=metrics.nan_a + metrics.inf_a)
        odd = metrics.nan_b + metrics.inf_b
        moved = name not in close
        points.append(Point(position, metrics.rel_l2, metrics.norm_b, odd, moved, content))


def _first(side: Side, name: str, count: int, problems: list[Problem]) -> tuple[Any, ...]:
    """The first values of a tensor in C order, as Python numbers or bytes."""
    try:
        for piece in side.pieces(name):
            kind = dtype_named(side.specs[name].dtype).kind
            array = piece[:count]
            if array.dtype.kind == "V" or kind in ("float", "int", "uint", "quantized"):
                target = "float64" if kind == "float" else "uint64" if kind == "uint" else "int64"
                array = array.astype(target)
            return tuple(array.tolist())
    except CkptError as error:
        problems += error.problems
    return ()


def _labels(summaries: Sequence[CheckpointSummary]) -> tuple[int | str, ...]:
    """Steps where every checkpoint has one of its own, else the paths."""
    steps = [summary.step for summary in summaries]
    if None not in steps and len(set(steps)) == len(steps):
        return tuple(step for step in steps if step is not None)
    return tuple(summary.path for summary in summaries)
