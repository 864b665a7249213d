"""The generic decoder: fields, wire types, nesting, caps."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.graph import schema
from ckpttool.graph.schema import decode
from ckpttool.storage import wire
from ckpttool.storage.wire import WireError, encode_bytes_field, encode_varint_field


def test_decodes_scalars_maps_and_messages() -> None:
    info = encode_bytes_field(1, b"x:0") + encode_varint_field(2, 1)
    signature = encode_bytes_field(1, b"in") + encode_bytes_field(2, info)
    raw = encode_bytes_field(1, signature) + encode_bytes_field(3, b"method")
    assert decode("SignatureDef", raw) == {
        "inputs": {"in": {"name": "x:0", "dtype": 1}},
        "method_name": "method",
    }


def test_packed_and_unpacked_repeated_fields_are_the_same() -> None:
    unpacked = b"".join(encode_varint_field(2, value) for value in (7, -1, 0))
    packed = encode_bytes_field(2, b"".join(wire.encode_varint(value) for value in (7, -1, 0)))
    expected = {"full_shape": [7, -1, 0]}
    assert decode("SaveSliceInfoDef", unpacked) == expected
    assert decode("SaveSliceInfoDef", packed) == expected


def test_the_last_of_a_singular_field_wins() -> None:
    raw = encode_bytes_field(1, b"a") + encode_bytes_field(1, b"b")
    assert decode("VariableDef", raw) == {"variable_name": "b"}


def test_unknown_fields_are_skipped_unless_strict() -> None:
    raw = encode_bytes_field(1, b"a") + encode_varint_field(99, 5)
    assert decode("VariableDef", raw) == {"variable_name": "a"}
    with pytest.raises(WireError, match="unknown field 99"):
        decode("VariableDef", raw, strict=True)


def test_another_wire_type_is_skipped_unless_strict() -> None:
    raw = encode_varint_field(1, 5)
    assert decode("VariableDef", raw) == {}
    with pytest.raises(WireError, match="variable_name has wire type 0"):
        decode("VariableDef", raw, strict=True)


def test_nesting_has_a_limit() -> None:
    raw = b""
    for _ in range(schema.MAX_DEPTH):
        raw = encode_bytes_field(12, encode_bytes_field(2, raw))
    with pytest.raises(WireError, match="nested deeper"):
        decode("WhileContextDef", raw)


def test_packed_fields_have_a_limit() -> None:
    raw = encode_bytes_field(2, bytes(schema.MAX_REPEATED + 1))
    with pytest.raises(WireError, match="more than 1048576 elements"):
        decode("SaveSliceInfoDef", raw)


def test_names_that_are_not_utf8_survive() -> None:
    found = decode("VariableDef", encode_bytes_field(1, b"\xff/w"))
    assert found["variable_name"].encode("utf-8", "surrogateescape") == b"\xff/w"


@pytest.mark.parametrize("name", ["MetaGraphDef", "SavedObjectGraph", "CollectionDef", "AttrValue"])
@settings(max_examples=60, deadline=None)
@given(raw=st.binary(max_size=120))
def test_any_bytes_decode_or_say_where(name: str, raw: bytes) -> None:
    offset = 0
    try:
        decode(name, raw)
    except WireError as error:
        offset = error.offset
    assert 0 <= offset <= len(raw)


def test_every_message_that_a_field_names_has_a_table() -> None:
    schema.message("GraphDef")
    for table in list(schema._messages.values()):
        for field in table.by_number.values():
            if field.type in ("message", "map"):
                assert schema.has_message(field.of), (table.name, field)
            if field.type == "enum":
                assert schema.enum_value(field.of, "no such value") is None
