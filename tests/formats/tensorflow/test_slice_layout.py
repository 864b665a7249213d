"""Exact cover and assembly of partitioned variables."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
from format_makers import shape_message, slice_message
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.formats.tensorflow.ordered_code import FULL
from ckpttool.formats.tensorflow.slice_layout import (
    MAX_SLICES,
    cover_fault,
    parse_extents,
    parse_shape,
    row_blocks,
    to_slice,
)
from ckpttool.storage.wire import WireError, encode_varint_field
from ckpttool.tensors import Slice


@st.composite
def cuts(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Slice]]:
    """A shape and a grid of parts that covers it, shuffled."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=3)))
    axes = []
    for size in shape:
        inner = st.sets(st.integers(1, size - 1), max_size=2) if size > 1 else st.just(set())
        points = [0, *sorted(draw(inner)), size]
        axes.append(list(pairwise(points)))
    parts = [
        Slice(tuple(a for a, _ in cell), tuple(b - a for a, b in cell)) for cell in product(*axes)
    ]
    return shape, draw(st.permutations(parts))


@settings(max_examples=100, deadline=None)
@given(cuts(), st.integers(1, 4), st.data())
def test_a_grid_covers_and_joins(
    cut: tuple[tuple[int, ...], list[Slice]], rows: int, data: st.DataObject
) -> None:
    shape, parts = cut
    assert cover_fault(shape, parts) is None
    whole = np.arange(np.prod(shape)).reshape(shape)
    streams = [whole[place(part)].reshape(-1) for part in parts]
    taken = [0] * len(parts)
    blocks = []
    for first, last, gives in row_blocks(shape, parts, rows):
        block = np.full((last - first, *shape[1:]), -1)
        for index, begin, end in gives:
            part = parts[index]
            count = (end - begin) * int(np.prod(part.shape[1:]))
            piece = streams[index][taken[index] : taken[index] + count]
            taken[index] += count
            inner = place(Slice(part.start[1:], part.shape[1:]))
            block[(slice(begin - first, end - first), *inner)] = piece.reshape(
                end - begin, *part.shape[1:]
            )
        blocks.append(block)
    assert np.array_equal(np.concatenate(blocks), whole)
    # Any change to one part is a gap, an overlap, or both.
    index = data.draw(st.integers(0, len(parts) - 1))
    assert cover_fault(shape, parts[:index] + parts[index + 1 :])
    assert cover_fault(shape, [*parts, parts[index]])


def place(part: Slice) -> tuple[slice, ...]:
    return tuple(slice(a, a + n) for a, n in zip(part.start, part.shape, strict=True))


def test_equal_volume_is_not_enough() -> None:
    # Four of four elements, yet one twice and one never.
    fault = cover_fault((4,), [Slice((0,), (2,)), Slice((1,), (2,))])
    assert fault == "parts at [0] and [1] overlap"
    assert cover_fault((4,), [Slice((0,), (2,))]) == "2 of 4 elements are covered"


def test_empty_parts_and_scalars() -> None:
    assert cover_fault((0, 3), []) is None
    assert cover_fault((2,), [Slice((0,), (2,)), Slice((1,), (0,))]) is None
    assert cover_fault((), [Slice((), ())]) is None
    assert cover_fault((), [Slice((), ()), Slice((), ())])


def test_many_parts() -> None:
    parts = [Slice((0, n), (2, 1)) for n in range(2000)]  # along the second axis: still a sweep
    assert cover_fault((2, 2000), parts) is None
    assert cover_fault((1 << 20,), [Slice((n,), (1,)) for n in range(MAX_SLICES + 1)])


@pytest.mark.parametrize("shape", [(), (3,), (0,), (2, 0, 5), (1 << 40,)])
def test_shapes(shape: tuple[int, ...]) -> None:
    message = shape_message(shape)
    assert parse_shape(message, 0, len(message)) == shape


@pytest.mark.parametrize(
    "message",
    [
        shape_message([-1]),
        shape_message([1 << 40, 1 << 40]),
        shape_message([1] * 255),
        encode_varint_field(3, 1),
        b"\x12\x05\x08",
    ],
)
def test_impossible_shapes(message: bytes) -> None:
    with pytest.raises(WireError):
        parse_shape(message, 0, len(message))


def test_extents_keep_whether_a_length_is_stored() -> None:
    for extents in (((0, FULL),), ((0, 7), (2, 1)), ((0, 0),), ()):
        message = slice_message(extents)
        assert parse_extents(message, 0, len(message)) == extents
    assert to_slice([(0, FULL), (2, 3)], (4, 5)) == Slice((0, 2), (4, 3))
    for outside in ([(2, 4), (0, FULL)], [(-1, 1), (0, 1)], [(0, 1)], [(0, -2), (0, 1)]):
        assert to_slice(outside, (4, 5)) is None
