"""How well compiled rules fit names and shapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.detecting.fixed import knowledge
from ckpttool.mapping.language.ruleset import RuleSet
from ckpttool.mapping.planning.building import Building
from ckpttool.mapping.planning.plan import Wanted, make_plan
from ckpttool.mapping.planning.slots import DROP, MOVE, UNMATCHED, Fates, RoleLike
from ckpttool.tensors import TensorSpec

if TYPE_CHECKING:
    from ckpttool.mapping.planning.fitting import Template

_LISTED = 20  # names and problems that are told
_GENERIC = 0.2  # rules that know less of the names fit nearly any model
_BY_LAST_WORD = 0.4  # what a weight counts whose rule knows nothing but its last component


class Tensors(NamedTuple):
    """What is known of a checkpoint.  ``weights`` are the names that are no slots, steps, …

    ``some`` says that these are not all, but stand for all.
    """

    specs: Mapping[str, TensorSpec]
    roles: Mapping[str, RoleLike]
    weights: Sequence[str]
    some: bool = False

    @classmethod
    def of(cls, specs: Mapping[str, TensorSpec], roles: Mapping[str, RoleLike]) -> Tensors:
        """Those of a checkpoint."""
        plain = [
            name for name in specs if (role := roles.get(name)) is None or role.role == "variable"
        ]
        return cls(specs, roles, plain)


class Fit(NamedTuple):
    """What rules do with a checkpoint.

    Of its weights some are ``taken`` by a rule that knows them, ``left_out`` by a rule, or
    ``kept`` under their names; ``unmatched`` (examples; ``lacking`` is their number, with those
    that are no weights) have no rule.  ``unused`` (examples; ``idle`` is their number) are rules
    that have to match and do not; of some names alone that cannot be told.
    ``problems`` say why a plan fails.  ``whole`` means that the plan is sound.  ``known`` is how
    much of the names the rules know, ``score`` the whole in one number from 0 to 1.  ``rules`` are
    the places of those that take weights.
    """

    taken: int
    left_out: int
    kept: int
    lacking: int
    unmatched: tuple[str, ...]
    idle: int
    unused: tuple[str, ...]
    problems: tuple[Problem, ...]
    whole: bool
    known: float
    score: float
    rules: frozenset[str] = frozenset()

    @property
    def generic(self) -> bool:
        """Whether the rules would fit nearly any model."""
        return self.known < _GENERIC


def fit(rules: RuleSet, tensors: Tensors, scope: int = 0) -> Fit:
    """What rules do with these tensors; ``scope`` is the length of a scope put into the rules."""
    specs, roles, weights, some = tensors
    target = rules.target.text if rules.target else "tf1"
    fates = Fates(specs, rules, roles, slots=rules.slots_for(target))
    decided = fates.decided
    taken = left_out = kept = 0
    known = value = 0.0
    used: set[str] = set()
    for name in weights:
        fate = decided[name]
        if fate.kind == DROP:
            left_out += 1
        elif fate.kind == MOVE:
            share = None if fate.rule is None else knowledge(fate.rule, name, scope)
            if share is None or fate.rule is None:
                kept += 1
                continue
            used.add(fate.rule.where)
            taken += 1
            known += share
            value += _BY_LAST_WORD + (1 - _BY_LAST_WORD) * min(1.0, 2 * share)
    lacking = [
        name for name, fate in decided.items() if fate.kind == UNMATCHED and fate.owner is None
    ]
    unused, required = ([], 0) if some else _unused(fates)
    problems = tuple(fates.matching.problems)
    if taken:
        problems += _misfits(specs, fates)
    score = value / len(weights) * (1 - len(unused) / required if required else 1)
    if problems:
        score /= 2
    return Fit(
        taken,
        left_out,
        kept,
        len(lacking),
        tuple(lacking[:_LISTED]),
        len(unused),
        tuple(unused[:_LISTED]),
        problems[:_LISTED],
        bool(taken) and not (lacking or unused or problems),
        known / taken if taken else 0.0,
        round(score, 4),
        frozenset(used),
    )


def quick_fit(rules: RuleSet, names: Sequence[str], scope: int = 0) -> float:
    """A first look, without groups, conditions or shapes: what these names would count."""
    value = 0.0
    for name in names:
        found = rules.first(name)
        if found is None or (found.rule.template is None and found.rule.extra is None):
            continue
        share = knowledge(found.rule, name, scope)
        if share is not None:
            value += _BY_LAST_WORD + (1 - _BY_LAST_WORD) * min(1.0, 2 * share)
    return value


def plan_problems(
    rules: RuleSet, tensors: Tensors, template: Template | None = None
) -> tuple[Problem, ...]:
    """Why there is no plan, for a target if one is given; empty if there is one."""
    from ckpttool.mapping.planning.fitting import Like

    target = rules.target.text if rules.target else "tf1"
    fitting = None if template is None else Like(template, hints=False)
    # Keras files want the keys that only a target tells.
    wanted = Wanted(target, fitting=fitting, written=not target.startswith("keras"))
    try:
        make_plan(tensors.specs, rules, tensors.roles, source="", wanted=wanted)
    except MappingError as error:
        return error.problems[:_LISTED]
    return ()


def _misfits(specs: Mapping[str, TensorSpec], fates: Fates) -> tuple[Problem, ...]:
    """What transforms say of the shapes, and targets that more than one would take."""
    building = Building(specs, fates)
    sources: dict[str, tuple[str, ...]] = {}
    for item in building.made():
        other = sources.setdefault(item.target, item.sources)
        if other is not item.sources and len(building.problems) < _LISTED:
            found = f"{', '.join(other)}; {', '.join(item.sources)}"
            message = f"several names would become {item.target}"
            building.problems.append(Problem("MAP011", message, item.where, found))
    return tuple(building.problems)


def _unused(fates: Fates) -> tuple[list[str], int]:
    """Rules that have to match and do not, and the number of all that have to."""
    alive = {match.rule.number for match in fates.matched.values()} | fates.matching.broken
    required = [
        rule
        for rule in fates.rules.rules
        if rule.pattern is not None
        and not rule.optional
        and not (rule.extra is not None and rule.extra.when)
    ]
    dead = [rule.text for rule in required if rule.number not in alive]
    return dead, len(required)
