"""Everything that can be wrong with a plan, found at once."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from shlex import quote
from typing import TYPE_CHECKING

from ckpttool.errors import Problem
from ckpttool.mapping.language.patterns import TEXT, Pattern, PatternError
from ckpttool.mapping.language.ruleset import Rule, match
from ckpttool.mapping.planning.building import Made
from ckpttool.mapping.planning.slots import DROP, MOVE, UNMATCHED, Fate, Fates
from ckpttool.names import glob_matcher, nearest

if TYPE_CHECKING:
    from ckpttool.mapping.planning.plan import Wanted

_MAX_LISTED = 100  # unmatched names that are told one by one
_MAX_SOURCES = 8  # sources of one collision that are told


class Checks:
    """Collects errors, and warnings that do not stop a plan.

    ``unused`` are names that no rule takes and that may be left over.
    """

    def __init__(self, fates: Fates, source: str, wanted: Wanted) -> None:
        self.errors: list[Problem] = []
        self.warnings: list[Problem] = []
        self.unused: set[str] = set()
        self._fates = fates
        self._source = source
        self._wanted = wanted
        self._decided = fates.decided

    @property
    def label(self) -> str:
        """The mapping's name in messages."""
        return self._fates.rules.label

    def names(self) -> None:
        """Every source name has a fate, and every rule a use."""
        if self._wanted.allow_unused:
            allowed = glob_matcher(self._wanted.allow_unused)
            self.unused = {
                name
                for name, fate in self._decided.items()
                if fate.kind == UNMATCHED and (allowed(name) or allowed(fate.owner or name))
            }
        self.errors += _unmatched(self._fates, self._decided, self.unused)
        self.errors += self._fates.matching.problems
        self.errors += _dead_rules(self._fates, self._source)
        self.warnings += _torn(self._fates, self._decided)
        self.warnings += _averages(self._fates, self._decided)

    def intact(self, made: list[Made]) -> tuple[list[Made], list[str]]:
        """What can be made of sound sources alone, and the sources that are left out (MAP027)."""
        damaged = self._wanted.salvage
        if not damaged:
            return made, []
        kept = [item for item in made if damaged.keys().isdisjoint(item.sources)]
        used = dict.fromkeys(name for item in kept for name in item.sources)
        taken = {name for item in made for name in item.sources}
        lost = [name for name in self._fates.names if name in taken and name not in used]
        for name in lost:
            reason = damaged.get(name, "another source of its target is damaged")
            self.warnings.append(Problem("MAP027", f"{name} is left out: {reason}", self._source))
        return kept, lost

    def targets(self, made: list[Made]) -> None:
        """No two tensors of one name, and none that the format cannot hold."""
        self.errors += _refused(made, self._wanted)
        self.errors += _collisions(made)
        self.warnings += _case_clashes(made)


class _Reasons:
    """The caveats of a mapping, by the names of variables that stand in them."""

    def __init__(self, caveats: Collection[str]) -> None:
        self._by_word: dict[str, str] = {}
        for caveat in caveats:
            for word in re.findall(r"[\w/]+", caveat):
                if "_" in word or "/" in word:  # a name, not a word of the language
                    self._by_word.setdefault(word, caveat)

    def about(self, name: str) -> str | None:
        """The caveat that has the end of ``name``; each is given once."""
        parts = name.split("/")
        ends = ("/".join(parts[-size:]) for size in (2, 1))
        word = next((text for text in ends if text in self._by_word), None)
        if word is None:
            return None
        found = self._by_word[word]
        self._by_word = {key: text for key, text in self._by_word.items() if text != found}
        return found


def _unmatched(
    fates: Fates, decided: Mapping[str, Fate], allowed: Collection[str]
) -> Iterator[Problem]:
    """MAP010; followers of an unmatched variable are not told beside it."""
    names = [
        name
        for name, fate in decided.items()
        if fate.kind == UNMATCHED and fate.owner is None and name not in allowed
    ]
    label = fates.rules.label
    reasons = _Reasons(fates.rules.caveats)
    for name in names[:_MAX_LISTED]:
        hint = reasons.about(name)
        yield Problem("MAP010", "no rule matches this name", label, name, hint=hint)
    if len(names) > _MAX_LISTED:
        rest = f"{len(names) - _MAX_LISTED} more names"
        yield Problem("MAP010", "no rule matches these names", label, rest)
    if names:
        hint = "add rules, or say what is to become of such names: unmatched: keep, or drop"
        total = f"{len(names)} of {len(decided)} names"
        yield Problem("MAP010", "not every name is matched by a rule", label, total, hint=hint)


def _dead_rules(fates: Fates, source: str) -> Iterator[Problem]:
    """MAP012 for rules that decide about no name: they match none, or earlier rules take all."""
    alive = {match.rule.number for match in fates.matched.values()} | fates.matching.broken
    rules = [rule for rule in fates.rules.rules if rule.pattern is not None]
    if rules and not alive and all(rule.optional for rule in rules):
        found = f"0 of {len(fates.names)} names"
        yield Problem("MAP012", "no rule matches anything", fates.rules.label, found)
    for rule in rules:
        if rule.number in alive or rule.optional:
            continue
        taken = [name for name in fates.names if match(rule, name) is not None]
        if not taken:
            yield _matches_nothing(rule, fates.names, source)
            continue
        if rule.extra is not None and rule.extra.when:
            continue  # its conditions hold for none of them
        takers = sorted(
            {fates.matched[name].rule.number for name in taken if name in fates.matched}
        )
        places = ", ".join(fates.rules.rules[number].where for number in takers[:3])
        more = ", …" if len(takers) > 3 else ""
        yield Problem(
            "MAP012",
            "rule is never used: earlier rules take every name that it matches",
            rule.place,
            f"{len(taken)} of {len(fates.names)} names, taken by {places}{more}",
            hint="move the rule up, or remove it",
        )


def _matches_nothing(rule: Rule, names: list[str], source: str) -> Problem:
    near = _nearest_scopes(rule, names)
    found = f"0 of {len(names)} names"
    if near:
        found += f"; nearest: {', '.join(near)}"
    top = near[0].split("/", 1)[0] + "/**" if near and "/" in near[0] else None
    command = f"ckpttool tree {quote(source)}" + (f" --match {quote(top)}" if top else "")
    return Problem("MAP012", "rule matches nothing", rule.place, found, hint=command)


def _nearest_scopes(rule: Rule, names: list[str]) -> list[str]:
    """Names or scopes that look like what the rule asks for: the same under another scope first."""
    pattern = rule.pattern
    if isinstance(pattern, Pattern):
        deeper = _matched_below(pattern, names)
        if deeper:
            return deeper
        wanted = "".join(atom.text if atom.kind == TEXT else "0" for atom in pattern.atoms)
        wanted = wanted.removesuffix("/0") if pattern.deeps else wanted
    else:
        wanted = pattern.prefix or pattern.text if pattern else ""
    scopes = {name[:at] for name in names for at in _slashes(name)}
    from difflib import SequenceMatcher

    close = nearest(wanted, sorted(scopes.union(names)), 20)
    return sorted(close, key=lambda name: -SequenceMatcher(None, wanted, name).ratio())[:2]


def _matched_below(pattern: Pattern, names: list[str]) -> list[str]:
    """Where the pattern would match if it were not anchored at the top, or were a scope."""
    text = pattern.text
    scope = text.removesuffix("/**")
    for attempt in (f"**/{text}", f"{scope}/**", f"**/{scope}/**"):
        try:
            looser = Pattern(attempt)
        except PatternError:
            continue
        for name in names:
            if looser.match(name) is None:
                continue
            if not attempt.endswith("/**"):
                return [name]
            # The shortest scope of the name that the pattern itself stands for.
            exact = Pattern(attempt.removesuffix("/**"))
            for at in _slashes(name):
                if exact.match(name[:at]) is not None:
                    return [name[:at]]
    return []


def _slashes(name: str) -> Iterator[int]:
    at = name.find("/", 1)
    while at > 0:
        yield at
        at = name.find("/", at + 1)


def _refused(made: list[Made], wanted: Wanted) -> Iterator[Problem]:
    """MAP013: tensors that the output's format cannot hold."""
    from ckpttool.formats.targets import TARGETS

    # A bundle holds under any name what a checkpoint had under the same.
    told = made if wanted.written else []
    if wanted.target == "tf1":
        told = [item for item in made if item.sources != (item.target,)]
    by_name = {item.target: item for item in told}
    specs = [(item.target, item.dtype, item.shape) for item in told]
    names = [spec[0] for spec in specs]
    if len(by_name) < len(names):
        specs = list({spec[0]: spec for spec in specs}.values())
    if not specs:
        return
    for count, (name, why, found) in enumerate(
        TARGETS[wanted.target].refusals()(specs, wanted.options)
    ):
        if count == _MAX_LISTED:
            yield Problem("MAP013", "the output's format cannot hold others either", None, "…")
            return
        item = by_name.get(name)
        where = item.where if item else None
        sources = ", ".join(item.sources[:_MAX_SOURCES]) if item else ""
        shown = f"{name!r}: {found}" + (f", from {sources}" if sources else "")
        yield Problem("MAP013", f"a target that {wanted.target} cannot hold: {why}", where, shown)


def _collisions(made: list[Made]) -> Iterator[Problem]:
    """MAP011: every source of a target that more than one would take, with its rule."""
    if len({item.target for item in made}) == len(made):
        return
    by_target: dict[str, list[Made]] = {}
    for item in made:
        by_target.setdefault(item.target, []).append(item)
    for target, items in by_target.items():
        if len(items) < 2:
            continue
        found = "; ".join(
            f"{', '.join(item.sources) or 'a constant'} by {_reason(item.fate)}"
            for item in items[:_MAX_SOURCES]
        )
        if len(items) > _MAX_SOURCES:
            found += f"; and {len(items) - _MAX_SOURCES} more"
        where = next((item.fate.rule.place for item in items if item.fate.rule), None)
        yield Problem("MAP011", f"{len(items)} names would become {target}", where, found)


def _reason(fate: Fate) -> str:
    text = f"{fate.rule.where} ({fate.rule.text})" if fate.rule else fate.label
    if fate.rule and fate.rule.where == fate.rule.text:
        text = fate.rule.where
    return f"{text}, following {fate.owner}" if fate.owner else text


def _torn(fates: Fates, decided: Mapping[str, Fate]) -> Iterator[Problem]:
    """MAP014: slots that their own rules keep though their variable is dropped."""
    for name, fate in decided.items():
        role = fates.roles.get(name)
        owner = decided.get(role.owner) if role and role.owner else None
        if owner and role and owner.kind == DROP and fate.kind == MOVE and fate.rule:
            message = f"{role.owner} is dropped, and {name} of it is kept"
            yield Problem("MAP014", message, fate.rule.place, f"dropped by {owner.label}")


def _averages(fates: Fates, decided: Mapping[str, Fate]) -> Iterator[Problem]:
    """MAP026: variables without a moving average, where the averages are to be used."""
    if fates.averages != "use":
        return
    raw = []
    for name, fate in decided.items():
        role = fates.roles.get(name)
        own = role is None or role.role in ("variable", "other")
        if own and fate.kind == MOVE and name not in fates.stand_ins:
            raw.append(name)
    if not fates.stand_ins:
        message = "the checkpoint has no moving averages: the variables themselves are used"
        yield Problem("MAP026", message, fates.rules.label)
    elif raw:
        message = "variables without a moving average are used as they are"
        more = f" and {len(raw) - _MAX_SOURCES} more" if len(raw) > _MAX_SOURCES else ""
        found = f"{len(raw)}: {', '.join(raw[:_MAX_SOURCES])}{more}"
        yield Problem("MAP026", message, fates.rules.label, found)


def _case_clashes(made: list[Made]) -> Iterator[Problem]:
    """MAP015, where a rename makes the clash: TensorFlow's graphs take such names for one."""
    names = {item.target for item in made}
    if len({name.casefold() for name in names}) == len(names):
        return
    by_folded: dict[str, list[Made]] = {}
    for item in made:
        by_folded.setdefault(item.target.casefold(), []).append(item)
    for items in by_folded.values():
        targets = sorted({item.target for item in items})
        if len(targets) < 2 or all(item.sources == (item.target,) for item in items):
            continue
        yield Problem(
            "MAP015",
            "target names differ by case only",
            next((item.fate.rule.place for item in items if item.fate.rule), None),
            ", ".join(targets),
            hint="a TF1 graph that has both calls the second one …_1",
        )
