"""The data edges of a graph as flat arrays, with the bodies of called functions put in place.

Control edges are left out, and so are the back edges of loops (``NextIteration`` to ``Merge``, a
``While``'s results to its arguments): what is left says which value is computed from which within
one pass.  What a loop hands back lies on its way out all the same (an edge to ``Exit``).  A
function is put in once per call, so two calls of one function stay apart.
Sources: ``tensorflow:core/framework/function.proto``, ``core/ops/functional_ops.cc``.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.graph.nodes import NodeTable, scan_nodes
from ckpttool.names import encode_name
from ckpttool.storage import wire
from ckpttool.storage.wire import WireError

if TYPE_CHECKING:
    from ckpttool.graph.metagraph import MetaGraph

MAX_INLINED = 1_000_000  # nodes that function bodies may add
MAX_DEPTH = 32

# Which attributes hold the functions of a call, and how many inputs come before the arguments.
_CALLS: dict[bytes, tuple[tuple[bytes, ...], int]] = {
    b"PartitionedCall": ((b"f",), 0),
    b"StatefulPartitionedCall": ((b"f",), 0),
    b"While": ((b"body",), 0),
    b"StatelessWhile": ((b"body",), 0),
    b"If": ((b"then_branch", b"else_branch"), 1),
    b"StatelessIf": ((b"then_branch", b"else_branch"), 1),
    b"Case": ((b"branches",), 1),
    b"StatelessCase": ((b"branches",), 1),
}
ARGUMENT, RESULT = b"_Arg", b"_Retval"
_MERGES = frozenset({b"Merge", b"RefMerge"})
_NEXTS = frozenset({b"NextIteration", b"RefNextIteration"})
_EXITS = frozenset({b"Exit", b"RefExit"})

Edge = tuple[int, int]  # source node, its output number


class FlowNodes(NamedTuple):
    """Nodes with their data inputs: those of node ``i`` are ``sources[starts[i]:starts[i + 1]]``.

    ``outputs`` has the output number of each edge's source.  The first ``own`` nodes are the
    graph's own, under their numbers in its table; the others come from function bodies and are
    named ``<call>/<node>``.  ``called`` are the calls whose bodies were put in: what reads their
    results is joined to the bodies' results.
    """

    names: list[bytes]
    ops: list[bytes]
    starts: array[int]
    sources: array[int]
    outputs: array[int]
    own: int
    called: frozenset[int]


class _Body(NamedTuple):
    table: NodeTable
    arguments: list[bytes]
    results: list[bytes]  # references, in the order of the outputs


def flow_nodes(graph: MetaGraph, skip: bytearray) -> FlowNodes:
    """The data edges of ``graph``; calls among the nodes of ``skip`` are not looked into."""
    return _Builder(graph).build(skip)


class _Builder:
    def __init__(self, graph: MetaGraph) -> None:
        self._graph = graph
        self._functions = {encode_name(name): name for name in graph.functions}
        self._bodies: dict[bytes, _Body | None] = {}
        self._names: list[bytes] = list(graph.table.names)
        self._ops: list[bytes] = list(graph.table.ops)
        self._edges: list[list[Edge]] = []
        self._results: dict[int, list[list[Edge]]] = {}  # call to its results' sources

    def build(self, skip: bytearray) -> FlowNodes:
        table = self._graph.table
        index = table.index
        for number in range(len(table)):
            self._edges.append(_edges(table.inputs(number), index))
        own = len(self._edges)
        wanted = [*_CALLS, *(name for name in self._functions if name in table.by_op)]
        pending = [(number, table, number, 0) for number in table.with_ops(wanted)]
        while pending:
            call, where, local, depth = pending.pop()
            if depth < MAX_DEPTH and not (call < own and skip[call]):
                pending += self._call(call, where, local, depth)
        return self._finish(own)

    def _call(
        self, call: int, table: NodeTable, local: int, depth: int
    ) -> list[tuple[int, NodeTable, int, int]]:
        """Put the bodies of one call in; the calls inside them."""
        names, before = self._callees(table, local)
        inner: list[tuple[int, NodeTable, int, int]] = []
        results: list[list[Edge]] = []
        for name in names:
            body = self._body(name)
            if body is None or len(self._names) + len(body.table) > own_limit(self._graph):
                return []
            made, found = self._instance(call, body, self._edges[call][before:])
            inner += [(number, body.table, at, depth + 1) for number, at in found]
            for position, edge in enumerate(made):
                if position == len(results):
                    results.append([])
                if edge is not None:
                    results[position].append(edge)
        if names:
            self._results[call] = results
        return inner

    def _callees(self, table: NodeTable, local: int) -> tuple[list[bytes], int]:
        op = table.ops[local]
        if op not in _CALLS:
            return [op], 0
        keys, before = _CALLS[op]
        found: list[bytes] = []
        for key in keys:
            attr = table.attr(local, key)
            if attr is not None and attr.kind == "func":
                found.append(attr.value)
            elif attr is not None and attr.kind == "list":
                found += [item for item in attr.value if isinstance(item, bytes)]
        return found, before

    def _instance(
        self, call: int, body: _Body, inputs: list[Edge]
    ) -> tuple[list[Edge | None], list[tuple[int, int]]]:
        """Add one copy of ``body``; its results, and the calls in it as (node, number there)."""
        prefix = self._names[call] + b"/"
        local: dict[bytes, int] = {}
        for position, argument in enumerate(body.arguments):
            local[argument] = self._add(prefix + argument, ARGUMENT)
            self._edges.append(inputs[position : position + 1])
        start = len(self._names)
        for name, op in zip(body.table.names, body.table.ops, strict=True):
            local[name] = self._add(prefix + name, op)
        calls = []
        for number, op in enumerate(body.table.ops):
            self._edges.append(_edges(body.table.inputs(number), local, function=True))
            if op in _CALLS or op in self._functions:
                calls.append((start + number, number))
        found = [_edges([reference], local, function=True) for reference in body.results]
        return [edges[0] if edges else None for edges in found], calls

    def _add(self, name: bytes, op: bytes) -> int:
        self._names.append(name)
        self._ops.append(op)
        return len(self._names) - 1

    def _body(self, name: bytes) -> _Body | None:
        """A function's nodes and signature; None if it is not here, or its signature has lists."""
        if name not in self._bodies:
            self._bodies[name] = None
            key = self._functions.get(name)
            if key is not None:
                try:
                    self._bodies[name] = self._read(*self._graph.functions[key])
                except WireError as error:
                    raise self._graph.table.damaged(error) from error
        return self._bodies[name]

    def _read(self, start: int, end: int) -> _Body | None:
        buf = self._graph.table.buf
        table = NodeTable(buf, self._graph.table.path)
        scan_nodes(table, start, end, tag=0x1A)
        arguments: list[bytes] | None = []
        outputs: list[bytes] | None = []
        results: dict[bytes, bytes] = {}
        for field, kind, a, b in wire.fields(buf, start, end):
            if kind != wire.BYTES:
                continue
            if field == 1:
                arguments, outputs = _arguments(buf, a, b, 2), _arguments(buf, a, b, 3)
            elif field == 4:
                entry = {f: buf[c:d] for f, k, c, d in wire.fields(buf, a, b) if k == wire.BYTES}
                results[entry.get(1, b"")] = entry.get(2, b"")
        if arguments is None or outputs is None:
            return None
        return _Body(table, arguments, [results.get(name, b"") for name in outputs])

    def _finish(self, own: int) -> FlowNodes:
        """Join what reads a call's results to the results, and lay the edges out flat."""
        results = self._merged()
        starts, sources, outputs = array("q", [0]), array("q"), array("q")
        ops = self._ops
        for number, edges in enumerate(self._edges):
            op = ops[number]
            merge = op in _MERGES
            for source, output in edges + self._back(edges) if op in _EXITS else edges:
                hops = 0
                while source in results and hops < MAX_DEPTH:
                    found = results[source]
                    if output >= len(found) or found[output] is None:
                        break
                    source, output = found[output] or (source, output)
                    hops += 1
                if merge and ops[source] in _NEXTS:
                    continue
                sources.append(source)
                outputs.append(output)
            starts.append(len(sources))
        called = frozenset(self._results)
        return FlowNodes(self._names, ops, starts, sources, outputs, own, called)

    def _back(self, edges: list[Edge]) -> list[Edge]:
        """What an iteration hands to the next one, for the loop's way out."""
        switch = edges[0][0] if edges else -1
        merge = self._edges[switch][0][0] if switch >= 0 and self._edges[switch] else -1
        if merge < 0 or self._ops[merge] not in _MERGES:
            return []
        return [edge for edge in self._edges[merge] if self._ops[edge[0]] in _NEXTS]

    def _merged(self) -> dict[int, list[Edge | None]]:
        """One source for each result of a call; a conditional's branches meet in a node."""
        merged: dict[int, list[Edge | None]] = {}
        for call, results in self._results.items():
            row: list[Edge | None] = []
            for edges in results:
                if len(edges) > 1:
                    number = self._add(self._names[call], RESULT)
                    self._edges.append(edges)
                    row.append((number, 0))
                else:
                    row.append(edges[0] if edges else None)
            merged[call] = row
        return merged


def own_limit(graph: MetaGraph) -> int:
    """How many nodes a graph may have with its function bodies put in."""
    return len(graph.table) + MAX_INLINED


def _edges(inputs: list[bytes], index: dict[bytes, int], function: bool = False) -> list[Edge]:
    """The data edges of a node's raw inputs.

    In a function body a reference is ``argument`` or ``node:output name:number``.
    """
    found: list[Edge] = []
    for raw in inputs:
        number = index.get(raw)
        output = 0
        if number is None:
            if raw[:1] == b"^":
                continue
            head, _, tail = raw.rpartition(b":")
            if function and b":" in head:
                head = head.partition(b":")[0]
            number = index.get(head)
            if number is None:
                continue
            output = int(tail) if tail.isdigit() and len(tail) < 10 else 0
        found.append((number, output))
    return found


def _arguments(buf: bytes, start: int, end: int, wanted: int) -> list[bytes] | None:
    """Names of a signature's arguments (2) or results (3); None if one stands for several."""
    names = []
    for field, kind, a, b in wire.fields(buf, start, end):
        if field != wanted or kind != wire.BYTES:
            continue
        name = b""
        for inner, inner_kind, c, d in wire.fields(buf, a, b):
            if inner == 1 and inner_kind == wire.BYTES:
                name = buf[c:d]
            elif inner in (5, 6) and d > c:
                return None
        names.append(name)
    return names
