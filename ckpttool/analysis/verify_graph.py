"""The keys of a checkpoint against what its graphs expect of it.

A TF1 graph says through its Saver which keys it restores, and of which dtype and shape; a TF2
object graph names the key of every saved value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ckpttool.errors import CkptError, Problem
from ckpttool.graph.attrs import attr_spans, attr_value
from ckpttool.names import OBJECT_GRAPH_KEY, encode_name
from ckpttool.storage.wire import WireError
from ckpttool.tensors import TensorSpec, dtype_from_enum

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.graph.metagraph import MetaGraph
    from ckpttool.graph.savers import SavedPart, SaverJoin

_VOUCHED = ("save_op", "restore_op")
_VARIABLES = frozenset((b"Variable", b"VariableV2", b"VarHandleOp", b"AutoReloadVariable"))


def graph_faults(checkpoint: Checkpoint) -> tuple[list[Problem], list[Problem]]:
    """Faults and notices: what the graphs and the keys do not agree on.

    A graph that cannot be parsed is a fault of its own.
    """
    before = set(checkpoint.info.notices)
    faults: list[Problem] = []
    notices: list[Problem] = []
    if OBJECT_GRAPH_KEY in checkpoint.specs:
        faults, notices = _objects(checkpoint)
        _ = checkpoint.graphs
    elif checkpoint.graphs and checkpoint.specs:
        faults = _savers(checkpoint)
    # A damaged object graph is told as the damaged tensor that it is.
    parsing = [item for item in checkpoint.notices() if item not in before]
    faults += [item for item in parsing if OBJECT_GRAPH_KEY not in f"{item.message} {item.where}"]
    return faults, notices


def _savers(checkpoint: Checkpoint) -> list[Problem]:
    """What the Saver that explains most of the keys does not agree with."""
    # Not `checkpoint.joined`: of all that it tells only the Saver is needed here.
    from ckpttool.graph.savers import join

    keys = checkpoint.specs.keys()
    best: tuple[int, list[Problem]] | None = None
    for graph in checkpoint.graphs:
        try:
            found = join(graph, keys)
            hits = sum(1 for key in found.keys if key in checkpoint.specs)
            if best is None or hits > best[0]:
                best = hits, [*_saver(checkpoint, graph, found), *graph.problems]
        except CkptError as error:
            best = best or (0, list(error.problems))
    return [] if best is None else best[1]


def _saver(checkpoint: Checkpoint, graph: MetaGraph, found: SaverJoin) -> Iterator[Problem]:
    for key, parts in found.keys.items():
        if found.how_of(key) not in _VOUCHED:
            continue
        spec = checkpoint.specs.get(key)
        if spec is None:
            what = f"the graph's Saver restores {key}, which is not in the checkpoint"
            yield Problem("INP017", what, graph.path, "no such key")
            continue
        for part in parts:
            yield from _disagreements(graph, part, spec)


def _disagreements(graph: MetaGraph, part: SavedPart, spec: TensorSpec) -> Iterator[Problem]:
    """Dtype and shape of the variable behind a key, against what is stored under it."""
    number = graph.table.index.get(encode_name(part.variable))
    if number is None or graph.table.ops[number] not in _VARIABLES:
        return  # tables and other state are stored as tensors of other kinds
    dtype, shape = _declared(graph, number)
    if dtype is not None and dtype != spec.dtype:
        what = f"the graph and the checkpoint do not agree on the dtype of {spec.name}"
        yield Problem("INP017", what, graph.path, spec.dtype, dtype)
    if part.spec is not None:
        shape = part.spec.full_shape
    if shape is not None and not _fits(shape, spec.shape):
        what = f"the graph and the checkpoint do not agree on the shape of {spec.name}"
        yield Problem("INP017", what, graph.path, str(list(spec.shape)), _shown(shape))


def _declared(graph: MetaGraph, number: int) -> tuple[str | None, tuple[int | None, ...] | None]:
    """Dtype and shape of a variable's node, as far as it says; both from one look at it."""
    table = graph.table
    dtype = shape = None
    try:
        spans = attr_spans(table.buf, table.rests[number], table.stops[number])
        for key in (b"dtype", b"shape"):
            found = attr_value(table.buf, *spans[key]) if key in spans else None
            if found is not None and found.kind == "type":
                dtype = dtype_from_enum(found.value).name
            elif found is not None and found.kind == "shape":
                shape = found.value
    except WireError:
        return None, None  # the pass over the nodes has told that it is damaged
    return dtype, shape


def _fits(declared: tuple[int | None, ...], stored: tuple[int, ...]) -> bool:
    return len(declared) == len(stored) and all(
        size is None or size < 0 or size == there
        for size, there in zip(declared, stored, strict=True)
    )


def _shown(shape: tuple[int | None, ...]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"


def _objects(checkpoint: Checkpoint) -> tuple[list[Problem], list[Problem]]:
    objects = checkpoint.objects
    if objects is None:
        return [], []
    where = f"{checkpoint.info.path}: {OBJECT_GRAPH_KEY}"
    keys = objects.graph.nodes_by_key().keys() - {""}
    faults = []
    # Saveables of several tensors (lookup tables) add `-keys`, `-values` to the key that is named.
    stems = {name.rpartition("-")[0] for name in checkpoint.specs}
    for key in sorted(keys - checkpoint.specs.keys() - stems):
        what = f"the object graph names {key}, which is not in the checkpoint"
        faults.append(Problem("INP017", what, where, "no such key"))
    known = {OBJECT_GRAPH_KEY, *keys}
    extra = [
        name
        for name in checkpoint.specs
        if name not in known and name.rpartition("-")[0] not in known
    ]
    notices = []
    if extra:
        what = f"{len(extra)} keys are in the checkpoint and not in its object graph"
        shown = ", ".join(extra[:5]) + (", …" if len(extra) > 5 else "")
        notices.append(Problem("INP017", what, where, shown))
    return faults, notices
