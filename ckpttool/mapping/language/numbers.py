"""Numbers that a name has: sums and products of captures, as ``{i+1}`` and ``{3*i-2:suffix}``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

MAX_TOKENS = 32
MAX_DIGITS = 15

_TOKEN = re.compile(
    r"\s*(?:([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)?)|([0-9]{1,9})|([-+*]))\s*"
)
_DIGITS = re.compile(rf"[0-9]{{1,{MAX_DIGITS}}}\Z")


class Term(NamedTuple):
    """One summand: ``factor`` times the numbers that ``names`` have caught."""

    factor: int
    names: tuple[str, ...]


class NumberError(ValueError):
    """A number that cannot be in a name."""


class Formula(NamedTuple):
    """A sum of terms."""

    terms: tuple[Term, ...]

    @property
    def names(self) -> frozenset[str]:
        """The captures that it needs."""
        return frozenset(name for term in self.terms for name in term.names)

    def value(self, caught: Mapping[str, str]) -> int:
        """The number; :class:`NumberError` where a capture is none, or the result is negative."""
        total = 0
        for term in self.terms:
            product = term.factor
            for name in term.names:
                text = caught[name]
                if len(text) > MAX_DIGITS and text.isdecimal():
                    raise NumberError(f"{{{name}}} has more than {MAX_DIGITS} digits: {text!r}")
                if not _DIGITS.match(text):
                    raise NumberError(f"{{{name}}} is no number here: {text!r}")
                product *= int(text)
            total += product
        if total < 0:
            raise NumberError(f"the number is negative: {total}")
        return total

    def inverse(self) -> tuple[str, Formula] | None:
        """The one capture, and what gives it back from this number as ``n``; None if nothing."""
        variable = [term for term in self.terms if term.names]
        if len(variable) != 1 or variable[0].factor != 1 or len(variable[0].names) != 1:
            return None
        rest = sum(term.factor for term in self.terms if not term.names)
        name = variable[0].names[0]
        constant = (Term(-rest, ()),) if rest else ()
        return name, Formula((Term(1, (name,)), *constant))

    def __str__(self) -> str:
        out = ""
        for factor, names in self.terms:
            parts = [str(abs(factor))] if abs(factor) != 1 or not names else []
            sign = "-" if factor < 0 else "+" if out else ""
            out += sign + "*".join([*parts, *names])
        return out


def parse_formula(text: str) -> Formula:
    """Read ``i+1``; :class:`ValueError` says what is wrong."""
    terms = [Term(1, ())]
    ready = False  # a value stands before this place
    pos = count = 0
    while pos < len(text) and count < MAX_TOKENS:
        found = _TOKEN.match(text, pos)
        if found is None or ready != bool(found[3]):
            break
        name, number, mark = found.groups()
        factor, names = terms[-1]
        if name:
            terms[-1] = Term(factor, (*names, name))
        elif number:
            terms[-1] = Term(factor * int(number), names)
        elif mark != "*":
            terms.append(Term(-1 if mark == "-" else 1, ()))
        ready = not mark
        pos = found.end()
        count += 1
    if pos < len(text) or not ready:
        raise ValueError(f"{{{text}}} is no sum of captures and numbers, as {{i+1}}")
    return Formula(tuple(terms))
