"""Transforms that are told by a table of parameters, and the checks that they share."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, ClassVar

from ckpttool.mapping.transforms.arguments import Param
from ckpttool.mapping.transforms.base import ArraySpec, Transform, TransformError
from ckpttool.tensors import Shape, dtype_named

MAX_RANK = 32  # what every NumPy can hold
MAX_ELEMENTS = 2**48  # of an array that a chain makes
MAX_ARRAYS = 10_000  # that a chain works on at once


class Declared(Transform):
    """A transform with named arguments.

    ``short`` is the argument that may stand alone (``cast: float32``); a transform without a
    required argument may be written as its bare name.  ``summary``, ``undone`` (how its inverse
    does) and ``slots`` (what optimizer slots do) are for the documentation.
    """

    params: ClassVar[tuple[Param, ...]] = ()
    short: ClassVar[str | None] = None
    summary: ClassVar[str] = ""
    undone: ClassVar[str] = ""
    slots: ClassVar[str] = "as they are"

    def __init__(self, **arguments: Any) -> None:
        """Arguments by their names in a mapping file, already of their kinds.

        Raises :class:`TransformError` where they do not go together.
        """
        for param in self.params:
            setattr(self, param.attribute, arguments.pop(param.attribute, param.default))
        if arguments:
            raise TypeError(f"{self.name} has no argument {next(iter(arguments))}")
        self.check()

    def check(self) -> None:
        """Raise :class:`TransformError` where the arguments do not go together."""

    def arguments(self) -> dict[str, Any]:
        """The arguments that are given, by name."""
        given = {param.name: getattr(self, param.attribute) for param in self.params}
        return {
            param.name: given[param.name]
            for param in self.params
            if given[param.name] is not None
            and (param.required or given[param.name] != param.default)
        }

    def describe(self) -> str:
        """As a mapping file may say it: ``transpose [1, 0]``, ``concat {axis: 1}``."""
        given = self.arguments()
        kinds = {param.name: param.kind for param in self.params}
        if not given:
            return self.name
        if self.short is not None and list(given) == [self.short]:
            return f"{self.name} {kinds[self.short].show(given[self.short])}"
        inner = ", ".join(f"{name}: {kinds[name].show(value)}" for name, value in given.items())
        return f"{self.name} {{{inner}}}"

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((type(self), self.describe()))

    def __repr__(self) -> str:
        return f"<{self.describe()}>"


def only(inputs: Sequence[ArraySpec]) -> ArraySpec:
    """The one input of a transform that takes one."""
    if len(inputs) != 1:
        raise TransformError("one array goes in", f"{len(inputs)} arrays")
    return inputs[0]


def needed(inputs: Sequence[ArraySpec] | None, what: str) -> Sequence[ArraySpec]:
    """The specs that an inverse cannot do without."""
    if inputs is None:
        raise TransformError(f"{what} is undone only where the shapes before it are known")
    return inputs


def axis_of(axis: int, shape: Shape, extra: int = 0) -> int:
    """``axis`` counted from the first; ``extra`` axes are about to be added."""
    rank = len(shape) + extra
    if not -rank <= axis < rank:
        raise TransformError(f"the array has no axis {axis}", str(list(shape)), f"rank {rank}")
    return axis % rank


def resized(shape: Shape, axis: int, size: int) -> Shape:
    """``shape`` with another size of one axis."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def checked(shape: Sequence[int]) -> Shape:
    """``shape`` as one that a chain may make."""
    if len(shape) > MAX_RANK:
        raise TransformError("too many axes", str(len(shape)), f"≤ {MAX_RANK}")
    if any(size < 0 for size in shape):
        raise TransformError("a size is negative", str(list(shape)))
    if max(shape, default=0) > MAX_ELEMENTS or prod(shape) > MAX_ELEMENTS:
        raise TransformError("the array would be too large", str(list(shape)))
    return tuple(shape)


def equal_blocks(size: int, count: int) -> int:
    """The width of each of ``count`` blocks of an axis."""
    if count < 1:
        raise TransformError("there is at least one block", str(count))
    if size % count:
        raise TransformError(f"the axis has no {count} equal blocks", str(size))
    return size // count


def numeric(spec: ArraySpec, name: str, kinds: Sequence[str] = ("float", "complex")) -> None:
    """Refuse dtypes that a transform of values does not work on."""
    if dtype_named(spec.dtype).kind not in kinds:
        words = {"float": "floating-point", "complex": "complex", "int": "integer"}
        expected = " or ".join(words.get(kind, kind) for kind in kinds)
        raise TransformError(f"{name} does not work on {spec.dtype}", spec.dtype, expected)
