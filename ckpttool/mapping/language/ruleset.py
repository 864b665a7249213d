"""Compiled rules and policies, and the index that finds rules.

A hundred thousand names against two hundred rules must not be twenty million matches: rules are
found by the literal text that their names begin or end with.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.errors import MappingError
from ckpttool.mapping.language.document import Scalar, Text
from ckpttool.mapping.language.patterns import Caught, Matcher, Template
from ckpttool.mapping.language.tables import Table

if TYPE_CHECKING:
    from ckpttool.mapping.transforms.chain import Chain

# Formats whose files have no place for `<target>/Adam` beside the weight.
_WITHOUT_SLOTS = frozenset(("tf2", "keras", "keras-h5", "keras-archive"))


class Test(NamedTuple):
    """A condition on the checkpoint: the name of ``template`` exists, or is missing."""

    exists: bool
    template: Template


class Extra(NamedTuple):
    """What a rule has that does more than give one name another.

    ``others`` are the sources beside the first, as patterns and as what makes their names from
    the first one's captures.  ``targets`` and ``places`` go together.  ``collect`` and ``spread``
    name the counter of sources or targets.
    """

    others: tuple[tuple[Matcher, Template], ...] = ()
    targets: tuple[Template, ...] = ()
    places: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    when: tuple[Test, ...] = ()
    chain: Chain | None = None
    collect: str | None = None
    spread: str | None = None
    apply_where: str = ""


class Rule(NamedTuple):
    """One compiled rule; ``template`` is None where it drops, ``pattern`` where it has no source.

    ``where`` is its place (``maps/bert.yaml:14:5``) and ``text`` what it says.  An ``optional``
    rule may match nothing.  ``extra`` is None for a rule that only renames or drops.
    """

    number: int
    where: str
    text: str
    pattern: Matcher | None
    template: Template | None
    optional: bool = False
    extra: Extra | None = None

    @property
    def place(self) -> str:
        """Place and pattern, as a message shows it."""
        if self.where == self.text:
            return self.text
        start = self.text
        if self.pattern is not None and self.text.startswith("from: "):
            start = "from: " + self.pattern.text
        return f"{self.where}   {start}"

    @property
    def matchers(self) -> tuple[Matcher, ...]:
        """The patterns of all its sources."""
        first = () if self.pattern is None else (self.pattern,)
        return first if self.extra is None else (*first, *(item for item, _ in self.extra.others))

    def values(self, caught: Caught) -> Mapping[str, str]:
        """What `to` may use: captures, as tables translate them."""
        if self.extra is None or not self.extra.tables:
            return caught.names
        values = dict(caught.names)
        for table in self.extra.tables:
            table.add(values)
        return values


class Candidate(NamedTuple):
    """A rule, one of whose patterns fits a name: what it caught, and which pattern it is."""

    rule: Rule
    caught: Caught
    member: int


class RuleSet:
    """Compiled rules and policies.  ``label`` names the mapping in messages.

    ``slots``, ``averages`` and ``target`` are None where the mapping leaves them open.
    """

    def __init__(
        self,
        rules: Sequence[Rule],
        *,
        label: str,
        slots: str | None = "follow",
        averages: str | None = None,
        unmatched: str = "error",
        assumes: Mapping[str, Scalar] | None = None,
        caveats: Sequence[str] = (),
        target: Text | None = None,
        optimizer: Text | None = None,
    ) -> None:
        self.rules = tuple(rules)
        self.label = label
        self.slots = slots or "follow"
        self.averages = averages
        self.unmatched = unmatched
        self.assumes: Mapping[str, Scalar] = assumes or {}
        self.caveats = tuple(caveats)
        self.target = target
        self.optimizer = optimizer
        self._slots_open = slots is None
        self._entries: list[tuple[Rule, int, Matcher]] = []
        self._by_name: dict[str, list[int]] = {}
        self._by_prefix: dict[str, list[int]] = {}
        self._by_suffix: dict[str, list[int]] = {}
        for rule in self.rules:
            for member, pattern in enumerate(rule.matchers):
                self._add(rule, member, pattern)
        self._prefix_sizes = sorted({len(text) for text in self._by_prefix})
        self._suffix_sizes = sorted({len(text) for text in self._by_suffix})

    def _add(self, rule: Rule, member: int, pattern: Matcher) -> None:
        number = len(self._entries)
        self._entries.append((rule, member, pattern))
        if pattern.literal is not None:
            self._by_name.setdefault(pattern.literal, []).append(number)
        elif len(pattern.suffix) > len(pattern.prefix):
            self._by_suffix.setdefault(pattern.suffix, []).append(number)
        else:
            self._by_prefix.setdefault(pattern.prefix, []).append(number)

    def slots_for(self, target: str) -> str:
        """What becomes of optimizer slots in a file of this format."""
        return "drop" if self._slots_open and target in _WITHOUT_SLOTS else self.slots

    def first(self, name: str) -> Candidate | None:
        """The first rule that a name fits, whatever its conditions are."""
        return next(self.candidates(name), None)

    def candidates(self, name: str) -> Iterator[Candidate]:
        """The rules that a name fits, in order."""
        for number in self._numbers(name):
            rule, member, pattern = self._entries[number]
            caught = match_pattern(pattern, rule, name)
            if caught is not None:
                yield Candidate(rule, caught, member)

    def _numbers(self, name: str) -> list[int]:
        """Numbers of the entries that may match, in order."""
        found = list(self._by_name.get(name, ()))
        for size in self._prefix_sizes:
            numbers = self._by_prefix.get(name[:size])
            if numbers:
                found += numbers
        for size in self._suffix_sizes:
            numbers = self._by_suffix.get(name[-size:])
            if numbers:
                found += numbers
        found.sort()
        return found


def match(rule: Rule, name: str) -> Caught | None:
    """Match the first pattern of one rule."""
    return None if rule.pattern is None else match_pattern(rule.pattern, rule, name)


def match_pattern(pattern: Matcher, rule: Rule, name: str) -> Caught | None:
    """Match one pattern; one that gives up says which rule it is."""
    try:
        return pattern.match(name)
    except MappingError as error:
        problems = (problem._replace(where=rule.place) for problem in error.problems)
        raise MappingError(*problems) from error
