"""Transforms between one array and several."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from ckpttool.mapping.transforms import arguments as arg
from ckpttool.mapping.transforms.base import ArraySpec, Lazy, Transform, TransformError
from ckpttool.mapping.transforms.blocks import split_sizes
from ckpttool.mapping.transforms.declared import (
    MAX_ARRAYS,
    Declared,
    axis_of,
    checked,
    equal_blocks,
    needed,
    only,
    resized,
)
from ckpttool.mapping.transforms.grouped import Grouped
from ckpttool.mapping.transforms.sizes import Size, fixed
from ckpttool.tensors import Shape


class Split(Declared):
    """One array as several parts of an axis."""

    name = "split"
    many_out = True
    params = (
        arg.axis_param(),
        arg.Param("sizes", arg.SIZES, "the size of each part; one may be -1, the rest", False),
        arg.Param("parts", arg.SIZE, "or the number of equal parts", False),
    )
    summary = "cuts an axis into several arrays"
    undone = "exactly"
    axis: int
    sizes: tuple[Size, ...] | None
    parts: Size | None

    def check(self) -> None:
        """Sizes or a number."""
        if (self.sizes is None) == (self.parts is None):
            raise TransformError("the parts are given by either `sizes` or `parts`")

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """A spec for each part."""
        dtype, shape = only(inputs)
        axis = axis_of(self.axis, shape)
        return tuple(
            ArraySpec(dtype, resized(shape, axis, width)) for width in self._widths(shape, axis)
        )

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Views."""
        from ckpttool.mapping.transforms.views import part_of

        shape = inputs[0].spec.shape
        axis = axis_of(self.axis, shape)
        ends = list(accumulate(self._widths(shape, axis)))
        return tuple(
            part_of(inputs[0], axis, start, stop)
            for start, stop in zip([0, *ends], ends, strict=False)
        )

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Put together again."""
        return Concat(axis=self.axis)

    def outputs(self, count: int | None) -> int | None:
        """As many as sizes are written."""
        known = len(self.sizes) if self.sizes is not None else self.parts and self.parts.constant
        return None if count is None or known is None else count * known

    def _widths(self, shape: Shape, axis: int) -> list[int]:
        if self.parts is None:
            return split_sizes(self.sizes or (), shape, axis)
        count = few(self.parts.resolve(shape))
        return [equal_blocks(shape[axis], count)] * count


class Several(Declared):
    """A transform that makes one array of all, or of some neighbours among them."""

    takes_many = True
    axis: int
    arrays: tuple[int, ...] | None

    def check(self) -> None:
        """Neighbours, in their order."""
        if self.arrays is not None:
            first = self.arrays[0] if self.arrays else -1
            if first < 0 or self.arrays != tuple(range(first, first + len(self.arrays))):
                found = str(list(self.arrays))
                raise TransformError(
                    "`arrays` are neighbours, counted from 0 (`pick` brings them together)", found
                )

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """One spec in the place of those that are joined."""
        first, last = self._range(len(inputs))
        return (*inputs[:first], self.joined(inputs[first:last]), *inputs[last:])

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """One array in the place of those that are joined."""
        first, last = self._range(len(inputs))
        some = inputs[first:last]
        spec = self.joined([item.spec for item in some])
        return (*inputs[:first], self.join(spec, some), *inputs[last:])

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Taken apart again, the others left alone."""
        if self.arrays is None:
            return self.apart(inputs)
        first, last = self._range(len(needed(inputs, f"{self.name} of some arrays")))
        specs = needed(inputs, self.name)
        alone = len(specs) - last
        back = self.apart(specs[first:last])
        return Grouped([(None, first), (back, 1), (None, alone)])

    def outputs(self, count: int | None) -> int | None:
        """One, and those that are left alone."""
        if self.arrays is None:
            return 1
        return None if count is None else count - len(self.arrays) + 1

    def trace(
        self, inputs: Sequence[ArraySpec], before: Sequence[tuple[str, ...]]
    ) -> tuple[tuple[str, ...], ...]:
        """Those that are left alone keep their history."""
        first, last = self._range(len(inputs))
        if self.arrays is None:
            return super().trace(inputs, before)
        alone = type(self)(axis=self.axis)
        some = alone.trace(inputs[first:last], before[first:last])
        return (*before[:first], *some, *before[last:])

    def joined(self, inputs: Sequence[ArraySpec]) -> ArraySpec:
        """The spec of what is made of these."""
        raise NotImplementedError

    def join(self, spec: ArraySpec, inputs: Sequence[Lazy]) -> Lazy:
        """What is made of these."""
        raise NotImplementedError

    def apart(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """What takes the result apart."""
        raise NotImplementedError

    def _range(self, count: int) -> tuple[int, int]:
        if not count:
            raise TransformError("no array goes in")
        if self.arrays is None:
            return 0, count
        first, last = self.arrays[0], self.arrays[-1] + 1
        if last > count:
            raise TransformError("there is no such array", str(last - 1), f"0 to {count - 1}")
        return first, last


_SOME = arg.Param("arrays", arg.INTS, "only these neighbours, from 0; left out: all", False)


class Concat(Several):
    """Arrays one after the other."""

    name = "concat"
    short = "axis"
    params = (arg.axis_param(0), _SOME)
    summary = "puts arrays one after the other along an axis"
    undone = "exactly, where the shapes before it are known"

    def joined(self, inputs: Sequence[ArraySpec]) -> ArraySpec:
        """The sum of the sizes."""
        dtype, shape = inputs[0]
        axis = axis_of(self.axis, shape)
        for other in inputs[1:]:
            if other.dtype != dtype or len(other.shape) != len(shape):
                raise _differ("concat", inputs[0], other)
            if resized(other.shape, axis, 0) != resized(shape, axis, 0):
                raise _differ("concat", inputs[0], other)
        total = sum(item.shape[axis] for item in inputs)
        return ArraySpec(dtype, checked(resized(shape, axis, total)))

    def join(self, spec: ArraySpec, inputs: Sequence[Lazy]) -> Lazy:
        """One after the other."""
        from ckpttool.mapping.transforms.views import Joined, Piece

        if len(inputs) == 1:
            return inputs[0]
        axis = axis_of(self.axis, spec.shape)
        pieces = [Piece(item.spec.shape[axis], number) for number, item in enumerate(inputs)]
        return Joined(spec, inputs, axis, pieces)

    def apart(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Split where they met."""
        specs = needed(inputs, self.name)
        axis = axis_of(self.axis, specs[0].shape)
        return Split(axis=axis, sizes=tuple(fixed(item.shape[axis]) for item in specs))


class Stack(Several):
    """Arrays side by side along a new axis."""

    name = "stack"
    short = "axis"
    params = (arg.axis_param(0), _SOME)
    summary = "puts arrays of one shape side by side along a new axis"
    undone = "exactly"

    def joined(self, inputs: Sequence[ArraySpec]) -> ArraySpec:
        """A new axis."""
        dtype, shape = inputs[0]
        axis = axis_of(self.axis, shape, 1)
        for other in inputs[1:]:
            if other != inputs[0]:
                raise _differ("stack", inputs[0], other)
        return ArraySpec(dtype, checked((*shape[:axis], len(inputs), *shape[axis:])))

    def join(self, spec: ArraySpec, inputs: Sequence[Lazy]) -> Lazy:
        """Joined along an axis that each has got."""
        from ckpttool.mapping.transforms.views import Joined, Piece, reshaped

        axis = axis_of(self.axis, spec.shape)
        unit = resized(spec.shape, axis, 1)
        parts = [reshaped(item, unit) for item in inputs]
        if len(parts) == 1:
            return parts[0]
        return Joined(spec, parts, axis, [Piece(1, number) for number in range(len(parts))])

    def apart(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Each by itself."""
        return Unstack(axis=self.axis)


class Unstack(Declared):
    """Each place of an axis as an array."""

    name = "unstack"
    short = "axis"
    many_out = True
    params = (arg.axis_param(0),)
    summary = "each place of an axis as an array of its own"
    undone = "exactly"
    axis: int

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """As many as the axis has places."""
        dtype, shape = only(inputs)
        axis = axis_of(self.axis, shape)
        return (ArraySpec(dtype, shape[:axis] + shape[axis + 1 :]),) * few(shape[axis])

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Views."""
        from ckpttool.mapping.transforms.views import part_of, reshaped

        shape = inputs[0].spec.shape
        axis = axis_of(self.axis, shape)
        rest = shape[:axis] + shape[axis + 1 :]
        return tuple(
            reshaped(part_of(inputs[0], axis, place, place + 1), rest)
            for place in range(shape[axis])
        )

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Side by side again."""
        return Stack(axis=self.axis)


class Interleave(Several):
    """Arrays dealt out along an axis."""

    name = "interleave"
    short = "axis"
    params = (arg.axis_param(0), _SOME)
    summary = "place i of an axis from array i mod n, as the shards of a `mod` partition"
    undone = "exactly, where the number of arrays is known"

    def joined(self, inputs: Sequence[ArraySpec]) -> ArraySpec:
        """The sum of the sizes, which differ by one at most, the larger ones first."""
        spec = Concat(axis=self.axis).joined(inputs)
        axis = axis_of(self.axis, spec.shape)
        sizes = [item.shape[axis] for item in inputs]
        total, count = sum(sizes), len(sizes)
        if sizes != [-(-(total - number) // count) for number in range(count)]:
            message = "the sizes of interleaved arrays differ by one at most, larger ones first"
            raise TransformError(message, str(sizes[:20]))
        return spec

    def join(self, spec: ArraySpec, inputs: Sequence[Lazy]) -> Lazy:
        """Dealt out."""
        from ckpttool.mapping.transforms.views import Interleaved

        return Interleaved(spec, inputs, axis_of(self.axis, spec.shape))

    def apart(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Collected again."""
        return Deinterleave(axis=self.axis, parts=fixed(len(needed(inputs, self.name))))


class Deinterleave(Declared):
    """Every n-th place of an axis, for each start."""

    name = "deinterleave"
    many_out = True
    short = "parts"
    params = (arg.axis_param(0), arg.Param("parts", arg.SIZE, "the number of arrays"))
    summary = "n arrays, array k of places k, k+n, … of an axis"
    undone = "exactly"
    axis: int
    parts: Size

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """Sizes that differ by one at most."""
        dtype, shape = only(inputs)
        axis = axis_of(self.axis, shape)
        count = few(self.parts.resolve(shape))
        return tuple(
            ArraySpec(dtype, resized(shape, axis, -(-max(0, shape[axis] - k) // count)))
            for k in range(count)
        )

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Computed as they are read."""
        from ckpttool.mapping.transforms.views import EveryNth

        specs = self.infer([inputs[0].spec])
        axis = axis_of(self.axis, inputs[0].spec.shape)
        return tuple(EveryNth(spec, inputs[0], axis, k, len(specs)) for k, spec in enumerate(specs))

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Dealt out again."""
        return Interleave(axis=self.axis)


class Pick(Declared):
    """The arrays of the list in another order."""

    name = "pick"
    short = "order"
    takes_many = True
    params = (arg.Param("order", arg.INTS, "the arrays to go on with, from 0; repeats allowed"),)
    summary = "goes on with these arrays of the list, in this order"
    undone = "exactly, where every array is picked"
    order: tuple[int, ...]

    def check(self) -> None:
        """Something is picked."""
        if not self.order or min(self.order) < 0:
            raise TransformError("`pick` names arrays, counted from 0", str(list(self.order)))

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The picked ones."""
        if max(self.order) >= len(inputs):
            found = str(max(self.order))
            raise TransformError("there is no such array", found, f"0 to {len(inputs) - 1}")
        return tuple(inputs[number] for number in self.order)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """The picked ones."""
        return tuple(inputs[number] for number in self.order)

    def presumes(self) -> int | None:
        """No array beyond the last that is picked."""
        return max(self.order) + 1

    def outputs(self, count: int | None) -> int | None:
        """As many as are picked."""
        return len(self.order)

    def trace(
        self, inputs: Sequence[ArraySpec], before: Sequence[tuple[str, ...]]
    ) -> tuple[tuple[str, ...], ...]:
        """Nothing is done to an array."""
        return tuple(before[number] for number in self.order)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Each from where it went first."""
        count = len(inputs) if inputs is not None else max(self.order) + 1
        if set(self.order) != set(range(count)):
            raise TransformError("pick has no inverse here: an array is left out")
        return Pick(order=tuple(self.order.index(number) for number in range(count)))


def few(count: int) -> int:
    """``count`` arrays as a number that a chain can work on."""
    if not 1 <= count <= MAX_ARRAYS:
        raise TransformError("a number of arrays", str(count), f"1 to {MAX_ARRAYS}")
    return count


def _differ(name: str, first: ArraySpec, other: ArraySpec) -> TransformError:
    texts = [f"{item.dtype} {list(item.shape)}" for item in (other, first)]
    return TransformError(f"the arrays of {name} do not fit together", texts[0], texts[1])
