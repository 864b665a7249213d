"""Chains within a chain: one for each array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ckpttool.mapping.transforms import arguments as arg
from ckpttool.mapping.transforms.base import ArraySpec, Lazy, Transform, TransformError
from ckpttool.mapping.transforms.chain import Chain
from ckpttool.mapping.transforms.declared import Declared, needed
from ckpttool.mapping.transforms.grouped import Grouped
from ckpttool.mapping.transforms.joining import Pick

_T = TypeVar("_T")


class Each(Declared):
    """A chain for each array; a single array goes into every chain."""

    name = "each"
    short = "chains"
    takes_many = True
    params = (arg.Param("chains", arg.CHAINS, "a list of lists of transforms"),)
    summary = "one chain for each array; a single array goes into every chain"
    undone = "chain by chain; of a single array, by the first chain that has an inverse"
    slots = "chain by chain"
    chains: tuple[Chain, ...]

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """The results of the chains, in their order."""
        pairs = zip(self.chains, self._dealt(inputs), strict=True)
        return tuple(made for chain, item in pairs for made in chain.infer([item]).specs)

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """The results of the chains, in their order."""
        pairs = zip(self.chains, self._dealt(inputs), strict=True)
        return tuple(made for chain, item in pairs for made in chain.compute([item]))

    def trace(
        self, inputs: Sequence[ArraySpec], before: Sequence[tuple[str, ...]]
    ) -> tuple[tuple[str, ...], ...]:
        """What each chain does."""
        rows = zip(self.chains, self._dealt(inputs), self._dealt(before), strict=True)
        return tuple(
            (*past, *steps) for chain, item, past in rows for steps in chain.infer([item]).steps
        )

    def presumes(self) -> int | None:
        """An array for each chain."""
        return len(self.chains)

    def outputs(self, count: int | None) -> int | None:
        """The results of all chains."""
        made = [chain.outputs(1) for chain in self.chains]
        return None if None in made else sum(item or 0 for item in made)

    def rounds(self, inputs: Sequence[ArraySpec] | None) -> bool:
        """Whether any chain does."""
        if inputs is None:
            return any(chain.rounds() for chain in self.chains)
        pairs = zip(self.chains, self._dealt(inputs), strict=True)
        return any(chain.rounds([item]) for chain, item in pairs)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """Each chain's inverse for what it made.  Without shapes: of an array for each chain."""
        if inputs is not None and len(inputs) == 1 and len(self.chains) > 1:
            return self._from_one(inputs[0])
        groups: list[tuple[Transform | None, int]] = []
        for number, chain in enumerate(self.chains):
            specs = None if inputs is None else [self._dealt(inputs)[number]]
            made = chain.outputs(1) if specs is None else len(chain.infer(specs).specs)
            if made is None:
                needed(inputs, self.name)
            groups.append((Inner(chain.inverse(specs)), made or 0))
        return Grouped(groups)

    def for_slots(self) -> Transform:
        """Each chain for slots."""
        return Each(chains=tuple(chain.for_slots() for chain in self.chains))

    def _from_one(self, spec: ArraySpec) -> Transform:
        counts = [len(chain.infer([spec]).specs) for chain in self.chains]
        reason: TransformError | None = None
        for number, chain in enumerate(self.chains):
            try:
                back = chain.inverse([spec])
            except TransformError as error:
                reason = reason or error
                continue
            first = sum(counts[:number])
            pick = Pick(order=tuple(range(first, first + counts[number])))
            return Inner(Chain([pick, *back.steps]))
        message = "no chain of `each` has an inverse"
        raise TransformError(f"{message}: {reason.message}" if reason else message)

    def _dealt(self, items: Sequence[_T]) -> Sequence[_T]:
        if len(items) == 1:
            return [items[0]] * len(self.chains)
        if len(items) != len(self.chains):
            found = f"{len(self.chains)} chains, {len(items)} arrays"
            raise TransformError("`each` has a chain for each array", found)
        return items


class Inner(Transform):
    """A chain as a transform of a list of arrays."""

    name = "chain"
    takes_many = True

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    def infer(self, inputs: Sequence[ArraySpec]) -> tuple[ArraySpec, ...]:
        """As the chain."""
        return self.chain.infer(inputs).specs

    def apply(self, inputs: Sequence[Lazy]) -> tuple[Lazy, ...]:
        """As the chain."""
        return self.chain.compute(inputs)

    def inverse(self, inputs: Sequence[ArraySpec] | None) -> Transform:
        """As the chain."""
        return Inner(self.chain.inverse(needed(inputs, "a chain")))

    def for_slots(self) -> Transform:
        """As the chain."""
        return Inner(self.chain.for_slots())

    def rounds(self, inputs: Sequence[ArraySpec] | None) -> bool:
        """As the chain."""
        return self.chain.rounds(inputs)

    def outputs(self, count: int | None) -> int | None:
        """As the chain."""
        return self.chain.outputs(count)

    def describe(self) -> str:
        """As the chain."""
        return f"[{self.chain.describe()}]"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Inner) and self.chain == other.chain

    def __hash__(self) -> int:
        return hash(self.chain)
