"""From the fates of names to the tensors that an output will have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ckpttool.errors import Problem
from ckpttool.mapping.language.patterns import PatternError
from ckpttool.mapping.language.ruleset import Rule
from ckpttool.mapping.planning.expressions import Expression, array_spec
from ckpttool.mapping.planning.matching import Group, spread
from ckpttool.mapping.planning.slots import AVERAGES_USE, MOVE, Fate, Fates
from ckpttool.mapping.transforms.base import ArraySpec
from ckpttool.mapping.transforms.chain import Chain, Inferred, StepError
from ckpttool.tensors import Shape, TensorSpec

_TOLD = 3  # failures of one transform that are told one by one


class Made(NamedTuple):
    """One tensor of the output, and why it is there.

    ``expression`` is None where a source's tensor is taken as it is.
    """

    target: str
    sources: tuple[str, ...]
    fate: Fate
    dtype: str
    shape: Shape
    operations: tuple[str, ...] = ()
    expression: Expression | None = None

    @property
    def where(self) -> str:
        """The place of its rule, or the policy."""
        return self.fate.rule.place if self.fate.rule else self.fate.label


class Building:
    """Collects the tensors; ``problems`` has what does not go together."""

    def __init__(self, specs: Mapping[str, TensorSpec], fates: Fates) -> None:
        self.problems: list[Problem] = []
        self._specs = specs
        self._fates = fates
        self._stand_ins = fates.stand_ins
        self._averages = frozenset(fates.stand_ins.values())
        self._done: set[tuple[int, str, tuple[str, str] | None]] = set()
        self._failed: dict[str, int] = {}
        self._slot_chains: dict[int, Chain | None] = {}

    def made(self) -> Iterator[Made]:
        """Every tensor, in the order of the first source; those without one at the end."""
        broken = self._fates.matching.broken
        for name, fate in self._fates.decided.items():
            if fate.kind != MOVE:
                continue
            if fate.group is None:
                source = self._stand_ins.get(name, name)
                spec = self._specs[source]
                operations = (AVERAGES_USE,) if source != name else ()
                yield Made(fate.target, (source,), fate, spec.dtype, spec.shape, operations)
                continue
            key = (fate.group.rule.number, fate.group.sources[0], fate.affix)
            if key not in self._done and fate.group.rule.number not in broken:
                self._done.add(key)
                yield from self._group(fate, fate.group)
        for group in self._fates.matching.constants:
            if group is not None:
                fate = Fate(MOVE, "", group.rule, group.rule.where, None, group)
                yield from self._group(fate, group)

    def _group(self, fate: Fate, group: Group) -> Iterator[Made]:
        extra = group.rule.extra
        chain = extra.chain if extra else None
        sources = group.sources
        if fate.affix is not None:
            sources = tuple(f"{fate.affix[0]}{name}{fate.affix[1]}" for name in sources)
            if not self._slots_are_there(fate, group, sources):
                return
            if chain is not None and not self._are_averages(sources):
                chain = self._for_slots(group.rule, chain)
                if chain is None:
                    return
        else:
            sources = tuple(self._stand_ins.get(name, name) for name in sources)
        if chain is not None and not len(chain):
            chain = None
        inferred = self._infer(group.rule, chain, sources)
        if inferred is None:
            return
        targets = self._targets(group, len(inferred.specs))
        if targets is None:
            return
        if fate.affix is not None:
            targets = tuple(f"{fate.affix[0]}{name}{fate.affix[1]}" for name in targets)
        for at, target in enumerate(targets):
            output = at if len(inferred.specs) > 1 else 0
            yield self._one(fate, target, sources, chain, inferred, output)

    def _one(
        self,
        fate: Fate,
        target: str,
        sources: tuple[str, ...],
        chain: Chain | None,
        inferred: Inferred,
        output: int,
    ) -> Made:
        dtype, shape = inferred.specs[output]
        averaged = fate.affix is None and not self._averages.isdisjoint(sources)
        first = (AVERAGES_USE,) if averaged else ()
        if chain is None:
            return Made(target, (sources[output],), fate, dtype, shape, first)
        operations = (*first, *inferred.steps[output])
        expression = Expression(sources, chain, output)
        return Made(target, sources, fate, dtype, shape, operations, expression)

    def _targets(self, group: Group, count: int) -> tuple[str, ...] | None:
        """Names for the results: as many, or one result for all of them."""
        rule = group.rule
        extra = rule.extra
        place = f"{rule.where}   {rule.text}"
        try:
            targets = spread(group, count)
        except PatternError as error:
            self.problems.append(Problem("MAP024", error.message, place))
            return None
        if count == len(targets) or (count == 1 and targets):
            return targets
        self.problems.append(
            Problem(
                "MAP017",
                "a rule gives one array for each target, or one for all",
                (extra.apply_where if extra else "") or place,
                f"{count} arrays for {len(targets)} names in `to`: {', '.join(group.sources[:3])}",
                hint="`spread` names as many results as there are" if count > 1 else None,
            )
        )
        return None

    def _infer(self, rule: Rule, chain: Chain | None, sources: Sequence[str]) -> Inferred | None:
        specs = [array_spec(self._specs[name]) for name in sources]
        if chain is None:
            return Inferred(tuple(specs), ((),) * len(specs))
        try:
            return chain.infer(specs)
        except StepError as error:
            self._misfit(rule, error, sources, specs)
            return None

    def _misfit(
        self, rule: Rule, error: StepError, sources: Sequence[str], specs: Sequence[ArraySpec]
    ) -> None:
        """MAP018, for a few of the groups that one transform does not fit."""
        where = error.where or rule.place
        count = self._failed[where] = self._failed.get(where, 0) + 1
        if count > _TOLD + 1:
            return
        shown = [
            f"{name} {spec.dtype} {list(spec.shape)}"
            for name, spec in zip(sources[:_TOLD], specs, strict=False)
        ]
        found = "; ".join([*([error.found] if error.found else []), *shown])
        message = f"{error.transform} does not fit: {error.message}"
        if count > _TOLD:
            message, found = f"{error.transform} does not fit others either", "…"
        self.problems.append(Problem("MAP018", message, where, found, error.expected))

    # --- slots -----------------------------------------------------------------------------

    def _for_slots(self, rule: Rule, chain: Chain) -> Chain | None:
        """What slots go through; None where they cannot."""
        if rule.number not in self._slot_chains:
            try:
                self._slot_chains[rule.number] = chain.for_slots()
            except StepError as error:
                self._slot_chains[rule.number] = None
                place = error.where or rule.place
                hint = "leave them out: slots: drop, or a rule of their own before this one"
                self.problems.append(Problem("MAP019", error.message, place, rule.text, hint=hint))
        return self._slot_chains[rule.number]

    def _are_averages(self, names: Sequence[str]) -> bool:
        """Whether these are weights themselves, which go through all that the weights do."""
        roles = (self._fates.roles.get(name) for name in names)
        return all(role is not None and role.role == "average" for role in roles)

    def _slots_are_there(self, fate: Fate, group: Group, slots: Sequence[str]) -> bool:
        missing = [name for name in slots if name not in self._specs]
        if missing:
            there = next(name for name in slots if name in self._specs)
            message = f"slots cannot follow: there is {there} and no {missing[0]}"
            hint = "leave them out: slots: drop, or a rule of their own before this one"
            place = f"{group.rule.where}   {group.rule.text}"
            self.problems.append(Problem("MAP019", message, place, hint=hint))
        return not missing
