"""Transforms of one array that give its elements another shape or order."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from ckpttool.mapping.transforms import arguments as arg
from ckpttool.mapping.transforms.base import ArraySpec, Lazy, Transform, TransformError
from ckpttool.mapping.transforms.declared import Declared, axis_of, checked, needed, only, resized
from ckpttool.mapping.transforms.sizes import Size, fixed
from ckpttool.tensors import Shape


class Reshape(Declared):
    """Other axes over the same elements in the same order."""

    name = "reshape"
    short = "dims"
    params = (
        arg.Param("dims", arg.SIZES, "the new sizes; 0 keeps that axis, one -1 takes the rest"),
    )
    summary = "the same elements in the same order, with other axes"
    undone = "exactly, where the shape before it is known"
    dims: tuple[Size, ...]

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The same number of elements."""
        dtype, shape = only(inputs)
        return (ArraySpec(dtype, self._shape(shape)),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """The stream is the input's own."""
        from ckpttool.mapping.transforms.views import reshaped

        return (reshaped(inputs[0], self._shape(inputs[0].spec.shape)),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Back to the shape before."""
        shape = only(needed(inputs, self.name)).shape
        return (
            Reshape(dims=tuple(fixed(size) for size in shape)) if 0 not in shape else Exact(shape)
        )

    def _shape(self, shape: Shape) -> Shape:
        sizes = [size.resolve(shape) for size in self.dims]
        for number, size in enumerate(sizes):
            if size == 0:
                sizes[number] = shape[axis_of(number, shape)]
        return filled_rest(sizes, prod(shape), shape)


class Exact(Declared):
    """A reshape to fixed sizes, of which some are 0: not written, only the inverse of one."""

    name = "reshape"

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The given shape."""
        dtype, shape = only(inputs)
        if prod(shape) != prod(self.shape):
            raise TransformError("the elements do not fit", str(list(shape)), str(list(self.shape)))
        return (ArraySpec(dtype, self.shape),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """As a reshape."""
        from ckpttool.mapping.transforms.views import reshaped

        return (reshaped(inputs[0], self.shape),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Back to the shape before."""
        return Exact(only(needed(inputs, self.name)).shape)

    def describe(self) -> str:
        """The sizes as they are."""
        return f"reshape to {list(self.shape)}"


class Transpose(Declared):
    """The axes in another order."""

    name = "transpose"
    short = "perm"
    params = (
        arg.Param("perm", arg.INTS, "the old axes in their new order; left out: reversed", False),
    )
    summary = "the axes in another order"
    undone = "exactly"
    perm: tuple[int, ...] | None

    def check(self) -> None:
        """A negative axis counts from the last; each is there once."""
        if self.perm is not None:
            rank = len(self.perm)
            axes = [axis % rank for axis in self.perm if -rank <= axis < rank]
            if sorted(axes) != list(range(rank)):
                found = str(list(self.perm))
                raise TransformError("each axis stands in `transpose` once", found)

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The sizes in their new order."""
        dtype, shape = only(inputs)
        return (ArraySpec(dtype, tuple(shape[axis] for axis in self._perm(shape))),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """A view."""
        from ckpttool.mapping.transforms.views import Transposed

        spec = inputs[0].spec
        perm = self._perm(spec.shape)
        if perm == tuple(range(len(perm))):
            return (inputs[0],)
        return (Transposed(self.infer([spec])[0], inputs[0], perm),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """The inverse permutation."""
        if self.perm is None:
            return self
        rank = len(self.perm)
        axes = [axis % rank for axis in self.perm]
        return Transpose(perm=tuple(axes.index(axis) for axis in range(rank)))

    def _perm(self, shape: Shape) -> tuple[int, ...]:
        rank = len(shape)
        if self.perm is None:
            return tuple(reversed(range(rank)))
        if len(self.perm) != rank:
            found = f"{len(self.perm)} axes for {list(shape)}"
            raise TransformError("`transpose` names each axis of the array", found, f"{rank} axes")
        return tuple(axis % rank for axis in self.perm)


class Squeeze(Declared):
    """Without axes of size 1."""

    name = "squeeze"
    short = "axis"
    params = (arg.Param("axis", arg.INTS, "the axes of size 1 to take out; left out: all", False),)
    summary = "takes axes of size 1 out"
    undone = "exactly"
    axis: tuple[int, ...] | None

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The other axes."""
        dtype, shape = only(inputs)
        gone = self._axes(shape)
        return (ArraySpec(dtype, tuple(n for k, n in enumerate(shape) if k not in gone)),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """A view."""
        from ckpttool.mapping.transforms.views import reshaped

        return (reshaped(inputs[0], self.infer([inputs[0].spec])[0].shape),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """The axes come back; which they were must be known."""
        if inputs is not None:
            return Expand(axis=tuple(self._axes(only(inputs).shape)))
        axes = self.axis
        if axes is None or (len(axes) > 1 and min(axes) < 0):
            raise TransformError("squeeze is undone only where it names its axes from 0")
        return Expand(axis=axes)

    def _axes(self, shape: Shape) -> list[int]:
        if self.axis is None:
            return [axis for axis, size in enumerate(shape) if size == 1]
        axes = sorted({axis_of(axis, shape) for axis in self.axis})
        for axis in axes:
            if shape[axis] != 1:
                raise TransformError(f"axis {axis} is not of size 1", str(list(shape)))
        return axes


class Expand(Declared):
    """With new axes of size 1."""

    name = "expand"
    short = "axis"
    params = (arg.Param("axis", arg.INTS, "where the new axes are in the result"),)
    summary = "puts axes of size 1 in"
    undone = "exactly"
    axis: tuple[int, ...]

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """Size 1 at the given places of the result."""
        dtype, shape = only(inputs)
        rank = len(shape) + len(self.axis)
        new = {axis_of(axis, shape, len(self.axis)) for axis in self.axis}
        if len(new) < len(self.axis):
            raise TransformError("an axis is named twice", str(list(self.axis)))
        old = iter(shape)
        return (ArraySpec(dtype, checked([1 if k in new else next(old) for k in range(rank)])),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """A view."""
        from ckpttool.mapping.transforms.views import reshaped

        return (reshaped(inputs[0], self.infer([inputs[0].spec])[0].shape),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """The axes go again."""
        return Squeeze(axis=self.axis)


class Flip(Declared):
    """One axis in reverse."""

    name = "flip"
    short = "axis"
    params = (arg.axis_param(),)
    summary = "an axis in reverse, as RGB to BGR"
    undone = "exactly"
    axis: int

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """As before."""
        spec = only(inputs)
        axis_of(self.axis, spec.shape)
        return (spec,)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """A view."""
        from ckpttool.mapping.transforms.views import Flipped

        return (Flipped(inputs[0], axis_of(self.axis, inputs[0].spec.shape)),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Itself."""
        return self


class Slice(Declared):
    """A part of an axis."""

    name = "slice"
    params = (
        arg.axis_param(),
        arg.Param("start", arg.SIZE, "the first place; negative counts from the end", False),
        arg.Param("stop", arg.SIZE, "the place after the last; left out: to the end", False),
    )
    summary = "a part of an axis"
    undone = "not, since the rest is gone (exactly where nothing was cut off)"
    axis: int
    start: Size | None
    stop: Size | None

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """Another size of the axis."""
        dtype, shape = only(inputs)
        axis, start, stop = self._bounds(shape)
        return (ArraySpec(dtype, resized(shape, axis, stop - start)),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """A view."""
        from ckpttool.mapping.transforms.views import part_of

        return (part_of(inputs[0], *self._bounds(inputs[0].spec.shape)),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Nothing brings back what was cut off."""
        if inputs is not None:
            shape = only(inputs).shape
            axis, start, stop = self._bounds(shape)
            if (start, stop) == (0, shape[axis]):
                return self
        raise TransformError("slice has no inverse: what it cuts off is not kept")

    def _bounds(self, shape: Shape) -> tuple[int, int, int]:
        axis = axis_of(self.axis, shape)
        return (axis, *bounds_of(self.start, self.stop, shape, axis))


class Index(Declared):
    """One place of an axis, which goes."""

    name = "index"
    short = "at"
    params = (
        arg.axis_param(0),
        arg.Param("at", arg.SIZE, "the place; negative counts from the end"),
    )
    summary = "one place of an axis, without the axis"
    undone = "not, since the rest is gone (exactly where there was only one)"
    axis: int
    at: Size

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """Without the axis."""
        dtype, shape = only(inputs)
        axis, _ = self._place(shape)
        return (ArraySpec(dtype, shape[:axis] + shape[axis + 1 :]),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """A view."""
        from ckpttool.mapping.transforms.views import part_of, reshaped

        spec = inputs[0].spec
        axis, place = self._place(spec.shape)
        part = part_of(inputs[0], axis, place, place + 1)
        return (reshaped(part, self.infer([spec])[0].shape),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Nothing brings the other places back."""
        if inputs is not None:
            axis, _ = self._place(only(inputs).shape)
            if only(inputs).shape[axis] == 1:
                return Expand(axis=(axis,))
        raise TransformError("index has no inverse: the other places are not kept")

    def _place(self, shape: Shape) -> tuple[int, int]:
        axis = axis_of(self.axis, shape)
        place = self.at.resolve(shape)
        if not -shape[axis] <= place < shape[axis]:
            raise TransformError(
                f"axis {axis} has no place {place}", str(list(shape)), f"size {shape[axis]}"
            )
        return axis, place % shape[axis]


def filled_rest(sizes: list[int], total: int, shape: Shape) -> Shape:
    """``sizes`` of ``total`` elements in all, one -1 among them worked out."""
    found = f"{list(sizes)} of {list(shape)}"
    if sizes.count(-1) > 1 or min(sizes, default=0) < -1:
        raise TransformError("at most one size is -1, and none is below", found)
    if -1 in sizes:
        others = prod(size for size in sizes if size != -1)
        if not others or total % others:
            raise TransformError("no size in the place of -1 fits", found, f"{total} elements")
        sizes[sizes.index(-1)] = total // others
    if prod(sizes) != total:
        raise TransformError("the number of elements is another", found, f"{total} elements")
    return checked(sizes)


def bounds_of(start: Size | None, stop: Size | None, shape: Shape, axis: int) -> tuple[int, int]:
    """First and last place of a part of an axis, within it."""
    size = shape[axis]
    first = 0 if start is None else start.resolve(shape)
    last = size if stop is None else stop.resolve(shape)
    low = first + size if first < 0 else first
    high = last + size if last < 0 else last
    if not 0 <= low <= high <= size:
        found = f"{first} to {last}"
        raise TransformError(f"not a part of axis {axis}", found, f"within {size}")
    return low, high
