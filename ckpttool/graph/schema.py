"""The protocol-buffer messages of a MetaGraph, as tables, and a generic decoder over them.

Field numbers are those of ``tensorflow:core/protobuf/meta_graph.proto``, ``saved_model.proto``,
``saver.proto``, ``queue_runner.proto``, ``control_flow.proto``, ``saved_object_graph.proto`` and of
``core/framework/*.proto``.  Only what a checkpoint's reader can use is listed; every other field
is stepped over.  Big graphs never go through :func:`decode`: see ``graph/nodes.py``.

The table below holds one message a paragraph, ``number name type`` for each field; ``*`` marks a
repeated field, ``K>V`` a map, ``@X`` an enum.  ``span`` is a message that is handed over as the
``(start, end)`` of its bytes, for a decoder of its own.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from ckpttool.names import decode_name
from ckpttool.storage import wire
from ckpttool.storage.wire import WireError, signed

MAX_DEPTH = 100  # nested messages; protobuf's own limit
MAX_REPEATED = 1 << 20  # elements of one packed field, outside tensors

_TABLE = """
SavedModel: 1 saved_model_schema_version int64; 2 meta_graphs *MetaGraphDef

MetaGraphDef: 1 meta_info_def MetaInfoDef; 2 graph_def GraphDef; 3 saver_def SaverDef;
  4 collection_def string>CollectionDef; 5 signature_def string>SignatureDef;
  6 asset_file_def *AssetFileDef; 7 object_graph_def SavedObjectGraph

MetaInfoDef: 1 meta_graph_version string; 3 any_info Any; 4 tags *string;
  5 tensorflow_version string; 6 tensorflow_git_version string; 7 stripped_default_attrs bool;
  8 function_aliases string>string

GraphDef: 1 node *NodeDef; 2 library FunctionDefLibrary; 3 version int32; 4 versions VersionDef

VersionDef: 1 producer int32; 2 min_consumer int32; 3 bad_consumers *int32

FunctionDefLibrary: 1 function *FunctionDef; 2 gradient *GradientDef

GradientDef: 1 function_name string; 2 gradient_func string

FunctionDef: 1 signature OpDef; 3 node_def *NodeDef; 4 ret string>string;
  5 attr string>AttrValue; 6 control_ret string>string

OpDef: 1 name string; 2 input_arg *ArgDef; 3 output_arg *ArgDef

ArgDef: 1 name string; 3 type @DataType

NodeDef: 1 name string; 2 op string; 3 input *string; 4 device string; 5 attr string>AttrValue

AttrValue: 1 list AttrList; 2 s bytes; 3 i int64; 4 f float; 5 b bool; 6 type @DataType;
  7 shape TensorShapeProto; 8 tensor TensorProto; 9 placeholder string; 10 func NameAttrList

AttrList: 2 s *bytes; 3 i *int64; 4 f *float; 5 b *bool; 6 type *@DataType;
  7 shape *TensorShapeProto; 8 tensor *TensorProto; 9 func *NameAttrList

NameAttrList: 1 name string; 2 attr string>AttrValue

TensorShapeProto: 2 dim *Dim; 3 unknown_rank bool

Dim: 1 size int64; 2 name string

TensorProto: 1 dtype @DataType; 2 tensor_shape TensorShapeProto; 3 version_number int32;
  4 tensor_content bytes; 5 float_val *float; 6 double_val *double; 7 int_val *int32;
  8 string_val *bytes; 9 scomplex_val *float; 10 int64_val *int64; 11 bool_val *bool;
  12 dcomplex_val *double; 13 half_val *int32; 16 uint32_val *uint32; 17 uint64_val *uint64;
  18 float8_val bytes

CollectionDef: 1 node_list NodeList; 2 bytes_list BytesList; 3 int64_list Int64List;
  4 float_list FloatList; 5 any_list AnyList

NodeList: 1 value *string

BytesList: 1 value *bytes

Int64List: 1 value *int64

FloatList: 1 value *float

AnyList: 1 value *Any

Any: 1 type_url string; 2 value bytes

SaverDef: 1 filename_tensor_name string; 2 save_tensor_name string; 3 restore_op_name string;
  4 max_to_keep int32; 5 sharded bool; 6 keep_checkpoint_every_n_hours float;
  7 version @SaverVersion

VariableDef: 1 variable_name string; 2 initializer_name string; 3 snapshot_name string;
  4 save_slice_info_def SaveSliceInfoDef; 5 is_resource bool; 6 initial_value_name string;
  7 trainable bool; 8 synchronization @Synchronization; 9 aggregation @Aggregation

SaveSliceInfoDef: 1 full_name string; 2 full_shape *int64; 3 var_offset *int64;
  4 var_shape *int64

QueueRunnerDef: 1 queue_name string; 2 enqueue_op_name *string; 3 close_op_name string;
  4 cancel_op_name string; 5 queue_closed_exception_types *@ErrorCode

CondContextDef: 1 context_name string; 2 pred_name string; 3 pivot_name string; 4 branch int32;
  5 values_def ValuesDef; 6 nested_contexts *ControlFlowContextDef

WhileContextDef: 1 context_name string; 2 parallel_iterations int32; 3 back_prop bool;
  4 swap_memory bool; 5 pivot_name string; 6 pivot_for_pred_name string;
  7 pivot_for_body_name string; 8 loop_exit_names *string; 9 values_def ValuesDef;
  10 loop_enter_names *string; 11 maximum_iterations_name string;
  12 nested_contexts *ControlFlowContextDef

ValuesDef: 1 values *string; 2 external_values string>string

ControlFlowContextDef: 1 cond_ctxt CondContextDef; 2 while_ctxt WhileContextDef

CriticalSectionDef: 1 critical_section_name string

SignatureDef: 1 inputs string>TensorInfo; 2 outputs string>TensorInfo; 3 method_name string

TensorInfo: 1 name string; 2 dtype @DataType; 3 tensor_shape TensorShapeProto;
  4 coo_sparse CooSparse

CooSparse: 1 values_tensor_name string; 2 indices_tensor_name string;
  3 dense_shape_tensor_name string

AssetFileDef: 1 tensor_info TensorInfo; 2 filename string

SavedObjectGraph: 1 nodes *SavedObject

SavedObject: 1 children *ObjectReference; 3 slot_variables *SlotVariableReference;
  4 user_object SavedUserObject; 7 variable SavedVariable; 13 registered_name string

ObjectReference: 1 node_id int32; 2 local_name string

SlotVariableReference: 1 original_variable_node_id int32; 2 slot_name string;
  3 slot_variable_node_id int32

SavedUserObject: 1 identifier string

SavedVariable: 1 dtype @DataType; 2 shape TensorShapeProto; 3 trainable bool;
  4 synchronization @Synchronization; 5 aggregation @Aggregation; 6 name string; 7 device string
"""

# Messages that decode() hands over as spans: they can be big, and have readers of their own.
_SPANS = frozenset({"TensorProto", "GraphDef", "NodeDef"})
_VARINTS = frozenset({"int32", "int64", "uint32", "uint64", "bool", "enum"})
_UNSIGNED = frozenset({"uint32", "uint64"})


class Field(NamedTuple):
    """One field: ``type`` is a scalar type, ``enum``, ``message`` or ``map``.

    ``of`` names the message (of a map: the entry's message) or the enum.
    """

    number: int
    name: str
    type: str
    repeated: bool
    of: str


class Message(NamedTuple):
    """One message: its fields by number and by name."""

    name: str
    by_number: dict[int, Field]
    by_name: dict[str, Field]


_messages: dict[str, Message] = {}


def message(name: str) -> Message:
    """The table of the message ``name`` (without its package); :class:`KeyError` if unknown."""
    if not _messages:
        _parse_table()
    return _messages[name]


def has_message(name: str) -> bool:
    """Whether there is a table for the message ``name``."""
    if not _messages:
        _parse_table()
    return name in _messages


def _parse_table() -> None:
    for paragraph in _TABLE.strip().split("\n\n"):
        name, _, body = paragraph.partition(":")
        rows = [_field(name, *row.split()) for row in body.split(";")]
        _add(name, rows)


def _add(name: str, rows: list[Field]) -> None:
    _messages[name] = Message(
        name, {row.number: row for row in rows}, {row.name: row for row in rows}
    )


def _field(owner: str, number: str, name: str, kind: str) -> Field:
    if ">" in kind:
        key, value = kind.split(">")
        entry = f"{owner}.{name}"
        _add(entry, [_field(entry, "1", "key", key), _field(entry, "2", "value", value)])
        return Field(int(number), name, "map", True, entry)
    repeated = kind.startswith("*")
    kind = kind.lstrip("*")
    if kind.startswith("@"):
        return Field(int(number), name, "enum", repeated, kind[1:])
    if kind[0].isupper():
        return Field(int(number), name, "message", repeated, kind)
    return Field(int(number), name, kind, repeated, "")


def enum_value(enum: str, name: str) -> int | None:
    """The number of an enum's value, None if it is not known."""
    from ckpttool.graph.enums import ENUMS  # only the text form needs it

    return ENUMS[enum].get(name)


def decode(
    name: str,
    buf: bytes,
    start: int = 0,
    end: int | None = None,
    *,
    strict: bool = False,
    depth: int = 0,
) -> dict[str, Any]:
    """The message in ``buf[start:end]`` as a dict of the fields that are there.

    Strings are text (surrogateescape), enums are numbers, maps are dicts, tensors, nodes and
    graphs are ``(start, end)``.  With ``strict`` an unknown field or another wire type than the
    table's is a :class:`WireError`; else it is stepped over, as protobuf does.
    """
    if depth > MAX_DEPTH:
        raise WireError(f"messages nested deeper than {MAX_DEPTH}", start)
    table = message(name).by_number
    out: dict[str, Any] = {}
    for number, kind, a, b in wire.fields(buf, start, end):
        field = table.get(number)
        if field is None:
            if strict:
                raise WireError(f"unknown field {number} of {name}", a)
            continue
        values = _values(field, buf, kind, a, b, strict, depth)
        if values is None:
            if strict:
                raise WireError(f"field {name}.{field.name} has wire type {kind}", a)
        elif field.type == "map":
            entry = values[0]
            out.setdefault(field.name, {})[entry.get("key", "")] = entry.get("value")
        elif field.repeated:
            out.setdefault(field.name, []).extend(values)
        elif values:
            out[field.name] = values[-1]
    return out


def _values(
    field: Field, buf: bytes, kind: int, a: int, b: int, strict: bool, depth: int
) -> list[Any] | None:
    """The values of one occurrence on the wire; None for a wire type that cannot be the field's."""
    if kind == wire.BYTES:
        if field.type == "string":
            return [decode_name(buf[a:b])]
        if field.type == "bytes":
            return [buf[a:b]]
        if field.type == "message" and field.of in _SPANS:
            return [(a, b)]
        if field.type in ("message", "map"):
            return [decode(field.of, buf, a, b, strict=strict, depth=depth + 1)]
        return _packed(field, buf, a, b) if field.repeated else None
    if kind == wire.VARINT and field.type in _VARINTS:
        return [_number(field, a)]
    if kind == wire.FIXED32 and field.type == "float":
        return [struct.unpack("<f", a.to_bytes(4, "little"))[0]]
    if kind == wire.FIXED64 and field.type == "double":
        return [struct.unpack("<d", a.to_bytes(8, "little"))[0]]
    return None


def _packed(field: Field, buf: bytes, start: int, end: int) -> list[Any]:
    width = {"float": 4, "double": 8}.get(field.type, 1)
    if (end - start) // width > MAX_REPEATED:
        raise WireError(f"more than {MAX_REPEATED} elements in {field.name}", start)
    if width == 1:
        return [_number(field, value) for value in wire.packed_varints(buf, start, end)]
    if (end - start) % width:
        raise WireError(f"packed field {field.name} of {end - start} bytes", start)
    code = "f" if width == 4 else "d"
    return list(struct.unpack(f"<{(end - start) // width}{code}", buf[start:end]))


def _number(field: Field, value: int) -> Any:
    if field.type == "bool":
        return value != 0
    return value if field.type in _UNSIGNED else signed(value)
