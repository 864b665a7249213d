"""The pass over a GraphDef, against the plain cursor, and lazy decoding of nodes."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.errors import CorruptError
from ckpttool.graph.attrs import TensorValue, attr_value
from ckpttool.graph.nodes import NodeMap, NodeTable, base_name, output_number, scan_nodes
from ckpttool.graph.textproto import encode_text
from ckpttool.storage import wire
from ckpttool.storage.wire import WireError, encode_bytes_field, encode_varint_field

_NAMES = st.binary(max_size=200)


def _node(name: bytes, op: bytes, rest: bytes = b"", order: int = 0) -> bytes:
    head = [encode_bytes_field(1, name), encode_bytes_field(2, op), rest]
    return b"".join(head[order:] + head[:order])


def _scan(raw: bytes) -> NodeTable:
    table = NodeTable(raw, "graph")
    scan_nodes(table, 0, len(raw))
    return table


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(_NAMES, _NAMES, st.lists(_NAMES, max_size=3), st.integers(0, 2), st.booleans()),
        max_size=30,
    )
)
def test_every_node_is_found(nodes: list[tuple[bytes, bytes, list[bytes], int, bool]]) -> None:
    raw = b""
    for name, op, inputs, order, big in nodes:
        rest = b"".join(encode_bytes_field(3, item) for item in inputs)
        rest += encode_bytes_field(5, encode_bytes_field(1, b"k") + b"\x12\x00" * 9000 * big)
        raw += encode_bytes_field(1, _node(name, op, rest, order))
        if order == 1:
            raw += encode_varint_field(3, 5) + encode_bytes_field(4, b"")
    table = _scan(raw)
    assert table.names == [node[0] for node in nodes]
    assert table.ops == [node[1] for node in nodes]
    for number, node in enumerate(nodes):
        assert table.inputs(number) == node[2]
        assert table.attr_keys(number) == [b"k"]


def _graph(text: str) -> NodeMap:
    raw = encode_text(text.encode(), "GraphDef")
    return NodeMap(_scan(raw))


def test_a_node_is_decoded_on_access() -> None:
    nodes = _graph("""
      node { name: "w" op: "VariableV2" device: "/cpu:0"
        attr { key: "dtype" value { type: DT_FLOAT_REF } }
        attr { key: "shape" value { shape { dim { size: 3 } dim { size: -1 } } } }
        attr { key: "shared_name" value { s: "x" } }
        attr { key: "n" value { i: -2 } } attr { key: "ok" value { b: true } }
        attr { key: "rate" value { f: 0.5 } } attr { key: "empty" value { } }
        attr { key: "any" value { shape { unknown_rank: true } } }
        attr { key: "call" value { func { name: "f" } } }
        attr { key: "many" value { list { i: [1, -2] s: "a" } } } }
      node { name: "r" op: "Identity" input: "w" input: "^w" input: "w:1" }
    """)
    assert list(nodes) == ["w", "r"]
    assert len(nodes) == 2
    assert "w" in nodes
    assert "x" not in nodes
    node = nodes["w"]
    assert (node.name, node.op, node.device, node.inputs) == ("w", "VariableV2", "/cpu:0", [])
    assert node.get_type("dtype") == "float32"
    assert node.get_shape("shape") == (3, None)
    assert node.get_shape("any") is None
    assert node.get_str("shared_name") == "x"
    assert (node.get_int("n"), node.get_bool("ok"), node.get_float("rate")) == (-2, True, 0.5)
    assert node.attr("empty").kind == "none"  # type: ignore[union-attr]
    assert node.attr("call").value == b"f"  # type: ignore[union-attr]
    assert node.attr("many").value == [1, -2, b"a"]  # type: ignore[union-attr]
    assert node.get_int("rate") is None
    assert node.attr("nothing") is None
    assert nodes["r"].inputs == ["w", "^w", "w:1"]
    assert nodes.table.first_input(1) == b"w"
    assert nodes.table.consumers() == {b"w": [1, 1, 1]}
    with pytest.raises(KeyError):
        nodes["nobody"]


@pytest.mark.parametrize(
    ("reference", "name", "output"),
    [(b"a", b"a", 0), (b"a:1", b"a", 1), (b"^a", b"a", 0), (b"a:b", b"a:b", 0),
     (b"a:", b"a:", 0), (b"s/a:10", b"s/a", 10)],
)  # fmt: skip
def test_references(reference: bytes, name: bytes, output: int) -> None:
    assert base_name(reference) == name
    assert output_number(reference) == output


def _tensor(text: str) -> TensorValue:
    raw = encode_text(text.encode(), "TensorProto")
    return TensorValue(raw, 0, len(raw))


@pytest.mark.parametrize(
    ("text", "numbers", "splat"),
    [
        ("dtype: DT_FLOAT tensor_shape {} float_val: 0.5", [0.5], 0.5),
        ("dtype: DT_FLOAT tensor_shape { dim { size: 3 } } float_val: 0.5", [0.5] * 3, 0.5),
        ("dtype: DT_FLOAT tensor_shape { dim { size: 2 } }", [0.0] * 2, 0),
        ("dtype: DT_INT32 tensor_shape { dim { size: 3 } } int_val: [1, -2]", [1, -2, -2], None),
        ("dtype: DT_INT64 tensor_shape { dim { size: 0 } }", [], None),
        ("dtype: DT_BOOL tensor_shape { dim { size: 2 } } bool_val: true", [True] * 2, True),
        ("dtype: DT_HALF tensor_shape {} half_val: 15360", [1.0], 1.0),
        ("dtype: DT_BFLOAT16 tensor_shape {} half_val: 16256", [1.0], 1.0),
        ("dtype: DT_DOUBLE tensor_shape {} double_val: 0.1", [0.1], 0.1),
        ("dtype: DT_UINT32 tensor_shape {} uint32_val: 4294967295", [2**32 - 1], 2**32 - 1),
        ("dtype: DT_COMPLEX64 tensor_shape {} scomplex_val: [1, 2]", None, None),
        ("dtype: DT_FLOAT tensor_shape { unknown_rank: true } float_val: 1", [], None),
        # Fields in another order than any writer's
        ("float_val: 0.5 tensor_shape {} dtype: DT_FLOAT", [0.5], 0.5),
    ],
)
def test_constants(text: str, numbers: list[float] | None, splat: float | None) -> None:
    value = _tensor(text)
    assert value.numbers(8) == numbers
    assert value.splat() == splat


def test_constant_content() -> None:
    content = struct.pack("<4f", 1, 2, 3, 4)
    raw = encode_text(b"dtype: DT_FLOAT tensor_shape { dim { size: 4 } }", "TensorProto")
    value = TensorValue(raw + encode_bytes_field(4, content), 0, len(raw) + 18)
    assert value.numbers(3) == [1.0, 2.0, 3.0]
    assert value.splat() is None
    for count in (1, 4, 100_000):
        same = encode_bytes_field(4, content[4:8] * count)
        dim = encode_bytes_field(2, encode_bytes_field(2, encode_varint_field(1, count)))
        buf = encode_varint_field(1, 1) + dim + same
        assert TensorValue(buf, 0, len(buf)).splat() == 2.0
        other = buf[:-1] + b"\x7f"
        assert TensorValue(other, 0, len(other)).splat() == (None if count > 1 else pytest.approx(
            struct.unpack("<f", other[-4:])[0]
        ))  # fmt: skip


def test_a_huge_shape_makes_no_huge_list() -> None:
    value = _tensor(
        "dtype: DT_FLOAT tensor_shape { dim { size: 9000000000 } dim { size: 9000000000 } } "
        "float_val: 2.5"
    )
    assert value.numbers(4) == [2.5] * 4
    assert value.splat() == 2.5


def test_strings() -> None:
    long = "x" * 300
    value = _tensor(f'dtype: DT_STRING tensor_shape {{}} string_val: ["a", "", "{long}"]')
    assert value.strings() == [b"a", b"", long.encode()]


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_scan_or_say_where(raw: bytes) -> None:
    table = NodeTable(raw, "graph")
    offset = 0
    try:
        scan_nodes(table, 0, len(raw))
    except WireError as error:
        offset = error.offset
    assert 0 <= offset <= len(raw)
    for number in range(len(table)):
        problem = None
        try:
            table.inputs(number)
            table.first_input(number)
            table.device(number)
            for key in table.attr_keys(number):
                table.attr(number, key)
        except CorruptError as error:
            problem = error.problems[0]
        assert problem is None or (problem.where or "").startswith("graph: byte ")


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([1, 2, 3, 6, 8, 9, 10, 14, 17]))
def test_any_bytes_are_an_attribute_or_say_where(raw: bytes, dtype: int) -> None:
    tensor = encode_varint_field(1, dtype) + raw
    for buf in (raw, encode_bytes_field(8, raw), encode_bytes_field(8, tensor)):
        offset = 0
        try:
            found = attr_value(buf, 0, len(buf))
            if found.kind == "tensor":
                found.value.numbers(5)
                found.value.splat()
                found.value.strings()
        except WireError as error:
            offset = error.offset
        assert 0 <= offset <= len(buf)


def test_truncated_nodes_are_found_out() -> None:
    raw = b"".join(
        encode_bytes_field(1, _node(b"n%d" % number, b"Op", encode_bytes_field(3, b"in")))
        for number in range(40)
    )
    ends = [end for _, _, _, end in wire.fields(raw)]
    for cut in range(1, len(raw)):
        if cut in ends:
            assert len(_scan(raw[:cut])) == ends.index(cut) + 1
        else:
            with pytest.raises(WireError):
                _scan(raw[:cut])


def test_a_long_node_that_is_cut_is_found_out() -> None:
    node = encode_bytes_field(1, _node(b"n", b"Op", encode_bytes_field(3, b"i" * 100) * 20))
    table = NodeTable(node * 2, "graph")
    for cut in range(len(node) + 1, len(node) * 2):
        with pytest.raises(WireError):
            scan_nodes(table, 0, cut)


def test_fields_in_another_order() -> None:
    twice = encode_bytes_field(2, b"Old") + encode_bytes_field(2, b"Op")
    named = encode_bytes_field(3, b"in") + twice + encode_bytes_field(1, b"n")
    padding = encode_bytes_field(1, _node(b"end", b"Op")) * 100
    table = _scan(encode_bytes_field(1, twice) + encode_bytes_field(1, named) + padding)
    assert (table.names[:2], table.ops[:2]) == ([b"", b"n"], [b"Op", b"Op"])
    assert table.inputs(1) == [b"in"]
