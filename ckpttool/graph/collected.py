"""Collections of a MetaGraph: what kind of members each holds, and the members.

A collection is stored as one of five lists (``tensorflow:core/protobuf/meta_graph.proto``,
CollectionDef).  A bytes list holds serialized messages or plain bytes, and does not say which:
the standard names are known; of any other, every item must parse, strictly, as one message whose
names are in the graph.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ckpttool.graph.nodes import NodeTable, base_name
from ckpttool.graph.schema import decode, has_message
from ckpttool.names import decode_name, encode_name
from ckpttool.storage import wire
from ckpttool.storage.wire import WireError

Member = str | int | float

# Bytes collections whose items are messages, by the functions that TensorFlow registers for them
# (tensorflow:python/framework/ops.py, register_proto_function).
_VARIABLE_KEYS = frozenset({
    "variables", "trainable_variables", "local_variables", "model_variables",
    "moving_average_variables", "metric_variables", "concatenated_variables", "global_step",
    "eval_step", "trainable_resource_variables",
})  # fmt: skip
_MESSAGE_KEYS = {
    "queue_runners": ("queue_runner", "QueueRunnerDef", "queue_name"),
    "cond_context": ("context", "CondContextDef", "context_name"),
    "while_context": ("context", "WhileContextDef", "context_name"),
    "savers": ("saver", "SaverDef", "restore_op_name"),
    "critical_sections": ("context", "CriticalSectionDef", "critical_section_name"),
}
_LISTS = {1: "node", 2: "bytes", 3: "int64", 4: "float", 5: "any"}
_PREVIEW = 48  # bytes of an opaque item that are shown
_NO_VARIABLE_OPS = frozenset({b"Const", b"Placeholder", b"NoOp", b"Identity"})


class SaverDef(NamedTuple):
    """One Saver: the tensors and ops that drive it (``tensorflow:core/protobuf/saver.proto``)."""

    filename_tensor_name: str
    save_tensor_name: str
    restore_op_name: str
    max_to_keep: int
    sharded: bool
    version: int  # 0 legacy, 1 V1, 2 V2

    @property
    def scope(self) -> str:
        """The name scope of its operations (``save``, ``save_1``, …); empty if not in one."""
        name = self.restore_op_name or self.save_tensor_name
        return name.rpartition("/")[0]


class VariableDef:
    """A variable as a collection records it; decoded on access but for its name.

    ``name`` is the variable's op (no ``:0``), in bytes.  Fields that the writer left out are
    empty.  ``trainable`` in the message is not membership in ``trainable_variables``.
    """

    __slots__ = ("_decoded", "name", "raw")

    def __init__(self, raw: bytes, name: bytes) -> None:
        self.raw = raw
        self.name = name
        self._decoded: dict[str, Any] | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """The whole VariableDef, by field name."""
        if self._decoded is None:
            try:
                self._decoded = decode("VariableDef", self.raw)
            except WireError:
                self._decoded = {}  # the name was read; the rest is damaged, and only hints
        return self._decoded

    def text(self, field: str) -> str:
        """A string field, empty if absent."""
        value = self.fields.get(field, "")
        return value if isinstance(value, str) else ""


class Collection:
    """One collection: its name, the kind of its members, and they themselves.

    ``kind`` is one of ``variable node bytes int64 float any queue_runner context saver empty``.
    ``members`` are names (of variables without ``:0``, of nodes and tensors as stored), numbers,
    or one line of text for what has no name.  Names are as stored: escape before printing.
    """

    __slots__ = ("_items", "_kind", "_members", "_raw_kind", "_table", "_variables", "name")

    def __init__(self, name: str, raw_kind: str, items: list[Any], table: NodeTable) -> None:
        self.name = name
        self._raw_kind = raw_kind
        self._items = items
        self._table = table
        self._kind: str | None = None
        self._members: tuple[Member, ...] | None = None
        self._variables: list[VariableDef] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"Collection({self.name!r}, {self.kind!r}, {len(self)} members)"

    @property
    def kind(self) -> str:
        """What its members are."""
        if self._kind is None:
            self._kind = self._find_kind()
        return self._kind

    @property
    def raw_items(self) -> list[Any]:
        """The items as stored: bytes (also for node names), numbers, or dicts of an Any."""
        return self._items

    @property
    def variables(self) -> list[VariableDef]:
        """The variables' records, if ``kind`` is ``variable``; else empty."""
        return self._variables or [] if self.kind == "variable" else []

    @property
    def savers(self) -> list[SaverDef]:
        """The Savers, if ``kind`` is ``saver``; else empty."""
        return [saver_def(raw) for raw in self._items] if self.kind == "saver" else []

    @property
    def members(self) -> tuple[Member, ...]:
        """The members, in stored order."""
        if self._members is None:
            self._members = tuple(self._describe())
        return self._members

    def node_references(self) -> list[bytes]:
        """Names in a node list, as stored."""
        return self._items if self._raw_kind == "node" else []

    def _find_kind(self) -> str:
        if not self._items:
            return "empty"
        if self._raw_kind != "bytes":
            return self._raw_kind
        if self._as_variables():
            return "variable"
        known = _MESSAGE_KEYS.get(self.name)
        if known is not None:
            kind, message, field = known
            fits = all(_parses(message, raw, field, strict=False) for raw in self._items)
            return kind if fits else "bytes"
        if all(self._is_saver(raw) for raw in self._items):
            return "saver"
        return "bytes"

    def _as_variables(self) -> bool:
        """Whether every item is a VariableDef; if so, keep them."""
        standard = self.name in _VARIABLE_KEYS
        if not standard and self.name in _MESSAGE_KEYS:
            return False
        found = []
        for raw in self._items:
            reference = _variable_name(raw)
            if reference is None or not (standard or self._is_variable(raw, reference)):
                return False
            found.append(VariableDef(raw, base_name(reference)))
        self._variables = found
        return True

    def _is_variable(self, raw: bytes, reference: bytes) -> bool:
        number = self._table.index.get(base_name(reference))
        if number is None or self._table.ops[number] in _NO_VARIABLE_OPS:
            return False
        return _parses("VariableDef", raw, "variable_name")

    def _is_saver(self, raw: bytes) -> bool:
        if not _parses("SaverDef", raw, "save_tensor_name"):
            return False
        return encode_name(saver_def(raw).save_tensor_name).split(b":")[0] in self._table.index

    def _describe(self) -> Iterator[Member]:
        kind = self.kind
        if kind == "variable":
            yield from (decode_name(variable.name) for variable in self.variables)
        elif kind == "node":
            yield from map(decode_name, self._items)
        elif kind in ("int64", "float"):
            yield from self._items
        elif kind == "any":
            yield from map(_describe_any, self._items)
        elif kind == "saver":
            yield from (saver.scope or saver.save_tensor_name for saver in self.savers)
        elif kind == "bytes":
            yield from map(_describe_bytes, self._items)
        elif kind != "empty":
            _, message, field = _MESSAGE_KEYS[self.name]
            yield from (decode(message, raw).get(field, "") for raw in self._items)


def read_collection(name: str, buf: bytes, start: int, end: int, table: NodeTable) -> Collection:
    """The CollectionDef in ``buf[start:end]``.  Raises :class:`WireError`."""
    kind = "empty"
    items: list[Any] = []
    for field, wire_type, a, b in wire.fields(buf, start, end):
        if wire_type != wire.BYTES or field not in _LISTS:
            continue
        kind = _LISTS[field]
        if field <= 2:
            items += [
                buf[c:d]
                for number, inner, c, d in wire.fields(buf, a, b)
                if number == 1 and inner == wire.BYTES
            ]
        else:
            message = {3: "Int64List", 4: "FloatList", 5: "AnyList"}[field]
            items += decode(message, buf, a, b).get("value", [])
    return Collection(name, kind, items, table)


def saver_def(buf: bytes, start: int = 0, end: int | None = None) -> SaverDef:
    """The SaverDef in ``buf[start:end]``.  Raises :class:`WireError`."""
    found = decode("SaverDef", buf, start, end)
    return SaverDef(
        found.get("filename_tensor_name", ""),
        found.get("save_tensor_name", ""),
        found.get("restore_op_name", ""),
        found.get("max_to_keep", 0),
        found.get("sharded", False),
        found.get("version", 0),
    )


def _variable_name(raw: bytes) -> bytes | None:
    """``variable_name`` of a VariableDef; None if these bytes cannot be one."""
    if len(raw) > 2 and raw[0] == 0x0A and raw[1] < 0x80 and 2 + raw[1] <= len(raw):
        return raw[2 : 2 + raw[1]] or None
    try:
        name = decode("VariableDef", raw, strict=True).get("variable_name")
    except WireError:
        return None
    return encode_name(name) if name else None


def _parses(message: str, raw: bytes, field: str, strict: bool = True) -> bool:
    try:
        return bool(decode(message, raw, strict=strict).get(field))
    except WireError:
        return False


def _describe_any(item: dict[str, Any]) -> str:
    """``AssetFileDef vocab.txt (Const:0)``: the type, and the names that are known to be in it."""
    url = item.get("type_url", "")
    value = item.get("value", b"")
    kind = url.rpartition("/")[2]
    short = kind.rpartition(".")[2]
    # tensorflow.serving.AssetFile has AssetFileDef's layout, as far as names go.
    message = "AssetFileDef" if short in ("AssetFile", "AssetFileDef") else short
    names: list[str] = []
    if has_message(message) and message in ("AssetFileDef", "TensorInfo", "VariableDef"):
        try:
            found = decode(message, value)
        except WireError:
            found = {}
        info = found.get("tensor_info", {})
        names = [found.get("filename", ""), found.get("variable_name", "")]
        names += [found.get("name", ""), info.get("name", "")]
        names.append(found.get("coo_sparse", {}).get("values_tensor_name", ""))
    shown = [name for name in names if name]
    if not shown:
        return f"{kind} ({len(value)} bytes)"
    return f"{kind} {shown[0]}" + "".join(f" ({name})" for name in shown[1:])


def _describe_bytes(raw: bytes) -> str:
    """Text as it is; anything else escaped, its beginning, with the length."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    if text.isprintable() and (text or not raw):
        return text
    dots = "…" if len(raw) > _PREVIEW else ""
    return f"{raw[:_PREVIEW]!r}{dots} ({len(raw)} bytes)"
