"""The ``checkpoint`` state file: which checkpoint is the latest, and which are kept.

A text-format ``CheckpointState`` (``tensorflow:python/training/checkpoint_state.proto``).  Read
leniently: with CRLF, a byte order mark, raw backslashes of a Windows path, or a broken last line
the paths can still be told.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ckpttool.storage.files import Files, read_all

MAX_BYTES = 16 << 20
NAME = "checkpoint"

_LITERAL = r'(?:"(?:[^"\\\n]|\\.)*"|' + r"'(?:[^'\\\n]|\\.)*')"
_FIELD = re.compile(
    rf"\b((?:all_)?model_checkpoint_paths?)\s*:\s*\[?\s*({_LITERAL}(?:[\s,]*{_LITERAL})*)"
)
_ONE = re.compile(_LITERAL)
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9A-Fa-f]{1,2})|(.))", re.DOTALL)
_SIMPLE = {"n": "\n", "r": "\r", "t": "\t", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
# What a drive letter or a share begins with: then backslashes separate, doubled or not.
_WINDOWS = re.compile(r"(?:[A-Za-z]:|\\)\\")


class CheckpointState(NamedTuple):
    """``latest`` is empty if the file names none; ``kept`` are all paths, oldest first."""

    latest: str
    kept: tuple[str, ...]


def read_state(path: str, files: Files | None = None) -> CheckpointState:
    """Read a state file; one that names nothing gives an empty state.  Raises InputError."""
    return parse_state(read_all(path, MAX_BYTES, files))


def parse_state(raw: bytes) -> CheckpointState:
    """The state in a file's bytes.  A repeated ``model_checkpoint_path`` counts as its last."""
    text = raw.decode("utf-8", "surrogateescape").lstrip("\ufeff")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    latest = ""
    kept = []
    for field, literals in _FIELD.findall("\n".join(lines)):
        values = [_unescape(item[1:-1]) for item in _ONE.findall(literals)]
        if field == "model_checkpoint_path":
            latest = "".join(values)
        elif field == "all_model_checkpoint_paths":
            # `["a", "b"]` lists; `"a" "b"` is one literal in two pieces.
            kept += values if "," in _ONE.sub("", literals) else ["".join(values)]
    return CheckpointState(latest, tuple(kept))


def _unescape(literal: str) -> str:
    if _WINDOWS.match(literal):
        return literal.replace("\\\\", "\\")
    if "\\" not in literal:
        return literal
    # Octal and hexadecimal escapes give bytes of UTF-8, so the whole is put together as bytes.
    out = bytearray()
    last = 0
    for match in _ESCAPE.finditer(literal):
        out += literal[last : match.start()].encode("utf-8", "surrogateescape")
        octal, hexadecimal, other = match.groups()
        if octal is not None:
            out.append(int(octal, 8) & 0xFF)
        elif hexadecimal is not None:
            out.append(int(hexadecimal, 16))
        else:
            out += _SIMPLE.get(other, other).encode("utf-8", "surrogateescape")
        last = match.end()
    out += literal[last:].encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "surrogateescape")
