"""Transforms one after the other, on the list of a rule's arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ckpttool.mapping.transforms.base import ArraySpec, Lazy, Transform, TransformError
from ckpttool.mapping.transforms.declared import MAX_ARRAYS
from ckpttool.mapping.transforms.grouped import Grouped
from ckpttool.mapping.transforms.lazy import Result, workspace_of

MAX_DEPTH = 100  # transforms one after the other: each is a few calls deep when values are read
MAX_WORK = 4096  # times that an array may be computed for an output, for each array of the rule


class Step(NamedTuple):
    """A transform, and its place in a mapping file (empty where it has none)."""

    transform: Transform
    where: str = ""


class StepError(TransformError):
    """A transform of a chain that does not fit: ``index`` counts its steps from 0.

    ``where`` is the place of the transform that failed, which may be one within ``each``.
    """

    def __init__(self, error: TransformError, index: int, step: Step) -> None:
        super().__init__(error.message, error.found, error.expected)
        self.index = index
        self.where: str = error.where if isinstance(error, StepError) else step.where
        self.transform: str = (
            error.transform if isinstance(error, StepError) else step.transform.describe()
        )


class Inferred(NamedTuple):
    """The outputs' specs, and for each of them what was done to it, one line a step."""

    specs: tuple[ArraySpec, ...]
    steps: tuple[tuple[str, ...], ...]


class Chain:
    """A list of transforms.  An empty one leaves its arrays as they are."""

    __slots__ = ("steps",)

    def __init__(self, steps: Sequence[Step | Transform] = ()) -> None:
        self.steps = tuple(step if isinstance(step, Step) else Step(step) for step in steps)

    def infer(self, specs: Sequence[ArraySpec]) -> Inferred:
        """What comes out for inputs of these specs; :class:`StepError` where they do not fit."""
        arrays = tuple(specs)
        words: tuple[tuple[str, ...], ...] = ((),) * len(arrays)
        work = (1,) * len(arrays)
        most = MAX_WORK * max(1, len(arrays))
        depth = 0
        for index, step in enumerate(self.steps):
            out: list[ArraySpec] = []
            told: list[tuple[str, ...]] = []
            costs: list[int] = []
            depth += _depth(step.transform)
            try:
                if depth > MAX_DEPTH:
                    raise TransformError("too many transforms", expected=f"≤ {MAX_DEPTH}")
                for first, last in _groups(step.transform, arrays):
                    some = arrays[first:last]
                    made = step.transform.infer(some)
                    out += made
                    costs += _costs(step.transform, work[first:last], len(made))
                    told += step.transform.trace(some, words[first:last])
                if len(out) > MAX_ARRAYS:
                    raise TransformError("too many arrays", str(len(out)), f"≤ {MAX_ARRAYS}")
                if max(costs, default=0) > most:
                    message = "arrays are copied and joined over and over"
                    raise TransformError(message, expected=f"≤ {most:,} times")
            except TransformError as error:
                raise StepError(error, index, step) from error
            arrays, words, work = tuple(out), tuple(told), tuple(costs)
        return Inferred(arrays, words)

    def apply(self, lazies: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """The outputs, computed when they are read.

        Each output's stream keeps what it needs in the workspace, and the next one's lets it go.
        """
        return tuple(_result(item) for item in self.compute(lazies))

    def compute(self, lazies: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """The outputs, for a chain around this one."""
        arrays = tuple(item.source if isinstance(item, Result) else item for item in lazies)
        for index, step in enumerate(self.steps):
            try:
                arrays = tuple(
                    made
                    for first, last in _groups(step.transform, arrays)
                    for made in step.transform.apply(arrays[first:last])
                )
            except TransformError as error:
                raise StepError(error, index, step) from error
        return arrays

    def inverse(self, specs: Sequence[ArraySpec] | None = None, count: int | None = 1) -> Chain:
        """The chain that takes the outputs back.

        ``specs`` are those of this chain's inputs; without them, ``count`` is their number (None
        if unknown) and only what needs no shapes is undone.  :class:`StepError` says which step
        has no inverse, and why.
        """
        back: list[Step] = []
        arrays = None if specs is None else tuple(specs)
        count = count if arrays is None else len(arrays)
        for index, step in enumerate(self.steps):
            try:
                if arrays is None:
                    transform = _undo(step.transform, count)
                    count = step.transform.outputs(count)
                else:
                    transform, arrays = _undo_known(step.transform, arrays)
            except TransformError as error:
                raise StepError(error, index, step) from error
            back.append(Step(transform, step.where))
        return Chain(back[::-1])

    def for_slots(self) -> Chain:
        """The chain for optimizer slots of the arrays that this one is for.

        :class:`StepError` names the step that a slot cannot follow.
        """
        kept: list[Step] = []
        for index, step in enumerate(self.steps):
            try:
                transform = step.transform.for_slots()
            except TransformError as error:
                raise StepError(error, index, step) from error
            if transform is not None:
                kept.append(Step(transform, step.where))
        return Chain(kept)

    def rounds(self, specs: Sequence[ArraySpec] | None = None) -> bool:
        """Whether the inverse gives values back up to rounding only."""
        arrays = None if specs is None else tuple(specs)
        for step in self.steps:
            if arrays is None:
                if step.transform.rounds(None):
                    return True
                continue
            groups = [arrays[first:last] for first, last in _groups(step.transform, arrays)]
            if any(step.transform.rounds(some) for some in groups):
                return True
            arrays = tuple(made for some in groups for made in step.transform.infer(some))
        return False

    def outputs(self, count: int | None) -> int | None:
        """How many arrays come of ``count``; None where their shapes decide."""
        for step in self.steps:
            count = step.transform.outputs(count)
        return count

    def describe(self) -> str:
        """The chain in one line, as `apply` may have it."""
        return ", ".join(step.transform.describe() for step in self.steps)

    def __len__(self) -> int:
        return len(self.steps)

    def __eq__(self, other: object) -> bool:
        """The same transforms, wherever they stand."""
        if not isinstance(other, Chain):
            return NotImplemented
        return [step.transform for step in self.steps] == [step.transform for step in other.steps]

    def __hash__(self) -> int:
        return hash(self.describe())

    def __repr__(self) -> str:
        return f"<Chain [{self.describe()}]>"


def _inner(transform: Transform) -> Sequence[Chain]:
    """The chains within a transform."""
    inner: Sequence[Chain] = getattr(transform, "chains", ())
    return inner


def _depth(transform: Transform) -> int:
    """Transforms one after the other, those within it counted."""
    inner = (sum(_depth(step.transform) for step in chain.steps) for chain in _inner(transform))
    return 1 + max(inner, default=0)


def _fan(chain: Chain) -> int:
    """How often a chain within another computes its array, at most."""
    out = 1
    for step in chain.steps:
        chains = _inner(step.transform)
        out *= max(1, len(chains)) * max((_fan(one) for one in chains), default=1)
    return out


def _costs(transform: Transform, work: Sequence[int], count: int) -> list[int]:
    """How often the rule's arrays are computed for each of ``count`` outputs."""
    joined = sum(work) if count == 1 else max(work, default=1)
    return [max(1, joined) * max(map(_fan, _inner(transform)), default=1)] * count


def _groups(transform: Transform, arrays: Sequence[object]) -> list[tuple[int, int]]:
    """The arrays that the transform takes at once, as ranges of the list."""
    if transform.takes_many or (not arrays and transform.from_nothing):
        return [(0, len(arrays))]
    return [(index, index + 1) for index in range(len(arrays))]


def _undo(transform: Transform, count: int | None) -> Transform:
    """The inverse without shapes."""
    presumed = transform.presumes()
    if presumed is not None and count != presumed:
        message = f"{transform.name} of these arrays is undone only where their shapes are known"
        raise TransformError(message)
    return transform.inverse(None)


def _undo_known(
    transform: Transform, arrays: tuple[ArraySpec, ...]
) -> tuple[Transform, tuple[ArraySpec, ...]]:
    """The inverse for these inputs, and the transform's outputs."""
    if transform.takes_many:
        return transform.inverse(arrays), tuple(transform.infer(arrays))
    made = [transform.infer([item]) for item in arrays]
    back = [transform.inverse([item]) for item in arrays]
    outputs = tuple(item for group in made for item in group)
    if len(arrays) == 1 or (
        all(len(group) == 1 for group in made) and all(item == back[0] for item in back)
    ):
        return back[0], outputs
    return Grouped([(item, len(group)) for item, group in zip(back, made, strict=True)]), outputs


def _result(lazy: Lazy) -> Lazy:
    workspace = None if isinstance(lazy, Result) else workspace_of(lazy)
    return lazy if workspace is None else Result(lazy, workspace)
