"""How much of a name a rule knows: what tells a rule for one model from one that fits anything."""

from __future__ import annotations

from collections.abc import Iterator

from ckpttool.mapping.language.atoms import DEEP, DIRS, NAME, PATH, STAR, SUFFIX, TEXT, suffix_of
from ckpttool.mapping.language.patterns import Caught, Matcher, Pattern
from ckpttool.mapping.language.ruleset import Rule

_FREE = frozenset((NAME, PATH, STAR, DEEP, DIRS))


def knowledge(rule: Rule, name: str, ignored: int = 0) -> float | None:
    """The share of a name's scopes that a rule has in its own words, from 0 to 1.

    The last component says little (every layer has a kernel), so it counts only where it is all
    there is.  ``ignored`` characters at the start are a scope that was put into the rule.  None
    for a rule that would take any name.
    """
    for pattern in rule.matchers:
        caught = pattern.match(name)
        if caught is not None:
            return _share(pattern, caught, name, ignored)
    return None


def _share(pattern: Matcher, caught: Caught, name: str, ignored: int) -> float | None:
    end = name.rfind("/")
    if end <= ignored:
        end = len(name)
    if isinstance(pattern, Pattern):
        pieces = list(_pieces(pattern, caught))
    else:  # a regular expression: its ends are what is known of it
        free = len(name) - len(pattern.prefix) - len(pattern.suffix)
        pieces = [(len(pattern.prefix), False), (free, True), (len(pattern.suffix), False)]
    at = 0
    known = anywhere = 0
    for length, free in pieces:
        if not free:
            anywhere += _letters(name, at, at + length)
            known += _letters(name, max(at, ignored), min(at + length, end))
        at += length
    whole = _letters(name, ignored, end)
    return known / whole if anywhere and whole else None


def _letters(name: str, start: int, end: int) -> int:
    """Characters that are no slashes."""
    return end - start - name.count("/", start, end) if end > start else 0


def _pieces(pattern: Pattern, caught: Caught) -> Iterator[tuple[int, bool]]:
    """Length of what each atom took, and whether it would have taken something else too."""
    stars, deeps = iter(caught.stars), iter(caught.deeps)
    for atom in pattern.atoms:
        free = atom.kind in _FREE and atom.allowed is None
        if atom.kind == TEXT:
            yield len(atom.text), False
        elif atom.kind == STAR:
            yield len(next(stars)), free
        elif atom.kind == DEEP:
            yield len(next(deeps)), free
        elif atom.kind == DIRS:
            text = next(deeps)
            yield len(text) + bool(text), free
        elif atom.kind == SUFFIX:
            yield len(suffix_of(caught.names[atom.text])), free
        else:
            yield len(caught.names[atom.text]), free
