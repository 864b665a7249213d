"""What ``average`` does once its options are known."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli import emit
from ckpttool.cli.progress import bar
from ckpttool.errors import EXIT_OK, Problem, UsageError
from ckpttool.mapping.averaging import AverageResult, average, step_paths
from ckpttool.render.average import average_body, average_lines


class AverageCommand(NamedTuple):
    """The options of the command."""

    output: str
    last: int | None = None
    weights: str | None = None
    slots: str | None = None
    to: str | None = None
    force: bool = False
    verify: bool = True
    every: bool = False


def carry_out(paths: Sequence[str], command: AverageCommand) -> int:
    """Open all, write the mean, print; returns the exit code."""
    given = [path for typed in paths for path in step_paths(typed, command.last)]
    weights = None if command.weights is None else _numbers(command.weights)
    result = _average(given, weights, command)
    notices = [*result.notices]
    if command.last is not None and len(given) < command.last * len(paths):
        found, expected = f"{len(given)} checkpoints", f"{command.last * len(paths)}"
        notices.append(Problem("INP021", "there are not as many", paths[0], found, expected))
    if emit.SETTINGS.json:
        emit.data(average_body(result), notices)
    else:
        sink = emit.out()
        sink.write(average_lines(result, sink.layout, every=command.every))
        emit.words(notices, "note")
    return EXIT_OK


def _average(
    paths: Sequence[str], weights: Sequence[float] | None, command: AverageCommand
) -> AverageResult:
    progress = bar("averaging")
    try:
        with ExitStack() as stack:
            return average(
                [stack.enter_context(open_checkpoint(path)) for path in paths],
                command.output,
                weights=weights,
                slots=command.slots,
                to=command.to,
                force=command.force,
                verify=command.verify,
                progress=None if progress is None else progress.begin,
            )
    finally:
        if progress is not None:
            progress.end()


def _numbers(text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        message = "--weights is a list of numbers"
        raise UsageError(Problem("USE003", message, None, text, "as 1,1,2")) from None
