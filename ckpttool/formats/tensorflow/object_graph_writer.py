"""Make the object graph of a TF2 checkpoint: from names alone, or after that of a template.

Restoring follows references by name from the root, and reads what the node it comes to names.
Names alone give a tree.  A template's graph also has several references to one object, and the
slots of optimizers; of it only the values that are not written are left out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from ckpttool.formats.tensorflow.object_graph import (
    Attribute,
    Edge,
    Node,
    ObjectGraph,
    SlotReference,
    parse_object_graph,
)
from ckpttool.formats.tensorflow.object_names import ObjectName, Path
from ckpttool.names import OBJECT_GRAPH_KEY
from ckpttool.storage.wire import BYTES, encode_bytes_field, encode_varint_field, fields
from ckpttool.tensors import TensorSpec

_CHILD, _ATTRIBUTE, _SLOT = 1, 2, 3  # fields of a TrackableObject


def graph_of(names: Iterable[ObjectName]) -> bytes:
    """The graph with a node for each object on the names' paths, in the order of the names."""
    tree = _Tree()
    for name in names:
        node = tree.node(name.path)
        if name.slot is not None:
            slot = tree.add()
            optimizer = tree.nodes[tree.node(name.slot.optimizer)]
            optimizer.slots.append(SlotReference(node, name.slot.name, slot))
            node = slot
        tree.nodes[node].attributes.append(Attribute(name.attribute, "", name.key))
    return b"".join(encode_bytes_field(1, _node(node)) for node in tree.nodes)


class _Tree:
    """Nodes by the path that leads to them."""

    def __init__(self) -> None:
        self.nodes = [Node()]
        self._children: dict[tuple[int, str], int] = {}

    def add(self) -> int:
        """A new node's number."""
        self.nodes.append(Node())
        return len(self.nodes) - 1

    def node(self, path: Path) -> int:
        """The node at ``path``, made with those on the way where it is not there yet."""
        at = 0
        for edge in path:
            child = self._children.get((at, edge))
            if child is None:
                child = self._children[at, edge] = self.add()
                self.nodes[at].children.append(Edge(edge, child))
            at = child
        return at


def _node(node: Node) -> bytes:
    out = b""
    for edge in node.children:
        out += encode_bytes_field(_CHILD, _reference(edge.node, edge.name))
    for attribute in node.attributes:
        texts = zip((1, 2, 3), attribute, strict=True)
        body = b"".join(encode_bytes_field(number, text.encode()) for number, text in texts if text)
        out += encode_bytes_field(_ATTRIBUTE, body)
    for slot in node.slots:
        body = _reference(slot.owner, slot.name) + encode_varint_field(3, slot.node)
        out += encode_bytes_field(_SLOT, body)
    return out


def _reference(node: int, name: str) -> bytes:
    number = encode_varint_field(1, node) if node else b""
    return number + encode_bytes_field(2, name.encode())


class Template(NamedTuple):
    """The object graph of a checkpoint of the same model, its variables, and its files."""

    path: str
    graph: ObjectGraph
    raw: bytes
    specs: dict[str, TensorSpec]
    files: tuple[str, ...]

    def resolve(self, name: ObjectName) -> str | None:
        """The checkpoint key of what ``name`` leads to, by whatever path; None where nothing is."""
        node = self._follow(name.path)
        if node is not None and name.slot is not None:
            node = self._slot(node, name.slot.optimizer, name.slot.name)
        if node is not None:
            for attribute in self.graph.nodes[node].attributes:
                if attribute.name == name.attribute and attribute.key in self.specs:
                    return attribute.key
        return None

    def _slot(self, owner: int, optimizer: Path, name: str) -> int | None:
        keeper = self._follow(optimizer)
        for slot in self.graph.nodes[keeper].slots if keeper is not None else ():
            if slot.owner == owner and slot.name == name:
                return slot.node
        return None

    def _follow(self, path: Path) -> int | None:
        at: int | None = 0 if self.graph.nodes else None
        for name in path:
            if at is None:
                return None
            children = self.graph.nodes[at].children
            at = next((edge.node for edge in children if edge.name == name), None)
        return at

    def with_values(self, keys: Collection[str]) -> bytes:
        """The graph as it is, without the values other than ``keys``, and without their slots."""
        nodes = self.graph.nodes
        kept = [any(item.key in keys for item in node.attributes) for node in nodes]
        out = []
        spans = (span for number, kind, *span in fields(self.raw) if (number, kind) == (1, BYTES))
        for node, (start, end) in zip(nodes, spans, strict=True):
            body = b""
            attributes, slots = iter(node.attributes), iter(node.slots)
            for number, kind, a, b in fields(self.raw, start, end):
                if kind != BYTES:
                    continue
                if number == _ATTRIBUTE and next(attributes).key not in keys:
                    continue
                if number == _SLOT and not kept[next(slots).node]:
                    continue
                body += encode_bytes_field(number, self.raw[a:b])
            out.append(encode_bytes_field(1, body))
        return b"".join(out)


def read_template(path: str | None) -> Template | None:
    """The object graph of a TF2 checkpoint or SavedModel; None for any other template."""
    if path is None:
        return None
    from ckpttool.formats.registry import open_reader

    with open_reader(path) as reader:
        if OBJECT_GRAPH_KEY not in reader.specs or reader.object_graph() is None:
            return None
        raw = bytes(reader.read(OBJECT_GRAPH_KEY).reshape(-1)[0])
        files = reader.info.files
        return Template(path, parse_object_graph(raw, path), raw, dict(reader.specs), files)
