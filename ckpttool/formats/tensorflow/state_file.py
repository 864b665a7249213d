"""The ``checkpoint`` file of a directory: which checkpoints there are, and which is the latest.

A ``CheckpointState`` in protobuf's text format (``tensorflow:python/training/
checkpoint_state.proto``).  Read more leniently than protobuf does: a byte order mark, CRLF, unknown
fields and Windows paths with single backslashes are met in files that people edited or moved.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ckpttool.errors import corrupt
from ckpttool.names import decode_name
from ckpttool.storage.files import Files, read_all

MAX_BYTES = 16 << 20
STATE_START = (
    rb"(?:\xef\xbb\xbf)?(?:\s|#[^\n]*\n)*(?:all_)?model_checkpoint_(?:path|timestamp)s?\s*:"
)

_TOKEN = (
    rb"\s+|\#[^\n]*|[;,]"  # nothing
    rb"|(?P<field>[A-Za-z_][A-Za-z0-9_]*)\s*(?P<colon>:?)"
    rb'|(?P<literal>"(?:[^"\\\n]|\\.)*"|\'(?:[^\'\\\n]|\\.)*\')'
    rb"|(?P<number>[-+]?[0-9.][0-9A-Za-z.+-]*)"
    rb"|[\[\]]"
)
_ESCAPE = (
    rb"\\(?:(?P<octal>[0-7]{1,3})|[xX](?P<hex>[0-9a-fA-F]{1,2})|u(?P<u>[0-9a-fA-F]{4})"
    rb"|U(?P<U>[0-9a-fA-F]{8})|(?P<plain>[abfnrtv\\'\"?]))"
)
_PLAIN = dict(zip(b"abfnrtv\\'\"?", b"\a\b\f\n\r\t\v\\'\"?", strict=True))
_DRIVE = rb"[A-Za-z]:\\(?!\\)"


class CheckpointState(NamedTuple):
    """``latest`` is the path of the newest checkpoint, ``all`` those that were kept, oldest first.

    Paths are as written: relative to the file's directory, or absolute, perhaps of another
    machine.  ``timestamps`` are seconds since 1970, one for each of ``all``, where they are known.
    """

    latest: str | None
    all: tuple[str, ...] = ()
    timestamps: tuple[float, ...] = ()


def read_state(path: str, files: Files | None = None) -> CheckpointState:
    """Read a state file; :class:`CorruptError` if it is none."""
    return parse_state(read_all(path, MAX_BYTES, files), path)


def parse_state(data: bytes, path: str) -> CheckpointState:
    """Parse the bytes of a state file; ``path`` is for messages."""
    # A field is left open until the next one, so that adjacent literals and lists both work.
    values: dict[str, list[list[bytes]]] = {}
    target: list[list[bytes]] | None = None
    token = re.compile(_TOKEN, re.DOTALL)
    pos = 3 if data.startswith(b"\xef\xbb\xbf") else 0
    joins = False
    while pos < len(data):
        match = token.match(data, pos)
        if match is None:
            raise corrupt("the state file cannot be parsed", path, pos, found=_shown(data, pos))
        if match["field"] is not None:
            if match["colon"]:
                target = values.setdefault(match["field"].decode(), [])
            elif target is not None and not target:
                target.append([match["field"]])  # a bare word as value: true, inf
            else:
                raise corrupt("the state file cannot be parsed", path, pos, found=_shown(data, pos))
            joins = False
        elif match["literal"] is not None or match["number"] is not None:
            if target is None:
                raise corrupt("a value without a field in the state file", path, pos)
            piece = match["number"] or _unescape(match["literal"][1:-1])
            if joins:
                target[-1].append(piece)
            else:
                target.append([piece])
            joins = match["literal"] is not None
        elif match[0] in (b",", b";", b"[", b"]"):
            joins = False
        pos = match.end()
    return _state(values, path)


def _state(values: dict[str, list[list[bytes]]], path: str) -> CheckpointState:
    latest = values.get("model_checkpoint_path", [])
    every = values.get("all_model_checkpoint_paths", [])
    if not latest and not every:
        raise corrupt("the state file names no checkpoint", path)
    names = tuple(decode_name(b"".join(pieces)) for pieces in every)
    chosen = decode_name(b"".join(latest[-1])) if latest else names[-1]
    times = []
    for pieces in values.get("all_model_checkpoint_timestamps", []):
        try:
            times.append(float(b"".join(pieces)))
        except ValueError:
            break
    return CheckpointState(chosen or None, names, tuple(times))


def _unescape(text: bytes) -> bytes:
    """The bytes of a literal.  One that cannot be an escaped text is a path with backslashes."""
    if b"\\" not in text or re.match(_DRIVE, text):
        return text
    out = []
    escape = re.compile(_ESCAPE)
    pos = 0
    while (at := text.find(b"\\", pos)) >= 0:
        match = escape.match(text, at)
        if match is None:
            return text
        out.append(text[pos:at])
        out.append(_one(match))
        pos = match.end()
    out.append(text[pos:])
    return b"".join(out)


def _one(match: re.Match[bytes]) -> bytes:
    if match["octal"]:
        return bytes([int(match["octal"], 8) & 0xFF])
    if match["hex"]:
        return bytes([int(match["hex"], 16)])
    point = match["u"] or match["U"]
    if point:
        number = int(point, 16)
        # A lone surrogate or a number beyond Unicode is no character: kept as written.
        valid = number < 0xD800 or 0xDFFF < number < 0x110000
        return chr(number).encode() if valid else match[0]
    return bytes([_PLAIN[match["plain"][0]]])


def _shown(data: bytes, pos: int) -> str:
    return repr(data[pos : pos + 20])[1:]
