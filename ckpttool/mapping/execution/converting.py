"""Write a plan in any format: stream every tensor, read the output back, give it its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ckpttool.errors import CkptError, OutputError, Problem
from ckpttool.formats.targets import TARGETS
from ckpttool.formats.writing import Output, Values, Writer, Written
from ckpttool.mapping.execution.checksums import Checksums, checksum, stored_checksum
from ckpttool.mapping.planning.expressions import Evaluator
from ckpttool.mapping.planning.plan import Plan, Step

if TYPE_CHECKING:
    from ckpttool.formats.base import Reader

Progress = Callable[[int], None]


def convert(
    plan: Plan,
    reader: Reader,
    output: str,
    *,
    force: bool = False,
    verify: bool = True,
    progress: Progress | None = None,
) -> Written:
    """Write the plan's tensors from ``reader`` in the plan's format.

    Raises :class:`OutputError`, and :class:`InputError` where the source turns out damaged;
    nothing is left behind then.
    """
    from ckpttool.mapping.transforms.workspace import Workspace

    opener = TARGETS[plan.target].open()
    sources = [*reader.info.files, *(graph.path for graph in reader.info.graphs)]
    with ExitStack() as stack:
        workspace = stack.enter_context(Workspace(os.path.dirname(os.path.abspath(output))))
        writer = stack.enter_context(
            opener(output, options=plan.options, force=force, sources=sources)
        )
        sums = Checksums()
        evaluator = Evaluator(reader, workspace)
        for step in plan.steps:
            values = values_of(step, reader, evaluator)
            if verify:
                values = followed(step, reader, values, sums)
            writer.declare(Output(step.target, step.dtype, step.shape, values))
        with writer.flushing():
            writer.write(progress)
            workspace.clear()
            if verify:
                compare(plan, writer, output, sums, progress)
        return writer.commit()


def values_of(step: Step, reader: Reader, evaluator: Evaluator) -> Values:
    """The values of a step, computed when they are asked for."""
    expression = step.expression
    if expression is None:
        name = step.sources[0]
        return lambda: (chunk.array for chunk in reader.chunks(name))
    return lambda: evaluator.lazy(expression).stream()


def followed(step: Step, reader: Reader, values: Values, sums: Checksums) -> Values:
    """The values, with their checksum kept; it is not computed where an index tells it."""
    if step.expression is None:
        crc = stored_checksum(reader, step.sources[0])
        if crc is not None:
            sums.known(step.target, crc)
            return values
    return sums.followed(step.target, values)


def compare(
    plan: Plan, writer: Writer, output: str, sums: Checksums, progress: Progress | None = None
) -> None:
    """Read the staged output; OUT004 for the first thing that is not as it was written."""
    from ckpttool.formats.registry import open_located

    stored: Mapping[str, str] = getattr(writer, "stored_names", dict)()
    try:
        with open_located(writer.staged()) as back:
            for step in plan.steps:
                name = stored.get(step.target, step.target)
                spec = back.specs.get(name)
                if spec is None or (spec.dtype, spec.shape) != (step.dtype, step.shape):
                    found = None if spec is None else f"{spec.dtype} {list(spec.shape)}"
                    raise differs(step.target, output, found, f"{step.dtype} {list(step.shape)}")
            if not stored and len(back.specs) != len(plan.steps):
                extra = next(iter(back.specs.keys() - {step.target for step in plan.steps}))
                raise differs(extra, output, "a tensor", "none of this name")
            for step in plan.steps:
                chunks = back.chunks(stored.get(step.target, step.target))
                if checksum(chunk.array for chunk in chunks) != sums[step.target]:
                    raise differs(step.target, output, "other values", "those that were written")
    except OutputError:
        raise
    except CkptError as error:
        told = error.problems[0]
        raise differs("the output", output, told.message, "what was written") from error


def differs(name: str, output: str, found: object, expected: object) -> OutputError:
    """OUT004."""
    message = f"{name} does not read back as planned; nothing was kept"
    return OutputError(Problem("OUT004", message, output, str(found), str(expected)))
