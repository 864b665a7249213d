"""Transforms of one array that move parts of an axis: padding, blocks, gates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ckpttool.mapping.transforms import arguments as arg
from ckpttool.mapping.transforms.base import ArraySpec, Lazy, Transform, TransformError
from ckpttool.mapping.transforms.declared import (
    Declared,
    axis_of,
    checked,
    equal_blocks,
    needed,
    numeric,
    only,
    resized,
)
from ckpttool.mapping.transforms.layout import Slice
from ckpttool.mapping.transforms.sizes import Size, fixed
from ckpttool.mapping.transforms.values import filler
from ckpttool.tensors import Shape

# One letter for each gate, whatever it is called: an LSTM's new input is c, j or g, a GRU's
# candidate c, h or n, and its update gate u or z.
_SAME = {"j": "c", "g": "c", "h": "c", "n": "c", "z": "u"}


class Pad(Declared):
    """A wider axis."""

    name = "pad"
    params = (
        arg.axis_param(),
        arg.Param("before", arg.SIZE, "places to add before the first", False, fixed(0)),
        arg.Param("after", arg.SIZE, "places to add after the last", False, fixed(0)),
        arg.Param("value", arg.NUMBER, "what they hold", False, 0),
    )
    summary = "adds places to an axis"
    undone = "exactly, by the slice"
    slots = "padded with 0"
    axis: int
    before: Size
    after: Size
    value: float

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """A larger axis."""
        dtype, shape = only(inputs)
        axis, before, after = self._widths(shape)
        filler(self.value, dtype)
        return (ArraySpec(dtype, checked(resized(shape, axis, shape[axis] + before + after))),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """The input between two blocks of the value."""
        from ckpttool.mapping.transforms.views import Joined, Piece

        spec = inputs[0].spec
        axis, before, after = self._widths(spec.shape)
        pieces = [Piece(before), Piece(spec.shape[axis], 0), Piece(after)]
        fill = filler(self.value, spec.dtype)
        return (Joined(self.infer([spec])[0], inputs, axis, pieces, fill),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """The slice that was padded."""
        before, after = self.before.constant, self.after.constant
        if inputs is not None:
            _, before, after = self._widths(only(inputs).shape)
        if before is None or after is None:
            needed(inputs, "a pad by an axis's size")
        stop = fixed(-after) if after else None
        return Slice(axis=self.axis, start=fixed(before or 0), stop=stop)

    def for_slots(self) -> Transform:
        """What was added has no history."""
        return Pad(axis=self.axis, before=self.before, after=self.after)

    def _widths(self, shape: Shape) -> tuple[int, int, int]:
        before, after = self.before.resolve(shape), self.after.resolve(shape)
        if min(before, after) < 0:
            raise TransformError("a pad is not negative", f"{before} and {after}")
        return axis_of(self.axis, shape), before, after


class PermuteBlocks(Declared):
    """The blocks of an axis in another order."""

    name = "permute_blocks"
    params = (
        arg.axis_param(),
        arg.Param("of", arg.SIZE, "the number of equal blocks", False),
        arg.Param("widths", arg.SIZES, "the sizes of unequal blocks; one may be -1", False),
        arg.Param("order", arg.BLOCKS, "the blocks of the result; repeats and zero are allowed"),
    )
    summary = "cuts an axis into blocks and puts them together anew"
    undone = "exactly, where every block is in the result"
    axis: int
    of: Size | None
    widths: tuple[Size, ...] | None
    order: tuple[int | None, ...]

    def check(self) -> None:
        """Equal blocks or unequal ones; known numbers."""
        if (self.of is None) == (self.widths is None):
            raise TransformError("the blocks are given by either `of` or `widths`")
        if not self.order:
            raise TransformError("`order` is empty")
        if self.widths is not None and None in self.order:
            raise TransformError("a block of zeros needs blocks of one size: give `of`")
        count = len(self.widths) if self.widths is not None else self.of and self.of.constant
        highest = max((block for block in self.order if block is not None), default=-1)
        if count is not None and highest >= count:
            raise TransformError("there is no such block", str(highest), f"0 to {count - 1}")

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The axis is as long as its blocks."""
        dtype, shape = only(inputs)
        axis = axis_of(self.axis, shape)
        widths = self._widths(shape, axis)
        total = sum(widths[block or 0] for block in self.order)
        if None in self.order:
            filler(0, dtype)
        return (ArraySpec(dtype, checked(resized(shape, axis, total))),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Pieces of the input."""
        from ckpttool.mapping.transforms.views import Joined, Piece

        spec = inputs[0].spec
        axis = axis_of(self.axis, spec.shape)
        widths = self._widths(spec.shape, axis)
        starts = [0, *accumulate(widths)]
        pieces = [
            Piece(widths[0]) if block is None else Piece(widths[block], 0, starts[block])
            for block in self.order
        ]
        fill = filler(0, spec.dtype) if None in self.order else 0
        return (Joined(self.infer([spec])[0], inputs, axis, pieces, fill),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Each block from where it went first."""
        widths = None
        if inputs is not None:
            shape = only(inputs).shape
            widths = self._widths(shape, axis_of(self.axis, shape))
        elif self.widths is not None:
            needed(inputs, "an order of unequal blocks")
        count = len(widths) if widths is not None else self.of and self.of.constant
        if count is None:
            needed(inputs, "an order of blocks that an axis counts")
        first = [self.order.index(block) for block in range(count or 0) if block in self.order]
        if len(first) != count:
            raise TransformError("permute_blocks has no inverse here: a block is left out")
        if self.of is not None:
            return PermuteBlocks(axis=self.axis, of=fixed(len(self.order)), order=tuple(first))
        there = tuple(fixed((widths or ())[block or 0]) for block in self.order)
        return PermuteBlocks(axis=self.axis, widths=there, order=tuple(first))

    def _widths(self, shape: Shape, axis: int) -> list[int]:
        if self.of is not None:
            count = self.of.resolve(shape)
            width = equal_blocks(shape[axis], count)
            highest = max((block for block in self.order if block is not None), default=-1)
            if highest >= count:
                raise TransformError("there is no such block", str(highest), f"0 to {count - 1}")
            if count > arg.MAX_ITEMS:
                raise TransformError("too many blocks", str(count), f"≤ {arg.MAX_ITEMS}")
            return [width] * count
        return split_sizes(self.widths or (), shape, axis)


class ReorderGates(Declared):
    """The gates of a recurrent cell in another order."""

    name = "reorder_gates"
    params = (
        arg.axis_param(-1),
        arg.Param("from", arg.LETTERS, "the gates as they are; c, j and g are one, u and z too"),
        arg.Param("to", arg.LETTERS, "the gates as they shall be"),
    )
    summary = "the gates of a recurrent cell in another order: ijfo, ifco, ruc, urc"
    undone = "exactly"
    axis: int
    from_: str
    to: str

    def check(self) -> None:
        """The same gates on both sides."""
        before, after = _gates(self.from_), _gates(self.to)
        if len(set(before)) < len(before):
            raise TransformError("a gate stands in `from` twice", self.from_)
        if sorted(before) != sorted(after):
            raise TransformError("`from` and `to` name the same gates", self.to, self.from_)

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """As before."""
        return self._blocks().infer(inputs)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Pieces of the input."""
        return self._blocks().apply(inputs)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """The two orders change places."""
        return ReorderGates(axis=self.axis, from_=self.to, to=self.from_)

    def _blocks(self) -> PermuteBlocks:
        before = _gates(self.from_)
        order = tuple(before.index(gate) for gate in _gates(self.to))
        return PermuteBlocks(axis=self.axis, of=fixed(len(before)), order=order)


class SumBlocks(Declared):
    """The sum of the equal blocks of an axis."""

    name = "sum_blocks"
    params = (arg.axis_param(0), arg.Param("of", arg.SIZE, "the number of blocks"))
    short = "of"
    summary = "adds the equal blocks of an axis, as the two halves of a CuDNN bias"
    undone = "not, since the parts of a sum are gone"
    slots = "refused: what a slot holds cannot be added"
    axis: int
    of: Size

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """One block is left."""
        spec = only(inputs)
        numeric(spec, self.name)
        axis = axis_of(self.axis, spec.shape)
        width = equal_blocks(spec.shape[axis], self.of.resolve(spec.shape))
        return (ArraySpec(spec.dtype, resized(spec.shape, axis, width)),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Computed region by region."""
        from ckpttool.mapping.transforms.computing import Summed

        spec = inputs[0].spec
        axis = axis_of(self.axis, spec.shape)
        return (Summed(self.infer([spec])[0], inputs[0], axis, self.of.resolve(spec.shape)),)

    def for_slots(self) -> Transform:
        """A slot is no sum of slots."""
        raise TransformError("slots cannot follow sum_blocks: what they hold cannot be added")


def split_sizes(sizes: Sequence[Size], shape: Shape, axis: int) -> list[int]:
    """Sizes of consecutive parts of an axis, one -1 among them worked out."""
    widths = [size.resolve(shape) for size in sizes]
    found = f"{widths} of {shape[axis]}"
    if widths.count(-1) > 1 or min(widths, default=0) < -1:
        raise TransformError("at most one size is -1, and none is below", found)
    if -1 in widths:
        rest = shape[axis] - sum(width for width in widths if width != -1)
        if rest < 0:
            raise TransformError(f"the parts are larger than axis {axis}", found)
        widths[widths.index(-1)] = rest
    if sum(widths) != shape[axis]:
        raise TransformError(f"the parts are not the whole of axis {axis}", found)
    return widths


def _gates(letters: str) -> list[str]:
    return [_SAME.get(letter, letter) for letter in letters]
