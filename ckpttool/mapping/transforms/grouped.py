"""Parts of a list of arrays, each with a transform of its own: what inverses are made of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from ckpttool.mapping.transforms.base import ArraySpec, Lazy, Transform, TransformError

_T = TypeVar("_T")


class Grouped(Transform):
    """Consecutive arrays of the list, each group with its transform; None leaves its arrays.

    No mapping file says this.
    """

    name = "grouped"
    takes_many = True

    def __init__(self, groups: Sequence[tuple[Transform | None, int]]) -> None:
        self.groups = tuple(groups)

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The results of the groups, in their order."""
        out: list[ArraySpec] = []
        for transform, some in self._dealt(inputs):
            out += some if transform is None else transform.infer(some)
        return tuple(out)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """The results of the groups, in their order."""
        out: list[Lazy] = []
        for transform, some in self._dealt(inputs):
            out += some if transform is None else transform.apply(some)
        return tuple(out)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Each group's inverse."""
        if inputs is None:
            raise TransformError("groups of arrays are undone only where their shapes are known")
        back: list[tuple[Transform | None, int]] = []
        for transform, some in self._dealt(inputs):
            made = len(some) if transform is None else len(transform.infer(some))
            back.append((transform and transform.inverse(some), made))
        return Grouped(back)

    def rounds(self, inputs: Sequence[ArraySpec] | None) -> bool:
        """Whether any group does."""
        if inputs is None:
            return any(transform and transform.rounds(None) for transform, _ in self.groups)
        return any(transform and transform.rounds(some) for transform, some in self._dealt(inputs))

    def outputs(self, count: int | None) -> int | None:
        """The shapes may decide."""
        return None

    def describe(self) -> str:
        """What each group does."""
        words = [item.describe() if item else "as it is" for item, count in self.groups if count]
        return "each [" + ", ".join(words[:8]) + (", …]" if len(words) > 8 else "]")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Grouped) and self.groups == other.groups

    def __hash__(self) -> int:
        return hash(self.groups)

    def _dealt(self, items: Sequence[_T]) -> Iterator[tuple[Transform | None, Sequence[_T]]]:
        expected = sum(count for _, count in self.groups)
        if len(items) != expected:
            raise TransformError("another number of arrays", str(len(items)), str(expected))
        start = 0
        for transform, count in self.groups:
            yield transform, items[start : start + count]
            start += count
