"""The nodes of a GraphDef, found in one pass and decoded when they are asked for.

A training graph has thousands of nodes, of which a checkpoint's reader looks into a few hundred.
The pass records each node's name, op and where its other fields are; inputs, device and
attributes are read from the bytes on access.  Names stay bytes inside this package's joins.

Layout: ``tensorflow:core/framework/graph.proto`` (GraphDef: 1 node, 2 library) and
``node_def.proto`` (NodeDef: 1 name, 2 op, 3 input, 4 device, 5 attr).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ckpttool.errors import CorruptError, corrupt
from ckpttool.graph.attrs import Attr, TensorValue, attr_spans, attr_value
from ckpttool.names import decode_name, encode_name
from ckpttool.storage import wire
from ckpttool.storage.wire import WireError
from ckpttool.tensors import dtype_from_enum

MAX_NODES = 20_000_000

# The pass's fast part reads a one-byte length of name and op: this is the furthest it can look.
_REACH = 2 * 130 + 8


class NodeTable:
    """Every node of a graph: parallel lists of name, op, and the span of the other fields.

    ``rests[i]:stops[i]`` holds the node's fields after name and op (or the whole node, where they
    do not come first).  Methods take node numbers; :class:`CorruptError` reports damage.
    """

    __slots__ = (
        "_by_op", "_consumers", "_index", "_strings", "buf", "names", "ops", "path", "rests",
        "stops",
    )  # fmt: skip

    def __init__(self, buf: bytes, path: str) -> None:
        self.buf = buf
        self.path = path
        self.names: list[bytes] = []
        self.ops: list[bytes] = []
        self.rests: list[int] = []
        self.stops: list[int] = []
        self._index: dict[bytes, int] | None = None
        self._by_op: dict[bytes, list[int]] | None = None
        self._consumers: dict[bytes, list[int]] | None = None
        self._strings: dict[int, tuple[list[bytes], int]] = {}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def index(self) -> dict[bytes, int]:
        """Node number by name."""
        if self._index is None:
            self._index = dict(zip(self.names, range(len(self.names)), strict=True))
        return self._index

    @property
    def by_op(self) -> dict[bytes, list[int]]:
        """Node numbers by op, in graph order."""
        if self._by_op is None:
            found: dict[bytes, list[int]] = {}
            for number, op in enumerate(self.ops):
                if op in found:
                    found[op].append(number)
                else:
                    found[op] = [number]
            self._by_op = found
        return self._by_op

    def with_ops(self, ops: Iterable[bytes]) -> list[int]:
        """Numbers of the nodes whose op is one of ``ops``, in graph order."""
        by_op = self.by_op
        found = [by_op[op] for op in ops if op in by_op]
        return found[0] if len(found) == 1 else sorted(number for part in found for number in part)

    def inputs(self, number: int) -> list[bytes]:
        """Raw inputs: ``name``, ``name:output`` or ``^control``."""
        buf, pos, stop = self.buf, self.rests[number], self.stops[number]
        out = []
        while pos + 1 < stop and buf[pos] == 0x1A:
            length = buf[pos + 1]
            after = pos + 2 + length
            if length > 0x7F or after > stop:
                break
            out.append(buf[pos + 2 : after])
            pos = after
        try:
            out += [
                buf[a:b]
                for field, kind, a, b in wire.fields(buf, pos, stop)
                if field == 3 and kind == wire.BYTES
            ]
        except WireError as error:
            raise self.damaged(error) from error
        return out

    def first_input(self, number: int) -> bytes | None:
        """The first data input; None if there is none."""
        buf, pos, stop = self.buf, self.rests[number], self.stops[number]
        if pos + 2 < stop and buf[pos] == 0x1A and buf[pos + 2] != 0x5E:
            after = pos + 2 + buf[pos + 1]
            if buf[pos + 1] < 0x80 and after <= stop:
                return buf[pos + 2 : after]
        for name in self.inputs(number):
            if not name.startswith(b"^"):
                return name
        return None

    def data_inputs(self, number: int) -> list[bytes]:
        """Inputs that carry values."""
        return [name for name in self.inputs(number) if not name.startswith(b"^")]

    def attr(self, number: int, key: bytes) -> Attr | None:
        """One attribute, None if the node has it not."""
        try:
            span = attr_spans(self.buf, self.rests[number], self.stops[number]).get(key)
            return None if span is None else attr_value(self.buf, *span)
        except WireError as error:
            raise self.damaged(error) from error

    def attr_keys(self, number: int) -> list[bytes]:
        """Names of the node's attributes."""
        try:
            return list(attr_spans(self.buf, self.rests[number], self.stops[number]))
        except WireError as error:
            raise self.damaged(error) from error

    def device(self, number: int) -> bytes:
        """The device that was asked for, empty if none."""
        device = b""
        try:
            for field, kind, a, b in wire.fields(self.buf, self.rests[number], self.stops[number]):
                if field == 4 and kind == wire.BYTES:
                    device = self.buf[a:b]
        except WireError as error:
            raise self.damaged(error) from error
        return device

    def tensor(self, number: int) -> TensorValue | None:
        """The ``value`` of a Const, None if this is no constant."""
        found = self.attr(number, b"value")
        return found.value if found is not None and found.kind == "tensor" else None

    def strings(self, number: int) -> tuple[list[bytes], int]:
        """The strings that a Const stores, and its number of elements; kept once read."""
        found = self._strings.get(number)
        if found is None:
            value = self.tensor(number)
            try:
                found = ([], 0) if value is None else (value.strings(), value.count)
            except WireError as error:
                raise self.damaged(error) from error
            self._strings[number] = found
        return found

    def consumers(self) -> dict[bytes, list[int]]:
        """Node numbers that read (or wait for) each node, by its name; built on first use."""
        if self._consumers is None:
            built: dict[bytes, list[int]] = {}
            for number in range(len(self.names)):
                for name in self.inputs(number):
                    built.setdefault(base_name(name), []).append(number)
            self._consumers = built
        return self._consumers

    def damaged(self, error: WireError) -> CorruptError:
        """``error`` with the file it was met in."""
        return graph_error(self.path, error)


def graph_error(path: str, error: WireError) -> CorruptError:
    """A graph file that is no valid message, with the byte where it broke."""
    return corrupt(f"the graph file is damaged: {error.message}", path, error.offset, code="INP014")


def base_name(reference: bytes) -> bytes:
    """The node's name in an input, tensor or op reference (``^a``, ``a:1`` and ``a`` are a)."""
    if reference[:1] == b"^":
        return reference[1:]
    head, colon, output = reference.rpartition(b":")
    return head if colon and output.isdigit() else reference


def output_number(reference: bytes) -> int:
    """The output that a tensor reference means, 0 if it does not say."""
    _, colon, output = reference.rpartition(b":")
    return int(output) if colon and output.isdigit() and len(output) < 10 else 0


def scan_nodes(table: NodeTable, start: int, end: int, tag: int = 0x0A) -> list[tuple[int, int]]:
    """Add every node in ``buf[start:end]`` to ``table``; return the spans of the libraries.

    ``tag`` is the field that holds nodes: 1 in a GraphDef; 3 in a FunctionDef (``0x1A``).
    Raises :class:`WireError`.
    """
    buf = table.buf
    libraries: list[tuple[int, int]] = []
    pos = start
    while pos < end:
        pos = _scan_run(table, pos, end, tag)
        if pos >= end:
            break
        field, kind, a, b = next(wire.fields(buf, pos, end))
        if kind == wire.BYTES:
            if field == tag >> 3:
                _add_node(table, a, b)
            elif field == 2:
                libraries.append((a, b))
        pos = b
    if len(table) > MAX_NODES:
        raise WireError(f"more than {MAX_NODES} nodes", start)
    return libraries


def _scan_run(table: NodeTable, pos: int, end: int, tag: int) -> int:
    """Add nodes as long as they are of the usual form; the position of the first other field.

    The usual form: name and op first, both shorter than 128 bytes, node shorter than 16 KiB.
    """
    buf = table.buf
    ops: dict[bytes, bytes] = {}
    add_name, add_op = table.names.append, table.ops.append
    add_rest, add_stop = table.rests.append, table.stops.append
    limit = end - _REACH
    while pos < limit and buf[pos] == tag:
        length = buf[pos + 1]
        at = pos + 2
        if length > 0x7F:
            high = buf[at]
            if high > 0x7F:
                return pos
            length += (high << 7) - 0x80
            at += 1
        name_length = buf[at + 1]
        name_end = at + 2 + name_length
        if buf[at] != 0x0A or name_length > 0x7F or buf[name_end] != 0x12:
            return pos
        op_length = buf[name_end + 1]
        op_end = name_end + 2 + op_length
        stop = at + length
        if op_length > 0x7F or op_end > stop or stop > end:
            return pos
        op = buf[name_end + 2 : op_end]
        add_name(buf[at + 2 : name_end])
        add_op(ops.setdefault(op, op))
        add_rest(op_end)
        add_stop(stop)
        pos = stop
    return pos


def _add_node(table: NodeTable, start: int, end: int) -> None:
    buf = table.buf
    name = op = b""
    for field, kind, a, b in wire.fields(buf, start, end):
        if kind == wire.BYTES and field == 1:
            name = buf[a:b]
        elif kind == wire.BYTES and field == 2:
            op = buf[a:b]
    table.names.append(name)
    table.ops.append(op)
    table.rests.append(start)
    table.stops.append(end)


class Node:
    """One node of a graph; everything but name and op is decoded on access."""

    __slots__ = ("_table", "number")

    def __init__(self, table: NodeTable, number: int) -> None:
        self._table = table
        self.number = number

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.op!r})"

    @property
    def name(self) -> str:
        """The node's name."""
        return decode_name(self._table.names[self.number])

    @property
    def op(self) -> str:
        """The type of operation."""
        return decode_name(self._table.ops[self.number])

    @property
    def inputs(self) -> list[str]:
        """``name``, ``name:output`` or ``^control``, as stored."""
        return [decode_name(name) for name in self._table.inputs(self.number)]

    @property
    def device(self) -> str:
        """The device that was asked for, empty if none."""
        return decode_name(self._table.device(self.number))

    @property
    def attr_names(self) -> list[str]:
        """Names of the attributes."""
        return [decode_name(key) for key in self._table.attr_keys(self.number)]

    def attr(self, key: str) -> Attr | None:
        """One attribute with its kind, None if absent."""
        return self._table.attr(self.number, encode_name(key))

    def get_int(self, key: str) -> int | None:
        """An ``int`` attribute."""
        return self._get(key, "i")  # type: ignore[no-any-return]

    def get_float(self, key: str) -> float | None:
        """A ``float`` attribute."""
        return self._get(key, "f")  # type: ignore[no-any-return]

    def get_bool(self, key: str) -> bool | None:
        """A ``bool`` attribute."""
        return self._get(key, "b")  # type: ignore[no-any-return]

    def get_str(self, key: str) -> str | None:
        """A ``string`` attribute."""
        raw = self._get(key, "s")
        return None if raw is None else decode_name(raw)

    def get_type(self, key: str) -> str | None:
        """A ``type`` attribute as TensorFlow's dtype name, without ``_ref``."""
        value = self._get(key, "type")
        return None if value is None else dtype_from_enum(value).name

    def get_shape(self, key: str) -> tuple[int | None, ...] | None:
        """A ``shape`` attribute; None if absent or of unknown rank, None for an open dimension."""
        return self._get(key, "shape")  # type: ignore[no-any-return]

    def get_tensor(self, key: str = "value") -> TensorValue | None:
        """A ``tensor`` attribute."""
        return self._get(key, "tensor")  # type: ignore[no-any-return]

    def _get(self, key: str, kind: str) -> Any:
        found = self._table.attr(self.number, encode_name(key))
        return found.value if found is not None and found.kind == kind else None


class NodeMap(Mapping[str, Node]):
    """The nodes of a graph by name, in graph order."""

    def __init__(self, table: NodeTable) -> None:
        self.table = table

    def __getitem__(self, name: str) -> Node:
        return Node(self.table, self.table.index[encode_name(name)])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and encode_name(name) in self.table.index

    def __iter__(self) -> Iterator[str]:
        return map(decode_name, self.table.index)

    def __len__(self) -> int:
        return len(self.table.index)
