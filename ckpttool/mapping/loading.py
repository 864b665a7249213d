"""Fill a live model from a checkpoint, through a mapping; and say what was done."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.errors import MappingError, OutputError, Problem
from ckpttool.formats.writing import WriteOptions
from ckpttool.mapping.execution.checksums import Checksums, checksum
from ckpttool.mapping.execution.planned import PlannedReader
from ckpttool.mapping.language.document import Document, Scalar
from ckpttool.mapping.language.ruleset import RuleSet
from ckpttool.mapping.planning.fitting import Like
from ckpttool.mapping.planning.plan import Dropped, Plan, Step, Wanted, make_plan
from ckpttool.mapping.remap import load_rules
from ckpttool.tensors import TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.mapping.like.template import Template

    Array = np.ndarray[Any, Any]

Rules = RuleSet | str | Document | Mapping[str, Any]


class Filled(NamedTuple):
    """One variable of the model that got values.

    ``key`` is what its framework's file calls it.  ``constant`` says that all its elements are
    one value: such variables cannot be told from one another by what the model computes.
    """

    name: str
    key: str
    sources: tuple[str, ...]
    operations: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    rule: str
    constant: bool


class LoadReport(NamedTuple):
    """What became of a model.

    ``left`` are its weights that kept their values, as was allowed; an optimizer's state always
    does.  ``verified`` says that the
    model was saved again, and had the values that it was given.
    """

    source: str
    filled: tuple[Filled, ...]
    left: tuple[str, ...]
    dropped: tuple[Dropped, ...]
    assumes: Mapping[str, Scalar]
    caveats: tuple[str, ...]
    notices: tuple[Problem, ...]
    verified: bool


def load_into(
    model: Any,
    checkpoint: Checkpoint | str,
    mapping: Rules | None = None,
    *,
    params: Mapping[str, Scalar] | None = None,
    slots: str | None = None,
    averages: str | None = None,
    unmatched: str | None = None,
    cast: bool = False,
    allow_missing: Sequence[str] = (),
    allow_unused: Sequence[str] = (),
    verify: bool = True,
) -> LoadReport:
    """Fill a built Keras 3, tf_keras or ``tf.Module`` model with a checkpoint's values.

    ``mapping`` is a mapping file, its data, or compiled rules; names that need no change need
    none.  Its targets are the model's variables, by any of their names.  Every variable of the
    model has to get a value and every tensor has to go somewhere, but for ``allow_missing`` and
    ``allow_unused`` globs; dtypes have to agree unless ``cast``.  Nothing is changed where
    something does not fit: raises :class:`MappingError` with everything that is wrong.

    ``model`` may also be ``package.module:callable``; what it returns is then filled and lost.
    Needs the model's framework (:class:`ExtraMissingError`).
    """
    from ckpttool.live.filling import load_values, refuse_lost
    from ckpttool.live.models import call_model
    from ckpttool.mapping.like.template import live_template

    label = model if isinstance(model, str) else "the model"
    if isinstance(model, str):
        model = call_model(model)
    template = live_template(model, label)
    refuse_lost(model, label, len(template.variables))
    with ExitStack() as stack:
        if isinstance(checkpoint, str):
            checkpoint = stack.enter_context(open_checkpoint(checkpoint))
        if checkpoint.damage():
            raise MappingError(*checkpoint.damage())
        rules = _rules(mapping, params, slots, averages, unmatched)
        like = Like(template, cast=cast, allow_missing=allow_missing)
        # The names are those of a live model: no file's rules for names apply.
        wanted = Wanted("keras", WriteOptions(), like, allow_unused, {}, written=False)
        reader = checkpoint.reader
        plan = make_plan(
            reader.specs, rules, checkpoint.roles, source=reader.info.path, wanted=wanted
        )
        path = str(template.file)
        planned = stack.enter_context(PlannedReader(plan, reader, os.path.dirname(path)))
        sums, constants = Checksums(), _Constants()
        values = {
            step.target: _value(planned, step, sums, constants)
            for step in plan.steps
        }  # fmt: skip
        load_values(model, path, values)
        if verify:
            _verify(model, label, plan, sums)
        notices = (*plan.warnings, *checkpoint.notices())
    return _report(plan, template, constants, notices, verify)


def _rules(
    mapping: Rules | None,
    params: Mapping[str, Scalar] | None,
    slots: str | None,
    averages: str | None,
    unmatched: str | None,
) -> RuleSet:
    if isinstance(mapping, RuleSet):
        return mapping
    return load_rules(
        mapping,
        params=params,
        slots=slots or ("drop" if mapping is None else None),
        averages=averages,
        unmatched=unmatched,
        target="keras",
    )


def _value(
    planned: PlannedReader, step: Step, sums: Checksums, constants: _Constants
) -> tuple[TensorSpec, Callable[[], Iterator[Array]]]:
    def stream() -> Iterator[Array]:
        return (chunk.array for chunk in planned.chunks(step.target))

    followed = sums.followed(step.target, stream)
    return planned.specs[step.target], lambda: constants.watched(step.target, iter(followed()))


class _Constants:
    """Which tensors hold one value throughout, as they were streamed."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def watched(self, name: str, arrays: Iterator[Array]) -> Iterator[Array]:
        """The same arrays."""
        first: Any = None
        constant = True
        for array in arrays:
            if constant and array.size:
                flat = array.reshape(-1)
                first = flat[0] if first is None else first
                constant = bool((flat == first).all())
            yield array
        if constant and first is not None:
            self.names.add(name)


def _verify(model: Any, label: str, plan: Plan, sums: Checksums) -> None:
    """OUT004 where the model, saved again, has other values than it was given."""
    from ckpttool.live.filling import saved_again

    path, folder = saved_again(model, label)
    with open_checkpoint(path) as again:
        for step in plan.steps:
            spec = again.specs.get(step.target)
            same = spec is not None and (spec.dtype, spec.shape) == (step.dtype, step.shape)
            if same and sums[step.target] == checksum(
                chunk.array for chunk in again.reader.chunks(step.target)
            ):
                continue
            message = f"{label} did not take the values of {step.target}"
            hint = "the model's own way of loading changes them: remap to a file instead"
            raise OutputError(Problem("OUT004", message, step.rule, hint=hint))
    del folder  # the file was there as long as this was


def _report(
    plan: Plan,
    template: Template,
    constants: _Constants,
    notices: Sequence[Problem],
    verified: bool,
) -> LoadReport:
    by_key = template.by_key
    filled = tuple(
        Filled(
            by_key[step.target].name,
            step.target,
            step.sources,
            step.operations,
            step.dtype,
            step.shape,
            step.rule,
            step.target in constants.names and dtype_named(step.dtype).kind != "string",
        )
        for step in plan.steps
    )
    there = {item.key for item in filled}
    wanted = [item for item in template.variables if item.required]
    left = tuple(item.name for item in wanted if item.key not in there)
    return LoadReport(
        plan.source, filled, left, plan.dropped, plan.assumes, plan.caveats,
        tuple(dict.fromkeys(notices)), verified,
    )  # fmt: skip
