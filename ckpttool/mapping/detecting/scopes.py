"""Scopes that a model was built in, which its mapping does not know of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ckpttool.analysis.roles import Role
from ckpttool.mapping.detecting.fit import Tensors
from ckpttool.mapping.language.ruleset import RuleSet

_MOST = 4  # scopes of one kind that are tried
_DEPTH = 6
_HEADS = 64  # beginnings of patterns that are looked for
_SHORTEST = 4  # characters of a beginning that is no whole component
_BLOCKS = 20  # runs of names that a sample has
_DIGITS = re.compile("[0-9]+")


def common_scopes(names: Sequence[str]) -> list[str]:
    """The scopes that hold at least half of the names, the outermost first."""
    counts: Counter[str] = Counter()
    for name in names:
        at = name.find("/") + 1
        for _ in range(_DEPTH):
            if not at:
                break
            counts[name[:at]] += 1
            at = name.find("/", at) + 1
    found = [scope for scope, count in counts.items() if 2 * count >= len(names) and scope != "/"]
    return sorted(found, key=len)[:_MOST]


def scopes_before(rules: RuleSet, names: Iterable[str]) -> list[str]:
    """The scopes below which names begin as the patterns of rules do, the most frequent first."""
    heads = _heads(rules)
    counts: Counter[str] = Counter()
    for name in names:
        for head in heads:
            at = name.find(f"/{head}")
            if at > 0:
                counts[name[: at + 1]] += 1
                break
    return [scope for scope, _ in counts.most_common(_MOST)]


def without(scope: str, tensors: Tensors) -> Tensors | None:
    """The tensors after `--strip-prefix`; None where two would have one name."""

    def strip(name: str) -> str:
        return name.removeprefix(scope) or name

    specs = {strip(name): spec._replace(name=strip(name)) for name, spec in tensors.specs.items()}
    if len(specs) < len(tensors.specs):
        return None
    roles: Mapping[str, Role] = {
        strip(name): Role(role.role, None if role.owner is None else strip(role.owner))
        for name, role in tensors.roles.items()
    }
    weights = [strip(name) for name in tensors.weights]
    return Tensors(specs, roles, weights, tensors.some)


def sample(names: Sequence[str], most: int) -> list[str]:
    """All names, or about so many of them: of those that differ in digits alone only the first.

    What stands together stays together, for a rule may take names of one layer together.
    """
    if len(names) <= most:
        return list(names)
    kinds: dict[str, str] = {}
    for name in names:
        kinds.setdefault(_DIGITS.sub("0", name), name)
    found = list(kinds.values())
    if len(found) <= most:
        return found
    blocks = range(0, len(found), len(found) // _BLOCKS)
    return [name for at in blocks for name in found[at : at + most // _BLOCKS]]


def _heads(rules: RuleSet) -> list[str]:
    heads: dict[str, None] = {}
    for rule in rules.rules:
        if rule.template is None and rule.extra is None:
            continue  # what is dropped tells little
        for pattern in rule.matchers:
            text = pattern.prefix or pattern.literal or ""
            first, slash, _ = text.partition("/")
            if slash or (len(first) >= _SHORTEST and pattern.literal is None):
                heads[first + slash] = None
    return list(heads)[:_HEADS]
