"""What ``--like`` makes binding: names, shapes and dtypes of a target."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

from ckpttool.errors import Problem
from ckpttool.mapping.planning.building import Made
from ckpttool.mapping.planning.checks import Checks
from ckpttool.mapping.planning.expressions import Expression
from ckpttool.mapping.transforms.base import ArraySpec, TransformError
from ckpttool.mapping.transforms.chain import Chain
from ckpttool.mapping.transforms.values import Cast
from ckpttool.names import glob_matcher
from ckpttool.tensors import Shape

_MAX_LISTED = 100
_HINTS = 20  # wrong names for which one like them is looked for, which takes its time


class TargetVariable(Protocol):
    """A variable of the target.  ``dtype`` and ``shape`` are None where they are not known."""

    @property
    def key(self) -> str:
        """The name that its file gives it."""

    @property
    def names(self) -> Sequence[str]:
        """Other names that lead to it: ``dense_1/kernel``."""

    @property
    def dtype(self) -> str | None:
        """TensorFlow's name."""

    @property
    def shape(self) -> Shape | None:
        """The shape."""

    @property
    def required(self) -> bool:
        """Whether an output without it is not whole."""


class Template(Protocol):
    """What a target wants: see :func:`ckpttool.mapping.like.template.load_template`."""

    @property
    def variables(self) -> Sequence[TargetVariable]:
        """All variables, in the target's order."""

    @property
    def file(self) -> str | None:
        """A file of the target, for writers that need one."""

    @property
    def notices(self) -> Sequence[Problem]:
        """What is odd about it."""

    def resolve(self, text: str) -> str | None:
        """The key of what `to` calls ``text``; None if nothing, or more than one, is called so."""

    def problem(self, text: str, where: str | None = None, *, near: bool = True) -> Problem:
        """MAP031 about a text that stands for no variable, or for several."""


class Like:
    """Fits planned tensors to a template, collecting what does not.

    ``cast`` turns values into the target's dtype; ``allow_missing`` are globs of targets that may
    be left out.  Without ``hints`` problems do not say which names look like a wrong one.
    """

    def __init__(
        self,
        template: Template,
        *,
        cast: bool = False,
        allow_missing: Sequence[str] = (),
        hints: bool = True,
    ) -> None:
        self.template = template
        self._hints = _HINTS if hints else 0
        self._cast = cast
        self._allow_missing = allow_missing

    def fit(self, made: Sequence[Made], checks: Checks) -> list[Made]:
        """The tensors under the target's keys, in its order."""
        checks.warnings += self.template.notices
        if not self.template.variables:
            checks.errors.append(_no_variables(self.template, checks.label))
            return []
        variables = {variable.key: variable for variable in self.template.variables}
        fitted: list[Made] = []
        wrong = 0
        for item in made:
            key = self.template.resolve(item.target)
            if key is None or key not in variables:
                wrong += 1
                told = self.template.problem(item.target, item.where, near=wrong <= self._hints)
                found = f"{told.found or item.target}, from {_sources(item)}"
                checks.errors.append(told._replace(found=found))
                continue
            item = item._replace(target=key)
            fitted.append(self._fit_one(item, variables[key], checks))
        checks.errors += self._missing({item.target for item in fitted}, checks.label)
        order = {key: number for number, key in enumerate(variables)}
        fitted.sort(key=lambda item: order[item.target])
        return fitted

    def _missing(self, there: Collection[str], label: str) -> Iterator[Problem]:
        allowed = glob_matcher(self._allow_missing) if self._allow_missing else None
        missing = [
            item
            for item in self.template.variables
            if item.key not in there
            and item.required
            and not (allowed and any(map(allowed, (item.key, *item.names))))
        ]
        for item in missing[:_MAX_LISTED]:
            name = ", ".join((item.key, *item.names[:1]))
            found = f"{name}: {_told(item.dtype, item.shape)}"
            yield Problem("MAP030", "nothing becomes this variable of the target", label, found)
        if missing:
            total = f"{len(missing)} of {len(self.template.variables)} variables"
            hint = "add rules for them, or --allow-missing GLOB"
            message = "not every variable of the target gets a value"
            yield Problem("MAP030", message, label, total, hint=hint)

    def _fit_one(self, item: Made, variable: TargetVariable, checks: Checks) -> Made:
        if variable.shape is not None and tuple(variable.shape) != tuple(item.shape):
            checks.errors.append(
                Problem(
                    "MAP032",
                    f"the shape of {item.target} is another",
                    item.where,
                    f"{list(item.shape)} from {_sources(item)}",
                    str(list(variable.shape)),
                )
            )
        if variable.dtype is None or variable.dtype == item.dtype:
            return item
        cast = _casted(item, variable.dtype) if self._cast else None
        if cast is None:
            hint = None if self._cast else "--cast, or `cast` in the rule"
            problem = Problem(
                "MAP033",
                f"the dtype of {item.target} is another",
                item.where,
                f"{item.dtype} from {_sources(item)}",
                variable.dtype,
                hint,
            )
            checks.errors.append(problem)
        return cast or item


def _no_variables(template: Template, label: str) -> Problem:
    hint = "build the model (call it, or give its first layer an input shape) and save it again"
    return Problem("MAP031", "the target has no variables", template.file or label, hint=hint)


def _casted(item: Made, dtype: str) -> Made | None:
    """The tensor in another dtype; None where it has no values of that."""
    try:
        step = Cast(dtype=dtype)
        finish = Chain([step])
        finish.infer([ArraySpec(item.dtype, item.shape)])
    except TransformError:
        return None
    expression = item.expression or Expression(item.sources, Chain())
    return item._replace(
        dtype=dtype,
        operations=(*item.operations, step.describe()),
        expression=expression._replace(finish=finish),
    )


def _sources(item: Made) -> str:
    told = ", ".join(item.sources[:3]) or "a constant"
    return f"{told} ({', '.join(item.operations)})" if item.operations else told


def _told(dtype: str | None, shape: Shape | None) -> str:
    return f"{dtype or 'any dtype'} {'any shape' if shape is None else list(shape)}"
