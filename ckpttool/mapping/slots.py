"""Where each name goes: by its own rule, or along with the variable that it belongs to.

A slot or an average goes where its variable goes, unless a rule is about it: one that matches
nothing but such followers, or one that stands before its variable's own rule.  So `old/**` does not
tear `old/w/Adam` from an `old/w` that an earlier rule sends elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from ckpttool.mapping.rules import Rule, RuleSet

MOVE, DROP, UNMATCHED = "move", "drop", "unmatched"

SLOTS_DROP = "slots: drop"
SLOTS_FOLLOW = "slots: follow"
AVERAGES_IGNORE = "averages: ignore"
NO_OBJECT_GRAPH = "a name-based checkpoint has no object graph"
_KEEP = "unmatched: keep"
_UNMATCHED_DROP = "unmatched: drop"


class RoleLike(Protocol):
    """The role of a key, as :class:`ckpttool.analysis.roles.Role` tells it."""

    @property
    def role(self) -> str:
        """``variable slot average step table object_graph other``."""

    @property
    def owner(self) -> str | None:
        """The key that a slot or average belongs to."""


class Fate(NamedTuple):
    """What becomes of one name: it moves to ``target``, is dropped, or nothing says.

    ``rule`` is the rule that decided, None where a policy did; ``label`` tells either.
    ``owner`` is set where the name only follows that variable.
    """

    kind: str
    target: str = ""
    rule: Rule | None = None
    label: str = ""
    owner: str | None = None


class Fates:
    """The fate of every name under a rule set."""

    def __init__(self, names: Iterable[str], rules: RuleSet, roles: Mapping[str, RoleLike]) -> None:
        self.rules = rules
        self.roles = roles
        self.names = list(names)
        self._known = frozenset(self.names)
        self.matched: dict[str, tuple[Rule, str | None]] = {}
        for name in self.names:
            found = rules.first(name)
            if found:
                rule, caught = found
                target = rule.template.render(caught) if rule.template else None
                self.matched[name] = rule, target
        about_others = {
            rule.number for name, (rule, _) in self.matched.items() if not self._follows(name)
        }
        self._about_followers = frozenset(
            rule.number for rule in rules.rules if rule.number not in about_others
        )
        self._fates: dict[str, Fate] = {}

    def of(self, name: str) -> Fate:
        """The fate of one name; owners are decided before their followers."""
        chain = [name]
        while chain[-1] not in self._fates:
            owner = self._owner(chain[-1])
            if owner is None or owner in chain or owner in self._fates:
                break
            chain.append(owner)
        for item in reversed(chain):
            if item not in self._fates:
                self._fates[item] = self._decide(item)
        return self._fates[name]

    def _follows(self, name: str) -> bool:
        role = self.roles.get(name)
        return role is not None and (role.role == "slot" or self._owner(name) is not None)

    def _owner(self, name: str) -> str | None:
        role = self.roles.get(name)
        owner = None if role is None else role.owner
        return owner if owner in self._known and owner != name else None

    def _decide(self, name: str) -> Fate:
        role = self.roles.get(name)
        kind = "variable" if role is None else role.role
        match = self.matched.get(name)
        if kind == "object_graph":
            return Fate(DROP, label=NO_OBJECT_GRAPH)
        if match and (not self._follows(name) or match[0].number in self._about_followers):
            return _by_rule(match)
        if kind == "slot" and self.rules.slots == "drop":
            return Fate(DROP, label=SLOTS_DROP)
        if kind == "average" and self.rules.averages == "ignore":
            return Fate(DROP, label=AVERAGES_IGNORE)
        owner = self._owner(name)
        if owner is None or owner not in self._fates:
            if match:
                return _by_rule(match)
            return Fate(MOVE, name, label=SLOTS_FOLLOW) if kind == "slot" else self._unmatched(name)
        return self._follow(name, owner, match)

    def _follow(self, name: str, owner: str, match: tuple[Rule, str | None] | None) -> Fate:
        leader = self._fates[owner]
        if match and (leader.rule is None or match[0].number <= leader.rule.number):
            return _by_rule(match)
        if leader.kind == UNMATCHED:
            return leader._replace(owner=owner)
        if leader.kind == DROP:
            return leader._replace(owner=owner)
        target = _moved(name, owner, leader.target)
        if target is None:
            return _by_rule(match) if match else self._unmatched(name)
        return Fate(MOVE, target, leader.rule, leader.label, owner)

    def _unmatched(self, name: str) -> Fate:
        policy = self.rules.unmatched
        if policy == "keep":
            return Fate(MOVE, name, label=_KEEP)
        return Fate(DROP, label=_UNMATCHED_DROP) if policy == "drop" else Fate(UNMATCHED)


def _by_rule(match: tuple[Rule, str | None]) -> Fate:
    rule, target = match
    label = rule.where
    return Fate(DROP, "", rule, label) if target is None else Fate(MOVE, target, rule, label)


def _moved(name: str, owner: str, target: str) -> str | None:
    """``name`` with its owner's name in it replaced; None where it is not in it.

    Slots are named ``<owner>/Adam`` or ``<owner>_slot_v``, and ``<scope>/<owner>/Adam`` for an
    optimizer that was built inside a scope.
    """
    if name.startswith(owner):
        return target + name[len(owner) :]
    at = name.rfind(f"/{owner}/")
    if at < 0:
        return None
    return name[: at + 1] + target + name[at + 1 + len(owner) :]
