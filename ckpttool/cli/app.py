"""The Typer application.

Building a command from its signature costs milliseconds and importing its module more, so only
the named command is built; ``--help``, completion and a mistyped command build them all.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from ckpttool._version import __version__

# Command name to module; the order is that of the help page.
COMMANDS = {
    "tree": "ckpttool.cli.tree",
    "show": "ckpttool.cli.show",
    "collections": "ckpttool.cli.collections",
    "dups": "ckpttool.cli.dups",
    "diff": "ckpttool.cli.diff",
    "remap": "ckpttool.cli.remap",
    "suggest": "ckpttool.cli.suggest",
    "mappings": "ckpttool.cli.mappings",
    "verify": "ckpttool.cli.verify",
    "average": "ckpttool.cli.average",
    "prove": "ckpttool.cli.prove",
}

# Output does not depend on it, and rich help panels cut long option texts.
_MARKUP = None


def run(flags: Sequence[str], rest: Sequence[str]) -> int:
    """Parse and run a command line whose global ``flags`` were taken out of ``rest``."""
    first = rest[0] if rest else ""
    completing = any(name.endswith("_COMPLETE") for name in os.environ)
    app = build(None if completing else first)
    result = app([*flags, *rest], prog_name="ckpttool", standalone_mode=False)
    return result if isinstance(result, int) else 0


def build(command: str | None = None) -> typer.Typer:
    """The application with one command, or with all of them."""
    app = typer.Typer(
        name="ckpttool",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=_MARKUP,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Inspect, compare and migrate TensorFlow 1.x checkpoints, without TensorFlow.",
        epilog="Exit codes: 0 done, 1 a finding, 2 usage, 3 input, 4 mapping, 5 output, "
        "6 an extra is missing, 70 a bug, 130 interrupted.",
    )
    app.callback()(_global_options)
    for name in [command] if command in COMMANDS else list(COMMANDS):
        app.command(
            name,
            no_args_is_help=True,
            epilog="--json, --color, --no-color, --quiet and --debug work here too: "
            "see ckpttool --help.",
        )(import_module(COMMANDS[name]).run)
    return app


def _version(value: bool) -> None:
    if value:
        sys.stdout.write(f"ckpttool {__version__}\n")
        raise typer.Exit


def _global_options(
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
    color: Annotated[
        bool | None,
        typer.Option(
            "--color/--no-color",
            help="Colours on or off; default: on a terminal.",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No notes and warnings on stderr.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_version),
    ] = False,
) -> None:
    """Inspect, compare and migrate TensorFlow 1.x checkpoints, without TensorFlow."""
    del json, color, quiet, debug, version  # cli.main has read them: they may stand anywhere
