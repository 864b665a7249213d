"""Variables that really are shared: read from two towers or more.

Two readers of one kind that do not feed each other are two towers; readers one after the other (the
steps of an unrolled recurrence) are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ckpttool.analysis.duplicates.candidates import unnumbered
from ckpttool.analysis.duplicates.model import SharedVariable
from ckpttool.names import natural_key

if TYPE_CHECKING:
    from ckpttool.graph.dataflow import Dataflow
    from ckpttool.graph.uses import VariableUse

_BATCH = 4096  # readers whose reachability one pass carries
_MERGES = frozenset((b"Merge", b"RefMerge", b"_Retval"))
_MAX_READERS = 512  # of one variable


def shared_variables(flow: Dataflow, uses: Mapping[str, VariableUse]) -> tuple[SharedVariable, ...]:
    """Every variable with readers in two towers or more, with the scopes that read it."""
    wanted: list[tuple[str, list[int]]] = []
    for name, use in uses.items():
        # Of a partitioned variable one part tells: its parts are read side by side in any case.
        reads = use.reads if len(use.nodes) == 1 else flow.uses(use.nodes[0]).reads
        nodes = sorted({read.node for read in reads})[:_MAX_READERS]
        by_op: dict[bytes, list[int]] = {}
        for node in nodes:
            by_op.setdefault(flow.ops[node], []).append(node)
        for same in by_op.values():
            if len(same) > 1:
                wanted.append((name, same))
    towers: dict[str, set[str]] = {}
    for batch in _batches(wanted):
        for name, scopes in _in_towers(flow, batch):
            towers.setdefault(name, set()).update(scopes)
    return tuple(
        SharedVariable(name, tuple(sorted(scopes, key=natural_key)))
        for name, scopes in sorted(towers.items(), key=lambda item: natural_key(item[0]))
    )


def _batches(wanted: list[tuple[str, list[int]]]) -> Iterator[list[tuple[str, list[int]]]]:
    batch: list[tuple[str, list[int]]] = []
    size = 0
    for name, nodes in wanted:
        if size + len(nodes) > _BATCH and batch:
            yield batch
            batch, size = [], 0
        batch.append((name, nodes))
        size += len(nodes)
    if batch:
        yield batch


def _in_towers(
    flow: Dataflow, batch: list[tuple[str, list[int]]]
) -> Iterator[tuple[str, list[str]]]:
    bits: dict[int, int] = {}
    for _, nodes in batch:
        for node in nodes:
            bits.setdefault(node, len(bits))
    masks = flow.upstream({node: 1 << bit for node, bit in bits.items()}, frozenset(bits))
    for name, nodes in batch:
        own = 0
        for node in nodes:
            own |= 1 << bits[node]
        # The first reader of each tower: nothing of this variable's readers comes before it.
        firsts = [node for node in nodes if not masks.get(node, 0) & own & ~(1 << bits[node])]
        names = {flow.name(node) for node in _outcomes(flow, firsts)}
        if len(names) > 1:
            yield name, towers(sorted(names))


def _outcomes(flow: Dataflow, readers: list[int]) -> list[int]:
    """``readers`` with one for each conditional: its branches are one place in the program."""
    seen: set[int] = set()
    found = []
    for node in readers:
        merges = {use.node for use in flow.readers(node) if flow.ops[use.node] in _MERGES}
        if merges.isdisjoint(seen):
            found.append(node)
        seen |= merges
    return found


def towers(readers: list[str]) -> list[str]:
    """The scopes that tell readers apart: ``train`` and ``test`` for two ``…/fc/MatMul``.

    What the names end in alike, numbers left out, is cut off as long as they stay different.
    """
    split = [name.split("/") for name in readers]
    while all(len(parts) > 1 for parts in split):
        if len({unnumbered(parts[-1]) for parts in split}) > 1:
            break
        shorter = [parts[:-1] for parts in split]
        if len({"/".join(parts) for parts in shorter}) < len(split):
            break
        split = shorter
    return ["/".join(parts) for parts in split]
