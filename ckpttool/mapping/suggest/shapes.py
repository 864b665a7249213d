"""What may turn an array of one shape into one of another without changing what it means."""

from __future__ import annotations

from typing import NamedTuple

from ckpttool.tensors import Shape


class Change(NamedTuple):
    """Transforms as a mapping file has them, what they cost as an explanation, and a word."""

    chain: tuple[str, ...]
    cost: float
    word: str


SAME = Change((), 0.0, "")
_CLASSES = 2  # outputs that a target must have at least for class 0 to be cut off


def changes(source: Shape, target: Shape, role: str, torch: bool) -> list[Change]:
    """All that fit, the simplest first; ``torch``: the target keeps kernels the other way round."""
    found: list[Change] = []
    if torch and role in ("kernel", "depthwise"):
        found += _turned(source, target)
    if source == target:
        found.append(SAME)
    ones = _without_ones(source, target)
    if ones is not None:
        found.append(ones)
    elif source != target:
        merged = _merged(source, target)
        if merged is not None:
            found.append(merged)
    found += _one_class_less(source, target)
    return found


def _turned(source: Shape, target: Shape) -> list[Change]:
    rank = len(source)
    if rank == 2:
        order: tuple[int, ...] = (1, 0)
    elif rank in (3, 4, 5):
        order = (rank - 1, rank - 2, *range(rank - 2))
    else:
        return []
    if tuple(source[axis] for axis in order) != target:
        return []
    return [Change((f"transpose: [{', '.join(map(str, order))}]",), 0.05, "transposed")]


def _without_ones(source: Shape, target: Shape) -> Change | None:
    """Axes of size 1 that one side has and the other has not."""
    if source == target or [n for n in source if n != 1] != [n for n in target if n != 1]:
        return None
    extra = len(source) - len(target)
    if extra > 0:
        axes = _ones_to_drop(source, target)
        if axes is not None:
            return Change((f"squeeze: {_axes(axes)}",), 0.05, "axes of size 1 taken out")
    if extra < 0:
        axes = _ones_to_drop(target, source)
        if axes is not None:
            return Change((f"expand: {_axes(axes)}",), 0.05, "axes of size 1 put in")
    return None


def _ones_to_drop(long: Shape, short: Shape) -> tuple[int, ...] | None:
    """Places of the ones to take out of ``long``."""
    axes: list[int] = []
    at = 0
    for axis, size in enumerate(long):
        if at < len(short) and size == short[at]:
            at += 1
        elif size == 1:
            axes.append(axis)
        else:
            return None
    return tuple(axes) if at == len(short) else None


def _axes(axes: tuple[int, ...]) -> str:
    return str(axes[0]) if len(axes) == 1 else f"[{', '.join(map(str, axes))}]"


def _merged(source: Shape, target: Shape) -> Change | None:
    """Neighbouring axes joined into one, or one taken apart."""
    groups = _aligned(source, target)
    if groups is None:
        return None
    dims: list[str] = []
    rest = False
    for axes, sizes in groups:
        if len(sizes) == 1 and len(axes) == 1:
            # `0` is the same axis of the source.
            dims.append("0" if axes[0] == len(dims) else f"d{axes[0]}")
        elif len(sizes) == 1 and not rest:
            dims.append("-1")
            rest = True
        elif len(sizes) == 1:
            dims.append(str(sizes[0]))
        else:
            tail = [str(size) for size in sizes]
            if not rest:
                tail[-1] = "-1"
                rest = True
            dims += tail
    word = "axes joined" if len(source) > len(target) else "an axis taken apart"
    return Change((f"reshape: [{', '.join(dims)}]",), 0.1, word)


def _aligned(source: Shape, target: Shape) -> list[tuple[tuple[int, ...], tuple[int, ...]]] | None:
    """Axes of the source with the sizes that they become, in order; None if they do not line up."""
    groups: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    i = j = 0
    while i < len(source) and j < len(target):
        axes, sizes = [i], [target[j]]
        left, right = source[i], target[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right and i < len(source):
                left *= source[i]
                axes.append(i)
                i += 1
            elif right < left and j < len(target):
                right *= target[j]
                sizes.append(target[j])
                j += 1
            else:
                return None
        if len(axes) > 1 and len(sizes) > 1:
            return None
        groups.append((tuple(axes), tuple(sizes)))
    return groups if i == len(source) and j == len(target) else None


def _one_class_less(source: Shape, target: Shape) -> list[Change]:
    """Outputs 1 to n where the source has a class 0 for "nothing" that the target has not."""
    if not source or not target or source[-1] != target[-1] + 1 or target[-1] < _CLASSES:
        return []
    cut = (*source[:-1], target[-1])
    before = [SAME] if cut == target else []
    ones = _without_ones(cut, target)
    if ones is not None:
        before.append(ones)
    elif cut != target:
        merged = _merged(cut, target)
        before += [merged] if merged is not None else []
    step = f"slice: {{axis: {len(source) - 1}, start: 1}}"
    return [
        Change((step, *change.chain), 0.25 + change.cost, "class 0 left out") for change in before
    ]
