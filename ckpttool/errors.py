"""One tree of errors: each knows its code, its place and the exit code of a command that meets it.

A :class:`Problem` is the single object behind both the console text and the JSON entry.  Library
functions raise a :class:`CkptError` that carries one or more problems; nothing here prints.
"""

from __future__ import annotations

from typing import NamedTuple

# Exit codes, as documented for users.  Plain integers: they go to ``sys.exit`` as they are.
EXIT_OK = 0
EXIT_FINDING = 1
EXIT_USAGE = 2
EXIT_INPUT = 3
EXIT_MAPPING = 4
EXIT_OUTPUT = 5
EXIT_EXTRA = 6
EXIT_BUG = 70
EXIT_INTERRUPTED = 130

# Every code that a problem may carry, with what it means; the reference page is made from this.
CODES: dict[str, str] = {
    "INP001": "no checkpoint at this path",
    "INP002": "the path could not be read",
    "INP003": "the file is of another kind than a checkpoint",
    "INP004": "the file's structure is damaged",
    "INP005": "a stored checksum does not match the bytes",
    "INP006": "a data shard is missing",
    "INP007": "a data shard is shorter than the index says",
    "INP008": "the slices of a partitioned variable do not cover it exactly",
    "INP009": "a value in the file exceeds a safety cap",
    "INP010": "no tensor of this name",
    "INP011": "the tensor's dtype cannot be decoded",
    "INP012": "the checkpoint's data is not here, only its index or graph",
    "INP013": "several checkpoints are here and none is named",
    "INP014": "the graph file could not be parsed",
    "INP015": "the state file names a checkpoint that is not here",
    "INP016": "the file refers to data outside itself, which is not followed",
    "INP017": "the graph and the checkpoint do not agree",
    "INP018": "TensorFlow reads something else, or nothing",
    "INP019": "checkpoints to be averaged do not hold the same tensors",
    "INP020": "the last of several checkpoints is not the newest",
    "INP021": "fewer checkpoints are there than were asked for",
    "USE001": "the command line cannot be understood",
    "USE002": "the slice does not fit the tensor",
    "USE003": "unknown option value",
    "MAP001": "the mapping file is not valid YAML",
    "MAP002": "the mapping file has an unknown or misplaced key",
    "MAP003": "a value in the mapping file has the wrong type",
    "MAP004": "a pattern is not valid",
    "MAP005": "a capture used in `to` is not in `from`",
    "MAP006": "no mapping file of this name",
    "MAP007": "the mapping file exceeds a safety cap",
    "MAP009": "the output's name is one of another format than the mapping's target",
    "MAP010": "a source name is matched by no rule",
    "MAP011": "two sources would take the same target name",
    "MAP012": "a rule matches nothing",
    "MAP013": "a target name is not valid for the output format",
    "MAP014": "a dropped variable still has slots that are kept",
    "MAP015": "target names differ by case only",
    "MAP016": "a mapping file may not be included here",
    "MAP017": "a rule gives another number of arrays than it has targets",
    "MAP018": "a transform does not fit its arrays",
    "MAP019": "optimizer slots cannot follow their variable through a transform",
    "MAP020": "no transform of this name",
    "MAP021": "an argument of a transform is not valid",
    "MAP022": "the sources of a rule are not complete",
    "MAP023": "a parameter has to be given",
    "MAP024": "a number in a name cannot be",
    "MAP025": "a transform cannot represent a value",
    "MAP026": "a variable has no moving average to be used",
    "MAP027": "a damaged tensor is left out",
    "MAP028": "the mapping cannot be undone",
    "MAP029": "optimizer state cannot be carried over",
    "MAP030": "a variable of the target gets no value",
    "MAP031": "the target has no variable of this name",
    "MAP032": "the shape of a target is another",
    "MAP033": "the dtype of a target is another",
    "MAP034": "the converted model computes something else than the graph",
    "OUT001": "the output exists already",
    "OUT002": "the output could not be written",
    "OUT003": "the output would overwrite its own source",
    "OUT004": "the written output does not read back as planned",
    "OUT005": "the output format cannot hold a tensor",
    "OUT006": "a graph file does not fit the renamed tensors",
    "EXT001": "an optional extra is not installed",
    "BUG001": "an unexpected internal error",
    "INT001": "interrupted",
}


class Problem(NamedTuple):
    """What went wrong, where, and what to do next.

    ``where`` is a path, a path with a byte offset (``model.index: byte 48``) or a mapping position
    (``maps/bert.yaml:14:5``).  ``hint`` is a sentence or a command to try.
    """

    code: str
    message: str
    where: str | None = None
    found: str | None = None
    expected: str | None = None
    hint: str | None = None


class CkptError(Exception):
    """Base of every error that a user can cause or meet; carries its problems and exit code."""

    exit_code = EXIT_INPUT

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(_sentence(problem) for problem in problems))
        self.problems = problems


class UsageError(CkptError):
    """The call itself is wrong: an option, a slice, a name pattern."""

    exit_code = EXIT_USAGE


class InputError(CkptError):
    """The input is missing, unreadable, corrupt or of another kind."""

    exit_code = EXIT_INPUT


class TensorNotFoundError(InputError, KeyError):
    """No tensor of that name in this checkpoint."""

    def __str__(self) -> str:  # KeyError would show the repr of its argument
        return "; ".join(_sentence(problem) for problem in self.problems)


class CorruptError(InputError):
    """A file's structure or a checksum is wrong."""


class MappingError(CkptError):
    """The mapping file or the plan made from it is invalid."""

    exit_code = EXIT_MAPPING


class OutputError(CkptError):
    """The output exists, cannot be written, or did not read back as planned."""

    exit_code = EXIT_OUTPUT


class ExtraMissingError(CkptError):
    """An optional dependency is needed and is not installed."""

    exit_code = EXIT_EXTRA


def corrupt(
    message: str,
    path: str,
    offset: int | None = None,
    *,
    code: str = "INP004",
    found: object = None,
    expected: object = None,
    hint: str | None = None,
) -> CorruptError:
    """A :class:`CorruptError` for ``path``, with the byte ``offset`` where it is known."""
    where = path if offset is None else f"{path}: byte {offset}"
    return CorruptError(
        Problem(
            code,
            message,
            where,
            None if found is None else str(found),
            None if expected is None else str(expected),
            hint,
        )
    )


def _sentence(problem: Problem) -> str:
    parts = [problem.message]
    if problem.where:
        parts.append(f"at {problem.where}")
    if problem.found is not None:
        parts.append(f"found {problem.found}")
    if problem.expected is not None:
        parts.append(f"expected {problem.expected}")
    return f"[{problem.code}] " + ", ".join(parts)
