"""Inputs made to break a reader: impossible numbers, contradictions, and work out of proportion."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from format_makers import (
    Bundle,
    V1Tensor,
    entry_message,
    located_v1,
    shape_message,
    v1_table,
)

from ckpttool.analysis.scopes import build
from ckpttool.analysis.tree import tree
from ckpttool.checkpoint import Checkpoint
from ckpttool.errors import CkptError
from ckpttool.formats.base import GraphSource
from ckpttool.formats.tensorflow import object_graph
from ckpttool.formats.tensorflow import table as table_module
from ckpttool.formats.tensorflow.bundle import open_bundle
from ckpttool.formats.tensorflow.object_graph import parse_object_graph
from ckpttool.formats.tensorflow.ordered_code import FULL, encode_slice_key
from ckpttool.formats.tensorflow.slice_layout import cover_fault
from ckpttool.formats.tensorflow.slices_v1 import open_v1
from ckpttool.formats.tensorflow.table import MemoryFile, Table
from ckpttool.formats.tensorflow.table_writer import MAGIC, write_table
from ckpttool.graph import textproto
from ckpttool.graph.initializers import describe
from ckpttool.graph.metagraph import parse_graphs
from ckpttool.graph.savers import join, saver_joins
from ckpttool.graph.textproto import TextError, encode_text
from ckpttool.graph.variables import variables
from ckpttool.names import encode_name
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.wire import encode_bytes_field, encode_varint, encode_varint_field
from ckpttool.tensors import Slice


def _block(entries: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A table block with its trailer; keys in any order, none shortened."""
    out = b"".join(
        b"\x00" + encode_varint(len(key)) + encode_varint(len(value)) + key + value
        for key, value in entries
    )
    out += bytes(4) + b"\x01\x00\x00\x00" + b"\x00"
    return out + mask(crc32c(out)).to_bytes(4, "little")


def _by_blocks(blocks: Sequence[Sequence[tuple[bytes, bytes]]], shift: int = 0) -> bytes:
    """A table of these blocks; each handle but the first points ``shift`` bytes too low."""
    data = b""
    index = []
    for entries in blocks:
        block = _block(entries)
        offset = len(data) - shift if data else 0
        handle = encode_varint(offset) + encode_varint(len(block) - 5)
        index.append((max(key for key, _ in entries), handle))
        data += block
    index.sort()
    last = _block(index)
    handle = encode_varint(len(data)) + encode_varint(len(last) - 5)
    return data + last + (b"\x00\x00" + handle).ljust(40, b"\x00") + MAGIC.to_bytes(8, "little")


# --- numbers and sizes that no writer makes ----------------------------------------------------


def test_keys_that_are_out_of_order_are_told(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"a", np.ones(2, np.float32))
    bundle.add(b"b", np.ones(2, np.float32))
    located = bundle.write(tmp_path)
    assert open_bundle(located).info.notices == ()
    entries = [
        (b"", bundle.entries[b""]),
        (b"b", bundle.entries[b"b"]),
        (b"a", bundle.entries[b"a"]),
    ]
    for blocks in ([entries], [entries[:2], entries[2:]]):
        (tmp_path / "m.index").write_bytes(_by_blocks(blocks))
        reader = open_bundle(located)
        (notice,) = reader.info.notices
        assert "out of order" in notice.message
        assert set(reader.specs) == {"a", "b"}


def test_a_header_without_shards_is_told(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"a", np.ones(2, np.float32))
    bundle.entries[b""] = b"\x1a\x02\x08\x01"
    with Checkpoint(open_bundle(bundle.write(tmp_path))) as checkpoint:
        assert [problem.found for problem in checkpoint.notices()] == ["num_shards 0"]
        assert checkpoint.reader.read("a").tolist() == [1, 1]


def test_an_entry_that_cannot_be_listed_is_told(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"a", np.ones(2, np.float32))
    bundle.entries[b"bad"] = entry_message(1, (-1,))
    bundle.entries[b"worse"] = entry_message(1, (1 << 40, 1 << 40))
    with Checkpoint(open_bundle(bundle.write(tmp_path))) as checkpoint:
        told = " ".join(problem.message for problem in tree(checkpoint).damage)
        assert list(checkpoint.specs) == ["a"]
    assert "entry of bad" in told
    assert "entry of worse" in told


def test_one_damaged_entry_with_slices_leaves_the_others(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"a", np.ones(2, np.float32))
    bundle.add_slices(b"w", np.ones((2, 2), np.float32), [((0, 1), (0, FULL)), ((1, 1), (0, FULL))])
    bundle.entries[b"w"] += encode_varint_field(4, -1)  # a negative offset
    reader = open_bundle(bundle.write(tmp_path))
    assert reader.read("a").tolist() == [1, 1]
    with pytest.raises(CkptError):
        reader.read("w")


def test_a_slice_that_its_variable_does_not_list(tmp_path: Path) -> None:
    bundle = Bundle()
    parts: list[tuple[tuple[int, int], ...]] = [((0, 1),), ((1, 1),)]
    bundle.add_slices(b"w", np.ones(2, np.float32), parts)
    bundle.add(encode_slice_key(b"w", ((0, 2),)), np.ones(2, np.float32))
    reader = open_bundle(bundle.write(tmp_path))
    (notice,) = reader.info.notices
    assert (notice.code, notice.found) == ("INP008", "1")
    assert reader.read("w").tolist() == [1, 1]


def test_slices_on_the_same_bytes_do_not_fill_the_memory(tmp_path: Path) -> None:
    bundle = Bundle()
    rows, count = 4096, 4096
    data = bytes(4 * rows)
    bundle.shards[0] += data
    slices = [((n * rows, rows),) for n in range(count)]
    bundle.entries[b"w"] = entry_message(1, (rows * count,), slices=slices)
    for extents in slices:
        key = encode_slice_key(b"w", extents)
        bundle.entries[key] = entry_message(1, (rows,), size=len(data), crc=mask(crc32c(data)))
    reader = open_bundle(bundle.write(tmp_path))
    with pytest.raises(CkptError) as raised:
        reader.read("w")
    assert raised.value.problems[0].code == "INP007"


@pytest.mark.parametrize("shape", [(1,) * 254, (0,) * 80, (0, 1 << 62), (1 << 62, 0, 3)])
def test_shapes_that_numpy_cannot_hold(tmp_path: Path, shape: tuple[int, ...]) -> None:
    bundle = Bundle()
    data = b"" if 0 in shape else bytes(4)
    bundle.shards[0] += data
    bundle.entries[b"w"] = entry_message(1, shape, size=len(data), crc=mask(crc32c(data)))
    bundle.entries[b"p"] = entry_message(1, shape, slices=[[(0, FULL)] * len(shape)])
    bundle.add(b"a", np.ones(2, np.float32))
    located = bundle.write(tmp_path)
    reader = open_bundle(located)
    assert reader.specs["w"].shape == shape
    for name in ("w", "p"):
        with contextlib.suppress(CkptError):
            assert reader.read(name).shape == shape
    assert reader.read("a").tolist() == [1, 1]


def test_keys_that_share_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    long = b"k" * 100_000
    data = b"".join(write_table([(long + b"%03d" % n, b"") for n in range(200)]))
    assert sum(len(found) for *_, found in Table(MemoryFile("f", data)).entries()) == 200
    monkeypatch.setattr(table_module, "KEY_RATIO", 4)
    with pytest.raises(CkptError, match="too many bytes of keys"):
        list(Table(MemoryFile("f", data)).entries())


def test_more_entries_than_are_wanted() -> None:
    data = b"".join(write_table([(b"%03d" % n, b"") for n in range(200)], block_size=500))
    table = Table(MemoryFile("f", data))
    assert sum(len(found) for *_, found in table.entries(most=200)) == 200
    with pytest.raises(CkptError, match="too many entries"):
        list(table.entries(lambda block, error: None, most=199))


def test_blocks_that_overlap() -> None:
    blocks = [[(b"a", b"1")], [(b"b", b"2")]]
    assert len(Table(MemoryFile("f", _by_blocks(blocks))).blocks) == 2
    with pytest.raises(CkptError, match="blocks overlap"):
        Table(MemoryFile("f", _by_blocks(blocks, shift=1)))


def test_v1_shards_that_disagree(tmp_path: Path) -> None:
    proto = encode_bytes_field(5, bytes(8))
    paths = []
    for number, (shape, enum) in enumerate([((4,), 1), ((5,), 1), ((4,), 2)]):
        part = V1Tensor(b"w", enum, shape, [(((2 * min(number, 1), 2),), proto)])
        sound = V1Tensor(b"s%d" % number, 1, (2,), [(((0, FULL),), proto)])
        paths.append(tmp_path / f"m-{number}")
        paths[-1].write_bytes(v1_table([part, sound]))
    for chosen, what in (((0, 1), "shape"), ((0, 2), "dtype")):
        reader = open_v1(located_v1(*(paths[number] for number in chosen)))
        with pytest.raises(CkptError, match=f"shards disagree on the {what} of w"):
            reader.read("w")
        assert [problem.message for problem in reader.info.damage] == [
            f"shards disagree on the {what} of w"
        ]
        assert reader.read("s0").tolist() == [0, 0]
        (tmp_path / "m-w").write_bytes(v1_table([V1Tensor(b"w", 1, (2,), [(((0, FULL),), proto)])]))
        reader = open_v1(located_v1(tmp_path / "m-w", paths[chosen[1]]))
        with pytest.raises(CkptError, match="shards disagree on the shape of w"):
            reader.read("w")  # though the first has all of it


@pytest.mark.parametrize(
    ("version", "found"),
    [
        (encode_varint_field(2, 2), "min_consumer 2"),
        (encode_varint_field(1, 1) + encode_varint_field(3, 1), "bad_consumers [1]"),
        (encode_bytes_field(3, b"\x07\x01"), "bad_consumers [7, 1]"),
        (encode_varint_field(1, -1), "producer -1"),
    ],
)
def test_the_version_field_that_is_refused_is_named(
    tmp_path: Path, version: bytes, found: str
) -> None:
    bundle = Bundle()
    bundle.entries[b""] = b"\x08\x01" + encode_bytes_field(3, version)
    with pytest.raises(CkptError) as raised:
        open_bundle(bundle.write(tmp_path))
    assert (raised.value.problems[0].code, raised.value.problems[0].found) == ("INP003", found)


def test_long_names(tmp_path: Path) -> None:
    names = [b"/".join([b"a"] * 100_000) + b"/Adam", b"1a" * 100_000, b"a\x00b", b"\x01\xff"]
    names += [b"A" * 100_000 + b"/1" * 100 + b"/%d" % n for n in range(5)]
    bundle = Bundle()
    for name in names:
        bundle.entries[name] = entry_message(1, (), size=4)
    with Checkpoint(open_bundle(bundle.write(tmp_path))) as checkpoint:
        rows = tree(checkpoint).variables
    assert sorted(encode_name(row.name) for row in rows) == sorted(names)
    assert build(rows).variables == len(names)


def test_an_object_graph_of_very_many_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_graph, "MAX_EDGES", 50)
    few = encode_bytes_field(1, encode_bytes_field(2, b"") * 50)
    assert len(parse_object_graph(few, "f").nodes[0].attributes) == 50
    with pytest.raises(CkptError) as raised:
        parse_object_graph(encode_bytes_field(1, encode_bytes_field(2, b"") * 5000), "f")
    assert raised.value.problems[0].code == "INP009"


# --- graphs --------------------------------------------------------------------------------------


def node(name: bytes, op: bytes, inputs: Sequence[bytes] = (), **attrs: bytes) -> bytes:
    """A node, as a field of a GraphDef."""
    out = encode_bytes_field(1, name) + encode_bytes_field(2, op)
    out += b"".join(encode_bytes_field(3, item) for item in inputs)
    for key, value in attrs.items():
        entry = encode_bytes_field(1, key.encode()) + encode_bytes_field(2, value)
        out += encode_bytes_field(5, entry)
    return encode_bytes_field(1, out)


def meta(graph: bytes, collections: bytes = b"") -> bytes:
    """A MetaGraphDef."""
    return encode_bytes_field(1, b"") + encode_bytes_field(2, graph) + collections


def tensor(enum: int, body: bytes) -> bytes:
    """An AttrValue with a scalar TensorProto."""
    return encode_bytes_field(8, encode_varint_field(1, enum) + encode_bytes_field(2, b"") + body)


W = node(b"w", b"VariableV2")


@pytest.mark.parametrize("enum", [1, 2, 3, 4, 9, 10, 14, 19, 22])
def test_constants_with_the_values_of_another_dtype(enum: int) -> None:
    for body in (
        b"\x2d\x00\x00\xc0\x3f",
        b"\x31" + bytes(8),
        b"\x68\x01",
        b"\x50\x01",
        b"\x2a\x04abcd",
    ):
        raw = node(b"c", b"Const", value=tensor(enum, body)) + W
        raw += node(b"w/Assign", b"Assign", [b"w", b"c"])
        (graph,) = parse_graphs(meta(raw), "f", "meta_graph")
        (variable,) = variables(graph)
        assert describe(graph, variable) is not None


def test_values_in_the_field_of_another_dtype_are_none() -> None:
    raw = node(b"c", b"Const", value=tensor(3, b"\x50\x07")) + W
    raw += node(b"w/Assign", b"Assign", [b"w", b"c"])
    (graph,) = parse_graphs(meta(raw), "f", "meta_graph")
    found = describe(graph, variables(graph)[0])
    assert found is not None
    assert found.text == "zeros"  # as TensorFlow reads it


@pytest.mark.parametrize("bits", [b"\x00\x00\x80\x7f", b"\x00\x00\xc0\x7f"])
def test_bounds_that_are_no_numbers(bits: bytes) -> None:
    raw = node(b"c", b"Const", value=tensor(1, b"\x2d" + bits)) + W
    raw += node(b"r", b"RandomUniformInt", [b"s", b"c", b"c"])
    raw += node(b"w/Assign", b"Assign", [b"w", b"r"])
    (graph,) = parse_graphs(meta(raw), "f", "meta_graph")
    found = describe(graph, variables(graph)[0])
    assert found is not None
    assert found.text == "op: RandomUniformInt"


def test_a_damaged_variable_is_a_notice(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"w", np.ones(2, np.float32))
    bundle.add(b"v", np.ones(2, np.float32))
    located = bundle.write(tmp_path)
    dtype = encode_bytes_field(1, b"dtype") + encode_bytes_field(2, b"\x30\x01")
    bad = encode_bytes_field(1, b"u") + encode_bytes_field(2, b"VariableV2")
    bad += encode_bytes_field(5, dtype[:-1] + b"\xff")
    apply = encode_bytes_field(1, b"t") + encode_bytes_field(2, b"ApplyAdam") + b"\x1a\x7fw"
    raw = W + node(b"v", b"VariableV2") + encode_bytes_field(1, bad) + encode_bytes_field(1, apply)
    # The pass over the nodes looks into those near the end of the file, and only those.
    (tmp_path / "m.meta").write_bytes(meta(raw + encode_bytes_field(15, bytes(400))))
    source = GraphSource(str(tmp_path / "m.meta"), "meta_graph")
    with Checkpoint(open_bundle(located._replace(graphs=(source,)))) as checkpoint:
        result = tree(checkpoint)
    assert [(row.name, row.saved, row.op) for row in result.variables] == [
        ("v", True, "VariableV2"), ("w", True, "VariableV2"), ("u", False, "VariableV2")
    ]  # fmt: skip
    assert {problem.code for problem in result.notices} == {"INP014"}
    assert len(result.notices) == 2


def test_work_stays_in_proportion() -> None:
    """Each of these took hours, or gigabytes, where the work was the square of the size."""
    many = 20_000
    collections = b"".join(
        encode_bytes_field(
            4,
            encode_bytes_field(1, b"c%d" % n)
            + encode_bytes_field(2, encode_bytes_field(1, b"\x0a\x03w:0")),
        )
        for n in range(many)
    )
    (graph,) = parse_graphs(meta(W, collections), "f", "meta_graph")
    assert len(variables(graph)[0].collections) == many

    names = b"".join(encode_bytes_field(8, b"k%d" % n) for n in range(many))
    listed = encode_varint_field(1, 7) + encode_bytes_field(2, shape_message((many,))) + names
    raw = W + node(b"n", b"Const", value=encode_bytes_field(8, listed))
    raw += node(b"r", b"RestoreV2", [b"p", b"n", b"n"])
    raw += b"".join(node(b"a%d" % n, b"Assign", [b"w", b"r:%d" % n]) for n in range(many))
    raw += b"".join(node(b"s%d/S" % n, b"SaveV2", [b"p", b"n", b"n", b"w"]) for n in range(2000))
    (graph,) = parse_graphs(meta(raw), "f", "meta_graph")
    assert len(saver_joins(graph)) == 2000
    restored = parse_graphs(meta(raw.replace(b"SaveV2", b"NoSave")), "f", "meta_graph")[0]
    assert len(join(restored).keys) == many

    stairs = [Slice((n, n), (4096 - n, 1)) for n in range(4096)]
    assert cover_fault((4096, 4096), stairs) is not None
    assert cover_fault((1 << 20,), [Slice((n,), (1,)) for n in range(100_000)]) is not None


def test_text_of_comments_alone() -> None:
    text = b"#\n" * 1_000_000 + b"node { name: 'a' #b\n op: 'b' }#"
    assert encode_text(text, "GraphDef") == node(b"a", b"b")


def test_text_that_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(textproto, "MAX_BYTES", 1000)
    text = b"node { attr { key: 'v' value { tensor { double_val: [%s] } } } }"
    assert len(encode_text(text % b",".join([b"1"] * 100), "GraphDef")) > 900
    with pytest.raises(TextError, match="more than 1000 bytes"):
        encode_text(text % b",".join([b"1"] * 200), "GraphDef")


def test_paths_of_a_deep_and_wide_object_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    def child(name: bytes, number: int) -> bytes:
        return encode_bytes_field(1, encode_varint_field(1, number) + encode_bytes_field(2, name))

    chain = [child(b"x", number + 1) for number in range(20)]
    wide = b"".join(child(b"y%d" % number, 21 + number) for number in range(10))
    nodes = b"".join(encode_bytes_field(1, item) for item in [*chain, wide, *([b""] * 10)])
    graph = parse_object_graph(nodes, "f")
    assert len(graph.shortest_paths()[-1] or ()) == 21
    monkeypatch.setattr(object_graph, "MAX_STEPS", 20 * 21 // 2 + 21)
    paths = graph.shortest_paths()
    assert [path is None for path in paths[20:]] == [False, False] + [True] * 9
