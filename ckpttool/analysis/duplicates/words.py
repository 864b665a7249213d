"""The plain words of the evidence that every group has."""

from __future__ import annotations

from collections.abc import Sequence

from ckpttool.analysis.duplicates.facts import NOT_KNOWN, TF_VARIABLE, Facts
from ckpttool.analysis.duplicates.model import CONFIRMED, INFERRED, Evidence
from ckpttool.analysis.duplicates.relate import UNREAD
from ckpttool.analysis.duplicates.values import INITIAL, MOVED

_SHOWN = 3
# Scopes that are numbered because several of them are wanted.
_WANTED = frozenset((
    "actor", "agent", "critic", "enemy", "ensemble", "expert", "fold", "frozen", "head",
    "learner", "member", "old", "oldpi", "opponent", "particle", "player", "pretrained",
    "prior", "reference", "stream", "student", "target", "task", "teacher", "view", "worker",
))  # fmt: skip


def and_list(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and 4 more``."""
    if len(items) > _SHOWN:
        items = [*items[:_SHOWN], f"{len(items) - _SHOWN} more"]
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def named(facts: Facts, at: int) -> str:
    """A copy by its scopes; by its first and last if there are many."""
    scopes = facts.copies[at].scopes
    return and_list(scopes) if len(scopes) <= _SHOWN else f"{scopes[0]} … {scopes[-1]}"


def background(facts: Facts) -> list[Evidence]:
    """What is told of every group: names, construction, slots, values, checkpoints."""
    return [*_names(facts), *_construction(facts), *_slots(facts), *_values(facts)]


def _names(facts: Facts) -> list[Evidence]:
    copies = facts.copies
    count = len(copies[0].names)
    what = "1 variable each" if count == 1 else f"{count} variables each"
    text = f"{len(copies)} copies of the same dtypes and shapes, {what}"
    if not facts.group.complete:
        more = "one of them" if facts.group.partial else copies[0].scopes[0]
        text += f"; {more} has further variables that the others have not"
    return [Evidence("names", text, CONFIRMED)]


def _construction(facts: Facts) -> list[Evidence]:
    found = []
    made = {copy.made_by for copy in facts.copies}
    if len(made) == 1 and NOT_KNOWN not in made:
        kind = made.pop()
        text = "made by tf.Variable, which never reuses"
        if kind != TF_VARIABLE:
            text = "made by get_variable or a Keras layer"
        certainty = CONFIRMED if kind == TF_VARIABLE else INFERRED
        found.append(Evidence("construction", text, certainty))
    later = [at for at, copy in enumerate(facts.copies) if at and copy.entered]
    if later and any(facts.copies[at].made_by == TF_VARIABLE for at in later):
        scopes = [facts.copies[at].scopes[0] for at in later]
        base = facts.copies[0].scopes[0]
        text = f"{and_list(scopes)} is the scope {base} entered again: it holds ops of its own too"
        found.append(Evidence("construction", text, INFERRED))
    if facts.shared:
        names = and_list(list(facts.shared))
        text = f"{names} is read from both scopes: reuse worked there, and not here"
        found.append(Evidence("construction", text))
    return found


def _slots(facts: Facts) -> list[Evidence]:
    have = [at for at, copy in enumerate(facts.copies) if copy.slots]
    if not have or len(have) == len(facts.copies):
        return []
    have_not = [at for at, copy in enumerate(facts.copies) if not copy.slots]
    one, other = named(facts, have[0]), named(facts, have_not[0])
    return [Evidence("slots", f"{one} has optimizer slots, {other} has none")]


def _values(facts: Facts) -> list[Evidence]:
    found = []
    copies = facts.copies
    if facts.equal:
        text = "their values are equal"
        if not facts.nonflat:
            text += ", and constant"
        found.append(Evidence("values", text))
    states = [copy.state for copy in copies]
    if set(states) == {INITIAL}:
        found.append(Evidence("values", "all of them are as their initializers make them"))
    for at, copy in enumerate(copies):
        if copy.state == INITIAL and MOVED in states:
            found.append(Evidence("values", f"{named(facts, at)} is as its initializer makes it"))
    moving = [at for at, copy in enumerate(copies) if copy.moved]
    for at, copy in enumerate(copies):
        if copy.moved is False and moving:
            live, still = named(facts, moving[0]), named(facts, at)
            text = f"{live} changes between the checkpoints, {still} does not"
            found.append(Evidence("checkpoints", text))
    if facts.group.kind == UNREAD and facts.has_graph:
        found.append(Evidence("unknown", "the graph has no op that would show what they are for"))
    return found


def wanted(facts: Facts) -> bool:
    """Whether a scope's name says that there are to be several."""
    words = {
        member.spelled.casefold().rstrip("s") for copy in facts.group.copies for member in copy
    }
    return any(
        word in _WANTED or word.partition("_")[0] in _WANTED or word.rpartition("_")[2] in _WANTED
        for word in words
    )
