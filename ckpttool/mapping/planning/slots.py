"""Where each name goes: by its own rule, or along with the variable that it belongs to.

A slot or an average goes where its variable goes, unless a rule is about it: one that matches
nothing but such followers, or one that stands before its variable's own rule.  So `old/**` does not
tear `old/w/Adam` from an `old/w` that an earlier rule sends elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from ckpttool.mapping.language.ruleset import Rule, RuleSet
from ckpttool.mapping.planning.matching import Group, Match, Matching

# A stand-in is a moving average that takes the place of its variable.
MOVE, DROP, UNMATCHED, STAND_IN = "move", "drop", "unmatched", "stand-in"

SLOTS_DROP = "slots: drop"
SLOTS_FOLLOW = "slots: follow"
AVERAGES_IGNORE = "averages: ignore"
AVERAGES_USE = "averages: use"
NO_OBJECT_GRAPH = "an object graph goes with the names that it was made for"
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
    ``owner`` is set where the name only follows that variable.  ``group`` is set where the name
    goes with others, or through transforms; ``affix`` is what a follower's name has before and
    after the names of the group that it follows.
    """

    kind: str
    target: str = ""
    rule: Rule | None = None
    label: str = ""
    owner: str | None = None
    group: Group | None = None
    affix: tuple[str, str] | None = None


class Fates:
    """The fate of every name under a rule set.

    ``slots`` and ``averages`` win over what the rules say.
    """

    def __init__(
        self,
        names: Iterable[str],
        rules: RuleSet,
        roles: Mapping[str, RoleLike],
        *,
        slots: str | None = None,
        averages: str | None = None,
    ) -> None:
        self.rules = rules
        self.roles = roles
        self._slots = slots or rules.slots
        self.averages = averages or rules.averages
        self.matching = Matching(names, rules)
        self.names = self.matching.names
        self._known = frozenset(self.names)
        self.matched: Mapping[str, Match] = self.matching.of
        about_others = {
            match.rule.number for name, match in self.matched.items() if not self._follows(name)
        }
        self._about_followers = frozenset(
            rule.number for rule in rules.rules if rule.number not in about_others
        )
        self._fates: dict[str, Fate] = {}
        self._decided: dict[str, Fate] | None = None
        self.stand_ins: dict[str, str] = {}  # of variables, with averages: use
        if self.averages == "use":
            self._find_stand_ins()

    @property
    def decided(self) -> Mapping[str, Fate]:
        """The fate of every name, in their order."""
        if self._decided is None:
            self._decided = {name: self.of(name) for name in self.names}
        return self._decided

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

    def _find_stand_ins(self) -> None:
        for name in self.names:
            role = self.roles.get(name)
            owner = self._owner(name)
            if role is not None and role.role == "average" and owner is not None:
                self.stand_ins.setdefault(owner, name)

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
        if match and (not self._follows(name) or self._is_about(name, match)):
            return _by_rule(match)
        if kind == "slot" and self._slots == "drop":
            return Fate(DROP, label=SLOTS_DROP)
        if kind == "average" and self.averages == "ignore":
            return Fate(DROP, label=AVERAGES_IGNORE)
        owner = self._owner(name)
        if owner is None or owner not in self._fates:
            if match:
                return _by_rule(match)
            return Fate(MOVE, name, label=SLOTS_FOLLOW) if kind == "slot" else self._unmatched(name)
        return self._follow(name, owner, match)

    def _is_about(self, name: str, match: Match) -> bool:
        """Whether a rule is about this follower: about followers alone, or it takes it along."""
        if match.rule.number in self._about_followers:
            return True
        if match.group is None or name == match.group.sources[0]:
            return False
        return not self._follows(match.group.sources[0])

    def _follow(self, name: str, owner: str, match: Match | None) -> Fate:
        leader = self._fates[owner]
        if match and (leader.rule is None or match.rule.number < leader.rule.number):
            return _by_rule(match)
        if leader.kind in (UNMATCHED, DROP):
            return leader._replace(owner=owner)
        if owner in self.stand_ins and self._is_average(name):
            if self.stand_ins[owner] == name:
                return Fate(STAND_IN, "", leader.rule, AVERAGES_USE, owner)
            return Fate(DROP, label=AVERAGES_USE, owner=owner)
        if match and leader.group is None and match.rule is leader.rule:
            return _by_rule(match)
        affix = _affix(name, owner)
        if affix is None:
            return _by_rule(match) if match else self._unmatched(name)
        before, after = affix
        if leader.group is None:
            target = before + leader.target + after
            return Fate(MOVE, target, leader.rule, leader.label, owner)
        inner = leader.affix or ("", "")
        affix = (before + inner[0], inner[1] + after)
        return Fate(MOVE, "", leader.rule, leader.label, owner, leader.group, affix)

    def _is_average(self, name: str) -> bool:
        role = self.roles.get(name)
        return role is not None and role.role == "average"

    def _unmatched(self, name: str) -> Fate:
        policy = self.rules.unmatched
        if policy == "keep":
            return Fate(MOVE, name, label=_KEEP)
        return Fate(DROP, label=_UNMATCHED_DROP) if policy == "drop" else Fate(UNMATCHED)


def _by_rule(match: Match) -> Fate:
    rule, target, group = match
    if target is None and group is None:
        return Fate(DROP, "", rule, rule.where)
    return Fate(MOVE, target or "", rule, rule.where, None, group)


def _affix(name: str, owner: str) -> tuple[str, str] | None:
    """What ``name`` has before and after its owner's name; None where that is not in it.

    Slots are named ``<owner>/Adam`` or ``<owner>_slot_v``, and ``<scope>/<owner>/Adam`` for an
    optimizer that was built inside a scope.
    """
    if name.startswith(owner):
        return "", name[len(owner) :]
    at = name.rfind(f"/{owner}/")
    if at < 0:
        return None
    return name[: at + 1], name[at + 1 + len(owner) :]
