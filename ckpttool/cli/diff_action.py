"""What ``diff`` does once its options are known; imports no option parser."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from ckpttool.analysis.diff import DiffOptions, DiffResult
from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.cli import emit
from ckpttool.cli.progress import bar
from ckpttool.errors import EXIT_FINDING, EXIT_INPUT, EXIT_OK, Problem, UsageError

FAIL_ON = ("added", "removed", "renamed", "shape", "dtype", "value", "nan")
FAIL_ON_SERIES = ("moving", "frozen", "never_moved", "reset", "diverging", "partial", "nan")
TOP = 30


class DiffCommand(NamedTuple):
    """The options of the command that are not those of the comparison."""

    mapping: str | None = None
    write_mapping: str | None = None
    force: bool = False
    all_steps: bool = False
    watch: int = 0
    fail_on: tuple[str, ...] = ()
    top: int = TOP
    slots: bool = False


def show_diff(*paths: str) -> int:
    """Compare without any options: what a plain command line asks for."""
    return compare(paths, DiffOptions(), DiffCommand())


def compare(paths: Sequence[str], options: DiffOptions, command: DiffCommand) -> int:
    """Open, compare, print; returns the exit code."""
    # BLAS threads would take memory and only get in the way of our own.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    paths = _steps_of(paths) if command.all_steps else paths
    if not emit.SETTINGS.json and not options.roles:
        # What people see is folded well enough by names and shapes; a graph takes time to read.
        options = options._replace(graph_roles=False)
    if len(paths) < 2:
        raise UsageError(
            Problem(
                "USE001",
                "diff needs two checkpoints or more",
                found=f"{len(paths)}",
                hint="ckpttool diff A B, or ckpttool diff DIR --all-steps",
            )
        )
    options = options._replace(fork=True)
    with ExitStack() as stack:
        checkpoints = [stack.enter_context(open_checkpoint(path)) for path in paths]
        if len(paths) > 2 or command.all_steps:
            return _series(checkpoints, options, command)
        return _two(checkpoints[0], checkpoints[1], options, command)


def _steps_of(paths: Sequence[str]) -> list[str]:
    """The checkpoints of directories, by step."""
    from ckpttool.formats.locating.locate import find_checkpoints

    found: list[str] = []
    for path in paths:
        here = [item.path for item in find_checkpoints(path)]
        if not here:
            raise UsageError(
                Problem(
                    "USE001",
                    "--all-steps takes a directory with checkpoints in it",
                    path,
                    hint="ckpttool diff DIR --all-steps",
                )
            )
        found += here
    return found


# --- two checkpoints -----------------------------------------------------------------------------


def _two(a: Checkpoint, b: Checkpoint, options: DiffOptions, command: DiffCommand) -> int:
    from ckpttool.analysis.diff import diff

    _refuse_unknown(command.fail_on, FAIL_ON)
    if command.mapping is not None and command.write_mapping is not None:
        raise UsageError(
            Problem("USE001", "--write-mapping and -m exclude each other", found=command.mapping)
        )
    if command.mapping is not None:
        from ckpttool.mapping.comparing import through

        options = through(options, a, command.mapping, b)
    progress = bar("comparing")
    try:
        result = diff(a, b, options, progress=None if progress is None else progress.begin)
    finally:
        if progress is not None:
            progress.end()
    if command.write_mapping is not None:
        _write_mapping(a, b, options, result, command)
    damage = [item for bad in result.unreadable for item in bad.problems]
    damage += [*a.damage(), *b.damage()]
    values = None
    if command.watch:
        from ckpttool.analysis.series import watched

        values = watched([a, b], options, command.watch)
        damage += values.problems
    damage = list(dict.fromkeys(damage))
    found = _found(result)
    finding = bool(found & set(command.fail_on)) if command.fail_on else not result.same
    code = EXIT_INPUT if damage else EXIT_FINDING if finding else EXIT_OK
    if emit.SETTINGS.json:
        from ckpttool.render.diff_json import diff_body

        body = diff_body(result)
        if values is not None:
            from ckpttool.render.series import values_data

            body["values"] = values_data(values)
        emit.data(body, [*damage, *result.notices], status=_status(code))
    else:
        from ckpttool.render.diff import DiffView, diff_lines

        sink = emit.out()
        sink.write(diff_lines(result, DiffView(command.top, command.slots), sink.layout))
        if values is not None:
            from ckpttool.render.series import watched_lines

            sink.write(watched_lines(values, sink.layout))
        _tell(result.notices, damage)
    return code


def _found(result: DiffResult) -> set[str]:
    """The kinds of differences that are there, in the words of ``--fail-on``."""
    found = {item.kind for item in result.changed if item.kind != "dtype"}
    if any(item.a.dtype != item.b.dtype for item in result.changed):
        found.add("dtype")
    for word, items in (
        ("added", result.added),
        ("removed", result.removed),
        ("renamed", result.renamed),
    ):
        if items:
            found.add(word)
    changes = [*result.changed, *result.close]
    changes += [item.change for item in result.renamed if item.change is not None]
    for item in changes:
        metrics = item.metrics
        if metrics is None:
            continue
        if metrics.beyond:
            found.add("value")
        if metrics.nan_b > metrics.nan_a or metrics.inf_b > metrics.inf_a:
            found.add("nan")
    return found


def _write_mapping(
    a: Checkpoint, b: Checkpoint, options: DiffOptions, result: DiffResult, command: DiffCommand
) -> None:
    from ckpttool.mapping.comparing import exact_rules, moved_keys
    from ckpttool.render.mapping_file import mapping_text
    from ckpttool.storage.atomic import OutputGroup

    path = command.write_mapping or ""
    moved = moved_keys(a, b, options, result)
    text = mapping_text(
        exact_rules(a, moved),
        source=result.checkpoints[0].path,
        target=result.checkpoints[1].path,
        removed=[item.name for item in result.removed],
        added=[item.name for item in result.added],
    )
    with OutputGroup([path], force=command.force) as group:
        group.stage(path).write(text.encode())
        group.commit()


# --- three and more ------------------------------------------------------------------------------


def _series(checkpoints: Sequence[Checkpoint], options: DiffOptions, command: DiffCommand) -> int:
    from ckpttool.analysis.series import series

    _refuse_unknown(command.fail_on, FAIL_ON_SERIES)
    if command.mapping is not None or command.write_mapping is not None:
        raise UsageError(
            Problem("USE001", "mapping files are for two checkpoints", found=f"{len(checkpoints)}")
        )
    progress = bar("comparing")
    begin: Callable[[int], Callable[[int], None]] | None = progress.begin if progress else None
    try:
        result = series(checkpoints, options, watch=command.watch, progress=begin)
    finally:
        if progress is not None:
            progress.end()
    damage = [*result.problems, *(item for one in checkpoints for item in one.damage())]
    found = {row.status for row in result.rows}
    if any(any(row.nan_or_inf) for row in result.rows):
        found.add("nan")
    finding = bool(found & set(command.fail_on)) if command.fail_on else not result.same
    code = EXIT_INPUT if damage else EXIT_FINDING if finding else EXIT_OK
    if emit.SETTINGS.json:
        from ckpttool.render.series import series_body

        emit.data(series_body(result), [*damage, *result.notices], status=_status(code))
    else:
        from ckpttool.render.diff import DiffView
        from ckpttool.render.series import series_lines

        sink = emit.out()
        sink.write(series_lines(result, DiffView(command.top, command.slots), sink.layout))
        _tell(result.notices, damage)
    return code


def _refuse_unknown(words: Sequence[str], allowed: Sequence[str]) -> None:
    if words:
        from ckpttool.cli.options import choice

        choice("--fail-on", words, allowed)


def _status(code: int) -> str:
    return {EXIT_OK: "ok", EXIT_FINDING: "finding"}.get(code, "error")


def _tell(notices: Sequence[Problem], damage: Sequence[Problem]) -> None:
    emit.words(notices, "note")
    emit.words(damage, "error")
