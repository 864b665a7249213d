"""Patterns over whole names, and the templates that make new names from what they caught.

``{x}`` is one component or a part of one (never empty, never across ``/``), ``{i:int}`` digits,
``*`` any text without ``/``, ``**`` any number of components.  Everything else is itself; a
backslash takes the meaning from the mark that follows it.  Where a pattern fits in several ways,
each wildcard takes as much as it can, from left to right.

Matching takes bounded time on any name: patterns whose wildcards cannot compete become a regular
expression, the others are matched with a memory of what failed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ckpttool.errors import MappingError, Problem

MAX_PATTERN = 2000  # characters
MAX_WILDCARDS = 32
_MAX_STEPS = 500_000

TEXT, STAR, NAME, INT, DEEP, DIRS = "text", "star", "name", "int", "deep", "dirs"

_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*|[0-9]+)(?::([^{}/]*))?\}")
_RUN = re.compile(r"[^\\{}*]+")
_DIGITS = re.compile(r"[0-9]*")


class Atom(NamedTuple):
    """A piece of a pattern or template: literal ``text``, or a wildcard.

    ``text`` is the literal, or the capture's name.  ``least`` is the fewest characters that a
    wildcard takes.  ``allowed`` are the only texts that a capture may take, longest first.
    """

    kind: str
    text: str = ""
    least: int = 0
    allowed: tuple[str, ...] | None = None


Atoms = tuple[Atom, ...]


class Caught(NamedTuple):
    """What a pattern's wildcards took: captures by name, ``*`` and ``**`` by position."""

    names: Mapping[str, str]
    stars: tuple[str, ...] = ()
    deeps: tuple[str, ...] = ()


class PatternError(ValueError):
    """A pattern or template that cannot be; ``position`` counts characters from 0."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class Matcher:
    """What every kind of pattern offers; ``prefix`` and ``suffix`` are literal ends of names."""

    text: str
    prefix: str = ""
    suffix: str = ""
    literal: str | None = None  # the one name it matches, where there is just one
    captures: frozenset[str] = frozenset()
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
        named = [atom.text for atom in self.atoms if atom.kind in (NAME, INT)]
        self.captures = frozenset(named)
        first, last = self.atoms[0], self.atoms[-1]
        self.prefix = first.text if first.kind == TEXT else ""
        self.suffix = last.text if last.kind == TEXT else ""
        if all(kind == TEXT for kind in kinds):
            self.literal = "".join(atom.text for atom in self.atoms)
        self._regex: re.Pattern[str] | None = None
        if self.literal is None and _is_cheap(self.atoms):
            self._regex = re.compile(_regex(self.atoms), re.DOTALL)
        self._repeated = frozenset(name for name in named if named.count(name) > 1)

    def match(self, name: str) -> Caught | None:
        """What the wildcards take if the whole of ``name`` fits, else None."""
        if self.literal is not None:
            return Caught({}) if name == self.literal else None
        if self._regex is None:
            return self.search(name)
        found = self._regex.fullmatch(name)
        return None if found is None else self._caught(found.groups())

    def search(self, name: str) -> Caught | None:
        """The same as :meth:`match`, by the general way alone."""
        values = _Search(self.atoms, self._repeated, name, self.text).run()
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
            else:
                names[atom.text] = value or ""
        return Caught(names, tuple(stars), tuple(deeps))


class Template:
    """A target name with places for what a pattern caught."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.atoms = parse_atoms(text, template=True)
        self.stars = sum(atom.kind == STAR for atom in self.atoms)
        self.deeps = sum(atom.kind in (DEEP, DIRS) for atom in self.atoms)
        self.captures = frozenset(atom.text for atom in self.atoms if atom.kind == NAME)

    def lacking(self, pattern: Matcher) -> str | None:
        """What this template needs and ``pattern`` does not catch, in words; None if nothing."""
        missing = sorted(self.captures - pattern.captures)
        if missing:
            return "{" + missing[0] + "}"
        if self.deeps > pattern.deeps:
            return "`**`" if not pattern.deeps else f"{self.deeps} times `**`"
        if self.stars > pattern.stars:
            return "`*`" if not pattern.stars else f"{self.stars} times `*`"
        return None

    def render(self, caught: Caught) -> str:
        """The name.  A ``**`` that caught no component takes its slash away with it."""
        stars = iter(caught.stars)
        deeps = iter(caught.deeps)
        out: list[str] = []
        for atom in self.atoms:
            if atom.kind == TEXT:
                out.append(atom.text)
            elif atom.kind == STAR:
                out.append(next(stars))
            elif atom.kind == NAME:
                out.append(caught.names[atom.text])
            else:
                value = next(deeps)
                if atom.kind == DIRS and value:
                    value += "/"
                elif atom.least and not value and out and out[-1].endswith("/"):
                    out[-1] = out[-1][:-1]
                out.append(value)
        return "".join(out)


def parse_atoms(text: str, *, template: bool = False) -> Atoms:
    """The pieces of a pattern; :class:`PatternError` says what is wrong and where."""
    if not text:
        raise PatternError("an empty pattern")
    if len(text) > MAX_PATTERN:
        raise PatternError(f"longer than {MAX_PATTERN} characters")
    atoms: list[Atom] = []
    for atom in _pieces(text, template):
        if atom.kind == TEXT and atoms and atoms[-1].kind == TEXT:
            atoms[-1] = Atom(TEXT, atoms[-1].text + atom.text)
        else:
            atoms.append(atom)
    return tuple(atoms)


def prefix_atoms(prefix: str) -> Atoms:
    """The plain text ``prefix``, then at least one character of whatever follows it."""
    rest = Atom(DEEP, "", 1)
    return (Atom(TEXT, prefix), rest) if prefix else (rest,)


def escape(text: str) -> str:
    """``text`` as a pattern that matches nothing else."""
    quoted = re.sub(r"([\\{}*$])", r"\\\1", text)
    return "re\\:" + quoted[3:] if quoted.startswith("re:") else quoted


def _pieces(text: str, template: bool) -> Iterator[Atom]:
    pos = 0
    while pos < len(text):
        run = _RUN.match(text, pos)
        if run:
            yield Atom(TEXT, run.group())
            pos = run.end()
            continue
        mark = text[pos]
        if mark == "\\":
            following = text[pos + 1 : pos + 2]
            if not following or following.isalnum():
                hint = ": write {1} for a group" if template and following.isdigit() else ""
                raise PatternError(
                    "a backslash stands before a mark to be taken as it is" + hint, pos
                )
            yield Atom(TEXT, following)
            pos += 2
        elif mark == "*":
            count = len(text) - pos - len(text[pos:].lstrip("*"))
            yield from _wild(text, pos, count)
            # `**/` is one piece: the slash is there only if a component is.
            pos += count + (count == 2 and _stands_alone(text, pos) and pos + 2 < len(text))
        else:
            capture = _CAPTURE.match(text, pos)
            if capture is None:
                what = "a brace that is no capture such as {x} or {i:int}; write \\{ for a brace"
                raise PatternError(what, pos)
            yield _capture(capture, template)
            pos = capture.end()


def _wild(text: str, pos: int, count: int) -> Iterator[Atom]:
    if count > 2:
        raise PatternError("more than two `*` in a row", pos)
    if count == 1:
        yield Atom(STAR)
    elif not _stands_alone(text, pos):
        yield Atom(DEEP)
    elif pos + 2 < len(text):
        yield Atom(DIRS)
    else:
        yield Atom(DEEP, "", 1)


def _stands_alone(text: str, pos: int) -> bool:
    """Whether the ``**`` at ``pos`` is a whole component."""
    return (pos == 0 or text[pos - 1] == "/") and text[pos + 2 : pos + 3] in ("", "/")


def _capture(found: re.Match[str], template: bool) -> Atom:
    name, kind = found.group(1), found.group(2)
    if template:
        if kind is not None:
            raise PatternError(f"{{{name}}} needs no type here", found.start())
        return Atom(NAME, name)
    if name.isdigit():
        raise PatternError(f"{{{name}}} is no name for a capture", found.start())
    if kind not in (None, "int"):
        raise PatternError(
            f"unknown type {kind!r}; there is {{{name}}} and {{{name}:int}}", found.start()
        )
    return Atom(INT if kind else NAME, name, 1)


def _restrict(atom: Atom, where: Mapping[str, tuple[str, ...]]) -> Atom:
    allowed = where.get(atom.text) if atom.kind in (NAME, INT) else None
    if allowed is None:
        return atom
    return atom._replace(allowed=tuple(sorted(set(allowed), key=lambda item: (-len(item), item))))


def _regex(atoms: Atoms) -> str:
    out = []
    for atom in atoms:
        if atom.kind == TEXT:
            out.append(re.escape(atom.text))
        elif atom.allowed is not None:
            out.append("(" + "|".join(map(re.escape, atom.allowed)) + ")")
        elif atom.kind == DIRS:
            out.append("(?:(.+)/)?")
        else:
            plain = {STAR: "([^/]*)", NAME: "([^/]+)", INT: "([0-9]+)"}
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
        if in_component or (atom.text in names and atom.kind in (NAME, INT)):
            return False
        if atom.allowed is not None and len(atom.allowed) > 64:
            return False
        if atom.kind in (DEEP, DIRS):
            if deep:
                return False
            deep = True
        in_component = atom.kind != DIRS
        names.add(atom.text)
    return True


class _Search:
    """One match by backtracking that never tries the same place twice."""

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
        bind = atom.kind in (NAME, INT) and atom.text in self._repeated
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
            for text in atom.allowed:
                if name.startswith(text, pos):
                    yield pos + len(text), text
            return
        if atom.kind == DIRS:
            at = name.rfind("/", pos + 1)
            while at > pos:
                yield at + 1, name[pos:at]
                at = name.rfind("/", pos + 1, at)
            yield pos, None
            return
        limit = len(name)
        if atom.kind == INT:
            limit = _digits_end(name, pos)
        elif atom.kind != DEEP:
            slash = name.find("/", pos)
            limit = slash if slash >= 0 else limit
        for end in range(limit, pos + atom.least - 1, -1):
            yield end, name[pos:end]


def _digits_end(name: str, pos: int) -> int:
    found = _DIGITS.match(name, pos)
    return found.end() if found else pos
