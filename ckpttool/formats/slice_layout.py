"""How the parts of a partitioned variable lie in the whole: parsing, exact cover, assembly.

Source: ``tensorflow:core/framework/tensor_slice.proto`` and ``tensor_shape.proto``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

from ckpttool.formats.ordered_code import FULL, MAX_RANK, Extent
from ckpttool.storage.wire import BYTES, VARINT, WireError, fields, signed
from ckpttool.tensors import Shape, Slice

MAX_SLICES = 16384  # parts of one variable; each is a variable of its own in the training graph
MAX_ELEMENTS = (1 << 63) - 1


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

    Exact: parts that lie inside, do not overlap, and hold as many elements as the whole.
    """
    if len(slices) > MAX_SLICES:
        return f"{len(slices)} parts, more than {MAX_SLICES}"
    solid = [part for part in slices if prod(part.shape)]
    overlap = _overlap(solid)
    if overlap:
        return f"parts at {list(overlap[0].start)} and {list(overlap[1].start)} overlap"
    covered = sum(prod(part.shape) for part in solid)
    if covered != prod(shape):
        return f"{covered} of {prod(shape)} elements are covered"
    return None


def _overlap(slices: Sequence[Slice]) -> tuple[Slice, Slice] | None:
    """Two parts that share an element: a sweep along the axis with the most distinct starts."""
    if not slices:
        return None
    rank = len(slices[0].shape)
    if not rank:
        return (slices[0], slices[1]) if len(slices) > 1 else None
    axis = max(range(rank), key=lambda d: len({part.start[d] for part in slices}))
    active: list[Slice] = []
    for part in sorted(slices, key=lambda item: item.start[axis]):
        begin = part.start[axis]
        active = [other for other in active if other.start[axis] + other.shape[axis] > begin]
        for other in active:
            if all(
                part.start[d] < other.start[d] + other.shape[d]
                and other.start[d] < part.start[d] + part.shape[d]
                for d in range(rank)
            ):
                return other, part
        active.append(part)
    return None


def row_blocks(
    shape: Shape, slices: Sequence[Slice], rows: int
) -> Iterator[tuple[int, int, list[tuple[int, int, int]]]]:
    """Blocks of at most ``rows`` rows of the whole and what each part gives to them.

    Yields ``(first, last, gives)`` with ``gives`` as ``(part, begin, end)`` in rows of the whole.
    Each part is consumed in its own C order, without gaps.
    """
    order = sorted(range(len(slices)), key=lambda index: slices[index].start[0])
    for first in range(0, shape[0], rows):
        last = min(first + rows, shape[0])
        gives = []
        for index in order:
            start = slices[index].start[0]
            if start >= last:
                break
            end = min(last, start + slices[index].shape[0])
            if end > first:
                gives.append((index, max(first, start), end))
        yield first, last, gives
