"""Checkpoint keys of graph variables, through the Saver's own save op.

Equal names are no proof: a Saver may have been given a dict, averages under the plain names, or
partitions that it stores as slices of one key.  The save op lists its keys (``tensor_names``),
the slices (``shape_and_slices``) and the tensors it saves; each tensor is followed back to the
variable that it reads.  Sources: ``tensorflow:core/ops/io_ops.cc`` (Save, SaveSlices, SaveV2,
Restore, RestoreSlice, RestoreV2), ``python/training/saver.py``.
"""

from __future__ import annotations

from collections.abc import Collection as AnyCollection
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.graph.nodes import NodeTable, base_name, output_number
from ckpttool.graph.variables import variable_nodes, variables
from ckpttool.names import decode_name, encode_name
from ckpttool.tensors import Slice

if TYPE_CHECKING:
    from ckpttool.graph.metagraph import MetaGraph

# Data inputs before the saved tensors, by op; the second is always tensor_names.
_SAVE_OPS = {b"SaveV2": 3, b"SaveSlices": 3, b"Save": 2}
_RESTORE_OPS = frozenset({b"RestoreV2", b"RestoreSlice", b"Restore"})
_SAVE_SET = frozenset(_SAVE_OPS)
_ASSIGN_OPS = frozenset({
    b"Assign", b"AssignVariableOp", b"LookupTableImport", b"LookupTableImportV2",
    b"DeserializeIterator",
})  # fmt: skip
# State that a Saver saves though it is no variable of ours.
_STATE_OPS = frozenset({b"Iterator", b"IteratorV2", b"OneShotIterator", b"MultiDeviceIterator"})
_MAX_WALK = 10_000  # nodes between a Saver's control tensor and its save ops
_MAX_CHAIN = 256  # nodes between a saved tensor and its variable
_MAX_INPUTS = 1_000_000  # edges that one Saver is followed along to its save ops
_MAX_TRACED = 10_000_000  # edges that a graph's saved tensors are followed along in all


class SliceSpec(NamedTuple):
    """A parsed ``shape_and_slices`` entry: the whole's shape, and the part that is saved."""

    full_shape: tuple[int, ...]
    part: Slice


class SavedPart(NamedTuple):
    """A variable that is saved under a key, whole (``spec`` None) or as a slice of it."""

    variable: str
    spec: SliceSpec | None


class SaverJoin(NamedTuple):
    """What one Saver saves: the variables behind each checkpoint key.

    ``scope`` is the Saver's name scope.  ``how`` is ``save_op``, ``restore_op`` or ``name``.
    ``guessed`` has the keys that no op vouches for, with ``slice_info`` or ``name`` for each.
    A key with no part is saved from something that holds no variable (a constant, an iterator).
    """

    scope: str
    how: str
    keys: dict[str, tuple[SavedPart, ...]]
    guessed: dict[str, str]

    def how_of(self, key: str) -> str:
        """How the variables of ``key`` were found."""
        return self.guessed.get(key, self.how)

    def keys_of(self) -> dict[str, list[str]]:
        """The keys by variable name; a variable that is not saved is not in it."""
        found: dict[str, list[str]] = {}
        for key, parts in self.keys.items():
            for part in parts:
                names = found.setdefault(part.variable, [])
                if not names or names[-1] != key:
                    names.append(key)
        return found


def join(graph: MetaGraph, keys: AnyCollection[str] | None = None) -> SaverJoin:
    """The Saver that fits a checkpoint with these ``keys`` best, with its variables.

    Without ``keys``, or where several fit equally: the graph's own Saver (``saver_def``).  Keys
    that no save or restore op explains are joined by slice info or equal name, if a variable fits.
    """
    joins = saver_joins(graph)
    if keys is None:
        return joins[0] if joins else by_name(graph, None)
    wanted = keys if isinstance(keys, (set, frozenset, dict)) else set(keys)
    best = None
    score = (0, 0.0)
    for candidate in joins:
        hits = sum(1 for key in candidate.keys if key in wanted)
        rank = (hits, hits / (len(candidate.keys) or 1))
        if rank > score:
            best, score = candidate, rank
    if best is None:
        return by_name(graph, wanted)
    left = [key for key in wanted if key not in best.keys]
    if left:
        rest = by_name(graph, set(left))
        best = best._replace(
            keys={**best.keys, **rest.keys}, guessed={**best.guessed, **rest.guessed}
        )
    return best


def saver_joins(graph: MetaGraph) -> list[SaverJoin]:
    """Every Saver that the graph's ops show: its own first, then ``savers``, then by scope."""
    table = graph.table
    found: list[SaverJoin] = []
    used: set[int] = set()
    for saver in graph.savers:
        ops = _save_ops(table, encode_name(saver.save_tensor_name))
        if ops:
            found.append(_from_save_ops(graph, saver.scope, ops))
            used.update(ops)
            continue
        restored = _from_restore_ops(graph, saver.scope, encode_name(saver.restore_op_name))
        if restored is not None:
            found.append(restored)
    scopes: dict[bytes, list[int]] = {}
    for number in table.with_ops(_SAVE_SET):
        if number not in used:
            scopes.setdefault(table.names[number].rpartition(b"/")[0], []).append(number)
    found += [_from_save_ops(graph, decode_name(scope), ops) for scope, ops in scopes.items()]
    if not found:
        restored = _from_restore_ops(graph, "", b"")
        if restored is not None:
            found.append(restored)
    return found


def by_name(graph: MetaGraph, keys: AnyCollection[str] | None) -> SaverJoin:
    """Variables by slice info or equal name; only ``keys``, if they are known.

    Local variables are left out, as a Saver does by default, unless ``keys`` has them.
    """
    joined: dict[str, list[SavedPart]] = {}
    guessed: dict[str, str] = {}
    globals_known = "variables" in graph.collections
    for variable in variables(graph):
        info = variable.slice_info
        if info is not None:
            key, spec, how = info.full_name, SliceSpec(info.full_shape, info.part), "slice_info"
        else:
            key, spec, how = variable.shared_name, None, "name"
        if keys is None:
            if globals_known and "variables" not in variable.collections:
                continue
        elif key not in keys:
            continue
        joined.setdefault(key, []).append(SavedPart(variable.name, spec))
        guessed[key] = how
    return SaverJoin("", "name", {key: tuple(parts) for key, parts in joined.items()}, guessed)


def parse_slice_spec(text: str) -> SliceSpec | None:
    """``10 2 0,4:-`` (shape 10 by 2, rows 0 to 3); None if empty (the whole) or not of that form.

    Source: ``tensorflow:core/util/saved_tensor_slice_util.cc`` (ParseShapeAndSlice).
    """
    *dims, last = text.split(" ")
    if not dims or not all(_is_number(dim) for dim in dims):
        return None
    shape = tuple(int(dim) for dim in dims)
    start, extent = [], []
    pieces = last.split(":")
    if len(pieces) != len(shape):
        return None
    for size, piece in zip(shape, pieces, strict=True):
        begin, _, length = piece.partition(",")
        if piece == "-":
            start.append(0)
            extent.append(size)
        elif _is_number(begin) and _is_number(length):
            start.append(int(begin))
            extent.append(int(length))
        else:
            return None
    return SliceSpec(shape, Slice(tuple(start), tuple(extent)))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20


def _save_ops(table: NodeTable, tensor: bytes) -> list[int]:
    """The save ops that a Saver's ``save_tensor_name`` waits for, in graph order."""
    first = table.index.get(base_name(tensor)) if tensor else None
    if first is None:
        return []
    found: list[int] = []
    seen = {first}
    queue = [first]
    steps = 0
    while queue and len(seen) < _MAX_WALK and steps < _MAX_INPUTS:
        number = queue.pop()
        if table.ops[number] in _SAVE_SET:
            found.append(number)
            continue
        inputs = table.inputs(number)
        steps += len(inputs)
        for name in inputs:
            source = table.index.get(base_name(name))
            if source is not None and source not in seen:
                seen.add(source)
                queue.append(source)
    return sorted(found)


def _from_save_ops(graph: MetaGraph, scope: str, ops: Iterable[int]) -> SaverJoin:
    table = graph.table
    tracer = _Tracer(graph)
    joined: dict[str, list[SavedPart]] = {}
    for number in ops:
        inputs = table.data_inputs(number)
        skip = _SAVE_OPS[table.ops[number]]
        most = len(inputs) - skip
        names = constant_strings(table, inputs[1], most) if most > 0 else []
        specs = constant_strings(table, inputs[2], most) if most > 0 and skip == 3 else []
        for position, (name, tensor) in enumerate(zip(names, inputs[skip:], strict=False)):
            text = specs[position] if position < len(specs) else b""
            spec = parse_slice_spec(decode_name(text)) if text else None
            parts = [SavedPart(variable, spec) for variable in tracer.variables(tensor)]
            joined.setdefault(decode_name(name), []).extend(parts)
    return SaverJoin(scope, "save_op", {key: tuple(v) for key, v in joined.items()}, {})


def _from_restore_ops(graph: MetaGraph, scope: str, restore_op: bytes) -> SaverJoin | None:
    """What the restore ops assign: of one Saver, or (``restore_op`` empty) of the whole graph."""
    table = graph.table
    if restore_op:
        numbers = _assign_ops(table, restore_op)
    else:
        # Estimators also restore in initializers (init_from_checkpoint): those are not this file.
        numbers = [
            number
            for number in table.with_ops(_ASSIGN_OPS)
            if not table.names[number].startswith(b"checkpoint_initializer")
        ]
    joined: dict[str, list[SavedPart]] = {}
    for number in numbers:
        inputs = table.data_inputs(number)
        for value in inputs[1:]:
            found = _restored(table, value)
            if found is not None:
                key, spec = found
                parts = joined.setdefault(decode_name(key), [])
                name = decode_name(base_name(inputs[0]))
                parts.append(SavedPart(name, parse_slice_spec(decode_name(spec)) if spec else None))
    if not joined:
        return None
    return SaverJoin(scope, "restore_op", {key: tuple(v) for key, v in joined.items()}, {})


def _assign_ops(table: NodeTable, restore_op: bytes) -> list[int]:
    """Assignments that ``restore_all`` waits for."""
    first = table.index.get(base_name(restore_op))
    found: list[int] = []
    seen = set() if first is None else {first}
    queue = list(seen)
    while queue and len(seen) < _MAX_WALK * 100:
        number = queue.pop()
        if table.ops[number] in _ASSIGN_OPS:
            found.append(number)
            continue
        for name in table.inputs(number):
            source = table.index.get(base_name(name))
            if name[:1] == b"^" and source is not None and source not in seen:
                seen.add(source)
                queue.append(source)
    return sorted(found)


def _restored(table: NodeTable, tensor: bytes) -> tuple[bytes, bytes] | None:
    """Key and slice text of the restore output that ``tensor`` comes from, None if of none."""
    for _ in range(_MAX_CHAIN):
        number = table.index.get(base_name(tensor))
        if number is None:
            return None
        if table.ops[number] in _RESTORE_OPS:
            inputs = table.data_inputs(number)
            output = output_number(tensor)
            name = constant_string(table, inputs[1], output) if len(inputs) > 1 else None
            if name is None:
                return None
            spec = constant_string(table, inputs[2], output) if len(inputs) > 2 else None
            return name, spec or b""
        first = table.first_input(number)
        if first is None:
            return None
        tensor = first
    return None


def constant_string(table: NodeTable, tensor: bytes, index: int) -> bytes | None:
    """One string of a constant; None if ``tensor`` is no constant or has fewer."""
    stored, count = _constant(table, tensor)
    if index < len(stored):
        return stored[index]
    # The last element stands for all that follow (tensor.proto).
    return stored[-1] if stored and index < count else None


def constant_strings(table: NodeTable, tensor: bytes, most: int) -> list[bytes]:
    """The strings of a constant, ``most`` of them; empty if ``tensor`` is no constant."""
    stored, count = _constant(table, tensor)
    missing = min(count, most) - len(stored)
    return stored + stored[-1:] * missing if stored and missing > 0 else stored[:most]


def _constant(table: NodeTable, tensor: bytes) -> tuple[list[bytes], int]:
    """The strings that a constant stores, and how many it stands for."""
    number = table.index.get(base_name(tensor))
    for _ in range(8):
        if number is None or table.ops[number] != b"Identity":
            break
        first = table.first_input(number)
        number = None if first is None else table.index.get(base_name(first))
    if number is None:
        return [], 0
    return table.strings(number)


class _Tracer:
    """Follows saved tensors back to the variables that they read."""

    def __init__(self, graph: MetaGraph) -> None:
        self._table = graph.table
        self._left = _MAX_TRACED
        self._index = index = graph.table.index
        self._ends = set(variable_nodes(graph))
        for collection in graph.collections.values():
            self._ends.update(
                index[record.name] for record in collection.variables if record.name in index
            )

    def variables(self, tensor: bytes) -> list[str]:
        """Names of the variables (tables, …) behind ``tensor``; nearly always one."""
        table = self._table
        number = self._index.get(tensor)
        if number is None:
            number = self._index.get(base_name(tensor))
        for _ in range(_MAX_CHAIN):
            if number is None:
                return []
            if number in self._ends:
                return [decode_name(table.names[number])]
            inputs = self._inputs(number)
            if len(inputs) != 1:
                return self._search(number)
            number = table.index.get(base_name(inputs[0]))
        return []

    def _search(self, number: int) -> list[str]:
        """Every variable behind a node with several inputs (a slice, a canonical cuDNN weight)."""
        table = self._table
        found: dict[str, None] = {}
        seen = {number}
        queue = [number]
        while queue and len(seen) < _MAX_CHAIN:
            current = queue.pop(0)
            if current in self._ends or table.ops[current] in _STATE_OPS:
                found[decode_name(table.names[current])] = None
                continue
            for name in self._inputs(current):
                source = table.index.get(base_name(name))
                if source is not None and source not in seen:
                    seen.add(source)
                    queue.append(source)
        return list(found)

    def _inputs(self, number: int) -> list[bytes]:
        """The node's data inputs; none once more have been looked at than any real graph has."""
        if self._left < 0:
            return []
        inputs = self._table.data_inputs(number)
        self._left -= len(inputs)
        return inputs
