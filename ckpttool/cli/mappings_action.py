"""What ``mappings`` does once its options are known."""

from __future__ import annotations

from collections.abc import Sequence

from ckpttool.cli import emit
from ckpttool.cli.options import choice
from ckpttool.cli.remap_action import parameter
from ckpttool.errors import EXIT_OK, MappingError, Problem, UsageError
from ckpttool.mapping.language.catalog import Linted, lint, mapping_info, mappings
from ckpttool.render.mappings import lint_data, lint_lines, list_lines, show_lines

ACTIONS = ("list", "show", "lint")


def carry_out(action: str, names: Sequence[str], against: str | None, params: Sequence[str]) -> int:
    """Do one of the actions; returns the exit code."""
    choice("mappings", [action], ACTIONS)
    if action == "list":
        return _list(names)
    if not names:
        hint = "ckpttool mappings list names the built-in ones"
        raise UsageError(Problem("USE001", f"mappings {action} needs a mapping file", hint=hint))
    return _show(names) if action == "show" else _lint(names, against, params)


def _list(names: Sequence[str]) -> int:
    if names:
        problem = Problem("USE001", "mappings list takes no names", None, " ".join(names))
        raise UsageError(problem)
    found = mappings()
    if emit.SETTINGS.json:
        emit.data({"mappings": [item.data() for item in found]})
    else:
        sink = emit.out()
        sink.write(list_lines(found, sink.layout))
    return EXIT_OK


def _show(names: Sequence[str]) -> int:
    found = [mapping_info(name) for name in names]
    if emit.SETTINGS.json:
        emit.data({"mappings": [{**item.data(), "text": item.text} for item in found]})
    else:
        sink = emit.out()
        sink.write(show_lines(found, sink.layout))
    return EXIT_OK


def _lint(names: Sequence[str], against: str | None, params: Sequence[str]) -> int:
    given = dict(parameter(item) for item in params)
    done: list[Linted] = []
    problems: list[Problem] = []
    for name in names:
        try:
            done.append(lint(name, given, against))
        except MappingError as error:
            problems += error.problems
    if problems:
        raise MappingError(*problems)
    if emit.SETTINGS.json:
        emit.data(lint_data(done))
    else:
        sink = emit.out()
        sink.write(lint_lines(done, sink.layout))
    return EXIT_OK
