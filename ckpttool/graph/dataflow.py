"""What is computed from what: reachability in the forward part of a graph.

Everything is one pass over the edges.  Sets of marks travel along the edges as the bits of an
integer, so that thousands of questions ("does this layer feed that one?") cost one pass together.
The backward part (what ``tf.gradients`` adds) is told by its names, lets nothing through, and says
where the losses are: a forward op ``x`` has its gradient in ``gradients/x_grad/``, and the losses
are those with nothing downstream that has one.
Source: ``tensorflow:python/ops/gradients_util.py``.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.graph.flow_nodes import ARGUMENT, flow_nodes
from ckpttool.graph.flow_weights import weight_nodes
from ckpttool.names import decode_name

if TYPE_CHECKING:
    from ckpttool.graph.metagraph import MetaGraph

_GRADIENT = re.compile(rb"(?:^|/)(?:gradients(?:_\d+)?|gradient_tape)(?:/|$)|_grad(?:_\d+)?/")
_FORWARD_OP = re.compile(rb"(?:^|(.*?)/)gradients(?:_\d+)?/(.+?)_grad(?:_\d+)?/", re.DOTALL)

# Ops that hand a variable's value on unchanged.
_ALIASES = frozenset({
    b"Identity", b"ReadVariableOp", b"Enter", b"RefEnter", b"RefIdentity", b"Switch", b"RefSwitch",
    b"Cast", b"StopGradient", b"PreventGradient", b"EnsureShape", b"Snapshot", ARGUMENT,
    b"ConcatPartitions",
})  # fmt: skip
# Ops whose first input they change.
_WRITES = re.compile(
    rb"(?:Ref)?Assign(?:Add|Sub|Variable)?\w*|(?:Resource)?(?:Sparse)?Apply\w+|(?:Resource)?Scatter"
    rb"\w+|CountUpTo|ResourceCountUpTo|(?:Resource)?StridedSliceAssign|Resource(?:Sparse)?Apply\w+"
)
APPLIES = re.compile(rb"(?:Resource)?(?:Sparse)?Apply\w+")
# Ops that look at a variable and compute nothing with it.
_ASIDES = re.compile(
    rb"Save\w*|ShardedFilename|IsVariableInitialized|VarIsInitializedOp|VariableShape|Shape|ShapeN|"
    rb"Size|Rank|\w*Summary(?:V2)?|WriteHistogramSummary|Assert|Print(?:V2)?|IsFinite|CheckNumerics|"
    rb"DestroyResourceOp|DisableCopyOnRead|ReportUninitialized\w*|L2Loss|Square|Abs|Sum|Mean|Max|Min|NoOp"
)
_SUMMARY = re.compile(rb"\w*Summary(?:V2)?")
_MAX_FOLLOWED = 512  # nodes that one variable's value is followed through
_MAX_FOLLOWED_IN_ALL = 2_000_000
_PLACEHOLDERS = frozenset({b"Placeholder", b"PlaceholderV2", b"PlaceholderWithDefault"})
_SOURCES = frozenset({
    b"IteratorGetNext", b"IteratorGetNextSync", b"QueueDequeueV2", b"QueueDequeueManyV2",
    b"QueueDequeueUpToV2", b"QueueDequeue", b"QueueDequeueMany", b"QueueDequeueUpTo",
    b"ReaderReadV2", b"ReaderRead", b"PyFunc", b"EagerPyFunc", b"Unstage", b"Recv", b"_Recv",
    b"ParseExample", b"ParseExampleV2", b"RecvTPUEmbeddingActivations",
})  # fmt: skip
_DT_BOOL = 10


class Use(NamedTuple):
    """A node that reads or changes a variable, and the input that it does so with."""

    node: int
    position: int


class Uses(NamedTuple):
    """Where a variable goes: ``reads`` compute with it, ``writes`` change it, ``gradients`` are
    nodes of the backward part that read it."""

    reads: tuple[Use, ...]
    writes: tuple[Use, ...]
    gradients: int


class Root(NamedTuple):
    """Something that data enters the graph by: a node and its output."""

    node: int
    output: int


class Dataflow:
    """The forward part of one graph."""

    def __init__(self, graph: MetaGraph) -> None:
        self.graph = graph
        backward = _GRADIENT.search
        marks = b"grad"
        own = bytearray(1 if marks in name and backward(name) else 0 for name in graph.table.names)
        nodes = flow_nodes(graph, own)
        self.names = nodes.names
        self.ops = nodes.ops
        self._starts, self._sources, self._outputs = nodes.starts, nodes.sources, nodes.outputs
        self.own = nodes.own
        self.called = nodes.called
        own.extend(
            1 if marks in name and backward(name) else 0 for name in nodes.names[nodes.own :]
        )
        self.backward = own
        self._kinds: dict[bytes, int] = {}
        self._followed = 0
        self._data_at: dict[int, tuple[int, ...]] = {}  # inputs of a node that are no constants

    def __len__(self) -> int:
        return len(self.names)

    def name(self, number: int) -> str:
        """A node's name."""
        return decode_name(self.names[number])

    def inputs(self, number: int) -> list[tuple[int, int]]:
        """``(node, output)`` of each data input."""
        a, b = self._starts[number], self._starts[number + 1]
        return list(zip(self._sources[a:b], self._outputs[a:b], strict=True))

    @cached_property
    def _readers(self) -> tuple[array[int], array[int], array[int]]:
        """Starts, reading nodes and input positions, by source."""
        size = len(self.names)
        counts = [0] * (size + 1)
        for source in self._sources:
            counts[source + 1] += 1
        for number in range(size):
            counts[number + 1] += counts[number]
        starts = array("q", counts)
        nodes = array("q", bytes(8 * len(self._sources)))
        positions = array("q", bytes(8 * len(self._sources)))
        sources, bounds = self._sources, self._starts
        for number in range(size):
            a = bounds[number]
            for edge in range(a, bounds[number + 1]):
                source = sources[edge]
                at = counts[source]
                counts[source] = at + 1
                nodes[at] = number
                positions[at] = edge - a
        return starts, nodes, positions

    def readers(self, number: int) -> Iterator[Use]:
        """The nodes that take an output of this one as data."""
        starts, nodes, positions = self._readers
        for at in range(starts[number], starts[number + 1]):
            yield Use(nodes[at], positions[at])

    @cached_property
    def order(self) -> list[int]:
        """Every node after those that it is computed from; nodes of a cycle are left out."""
        starts, nodes, _ = self._readers
        bounds = self._starts
        waiting = [bounds[i + 1] - bounds[i] for i in range(len(self.names))]
        ready = [number for number, count in enumerate(waiting) if not count]
        for number in ready:  # grows while it is read
            for at in range(starts[number], starts[number + 1]):
                reader = nodes[at]
                waiting[reader] -= 1
                if not waiting[reader]:
                    ready.append(reader)
        return ready

    # --- variables -------------------------------------------------------------------------

    def uses(self, variable: int) -> Uses:
        """What reads and what changes a variable's node, looked for through its copies.

        What only makes weights of weights (a norm, a mask, a shape) is looked through too, unless
        nothing is left then that reads the variable.
        """
        found = self._uses(variable, through=True)
        return found if found.reads else self._uses(variable, through=False)

    def _uses(self, variable: int, *, through: bool) -> Uses:
        reads: list[Use] = []
        writes: list[Use] = []
        gradients = 0
        seen = {variable}
        pending = [variable]
        while pending:
            current = pending.pop()
            for use in self.readers(current):
                if self.backward[use.node]:
                    gradients += 1
                    continue
                kind = self._kind(use.node)
                if kind == _WRITE and use.position == 0:
                    writes.append(use)
                elif self._passes_on(use, kind, through) and self._may_follow(len(seen)):
                    if use.node not in seen:
                        seen.add(use.node)
                        pending.append(use.node)
                elif kind == _ALIAS:
                    reads.append(use)  # further than any real graph hands a value on
                elif kind == _READ and use.node not in self.called:
                    reads.append(use)
        return Uses(tuple(reads), tuple(writes), gradients)

    def _passes_on(self, use: Use, kind: int, through: bool) -> bool:
        if kind == _ALIAS:
            return True
        if kind == _READ and self._scales(use):
            return True
        return through and kind == _READ and bool(self._of_weights[use.node])

    def _may_follow(self, followed: int) -> bool:
        self._followed += 1
        return followed < _MAX_FOLLOWED and self._followed < _MAX_FOLLOWED_IN_ALL

    @cached_property
    def _of_weights(self) -> bytearray:
        return weight_nodes(self)

    def is_write(self, number: int) -> bool:
        """Whether a node changes the variable that is its first input."""
        return self._kind(number) == _WRITE

    def _kind(self, number: int) -> int:
        op = self.ops[number]
        kind = self._kinds.get(op)
        if kind is None:
            if op in _ALIASES:
                kind = _ALIAS
            elif _WRITES.fullmatch(op):
                kind = _WRITE
            else:
                kind = _ASIDE if _ASIDES.fullmatch(op) else _READ
            self._kinds[op] = kind
        return kind

    def _scales(self, use: Use) -> bool:
        """Whether the op joins the variable with constants alone (weight decay, a scale)."""
        if self.ops[use.node] not in (b"Mul", b"RealDiv", b"ConcatV2", b"Concat"):
            return False
        data = self._data_at.get(use.node)
        if data is None:
            stored = self._stored if self.ops[use.node].startswith(b"Concat") else self._constant
            sources = enumerate(self.inputs(use.node))
            found = (at for at, (source, _) in sources if not stored(source))
            data = self._data_at[use.node] = tuple(islice(found, 2))
        return all(position == use.position for position in data)

    def _constant(self, number: int) -> bool:
        return self.ops[number] == b"Const"

    def _stored(self, number: int) -> bool:
        """Whether a node is a constant or the value of a variable (a part of it, say)."""
        for _ in range(4):
            op = self.ops[number]
            if op == b"Const" or op in _HOLDERS:
                return True
            inputs = self.inputs(number)
            if op not in _ALIASES or not inputs:
                return False
            number = inputs[0][0]
        return False

    # --- reachability ----------------------------------------------------------------------

    def upstream(self, marks: Mapping[int, int], watch: Collection[int]) -> dict[int, int]:
        """For each node of ``watch`` the union of the marks of all nodes that it is computed from.

        ``marks`` are bit sets by node.  A node's own marks count for what comes after it.
        Summaries and the backward part let nothing through.
        """
        found: dict[int, int] = {}
        held: dict[int, int] = {}
        starts, sources = self._starts, self._sources
        readers, _, _ = self._readers
        left: dict[int, int] = {}
        stopped = self._stopped
        for number in self.order:
            mask = 0
            for edge in range(starts[number], starts[number + 1]):
                source = sources[edge]
                if source in held:
                    mask |= held[source]
                    left[source] -= 1
                    if not left[source]:  # read for the last time
                        del held[source], left[source]
            if number in watch:
                found[number] = mask
            if number in marks:
                mask |= marks[number]
            if mask and not stopped[number]:
                count = readers[number + 1] - readers[number]
                if count:
                    held[number] = mask
                    left[number] = count
        return found

    @cached_property
    def _stopped(self) -> bytearray:
        stopped = bytearray(self.backward)
        summaries = {op for op in set(self.ops) if _SUMMARY.fullmatch(op)}
        for number, op in enumerate(self.ops):
            if op in summaries:
                stopped[number] = 1
        return stopped

    def downstream_of(self, starts: Iterable[int]) -> bytearray:
        """A flag for each node that is computed from one of ``starts``, itself included."""
        flags = bytearray(len(self.names))
        pending = list(starts)
        for number in pending:
            flags[number] = 1
        while pending:
            for use in self.readers(pending.pop()):
                if not flags[use.node]:
                    flags[use.node] = 1
                    pending.append(use.node)
        return flags

    @cached_property
    def from_gradients(self) -> bytearray:
        """A flag for each node that is computed from a gradient."""
        return self.downstream_of(number for number, flag in enumerate(self.backward) if flag)

    @cached_property
    def roots(self) -> list[Root]:
        """Where data enters: placeholders (not switches such as ``is_training``), iterators, …"""
        found: list[Root] = []
        for number, op in enumerate(self.ops):
            if op in _PLACEHOLDERS:
                if not self._is_switch(number):
                    found.append(Root(number, 0))
            elif op in _SOURCES and not self.backward[number]:
                edges = (edge for use in self.readers(number) for edge in self.inputs(use.node))
                outputs = {output for source, output in edges if source == number}
                found += [Root(number, output) for output in sorted(outputs)]
        return found

    def _is_switch(self, number: int) -> bool:
        """Whether a placeholder is a scalar or a truth value: a mode or a rate, no data."""
        if number >= self.own:
            return False
        table = self.graph.table
        dtype, shape = table.attr(number, b"dtype"), table.attr(number, b"shape")
        if dtype is not None and dtype.value == _DT_BOOL:
            return True
        if (
            shape is not None
            and shape.value == ()
            and self.ops[number] == b"PlaceholderWithDefault"
        ):
            return True
        return bool(_FILE_NAMES.search(self.names[number]))

    @cached_property
    def losses(self) -> list[int]:
        """What was differentiated: ops with a gradient and nothing downstream that has one."""
        index = self.graph.table.index
        have: set[int] = set()
        for number in range(self.own):
            if not self.backward[number]:
                continue
            match = _FORWARD_OP.match(self.names[number])
            if match is None:
                continue
            prefix, name = match.groups()
            found = index.get(name)
            if found is None and prefix:
                found = index.get(prefix + b"/" + name)
            if found is not None:
                have.add(found)
        before = bytearray(len(self.names))  # something downstream has a gradient
        starts, nodes, _ = self._readers
        for number in reversed(self.order):
            for at in range(starts[number], starts[number + 1]):
                reader = nodes[at]
                if not self.backward[reader] and (before[reader] or reader in have):
                    before[number] = 1
                    break
        return sorted(number for number in have if not before[number])

    @cached_property
    def ends(self) -> list[int]:
        """Forward nodes that nothing in the forward part reads: outputs, losses, updates."""
        stopped = self._stopped
        starts, nodes, _ = self._readers
        return [
            number
            for number in range(len(self.names))
            if not stopped[number]
            and self._starts[number + 1] > self._starts[number]
            and all(stopped[nodes[at]] for at in range(starts[number], starts[number + 1]))
        ]


_ALIAS, _WRITE, _ASIDE, _READ = range(4)
_HOLDERS = frozenset({b"VariableV2", b"Variable", b"VarHandleOp", b"AutoReloadVariable"})
_FILE_NAMES = re.compile(rb"(?:^|/)save(?:_\d+)?/(?:Const|filename)$")
