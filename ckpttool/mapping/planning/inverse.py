"""Undoing a mapping: from the checkpoint that it made back to the one that it was made from.

With the original at hand, its names and shapes give the plan that made the checkpoint, and every
step of that plan is undone.  Without it the rules themselves are turned around, where nothing but
names and shape-free transforms is in the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ckpttool.errors import MappingError, Problem, UsageError
from ckpttool.formats.writing import WriteOptions
from ckpttool.mapping.language.ruleset import RuleSet
from ckpttool.mapping.planning.expressions import Expression, array_spec
from ckpttool.mapping.planning.plan import Dropped, Plan, Step, Wanted, fingerprint, make_plan
from ckpttool.mapping.planning.targeting import target_of
from ckpttool.mapping.transforms.chain import Chain, StepError
from ckpttool.tensors import TensorSpec

if TYPE_CHECKING:
    from ckpttool.mapping.remap import OpenCheckpoint

_NAMED = 8  # lost names that a notice lists
_TF = frozenset(("tf-v2", "tf-v1", "saved-model", "hub-module", "npz", "safetensors"))


def inverse_plan(
    checkpoint: OpenCheckpoint,
    rules: RuleSet,
    output: str | None,
    *,
    to: str | None = None,
    like: Any = None,
) -> Plan:
    """The plan that undoes ``rules``; ``like`` is the path of the original checkpoint.

    Raises :class:`MappingError` with MAP028 for each rule that has no inverse.
    """
    target = target_of(to, None, output)
    if like is not None and not isinstance(like, str):
        raise UsageError(Problem("USE001", "--inverse takes the path of the original as --like"))
    if like is not None:
        return _undone(checkpoint, rules, like, target)
    from ckpttool.mapping.planning.inverse_rules import inverse_rules

    reader = checkpoint.reader
    return make_plan(
        reader.specs,
        inverse_rules(rules),
        checkpoint.roles,
        source=reader.info.path,
        wanted=Wanted(target),
    )


def _undone(checkpoint: OpenCheckpoint, rules: RuleSet, original: str, target: str) -> Plan:
    """Every step of the plan that made the checkpoint, undone."""
    from ckpttool.checkpoint import open_checkpoint

    reader = checkpoint.reader
    with open_checkpoint(original) as source:
        forward = make_plan(
            source.specs,
            rules,
            source.roles,
            source=original,
            wanted=Wanted(
                target_of(None, rules.target, None),
                fitting=_made_here(checkpoint, rules),
                written=False,
            ),
        )
        specs = dict(source.specs)
    undoing = _Undoing(forward, specs, reader.specs)
    steps = list(undoing.steps())
    if undoing.problems:
        raise MappingError(*undoing.problems)
    there = {step.target for step in steps}
    used = {name for step in steps for name in step.sources}
    lost = [name for name in specs if name not in there]
    if lost:
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        undoing.warnings.append(
            Problem(
                "MAP028",
                "the mapping has dropped these: they cannot be given back",
                original,
                f"{len(lost)}: {', '.join(lost[:_NAMED])}{more}",
            )
        )
    return Plan(
        reader.info.path,
        fingerprint(reader.specs),
        target,
        tuple(steps),
        tuple(Dropped(name, "--inverse") for name in reader.specs if name not in used),
        {},
        tuple(undoing.warnings),
        (),
        rules.label,
        WriteOptions(),
    )


class _Undoing:
    """Turns forward steps around."""

    def __init__(
        self,
        forward: Plan,
        original: Mapping[str, TensorSpec],
        given: Mapping[str, TensorSpec],
    ) -> None:
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []
        self._original = original
        self._given = given
        self._renamed: list[Step] = []
        self._groups: dict[tuple[int, tuple[str, ...]], dict[int, Step]] = {}
        self._order: list[Step | dict[int, Step]] = []
        for step in forward.steps:
            if step.expression is None:
                self._order.append(step)
                continue
            key = (id(step.expression.chain), step.sources)
            if key not in self._groups:
                self._groups[key] = {}
                self._order.append(self._groups[key])
            self._groups[key].setdefault(step.expression.output, step)

    def steps(self) -> Iterator[Step]:
        """The original's tensors, as far as they can be made."""
        done: set[str] = set()
        for item in self._order:
            made = self._rename(item) if isinstance(item, Step) else self._group(item)
            for step in made:
                if step.target not in done:
                    done.add(step.target)
                    yield step

    def _rename(self, step: Step) -> Iterator[Step]:
        if self._is_there(step):
            yield Step(step.sources[0], (step.target,), (), step.dtype, step.shape, step.rule)

    def _group(self, outputs: dict[int, Step]) -> Iterator[Step]:
        first = next(iter(outputs.values()))
        expression = first.expression
        there = [self._is_there(step) for step in outputs.values()]
        if expression is None or not expression.sources or not all(there):
            return
        specs = [array_spec(self._original[name]) for name in first.sources]
        try:
            chain = expression.chain.inverse(specs)
            names = tuple(outputs[number].target for number in sorted(outputs))
            made = chain.infer([array_spec(self._given[name]) for name in names])
            if expression.chain.rounds(specs):
                message = "given back up to rounding only"
                self.warnings.append(Problem("MAP028", message, first.rule, ", ".join(names)))
        except StepError as error:
            message = f"{error.transform} cannot be undone: {error.message}"
            self.problems.append(Problem("MAP028", message, error.where or first.rule, error.found))
            return
        yield from self._inverted(first, names, chain, made.steps)

    def _inverted(
        self, first: Step, names: tuple[str, ...], chain: Chain, steps: tuple[tuple[str, ...], ...]
    ) -> Iterator[Step]:
        for number, name in enumerate(first.sources):
            spec = self._original[name]
            expression = Expression(names, chain, number)
            operations = steps[number]
            yield Step(name, names, operations, spec.dtype, spec.shape, first.rule, expression)

    def _is_there(self, step: Step) -> bool:
        """Whether the given checkpoint has what the step has made."""
        spec = self._given.get(step.target)
        if spec is not None and (spec.dtype, spec.shape) == (step.dtype, step.shape):
            return True
        found = f"{spec.dtype} {list(spec.shape)}" if spec else "nothing"
        message = f"this is not what the mapping makes of the original: {step.target}"
        expected = f"{step.dtype} {list(step.shape)}"
        self.problems.append(Problem("MAP028", message, step.rule, found, expected))
        return False


def _made_here(checkpoint: OpenCheckpoint, rules: RuleSet) -> Any:
    """The checkpoint as a template, where names in `to` are not those of its file."""
    info = checkpoint.reader.info
    if info.format in _TF:
        return None
    from ckpttool.mapping.like.template import load_template
    from ckpttool.mapping.planning.fitting import Like

    return Like(load_template(info.path), allow_missing=["**"])
