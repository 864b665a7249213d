"""``diff`` of three or more checkpoints: how each variable moved from step to step."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.analysis.content import checksum
from ckpttool.analysis.diff import (
    DiffOptions,
    DiffResult,
    diff,
    name_selector,
    roles_of,
    summary_of,
)
from ckpttool.analysis.roles import VARIABLE, Role
from ckpttool.analysis.sides import Side, renamed_keys
from ckpttool.analysis.tree import CheckpointSummary
from ckpttool.errors import CkptError, Problem
from ckpttool.tensors import Shape, dtype_named

if TYPE_CHECKING:
    from ckpttool.analysis.comparing import Progress
    from ckpttool.checkpoint import Checkpoint

MOVING, FROZEN, NEVER_MOVED = "moving", "frozen", "never_moved"
RESET, DIVERGING, PARTIAL = "reset", "diverging", "partial"
CLASSES = (DIVERGING, RESET, MOVING, FROZEN, NEVER_MOVED, PARTIAL)

EXPLODED = 100.0  # growth of a norm in one interval that counts as diverging

_Roles = Callable[[], "Mapping[str, Role]"]
_CONSTANT = re.compile(r"constant\((?:value=)?([-+0-9.einfa]+)\)")


class SeriesRow(NamedTuple):
    """One variable over the steps.

    ``present`` has the positions (in the result's ``steps``) of the checkpoints that hold it.
    ``rel_l2`` is aligned with ``present``: the norm of the change since the one before, by that
    one's norm; None for the first, and where no number can be told (``broken`` says why).
    ``norms`` are aligned too, None where nothing had to be read.  ``status`` is one of CLASSES and
    ``note`` says since when, or what is wrong.  ``values`` are the first ones at each step.
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


class _Point(NamedTuple):
    """A variable at one step."""

    position: int
    rel_l2: float | None
    norm: float | None
    odd: int  # elements that are NaN or infinite
    moved: bool
    content: object | None


class _Track:
    """A variable on its way through the steps."""

    def __init__(self) -> None:
        self.points: list[_Point] = []

    def norm(self) -> float | None:
        return self.points[-1].norm if self.points else None


def series(
    checkpoints: Sequence[Checkpoint],
    options: DiffOptions | None = None,
    *,
    watch: int = 0,
    progress: Callable[[int], Progress] | None = None,
) -> SeriesResult:
    """Follow every variable through ``checkpoints`` in the order given.

    ``watch`` is the number of first values to keep of each.
    """
    options = (options or DiffOptions())._replace(renames=False)
    tracks: dict[str, _Track] = {}
    specs: dict[str, tuple[str, Shape, Role]] = {}
    problems: list[Problem] = []
    values: dict[str, list[tuple[Any, ...]]] = {}
    for position, checkpoint in enumerate(checkpoints):
        before = checkpoints[position - 1] if position else checkpoint
        result = diff(before, checkpoint, options, progress=progress) if position else None
        roles = roles_of(checkpoint, options)
        with _side(checkpoint, options) as side:
            chosen = _chosen(roles, options, side)
            _extend(tracks, position, chosen, side, result)
            for name in chosen:
                spec = side.specs[name]
                specs[name] = (spec.dtype, spec.shape, _role(roles, side, name))
                if watch:
                    values.setdefault(name, []).append(_first(side, name, watch, problems))
        if result is not None:
            problems += [item for bad in result.unreadable for item in bad.problems]
        if position:
            before.reader.close()
    summaries = tuple(summary_of(checkpoint, options) for checkpoint in checkpoints)
    rows = []
    for name in _ordered(tracks, checkpoints[-1], options):
        dtype, shape, role = specs[name]
        points = tracks[name].points
        status, note = _status(points, len(checkpoints), _labels(summaries))
        if status in (MOVING, FROZEN):
            back = _returned(checkpoints, options, name, points, _labels(summaries))
            status, note = (RESET, back) if back else (status, note)
        rows.append(
            SeriesRow(
                name,
                dtype,
                shape,
                role.role,
                role.owner,
                tuple(point.position for point in points),
                tuple(point.rel_l2 for point in points),
                _norms(points),
                tuple(point.odd for point in points),
                status,
                note,
                tuple(values.get(name, ())),
            )
        )
    notices = dict.fromkeys(item for one in checkpoints for item in one.notices())
    return SeriesResult(summaries, _labels(summaries), tuple(rows), tuple(problems), tuple(notices))


class _OpenSide(Side):
    def __enter__(self) -> Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _side(checkpoint: Checkpoint, options: DiffOptions) -> _OpenSide:
    return _OpenSide(checkpoint.reader, renamed_keys(checkpoint.specs, options.strip_prefix_a))


def _chosen(roles: _Roles, options: DiffOptions, side: Side) -> list[str]:
    keep = name_selector(options, lambda name: roles().get(side.keys[name], VARIABLE))
    return list(filter(keep, side.specs))


def _role(roles: _Roles, side: Side, name: str) -> Role:
    role = roles().get(side.keys[name], VARIABLE)
    return role if role.owner is None else role._replace(owner=side.name_of(role.owner))


def _extend(
    tracks: dict[str, _Track],
    position: int,
    chosen: Sequence[str],
    side: Side,
    result: DiffResult | None,
) -> None:
    """Add this checkpoint's point to every variable that it holds."""
    changes = (
        {} if result is None else {item.name: item for item in (*result.changed, *result.close)}
    )
    same = frozenset(() if result is None else result.identical)
    for name in chosen:
        track = tracks.setdefault(name, _Track())
        points = track.points
        change = changes.get(name)
        known = side.content(name)
        if name in same:
            last = points[-1]
            points.append(last._replace(position=position, rel_l2=0.0, moved=False))
            continue
        metrics = None if change is None else change.metrics
        if metrics is None:
            points.append(_Point(position, None, None, 0, bool(points), known))
            continue
        last = points[-1]
        points[-1] = last._replace(norm=metrics.norm_a, odd=metrics.nan_a + metrics.inf_a)
        odd = metrics.nan_b + metrics.inf_b
        relative = metrics.rel_l2
        points.append(_Point(position, relative, metrics.norm_b, odd, True, known))


def _norms(points: Sequence[_Point]) -> tuple[float | None, ...]:
    """Norms of all steps: one that was learnt later holds for the equal steps before it, too."""
    norms = [point.norm for point in points]
    for index in range(len(points) - 2, -1, -1):
        if norms[index] is None and not points[index + 1].moved:
            norms[index] = norms[index + 1]
    return tuple(norms)


def _status(points: Sequence[_Point], count: int, labels: Sequence[int | str]) -> tuple[str, str]:
    """The class of a variable, as far as its numbers tell, and a note."""
    diverged = _diverged(points, labels)
    if diverged:
        return DIVERGING, diverged
    if len(points) < count:
        where = ", ".join(str(labels[point.position]) for point in points)
        return PARTIAL, f"only in {where}"
    moves = [index for index, point in enumerate(points) if point.moved]
    if not moves:
        return NEVER_MOVED, ""
    if moves[-1] < len(points) - 1:
        return FROZEN, f"since {labels[points[moves[-1]].position]}"
    return MOVING, ""


def _diverged(points: Sequence[_Point], labels: Sequence[int | str]) -> str:
    norms = _norms(points)
    for index, point in enumerate(points):
        if point.odd and not points[0].odd:
            return f"NaN or Inf at {labels[point.position]}"
        before, now = norms[index - 1] if index else None, norms[index]
        # From zero, or nearly, everything grows without measure: the first step does not count.
        if index > 1 and before and now and now > EXPLODED * before:
            return f"norm {before:.3g} to {now:.3g} at {labels[point.position]}"
    return ""


def _returned(
    checkpoints: Sequence[Checkpoint],
    options: DiffOptions,
    name: str,
    points: Sequence[_Point],
    labels: Sequence[int | str],
) -> str:
    """What a variable moved back to: an earlier value or its initializer; "" if it did not."""
    norms = _norms(points)
    for index, point in enumerate(points):
        for before in range(index - 1 if point.moved else 0):
            earlier = points[before]
            if point.content is not None and earlier.content is not None:
                same = point.content == earlier.content
            else:
                same = _near(norms[index], norms[before]) and (
                    _sum_at(checkpoints[point.position], options, name)
                    == _sum_at(checkpoints[earlier.position], options, name)
                    is not None
                )
            if same:
                return f"at {labels[point.position]} as at {labels[earlier.position]}"
    if _at_initializer(checkpoints, options, name, points):
        return "back to its initializer"
    return ""


def _near(a: float | None, b: float | None) -> bool:
    """Whether two norms may be those of equal tensors (strings have none)."""
    return a == b if a is None or b is None else abs(a - b) <= 1e-6 * max(a, b)


def _sum_at(checkpoint: Checkpoint, options: DiffOptions, name: str) -> int | None:
    with _side(checkpoint, options) as side:
        return checksum(side, name)


def _at_initializer(
    checkpoints: Sequence[Checkpoint], options: DiffOptions, name: str, points: Sequence[_Point]
) -> bool:
    """Whether a variable that had moved holds its constant initial value again at the end."""
    if len(points) < 2 or points[-1].position != len(checkpoints) - 1 or not points[-1].moved:
        return False
    last = checkpoints[-1]
    with _side(last, options) as side:
        constant = _constant(last.initializer(side.keys[name]))
        if constant is None or dtype_named(side.specs[name].dtype).kind not in ("float", "int"):
            return False
        try:
            return all(bool((piece == constant).all()) for piece in side.pieces(name))
        except CkptError:
            return False


def _constant(initializer: str | None) -> float | None:
    """The value of an initializer that fills with one value."""
    if initializer is None:
        return None
    if initializer in ("zeros", "ones"):
        return float(initializer == "ones")
    found = _CONSTANT.fullmatch(initializer)
    try:
        return float(found.group(1)) if found else None
    except ValueError:
        return None


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


def _ordered(tracks: dict[str, _Track], last: Checkpoint, options: DiffOptions) -> list[str]:
    with _side(last, options) as side:
        here = [name for name in side.specs if name in tracks]
    known = frozenset(here)
    return [*here, *(name for name in tracks if name not in known)]


def _labels(summaries: Sequence[CheckpointSummary]) -> tuple[int | str, ...]:
    """Steps where every checkpoint has one of its own, else the paths."""
    steps = [summary.step for summary in summaries]
    if None not in steps and len(set(steps)) == len(steps):
        return tuple(step for step in steps if step is not None)
    return tuple(summary.path for summary in summaries)
