"""Find variables that should have been shared and were not.

Names give the candidates; the graph's dataflow, its train op, the slots and the values give the
evidence, and explicit rules the verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ckpttool.analysis.duplicates.candidates import families
from ckpttool.analysis.duplicates.context import Context
from ckpttool.analysis.duplicates.facts import Facts, gather, look_closer
from ckpttool.analysis.duplicates.mend import fix_for
from ckpttool.analysis.duplicates.model import (
    VERDICTS,
    DuplicateGroup,
    DuplicatesResult,
    Evidence,
    SharedVariable,
)
from ckpttool.analysis.duplicates.relate import PARALLEL, Group, groups_by_dataflow, groups_by_names
from ckpttool.analysis.duplicates.shared import shared_variables
from ckpttool.analysis.duplicates.slots import slot_groups
from ckpttool.analysis.duplicates.structure import Judgement, by_structure
from ckpttool.analysis.duplicates.values import Values
from ckpttool.analysis.duplicates.verdict import judge, split_copies
from ckpttool.analysis.duplicates.words import background
from ckpttool.errors import CkptError
from ckpttool.names import natural_key

if TYPE_CHECKING:
    from ckpttool.analysis.tree import VariableRow
    from ckpttool.checkpoint import Checkpoint

__all__ = [
    "DuplicateGroup",
    "DuplicatesResult",
    "Evidence",
    "SharedVariable",
    "find_duplicates",
]

# Which unsaved variables count: those that belong to the model, not metrics and queues.
_MODEL = frozenset(("variables", "trainable_variables", "model_variables"))


def find_duplicates(
    checkpoints: Checkpoint | Sequence[Checkpoint], *, values: bool = True, shared: bool = False
) -> DuplicatesResult:
    """Groups of look-alike variables, each with a verdict, a confidence and its evidence.

    With several checkpoints of one run the last is examined, and the others tell which variables
    ever move.  ``values`` False reads no tensor data.  ``shared`` also looks for the variables that
    several towers really read; without a graph, or without ``shared``, that is None.
    """
    series = list(checkpoints) if isinstance(checkpoints, Sequence) else [checkpoints]
    if not series:
        raise ValueError("no checkpoint given")
    checkpoint = series[-1]
    rows = [row for row in checkpoint.rows() if row.role == "variable" and _counts(row)]
    context = Context(
        checkpoint, {row.name: row for row in rows}, series, Values(checkpoint) if values else None
    )
    problems: list[CkptError] = []
    try:
        _add_graph(context)
    except CkptError as error:
        problems.append(error)
        context = Context(checkpoint, context.rows, series, context.values)
    flow = context.flow
    if flow is None:
        groups = groups_by_names(families(rows))
    else:
        groups = groups_by_dataflow(families(rows, context.scopes), flow, context.uses)
    judged = [found for group in groups for found in _judged(context, group)]
    judged += slot_groups(checkpoint.rows())
    judged.sort(key=_rank)
    return DuplicatesResult(
        checkpoints=tuple(item.info.path for item in series),
        has_graph=flow is not None,
        groups=tuple(judged),
        shared=shared_variables(flow, context.uses) if shared and flow is not None else None,
        notices=(*checkpoint.notices(), *(p for error in problems for p in error.problems)),
        damage=tuple(dict.fromkeys(p for item in series for p in item.damage())),
    )


def _counts(row: VariableRow) -> bool:
    return row.saved or row.collections is None or not _MODEL.isdisjoint(row.collections)


def _add_graph(context: Context) -> None:
    joined = context.checkpoint.joined
    if joined is None or not len(joined.graph.table):
        return
    from ckpttool.graph.dataflow import Dataflow
    from ckpttool.graph.uses import variable_uses
    from ckpttool.graph.variables import variables

    named = {item.name: item for item in variables(joined.graph)}
    parts = {
        row.name: [named[name] for name in row.graph_names if name in named]
        for row in context.rows.values()
    }
    if not any(parts.values()):
        return  # a graph of another model
    flow = Dataflow(joined.graph)
    context.use_graph(flow, variable_uses(flow, parts), named)


def _judged(context: Context, group: Group) -> list[DuplicateGroup]:
    """The verdict on a group; two where some copies are meant to be apart and some are not."""
    facts = gather(context, group)
    found = by_structure(facts)
    if found is None or (facts.group.kind == PARALLEL and len(facts.copies) > 2):
        look_closer(context, facts)
        parts = split_copies(facts)
        if parts:
            return [one for part in parts for one in _judged(context, group.of(part))]
    return [_dressed(facts, found or judge(facts))]


def _dressed(facts: Facts, found: Judgement) -> DuplicateGroup:
    fix = None
    if found.verdict == "unshared" and found.cause is not None:
        fix = fix_for(found.cause, facts.copies[0].scopes[0])
    return DuplicateGroup(
        copies=tuple(copy.names for copy in facts.copies),
        scopes=tuple(copy.scopes for copy in facts.copies),
        verdict=found.verdict,
        confidence=round(found.confidence, 2),
        evidence=(*found.evidence, *background(facts)),
        keep=found.keep,
        cause=found.cause if found.verdict == "unshared" else None,
        fix=fix,
    )


def _rank(group: DuplicateGroup) -> tuple[object, ...]:
    return VERDICTS.index(group.verdict), -group.confidence, natural_key(group.copies[0][0])
