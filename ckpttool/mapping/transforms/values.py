"""Transforms that change values: sums, factors, dtypes, and arrays made of one value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

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
)
from ckpttool.mapping.transforms.layout import bounds_of
from ckpttool.mapping.transforms.sizes import Size
from ckpttool.tensors import Shape, dtype_named

# The largest finite value of each floating-point type that float64's range does not fit in.
_LARGEST = {
    "float32": 2.0**128 - 2.0**104,
    "bfloat16": 2.0**128 - 2.0**120,
    "float16": 65504.0,
    "complex64": 2.0**128 - 2.0**104,
    "float8_e5m2": 57344.0,
    "float8_e5m2fnuz": 57344.0,
    "float8_e4m3fn": 448.0,
    "float8_e4m3fnuz": 240.0,
    "float8_e4m3b11fnuz": 30.0,
    "float4_e2m1fn": 6.0,
}


# Significant bits, least and largest exponent.
_FORMATS = {
    "float64": (53, -1022, 1023),
    "float32": (24, -126, 127),
    "bfloat16": (8, -126, 127),
    "float16": (11, -14, 15),
    "complex128": (53, -1022, 1023),
    "complex64": (24, -126, 127),
    "float8_e5m2": (3, -14, 15),
    "float8_e5m2fnuz": (3, -15, 15),
    "float8_e4m3fn": (4, -6, 8),
    "float8_e4m3fnuz": (4, -7, 7),
    "float8_e4m3b11fnuz": (4, -10, 4),
    "float4_e2m1fn": (2, 0, 2),
}


class Add(Declared):
    """A value added to all places, or to some of an axis."""

    name = "add"
    short = "value"
    params = (
        arg.Param("value", arg.NUMBER, "what is added"),
        arg.Param("axis", arg.INT, "the axis of which only a part is meant", False),
        arg.Param("start", arg.SIZE, "the first place of the part", False),
        arg.Param("stop", arg.SIZE, "the place after its last", False),
        arg.Param("block", arg.SIZE, "or the part as a block, counted from 0", False),
        arg.Param("of", arg.SIZE, "the number of equal blocks", False),
    )
    summary = "adds a value, as a forget bias to its gate"
    undone = "up to rounding"
    slots = "left out: a slot does not move with its variable's values"
    value: float
    axis: int | None
    start: Size | None
    stop: Size | None
    block: Size | None
    of: Size | None

    def check(self) -> None:
        """A part needs its axis; a block needs a number of blocks."""
        _real(self.value)
        part = self.start or self.stop
        if (self.block is None) != (self.of is None):
            raise TransformError("`block` and `of` go together")
        if part and self.block:
            raise TransformError("the part is given by either `start` and `stop` or `block`")
        if (self.axis is None) != (not part and not self.block):
            raise TransformError("an axis and a part of it go together")

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """As before."""
        spec = only(inputs)
        numeric(spec, self.name)
        filler(self.value, spec.dtype)
        if self.axis is not None:
            self._part(spec.shape, self.axis)
        return (spec,)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Computed as it is read."""
        from ckpttool.mapping.transforms.computing import Mapped, Raised, adder

        source = inputs[0]
        if self.axis is None:
            return (Mapped(source.spec, source, adder(source, self.value)),)
        return (Raised(source, *self._part(source.spec.shape, self.axis), self.value),)

    def rounds(self, inputs: Sequence[ArraySpec] | None) -> bool:
        """A sum of floating-point numbers is rounded."""
        return self.value != 0

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Takes the value away again: the last bit of a value may differ."""
        given = {param.name: getattr(self, param.name) for param in self.params}
        return Add(**{**given, "value": -self.value})

    def for_slots(self) -> None:
        """A slot stays as it is."""

    def _part(self, shape: Shape, axis: int) -> tuple[int, int, int]:
        axis = axis_of(axis, shape)
        if self.block is None or self.of is None:
            return (axis, *bounds_of(self.start, self.stop, shape, axis))
        count, block = self.of.resolve(shape), self.block.resolve(shape)
        width = equal_blocks(shape[axis], count)
        if not 0 <= block < count:
            raise TransformError("there is no such block", str(block), f"0 to {count - 1}")
        return axis, block * width, (block + 1) * width


class Scale(Declared):
    """Values times a factor."""

    name = "scale"
    short = "factor"
    params = (arg.Param("factor", arg.NUMBER, "what values are multiplied by"),)
    summary = "multiplies by a factor"
    undone = "exactly for powers of two, else up to rounding; not for 0"
    slots = "refused: what a slot holds has another scale"
    factor: float

    def check(self) -> None:
        """A finite factor."""
        _real(self.factor)

    def rounds(self, inputs: Sequence[ArraySpec] | None) -> bool:
        """A power of two changes nothing but the exponent."""
        return abs(math.frexp(self.factor)[0]) != 0.5

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """As before."""
        spec = only(inputs)
        numeric(spec, self.name)
        filler(self.factor, spec.dtype)
        return (spec,)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Computed as it is read."""
        from ckpttool.mapping.transforms.computing import Mapped, scaler

        return (Mapped(inputs[0].spec, inputs[0], scaler(inputs[0], self.factor)),)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Times one over the factor."""
        if self.factor == 0 or not math.isfinite(1 / self.factor):
            raise TransformError("scale has no inverse here", str(self.factor))
        return Scale(factor=1 / self.factor)

    def for_slots(self) -> Transform:
        """First moments would take the factor's inverse, second ones its square."""
        raise TransformError("slots cannot follow scale: what they hold has another scale")


class Square(Declared):
    """Values times themselves."""

    name = "square"
    summary = "squares, as a standard deviation to a variance"
    undone = "not, since the signs are gone"
    slots = "refused: what a slot holds cannot be squared"

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """As before."""
        spec = only(inputs)
        numeric(spec, self.name)
        return (spec,)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Computed as it is read."""
        from ckpttool.mapping.transforms.computing import Mapped, squarer

        return (Mapped(inputs[0].spec, inputs[0], squarer(inputs[0])),)

    def for_slots(self) -> Transform:
        """A slot is no square."""
        raise TransformError("slots cannot follow square: what they hold cannot be squared")


class Cast(Declared):
    """The values in another dtype."""

    name = "cast"
    short = "dtype"
    params = (arg.Param("dtype", arg.DTYPE, "the new dtype"),)
    summary = "another dtype; a value that it does not have is an error, a rounding is not"
    undone = "exactly where the new dtype holds every value of the old, else up to rounding"
    dtype: str

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The new dtype."""
        spec = only(inputs)
        numeric(spec, self.name, ("float", "int", "uint", "bool", "complex"))
        if dtype_named(spec.dtype).kind == "complex" != dtype_named(self.dtype).kind:
            raise TransformError("a complex value has no other dtype", spec.dtype, self.dtype)
        return (ArraySpec(self.dtype, spec.shape),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Computed as it is read."""
        from ckpttool.mapping.transforms.computing import Mapped, caster

        spec = inputs[0].spec
        if spec.dtype == self.dtype:
            return (inputs[0],)
        function = caster(inputs[0], self.dtype)
        return (Mapped(ArraySpec(self.dtype, spec.shape), inputs[0], function),)

    def rounds(self, inputs: Sequence[ArraySpec] | None) -> bool:
        """Whether the new dtype lacks values of the old one."""
        return inputs is None or not holds(self.dtype, only(inputs).dtype)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """The dtype before."""
        before = only(needed(inputs, self.name)).dtype
        if before not in arg.CAST_DTYPES:
            raise TransformError("cast has no inverse here", before)
        if dtype_named(self.dtype).kind == "bool" and before != "bool":
            raise TransformError("cast has no inverse here: bool holds no numbers", before)
        return Cast(dtype=before)


class Constant(Declared):
    """One value everywhere, in the place of the array or of none."""

    name = "constant"
    short = "value"
    from_nothing = True
    params: ClassVar[tuple[arg.Param, ...]] = (
        arg.Param("value", arg.NUMBER, "the value"),
        arg.Param("shape", arg.SIZES, "its sizes; left out: those of the array it replaces", False),
        arg.Param("dtype", arg.DTYPE, "its dtype; left out: the array's, or float32", False),
    )
    summary = "an array of one value, in the place of another or from nothing"
    undone = "not, since what it replaces is gone"
    slots = "refused: it has no history"
    value: float | bool
    shape: tuple[Size, ...] | None
    dtype: str | None

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The shape that is given, or the input's."""
        if inputs:
            dtype, old = only(inputs)
        elif self.shape is None:
            raise TransformError(f"{self.name} needs a shape where it replaces nothing")
        else:
            dtype, old = "float32", ()
        dtype = self.dtype or dtype
        shape = old if self.shape is None else [size.resolve(old) for size in self.shape]
        filler(self.value, dtype)
        return (ArraySpec(dtype, checked(shape)),)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """Computed as it is read; the input is not read."""
        from ckpttool.mapping.transforms.views import Filled

        spec = self.infer([item.spec for item in inputs])[0]
        return (Filled(spec, filler(self.value, spec.dtype)),)

    def for_slots(self) -> Transform:
        """There is nothing to follow."""
        raise TransformError(f"slots cannot follow {self.name}: it has no history")


class Zeros(Constant):
    """Zeros in the place of the array or of none."""

    name = "zeros"
    short = "shape"
    params = Constant.params[1:]
    summary = "an array of zeros, in the place of another or from nothing"
    value = 0


class Ones(Zeros):
    """Ones in the place of the array or of none."""

    name = "ones"
    summary = "an array of ones, in the place of another or from nothing"
    value = 1


def holds(wide: str, narrow: str) -> bool:
    """Whether ``wide`` has every value that ``narrow`` has."""
    one, two = dtype_named(wide), dtype_named(narrow)
    if wide == narrow or two.kind == "bool":
        return True
    if two.kind in ("int", "uint"):
        bits = int(narrow.lstrip("uint"))
        if one.kind in ("int", "uint"):
            sign = (one.kind == "int") - (two.kind == "int")
            return sign >= 0 and one.itemsize * 8 >= bits + sign
        precision, _, largest = _FORMATS.get(wide, (0, 0, 0))
        return precision >= bits <= largest
    if wide not in _FORMATS or narrow not in _FORMATS:
        return False
    if two.kind == "complex" != one.kind:
        return False
    (p, low, high), (q, least, most) = _FORMATS[wide], _FORMATS[narrow]
    return p >= q and low <= least and high >= most


def filler(value: float | bool, dtype: str) -> object:
    """``value`` as an element of ``dtype``; raises :class:`TransformError` if it has none such.

    Strings have no numbers: 0 stands for the empty one.
    """
    row = dtype_named(dtype)
    if row.kind == "string" and value == 0:
        return b""
    if row.array_type is None or row.kind == "string":
        raise TransformError("no such value", str(value), dtype)
    if row.kind == "bool":
        if value not in (0, 1):
            raise TransformError("no such value", str(value), "true or false")
        return bool(value)
    if row.kind in ("int", "uint") or dtype.startswith(("qint", "quint")):
        _fits_integer(value, dtype)
        return int(value)
    if isinstance(value, int) and abs(value) > 2**1000:
        raise TransformError("no such value", "a huge number", dtype)
    largest = _LARGEST.get(dtype)
    if largest is not None and math.isfinite(value) and abs(value) > largest:
        raise TransformError("no such value", str(value), f"{dtype}: at most {largest}")
    if not math.isfinite(value) and dtype.startswith(("float8", "float4")):
        raise TransformError("no such value", str(value), dtype)
    return float(value)


def _fits_integer(value: float, dtype: str) -> None:
    row = dtype_named(dtype)
    bits = int(dtype.lstrip("quint"))
    least = 0 if "uint" in dtype else -(2 ** (bits - 1))
    most = least + 2**bits - 1
    if not math.isfinite(value) or value != int(value) or not least <= value <= most:
        raise TransformError("no such value", str(value), f"{row.name}: {least} to {most}")


def _real(value: float) -> None:
    if isinstance(value, bool) or not math.isfinite(value):
        raise TransformError("a finite number is expected", str(value))
