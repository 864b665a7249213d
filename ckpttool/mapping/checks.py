"""Everything that can be wrong with a plan, found at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote

from ckpttool.errors import Problem
from ckpttool.mapping.patterns import TEXT, Pattern, PatternError
from ckpttool.mapping.rules import Rule, match
from ckpttool.mapping.slots import DROP, MOVE, UNMATCHED, Fate, Fates
from ckpttool.names import OBJECT_GRAPH_KEY, encode_name, nearest

MAX_NAME_BYTES = 64 << 10
_MAX_LISTED = 100  # unmatched names that are told one by one
_MAX_SOURCES = 8  # sources of one collision that are told


def check_fates(
    fates: Fates, decided: Mapping[str, Fate], source: str
) -> tuple[list[Problem], list[Problem]]:
    """Errors and warnings about the fates of all names of the checkpoint ``source``."""
    errors = [
        *_unmatched(fates, decided),
        *_dead_rules(fates, source),
        *_invalid_targets(decided),
        *_collisions(decided),
    ]
    return errors, [*_torn(fates, decided), *_case_clashes(decided)]


def _unmatched(fates: Fates, decided: Mapping[str, Fate]) -> Iterator[Problem]:
    """MAP010; followers of an unmatched variable are not told beside it."""
    names = [
        name for name, fate in decided.items() if fate.kind == UNMATCHED and fate.owner is None
    ]
    label = fates.rules.label
    for name in names[:_MAX_LISTED]:
        yield Problem("MAP010", "no rule matches this name", label, name)
    if len(names) > _MAX_LISTED:
        rest = f"{len(names) - _MAX_LISTED} more names"
        yield Problem("MAP010", "no rule matches these names", label, rest)
    if names:
        hint = "add rules, or say what is to become of such names: unmatched: keep, or drop"
        total = f"{len(names)} of {len(decided)} names"
        yield Problem("MAP010", "not every name is matched by a rule", label, total, hint=hint)


def _dead_rules(fates: Fates, source: str) -> Iterator[Problem]:
    """MAP012 for rules that decide about no name: they match none, or earlier rules take all."""
    alive = {rule.number for rule, _ in fates.matched.values()}
    rules = fates.rules.rules
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
        takers = sorted({fates.matched[name][0].number for name in taken})
        places = ", ".join(rules[number].where for number in takers[:3])
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
        wanted = pattern.prefix or pattern.text
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


def _invalid_targets(decided: Mapping[str, Fate]) -> Iterator[Problem]:
    """MAP013: names that a V2 bundle cannot hold, or that would make it another kind of file."""
    for name, fate in decided.items():
        if fate.kind != MOVE or fate.target == name:
            continue
        reason = _invalid(fate.target)
        if reason:
            where = fate.rule.place if fate.rule else fate.label
            shown = f"{fate.target!r}, from {name}"
            yield Problem("MAP013", f"a target name {reason}", where, shown)


def _invalid(target: str) -> str | None:
    if not target:
        return "is empty"
    if target.startswith("\0"):
        return "begins with a zero byte, as only the keys of slices do"
    if target == OBJECT_GRAPH_KEY:
        return "is the key of an object graph"
    try:
        size = len(encode_name(target))
    except UnicodeEncodeError:
        return "cannot be encoded"
    return f"is longer than {MAX_NAME_BYTES} bytes" if size > MAX_NAME_BYTES else None


def _collisions(decided: Mapping[str, Fate]) -> Iterator[Problem]:
    """MAP011: every source of a target that more than one would take, with its rule."""
    by_target: dict[str, list[str]] = {}
    for name, fate in decided.items():
        if fate.kind == MOVE:
            by_target.setdefault(fate.target, []).append(name)
    for target, names in by_target.items():
        if len(names) < 2:
            continue
        found = "; ".join(f"{name} by {_reason(decided[name])}" for name in names[:_MAX_SOURCES])
        if len(names) > _MAX_SOURCES:
            found += f"; and {len(names) - _MAX_SOURCES} more"
        where = next((fate.rule.place for name in names if (fate := decided[name]).rule), None)
        yield Problem("MAP011", f"{len(names)} names would become {target}", where, found)


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


def _case_clashes(decided: Mapping[str, Fate]) -> Iterator[Problem]:
    """MAP015, where a rename makes the clash: TensorFlow's graphs take such names for one."""
    by_folded: dict[str, list[str]] = {}
    for name, fate in decided.items():
        if fate.kind == MOVE:
            by_folded.setdefault(fate.target.casefold(), []).append(name)
    for names in by_folded.values():
        targets = sorted({decided[name].target for name in names})
        if len(targets) < 2 or all(decided[name].target == name for name in names):
            continue
        yield Problem(
            "MAP015",
            "target names differ by case only",
            next((fate.rule.place for name in names if (fate := decided[name]).rule), None),
            ", ".join(targets),
            hint="a TF1 graph that has both calls the second one …_1",
        )
