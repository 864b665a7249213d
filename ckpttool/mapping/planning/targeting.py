"""Which format an output has: what the command line says, the mapping, or the output's name."""

from __future__ import annotations

from ckpttool.errors import MappingError, Problem, UsageError
from ckpttool.mapping.language.document import TARGETS, Text
from ckpttool.names import nearest

# Longer suffixes first.
SUFFIXES = (
    (".weights.json", "keras"),
    (".weights.h5", "keras"),
    (".hdf5", "keras-h5"),
    (".h5", "keras-h5"),
    (".keras", "keras-archive"),
    (".safetensors", "safetensors"),
    (".npz", "npz"),
)
DEFAULT = "tf1"


def target_of(to: str | None, wanted: Text | None, output: str | None) -> str:
    """The target of ``--to``, of a mapping's ``target``, and of an output's name.

    The command line wins over the mapping; neither may contradict the output's name.  Raises
    USE001, USE003 or MAP009.
    """
    by_name = next((name for end, name in SUFFIXES if (output or "").endswith(end)), None)
    if to is not None:
        if to not in TARGETS:
            close = nearest(to, TARGETS, 1)
            hint = f"did you mean {close[0]}?" if close else None
            message = "--to does not know this format"
            raise UsageError(Problem("USE003", message, None, to, ", ".join(TARGETS), hint))
        if by_name not in (None, to):
            message = "the output's name is one of another format"
            raise UsageError(Problem("USE001", message, output, to, by_name))
        return to
    if wanted is not None:
        if by_name not in (None, wanted.text):
            message = "the output's name is one of another format than the mapping's target"
            hint = f"--to {by_name} if you mean it"
            where = wanted.where or output
            raise MappingError(Problem("MAP009", message, where, by_name, wanted.text, hint))
        return wanted.text
    return by_name or DEFAULT


def parse_size(text: str) -> int:
    """Bytes of ``5GB``, ``200MiB`` or a plain number, as ``--max-shard-size`` has them."""
    import re

    found = re.fullmatch(r"\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([kKMGT]?)(i?)[bB]?\s*", text)
    if found is None:
        raise UsageError(Problem("USE003", "not a size", None, text, "as 5GB or 200MiB"))
    base = 1024 if found[3] else 1000
    size = int(float(found[1]) * base ** " KMGT".index(found[2].upper() or " "))
    if size < 1:
        raise UsageError(Problem("USE003", "a size is at least one byte", None, text))
    return size
