"""A plan: what a remap will write, decided and checked whole before a byte is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.document import Scalar
from ckpttool.mapping.rules import RuleSet
from ckpttool.mapping.slots import DROP, MOVE, SLOTS_FOLLOW, Fate, Fates, RoleLike
from ckpttool.tensors import Shape, TensorSpec


class Step(NamedTuple):
    """One tensor of the output.

    ``sources`` are the names it is made from by ``operations``; with none of those its bytes are
    copied as they are.  ``rule`` is the place of the rule that made it, or the policy.
    """

    target: str
    sources: tuple[str, ...]
    operations: tuple[str, ...]
    dtype: str
    shape: Shape
    rule: str


class Dropped(NamedTuple):
    """A source tensor that is left out, and the place of the rule, or the policy, that says so."""

    name: str
    rule: str


class Plan(NamedTuple):
    """Steps in the order of the source.  ``warnings`` are problems that do not stop it.

    ``fingerprint`` stands for the source's names, dtypes and shapes.
    """

    source: str
    fingerprint: str
    target: str
    steps: tuple[Step, ...]
    dropped: tuple[Dropped, ...]
    assumes: Mapping[str, Scalar]
    warnings: tuple[Problem, ...] = ()

    @property
    def renamed(self) -> int:
        """How many tensors take another name."""
        return sum(step.sources != (step.target,) for step in self.steps)


def make_plan(
    specs: Mapping[str, TensorSpec],
    rules: RuleSet,
    roles: Mapping[str, RoleLike],
    *,
    source: str,
) -> Plan:
    """The plan for a source's specs; ``source`` is its path, for messages.

    Raises :class:`MappingError` with everything that is wrong, not just the first thing.
    """
    from ckpttool.mapping.checks import check_fates

    fates = Fates(specs, rules, roles)
    steps: list[Step] = []
    dropped: list[Dropped] = []
    decided: dict[str, Fate] = {}
    for name, spec in specs.items():
        fate = decided[name] = fates.of(name)
        if fate.kind == MOVE:
            steps.append(Step(fate.target, (name,), (), spec.dtype, spec.shape, _label(fate)))
        elif fate.kind == DROP:
            dropped.append(Dropped(name, _label(fate)))
    errors, warnings = check_fates(fates, decided, source)
    if errors:
        raise MappingError(*errors)
    return Plan(
        source,
        fingerprint(specs),
        "tf1",
        tuple(steps),
        tuple(dropped),
        rules.assumes,
        tuple(warnings),
    )


def fingerprint(specs: Mapping[str, TensorSpec]) -> str:
    """A digest of names, dtypes and shapes."""
    digest = hashlib.blake2b(digest_size=16)
    for spec in specs.values():
        digest.update(repr(tuple(spec)).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def plan_data(plan: Plan) -> dict[str, Any]:
    """The plan as plain data, the keys ``plan`` and ``dropped`` of the JSON output."""
    return {
        "plan": [
            {
                "target": step.target,
                "sources": list(step.sources),
                "operations": list(step.operations),
                "dtype": step.dtype,
                "shape": list(step.shape),
                "rule": step.rule,
            }
            for step in plan.steps
        ],
        "dropped": [{"name": item.name, "rule": item.rule} for item in plan.dropped],
    }


def _label(fate: Fate) -> str:
    if fate.owner is None or fate.label == SLOTS_FOLLOW:
        return fate.label
    return f"{fate.label} ({SLOTS_FOLLOW})"
