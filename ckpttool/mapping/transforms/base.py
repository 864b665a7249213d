"""What a transform is, and the arrays that it works on: known by dtype and shape, read in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from ckpttool.formats.base import CHUNK_BYTES
from ckpttool.tensors import Shape

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Index = tuple[int, ...]


class ArraySpec(NamedTuple):
    """An array without its data: TensorFlow's name of the dtype, and the shape."""

    dtype: str
    shape: Shape


class TransformError(ValueError):
    """A transform that does not fit its inputs, in words; the caller adds the place."""

    def __init__(self, message: str, found: str | None = None, expected: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.found = found
        self.expected = expected


class Lazy(Protocol):
    """An array that is computed when it is read, part by part.

    No part of it is larger than what is asked for, so that a tensor of any size can be written in
    bounded memory.
    """

    @property
    def spec(self) -> ArraySpec:
        """Dtype and shape."""

    def region(self, low: Index, high: Index) -> Array:
        """The elements from ``low`` up to, not including, ``high``; of shape ``high - low``.

        Not to be written to: it may be a view.
        """

    def stream(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """All elements in C order, as 1-D arrays of at most ``max_bytes``."""


class Transform:
    """One operation on arrays.  Subclasses are immutable and hold their checked parameters.

    ``takes_many`` transforms take all arrays of a rule together (concat, stack); the others take
    one, and are mapped over all where there are several.  ``many_out`` ones may make several of
    one array (split), ``from_nothing`` ones need none (zeros).
    """

    name: ClassVar[str]
    takes_many: ClassVar[bool] = False
    many_out: ClassVar[bool] = False
    from_nothing: ClassVar[bool] = False

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """Specs of the outputs; raises :class:`TransformError` where the inputs do not fit."""
        raise NotImplementedError

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """The outputs; what :meth:`infer` says of the inputs' specs is what they have."""
        raise NotImplementedError

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """The transform that takes the outputs back to inputs of these specs.

        Without ``inputs``, where it needs no shapes.  Raises :class:`TransformError` where there
        is none, or where it needs shapes that are not given.
        """
        raise TransformError(f"{self.name} has no inverse")

    def rounds(self, inputs: Sequence[ArraySpec] | None) -> bool:
        """Whether the inverse gives values back up to rounding only."""
        return False

    def outputs(self, count: int | None) -> int | None:
        """How many arrays come of ``count`` arrays; None where their shapes decide."""
        return None if self.many_out else 1 if self.takes_many else count

    def presumes(self) -> int | None:
        """How many arrays :meth:`inverse` takes for granted without specs; None: any number."""
        return 1 if self.many_out else None

    def trace(
        self, inputs: Sequence[ArraySpec], before: Sequence[tuple[str, ...]]
    ) -> tuple[tuple[str, ...], ...]:
        """For each output what was done to it, a line a step; ``before`` says it of the inputs."""
        common = before[0] if before else ()
        if any(item != common for item in before):
            common = (
                "each [" + " | ".join(", ".join(item) or "as it is" for item in before) + "]",
            )
        count = len(self.infer(inputs))
        word = self.describe()
        if count == 1:
            return ((*common, word),)
        return tuple((*common, f"{word} #{number}") for number in range(count))

    def for_slots(self) -> Transform | None:
        """The transform for optimizer slots of what this one is for; None to leave them alone.

        Raises :class:`TransformError` where a slot cannot follow.
        """
        return self

    def describe(self) -> str:
        """The transform in one line, as a plan shows it: ``transpose [1, 0]``."""
        raise NotImplementedError
