"""Names taken apart into texts and numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

MAX_PARTS = 40  # components of a name that are looked at; the rest is one text
_DIGITS = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,8})(?![0-9])")


class Number(NamedTuple):
    """A number in a name; ``counter``: written as TensorFlow counts, left out at 0."""

    value: int
    counter: bool


class Cutter:
    """Names taken apart into texts and numbers, with the counters of one side known."""

    def __init__(self, names: Iterable[str]) -> None:
        self._stems: set[tuple[str, str]] = set()  # (parent, component) that are number 0
        known = set()
        numbered = set()
        for name in names:
            parts = name.split("/", MAX_PARTS)[:MAX_PARTS]
            for at, part in enumerate(parts):
                parent = "/".join(parts[:at])
                known.add((parent, part))
                stem, mark, digits = part.rpartition("_")
                if mark and _DIGITS.fullmatch(digits) and digits != "0":
                    numbered.add((parent, stem))
        self._stems = known & numbered

    def cut(self, name: str) -> tuple[object, ...]:
        """Texts and :class:`Number` in turn."""
        out: list[object] = []
        parts = name.split("/", MAX_PARTS)
        for at, part in enumerate(parts):
            if at:
                out.append("/")
            parent = "/".join(parts[:at])
            stem, mark, digits = part.rpartition("_")
            if (parent, part) in self._stems:
                out += [*_numbers(part), Number(0, True)]
            elif mark and (parent, stem) in self._stems and _DIGITS.fullmatch(digits):
                out += [*_numbers(stem), Number(int(digits), True)]
            else:
                out += _numbers(part)
        return tuple(_merged(out))


def _numbers(text: str) -> Iterator[object]:
    pos = 0
    for found in _DIGITS.finditer(text):
        if found.start() > pos:
            yield text[pos : found.start()]
        yield Number(int(found[0]), False)
        pos = found.end()
    if pos < len(text):
        yield text[pos:]


def _merged(pieces: list[object]) -> Iterator[object]:
    """Neighbouring texts as one."""
    text = ""
    for piece in pieces:
        if isinstance(piece, str):
            text += piece
            continue
        if text:
            yield text
        text = ""
        yield piece
    if text:
        yield text


def skeleton(pieces: Sequence[object]) -> tuple[object, ...]:
    return tuple(piece.counter if isinstance(piece, Number) else piece for piece in pieces)


def values(pieces: Sequence[object]) -> list[int]:
    return [piece.value for piece in pieces if isinstance(piece, Number)]


def written(number: Number) -> str:
    if number.counter:
        return f"_{number.value}" if number.value else ""
    return str(number.value)
