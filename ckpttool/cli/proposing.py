"""What a command that lacks a mapping says: the mapping files that fit, and what to type."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ckpttool.errors import CkptError, MappingError, Problem, UsageError

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint

_NAMED = 4  # mapping files
_EXPECTED = "-m MAP, or --add-prefix, --strip-prefix, --rename, --drop, --slots"


def nothing_to_rename(path: str, like: str | None, output: str | None) -> UsageError:
    """The error of a remap without any rule, with the mappings that fit."""
    found, hint = _fitting(path, path, like, output)
    hint = hint or "give a mapping file, or one of these options"
    return UsageError(
        Problem("USE001", "nothing says what to rename", None, found, _EXPECTED, hint)
    )


def proposing(
    error: MappingError, checkpoint: Checkpoint, path: str, like: str | None, output: str | None
) -> MappingError:
    """An error of a plan without rules, with the mappings that fit."""
    found, hint = _fitting(checkpoint, path, like, output)
    if found is None:
        return error
    told = Problem("USE001", "no mapping file was given", None, found, "-m MAP", hint)
    return MappingError(*error.problems, told)


def compared_as_it_came(path: str, model: str) -> Problem:
    """A note for a proof that failed with a model that nothing was put into."""
    line = shlex.join(["ckpttool", "mappings", "detect", path, "--like", model])
    message = "the model has the weights that it came with: neither -m nor --weights was given"
    return Problem("USE001", message, hint=line)


def _fitting(
    checkpoint: Checkpoint | str, path: str, like: str | None, output: str | None
) -> tuple[str | None, str | None]:
    """Which mapping files fit, and the command for the best; None where none does."""
    from ckpttool.mapping.detecting.commands import commands
    from ckpttool.mapping.detecting.detect import detect_mappings

    try:
        found = detect_mappings(checkpoint, like=like)
    except CkptError:
        return None, None  # whatever it is, the mapping is missing first
    fitting = [item for item in found.proposals if item.fits]
    if not fitting:
        return None, None
    names = ", ".join(item.name for item in fitting[:_NAMED])
    line = " && ".join(commands(fitting[0], path, like=like, output=output))
    return f"mapping files that fit: {names}", line
