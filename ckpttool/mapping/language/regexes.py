"""``re:`` patterns: Python regular expressions, within limits that keep them from running away.

Python's engine backtracks.  An open repeat inside a repeat, or alternatives inside one, can take
time exponential in the name's length and are refused; what is left is polynomial in it, and the
length of names it is tried on is limited by the number of open repeats.
"""

from __future__ import annotations

import re

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.patterns import MAX_PATTERN, Caught, Matcher, PatternError

MAX_REPEATS = 6
MAX_CHOICES = 12  # optional parts, and groups of alternatives
MARK = "re:"

# Longest name for so many open repeats: some 10^8 steps at worst.
_LONGEST = (1 << 20, 1 << 20, 20_000, 1000, 260, 130, 100)
_PLAIN_START = re.compile(r"[A-Za-z0-9_/ -]*")
_TOKEN = re.compile(
    r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\(\?(?:P<\w+>|[:=!]|<[=!])|\(\?P=\w+\)|\(\?#[^)]*\)|\{\d*,?\d*\}|.",
    re.DOTALL,
)


class RegexPattern(Matcher):
    """A compiled ``re:`` pattern, anchored to the whole name; ``.`` matches every character.

    Named groups are captures by name, all groups by number: ``{1}`` in the template.
    """

    def __init__(self, text: str, where: dict[str, tuple[str, ...]] | None = None) -> None:
        """``text`` begins with ``re:``.  Raises :class:`PatternError`."""
        self.text = text
        source = text[len(MARK) :]
        if not source:
            raise PatternError("an empty pattern")
        if len(source) > MAX_PATTERN:
            raise PatternError(f"longer than {MAX_PATTERN} characters")
        try:
            self._regex = re.compile(source, re.DOTALL)
        except (re.error, OverflowError, RecursionError) as error:
            at = getattr(error, "pos", None)
            where_ = None if at is None else at + len(MARK)
            raise PatternError(f"not a regular expression: {error}", where_) from error
        self._longest = _LONGEST[_open_repeats(source)]
        numbers = (str(number) for number in range(self._regex.groups + 1))
        self.captures = frozenset([*self._regex.groupindex, *numbers])
        self.loose = True
        self.paths = self.captures
        self.prefix = _literal_prefix(source)
        self._allowed = {name: frozenset(texts) for name, texts in (where or {}).items()}

    def match(self, name: str) -> Caught | None:
        """What the groups take if the whole of ``name`` fits, else None."""
        if len(name) > self._longest:
            raise MappingError(
                Problem(
                    "MAP004",
                    "a name is too long to try this regular expression on",
                    self.text,
                    f"a name of {len(name)} characters",
                    f"≤ {self._longest}",
                    "use fewer open repeats, or a pattern with * and **",
                )
            )
        found = self._regex.fullmatch(name)
        if found is None:
            return None
        names = {str(number): value or "" for number, value in enumerate(found.groups(), 1)}
        names["0"] = found.group()
        names.update((key, value or "") for key, value in found.groupdict().items())
        if any(names.get(key) not in allowed for key, allowed in self._allowed.items()):
            return None
        return Caught(names)


def _open_repeats(source: str) -> int:
    """How many repeats are open; :class:`PatternError` for those that could run away."""
    repeats = choices = 0
    groups = [[False, False]]  # for each open group: holds a repeat or an option; alternatives
    closed = False  # the group that ended just before this piece held any of these
    for found in _TOKEN.finditer(source):
        piece = found.group()
        if _is_repeat(piece):
            if closed:
                place = found.start() + len(MARK)
                raise PatternError("a repeat of a group that holds a repeat, ? or |", place)
            repeats += 1
            groups[-1][0] = True
        elif piece == "?":
            choices += 1
            groups[-1][0] = True
        elif piece == "|":
            choices += not groups[-1][1]
            groups[-1][1] = True
        elif piece.startswith("(") and not piece.startswith(("(?#", "(?P=")):
            groups.append([False, False])
        closed = piece == ")" and len(groups) > 1 and any(groups[-1])
        if piece == ")" and len(groups) > 1:
            groups.pop()
            groups[-1][0] |= closed
    if repeats > MAX_REPEATS or choices > MAX_CHOICES:
        raise PatternError(f"more than {MAX_REPEATS} open repeats or {MAX_CHOICES} choices")
    return repeats


def _is_repeat(token: str) -> bool:
    """Whether a token repeats what stands before it more than once."""
    if token in ("*", "+"):
        return True
    return len(token) > 2 and token[0] == "{" and token not in ("{0}", "{1}", "{0,1}", "{,1}")


def _literal_prefix(source: str) -> str:
    """Characters that every match begins with."""
    if "|" in source:
        return ""
    found = _PLAIN_START.match(source)
    prefix = found.group() if found else ""
    following = source[len(prefix) : len(prefix) + 1]
    return prefix[:-1] if following and following in "*?{+" else prefix
