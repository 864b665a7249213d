"""A plan: what a remap will write, decided and checked whole before a byte is written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ckpttool.errors import MappingError, Problem
from ckpttool.formats.writing import WriteOptions
from ckpttool.mapping.language.document import Scalar
from ckpttool.mapping.language.ruleset import RuleSet
from ckpttool.mapping.planning.building import Building, Made
from ckpttool.mapping.planning.checks import Checks
from ckpttool.mapping.planning.expressions import Expression
from ckpttool.mapping.planning.slots import DROP, MOVE, SLOTS_FOLLOW, Fate, Fates, RoleLike
from ckpttool.tensors import Shape, TensorSpec

if TYPE_CHECKING:
    from ckpttool.mapping.planning.fitting import Template
    from ckpttool.mapping.planning.optimizer import Optimizer, State


class Step(NamedTuple):
    """One tensor of the output.

    ``sources`` are the names it is made from by ``operations``; without an ``expression`` the one
    source is taken as it is.  ``rule`` is the place of the rule that made it, or the policy.
    """

    target: str
    sources: tuple[str, ...]
    operations: tuple[str, ...]
    dtype: str
    shape: Shape
    rule: str
    expression: Expression | None = None


class Dropped(NamedTuple):
    """A source tensor that is left out, and the place of the rule, or the policy, that says so."""

    name: str
    rule: str


class Plan(NamedTuple):
    """Steps in the order of the source.  ``warnings`` are problems that do not stop it.

    ``fingerprint`` stands for the source's names, dtypes and shapes.  ``keep`` is held as long as
    the plan is: the template of a live model, whose file is gone with it.
    """

    source: str
    fingerprint: str
    target: str
    steps: tuple[Step, ...]
    dropped: tuple[Dropped, ...]
    assumes: Mapping[str, Scalar]
    warnings: tuple[Problem, ...] = ()
    caveats: tuple[str, ...] = ()
    label: str = ""
    options: WriteOptions = WriteOptions()
    keep: object = None

    @property
    def renamed(self) -> int:
        """How many tensors take another name."""
        return sum(step.sources != (step.target,) for step in self.steps)

    @property
    def only_renames(self) -> bool:
        """Whether every tensor is one of the source's, as it is."""
        return all(step.expression is None for step in self.steps)


class Fitting(Protocol):
    """What a target wants of the planned tensors."""

    def fit(self, made: Sequence[Made], checks: Checks) -> list[Made]:
        """The tensors as the target calls them, in its order; ``checks`` gets the problems."""


class Wanted(NamedTuple):
    """What is asked of a plan beside its rules.

    ``target`` is the format, ``fitting`` what the names, shapes and dtypes have to be.
    ``allow_unused`` are globs of source names that need no rule.  ``salvage`` are names that the
    source cannot give intact.  What is not to be ``written`` need not fit into the format.
    ``optimizer`` has the state go along, to the optimizer of ``template``.
    """

    target: str = "tf1"
    options: WriteOptions = WriteOptions()
    fitting: Fitting | None = None
    allow_unused: Sequence[str] = ()
    salvage: Mapping[str, str] = {}
    written: bool = True
    optimizer: Optimizer | None = None
    template: Template | None = None


def make_plan(
    specs: Mapping[str, TensorSpec],
    rules: RuleSet,
    roles: Mapping[str, RoleLike],
    *,
    source: str,
    wanted: Wanted | None = None,
) -> Plan:
    """The plan for a source's specs; ``source`` is its path, for messages.

    Raises :class:`MappingError` with everything that is wrong, not just the first thing.
    """
    wanted = wanted or Wanted()
    slots = "follow" if wanted.optimizer else rules.slots_for(wanted.target)
    fates = Fates(specs, rules, roles, slots=slots)
    checks = Checks(fates, source, wanted)
    checks.names()
    building = Building(specs, fates)
    made, lost = checks.intact(list(building.made()))
    checks.errors += building.problems
    state = _state(wanted, fates, specs)
    if state is not None:
        made = state.without_slots(made)
    if wanted.fitting is not None:
        made = wanted.fitting.fit(made, checks)
    if state is not None and not checks.errors:
        made += state.variables(made)
    made = ordered(made, wanted)
    checks.targets(made)
    if checks.errors:
        raise MappingError(*checks.errors)
    return Plan(
        source,
        fingerprint(specs),
        wanted.target,
        tuple(_step(item) for item in made),
        tuple(_dropped(fates, checks, lost, state)),
        rules.assumes,
        tuple(checks.warnings),
        rules.caveats,
        rules.label,
        wanted.options,
        wanted.template,
    )


def ordered(made: list[Made], wanted: Wanted) -> list[Made]:
    """Legacy Keras files go by order: that of the rules, where no template has another."""
    if wanted.target != "keras-h5" or wanted.fitting is not None:
        return made
    last = 1 << 30
    return sorted(made, key=lambda item: item.fate.rule.number if item.fate.rule else last)


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


def _step(made: Made) -> Step:
    target, sources, fate, dtype, shape, operations, expression = made
    return Step(target, sources, operations, dtype, shape, _label(fate), expression)


def _state(wanted: Wanted, fates: Fates, specs: Mapping[str, TensorSpec]) -> State | None:
    if wanted.optimizer is None or wanted.template is None:
        return None
    from ckpttool.mapping.planning.optimizer import State

    return State(wanted.optimizer, wanted.template, fates, specs)


def _dropped(
    fates: Fates, checks: Checks, lost: Sequence[str], state: State | None
) -> list[Dropped]:
    out = [Dropped(name, "--salvage") for name in lost]
    if state is not None:
        out += [Dropped(name, "optimizer") for name in state.unused]
    for name, fate in fates.decided.items():
        if state is not None and name in state.used:
            continue
        if fate.kind == DROP:
            out.append(Dropped(name, _label(fate)))
        elif fate.kind == MOVE and name in fates.stand_ins and name not in lost:
            out.append(Dropped(name, "averages: use"))
        elif name in checks.unused:
            out.append(Dropped(name, "--allow-unused"))
    return out


def _label(fate: Fate) -> str:
    if fate.owner is None or fate.label == SLOTS_FOLLOW:
        return fate.label
    return f"{fate.label} ({SLOTS_FOLLOW})"
