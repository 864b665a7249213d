"""The entry point: registers the one command that is asked for, runs it, catches once.

Building a command from its signature costs milliseconds and importing its module more, so only
the named command is built; ``--help``, completion and a mistyped command build them all.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated

import typer

from ckpttool import errors
from ckpttool._version import __version__
from ckpttool.cli import emit
from ckpttool.errors import CkptError, Problem

# Command name to module; the order is that of the help page.
COMMANDS = {
    "tree": "ckpttool.cli.tree",
    "show": "ckpttool.cli.show",
    "collections": "ckpttool.cli.collections",
    "remap": "ckpttool.cli.remap",
}

# Global flags are understood before and after the command's name.
_GLOBAL_FLAGS = {"--json", "--color", "--no-color", "-q", "--quiet", "--debug"}


def build(command: str | None = None) -> typer.Typer:
    """The application with one command, or with all of them."""
    app = typer.Typer(
        name="ckpttool",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Inspect, compare and migrate TensorFlow 1.x checkpoints, without TensorFlow.",
        epilog="Exit codes: 0 done, 1 a finding, 2 usage, 3 input, 4 mapping, 5 output, "
        "6 an extra is missing, 70 a bug, 130 interrupted.",
    )
    app.callback()(_global_options)
    for name in [command] if command in COMMANDS else list(COMMANDS):
        run = import_module(COMMANDS[name]).run
        app.command(
            name,
            no_args_is_help=True,
            epilog="--json, --color, --no-color, --quiet and --debug work here too: "
            "see ckpttool --help.",
        )(run)
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
    del json, color, quiet, debug, version  # read by _hoist: they may stand anywhere


def _hoist(arguments: Sequence[str]) -> list[str]:
    """Read the global flags wherever they stand, and move them to the front."""
    settings = emit.SETTINGS
    flags: list[str] = []
    rest: list[str] = []
    for index, argument in enumerate(arguments):
        if argument == "--":
            rest.extend(arguments[index:])
            break
        (flags if argument in _GLOBAL_FLAGS else rest).append(argument)
    settings.json = "--json" in flags
    settings.quiet = "-q" in flags or "--quiet" in flags
    settings.debug = "--debug" in flags
    settings.color = True if "--color" in flags else False if "--no-color" in flags else None
    if settings.color is None and settings.json:
        settings.color = False
    settings.command = next((word for word in rest if not word.startswith("-")), "")
    return flags + rest


def main(arguments: Sequence[str] | None = None) -> None:
    """Run and exit."""
    # One short run that allocates much and frees at exit: collecting cycles only costs time.
    gc.disable()
    code = execute(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; prints every error itself."""
    arguments = _hoist(arguments)
    completing = any(name.endswith("_COMPLETE") for name in os.environ)
    wanted = None if completing or _asks_help(arguments) else emit.SETTINGS.command
    try:
        result = build(wanted)(list(arguments), prog_name="ckpttool", standalone_mode=False)
        return result if isinstance(result, int) else errors.EXIT_OK
    except CkptError as error:
        if emit.SETTINGS.debug:
            raise
        emit.failure(error.problems)
        return error.exit_code
    except KeyboardInterrupt:
        emit.failure([Problem("INT001", "interrupted")])
        return errors.EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone (`| head`): nothing to say and nobody to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.EXIT_OK
    except typer.Exit as error:
        return error.exit_code
    except Exception as error:
        return _other(error)


def _asks_help(arguments: Sequence[str]) -> bool:
    """Whether the root's own help is asked for: then all commands must be there."""
    first = next((word for word in arguments if word not in _GLOBAL_FLAGS), "")
    return first.startswith("-")


def _other(error: Exception) -> int:
    # The parser's usage errors are recognized by what they can do: their class is not public.
    message = getattr(error, "format_message", None)
    if callable(message):
        if emit.SETTINGS.json:
            emit.failure([Problem("USE001", str(message()))])
        else:
            show = getattr(error, "show", None)
            if callable(show):
                show()
        return int(getattr(error, "exit_code", errors.EXIT_USAGE))
    if type(error).__name__ == "Abort":
        emit.failure([Problem("INT001", "interrupted")])
        return errors.EXIT_INTERRUPTED
    if emit.SETTINGS.debug:
        raise error
    emit.failure(
        [
            Problem(
                "BUG001",
                f"an unexpected internal error: {type(error).__name__}: {error}",
                hint="run again with --debug and report the traceback",
            )
        ]
    )
    return errors.EXIT_BUG
