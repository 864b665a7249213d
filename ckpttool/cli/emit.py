"""The one place that writes to stdout and stderr."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ckpttool.errors import Problem
from ckpttool.render.lines import Sink, open_sink
from ckpttool.render.problems import problem_lines


class Settings:
    """The global options of this run."""

    __slots__ = ("color", "command", "debug", "json", "quiet")

    def __init__(self) -> None:
        self.json = False
        self.color: bool | None = None
        self.quiet = False
        self.debug = False
        self.command = ""


SETTINGS = Settings()


def out() -> Sink:
    """The sink for data: stdout."""
    return open_sink(sys.stdout, SETTINGS.color)


def data(
    body: Mapping[str, Any] | None = None,
    problems: Iterable[Problem] = (),
    *,
    status: str = "ok",
) -> None:
    """Write the JSON envelope."""
    from ckpttool.render.json import dumps, envelope

    sys.stdout.write(dumps(envelope(SETTINGS.command, status, body, problems)) + "\n")


def listing(
    body: Mapping[str, Any], notices: Iterable[Problem], damage: Collection[Problem]
) -> None:
    """Write the JSON of a listing: an error where damage hides part of it."""
    data(body, [*notices, *damage], status="error" if damage else "ok")


def words(problems: Iterable[Problem], severity: str = "warning") -> None:
    """Tell people on stderr; silent with ``--quiet`` unless it is an error."""
    if SETTINGS.quiet and severity != "error":
        return
    problems = list(problems)
    if problems:
        sink = open_sink(sys.stderr, SETTINGS.color)
        sys.stdout.flush()
        sink.write(problem_lines(problems, severity, unicode=sink.layout.unicode))


def failure(problems: Iterable[Problem]) -> None:
    """Report errors: the JSON envelope on stdout, or text on stderr."""
    if SETTINGS.json:
        data({}, problems, status="error")
    else:
        words(problems, "error")
