"""Which rule takes each name, and which names a rule takes together.

Most rules give one name another.  The others work on groups: a first source, what else the rule
takes with it (other names made from the same captures, or all that differ in a counter alone),
and the targets.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ckpttool.errors import Problem
from ckpttool.mapping.language.numbers import MAX_DIGITS
from ckpttool.mapping.language.patterns import Caught, Pattern, PatternError, Template
from ckpttool.mapping.language.ruleset import Candidate, Rule, RuleSet, match
from ckpttool.names import nearest


class Group(NamedTuple):
    """Sources that a rule takes together, and the names that its results get.

    ``values`` are the captures as `to` may use them; ``targets`` is empty for a rule that spreads
    its results, until their number is known.
    """

    rule: Rule
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    caught: Caught
    values: Mapping[str, str]


class Match(NamedTuple):
    """The rule that takes a name: a new name (None: it is dropped), or the group it is part of."""

    rule: Rule
    target: str | None
    group: Group | None = None


class Matching:
    """The matches of all names, found once."""

    def __init__(self, names: Iterable[str], rules: RuleSet) -> None:
        self.names = list(names)
        self.problems: list[Problem] = []
        self.broken: set[int] = set()  # numbers of the rules that problems are about
        self.of: dict[str, Match] = {}
        self._rules = rules
        self._known = frozenset(self.names)
        self._sorted: list[str] = []
        self._groups: dict[tuple[int, str], Group | None] = {}
        self._members: dict[int, dict[str, str]] = {}
        self._collected: dict[int, dict[object, dict[int, str]]] = {}
        for name in self.names:
            for candidate in rules.candidates(name):
                found = self._try(name, candidate)
                if found is not None:
                    self.of[name] = found
                    break
        self.constants = [self._constant(rule) for rule in rules.rules if rule.pattern is None]
        self._check_whole()

    def _try(self, name: str, candidate: Candidate) -> Match | None:
        rule, caught, member = candidate
        if rule.extra is None:
            try:
                return Match(rule, rule.template.render(caught) if rule.template else None)
            except PatternError as error:
                return self._bad_name(rule, name, error)
        lead: str | None = name
        if member:
            lead = self._members_of(rule).get(name)
            if lead is None:
                self._lost_member(rule, name, candidate)
                return None
        else:
            lead = self._lead(rule, name, caught)
        group = None if lead is None else self._group(rule, lead)
        if group is None:
            return None
        if not rule.extra.targets:
            return Match(rule, None)  # it drops, under a condition
        return Match(rule, group.targets[0] if group.targets else None, group)

    def _bad_name(self, rule: Rule, name: str, error: PatternError) -> Match:
        where = rule.place if rule.extra is None else f"{rule.where}   {rule.text}"
        self.problems.append(Problem("MAP024", error.message, where, f"from {name}"))
        self.broken.add(rule.number)
        return Match(rule, None)

    # --- groups ----------------------------------------------------------------------------

    def _lead(self, rule: Rule, name: str, caught: Caught) -> str | None:
        """The first source of the group that ``name`` belongs to by the rule's first pattern."""
        extra = rule.extra
        if extra is None or extra.collect is None:
            return name
        parts = self._parts(rule).get(_key(caught, extra.collect), {})
        return next(iter(parts.values()), None)

    def _group(self, rule: Rule, lead: str) -> Group | None:
        """The group of a first source; None where the rule does not count for it."""
        key = (rule.number, lead)
        if key not in self._groups:
            self._groups[key] = self._make(rule, lead)
        return self._groups[key]

    def _make(self, rule: Rule, lead: str) -> Group | None:
        extra, caught = rule.extra, match(rule, lead)
        if extra is None or caught is None:
            return None
        values = rule.values(caught)
        try:
            for test in extra.when:
                if (test.template.render(caught, values) in self._known) != test.exists:
                    return None
            sources = self._sources(rule, lead, caught)
            if sources is None:
                return None
            targets: tuple[str, ...] = ()
            if extra.spread is None:
                targets = tuple(item.render(caught, values) for item in extra.targets)
        except PatternError as error:
            self._bad_name(rule, lead, error)
            return None
        return Group(rule, sources, targets, caught, values)

    def _sources(self, rule: Rule, lead: str, caught: Caught) -> tuple[str, ...] | None:
        """All names of the group; None where an optional rule lacks one."""
        extra = rule.extra
        if extra is None or (not extra.others and extra.collect is None):
            return (lead,)
        if extra.collect is not None:
            parts = self._parts(rule)[_key(caught, extra.collect)]
            first = min(parts)
            start = 0 if first > 1 else first
            gap = next((at for at in range(start, max(parts)) if at not in parts), None)
            if gap is not None:
                self._incomplete(rule, f"number {gap} is missing", ", ".join(_few(parts)))
            return tuple(parts[number] for number in sorted(parts))
        names = [lead, *(template.render(caught) for _, template in extra.others)]
        missing = [name for name in names if name not in self._known]
        if missing and rule.optional:
            return None
        for name in missing:
            near = nearest(name, self.names, 1)
            found = f"{lead}; nearest: {near[0]}" if near else lead
            self._incomplete(rule, f"{name} is missing", found)
        return tuple(name for name in names if name in self._known)

    def _incomplete(self, rule: Rule, what: str, found: str | None = None) -> None:
        where = f"{rule.where}   {rule.text}"
        message = f"the sources of a rule are not complete: {what}"
        problem = Problem("MAP022", message, where, found)
        self.broken.add(rule.number)
        if problem not in self.problems:
            self.problems.append(problem)

    def _parts(self, rule: Rule) -> dict[object, dict[int, str]]:
        """For what else the pattern catches, the names by the number that is collected, sorted."""
        if rule.number not in self._collected:
            parts: dict[object, dict[int, str]] = {}
            counter = rule.extra.collect if rule.extra and rule.extra.collect else ""
            for name, caught in self._all(rule):
                digits = caught.names[counter]
                if len(digits) > MAX_DIGITS:
                    self._bad_name(rule, name, PatternError("the number is too long"))
                    continue
                numbers = parts.setdefault(_key(caught, counter), {})
                number = int(digits)
                if number in numbers:
                    self._incomplete(rule, f"number {number} is there twice", name)
                numbers.setdefault(number, name)
            self._collected[rule.number] = {
                key: dict(sorted(numbers.items())) for key, numbers in parts.items()
            }
        return self._collected[rule.number]

    def _members_of(self, rule: Rule) -> dict[str, str]:
        """The first source of the group of each name that is another source of it."""
        if rule.number not in self._members:
            members: dict[str, str] = {}
            for lead, _ in self._all(rule):
                group = self._group(rule, lead)
                for name in group.sources[1:] if group else ():
                    members.setdefault(name, lead)
            self._members[rule.number] = members
        return self._members[rule.number]

    def _all(self, rule: Rule) -> Iterable[tuple[str, Caught]]:
        """All names that the rule's first pattern fits."""
        if not self._sorted:
            self._sorted = sorted(self.names)
        prefix = rule.pattern.prefix if rule.pattern else ""
        for at in range(bisect_left(self._sorted, prefix), len(self._sorted)):
            name = self._sorted[at]
            if not name.startswith(prefix):
                return
            caught = match(rule, name)
            if caught is not None:
                yield name, caught

    def _lost_member(self, rule: Rule, name: str, candidate: Candidate) -> None:
        """A name that only another of the rule's patterns fits: its first source is not there."""
        if rule.optional or rule.extra is None or not isinstance(rule.pattern, Pattern):
            return
        own, _ = rule.extra.others[candidate.member - 1]
        if rule.pattern.captures - own.captures or rule.pattern.stars > own.stars:
            return
        if rule.pattern.deeps > own.deeps or rule.extra.when:
            return
        from ckpttool.mapping.language.templates import as_template

        try:
            lead = as_template(rule.pattern.text, rule.pattern.atoms).render(candidate.caught)
        except PatternError:
            return  # a number that no name of the first source has
        if lead not in self._known:
            self._incomplete(rule, f"{lead} is missing", name)

    # --- the whole -------------------------------------------------------------------------

    def _constant(self, rule: Rule) -> Group | None:
        """The group of a rule without sources; None where its conditions do not hold."""
        nothing = Caught({})
        extra = rule.extra
        if extra is None:
            return None
        try:
            for test in extra.when:
                if (test.template.render(nothing) in self._known) != test.exists:
                    return None
            targets = () if extra.spread else tuple(item.render(nothing) for item in extra.targets)
        except PatternError as error:
            self._bad_name(rule, "no source", error)
            return None
        return Group(rule, (), targets, nothing, {})

    def _check_whole(self) -> None:
        """MAP022 for a group, a part of which an earlier rule has taken."""
        seen: set[int] = set()
        for name, found in list(self.of.items()):
            group = found.group
            if group is None or len(group.sources) < 2 or id(group) in seen:
                continue
            seen.add(id(group))
            for source in group.sources:
                other = self.of.get(source)
                if other is None or other.rule.number == found.rule.number:
                    continue
                taken = f"{source} is taken by {other.rule.where}"
                self._incomplete(found.rule, taken, f"{name}; {other.rule.text}")


def spread(group: Group, count: int) -> tuple[str, ...]:
    """The names of ``count`` results of a rule that spreads them.

    Raises :class:`PatternError` where a name cannot be made.
    """
    extra = group.rule.extra
    if extra is None or extra.spread is None:
        return group.targets
    template: Template = extra.targets[0]
    return tuple(
        template.render(group.caught, {**group.values, extra.spread: str(number)})
        for number in range(count)
    )


def _key(caught: Caught, counter: str) -> object:
    names = tuple(sorted(item for item in caught.names.items() if item[0] != counter))
    return names, caught.stars, caught.deeps


def _few(parts: Mapping[int, str]) -> list[str]:
    numbers = sorted(parts)
    return [parts[number] for number in numbers[:3]] + (["…"] if len(numbers) > 3 else [])
