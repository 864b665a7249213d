"""The variables of a graph: from its collections, and from the nodes that hold state.

Both are needed: a graph can have no variable collections at all (object detection exports), and a
variable can be in a collection under another op than ours knows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.errors import CkptError
from ckpttool.graph.attrs import GraphShape
from ckpttool.graph.nodes import NodeTable, base_name, output_number
from ckpttool.names import decode_name
from ckpttool.tensors import Slice, dtype_from_enum

if TYPE_CHECKING:
    from ckpttool.graph.collected import VariableDef
    from ckpttool.graph.metagraph import MetaGraph

TABLE_OPS = frozenset({
    b"HashTable", b"HashTableV2", b"MutableHashTable", b"MutableHashTableV2",
    b"MutableHashTableOfTensors", b"MutableHashTableOfTensorsV2", b"MutableDenseHashTable",
    b"MutableDenseHashTableV2",
})  # fmt: skip
# What a Saver can save: plain variables, tables, and the trees of gradient boosting.
VARIABLE_OPS = TABLE_OPS | frozenset({
    b"Variable", b"VariableV2", b"VarHandleOp", b"AutoReloadVariable",
    b"BoostedTreesEnsembleResourceHandleOp", b"BoostedTreesQuantileStreamResourceHandleOp",
    b"DecisionTreeEnsembleResourceHandleOp", b"DecisionTreeResourceHandleOp",
    b"FertileStatsResourceHandleOp", b"QuantileStreamResourceHandleOp",
    b"StatsAccumulatorScalarResourceHandleOp", b"StatsAccumulatorTensorResourceHandleOp",
})  # fmt: skip
_ASSIGN_OPS = frozenset({b"Assign", b"AssignVariableOp"})
_RESTORE_OPS = frozenset({b"Restore", b"RestoreSlice", b"RestoreV2"})


class SliceInfo(NamedTuple):
    """Where a partition lies in the whole variable ``full_name`` of shape ``full_shape``."""

    full_name: str
    full_shape: tuple[int, ...]
    part: Slice


class GraphVariable:
    """One variable (or table) of a graph; what needs its node or record is decoded on access.

    ``name`` has no ``:0``.  ``collections`` are raw names, sorted.  ``trainable`` is membership in
    ``trainable_variables``; None where the graph has no variable collection to say so.
    """

    __slots__ = ("_graph", "_number", "_record", "collections", "raw_name", "trainable")

    def __init__(
        self,
        graph: MetaGraph,
        raw_name: bytes,
        number: int | None,
        record: VariableDef | None,
        collections: tuple[str, ...],
        trainable: bool | None,
    ) -> None:
        self._graph = graph
        self._number = number
        self._record = record
        self.raw_name = raw_name
        self.collections = collections
        self.trainable = trainable

    def __repr__(self) -> str:
        return f"GraphVariable({self.name!r}, {self.op!r})"

    @property
    def name(self) -> str:
        """The name of the op that holds it."""
        return decode_name(self.raw_name)

    @property
    def node_number(self) -> int | None:
        """Its node's number in the table; None if it is only in a collection."""
        return self._number

    @property
    def op(self) -> str | None:
        """``VariableV2``, ``VarHandleOp``, ``HashTableV2``, …; None without a node."""
        return None if self._number is None else decode_name(self._graph.table.ops[self._number])

    @property
    def is_table(self) -> bool:
        """Whether it is a lookup table: keys and values instead of one tensor."""
        return self._number is not None and self._graph.table.ops[self._number] in TABLE_OPS

    @property
    def is_resource(self) -> bool:
        """Whether it is a resource variable (not a reference one)."""
        return self.op == "VarHandleOp"

    @property
    def dtype(self) -> str | None:
        """TensorFlow's dtype name, of a table that of its values; None if not known."""
        for key in (b"dtype", b"value_dtype"):
            found = self._attr(key, "type")
            if isinstance(found, int):
                return dtype_from_enum(found).name
        return None

    @property
    def shape(self) -> GraphShape | None:
        """The shape, None for an open dimension; None as a whole if not known (tables too)."""
        if self.is_table:
            return None
        found = self._attr(b"shape", "shape")
        return found if isinstance(found, tuple) else None

    @property
    def shared_name(self) -> str:
        """The name a Saver stores a resource variable under: its shared name, or its own."""
        found = self._attr(b"shared_name", "s")
        return decode_name(found) if isinstance(found, bytes) and found else self.name

    @property
    def slice_info(self) -> SliceInfo | None:
        """Its place in a partitioned variable; None if it is whole."""
        info = self._record.fields.get("save_slice_info_def") if self._record else None
        if not info or not info.get("full_name"):
            return None
        start = tuple(info.get("var_offset", ()))
        extent = tuple(info.get("var_shape", ()))
        full = tuple(info.get("full_shape", ()))
        if not len(start) == len(extent) == len(full):
            return None
        return SliceInfo(info["full_name"], full, Slice(start, extent))

    @property
    def initializer_name(self) -> str | None:
        """The op that initializes it."""
        if self._record is not None and self._record.text("initializer_name"):
            return self._record.text("initializer_name")
        number = self._assignment()
        return None if number is None else decode_name(self._graph.table.names[number])

    @property
    def initial_value_name(self) -> str | None:
        """The tensor that it starts from; None if the graph does not show it."""
        if self._record is not None and self._record.text("initial_value_name"):
            return self._record.text("initial_value_name")
        table = self._graph.table
        name = self._record.text("initializer_name") if self._record else ""
        number = table.index.get(base_name(name.encode("utf-8", "surrogateescape")))
        if number is None or table.ops[number] not in _ASSIGN_OPS:
            number = self._assignment()
        if number is None:
            return None
        inputs = table.data_inputs(number)
        return decode_name(inputs[1]) if len(inputs) > 1 else None

    @property
    def snapshot_name(self) -> str | None:
        """The tensor that reads it, as recorded."""
        return (self._record.text("snapshot_name") or None) if self._record else None

    @property
    def made_by(self) -> str | None:
        """``get_variable`` or ``tf.Variable``, where the name of its initial value shows it.

        ``tf.get_variable`` (also under ``tf.layers`` and Keras) makes the value in
        ``<name>/Initializer/``; ``tf.Variable`` calls a given Python value ``initial_value``.
        """
        value = self.initial_value_name
        if value is None:
            return None
        own, _, rest = value.rpartition(":")[0].partition(self.name + "/")
        if own or not rest:
            return None
        if rest.rpartition("/")[2].startswith("initial_value"):
            return "tf.Variable"
        return "get_variable" if rest.startswith("Initializer/") else None

    @property
    def scope(self) -> str:
        """The name without its last component; empty at the top."""
        return self.name.rpartition("/")[0]

    def _attr(self, key: bytes, kind: str) -> object:
        if self._number is None:
            return None
        try:
            found = self._graph.table.attr(self._number, key)
        except CkptError as error:  # what is intact of the graph can still be told
            self._graph.problems.update(dict.fromkeys(error.problems))
            return None
        return found.value if found is not None and found.kind == kind else None

    def _assignment(self) -> int | None:
        return self._graph.assignments.get(self.raw_name)


def variables(graph: MetaGraph) -> list[GraphVariable]:
    """Every variable of the graph: those with a node in graph order, then the others."""
    table = graph.table
    numbers = {table.names[number]: number for number in variable_nodes(graph)}
    records: dict[bytes, VariableDef] = {}
    members = _membership(graph, numbers, records)
    for name in members:
        if name not in numbers:
            # A collection may hold a variable of an op that VARIABLE_OPS does not list.
            numbers[name] = table.index.get(name, -1)
    known = bool(records) or any("trainable_variables" in keys for keys in members.values())
    trainable = {
        keys: "trainable_variables" in keys if known else None for keys in set(members.values())
    }
    elsewhere = False if known else None
    found = []
    for name, number in numbers.items():
        keys = members.get(name, ())
        node = number if number >= 0 else None
        found.append(
            GraphVariable(
                graph, name, node, records.get(name), keys, trainable.get(keys, elsewhere)
            )
        )
    return found


def _membership(
    graph: MetaGraph, numbers: dict[bytes, int], records: dict[bytes, VariableDef]
) -> dict[bytes, tuple[str, ...]]:
    """The collections of each variable, sorted; fills ``records`` with the first of each."""
    members: dict[bytes, list[str]] = {}
    for key, collection in graph.collections.items():  # in sorted order
        names: list[bytes] = []
        for record in collection.variables:
            records.setdefault(record.name, record)
            names.append(record.name)
        names += _variables_in_nodes(collection.node_references(), numbers)
        for name in names:
            keys = members.get(name)
            if keys is None:
                members[name] = [key]
            elif keys[-1] != key:  # else: twice in one collection
                keys.append(key)
    # One tuple for each combination: a graph has many variables and few combinations.
    shared: dict[tuple[str, ...], tuple[str, ...]] = {}
    return {
        name: shared.setdefault(keys, keys)
        for name, keys in ((name, tuple(found)) for name, found in members.items())
    }


def variable_nodes(graph: MetaGraph) -> list[int]:
    """Numbers of the nodes that hold a variable or table, in graph order."""
    table = graph.table
    return table.with_ops(
        [op for op in table.by_op if op in VARIABLE_OPS or op.endswith(b"VarHandleOp")]
    )


def _variables_in_nodes(references: list[bytes], numbers: dict[bytes, int]) -> Iterator[bytes]:
    for reference in references:
        name = base_name(reference)
        if name in numbers and output_number(reference) == 0:
            yield name


def find_assignments(table: NodeTable) -> dict[bytes, int]:
    """The first assignment of each variable that is not a restore: node number by variable."""
    found: dict[bytes, int] = {}
    for number in table.with_ops(_ASSIGN_OPS):
        try:
            inputs = table.data_inputs(number)
        except CkptError:
            continue  # what is intact of the graph can still be told
        if len(inputs) < 2:
            continue
        source = table.index.get(base_name(inputs[1]))
        hops = 0
        while source is not None and table.ops[source] == b"Identity" and hops < 8:
            first = table.first_input(source)
            source = None if first is None else table.index.get(base_name(first))
            hops += 1
        if source is not None and table.ops[source] in _RESTORE_OPS:
            continue
        found.setdefault(base_name(inputs[0]), number)
    return found
