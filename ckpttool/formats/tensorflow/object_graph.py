"""The object graph of a TF2 checkpoint: who refers to whom, and under which key values lie.

A checkpoint key (``layer-1/kernel/.ATTRIBUTES/VARIABLE_VALUE``) is only one way to reach a
variable; the graph, stored in the string tensor ``_CHECKPOINTABLE_OBJECT_GRAPH``, has them all,
the variable's own name, and the owner of each optimizer slot.  Cycles are normal.  Source:
``tensorflow:core/protobuf/trackable_object_graph.proto``.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import NamedTuple

from ckpttool.errors import corrupt
from ckpttool.names import decode_name
from ckpttool.storage.wire import BYTES, VARINT, WireError, fields, signed

MAX_NODES = 1_000_000
MAX_EDGES = 4_000_000  # references and saved values of all nodes
MAX_DEPTH = 256  # names in a path: attributes nested deeper than that are no one's model
MAX_STEPS = 16_000_000  # of the shortest paths to all nodes
MAX_PATHS = 64  # paths reported of one node: their number grows exponentially in a hostile graph
_MAX_VISITS = 100_000
_OTHER_FIELDS = 100  # of a node, beside references and values: a few


class Edge(NamedTuple):
    """A reference by name to another node."""

    name: str
    node: int


class Attribute(NamedTuple):
    """A saved value of a node: its name there, the variable's full name, the checkpoint key."""

    name: str
    full_name: str
    key: str


class SlotReference(NamedTuple):
    """An optimizer's slot: the node of the variable, the slot's name, the slot's own node."""

    owner: int
    name: str
    node: int


class Node:
    """One object.  ``saver`` is the registered saver's name, empty for the default one."""

    __slots__ = ("attributes", "children", "saver", "slots")

    def __init__(self) -> None:
        self.children: list[Edge] = []
        self.attributes: list[Attribute] = []
        self.slots: list[SlotReference] = []
        self.saver = ""


class Slot(NamedTuple):
    """What a slot's checkpoint key stands for."""

    name: str
    owner: str  # the checkpoint key of the variable


class ObjectGraph:
    """The nodes, by number; node 0 is the object that was saved."""

    def __init__(self, nodes: list[Node]) -> None:
        self.nodes = nodes

    def shortest_paths(self) -> list[tuple[str, ...] | None]:
        """For each node the shortest path from node 0, the first found.

        None for a node that cannot be reached within :data:`MAX_DEPTH` steps, and for the rest
        of a graph whose paths have more than :data:`MAX_STEPS` steps together.
        """
        paths: list[tuple[str, ...] | None] = [None] * len(self.nodes)
        if not self.nodes:
            return paths
        paths[0] = ()
        queue = deque((0,))
        left = MAX_STEPS
        while queue:
            number = queue.popleft()
            here = paths[number] or ()
            if len(here) == MAX_DEPTH:
                continue
            for name, child in self.nodes[number].children:
                if paths[child] is None and left > 0:
                    paths[child] = (*here, name)
                    left -= len(here) + 1
                    queue.append(child)
        return paths

    def paths(self, node: int, limit: int = MAX_PATHS) -> list[tuple[str, ...]]:
        """Paths from node 0 to ``node`` that visit no node twice, shortest first, up to ``limit``.

        The search goes backwards from ``node`` and gives up after a bounded number of steps.
        """
        parents = self.parents()
        found: list[tuple[str, ...]] = []
        queue: deque[tuple[int, tuple[str, ...], frozenset[int]]] = deque()
        queue.append((node, (), frozenset((node,))))
        visits = 0
        while queue and len(found) < limit and visits < _MAX_VISITS:
            visits += 1
            number, tail, seen = queue.popleft()
            if number == 0:
                found.append(tail)
                continue
            for name, parent in parents[number]:
                if parent not in seen:
                    queue.append((parent, (name, *tail), seen | {parent}))
        return found

    def parents(self) -> list[list[Edge]]:
        """For each node the references to it: the name, and the node that has it."""
        parents: list[list[Edge]] = [[] for _ in self.nodes]
        for number, node in enumerate(self.nodes):
            for name, child in node.children:
                parents[child].append(Edge(name, number))
        return parents

    def shared(self) -> dict[int, list[Edge]]:
        """Nodes with saved values that more than one reference leads to, and these references."""
        return {
            number: edges
            for number, edges in enumerate(self.parents())
            if len(edges) > 1 and self.nodes[number].attributes
        }

    def full_names(self) -> dict[str, str]:
        """Checkpoint key to the variable's own name, where one is stored."""
        return {
            attribute.key: attribute.full_name
            for node in self.nodes
            for attribute in node.attributes
            if attribute.full_name
        }

    def nodes_by_key(self) -> dict[str, int]:
        """Checkpoint key to the number of the node that has it."""
        return {
            attribute.key: number
            for number, node in enumerate(self.nodes)
            for attribute in node.attributes
        }

    def slot_keys(self) -> dict[str, Slot]:
        """Checkpoint key of each slot to its slot name and its variable's key."""
        slots = {}
        for node in self.nodes:
            for owner, name, slot in node.slots:
                owners = self.nodes[owner].attributes
                for attribute in self.nodes[slot].attributes:
                    if owners:
                        slots[attribute.key] = Slot(name, owners[0].key)
        return slots


def parse_object_graph(data: bytes, path: str) -> ObjectGraph:
    """Decode a ``TrackableObjectGraph``; ``path`` is for messages.

    References to nodes that are not there, and more nodes or references than the caps, are damage.
    """
    nodes = []
    edges = 0
    try:
        for number, wire_type, a, b in fields(data):
            if number != 1 or wire_type != BYTES:
                continue
            node = _node(data, a, b, MAX_EDGES - edges)
            nodes.append(node)
            edges += len(node.children) + len(node.slots) + len(node.attributes)
            if len(nodes) > MAX_NODES or edges > MAX_EDGES:
                raise corrupt(
                    "the object graph is too large", path, code="INP009",
                    found=f"more than {len(nodes) - 1} objects, {edges} references",
                    expected=f"≤ {MAX_NODES} objects, {MAX_EDGES} references",
                )  # fmt: skip
    except WireError as error:
        raise corrupt(
            f"the object graph is damaged: {error.message}",
            path,
            found=f"byte {error.offset} of the graph",
        ) from error
    count = len(nodes)
    for node in nodes:
        numbers = [child for _, child in node.children]
        numbers += [number for slot in node.slots for number in (slot.owner, slot.node)]
        if any(not 0 <= number < count for number in numbers):
            raise corrupt(
                "the object graph refers to an object that is not in it",
                path,
                expected=f"0 to {count - 1}",
            )
    return ObjectGraph(nodes)


def _node(data: bytes, start: int, end: int, most: int) -> Node:
    """The node in ``data[start:end]``; reading stops soon after more than ``most`` parts of it."""
    node = Node()
    for number, wire_type, a, b in islice(fields(data, start, end), max(0, most) + _OTHER_FIELDS):
        if wire_type != BYTES:
            continue
        if number == 1:
            integers, texts = _message(data, a, b)
            node.children.append(Edge(texts.get(2, ""), integers.get(1, 0)))
        elif number == 2:
            _, texts = _message(data, a, b)
            attribute = Attribute(texts.get(1, ""), texts.get(2, ""), texts.get(3, ""))
            node.attributes.append(attribute)
        elif number == 3:
            integers, texts = _message(data, a, b)
            slot = SlotReference(integers.get(1, 0), texts.get(2, ""), integers.get(3, 0))
            node.slots.append(slot)
        elif number == 4:
            node.saver = _message(data, a, b)[1].get(1, "")
    return node


def _message(data: bytes, start: int, end: int) -> tuple[dict[int, int], dict[int, str]]:
    """The integers and the texts of a flat message, by field number."""
    integers: dict[int, int] = {}
    texts: dict[int, str] = {}
    for number, wire_type, a, b in fields(data, start, end):
        if wire_type == VARINT:
            integers[number] = signed(a)
        elif wire_type == BYTES:
            texts[number] = decode_name(data[a:b])
    return integers, texts
