"""Patterns over whole names.

Where a pattern fits in several ways, each wildcard takes as much as it can, from left to right.
Matching takes bounded time on any name: patterns whose wildcards cannot compete become a regular
expression, the others are matched with a memory of what failed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from ckpttool.mapping.language.atoms import (
    DEEP,
    DIRS,
    INT,
    MAX_PATTERN,
    NAME,
    NAMED,
    PATH,
    STAR,
    SUFFIX,
    TEXT,
    Allowed,
    Atom,
    Atoms,
    Caught,
    PatternError,
    escape,
    parse_atoms,
    prefix_atoms,
    suffix_of,
)
from ckpttool.mapping.language.backtracking import Search
from ckpttool.mapping.language.templates import Template

__all__ = [
    "DEEP",
    "DIRS",
    "INT",
    "MAX_PATTERN",
    "NAME",
    "PATH",
    "STAR",
    "SUFFIX",
    "TEXT",
    "Atom",
    "Atoms",
    "Caught",
    "Matcher",
    "Pattern",
    "PatternError",
    "Template",
    "escape",
    "parse_atoms",
    "prefix_atoms",
]

MAX_WILDCARDS = 32
_MAX_CHOICES = 64  # texts of one capture that a regular expression lists


class Matcher:
    """What every kind of pattern offers; ``prefix`` and ``suffix`` are literal ends of names."""

    text: str
    prefix: str = ""
    suffix: str = ""
    literal: str | None = None  # the one name it matches, where there is just one
    captures: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()  # the captures that are numbers wherever it matches
    loose: bool = False  # whether any other capture may turn out to be one
    paths: frozenset[str] = frozenset()  # the captures that may hold a slash
    stars: int = 0
    deeps: int = 0

    def match(self, name: str) -> Caught | None:
        """What the wildcards take if the whole of ``name`` fits, else None."""
        raise NotImplementedError


class Pattern(Matcher):
    """A compiled pattern of literals and wildcards."""

    def __init__(
        self, text: str, where: Mapping[str, tuple[str, ...]] | None = None, *, atoms: Atoms = ()
    ) -> None:
        """Parse ``text`` (or take ``atoms``); ``where`` limits captures to some texts."""
        self.text = text
        self.atoms = atoms or parse_atoms(text)
        if where:
            self.atoms = tuple(_restrict(atom, where) for atom in self.atoms)
        kinds = [atom.kind for atom in self.atoms]
        if len(kinds) - kinds.count(TEXT) > MAX_WILDCARDS:
            raise PatternError(f"more than {MAX_WILDCARDS} wildcards")
        self.stars = kinds.count(STAR)
        self.deeps = kinds.count(DEEP) + kinds.count(DIRS)
        named = [atom.text for atom in self.atoms if atom.kind in NAMED]
        self.captures = frozenset(named)
        self.numbers = _of_kind(self.atoms, INT) | _of_kind(self.atoms, SUFFIX)
        self.paths = _of_kind(self.atoms, PATH)
        _check_kinds(self.atoms)
        first, last = self.atoms[0], self.atoms[-1]
        self.prefix = first.text if first.kind == TEXT else ""
        self.suffix = last.text if last.kind == TEXT else ""
        if all(kind == TEXT for kind in kinds):
            self.literal = "".join(atom.text for atom in self.atoms)
        self._cheap = self.literal is None and _is_cheap(self.atoms)
        self._regex: re.Pattern[str] | None = None  # most rules of most files meet no name
        self._repeated = frozenset(name for name in named if named.count(name) > 1)

    def match(self, name: str) -> Caught | None:
        """What the wildcards take if the whole of ``name`` fits, else None."""
        if self.literal is not None:
            return Caught({}) if name == self.literal else None
        if not self._cheap:
            return self.search(name)
        if self._regex is None:
            self._regex = re.compile(_regex(self.atoms), re.DOTALL)
        found = self._regex.fullmatch(name)
        return None if found is None else self._caught(found.groups())

    def search(self, name: str) -> Caught | None:
        """The same as :meth:`match`, by the general way alone."""
        values = Search(self.atoms, self._repeated, name, self.text).run()
        return None if values is None else self._caught(values)

    def _caught(self, values: tuple[str | None, ...]) -> Caught:
        names: dict[str, str] = {}
        stars: list[str] = []
        deeps: list[str] = []
        wild = (atom for atom in self.atoms if atom.kind != TEXT)
        for atom, value in zip(wild, values, strict=True):
            if atom.kind == STAR:
                stars.append(value or "")
            elif atom.kind in (DEEP, DIRS):
                deeps.append(value or "")
            elif atom.kind == SUFFIX:
                names[atom.text] = (value or "")[1:] or "0"
            else:
                names[atom.text] = value or ""
        return Caught(names, tuple(stars), tuple(deeps))


def _of_kind(atoms: Atoms, kind: str) -> frozenset[str]:
    return frozenset(atom.text for atom in atoms if atom.kind == kind)


def _check_kinds(atoms: Atoms) -> None:
    kinds: dict[str, str] = {}
    for atom in atoms:
        if atom.kind in NAMED and kinds.setdefault(atom.text, atom.kind) != atom.kind:
            raise PatternError(f"{{{atom.text}}} is there with two types")


def _restrict(atom: Atom, where: Mapping[str, tuple[str, ...]]) -> Atom:
    allowed = where.get(atom.text) if atom.kind in NAMED else None
    if allowed is None:
        return atom
    if atom.kind == SUFFIX:
        allowed = tuple(suffix_of(item) for item in allowed if item.isdecimal())
    return atom._replace(allowed=Allowed(sorted(set(allowed), key=lambda item: (-len(item), item))))


def _regex(atoms: Atoms) -> str:
    plain = {
        STAR: "([^/]*)",
        NAME: "([^/]+)",
        INT: "([0-9]+)",
        SUFFIX: "((?:_[1-9][0-9]*)?)",
        PATH: "(.+)",
        DIRS: "(?:(.+)/)?",
    }
    out = []
    for atom in atoms:
        if atom.kind == TEXT:
            out.append(re.escape(atom.text))
        elif atom.allowed is not None:
            out.append("(" + "|".join(map(re.escape, atom.allowed)) + ")")
        else:
            out.append(plain.get(atom.kind) or ("(.+)" if atom.least else "(.*)"))
    return "".join(out)


def _is_cheap(atoms: Atoms) -> bool:
    """Whether no two wildcards compete for the same text, so that a regex cannot run away."""
    deep = False
    in_component = False
    names: set[str] = set()
    for atom in atoms:
        if atom.kind == TEXT:
            in_component = in_component and "/" not in atom.text
            continue
        if in_component or (atom.text in names and atom.kind in NAMED):
            return False
        if atom.allowed is not None and len(atom.allowed) > _MAX_CHOICES:
            return False
        if atom.kind in (DEEP, DIRS, PATH):
            if deep:
                return False
            deep = True
        in_component = atom.kind != DIRS
        names.add(atom.text)
    return True
