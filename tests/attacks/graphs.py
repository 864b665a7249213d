"""Attacks by graphs: `.meta`, `saved_model.pb`, graphs as text."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from attack import attack
from format_makers import Bundle

from ckpttool.storage.wire import encode_bytes_field, encode_varint, encode_varint_field


def _beside_data(folder: Path, graph: bytes) -> Path:
    bundle = Bundle()
    bundle.add(b"w", np.arange(6, dtype=np.float32))
    bundle.write(folder)
    (folder / "m.meta").write_bytes(graph)
    return folder / "m"


def _nested(field: int, depth: int, inner: bytes = b"") -> bytes:
    for _ in range(depth):
        inner = encode_bytes_field(field, inner)
    return inner


def _node(name: bytes, op: bytes, *inputs: bytes, attrs: bytes = b"") -> bytes:
    node = encode_bytes_field(1, name) + encode_bytes_field(2, op)
    node += b"".join(encode_bytes_field(3, item) for item in inputs)
    return encode_bytes_field(1, node + attrs)


@attack("INP014")
def graph_longer_than_its_file(folder: Path) -> Path:
    return _beside_data(folder, b"\x12" + encode_varint(1 << 62) + b"node")


@attack("INP014")
def graph_length_wraps_around(folder: Path) -> Path:
    return _beside_data(folder, b"\x12" + encode_varint((1 << 64) - 1) + b"node")


@attack("INP014")
def graph_varint_without_end(folder: Path) -> Path:
    return _beside_data(folder, b"\xff" * 4096)


@attack(None)
def graph_nested_in_depth(folder: Path) -> Path:
    """Attributes of functions of attributes, ten thousand deep."""
    func = _nested(2, 10_000)
    attr = encode_bytes_field(1, b"f") + encode_bytes_field(2, encode_bytes_field(10, func))
    node = _node(b"a", b"NoOp", attrs=encode_bytes_field(5, attr))
    return _beside_data(folder, encode_bytes_field(2, node))


@attack(None)
def graph_that_eats_itself(folder: Path) -> Path:
    """Nodes whose inputs are themselves and each other."""
    nodes = _node(b"a", b"Identity", b"b") + _node(b"b", b"Identity", b"a")
    nodes += _node(b"c", b"VariableV2", b"c") + _node(b"d", b"Assign", b"c", b"d", b"^d")
    nodes += _node(b"save/SaveV2", b"SaveV2", b"a", b"b", b"save/SaveV2")
    return _beside_data(folder, encode_bytes_field(2, nodes))


@attack(None)
def graph_of_one_chain(folder: Path) -> Path:
    """Twenty thousand nodes, each the input of the next: what recurses ends here."""
    nodes = [_node(b"n0", b"VariableV2")]
    nodes += [_node(b"n%d" % at, b"Identity", b"n%d" % (at - 1)) for at in range(1, 20_000)]
    nodes.append(_node(b"Assign", b"Assign", b"n0", b"n19999"))
    return _beside_data(folder, encode_bytes_field(2, b"".join(nodes)))


@attack(None)
def graph_constant_of_exabytes(folder: Path) -> Path:
    """A constant whose shape has 2⁶⁰ elements and which holds one value."""
    shape = encode_bytes_field(2, encode_varint_field(1, 1 << 60))
    tensor = encode_varint_field(1, 1) + encode_bytes_field(2, shape)
    tensor += encode_bytes_field(5, b"\x00\x00\x80\x3f")
    value = encode_bytes_field(1, b"value") + encode_bytes_field(2, encode_bytes_field(8, tensor))
    nodes = _node(b"w", b"VariableV2")
    nodes += _node(b"w/init", b"Const", attrs=encode_bytes_field(5, value))
    nodes += _node(b"w/Assign", b"Assign", b"w", b"w/init")
    return _beside_data(folder, encode_bytes_field(2, nodes))


@attack(None)
def graph_collections_for_a_terminal(folder: Path) -> Path:
    name = b"\x1b[31mred[bold]"
    value = encode_bytes_field(2, encode_bytes_field(1, encode_bytes_field(1, b"\x1b]0;x\x07")))
    entry = encode_bytes_field(1, name) + encode_bytes_field(2, value)
    return _beside_data(folder, encode_bytes_field(2, _node(b"w", b"VariableV2"))
                        + encode_bytes_field(4, entry))  # fmt: skip


def _text(folder: Path, text: bytes) -> Path:
    bundle = Bundle()
    bundle.add(b"w", np.arange(6, dtype=np.float32))
    bundle.write(folder)
    (folder / "graph.pbtxt").write_bytes(text)
    return folder


@attack("INP014")
def text_graph_nested_in_depth(folder: Path) -> Path:
    return _text(folder, b"node { name: 'a' " + b"attr { value { list { " * 50_000)


@attack("INP014")
def text_graph_of_open_quotes(folder: Path) -> Path:
    return _text(folder, b"node { name: '" + b"\\" * 100_001)


@attack(None)
def text_graph_of_comments(folder: Path) -> Path:
    return _text(folder, b"# \n" * 500_000 + b"node { name: 'w' op: 'VariableV2' }")


@attack("INP014")
def saved_model_without_end(folder: Path) -> Path:
    model = encode_varint_field(1, 1) + b"\x12" + encode_varint(1 << 40)
    (folder / "saved_model.pb").write_bytes(model)
    return folder


@attack("INP014")
def saved_model_of_very_many_graphs(folder: Path) -> Path:
    model = encode_varint_field(1, 1) + encode_bytes_field(2, b"") * 1_000_000
    (folder / "saved_model.pb").write_bytes(model)
    return folder
