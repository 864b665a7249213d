"""The entry point: global flags, one catch for every error, the exit code.

A command line that is nothing but a command and its checkpoint (``ckpttool tree CKPT``) goes
straight to the command's action: importing the option parser takes longer than reading the
checkpoint.  Everything else, help and errors included, goes through Typer.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from ckpttool import errors
from ckpttool.cli import emit
from ckpttool.errors import CkptError, Problem

# Global flags are understood before and after the command's name.
GLOBAL_FLAGS = frozenset(("--json", "--color", "--no-color", "-q", "--quiet", "--debug"))

# Commands that can do without the parser: command to (module, action, number of arguments).
_PLAIN = {
    "tree": ("ckpttool.cli.actions", "show_tree", 1),
    "collections": ("ckpttool.cli.actions", "show_collections", 1),
    "diff": ("ckpttool.cli.diff_action", "show_diff", 2),
    "verify": ("ckpttool.cli.verify_action", "show_verify", 1),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command line and exit with its code."""
    # One short run that allocates much and frees at exit: collecting cycles only costs time.
    gc.disable()
    code = execute(sys.argv[1:] if arguments is None else arguments)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        _drop_output()
    except OSError as error:
        code = _no_room(error)
    live = sys.modules.get("ckpttool.live.models")
    if live is not None:
        live.remove_folders()
    # Not sys.exit: freeing a large listing object by object takes as long as reading it did.
    os._exit(code)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; prints every error itself."""
    flags, rest = _hoist(arguments)
    try:
        if _is_plain(rest):
            module, action, _ = _PLAIN[rest[0]]
            result = getattr(import_module(module), action)(*rest[1:])
        else:
            from ckpttool.cli.app import run

            result = run(flags, rest)
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
        _drop_output()
        return errors.EXIT_OK
    except OSError as error:
        # Files are dealt with where they are read and written, by their names: this is stdout.
        return _other(error) if error.filename else _no_room(error)
    except Exception as error:
        return _other(error)


def _is_plain(words: Sequence[str]) -> bool:
    """Whether a command line is a command of ``_PLAIN`` and its arguments, and nothing else."""
    if not words or words[0] not in _PLAIN or any(word.startswith("-") for word in words):
        return False
    return len(words) == 1 + _PLAIN[words[0]][2]


def _hoist(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Read the global flags wherever they stand; return them and the other words."""
    settings = emit.SETTINGS
    flags: list[str] = []
    rest: list[str] = []
    for index, argument in enumerate(arguments):
        if argument == "--":
            rest.extend(arguments[index:])
            break
        (flags if argument in GLOBAL_FLAGS else rest).append(argument)
    settings.json = "--json" in flags
    settings.quiet = "-q" in flags or "--quiet" in flags
    settings.debug = "--debug" in flags
    settings.color = True if "--color" in flags else False if "--no-color" in flags else None
    settings.command = next((word for word in rest if not word.startswith("-")), "")
    return flags, rest


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


def _no_room(error: OSError) -> int:
    """Standard output takes no more (`> /dev/full`): say so where it may still be seen."""
    _drop_output()
    emit.SETTINGS.json = False
    emit.failure([Problem("OUT002", "standard output cannot be written", None, error.strerror)])
    return errors.EXIT_OUTPUT


def _drop_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush cannot fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
