"""What a variable did over the steps of a series: its class, by numbers and by what it holds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis.content import checksum
from ckpttool.analysis.sides import Side
from ckpttool.errors import CkptError
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint

MOVING, FROZEN, NEVER_MOVED = "moving", "frozen", "never_moved"
RESET, DIVERGING, PARTIAL = "reset", "diverging", "partial"
CLASSES = (DIVERGING, RESET, MOVING, FROZEN, NEVER_MOVED, PARTIAL)

EXPLODED = 100.0  # growth of a norm in one interval that counts as diverging

_CONSTANT = re.compile(r"constant\((?:value=)?([-+0-9.einfa]+)\)")

# Opens the side of the checkpoint at a position; the caller closes it.
OpenSide = Callable[[int], Side]


class Point(NamedTuple):
    """A variable at one step.

    ``norm`` and ``odd`` (elements that are NaN or infinite) are None until its data was read.
    ``moved`` says that it is not what it was at the point before.
    """

    position: int
    rel_l2: float | None
    norm: float | None
    odd: int | None
    moved: bool
    content: object | None


def filled(points: Sequence[Point]) -> list[Point]:
    """What was learnt of a tensor later holds for the equal ones before it, too."""
    points = list(points)
    for index in range(len(points) - 2, -1, -1):
        after = points[index + 1]
        if after.moved:
            continue
        if points[index].odd is None:
            points[index] = points[index]._replace(norm=after.norm, odd=after.odd)
        if points[index].content is None and not after.rel_l2:  # equal, and not just close
            points[index] = points[index]._replace(content=after.content)
    return points


def status_of(points: Sequence[Point], count: int, labels: Sequence[int | str]) -> tuple[str, str]:
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


def _diverged(points: Sequence[Point], labels: Sequence[int | str]) -> str:
    for index, point in enumerate(points):
        if point.odd and not points[0].odd:
            return f"NaN or Inf at {labels[point.position]}"
        before, now = points[index - 1].norm if index else None, point.norm
        # From zero, or nearly, everything grows without measure: the first step does not count.
        if index > 1 and before and now and now > EXPLODED * before:
            return f"norm {before:.3g} to {now:.3g} at {labels[point.position]}"
    return ""


class Returns:
    """Finds variables that went back to what they had been."""

    def __init__(
        self,
        checkpoints: Sequence[Checkpoint],
        open_side: OpenSide,
        labels: Sequence[int | str],
    ) -> None:
        self._checkpoints = checkpoints
        self._open_side = open_side
        self._labels = labels

    def note(self, name: str, points: Sequence[Point]) -> str:
        """What a variable moved back to: an earlier value or its initializer; "" if it did not."""
        sums: dict[int, int | None] = {}
        for index, point in enumerate(points):
            for earlier in points[: index - 1] if point.moved else ():
                if self._equal(name, earlier, point, sums):
                    at, before = self._labels[point.position], self._labels[earlier.position]
                    return f"at {at} as at {before}"
        return "back to its initializer" if self._at_initializer(name, points) else ""

    def _equal(self, name: str, a: Point, b: Point, sums: dict[int, int | None]) -> bool:
        if a.content is not None and b.content is not None:
            return a.content == b.content
        if not _near(a.norm, b.norm):
            return False
        found = self._sum_at(name, a.position, sums)
        return found is not None and found == self._sum_at(name, b.position, sums)

    def _sum_at(self, name: str, position: int, sums: dict[int, int | None]) -> int | None:
        if position not in sums:
            side = self._open_side(position)
            try:
                sums[position] = checksum(side, name)
            finally:
                side.close()
        return sums[position]

    def _at_initializer(self, name: str, points: Sequence[Point]) -> bool:
        """Whether a variable that had moved holds its constant initial value again at the end."""
        last = len(self._checkpoints) - 1
        if len(points) < 2 or points[-1].position != last or not points[-1].moved:
            return False
        side = self._open_side(last)
        try:
            if dtype_named(side.specs[name].dtype).kind not in ("float", "int"):
                return False
            constant = _constant(self._checkpoints[last].initializer(side.keys[name]))
            return constant is not None and _all_equal(side, name, constant)
        finally:
            side.close()


def _near(a: float | None, b: float | None) -> bool:
    """Whether two norms may be those of equal tensors (strings have none)."""
    return a == b if a is None or b is None else abs(a - b) <= 1e-6 * max(a, b)


def _all_equal(side: Side, name: str, constant: float) -> bool:
    """Whether a tensor is filled with ``constant``, as its dtype rounds it."""
    empty = True
    try:
        for piece in side.pieces(name):
            if not bool((piece == piece.dtype.type(constant)).all()):
                return False
            empty = empty and not len(piece)
    except (CkptError, OverflowError, ValueError):
        return False
    return not empty


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
