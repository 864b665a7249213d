"""Patterns and templates in pieces: literal text, wildcards, and numbers that are computed.

In a pattern ``{x}`` is one component or a part of one (never empty, never across ``/``),
``{i:int}`` digits, ``{i:suffix}`` TensorFlow's counter (nothing for 0, then ``_1``, ``_2``),
``{p:path}`` any text, ``*`` any text without ``/``, ``**`` any number of components.  In a template
``{p:flat}`` is a capture's text with ``_`` for each ``/``.  Everything else is itself; a backslash
takes the meaning from the mark that follows it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import NamedTuple

from ckpttool.mapping.language.numbers import Formula, Term, parse_formula

MAX_PATTERN = 2000  # characters

TEXT, STAR, DEEP, DIRS = "text", "star", "deep", "dirs"
NAME, INT, SUFFIX, PATH = "name", "int", "suffix", "path"
FLAT = "flat"  # in templates alone
NAMED = frozenset((NAME, INT, SUFFIX, PATH))
_TYPES = {None: NAME, "int": INT, "suffix": SUFFIX, "path": PATH}

_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*|[0-9]+)(?::([^{}/]*))?\}")
_PLACE = re.compile(r"\{([^{}:/\\]+)(?::([^{}/\\]*))?\}")
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?\Z|[0-9]+\Z")
_RUN = re.compile(r"[^\\{}*]+")


class Allowed(tuple[str, ...]):
    """The only texts that a capture may take, longest first; as fast for many as for a few."""

    @cached_property
    def _texts(self) -> frozenset[str]:
        return frozenset(self)

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted({len(text) for text in self}, reverse=True))

    def at(self, name: str, pos: int) -> Iterator[str]:
        """Those that stand in a name from a place on, longest first."""
        for length in self._lengths:
            text = name[pos : pos + length]
            if text in self._texts:
                yield text


class Atom(NamedTuple):
    """A piece of a pattern or template: literal ``text``, or a wildcard.

    ``text`` is the literal, or the capture's name.  ``least`` is the fewest characters that a
    wildcard takes.  ``allowed`` are the only texts that a capture may take, longest first.
    ``formula`` computes the number that a template puts here.
    """

    kind: str
    text: str = ""
    least: int = 0
    allowed: Allowed | None = None
    formula: Formula | None = None


Atoms = tuple[Atom, ...]


class Caught(NamedTuple):
    """What a pattern's wildcards took: captures by name, ``*`` and ``**`` by position.

    A ``{i:suffix}`` is caught as its number.
    """

    names: Mapping[str, str]
    stars: tuple[str, ...] = ()
    deeps: tuple[str, ...] = ()


class PatternError(ValueError):
    """A pattern or template that cannot be; ``position`` counts characters from 0."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


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


def suffix_of(number: int | str) -> str:
    """A counter's number as TensorFlow appends it: nothing for 0, then ``_1``."""
    return f"_{number}" if int(number) else ""


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
            found = (_PLACE if template else _CAPTURE).match(text, pos)
            if found is None:
                what = "a brace that is no capture such as {x} or {i:int}; write \\{ for a brace"
                raise PatternError(what, pos)
            yield _place(found) if template else _capture(found)
            pos = found.end()


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


def _capture(found: re.Match[str]) -> Atom:
    name, kind = found.group(1), found.group(2)
    if name.isdigit():
        raise PatternError(f"{{{name}}} is no name for a capture", found.start())
    if kind not in _TYPES:
        raise PatternError(
            f"unknown type {kind!r}; there is {{{name}}}, {{{name}:int}}, {{{name}:suffix}} "
            f"and {{{name}:path}}",
            found.start(),
        )
    return Atom(_TYPES[kind], name, 0 if kind == "suffix" else 1)


def _place(found: re.Match[str]) -> Atom:
    """A place of a template: a capture's text, or a number made from captures."""
    text, kind = found.group(1), found.group(2)
    if kind == FLAT and _PLAIN.match(text):
        return Atom(FLAT, text)
    if kind not in (None, "suffix"):
        hint = ": `to` needs no type here" if _PLAIN.match(text) else ""
        known = f"{{{text}:suffix}} or {{{text}:flat}}"
        raise PatternError(f"{{{text}:{kind}}} can only be {known}{hint}", found.start())
    if _PLAIN.match(text) and kind is None:
        return Atom(NAME, text)
    if text.isdecimal():  # a group of a regular expression
        return Atom(SUFFIX, text, formula=Formula((Term(1, (text,)),)))
    try:
        formula = parse_formula(text)
    except ValueError as error:
        raise PatternError(str(error), found.start()) from None
    return Atom(SUFFIX if kind else INT, text, formula=formula)
