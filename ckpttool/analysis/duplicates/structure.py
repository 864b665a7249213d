"""The rules that need no values: how the copies stand to each other, and how they are numbered."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ckpttool.analysis.duplicates.facts import Facts
from ckpttool.analysis.duplicates.model import INFERRED, Evidence
from ckpttool.analysis.duplicates.relate import MIXED, PARALLEL, SERIES
from ckpttool.analysis.duplicates.words import named


class Judgement(NamedTuple):
    """A verdict before it is dressed: ``keep`` is the live copy, ``cause`` a key of the fixes."""

    verdict: str
    confidence: float
    evidence: tuple[Evidence, ...]
    keep: int | None = None
    cause: str | None = None


Rule = Callable[[Facts], Judgement | None]


def by_structure(facts: Facts) -> Judgement | None:
    """What needs no values: copies that are set from each other, stacked, or numbered by hand."""
    for rule in (
        _objects,
        _one_storage,
        _synced,
        _series,
        _explicit,
        _spelling,
        _mixed,
        _same_inputs,
    ):
        found = rule(facts)
        if found is not None:
            return found
    return None


def _objects(facts: Facts) -> Judgement | None:
    if not facts.objects:
        return None
    text = (
        "the names are those of the program's objects: one object that is used twice is saved "
        "under one name"
    )
    return Judgement("numbered", 0.7, (Evidence("names", text, INFERRED),))


def _one_storage(facts: Facts) -> Judgement | None:
    if not facts.one_storage:
        return None
    text = "they are handles of one variable (one shared_name): what changes one changes the other"
    return Judgement("numbered", 0.9, (Evidence("construction", text),))


def _synced(facts: Facts) -> Judgement | None:
    if not facts.synced:
        return None
    source, target = facts.synced[0]
    text = (
        f"an op of the graph sets {named(facts, target)} from {named(facts, source)}: "
        "a target network, an average or a copy that is kept in step"
    )
    return Judgement("numbered", 0.95, (Evidence("sync", text),))


def _series(facts: Facts) -> Judgement | None:
    if facts.group.kind != SERIES:
        return None
    text = f"one of {named(facts, 0)} and {named(facts, 1)} feeds the other: layers of one network"
    if len(facts.copies) > 2:
        text = f"the {len(facts.copies)} feed one another: layers of one network"
    return Judgement("stacked", 0.95, (Evidence("dataflow", text),))


def _explicit(facts: Facts) -> Judgement | None:
    if not facts.group.explicit:
        return None
    text = (
        "the program numbered them itself: where TensorFlow numbers a name, the first has no "
        "number and the second is _1"
    )
    return Judgement("numbered", 0.85, (Evidence("names", text, INFERRED),))


def _spelling(facts: Facts) -> Judgement | None:
    """Names that differ by case are two names, which TensorFlow had to number."""
    spelled = {member.spelled for copy in facts.group.copies for member in copy}
    parents = {member.path.rpartition("/")[0] for copy in facts.group.copies for member in copy}
    folded = {item.casefold() for item in spelled}
    if len(spelled) == len(folded) and len(parents) == len({item.casefold() for item in parents}):
        return None
    text = (
        "the names differ by case as well: TensorFlow numbers a name that another one equals "
        "without regard to case"
    )
    return Judgement("numbered", 0.8, (Evidence("names", text, INFERRED),))


def _mixed(facts: Facts) -> Judgement | None:
    if facts.group.kind != MIXED:
        return None
    text = "some of them feed each other and some do not: layers and branches of one network"
    return Judgement("stacked", 0.7, (Evidence("dataflow", text),))


def _same_inputs(facts: Facts) -> Judgement | None:
    """Several over the very same tensor, treated alike: heads, branches, an ensemble."""
    entries = facts.copies[0].entries
    if facts.group.kind != PARALLEL or not entries:
        return None
    if any(copy.entries != entries for copy in facts.copies):
        return None
    if len({alive(facts, at) for at in range(len(facts.copies))}) > 1:
        return None  # one is trained and another is not
    if not facts.trains and facts.from_data and facts.ends_apart:
        return None  # a whole network each, for a purpose of its own: values may tell
    text = "all of them work on the same tensor, side by side: branches, heads or an ensemble"
    return Judgement("numbered", 0.8, (Evidence("dataflow", text),))


def alive(facts: Facts, at: int) -> bool:
    copy = facts.copies[at]
    return copy.trained and (bool(copy.losses) or not facts.losses)
