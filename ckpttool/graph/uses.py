"""What a graph does with each variable: computes with it, trains it, copies it, loads it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.graph.dataflow import APPLIES, Dataflow, Use
from ckpttool.names import encode_name

if TYPE_CHECKING:
    from ckpttool.graph.variables import GraphVariable

_MAX_COPY_NODES = 64  # a copy, a soft update or an average is a handful of ops
_MAX_STEPS = 6
_RESTORES = frozenset({b"RestoreV2", b"RestoreSlice", b"Restore"})
_HOLDERS = frozenset({b"VariableV2", b"Variable", b"VarHandleOp", b"AutoReloadVariable"})
_PLACEHOLDERS = frozenset({b"Placeholder", b"PlaceholderV2", b"PlaceholderWithDefault"})
# What lies between two variables when one is set (partly) from the other, and nothing is computed
# on data on the way.
_ELEMENTWISE = frozenset({
    b"Identity", b"ReadVariableOp", b"Cast", b"StopGradient", b"Mul", b"Add", b"AddV2", b"AddN",
    b"Sub", b"Neg", b"RealDiv", b"Div", b"Reshape", b"Enter", b"Exit", b"Switch", b"Merge",
    b"Select", b"SelectV2", b"EnsureShape", b"Snapshot", b"_Arg", b"_Retval", b"Minimum",
    b"Maximum", b"AssignSub", b"AssignAdd", b"Assign", b"Pow", b"Exp", b"Floor", b"FloorMod",
    b"FloorDiv", b"Square", b"Sqrt", b"Rsqrt",
})  # fmt: skip
# What decides and is not copied: the position of that input.
_DECIDING = {b"Switch": 1, b"RefSwitch": 1, b"Select": 0, b"SelectV2": 0}


class VariableUse(NamedTuple):
    """What happens to one variable (all its partitions together).

    ``reads`` are the nodes that compute with it, those left out that only set other variables.
    ``trained``: an optimizer, or an assignment computed from gradients, changes it.  ``updated``:
    something else of the graph does (moving statistics, counters).  ``fed``: it can be set from a
    placeholder.  ``copied_from`` are the nodes of other variables that it is set from, whole or in
    part.  ``gradients`` counts nodes of the backward part that read it.
    """

    nodes: tuple[int, ...]
    reads: tuple[Use, ...]
    trained: bool
    updated: bool
    fed: bool
    copied_from: frozenset[int]
    gradients: int


def variable_use(flow: Dataflow, parts: Iterable[GraphVariable]) -> VariableUse | None:
    """How a variable is used; None if it has no node in the graph."""
    nodes: list[int] = []
    reads: list[Use] = []
    trained = updated = fed = False
    copied: set[int] = set()
    gradients = 0
    for part in parts:
        number = part.node_number
        if number is None:
            continue
        nodes.append(number)
        uses = flow.uses(number)
        reads += [use for use in uses.reads if not _only_sets(flow, use.node)]
        gradients += uses.gradients
        initial = part.initializer_name
        first = flow.graph.table.index.get(encode_name(initial)) if initial else None
        for use in uses.writes:
            kind, sources = _write(flow, use.node, number)
            copied |= sources
            if use.node == first:
                continue
            trained = trained or kind == "trained"
            fed = fed or kind == "fed"
            updated = updated or kind == "updated"
    if not nodes:
        return None
    return VariableUse(
        tuple(nodes), tuple(reads), trained, updated, fed, frozenset(copied - set(nodes)), gradients
    )


def _only_sets(flow: Dataflow, number: int, depth: int = 0) -> bool:
    """Whether a node's value is stored and nothing else: in other variables, or in a checkpoint."""
    op = flow.ops[number]
    if depth > _MAX_STEPS or (op not in _ELEMENTWISE and op != b"Slice"):
        return False
    readers = [use for use in flow.readers(number) if not flow.backward[use.node]]
    return bool(readers) and all(
        (use.position > 0 and flow.is_write(use.node))
        or flow.ops[use.node].startswith(b"Save")
        or _only_sets(flow, use.node, depth + 1)
        for use in readers
    )


def _write(flow: Dataflow, number: int, variable: int) -> tuple[str, set[int]]:
    """What kind of change a node makes, and for ``copied`` from which variables.

    The other kinds are ``trained``, ``restored``, ``fed`` and ``updated``.
    """
    if APPLIES.fullmatch(flow.ops[number]):
        return "trained", set()
    values = [source for source, _ in flow.inputs(number)[1:]]
    if any(flow.from_gradients[source] for source in values):
        return "trained", set()
    pending, seen = list(values), set(values)
    variables: set[int] = set()
    restored = fed = computed = False
    while pending and len(seen) <= _MAX_COPY_NODES:
        current = pending.pop()
        op = flow.ops[current]
        if op in _HOLDERS:
            variables.add(current)
        elif op in _RESTORES:
            restored = True
        elif op in _PLACEHOLDERS:
            fed = True
        elif op in _ELEMENTWISE:
            found = [source for source, _ in flow.inputs(current)]
            if op in _DECIDING and len(found) > _DECIDING[op]:
                del found[_DECIDING[op]]
            pending += [source for source in found if source not in seen]
            seen.update(found)
        elif op != b"Const":
            computed = True
    variables.discard(variable)
    if restored:
        return "restored", set()
    if variables and not computed:
        return "copied", variables
    return ("fed" if fed and not computed else "updated"), set()


def variable_uses(
    flow: Dataflow, variables: Mapping[str, Iterable[GraphVariable]]
) -> dict[str, VariableUse]:
    """The use of each variable that has a node, by key."""
    found = {}
    for key, parts in variables.items():
        used = variable_use(flow, parts)
        if used is not None:
            found[key] = used
    return found
