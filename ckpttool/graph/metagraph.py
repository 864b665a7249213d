"""MetaGraphs as data: a ``.meta``, a SavedModel or a bare GraphDef, binary or text.

Reading one costs a pass over its nodes' names; nothing is built, so operations that no TensorFlow
knows any more do not matter.  Layout: ``tensorflow:core/protobuf/meta_graph.proto``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import CorruptError, InputError, Problem, corrupt
from ckpttool.graph.attrs import GraphShape
from ckpttool.graph.collected import Collection, SaverDef, read_collection, saver_def
from ckpttool.graph.nodes import NodeMap, NodeTable, graph_error, scan_nodes
from ckpttool.graph.schema import decode
from ckpttool.graph.variables import find_assignments
from ckpttool.names import decode_name
from ckpttool.storage import wire
from ckpttool.storage.files import Files, read_all
from ckpttool.storage.wire import WireError
from ckpttool.tensors import dtype_from_enum

if TYPE_CHECKING:
    from ckpttool.formats.base import GraphSource

MAX_GRAPH_BYTES = (2 << 30) - 1  # protobuf's own limit
MAX_META_GRAPHS = 1000
MAX_SAVERS = 64  # of one graph: each is followed through the graph

_MESSAGES = {"meta_graph": "MetaGraphDef", "graph_def": "GraphDef", "saved_model": "SavedModel"}
# What a text file's first fields can only be.
# Patterns are compiled when they are used: a binary file, the usual one, needs none.
_TEXT_KINDS = (
    ("saved_model", rb"(?m)^(?:saved_model_schema_version|meta_graphs)\b"),
    (
        "meta_graph",
        rb"(?m)^(?:meta_info_def|graph_def|saver_def|collection_def|signature_def)\b",
    ),
    ("graph_def", rb"(?m)^(?:node|versions|library)\b"),
)
_TEXT_START = rb"(?:\xef\xbb\xbf)?(?:[ \t\r\n\f\v]|#[^\n]*\n)*(?:[A-Za-z_\[]|\Z)"
_CONTROL = bytes(byte for byte in range(0x20) if byte not in b"\t\n\v\f\r") + b"\x7f"
_SNIFF = 4096


class SignatureTensor(NamedTuple):
    """An input or output of a signature; ``shape`` None if of unknown rank."""

    name: str
    dtype: str
    shape: GraphShape | None


class Signature(NamedTuple):
    """One entry point of a SavedModel."""

    method: str
    inputs: dict[str, SignatureTensor]
    outputs: dict[str, SignatureTensor]


class SavedVariable(NamedTuple):
    """A variable of a TF2 SavedModel's object graph."""

    node_id: int
    name: str
    dtype: str
    shape: GraphShape | None
    trainable: bool


class MetaGraph:
    """One graph with its collections and savers.

    ``kind`` says what the file holds (``meta_graph``, ``saved_model``, ``graph_def``); a bare
    graph has no collections.  ``table`` is the index of its nodes; ``nodes`` the same by name.
    """

    def __init__(self, path: str, kind: str, table: NodeTable) -> None:
        self.path = path
        self.kind = kind
        self.table = table
        self.tags: tuple[str, ...] = ()
        self.tf_version = ""
        self.collections: dict[str, Collection] = {}
        self.saver_def: SaverDef | None = None
        self.libraries: list[tuple[int, int]] = []
        self._signature_spans: list[tuple[int, int]] = []
        self._object_graph_span: tuple[int, int] | None = None
        self._functions: dict[str, tuple[int, int]] | None = None
        self._assignments: dict[bytes, int] | None = None
        self.problems: dict[Problem, None] = {}  # variables that could not be read, in order met

    def __repr__(self) -> str:
        return f"MetaGraph({self.path!r}, {len(self.table)} nodes)"

    @property
    def nodes(self) -> NodeMap:
        """The nodes by name, in graph order, decoded on access."""
        return NodeMap(self.table)

    @property
    def savers(self) -> list[SaverDef]:
        """The Saver that wrote this file first, then those of the ``savers`` collection."""
        found = {} if self.saver_def is None else {self.saver_def: None}
        for collection in self.collections.values():
            found.update(dict.fromkeys(collection.savers))
        return list(islice(found, MAX_SAVERS))

    @property
    def assignments(self) -> Mapping[bytes, int]:
        """The first assignment of each variable that is no restore: node number by variable."""
        if self._assignments is None:
            self._assignments = find_assignments(self.table)
        return self._assignments

    @property
    def functions(self) -> Mapping[str, tuple[int, int]]:
        """Names of the library's functions, with the span of each FunctionDef."""
        if self._functions is None:
            try:
                self._functions = self._read_functions()
            except WireError as error:
                raise graph_error(self.path, error) from error
        return self._functions

    def function_nodes(self, name: str) -> NodeMap:
        """The nodes of a library function; :class:`KeyError` if there is none of that name."""
        start, end = self.functions[name]
        table = NodeTable(self.table.buf, self.path)
        try:
            scan_nodes(table, start, end, tag=0x1A)
        except WireError as error:
            raise graph_error(self.path, error) from error
        return NodeMap(table)

    @property
    def signatures(self) -> dict[str, Signature]:
        """The signatures of a SavedModel."""
        try:
            entries = [
                decode("MetaGraphDef.signature_def", self.table.buf, a, b)
                for a, b in self._signature_spans
            ]
        except WireError as error:
            raise graph_error(self.path, error) from error
        return {entry.get("key", ""): _signature(entry.get("value") or {}) for entry in entries}

    def saved_variables(self) -> list[SavedVariable]:
        """Variables of the object graph of a TF2 SavedModel; empty if it has none."""
        if self._object_graph_span is None:
            return []
        try:
            graph = decode("SavedObjectGraph", self.table.buf, *self._object_graph_span)
        except WireError as error:
            raise graph_error(self.path, error) from error
        found = []
        for node_id, node in enumerate(graph.get("nodes", [])):
            variable = node.get("variable")
            if variable is not None:
                found.append(SavedVariable(
                    node_id, variable.get("name", ""),
                    dtype_from_enum(variable.get("dtype", 0)).name,
                    _shape(variable.get("shape", {})), variable.get("trainable", False),
                ))  # fmt: skip
        return found

    def consumers(self, name: str) -> list[str]:
        """Names of the nodes that read, or wait for, the node ``name``; indexed on first use."""
        names = self.table.names
        found = self.table.consumers().get(name.encode("utf-8", "surrogateescape"), [])
        return [decode_name(names[number]) for number in dict.fromkeys(found)]

    def _read_functions(self) -> dict[str, tuple[int, int]]:
        buf = self.table.buf
        found: dict[str, tuple[int, int]] = {}
        for start, end in self.libraries:
            for field, kind, a, b in wire.fields(buf, start, end):
                if field == 1 and kind == wire.BYTES:
                    found[_function_name(buf, a, b)] = (a, b)
        return found


def load_graphs(source: GraphSource, files: Files | None = None) -> list[MetaGraph]:
    """Every MetaGraph in a graph file, in stored order (several only in a SavedModel).

    Whether the file is text or binary is seen from its content.  Raises :class:`InputError`, and
    :class:`CorruptError` with the byte, or in text the line and column, where it broke.
    """
    return parse_graphs(read_all(source.path, MAX_GRAPH_BYTES, files), source.path, source.kind)


def parse_graphs(raw: bytes, path: str, kind: str) -> list[MetaGraph]:
    """:func:`load_graphs` for bytes that have been read already."""
    if not raw:
        raise corrupt("the graph file is empty", path, code="INP014")
    if is_text(raw):
        kind = _text_kind(raw, kind)
        raw = _from_text(raw, path, kind)
    else:
        kind = _binary_kind(raw, kind)
    try:
        return _parse(raw, path, kind)
    except WireError as error:
        raise graph_error(path, error) from error


def is_text(raw: bytes) -> bool:
    """Whether a graph file is in text form: no control bytes in it, as every binary one has."""
    head = raw[:_SNIFF]
    if len(head.translate(None, _CONTROL)) < len(head):
        return False
    return re.match(_TEXT_START, head) is not None


def _from_text(raw: bytes, path: str, kind: str) -> bytes:
    from ckpttool.graph.textproto import MAX_BYTES, TextError, encode_text

    if len(raw) > MAX_BYTES:
        found, expected = f"{len(raw)} bytes", f"≤ {MAX_BYTES}"
        raise InputError(Problem("INP009", "the text graph is too large", path, found, expected))
    try:
        return encode_text(raw, _MESSAGES[kind])
    except TextError as error:
        where = f"{path}:{error.line}:{error.column}"
        reason = f"the graph file could not be parsed: {error.message}"
        raise CorruptError(Problem("INP014", reason, where)) from error


def _text_kind(raw: bytes, kind: str) -> str:
    """The kind that the first top-level field names, if it is clear; ``kind`` if not."""
    firsts = [
        (match.start(), name)
        for name, pattern in _TEXT_KINDS
        if (match := re.search(pattern, raw[: 1 << 20]))
    ]
    return min(firsts)[1] if firsts else kind


def _binary_kind(raw: bytes, kind: str) -> str:
    """The kind that the first two top-level fields can only mean; ``kind`` if they can be both.

    SavedModel: 1 is a varint.  GraphDef: 1 repeats (nodes).  MetaGraphDef: 1 (info), then 2.
    """
    if raw[0] == 0x08:
        return "saved_model"
    if raw[0] != 0x0A or kind == "saved_model":
        return kind
    try:
        _, _, _, after = next(wire.fields(raw))
    except WireError:
        return kind
    following = raw[after : after + 1]
    if following == b"\x0a":
        return "graph_def"
    return "meta_graph" if following == b"\x12" else kind


def _parse(raw: bytes, path: str, kind: str) -> list[MetaGraph]:
    if kind == "graph_def":
        graph = MetaGraph(path, kind, NodeTable(raw, path))
        graph.libraries = scan_nodes(graph.table, 0, len(raw))
        return [graph]
    if kind == "meta_graph":
        return [_meta_graph(raw, 0, len(raw), path, kind)]
    spans = [
        (a, b)
        for field, wire_type, a, b in wire.fields(raw)
        if field == 2 and wire_type == wire.BYTES
    ]
    if len(spans) > MAX_META_GRAPHS:
        raise WireError(f"more than {MAX_META_GRAPHS} graphs in one SavedModel", spans[0][0])
    return [_meta_graph(raw, a, b, path, kind) for a, b in spans]


def _meta_graph(buf: bytes, start: int, end: int, path: str, kind: str) -> MetaGraph:
    graph = MetaGraph(path, kind, NodeTable(buf, path))
    collections = []
    for field, wire_type, a, b in wire.fields(buf, start, end):
        if wire_type != wire.BYTES:
            continue
        if field == 1:
            info = decode("MetaInfoDef", buf, a, b)
            graph.tags = tuple(info.get("tags", ()))
            graph.tf_version = info.get("tensorflow_version", "")
        elif field == 2:
            graph.libraries += scan_nodes(graph.table, a, b)
        elif field == 3 and b > a:
            graph.saver_def = saver_def(buf, a, b)
        elif field == 4:
            collections.append((a, b))
        elif field == 5:
            graph._signature_spans.append((a, b))
        elif field == 7:
            graph._object_graph_span = (a, b)
    for a, b in collections:
        collection = _collection(buf, a, b, graph.table)
        graph.collections[collection.name] = collection
    graph.collections = dict(sorted(graph.collections.items()))
    return graph


def _collection(buf: bytes, start: int, end: int, table: NodeTable) -> Collection:
    name = b""
    span = (end, end)
    for field, kind, a, b in wire.fields(buf, start, end):
        if kind == wire.BYTES:
            if field == 1:
                name = buf[a:b]
            elif field == 2:
                span = (a, b)
    return read_collection(decode_name(name), buf, *span, table)


def _function_name(buf: bytes, start: int, end: int) -> str:
    for field, kind, a, b in wire.fields(buf, start, end):
        if field == 1 and kind == wire.BYTES:
            for inner, inner_kind, c, d in wire.fields(buf, a, b):
                if inner == 1 and inner_kind == wire.BYTES:
                    return decode_name(buf[c:d])
    return ""


def _signature(found: dict[str, Any]) -> Signature:
    def tensors(entries: dict[str, Any]) -> dict[str, SignatureTensor]:
        return {key: _signature_tensor(info or {}) for key, info in entries.items()}

    return Signature(
        found.get("method_name", ""),
        tensors(found.get("inputs", {})),
        tensors(found.get("outputs", {})),
    )


def _signature_tensor(info: dict[str, Any]) -> SignatureTensor:
    name = info.get("name") or info.get("coo_sparse", {}).get("values_tensor_name", "")
    dtype = dtype_from_enum(info.get("dtype", 0)).name
    return SignatureTensor(name, dtype, _shape(info.get("tensor_shape", {})))


def _shape(found: dict[str, Any]) -> GraphShape | None:
    if found.get("unknown_rank"):
        return None
    sizes = [dim.get("size", 0) for dim in found.get("dim", [])]
    return tuple(None if size < 0 else size for size in sizes)
