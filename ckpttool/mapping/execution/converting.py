"""Write a plan in any format: stream every tensor, read the output back, give it its name."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.errors import CkptError, OutputError, Problem
from ckpttool.formats.targets import TARGETS
from ckpttool.formats.writing import Output, Progress, Values, Writer, Written, ignore
from ckpttool.mapping.execution.checksums import Checksums, checksum, stored_whole
from ckpttool.mapping.execution.following import Follower, Sound, is_sound
from ckpttool.mapping.planning.expressions import Evaluator
from ckpttool.mapping.planning.plan import Plan, Step

if TYPE_CHECKING:
    from ckpttool.formats.base import Reader


def convert(
    plan: Plan,
    reader: Reader,
    output_path: str,
    *,
    force: bool = False,
    verify: bool = True,
    progress: Progress = ignore,
) -> Written:
    """Write the plan's tensors from ``reader`` in the plan's format.

    Raises :class:`OutputError`, and :class:`InputError` where the source turns out damaged;
    nothing is left behind then.
    """
    from ckpttool.mapping.transforms.workspace import Workspace

    opener = TARGETS[plan.target].open()
    sources = [*reader.info.files, *(graph.path for graph in reader.info.graphs)]
    with ExitStack() as stack:
        workspace = stack.enter_context(Workspace(os.path.dirname(os.path.abspath(output_path))))
        writer = stack.enter_context(
            opener(output_path, options=plan.options, force=force, sources=sources)
        )
        sums = Checksums()
        evaluator = Evaluator(reader, workspace)
        for step in plan.steps:
            output = _output(step, reader, evaluator)
            writer.declare(_known(output, step, reader, sums) if verify else output)
        with writer.flushing():
            if verify:
                with Follower(sums) as follower:
                    writer.write(progress, follower.follow)
                workspace.clear()
                compare(plan, reader, writer, output_path, sums, follower.sound)
            else:
                writer.write(progress)
        return writer.commit()


def _output(step: Step, reader: Reader, evaluator: Evaluator) -> Output:
    return Output(step.target, step.dtype, step.shape, values_of(step, reader, evaluator))


def _known(output: Output, step: Step, reader: Reader, sums: Checksums) -> Output:
    """The output, its checksum known once it is written, and copied where an index has it."""
    if step.expression is None:
        whole = stored_whole(reader, step.sources[0])
        if whole is not None:
            sums.known(step.target, whole[1])
            return output._replace(stored=whole[0])
    return output._replace(values=sums.followed(step.target, output.values))


def values_of(step: Step, reader: Reader, evaluator: Evaluator) -> Values:
    """The values of a step, computed when they are asked for."""
    expression = step.expression
    if expression is None:
        name = step.sources[0]
        return lambda: (chunk.array for chunk in reader.chunks(name))
    return lambda: evaluator.lazy(expression).stream()


class _Difference(NamedTuple):
    """What does not read back: a step, and what was found instead of what."""

    step: Step
    found: str | None
    expected: str
    values: bool = False


def compare(
    plan: Plan,
    reader: Reader,
    writer: Writer,
    output: str,
    sums: Checksums,
    sound: Collection[Sound],
) -> None:
    """Open the staged output, and read what is not ``sound`` already.

    OUT004 for the first thing that is not as it was written; :class:`InputError` where that is so
    because the source is damaged.
    """
    from ckpttool.formats.registry import open_located

    names: Mapping[str, str] = getattr(writer, "stored_names", dict)()
    try:
        with open_located(writer.staged()) as back:
            odd = next(_differences(plan, names, back, sums, sound), None)
            extra = () if names else back.specs.keys() - {step.target for step in plan.steps}
    except CkptError as error:
        told = error.problems[0]
        raise differs("the output", output, told.message, "what was written") from error
    if odd is not None:
        if odd.values and odd.step.expression is None:
            for _ in reader.chunks(odd.step.sources[0]):  # raises if the source is no better
                pass
        raise differs(odd.step.target, output, odd.found, odd.expected)
    for name in extra:
        raise differs(name, output, "a tensor", "none of this name")


def _differences(
    plan: Plan,
    names: Mapping[str, str],
    back: Reader,
    sums: Checksums,
    sound: Collection[Sound],
) -> Iterator[_Difference]:
    """All specs first: they cost nothing."""
    keys = [(step, names.get(step.target, step.target)) for step in plan.steps]
    for step, key in keys:
        spec = back.specs.get(key)
        if spec is None or (spec.dtype, spec.shape) != (step.dtype, step.shape):
            found = None if spec is None else f"{spec.dtype} {list(spec.shape)}"
            yield _Difference(step, found, f"{step.dtype} {list(step.shape)}")
    for step, key in keys:
        crc = sums[step.target]
        if not is_sound(back, key, crc, sound) and crc != checksum(
            chunk.array for chunk in back.chunks(key)
        ):
            yield _Difference(step, "other values", "those that were written", values=True)


def differs(name: str, output: str, found: object, expected: object) -> OutputError:
    """OUT004."""
    message = f"{name} does not read back as planned; nothing was kept"
    return OutputError(Problem("OUT004", message, output, str(found), str(expected)))
