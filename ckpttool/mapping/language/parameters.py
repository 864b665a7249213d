"""Parameters: what ``$name`` stands for, in a file and in the files that it includes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.document import Scalar, Text
from ckpttool.names import nearest

_PARAMETER = re.compile(r"\\.|\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.DOTALL)
_WHOLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})\Z")


class Scope(NamedTuple):
    """The parameters of one file.

    ``declared`` are the file's own with their defaults, ``given`` what the including file sets
    (as it is written), ``parent`` the scope in which that is to be understood, and ``fixed`` what
    was given from outside, by ``--set``.
    """

    label: str
    declared: Mapping[str, Scalar]
    given: tuple[tuple[Text, Scalar], ...] = ()
    parent: Scope | None = None
    fixed: Mapping[str, Scalar] = {}

    def known(self) -> list[str]:
        """Names that can be used."""
        above = self.parent.known() if self.parent else []
        return list(dict.fromkeys([*self.declared, *(name.text for name, _ in self.given), *above]))

    def value(self, name: str, where: str) -> Scalar:
        """What ``$name`` stands for.

        Raises MAP004 for an unknown name and MAP023 for one that has to be given.
        """
        for given, value in self.given:
            if given.text == name:
                return self._above(value, given)
        if name in self.fixed:
            return self.fixed[name]
        if self.parent is not None and name in self.parent.known():
            return self.parent.value(name, where)
        if name not in self.declared:
            hint = did_you_mean(name, self.known())
            raise MappingError(Problem("MAP004", f"unknown parameter ${name}", where, hint=hint))
        value = self.declared[name]
        if value is None:
            message = f"the parameter {name} has no value of its own"
            raise MappingError(Problem("MAP023", message, where, hint=f"--set {name}=…"))
        return value

    def _above(self, value: Scalar, given: Text) -> Scalar:
        """A value of an include's `set`, with the including file's parameters in it."""
        if not isinstance(value, str) or self.parent is None or "$" not in value:
            return value
        whole = _WHOLE.match(value)
        if whole:
            return self.parent.value(whole[1] or whole[2], given.where)
        return fill(Text(value, given.where), self.parent.value, None)


def fill(
    text: Text, value: Callable[[str, str], Scalar], quote: Callable[[str], str] | None
) -> str:
    """``text`` with its parameters in place, quoted so that they stand for themselves."""

    def put(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        if name is None:
            return found[0]
        filled = value(name, text.where)
        words = str(filled).lower() if isinstance(filled, bool) else str(filled)
        return quote(words) if quote else words

    return _PARAMETER.sub(put, text.text) if "$" in text.text else text.text


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """A hint for a name that is not known."""
    known = list(known)
    close = nearest(name, known, 1)
    if close:
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(known)}" if known else "no parameters are declared"
