"""The text form: every spelling, caps, and errors that say line and column."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.graph.schema import MAX_DEPTH, decode
from ckpttool.graph.textproto import TextError, encode_text


def _read(text: str, name: str = "NodeDef") -> dict[str, object]:
    return decode(name, encode_text(text.encode(), name))


@pytest.mark.parametrize(
    "text",
    [
        'name: "a" op: "B"',
        "name: 'a', op: 'B';",
        'name:"a"\nop:"B"\n# the end',
        "  # first\n name : \"a\" # then\n op : 'B'",
        "\ufeffname: 'a' op: 'B'",
        'name: "" "a" op: "" \'B\' ""',
        'unknown: 5 name: "a" other { x: 1 y < z: [1, 2] > } op: "B"',
        'name: "a" unknown: -1.5e-3f op: "B" unknown: [ "x", "y" ] unknown: [{a: 1}, {b: 2}]',
        'name: "a" [some.extension]: 5 op: "B" [other.extension] { x: 1 }',
    ],
)
def test_spellings(text: str) -> None:
    assert _read(text) == {"name": "a", "op": "B"}


@pytest.mark.parametrize(
    "body", ["{ %s }", ": { %s }", "< %s >", ": < %s >", "{%s};", ": [{ %s }]"]
)
def test_message_brackets(body: str) -> None:
    text = "save_slice_info_def" + body % "full_name: 'f' full_shape: [4, 2] var_offset: 0"
    assert _read(text, "VariableDef") == {
        "save_slice_info_def": {"full_name": "f", "full_shape": [4, 2], "var_offset": [0]}
    }


def test_lists_of_messages() -> None:
    text = "dim: [{size: 1}, <size: -1>, {}] dim {size: 3}"
    expected = {"dim": [{"size": 1}, {"size": -1}, {}, {"size": 3}]}
    assert _read(text, "TensorShapeProto") == expected
    assert _read("dim: []", "TensorShapeProto") == {}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r"\n\r\t\a\b\f\v\\\'\"\?", b"\n\r\t\a\b\f\v\\'\"?"),
        (r"\0\12\377\3777", b"\0\n\xff\xff7"),
        (r"\x41\xF\xfg", b"A\x0f\x0fg"),
        (r"\u00e9\U0001F600", "é😀".encode()),
        ("é", "é".encode()),
        ("", b""),
    ],
)
def test_escapes(text: str, value: bytes) -> None:
    assert _read(f's: "{text}"', "AttrValue") == {"s": value}
    if '\\"' not in text:
        assert _read(f"s: '{text}' '{text}'", "AttrValue") == {"s": value * 2}


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("i: -5", "AttrValue", {"i": -5}),
        ("i: - 5", "AttrValue", {"i": -5}),
        ("i: 0x1F", "AttrValue", {"i": 31}),
        ("i: -0x10", "AttrValue", {"i": -16}),
        ("i: 017", "AttrValue", {"i": 15}),
        ("i: 9223372036854775807", "AttrValue", {"i": 2**63 - 1}),
        ("i: -9223372036854775808", "AttrValue", {"i": -(2**63)}),
        ("b: true", "AttrValue", {"b": True}),
        ("b: 0", "AttrValue", {"b": False}),
        ("b: f", "AttrValue", {"b": False}),
        ("type: DT_FLOAT_REF", "AttrValue", {"type": 101}),
        ("type: 9", "AttrValue", {"type": 9}),
        ("type: DT_OF_THE_FUTURE", "AttrValue", {}),
        ("f: 1.5", "AttrValue", {"f": 1.5}),
        ("f: .5f", "AttrValue", {"f": 0.5}),
        ("f: -2e-3", "AttrValue", {"f": struct.unpack("f", struct.pack("f", -2e-3))[0]}),
        ("f: 3", "AttrValue", {"f": 3.0}),
        ("f: inf", "AttrValue", {"f": float("inf")}),
        ("f: -Infinity", "AttrValue", {"f": float("-inf")}),
        ("f: 1e60", "AttrValue", {"f": float("inf")}),
        ("version: V2 sharded: True", "SaverDef", {"version": 2, "sharded": True}),
        (
            "queue_closed_exception_types: [OUT_OF_RANGE, CANCELLED]",
            "QueueRunnerDef",
            {"queue_closed_exception_types": [11, 1]},
        ),
    ],
)
def test_numbers(text: str, name: str, expected: dict[str, object]) -> None:
    assert _read(text, name) == expected


def test_nan() -> None:
    value = _read("f: nan", "AttrValue")["f"]
    assert value != value
    value = _read("f: -nan", "AttrValue")["f"]
    assert value != value


def test_maps_and_expanded_any() -> None:
    text = """
    collection_def { key: "assets" value { any_list {
      value { [type.googleapis.com/tensorflow.AssetFileDef] {
        tensor_info { name: "Const:0" } filename: "vocab.txt" } }
      value { type_url: "x/y.Z" value: "\\001" }
      value { [type.googleapis.com/some.Unknown] { a: 1 b { c: 2 } } }
    } } }
    """
    found = _read(text, "MetaGraphDef")["collection_def"]
    first, second, third = found["assets"]["any_list"]["value"]  # type: ignore[index]
    assert first["type_url"] == "type.googleapis.com/tensorflow.AssetFileDef"
    assert decode("AssetFileDef", first["value"]) == {
        "filename": "vocab.txt",
        "tensor_info": {"name": "Const:0"},
    }
    assert second == {"type_url": "x/y.Z", "value": b"\x01"}
    assert third == {"type_url": "type.googleapis.com/some.Unknown"}


@pytest.mark.parametrize(
    ("text", "line", "column", "what"),
    [
        ('name: "a"\n  op: 5', 2, 7, "no value of op"),
        ("name: a", 1, 7, "'a' is no value of name"),
        ("attr: 5", 1, 7, "no value of attr"),
        ("name { x: 1 }", 1, 6, "name is no message"),
        ('name: "a', 1, 7, "the string has no end"),
        ('name: "a\nb"', 1, 7, "the string has no end"),
        (r'name: "\q"', 1, 8, "unknown escape"),
        ("name", 1, 5, "':' or '{' is expected"),
        ('name "a"', 1, 6, "':' or '{' is expected"),
        ("attr {", 1, 7, "a field name is expected"),
        ("attr { key: 'a' >", 1, 17, "a field name is expected"),
        ("}", 1, 1, "a field name is expected"),
        ("name: 'a' }", 1, 11, "a field name is expected"),
        ("input: ['a' 'b', 5]", 1, 18, "no value of input"),
        ("input: ['a'", 1, 12, "']' is expected"),
        ("name:", 1, 6, "a value is expected"),
        ("\x00name: 'a'", 1, 1, "a field name is expected"),
    ],
)
def test_errors_have_line_and_column(text: str, line: int, column: int, what: str) -> None:
    with pytest.raises(TextError) as caught:
        encode_text(text.encode(), "NodeDef")
    assert what in caught.value.message
    assert (caught.value.line, caught.value.column) == (line, column)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("i: 9223372036854775808", "AttrValue"), ("i: 1.5", "AttrValue"), ("b: 2", "AttrValue"),
        ("i: 08", "AttrValue"), ("i: 0x", "AttrValue"), ("version: -V2", "SaverDef"),
        ("b: -true", "AttrValue"), ("f: _1", "AttrValue"), ("max_to_keep: 2147483648", "SaverDef"),
        ("i: " + "9" * 5000, "AttrValue"),
    ],
)  # fmt: skip
def test_numbers_out_of_range_or_form(text: str, name: str) -> None:
    with pytest.raises(TextError):
        encode_text(text.encode(), name)


@pytest.mark.parametrize("opening", ["nested_contexts { while_ctxt {", "unknown { x <", "u: [{"])
def test_nesting_has_a_limit(opening: str) -> None:
    with pytest.raises(TextError, match="nested deeper"):
        encode_text((opening * 100_000).encode(), "WhileContextDef")
    allowed = "unknown {" * MAX_DEPTH + "}" * MAX_DEPTH
    assert encode_text(allowed.encode(), "WhileContextDef") == b""


_PIECES = [*"{}<>[]:;,/.+-#\"'\\ \n", "name", "attr", "1", "0x", "e5", "é"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=60))
def test_any_text_parses_or_says_where(pieces: list[str]) -> None:
    line = column = 1
    try:
        encode_text("".join(pieces).encode(), "NodeDef")
    except TextError as error:
        line, column = error.line, error.column
    assert 1 <= line <= pieces.count("\n") + 1
    assert column >= 1


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80))
def test_any_bytes_survive_an_escaped_string(raw: bytes) -> None:
    for escape in ("\\x%02x", "\\%03o"):
        text = 's: "' + "".join(escape % byte for byte in raw) + '"'
        assert decode("AttrValue", encode_text(text.encode(), "AttrValue")) == {"s": raw}
