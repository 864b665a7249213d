"""The rule for whole networks side by side: the code that builds the graph ran several times."""

from __future__ import annotations

from ckpttool.analysis.duplicates.facts import GET_VARIABLE, Facts
from ckpttool.analysis.duplicates.model import INFERRED, Evidence
from ckpttool.analysis.duplicates.structure import Judgement
from ckpttool.analysis.duplicates.values import INITIAL, MOVED
from ckpttool.analysis.duplicates.words import named, wanted

# Names of layers that were given none.
_DEFAULT_NAMES = frozenset((
    "dense", "conv1d", "conv2d", "conv3d", "conv2d_transpose", "batch_normalization", "lstm", "gru",
    "rnn", "embedding", "simple_rnn", "separable_conv2d", "depthwise_conv2d", "layer_normalization",
    "fully_connected", "conv", "batchnorm",
))  # fmt: skip


def rebuilt(facts: Facts) -> Judgement | None:
    """Whole networks that nothing joins, each with its own placeholders: the code ran again."""
    copies = facts.copies
    if not facts.ends_apart or not facts.twin_roots or wanted(facts):
        return None
    if any(copy.fed for copy in copies) or facts.same_initializers is False:
        return None
    unnamed = _anonymous(facts) or _default_named(facts)
    if any(copy.made_by == GET_VARIABLE for copy in copies) and not unnamed and not facts.imported:
        return None
    evidence = [
        Evidence(
            "dataflow",
            f"{len(copies)} separate networks: each has placeholders of its own, named alike, and "
            "nothing joins them",
        )
    ]
    if facts.imported:
        text = "each scope holds a Saver of its own: a whole graph, put in several times"
        evidence.append(Evidence("construction", text))
    moved = [at for at, copy in enumerate(copies) if copy.state == MOVED or copy.moved]
    still = [at for at, copy in enumerate(copies) if copy.state == INITIAL and not copy.moved]
    known = len(moved) + len(still) == len(copies)
    if known and len(moved) == 1:
        text = f"only {named(facts, moved[0])} has moved from its initializer"
        evidence.append(Evidence("values", text))
        if moved[0] != len(copies) - 1 and facts.trains and not (unnamed or facts.imported):
            # The last of several runs of the same lines is the one that goes on.
            return Judgement("undecided", 0.55, tuple(evidence), moved[0])
        return Judgement("unshared", 0.9, tuple(evidence), moved[0], "rebuilt_graph")
    return _rebuilt_all_alike(facts, evidence, moved, known)


def _rebuilt_all_alike(
    facts: Facts, evidence: list[Evidence], moved: list[int], known: bool
) -> Judgement:
    """Networks of which no one is more alive than the others by its values."""
    copies = facts.copies
    text = "whether only one of them was trained cannot be told"
    if len(moved) > 1:
        text = f"{len(moved)} of them hold other values than their initializers': all may be in use"
    elif known:
        text = "all of them are still at their initializers"
    evidence.append(Evidence("values", text))
    # Players and members of an ensemble start from different values.
    if not _anonymous(facts) or moved:
        return Judgement("undecided", 0.5, tuple(evidence))
    last = len(copies) - 1
    evidence += [
        Evidence("names", "the variables have no names of their own: the same lines ran again"),
        Evidence("names", f"the program's names mean the last one, {named(facts, last)}", INFERRED),
    ]
    confidence = 0.75 if known and not moved else 0.65
    return Judgement("unshared", confidence, tuple(evidence), last, "rebuilt_graph")


def _default_named(facts: Facts) -> bool:
    """Whether every copy is made of layers that the program gave no names."""
    return all(
        member.spelled in _DEFAULT_NAMES and "/" not in member.path
        for copy in facts.group.copies
        for member in copy
    )


def _anonymous(facts: Facts) -> bool:
    """Whether every variable has the name that tf.Variable gives where the program gives none."""
    return all(
        name.rpartition("/")[2].partition("_")[0] == "Variable"
        for copy in facts.copies
        for name in copy.names
    )
