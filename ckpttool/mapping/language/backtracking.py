"""Matching a pattern whose wildcards compete for the same text.

Backtracking that never tries the same place twice: bounded time on any name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.atoms import DEEP, DIRS, INT, NAMED, PATH, SUFFIX, TEXT, Atom, Atoms

_MAX_STEPS = 500_000
_DIGITS = re.compile(r"[0-9]*")


class Search:
    """One match."""

    def __init__(self, atoms: Atoms, repeated: frozenset[str], name: str, pattern: str) -> None:
        self._atoms = atoms
        self._repeated = repeated
        self._name = name
        self._pattern = pattern
        self._failed: set[tuple[object, ...]] = set()
        self._bound: dict[str, str] = {}
        self._values: list[str | None] = []
        self._steps = 0

    def run(self) -> tuple[str | None, ...] | None:
        """The wildcards' values, or None."""
        return tuple(self._values[::-1]) if self._at(0, 0) else None

    def _at(self, index: int, pos: int) -> bool:
        if index == len(self._atoms):
            return pos == len(self._name)
        atom = self._atoms[index]
        if atom.kind == TEXT:
            return self._name.startswith(atom.text, pos) and self._at(
                index + 1, pos + len(atom.text)
            )
        key = (index, pos, *sorted(self._bound.items()))
        if key in self._failed:
            return False
        bind = atom.kind in NAMED and atom.text in self._repeated
        known = bind and atom.text in self._bound
        for end, value in self._ends(atom, pos, self._bound[atom.text] if known else None):
            self._steps += 1
            if self._steps > _MAX_STEPS:
                raise MappingError(
                    Problem(
                        "MAP004",
                        "a pattern fits a name in too many ways",
                        self._pattern,
                        f"a name of {len(self._name)} characters",
                        hint="use fewer wildcards, or repeat no capture",
                    )
                )
            if bind and not known:
                self._bound[atom.text] = value or ""
            if self._at(index + 1, end):
                self._values.append(value)
                return True
        if bind and not known:
            self._bound.pop(atom.text, None)
        self._failed.add(key)
        return False

    def _ends(self, atom: Atom, pos: int, known: str | None) -> Iterator[tuple[int, str | None]]:
        """Where the wildcard may end, furthest first, and what it then holds."""
        name = self._name
        if known is not None:
            if name.startswith(known, pos):
                yield pos + len(known), known
            return
        if atom.allowed is not None:
            for text in atom.allowed.at(name, pos):
                yield pos + len(text), text
            return
        if atom.kind == DIRS:
            at = name.rfind("/", pos + 1)
            while at > pos:
                yield at + 1, name[pos:at]
                at = name.rfind("/", pos + 1, at)
            yield pos, None
            return
        if atom.kind == SUFFIX:
            if name.startswith("_", pos) and name[pos + 1 : pos + 2] not in ("", "0"):
                for end in range(_digits_end(name, pos + 1), pos + 1, -1):
                    yield end, name[pos:end]
            yield pos, ""
            return
        limit = len(name)
        if atom.kind == INT:
            limit = _digits_end(name, pos)
        elif atom.kind not in (DEEP, PATH):
            slash = name.find("/", pos)
            limit = slash if slash >= 0 else limit
        for end in range(limit, pos + atom.least - 1, -1):
            yield end, name[pos:end]


def _digits_end(name: str, pos: int) -> int:
    found = _DIGITS.match(name, pos)
    return found.end() if found else pos
