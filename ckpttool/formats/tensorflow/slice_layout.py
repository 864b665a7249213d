"""How the parts of a partitioned variable lie in the whole: parsing, exact cover, assembly.

Source: ``tensorflow:core/framework/tensor_slice.proto`` and ``tensor_shape.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from math import prod

from ckpttool.formats.tensorflow.ordered_code import FULL, MAX_RANK, Extent
from ckpttool.storage.wire import BYTES, VARINT, WireError, fields, signed
from ckpttool.tensors import Shape, Slice

MAX_SLICES = 16384  # parts of one variable; each is a variable of its own in the training graph
MAX_ELEMENTS = (1 << 63) - 1
_MAX_CORNERS = 1 << 22  # of all parts: 2 for each dimension that is cut, multiplied
_COMPARED = 256  # parts that are compared with each other to name two that overlap


def parse_shape(buf: bytes, start: int, end: int) -> Shape:
    """The dimensions of a ``TensorShapeProto``; :class:`WireError` if it is no complete shape."""
    dims = []
    for number, wire_type, a, b in fields(buf, start, end):
        if number == 2 and wire_type == BYTES:
            size = 0  # an absent size is 0
            for inner, kind, value, _ in fields(buf, a, b):
                if inner == 1 and kind == VARINT:
                    size = signed(value)
            dims.append(size)
        elif number == 3 and wire_type == VARINT and a:
            raise WireError("a shape of unknown rank", start)
    if len(dims) > MAX_RANK:
        raise WireError(f"a shape of {len(dims)} dimensions", start)
    if any(size < 0 for size in dims) or prod(dims) > MAX_ELEMENTS:
        raise WireError("a shape with unknown or impossible dimensions", start)
    return tuple(dims)


def parse_extents(buf: bytes, start: int, end: int) -> tuple[Extent, ...]:
    """The extents of a ``TensorSliceProto``.

    A dimension without a length is full.  Whether a length is stored makes part of the slice's
    key, so ``(0, FULL)`` and ``(0, size)`` are kept apart.
    """
    extents = []
    for number, wire_type, a, b in fields(buf, start, end):
        if number != 1 or wire_type != BYTES:
            continue
        begin, length = 0, FULL
        for inner, kind, value, _ in fields(buf, a, b):
            if kind == VARINT and inner == 1:
                begin = signed(value)
            elif kind == VARINT and inner == 2:
                length = signed(value)
        extents.append((0, FULL) if length == FULL else (begin, length))
        if len(extents) > MAX_RANK:
            raise WireError("a slice of too many dimensions", start)
    return tuple(extents)


def to_slice(extents: Sequence[Extent], shape: Shape) -> Slice | None:
    """The slice as numbers; None if it does not lie inside ``shape``."""
    if len(extents) != len(shape):
        return None
    starts, sizes = [], []
    for (start, length), size in zip(extents, shape, strict=True):
        if length == FULL:
            start, length = 0, size
        if start < 0 or length < 0 or start + length > size:
            return None
        starts.append(start)
        sizes.append(length)
    return Slice(tuple(starts), tuple(sizes))


def cover_fault(shape: Shape, slices: Sequence[Slice]) -> str | None:
    """Why ``slices`` do not cover ``shape`` exactly once, or None if they do.

    Exact: parts that lie inside, do not overlap, and hold as many elements as the whole.  Empty
    parts do not count.  The work is linear in the number of parts.
    """
    if len(slices) > MAX_SLICES:
        return f"{len(slices)} parts, more than {MAX_SLICES}"
    solid = [part for part in slices if prod(part.shape)]
    covered = sum(prod(part.shape) for part in solid)
    axes = [
        axis
        for axis, size in enumerate(shape)
        if any(part.shape[axis] != size or part.start[axis] for part in solid)
    ]
    if len(solid) << len(axes) > _MAX_CORNERS:
        return f"{len(solid)} parts that are cut along {len(axes)} dimensions"
    if covered == prod(shape) and not _uneven(shape, solid, axes):
        return None
    overlap = _overlap(solid[:_COMPARED])
    if overlap:
        return f"parts at {list(overlap[0].start)} and {list(overlap[1].start)} overlap"
    if covered == prod(shape):
        return "parts overlap, and leave out as many elements"
    return f"{covered} of {prod(shape)} elements are covered"


def _uneven(shape: Shape, solid: Sequence[Slice], axes: Sequence[int]) -> bool:
    """Whether the corners of the parts do not cancel to those of the whole.

    Each part counts +1 or -1 at each of its corners, alternating along each axis.  These numbers
    tell how often each element is covered (they are its differences along all axes), so they
    are those of the whole exactly if each element is covered once.
    """
    corners: dict[tuple[int, ...], int] = {}
    boxes = [(part.start, part.shape, 1) for part in solid]
    if prod(shape):
        boxes.append(((0,) * len(shape), shape, -1))
    for start, size, sign in boxes:
        points: list[tuple[tuple[int, ...], int]] = [((), sign)]
        for axis in axes:
            low, high = start[axis], start[axis] + size[axis]
            points = [
                corner
                for at, value in points
                for corner in (((*at, low), value), ((*at, high), -value))
            ]
        for at, value in points:
            corners[at] = corners.get(at, 0) + value
    return any(corners.values())


def _overlap(slices: Sequence[Slice]) -> tuple[Slice, Slice] | None:
    """Two parts that share an element, to be told; None if there are none."""
    for first, second in combinations(slices, 2):
        if all(
            a < b + d and b < a + c
            for a, c, b, d in zip(first.start, first.shape, second.start, second.shape, strict=True)
        ):
            return first, second
    return None


def row_blocks(
    shape: Shape, slices: Sequence[Slice], rows: int
) -> Iterator[tuple[int, int, list[tuple[int, int, int]]]]:
    """Blocks of at most ``rows`` rows of the whole and what each part gives to them.

    Yields ``(first, last, gives)`` with ``gives`` as ``(part, begin, end)`` in rows of the whole.
    Each part is consumed in its own C order, without gaps.
    """
    order = sorted(range(len(slices)), key=lambda index: slices[index].start[0])
    position = 0
    active: list[int] = []
    for first in range(0, shape[0], rows):
        last = min(first + rows, shape[0])
        while position < len(order) and slices[order[position]].start[0] < last:
            active.append(order[position])
            position += 1
        gives = []
        following = []
        for index in active:
            start = slices[index].start[0]
            stop = start + slices[index].shape[0]
            if stop > first:
                gives.append((index, max(first, start), min(last, stop)))
            if stop > last:
                following.append(index)
        active = following
        yield first, last, gives
