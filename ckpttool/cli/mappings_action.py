"""What ``mappings`` does once its options are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ckpttool.cli import emit
from ckpttool.cli.options import choice
from ckpttool.cli.remap_action import parameter
from ckpttool.errors import EXIT_FINDING, EXIT_INPUT, EXIT_OK, MappingError, Problem, UsageError
from ckpttool.mapping.language.catalog import Linted, lint, mapping_info, mappings
from ckpttool.render.mappings import lint_data, lint_lines, list_lines, show_lines

_TOLD = 3  # files of a folder that are no mapping files
ACTIONS = ("list", "show", "lint", "detect")


class MappingsCommand(NamedTuple):
    """The action and its options."""

    action: str
    names: tuple[str, ...] = ()
    against: str | None = None
    params: tuple[str, ...] = ()
    like: str | None = None
    also: tuple[str, ...] = ()


def carry_out(command: MappingsCommand) -> int:
    """Do one of the actions; returns the exit code."""
    action, names = command.action, command.names
    choice("mappings", [action], ACTIONS)
    _check(command)
    if action == "list":
        return _list(names)
    if action == "detect":
        return _detect(command)
    if not names:
        hint = "ckpttool mappings list names the built-in ones"
        raise UsageError(Problem("USE001", f"mappings {action} needs a mapping file", hint=hint))
    return _show(names) if action == "show" else _lint(names, command.against, command.params)


def _check(command: MappingsCommand) -> None:
    """Refuse an option of another action, which would be without effect."""
    for option, given, action in (
        ("--against", command.against, "lint"),
        ("--set", command.params, "lint"),
        ("--like", command.like, "detect"),
        ("--also", command.also, "detect"),
    ):
        if given and command.action != action:
            message = f"{option} is an option of mappings {action}"
            raise UsageError(Problem("USE001", message, None, f"mappings {command.action}"))


def _detect(command: MappingsCommand) -> int:
    if len(command.names) != 1:
        message, typed = "mappings detect takes one checkpoint", " ".join(command.names) or None
        hint = "ckpttool mappings detect CKPT, with --also for mapping files of your own"
        raise UsageError(Problem("USE001", message, None, typed, hint=hint))
    from ckpttool.checkpoint import open_checkpoint
    from ckpttool.mapping.detecting.detect import detect_mappings
    from ckpttool.render.detect import detect_body, detect_lines

    (path,), like = command.names, command.like
    with open_checkpoint(path) as checkpoint:
        found = detect_mappings(checkpoint, also=command.also, like=like)
        notices = checkpoint.notices()
        damage = checkpoint.damage()
    code = EXIT_OK if found.found else EXIT_FINDING
    if emit.SETTINGS.json:
        status = "error" if damage else "ok" if found.found else "finding"
        problems = [*notices, *found.problems, *damage]
        emit.data(detect_body(found, path, like), problems, status=status)
    else:
        sink = emit.out()
        sink.write(detect_lines(found, path, like, sink.layout))
        emit.words([*notices, *_some(found.problems)], "note")
        emit.words(damage, "error")
    return EXIT_INPUT if damage else code


def _some(problems: Sequence[Problem]) -> list[Problem]:
    """What is wrong with other people's files, in a few words: a folder may hold any YAML."""
    if len(problems) <= _TOLD:
        return list(problems)
    message = f"{len(problems) - _TOLD:,} more files cannot be used as mappings"
    return [*problems[:_TOLD], Problem("MAP001", message, hint="--json lists them all")]


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
