"""The rules: from a group's facts to a verdict, with the reasons in plain words.

The rules are tried in order and the first that fits decides.  They lean to ``undecided``: calling
variables unshared that were meant to be apart is the worse mistake.
"""

from __future__ import annotations

import re

from ckpttool.analysis.duplicates.facts import TF_VARIABLE, Facts
from ckpttool.analysis.duplicates.model import INFERRED, Evidence
from ckpttool.analysis.duplicates.rebuilt import rebuilt
from ckpttool.analysis.duplicates.relate import MANY, PARALLEL, UNKNOWN, UNREAD
from ckpttool.analysis.duplicates.structure import Judgement, Rule, alive
from ckpttool.analysis.duplicates.values import INITIAL, MOVED
from ckpttool.analysis.duplicates.words import and_list, named, wanted

_TESTING = re.compile(
    r"(?:^|[/_])(?:test|eval|valid|val|dev|infer|predict|pred|serv|sample)"
    r"(?:ing|ed|ion|uation|idation|e|ence|er)?s?(?=$|[/_0-9])",
    re.IGNORECASE,
)


def judge(facts: Facts) -> Judgement:
    """The verdict on a group whose values have been looked at."""
    rules: tuple[Rule, ...]
    if not facts.has_graph:
        rules = (_still_constant,)
    elif facts.group.kind == UNREAD:
        rules = (_declared_twice,)
    elif facts.group.kind == PARALLEL:
        rules = (_leftover, _one_trained, rebuilt, _one_loss, _not_trained_here)
    else:
        rules = ()
    for rule in rules:
        found = rule(facts)
        if found is not None:
            return found
    return _undecided(facts)


# --- rules for copies side by side -----------------------------------------------------------


def _leftover(facts: Facts) -> Judgement | None:
    """One that nothing computes with, beside one that is in use."""
    used = [at for at, copy in enumerate(facts.copies) if copy.reads]
    if len(used) == len(facts.copies):
        return None
    idle = next(at for at, copy in enumerate(facts.copies) if not copy.reads)
    text = f"nothing computes with {named(facts, idle)}"
    keep = used[0] if len(used) == 1 else None
    return Judgement("undecided", 0.5, (Evidence("dataflow", text),), keep)


def _one_trained(facts: Facts) -> Judgement | None:
    """One copy is trained, another one is computed with and never changes."""
    living, still = living_and_still(facts)
    if not living or not still or len(living) + len(still) < len(facts.copies):
        return None
    idle, live = still[0], living[0]
    evidence = [*_not_trained(facts, live, idle)]
    evidence.append(Evidence("dataflow", "they are side by side: neither feeds the other"))
    doubt = next((found for at in still if (found := meant(facts, at, live)) is not None), None)
    if doubt is None and len(living) > 1:
        doubt = Evidence("training", f"{len(living)} of them are trained: several may be meant")
    if doubt is not None:
        return Judgement("undecided", 0.5, (*evidence, doubt), live)
    if facts.losses:
        losses = and_list(sorted(facts.losses[n] for n in facts.copies[live].losses))
        text = f"of the {_count(facts)} only {named(facts, live)} reaches the loss ({losses})"
        evidence.append(Evidence("dataflow", text))
    copy = facts.copies[idle]
    confidence = 0.93 if _entered_again(facts, idle) else 0.85
    if copy.state == INITIAL:
        confidence += 0.04
    elif copy.state == MOVED and not copy.decayed:
        confidence -= 0.2
        text = f"{named(facts, idle)} holds other values than its initializer's: it was loaded"
        evidence.append(Evidence("values", text))
    return Judgement("unshared", confidence, tuple(evidence), live, cause_of(facts))


def split_copies(facts: Facts) -> list[list[int]]:
    """Places of the copies that are to be judged apart; empty if all go together.

    Beside one live copy there may be a target network and a copy that was made by mistake.
    """
    living, still = living_and_still(facts)
    if len(facts.copies) < 3 or len(living) != 1:
        return []
    live = living[0]
    in_step = {at for pair in facts.synced for at in pair}
    others = [at for at in range(len(facts.copies)) if at != live]
    apart = [
        at
        for at in others
        if at not in still or at in in_step or meant(facts, at, live) is not None
    ]
    if not apart or len(apart) == len(others):
        return []
    rest = [at for at in others if at not in apart]
    return [sorted([live, *places]) for places in (apart, rest)]


def _count(facts: Facts) -> str:
    return "two" if len(facts.copies) == 2 else str(len(facts.copies))


def living_and_still(facts: Facts) -> tuple[list[int], list[int]]:
    """The copies that a loss trains, and those that nothing changes but weight decay."""
    if not facts.trains:
        return [], []
    places = range(len(facts.copies))
    living = [at for at in places if alive(facts, at)]
    still = [
        at
        for at in places
        if at not in living
        and not facts.copies[at].updated
        and (facts.copies[at].decayed or not facts.copies[at].trained)
    ]
    return living, still


def _not_trained(facts: Facts, live: int, idle: int) -> list[Evidence]:
    one, other = named(facts, live), named(facts, idle)
    if facts.copies[idle].decayed:
        text = f"the train op changes {one}; of {other} the loss sees the weight decay alone"
    else:
        text = f"the train op changes {one} and never {other}"
    return [Evidence("training", text)]


def meant(facts: Facts, idle: int, live: int) -> Evidence | None:
    """A sign that the copy which is not trained is so on purpose."""
    copy = facts.copies[idle]
    name = named(facts, idle)
    if copy.losses:
        return Evidence("dataflow", f"a loss sees {name} too: a frozen network may be meant")
    if copy.gradients and not copy.decayed:
        return Evidence("dataflow", f"gradients run through {name}: a frozen network may be meant")
    if copy.fed:
        return Evidence("sync", f"{name} can be set from a placeholder: the program may copy it")
    if copy.frozen and not facts.copies[live].frozen:
        return Evidence("training", f"{name} was made with trainable=False")
    if facts.equal and facts.nonflat:
        return Evidence("values", "their values are equal: something keeps them in step")
    if copy.moved and not copy.decayed:
        return Evidence("checkpoints", f"{name} changes between the checkpoints all the same")
    if copy.state == MOVED and not copy.decayed and not _for_testing(facts, idle):
        return Evidence(
            "values", f"{name} holds other values than its initializer's: it was loaded"
        )
    if wanted(facts):
        return Evidence("names", "the name says that several are wanted", INFERRED)
    return None


def _for_testing(facts: Facts, at: int) -> bool:
    """Whether a scope was entered again for what its data or output calls a test."""
    return _entered_again(facts, at) and any(
        _TESTING.search(name) for name in facts.copies[at].purposes
    )


def _entered_again(facts: Facts, at: int) -> bool:
    """Whether the copy lies in a scope that was entered again, not in one that asked for a name."""
    copy = facts.copies[at]
    return bool(facts.shared) or (copy.made_by == TF_VARIABLE and copy.entered)


def _one_loss(facts: Facts) -> Judgement | None:
    """All trained, on different data, by one loss: a Siamese or GAN tower that was built twice."""
    copies = facts.copies
    if not all(alive(facts, at) for at in range(len(copies))) or not facts.losses:
        return None
    evidence = [Evidence("training", "all of them are trained")]
    if not frozenset.intersection(*[copy.losses for copy in copies]):
        text = "each is trained by a loss of its own: several models may be meant"
        return Judgement("undecided", 0.5, (*evidence, Evidence("dataflow", text)))
    loss = and_list(sorted(facts.losses[n] for n in copies[0].losses))
    evidence.append(Evidence("dataflow", f"they meet in the loss ({loss})"))
    own = [
        copy.roots - frozenset().union(*[other.roots for other in copies if other is not copy])
        for copy in copies
    ]
    if not all(own):
        text = "they see the same data in part: branches of one network may be meant"
        return Judgement("undecided", 0.5, (*evidence, Evidence("dataflow", text)))
    evidence.append(Evidence("dataflow", "each is computed from other data than the others"))
    if facts.reused:
        text = "each is used in several places by itself: reuse works, and these are meant apart"
        return Judgement("undecided", 0.5, (*evidence, Evidence("dataflow", text)))
    if facts.same_initializers is not False and not wanted(facts):
        if facts.shared:
            return Judgement("unshared", 0.85, tuple(evidence), None, cause_of(facts))
        if facts.fused:
            text = "what they give is put together: streams of one network may be meant"
            return Judgement("undecided", 0.5, (*evidence, Evidence("dataflow", text)))
        if _one_tower(facts):
            evidence.append(
                Evidence("construction", "a whole tower, made by entering one scope again")
            )
            return Judgement("unshared", 0.75, tuple(evidence), None, cause_of(facts))
    text = "whether they were meant to be one cannot be told from the graph"
    return Judgement("undecided", 0.55, (*evidence, Evidence("unknown", text)))


def _one_tower(facts: Facts) -> bool:
    """Whether each copy is one scope of several layers, of tf.Variable and entered again."""
    return all(
        len(copy.scopes) == 1
        and copy.made_by == TF_VARIABLE
        and copy.entered
        and any("/" in name[len(copy.scopes[0]) + 1 :] for name in copy.names)
        for copy in facts.copies
    )


def _not_trained_here(facts: Facts) -> Judgement | None:
    """A graph that trains none of them: slots and values tell which one was trained."""
    copies = facts.copies
    if any(copy.trained for copy in copies) or facts.same_initializers is False:
        return None
    if not facts.ends_apart:
        return None  # two streams of one network, of which one may well be fixed
    evidence = [Evidence("dataflow", "they are side by side: neither feeds the other")]
    still = [at for at, copy in enumerate(copies) if copy.state == INITIAL and not copy.moved]
    live = [at for at, copy in enumerate(copies) if copy.state == MOVED or copy.moved]
    if len(live) != 1 or len(still) + 1 != len(copies) or wanted(facts):
        return None
    if any(copies[at].slots or copies[at].fed or copies[at].frozen for at in still):
        return None
    evidence.append(
        Evidence(
            "values",
            f"{named(facts, still[0])} is still as its initializer left it, "
            f"{named(facts, live[0])} is not",
        )
    )
    if any(not copies[at].exact for at in still) and not copies[live[0]].slots:
        return Judgement("undecided", 0.55, tuple(evidence), live[0])
    return Judgement("unshared", 0.75, tuple(evidence), live[0], cause_of(facts))


def _declared_twice(facts: Facts) -> Judgement | None:
    """Variables that no op reads: only how they were made can tell."""
    copies = facts.copies
    made = all(copy.made_by == TF_VARIABLE and copy.entered for copy in copies)
    evidence = [Evidence("dataflow", "no op of the graph computes with any of them")]
    if not made or not facts.same_initializers or wanted(facts):
        return Judgement("undecided", 0.4, tuple(evidence))
    moved = [at for at, copy in enumerate(copies) if copy.state == MOVED or copy.moved]
    evidence.append(
        Evidence(
            "construction",
            f"one scope, entered {len(copies)} times: a variable scope that is entered again is "
            "shared by get_variable and not by tf.Variable",
        )
    )
    keep = moved[0] if len(moved) == 1 else (0 if facts.equal else None)
    confidence = 0.65 if len(moved) < 2 else 0.55
    return Judgement("unshared", confidence, tuple(evidence), keep, cause_of(facts))


# --- without a graph -------------------------------------------------------------------------


def _still_constant(facts: Facts) -> Judgement | None:
    """Slots and values alone: one copy was trained, the other has its constants to this day."""
    copies = facts.copies
    if len(copies) != 2 or not facts.group.complete or wanted(facts):
        return None
    for idle, live in ((1, 0), (0, 1)):
        still, moving = copies[idle], copies[live]
        if not still.flat or moving.flat is not False:
            continue
        trained = bool(moving.slots) and not still.slots
        moves = moving.moved is True and still.moved is False
        if not (trained or moves) or still.moved:
            continue
        evidence = [
            Evidence(
                "values",
                f"variables of {named(facts, idle)} are constant, as made; "
                f"those of {named(facts, live)} are not",
                INFERRED,
            )
        ]
        if trained:
            text = f"{named(facts, live)} has optimizer slots and {named(facts, idle)} has none"
            evidence.append(Evidence("slots", text))
        if moves:
            evidence.append(_moves(facts, live, idle))
        if not (trained and moves):
            text = "a frozen layer would look the same: the graph would tell"
            return Judgement("undecided", 0.6, (*evidence, Evidence("unknown", text)), live)
        return Judgement("unshared", 0.7, tuple(evidence), live, cause_of(facts))
    return None


def _moves(facts: Facts, live: int, idle: int) -> Evidence:
    text = f"{named(facts, live)} changes between the checkpoints, {named(facts, idle)} never does"
    return Evidence("checkpoints", text)


def _undecided(facts: Facts) -> Judgement:
    if facts.group.kind == UNKNOWN:
        text = "without a graph, layers one after the other and copies side by side look the same"
        return Judgement("undecided", 0.4, (Evidence("unknown", text),))
    if facts.group.kind == MANY:
        text = "there are too many of them to tell how each stands to the others"
        return Judgement("undecided", 0.3, (Evidence("unknown", text),))
    text = "they are side by side, and nothing tells whether they were meant to be one"
    return Judgement("undecided", 0.4, (Evidence("dataflow", text),))


def cause_of(facts: Facts) -> str:
    """What in the code makes such copies: a key of the fixes."""
    if facts.is_batch_norm:
        return "batch_normalization"
    copies = facts.copies[1:]
    if any(copy.made_by == TF_VARIABLE for copy in copies):
        scoped = any(scope not in copy.names for copy in copies for scope in copy.scopes)
        return "variable_in_scope" if scoped else "plain_variable"
    if facts.shared:
        return "layer_object"
    return "default_name" if facts.has_graph else "not_known"
