"""The mean of several checkpoints as a checkpoint."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from ckpttool.analysis.means import is_averaged
from ckpttool.analysis.roles import infer_roles
from ckpttool.checkpoint import Checkpoint
from ckpttool.errors import InputError, OutputError, Problem, UsageError
from ckpttool.formats.targets import TARGETS
from ckpttool.formats.writing import WriteOptions, Written
from ckpttool.mapping.execution.converting import convert
from ckpttool.mapping.mean_reader import MeanReader
from ckpttool.mapping.planning.plan import Plan, Step
from ckpttool.mapping.planning.targeting import target_of
from ckpttool.names import OBJECT_GRAPH_KEY
from ckpttool.tensors import TensorSpec, dtype_named

SLOTS = ("drop", "average", "last")
MAX_CHECKPOINTS = 256

_MAX_LISTED = 100


class Averaged(NamedTuple):
    """One tensor of the output; ``how`` is ``mean`` or ``last``: taken from the last checkpoint."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    how: str


class AveragedFrom(NamedTuple):
    """One of the checkpoints, and its share of the mean (all shares together are 1)."""

    path: str
    format: str
    step: int | None
    share: float


class AverageResult(NamedTuple):
    """What was averaged and written.  ``dropped`` are the optimizer's names that were left out."""

    checkpoints: tuple[AveragedFrom, ...]
    tensors: tuple[Averaged, ...]
    dropped: tuple[str, ...]
    target: str
    output: Written
    verified: bool
    notices: tuple[Problem, ...]


def average(
    checkpoints: Sequence[Checkpoint],
    output: str,
    *,
    weights: Sequence[float] | None = None,
    slots: str | None = None,
    to: str | None = None,
    force: bool = False,
    verify: bool = True,
    progress: Callable[[int], Callable[[int], None]] | None = None,
) -> AverageResult:
    """Write the mean of open checkpoints, in the order given; dtypes stay as they are.

    Floating-point tensors are averaged, with ``weights`` if there are any.  Steps, integers,
    bools and strings are those of the last checkpoint.  ``slots`` says what becomes of an
    optimizer's variables: ``drop`` them, ``average`` them like others, or take the ``last``;
    by default they are dropped, but ``last`` where an object graph lists them.  Names, shapes
    and dtypes must agree: raises :class:`InputError` (INP019) with every difference, and
    :class:`OutputError` where the output cannot go.  ``to`` is the format, else that of the
    output's name.
    """
    shares = _shares(checkpoints, weights)
    target = _target(to, output, checkpoints[-1])
    policy = _slot_policy(slots, checkpoints[-1])
    damage = [item for one in checkpoints for item in one.damage()]
    if damage:
        raise InputError(*damage)
    kept, dropped = _chosen(checkpoints[-1], policy, target)
    _refuse_differences(checkpoints, kept, dropped)
    means = [name for name in kept if _has_mean(checkpoints[-1], name, policy)]
    tell = None
    if progress is not None:
        tell = progress(len(checkpoints) * sum(kept[name].nbytes for name in means))
    reader = MeanReader([one.reader for one in checkpoints], kept, means, weights, tell)
    plan = _plan(reader, means, target, len(checkpoints))
    _refuse_unfit(plan, output)
    written = convert(plan, reader, output, force=force, verify=verify)
    listed = frozenset(means)
    return AverageResult(
        tuple(
            AveragedFrom(one.info.path, one.info.format, one.info.step, share)
            for one, share in zip(checkpoints, shares, strict=True)
        ),
        tuple(Averaged(*spec, "mean" if spec.name in listed else "last") for spec in kept.values()),
        tuple(dropped),
        target,
        written,
        verify,
        tuple(dict.fromkeys(_notices(checkpoints, dropped, policy))),
    )


def _shares(checkpoints: Sequence[Checkpoint], weights: Sequence[float] | None) -> list[float]:
    """Each checkpoint's share of the mean; USE001 or USE003 where there is none."""
    if not 1 < len(checkpoints) <= MAX_CHECKPOINTS:
        expected = f"2 to {MAX_CHECKPOINTS}"
        hint = "ckpttool average DIR --last 5 -o OUT"
        message = "a mean is one of several checkpoints"
        raise UsageError(Problem("USE001", message, None, f"{len(checkpoints)}", expected, hint))
    paths = [one.info.path for one in checkpoints]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        hint = "a checkpoint that counts more has a greater weight"
        raise UsageError(Problem("USE001", "a checkpoint is given twice", twice[0], hint=hint))
    if weights is None:
        return [1 / len(checkpoints)] * len(checkpoints)
    if len(weights) != len(checkpoints):
        found, expected = f"{len(weights)} weights", f"{len(checkpoints)}"
        message = "every checkpoint has a weight, or none"
        raise UsageError(Problem("USE003", message, None, found, expected))
    total = math.fsum(weights) if all(map(math.isfinite, weights)) else math.nan
    if not total > 0 or not math.isfinite(total) or min(weights) < 0:
        message = "weights are numbers from 0 up, and not all 0"
        raise UsageError(Problem("USE003", message, None, ", ".join(map(str, weights))))
    return [weight / total for weight in weights]


def _target(to: str | None, output: str, last: Checkpoint) -> str:
    target = target_of(to, None, output)
    if target == "tf2":
        hint = "leave out --to: the mean of object-based checkpoints is one again"
        raise UsageError(Problem("USE003", "a mean is not written as tf2", hint=hint))
    if target == "keras-archive" and last.info.format != "keras-archive":
        message = "only the mean of .keras archives is one"
        raise UsageError(Problem("USE003", message, output, last.info.format))
    return target


def _slot_policy(slots: str | None, last: Checkpoint) -> str:
    if slots is not None and slots not in SLOTS:
        expected = ", ".join(SLOTS)
        raise UsageError(Problem("USE003", "slots do not know this value", None, slots, expected))
    if OBJECT_GRAPH_KEY not in last.specs:
        return slots or "drop"
    if slots == "drop":
        hint = "average or last"
        message = "the object graph lists the optimizer's variables: they cannot be dropped"
        raise UsageError(Problem("USE003", message, last.info.path, slots, hint=hint))
    return slots or "last"


def _chosen(
    last: Checkpoint, policy: str, target: str
) -> tuple[dict[str, TensorSpec], dict[str, None]]:
    """What the output has, and what is left out; INP011 for what cannot be decoded."""
    kept: dict[str, TensorSpec] = {}
    dropped: dict[str, None] = {}
    opaque: list[Problem] = []
    for name, spec in last.specs.items():
        slot = policy == "drop" and last.role(name).role == "slot"
        if slot or (name == OBJECT_GRAPH_KEY and target != "tf1"):
            dropped[name] = None
            continue
        kept[name] = spec
        if dtype_named(spec.dtype).array_type is None:
            message = f"tensor {name} cannot be decoded"
            opaque.append(Problem("INP011", message, last.info.path, spec.dtype))
    if opaque:
        raise InputError(*opaque[:_MAX_LISTED])
    return kept, dropped


def _has_mean(last: Checkpoint, name: str, policy: str) -> bool:
    if not is_averaged(last.specs[name].dtype):
        return False
    role = last.role(name)
    if role.role == "slot":  # without an owner: the power of a decay, a learning rate
        return policy == "average" and role.owner is not None
    return role.role != "step"


def _refuse_differences(
    checkpoints: Sequence[Checkpoint], kept: Mapping[str, TensorSpec], dropped: Collection[str]
) -> None:
    """INP019 for everything that the checkpoints do not have alike."""
    last = checkpoints[-1]
    problems: list[Problem] = []
    for other in checkpoints[:-1]:
        problems += _differences(other, last, kept, dropped)
    if problems:
        more = len(problems) - _MAX_LISTED
        del problems[_MAX_LISTED:]
        if more > 0:
            problems.append(Problem("INP019", f"and {more} more differences", last.info.path))
        raise InputError(*problems)


def _differences(
    other: Checkpoint, last: Checkpoint, kept: Mapping[str, TensorSpec], dropped: Collection[str]
) -> Iterator[Problem]:
    where = other.info.path
    for name, spec in kept.items():
        found = other.specs.get(name)
        expected = f"{_told(spec)}, as in {last.info.path}"
        if found is None:
            yield Problem("INP019", f"{name} is not in every checkpoint", where, "none", expected)
        elif found != spec:
            message = f"{name} is not the same in every checkpoint"
            yield Problem("INP019", message, where, _told(found), expected)
    extra = [name for name in other.specs if name not in kept and name not in dropped]
    roles = infer_roles(other.specs) if extra and dropped else {}
    for name in extra:
        if name not in roles or roles[name].role != "slot":
            message = f"{name} is not in every checkpoint"
            yield Problem("INP019", message, last.info.path, "none", f"as in {where}")


def _told(spec: TensorSpec) -> str:
    return f"{spec.dtype} {list(spec.shape)}"


def _plan(reader: MeanReader, means: Collection[str], target: str, count: int) -> Plan:
    listed = frozenset(means)
    mean = (f"mean of {count}",)
    steps = tuple(
        Step(name, (name,), mean if name in listed else (), dtype, shape, "average")
        for name, dtype, shape in reader.specs.values()
    )
    template = reader.info.path if target == "keras-archive" else None
    options = WriteOptions(template=template)
    return Plan(reader.info.path, "", target, steps, (), {}, options=options)


def _refuse_unfit(plan: Plan, output: str) -> None:
    """OUT005 for everything that the format cannot hold."""
    specs = [(step.target, step.dtype, step.shape) for step in plan.steps]
    refused = [
        Problem("OUT005", f"{plan.target} cannot hold {name}: {why}", output, found)
        for name, why, found in TARGETS[plan.target].refusals()(specs, plan.options)
        if name != OBJECT_GRAPH_KEY
    ]
    if refused:
        raise OutputError(*refused[:_MAX_LISTED])


def _notices(
    checkpoints: Sequence[Checkpoint], dropped: Collection[str], policy: str
) -> Iterator[Problem]:
    for one in checkpoints:
        yield from one.notices()
    last = checkpoints[-1]
    steps = [one.info.step for one in checkpoints]
    known = [step for step in steps if step is not None]
    if len(known) == len(steps) and known[-1] != max(known):
        found, expected = f"step {known[-1]}", f"step {max(known)}"
        message = "the last checkpoint, whose integers are taken, is not the newest"
        yield Problem("INP020", message, last.info.path, found, expected)
    for graph in last.info.graphs:
        if graph.kind == "meta_graph":
            message = "the graph file is not copied"
            lacking = ": its Saver also wants the optimizer's variables" if dropped else ""
            hint = "--slots last, if the output is to be restored for training" if dropped else None
            yield Problem("OUT006", message + lacking, graph.path, hint=hint)


def step_paths(path: str, last: int | None = None) -> list[str]:
    """The checkpoints that ``path`` stands for: of a directory all in it, or the ``last`` ones.

    In the order of their steps.  Raises :class:`InputError` where there is none.
    """
    from ckpttool.formats.locating.locate import find_checkpoints
    from ckpttool.verification import holds_several

    if last is not None and last < 1:
        raise UsageError(Problem("USE003", "--last is a number from 1 up", None, str(last)))
    if not holds_several(path):
        return [path]
    found = [item.path for item in find_checkpoints(path)]
    if not found:
        return [os.path.join(path, "")]  # opening it tells what is there instead
    return found[-last:] if last is not None else found
