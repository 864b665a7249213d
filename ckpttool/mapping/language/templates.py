"""The names that a rule makes from what its pattern caught."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ckpttool.mapping.language.atoms import (
    DEEP,
    DIRS,
    FLAT,
    NAME,
    STAR,
    SUFFIX,
    TEXT,
    Atoms,
    Caught,
    PatternError,
    parse_atoms,
    suffix_of,
)
from ckpttool.mapping.language.numbers import NumberError

if TYPE_CHECKING:
    from ckpttool.mapping.language.patterns import Matcher


class Template:
    """A name with places for what a pattern caught.

    ``{x}`` is a capture's text, ``{i+1}`` a number made from captures, ``{i:suffix}`` such a
    number as TensorFlow appends it, ``{p:flat}`` a capture's text with ``_`` for each ``/``; ``*``
    and ``**`` are those of the pattern, in their order.
    """

    def __init__(self, text: str, *, atoms: Atoms = ()) -> None:
        """Parse ``text``, or take ``atoms``."""
        self.text = text
        self.atoms = atoms or parse_atoms(text, template=True)
        self.stars = sum(atom.kind == STAR for atom in self.atoms)
        self.deeps = sum(atom.kind in (DEEP, DIRS) for atom in self.atoms)
        self.numbers = frozenset(
            name for atom in self.atoms if atom.formula for name in atom.formula.names
        )
        texts = frozenset(atom.text for atom in self.atoms if atom.kind in (NAME, FLAT))
        self.captures = texts | self.numbers

    def lacking(self, pattern: Matcher, more: frozenset[str] = frozenset()) -> str | None:
        """What this template needs and ``pattern`` does not catch, in words; None if nothing.

        ``more`` are names that something else than the pattern gives.
        """
        missing = sorted(self.captures - pattern.captures - more)
        if missing:
            return "{" + missing[0] + "}"
        if self.deeps > pattern.deeps:
            return "`**`" if not pattern.deeps else f"{self.deeps} times `**`"
        if self.stars > pattern.stars:
            return "`*`" if not pattern.stars else f"{self.stars} times `*`"
        return None

    def render(self, caught: Caught, values: Mapping[str, str] | None = None) -> str:
        """The name, with ``values`` for the captures where they are not as they were caught.

        A ``**`` that caught no component takes its slash away with it.  Raises
        :class:`PatternError` where a number cannot be.
        """
        names = caught.names if values is None else values
        stars = iter(caught.stars)
        deeps = iter(caught.deeps)
        out: list[str] = []
        for atom in self.atoms:
            if atom.kind == TEXT:
                out.append(atom.text)
            elif atom.kind == STAR:
                out.append(next(stars))
            elif atom.formula is not None:
                try:
                    number = atom.formula.value(names)
                except NumberError as error:
                    raise PatternError(str(error)) from None
                out.append(suffix_of(number) if atom.kind == SUFFIX else str(number))
            elif atom.kind in (DEEP, DIRS):
                value = next(deeps)
                if atom.kind == DIRS and value:
                    value += "/"
                elif atom.least and not value and out and out[-1].endswith("/"):
                    out[-1] = out[-1][:-1]
                out.append(value)
            elif atom.kind == FLAT:
                out.append(names[atom.text].replace("/", "_"))
            else:
                out.append(names[atom.text])
        return "".join(out)


def as_template(text: str, atoms: Atoms) -> Template:
    """The pattern ``text`` as a template that gives back the names that it matches."""
    from ckpttool.mapping.language.numbers import Formula, Term

    made = tuple(
        atom._replace(allowed=None, formula=Formula((Term(1, (atom.text,)),)))
        if atom.kind == SUFFIX
        else atom._replace(kind=NAME, allowed=None)
        if atom.kind in ("int", "path")
        else atom._replace(allowed=None)
        for atom in atoms
    )
    return Template(text, atoms=made)
