"""What all groups of one checkpoint share: rows, the graph's dataflow, where data enters."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from ckpttool.analysis.duplicates.values import Values
from ckpttool.analysis.tree import VariableRow
from ckpttool.names import decode_name, encode_name

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.graph.dataflow import Dataflow
    from ckpttool.graph.uses import VariableUse
    from ckpttool.graph.variables import GraphVariable

# Ops that change how a tensor is laid out, not what it says.
_SHAPES = frozenset({
    b"Identity", b"Cast", b"Reshape", b"ExpandDims", b"Squeeze", b"Transpose", b"StopGradient",
    b"Enter", b"_Arg", b"Switch",
})  # fmt: skip

_MAX_ROOTS = 2048
_MAX_BETWEEN = 64  # variables between one that is set and those that it is set from
_MAX_SEARCHED = 20_000_000  # nodes that walks for single groups may look at in all


class Context:
    """What all groups of one checkpoint share: rows by name, uses, values, where data enters."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        rows: Mapping[str, VariableRow],
        series: Sequence[Checkpoint],
        values: Values | None,
    ) -> None:
        self.checkpoint = checkpoint
        self.rows = rows
        self.series = series
        self.values = values
        self.flow: Dataflow | None = None
        self.uses: Mapping[str, VariableUse] = {}
        self.slots: dict[str, int] = {}
        for role in checkpoint.roles.values():
            if role.role == "slot" and role.owner:
                self.slots[role.owner] = self.slots.get(role.owner, 0) + 1
        self.trains = False
        self.objects = checkpoint.objects is not None or checkpoint.info.format.startswith("keras")
        self._holder: dict[int, str] = {}
        self._root_bits: dict[int, int] = {}
        self._variables: Mapping[str, GraphVariable] = {}
        self._between: dict[int, frozenset[int]] = {}
        self._searches = 0

    def use_graph(
        self,
        flow: Dataflow,
        uses: Mapping[str, VariableUse],
        variables: Mapping[str, GraphVariable],
    ) -> None:
        """Take the graph's dataflow in; one pass finds which data each variable's readers see."""
        self.flow = flow
        self.uses = uses
        self._variables = variables
        self._holder = {node: key for key, use in uses.items() for node in use.nodes}
        self.trains = any(use.trained for use in uses.values())
        marks: dict[int, int] = {}
        for number, root in enumerate(flow.roots):
            bit = 1 << number % _MAX_ROOTS  # of more, several count as one
            for use in flow.readers(root.node):
                if root in flow.inputs(use.node):
                    marks[use.node] = marks.get(use.node, 0) | bit
        watch = {use.node for item in uses.values() for use in item.reads}
        found = flow.upstream(marks, watch)
        self._root_bits = {n: found.get(n, 0) | marks.get(n, 0) for n in watch}

    def variables_of(self, name: str) -> list[GraphVariable]:
        """The graph's variables behind a row: several if it is partitioned."""
        row = self.rows.get(name)
        names = row.graph_names if row is not None else ()
        return [self._variables[item] for item in names if item in self._variables]

    def key_at(self, node: int) -> str | None:
        """The variable that a node holds."""
        return self._holder.get(node)

    def set_from(self, name: str) -> list[int]:
        """The nodes of all variables that one is set from, also by way of others in between."""
        use = self.uses.get(name)
        found: dict[int, None] = dict.fromkeys(use.copied_from if use is not None else ())
        pending = list(found)
        while pending and len(found) < _MAX_BETWEEN:
            for node in self._copied_from(pending.pop()):
                if node not in found:
                    found[node] = None
                    pending.append(node)
        return list(found)

    def _copied_from(self, node: int) -> frozenset[int]:
        """What the variable of a node is set from; an average or a backup has no row of its own."""
        known = self._between.get(node)
        if known is None and self.flow is not None:
            from ckpttool.graph.uses import variable_use

            item = self._variables.get(self.flow.name(node))
            use = variable_use(self.flow, [item]) if item is not None else None
            known = self._between[node] = use.copied_from if use is not None else frozenset()
        return known or frozenset()

    @cached_property
    def to_loss(self) -> bytearray:
        """A flag for each forward node that a loss is computed from."""
        flow = self.flow
        if flow is None:
            return bytearray()
        flags = bytearray(len(flow))
        pending = list(flow.losses)
        for number in pending:
            flags[number] = 1
        while pending:
            for source, _ in flow.inputs(pending.pop()):
                if not flags[source] and not flow.backward[source]:
                    flags[source] = 1
                    pending.append(source)
        return flags

    def may_search(self) -> bool:
        """Whether one more walk over the whole graph is in the budget."""
        self._searches += 1
        return self.flow is not None and self._searches * len(self.flow) <= _MAX_SEARCHED

    def roots_of(self, name: str) -> frozenset[int]:
        """Numbers of the roots whose data a variable is computed with."""
        use = self.uses.get(name)
        mask = 0
        for read in use.reads if use else ():
            mask |= self._root_bits.get(read.node, 0)
        return frozenset(_bits(mask))

    def entry(self, node: int, output: int) -> tuple[int, int] | None:
        """The tensor behind one that only reshapes it; None for constants and variables."""
        flow = self.flow
        if flow is None:
            return None
        for _ in range(16):
            op = flow.ops[node]
            inputs = flow.inputs(node)
            if op == b"Const" or op == b"ReadVariableOp" or node in self._holder:
                return None
            if op not in _SHAPES or not inputs:
                break
            node, output = inputs[0]
        return node, output

    @cached_property
    def _sorted_names(self) -> list[bytes]:
        return sorted(self.flow.names[: self.flow.own]) if self.flow is not None else []

    def ops_under(self, scope: str) -> Iterator[bytes]:
        """Names of the graph's own nodes in a scope."""
        names = self._sorted_names
        prefix = encode_name(scope) + b"/"
        for at in range(bisect_left(names, prefix), len(names)):
            if not names[at].startswith(prefix):
                return
            yield names[at]

    @cached_property
    def _sorted_variables(self) -> list[str]:
        return sorted(self.uses)

    def variables_under(self, scope: str) -> Iterator[str]:
        """The variables in a scope."""
        names = self._sorted_variables
        prefix = scope + "/"
        for at in range(bisect_left(names, prefix), len(names)):
            if not names[at].startswith(prefix):
                return
            yield names[at]

    @cached_property
    def root_nodes(self) -> frozenset[int]:
        """The nodes where data enters."""
        return frozenset(root.node for root in self.flow.roots) if self.flow else frozenset()

    @cached_property
    def scopes(self) -> frozenset[str]:
        """Every scope of the graph's own nodes, without case."""
        names: set[str] = set()
        for raw in self._sorted_names:
            head = decode_name(raw).rpartition("/")[0]
            while head and head not in names:
                names.add(head)
                head = head.rpartition("/")[0]
        return frozenset(name.casefold() for name in names)


def _bits(mask: int) -> list[int]:
    return [place for place, digit in enumerate(reversed(f"{mask:b}")) if digit == "1"]
