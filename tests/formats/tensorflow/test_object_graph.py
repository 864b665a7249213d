"""Object graphs: paths, sharing, slots, cycles, damage."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.errors import CkptError, CorruptError
from ckpttool.formats.tensorflow import object_graph
from ckpttool.formats.tensorflow.object_graph import Attribute, Edge, Slot, parse_object_graph
from ckpttool.storage.wire import encode_bytes_field, encode_varint_field

SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"


def child(number: int, name: str) -> bytes:
    body = encode_varint_field(1, number) if number else b""
    return encode_bytes_field(1, body + encode_bytes_field(2, name.encode()))


def value(full_name: str, key: str) -> bytes:
    body = encode_bytes_field(1, b"VARIABLE_VALUE") + encode_bytes_field(2, full_name.encode())
    return encode_bytes_field(2, body + encode_bytes_field(3, key.encode()))


def slot(owner: int, name: str, node: int) -> bytes:
    body = encode_varint_field(1, owner) + encode_bytes_field(2, name.encode())
    return encode_bytes_field(3, body + encode_varint_field(3, node))


def graph(*nodes: bytes) -> bytes:
    return b"".join(encode_bytes_field(1, node) for node in nodes)


# 0 model -> 1 layer -> 2 kernel; the layer refers back to the model; an optimizer with a slot.
MODEL = graph(
    child(1, "layer-0") + child(3, "optimizer") + child(1, "encoder"),
    child(2, "kernel") + child(0, "parent"),
    value("dense/kernel", "layer-0/kernel" + SUFFIX),
    slot(2, "m", 4) + encode_bytes_field(4, encode_bytes_field(1, b"Saver")),
    value("Adam/dense/kernel/m", "layer-0/kernel/.OPTIMIZER_SLOT/optimizer/m" + SUFFIX),
    value("lost", "lost" + SUFFIX),
)


def test_a_model() -> None:
    parsed = parse_object_graph(MODEL, "f")
    assert parsed.nodes[2].attributes == [
        Attribute("VARIABLE_VALUE", "dense/kernel", "layer-0/kernel" + SUFFIX)
    ]
    assert parsed.nodes[3].saver == "Saver"
    assert parsed.shortest_paths() == [
        (),
        ("layer-0",),
        ("layer-0", "kernel"),
        ("optimizer",),
        None,
        None,
    ]
    assert parsed.paths(2) == [("layer-0", "kernel"), ("encoder", "kernel")]
    assert parsed.paths(0) == [()]
    assert parsed.paths(5) == []
    assert parsed.full_names()["layer-0/kernel" + SUFFIX] == "dense/kernel"
    assert parsed.nodes_by_key()["lost" + SUFFIX] == 5
    assert parsed.slot_keys() == {
        "layer-0/kernel/.OPTIMIZER_SLOT/optimizer/m" + SUFFIX: Slot("m", "layer-0/kernel" + SUFFIX)
    }
    assert parsed.shared() == {}


def test_a_shared_variable() -> None:
    parsed = parse_object_graph(
        graph(child(1, "a") + child(2, "b"), child(3, "w"), child(3, "w"), value("w", "a/w")), "f"
    )
    assert parsed.shared() == {3: [Edge("w", 1), Edge("w", 2)]}
    assert parsed.paths(3) == [("a", "w"), ("b", "w")]


def test_paths_visit_no_object_twice() -> None:
    parsed = parse_object_graph(
        graph(child(1, "a"), child(2, "b") + child(3, "w"), child(1, "back"), b""), "f"
    )
    assert parsed.paths(3) == [("a", "w")]
    assert parsed.paths(2) == [("a", "b")]
    assert parsed.shortest_paths() == [(), ("a",), ("a", "b"), ("a", "w")]


def test_an_empty_graph() -> None:
    parsed = parse_object_graph(b"", "f")
    assert parsed.shortest_paths() == []
    assert parsed.full_names() == {}


@pytest.mark.parametrize(
    "data",
    [graph(child(1, "x")), graph(slot(0, "m", 7)), graph(child(-1, "x")), b"\x0a\x05\x0a", b"\x0f"],
)
def test_damage(data: bytes) -> None:
    with pytest.raises(CorruptError):
        parse_object_graph(data, "f")


def test_caps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_graph, "MAX_NODES", 3)
    with pytest.raises(CorruptError) as raised:
        parse_object_graph(graph(b"", b"", b"", b""), "f")
    assert raised.value.problems[0].code == "INP009"


def test_dense_and_deep_graphs_end() -> None:
    dense = graph(*(b"".join(child(n, f"c{n}") for n in range(12)) for _ in range(12)))
    assert len(parse_object_graph(dense, "f").paths(11)) == object_graph.MAX_PATHS
    count = 1000
    chain = graph(*(child(n + 1, "next") for n in range(count)), b"")
    paths = parse_object_graph(chain, "f").shortest_paths()
    assert paths[object_graph.MAX_DEPTH] == ("next",) * object_graph.MAX_DEPTH
    assert paths[object_graph.MAX_DEPTH + 1] is None


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_change_is_an_error_or_a_graph(data: st.DataObject) -> None:
    changed = bytearray(MODEL)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(MODEL) - 1))] = data.draw(st.integers(0, 255))
    try:
        parsed = parse_object_graph(bytes(changed), "f")
    except CkptError:
        return
    parsed.shortest_paths()
    parsed.slot_keys()
    parsed.shared()
