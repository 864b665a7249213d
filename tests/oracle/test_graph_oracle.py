"""The graph package against TensorFlow's own protos, Saver and initializers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.formats.base import GraphSource
from ckpttool.graph.graphkeys import CONSTANTS
from ckpttool.graph.initializers import describe
from ckpttool.graph.metagraph import MetaGraph, load_graphs, parse_graphs
from ckpttool.graph.savers import join
from ckpttool.graph.variables import variables
from ckpttool.names import encode_name

pytestmark = pytest.mark.oracle

REAL_GRAPHS = (
    "char-rnn-shakespeare/model-85340.meta", "ddpg-baselines/model.ckpt.meta",
    "dup-movidius-x3/model.meta", "empty-basename-musicnn/.meta",
    "estimator-dnn-proximal/model.ckpt-10000.meta", "g2p-en/model_epoch_14_gs_27956.meta",
    "gail-bc/model.ckpt-100.meta", "housing-bn-adam/model.ckpt-0.meta",
    "idx-handwriting/model-29.meta", "idx-squeezeseg/model.ckpt-23000.meta",
    "idx-ssd-mobilenet/model.ckpt.meta", "meta-resnet-l50/ResNet-L50.meta",
    "seq2seq-letters/best_model.ckpt.meta", "sm-counter/saved_model.pb",
    "sm-half-plus-two-pbtxt/saved_model.pbtxt", "sm-half-plus-two/saved_model.pb",
    "sm-tfma-eval/saved_model.pb", "tf-metrics-metagraph/metrics_export_meta_graph.pb",
    "tf-session-bundle-v2/export.meta", "tfx-estimator-tf29/model.ckpt-0.meta",
    "v1-bad-half-plus-two/export.meta", "v1-dnc-copy/model.ckpt.meta",
    "v1-sharded-half-plus-two/export.meta", "v1meta-flappy-dqn/bird-dqn-2880000.meta",
)  # fmt: skip


@pytest.fixture(scope="session")
def v1(tf: Any) -> Any:
    """TensorFlow's 1.x API."""
    return tf.compat.v1


def _protos(path: Path) -> list[Any]:
    """The MetaGraphDefs of a file, by TensorFlow's protos."""
    from google.protobuf import text_format
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    saved_model = path.name.startswith("saved_model")
    message = saved_model_pb2.SavedModel() if saved_model else meta_graph_pb2.MetaGraphDef()
    raw = path.read_bytes()
    try:
        message.ParseFromString(raw)
    except DecodeError:
        message.Clear()
        text_format.Parse(raw, message, allow_unknown_field=True)
    return list(message.meta_graphs) if saved_model else [message]


def _load(path: Path) -> list[MetaGraph]:
    kind = "saved_model" if path.name.startswith("saved_model") else "meta_graph"
    return load_graphs(GraphSource(str(path), kind))


@pytest.mark.parametrize("name", REAL_GRAPHS)
def test_real_graph_agrees_with_the_protos(tf: Any, real_ckpts: Path, name: str) -> None:
    theirs, ours = _protos(real_ckpts / name), _load(real_ckpts / name)
    assert len(ours) == len(theirs)
    for mine, their in zip(ours, theirs, strict=True):
        assert mine.tags == tuple(their.meta_info_def.tags)
        assert mine.tf_version == their.meta_info_def.tensorflow_version
        assert mine.saver_def == (None if not their.HasField("saver_def") else mine.saver_def)
        if mine.saver_def is not None:
            assert mine.saver_def.save_tensor_name == their.saver_def.save_tensor_name
            assert mine.saver_def.sharded == their.saver_def.sharded
        assert set(mine.signatures) == set(their.signature_def)
        functions = [function.signature.name for function in their.graph_def.library.function]
        assert list(mine.functions) == functions
        _same_nodes(tf, mine.nodes, their.graph_def.node)
        for function in their.graph_def.library.function:
            _same_nodes(tf, mine.function_nodes(function.signature.name), function.node_def)
        _same_collections(mine, their)
        _same_variables(mine, their)


def _same_nodes(tf: Any, nodes: Any, theirs: Any) -> None:
    assert list(nodes) == [node.name for node in theirs]
    for their in theirs:
        mine = nodes[their.name]
        assert (mine.op, mine.device) == (their.op, their.device)
        assert mine.inputs == list(their.input)
        assert sorted(mine.attr_names) == sorted(their.attr)
        for key, value in their.attr.items():
            _same_attr(tf, mine, key, value)


def _same_attr(tf: Any, node: Any, key: str, value: Any) -> None:
    kind = value.WhichOneof("value")
    found = node.attr(key)
    assert found.kind == (kind or "none"), (node.name, key)
    if kind in ("i", "b", "s", "type") or (kind == "f" and value.f == value.f):
        assert found.value == getattr(value, kind)
    elif kind == "shape":
        assert found.value == _shape(value.shape)
    elif kind == "func":
        assert found.value == value.func.name.encode()
    elif kind == "list":
        their = value.list
        elements = [*their.s, *their.i, *their.f, *their.b, *their.type]
        elements += [_shape(shape) for shape in their.shape]
        elements += [function.name.encode() for function in their.func]
        assert found.value == elements
    elif kind == "tensor":
        _same_tensor(tf, found.value, value.tensor)


def _same_tensor(tf: Any, mine: Any, their: Any) -> None:
    array = tf.make_ndarray(their)
    assert mine.shape == array.shape
    assert mine.count == array.size
    if array.dtype == object:
        stored = mine.strings()
        filled = stored + stored[-1:] * (array.size - len(stored))
        assert filled == list(array.flat)
        return
    numbers = mine.numbers(64)
    if numbers is None:
        assert array.dtype.kind == "c"
        return
    np.testing.assert_array_equal(np.array(numbers, array.dtype), array.reshape(-1)[:64])
    same = array.size > 0 and bool((array == array.flat[0]).all())
    assert (mine.splat() is not None) == same


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim)


def _same_collections(mine: MetaGraph, their: Any) -> None:
    assert list(mine.collections) == sorted(their.collection_def)
    for name, definition in their.collection_def.items():
        kind = definition.WhichOneof("kind")
        values = list(getattr(definition, kind).value) if kind else []
        found = mine.collections[name]
        assert len(found.members) == len(found) == len(values), name
        if kind == "node_list":
            assert (found.kind, list(found.members)) == ("node", values)
        elif found.kind == "variable":
            assert found.raw_items == values
            assert list(found.members) == [_Parsed(raw).name for raw in values]
        elif kind == "any_list":
            assert found.kind == "any"
            for member, value in zip(found.members, values, strict=True):
                assert str(member).startswith(value.type_url.rpartition("/")[2])
        if name in ("variables", "trainable_variables") and values:
            assert found.kind == ("variable" if kind == "bytes_list" else "node")


class _Parsed:
    """A VariableDef by TensorFlow's proto; ``name`` without the output number."""

    def __init__(self, raw: bytes) -> None:
        from tensorflow.core.framework import variable_pb2

        self.proto = variable_pb2.VariableDef.FromString(raw)
        self.name = self.proto.variable_name.removesuffix(":0")


def _same_variables(mine: MetaGraph, their: Any) -> None:
    found = {variable.name: variable for variable in variables(mine)}
    ops = {"Variable", "VariableV2", "VarHandleOp", "HashTableV2"}
    assert set(found) >= {node.name for node in their.graph_def.node if node.op in ops}
    nodes = {node.name: node for node in their.graph_def.node}
    bytes_of = {
        name: [_Parsed(raw) for raw in their.collection_def[name].bytes_list.value]
        for name, collection in mine.collections.items()
        if collection.kind == "variable"
    }
    trainable = {item.name for item in bytes_of.get("trainable_variables", [])}
    for name, variable in found.items():
        holders = {key for key, items in bytes_of.items() if name in {i.name for i in items}}
        assert holders <= set(variable.collections)
        if bytes_of:
            assert variable.trainable == (name in trainable)
        if "shape" in nodes[name].attr:
            assert variable.shape == _shape(nodes[name].attr["shape"].shape)
    for items in bytes_of.values():
        for item in items:
            record = found[item.name]
            info = item.proto.save_slice_info_def
            assert record.initializer_name == item.proto.initializer_name
            assert (record.snapshot_name or "") == item.proto.snapshot_name
            assert (record.slice_info is not None) == bool(info.full_name)
            if record.slice_info is not None:
                assert record.slice_info.full_name == info.full_name
                assert record.slice_info.full_shape == tuple(info.full_shape)
                assert record.slice_info.part.start == tuple(info.var_offset)
                assert record.slice_info.part.shape == tuple(info.var_shape)


@pytest.mark.parametrize("name", [name for name in REAL_GRAPHS if name.endswith(".meta")])
def test_text_form_gives_the_same_graph(tf: Any, real_ckpts: Path, name: str) -> None:
    from google.protobuf import text_format

    (proto,) = _protos(real_ckpts / name)
    if len(proto.graph_def.node) > 3000:
        pytest.skip("the smaller graphs show the same")
    styles = (
        {},
        {"as_one_line": True},
        {"pointy_brackets": True},
        {"use_short_repeated_primitives": True},
    )
    binary = parse_graphs((real_ckpts / name).read_bytes(), name, "meta_graph")[0]
    for style in styles:
        text = text_format.MessageToString(proto, **style).encode()
        (graph,) = parse_graphs(text, name, "meta_graph")
        assert [str(c) for c in graph.collections] == [str(c) for c in binary.collections]
        for key, collection in graph.collections.items():
            # The text of an Any is its content, and has more than one serialization.
            if collection.kind != "any":
                assert collection.raw_items == binary.collections[key].raw_items
        _same_nodes(tf, graph.nodes, proto.graph_def.node)
        assert join(graph) == join(binary)


def test_text_form_of_every_kind_of_value(tf: Any) -> None:
    from google.protobuf import text_format
    from tensorflow.core.framework import attr_value_pb2

    attr = attr_value_pb2.AttrValue()
    attr.list.s.extend([b"", b"\x00\xff\"'\\\n\t\r", "éü".encode(), b"\x012", bytes(range(256))])
    attr.list.f.extend([1.5, -0.0, 3.4e38, float("inf"), float("-inf"), 1e-45])
    attr.list.i.extend([0, -1, 2**63 - 1, -(2**63)])
    attr.list.b.extend([True, False])
    attr.list.type.extend([1, 101, 31])
    attr.list.shape.add().unknown_rank = True
    attr.list.shape.add().dim.add().size = -1
    from ckpttool.graph.attrs import attr_value
    from ckpttool.graph.textproto import encode_text

    for style in ({}, {"as_utf8": True}, {"as_one_line": True}, {"pointy_brackets": True}):
        raw = encode_text(text_format.MessageToString(attr, **style).encode(), "AttrValue")
        assert attr_value_pb2.AttrValue.FromString(raw) == attr
        wire = attr.SerializeToString()
        assert attr_value(raw, 0, len(raw)) == attr_value(wire, 0, len(wire))


def test_kinds_of_collections(tf: Any, v1: Any) -> None:
    from google.protobuf import any_pb2
    from tensorflow.core.protobuf import meta_graph_pb2

    with v1.Graph().as_default():
        weight = v1.get_variable("w", [3])
        asset = tf.constant("vocab.txt", name="asset")
        definition = meta_graph_pb2.AssetFileDef(filename="vocab.txt")
        definition.tensor_info.name = asset.name
        packed = any_pb2.Any()
        packed.Pack(definition)
        v1.add_to_collection("assets", packed)
        v1.add_to_collection("my_variables", weight)
        for value in (1, 2):
            v1.add_to_collection("sizes", value)
        v1.add_to_collection("rates", 0.5)
        v1.add_to_collection("notes", "plain text")
        v1.add_to_collection("blobs", b"\x00\xff")
        v1.add_to_collection("tensors", asset)
        v1.while_loop(lambda i: i < 3, lambda i: i + 1, [tf.constant(0)], name="loop")
        v1.cond(tf.constant(True), lambda: weight + 1, lambda: weight, name="branch")
        queue = v1.FIFOQueue(3, tf.float32, name="line")
        v1.train.add_queue_runner(v1.train.QueueRunner(queue, [queue.enqueue(0.5)]))
        v1.add_to_collection("savers", v1.train.Saver())
        proto = v1.train.export_meta_graph()
        # A collection that no to_proto is registered for keeps the tensor; with a record it is
        # a bytes list, whatever its name is.
        record = proto.collection_def["variables"].bytes_list.value[0]
        proto.collection_def["records"].bytes_list.value.append(record)
    (graph,) = parse_graphs(proto.SerializeToString(), "x.meta", "meta_graph")
    kinds = {name: (c.kind, c.members) for name, c in graph.collections.items()}
    assert kinds["assets"] == ("any", ("tensorflow.AssetFileDef vocab.txt (asset:0)",))
    assert kinds["records"] == ("variable", ("w",))
    assert kinds["sizes"] == ("int64", (1, 2))
    assert kinds["rates"] == ("float", (0.5,))
    assert kinds["tensors"] == ("node", ("asset:0",))
    assert kinds["queue_runners"] == ("queue_runner", ("line",))
    assert kinds["savers"] == ("saver", ("save",))
    if "while_context" in kinds:  # control flow v1 only
        assert kinds["while_context"][0] == kinds["cond_context"][0] == "context"
    for name, shown in (("notes", "plain text"), ("blobs", "b'\\x00\\xff' (2 bytes)")):
        if name in kinds:
            assert kinds[name] == ("bytes", (shown,))
    (variable,) = variables(graph)
    assert {"my_variables", "records", "trainable_variables", "variables"} <= {
        *variable.collections
    }


def test_membership_in_collections(tf: Any, v1: Any) -> None:
    with v1.Graph().as_default():
        v1.get_variable("frozen", [2], trainable=False)
        v1.get_variable("local", [2], collections=["local_variables"], trainable=False)
        v1.get_variable("model", [2], collections=["variables", "model_variables"], trainable=False)
        v1.train.get_or_create_global_step()
        raw = v1.train.export_meta_graph().SerializeToString()
    (graph,) = parse_graphs(raw, "x.meta", "meta_graph")
    found = {v.name: (v.collections, v.trainable, v.dtype, v.shape) for v in variables(graph)}
    assert found["frozen"] == (("variables",), False, "float32", (2,))
    assert found["local"] == (("local_variables",), False, "float32", (2,))
    assert found["model"][0] == ("model_variables", "variables")
    assert found["global_step"] == (("global_step", "variables"), False, "int64", ())


def _initializers(v1: Any) -> dict[str, tuple[Any, str]]:
    init = v1.initializers
    return {
        "tn": (init.truncated_normal(stddev=0.1), "truncated_normal(mean=0.0, stddev=0.1)"),
        "tn2": (init.truncated_normal(0.5, 2.0), "truncated_normal(mean=0.5, stddev=2.0)"),
        "rn": (init.random_normal(-1.0, 0.25), "random_normal(mean=-1.0, stddev=0.25)"),
        "ru": (init.random_uniform(-0.05, 0.05), "random_uniform(minval=-0.05, maxval=0.05)"),
        "ru2": (init.random_uniform(0.25, 3.0), "random_uniform(minval=0.25, maxval=3.0)"),
        "zeros": (init.zeros(), "zeros"),
        "ones": (init.ones(), "ones"),
        "const": (init.constant(0.1), "constant(0.1)"),
        "list": (init.constant([[1.0, 2.5], [3.0, -4.0]]), "constant([1.0, 2.5, 3.0, -4.0])"),
        "ortho": (init.orthogonal(), "orthogonal(gain=1.0)"),
        "ortho2": (init.orthogonal(gain=1.5), "orthogonal(gain=1.5)"),
        "eye": (init.identity(), "identity"),
        "eye2": (init.identity(gain=2.0), "identity(gain=2.0)"),
    }


@pytest.mark.parametrize("resource", [False, True])
def test_initializers(tf: Any, v1: Any, resource: bool) -> None:
    wanted = _initializers(v1)
    with v1.Graph().as_default():
        for name, (initializer, _) in wanted.items():
            v1.get_variable(name, [2, 2], initializer=initializer, use_resource=resource)
        v1.get_variable("glorot", [3, 5], use_resource=resource)
        v1.get_variable("seeded", [3], initializer=v1.initializers.random_normal(seed=42))
        v1.get_variable("ints", [3], tf.int32, v1.initializers.random_uniform(2, 9))
        v1.Variable([1, 2, 3], name="given", use_resource=resource)
        v1.Variable(tf.random.gamma([2], 1.0), name="gamma", use_resource=resource)
        weight = v1.Variable(tf.zeros([300, 300]), name="filled", use_resource=resource)
        copied = weight.read_value() if resource else weight.initialized_value()
        v1.Variable(copied, name="copied", use_resource=resource)
        v1.Variable(np.arange(100.0), name="many", use_resource=resource)
        v1.Variable(v1.placeholder(tf.float32, [2]), name="fed", use_resource=resource)
        raw = v1.train.export_meta_graph().SerializeToString()
    (graph,) = parse_graphs(raw, "x.meta", "meta_graph")
    found = {variable.name: describe(graph, variable) for variable in variables(graph)}
    for name, (_, text) in wanted.items():
        assert found[name] is not None
        assert found[name].text == text, name
        assert found[name].dtype == "float32", name
    limit = str(np.float32(np.sqrt(6.0 / 8.0)))
    assert found["glorot"].text == f"random_uniform(minval=-{limit}, maxval={limit})"
    assert found["seeded"].text == "random_normal(mean=0.0, stddev=1.0)"
    assert 42 in found["seeded"].seed
    assert found["tn"].seed is None
    assert found["ints"].text == "random_uniform(minval=2, maxval=9)"
    assert found["given"].text == "constant([1, 2, 3])"
    assert found["many"].text == "constant of shape [100]"
    assert found["many"].dtype == "float64"
    assert found["filled"].text == "zeros"
    assert found["gamma"].text == "op: Maximum of RandomGamma"
    assert found["fed"].text == "fed by the program (placeholder)"
    assert found["copied"].text.startswith("value of filled")
    made = {variable.name: variable.made_by for variable in variables(graph)}
    assert (made["tn"], made["given"], made["gamma"]) == ("get_variable", "tf.Variable", None)


def test_saved_models_of_both_ages(tf: Any, v1: Any, tmp_path: Path) -> None:
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None, 2], name="x")
        weight = v1.get_variable("w", [2, 3])
        y = tf.matmul(x, weight, name="y")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "one"), {"x": x}, {"y": y})
    (graph,) = _load(tmp_path / "one" / "saved_model.pb")
    assert graph.tags == ("serve",)
    signature = graph.signatures["serving_default"]
    assert signature.inputs["x"] == ("x:0", "float32", (None, 2))
    assert signature.outputs["y"].shape == (None, 3)
    keys = tf.train.load_checkpoint(str(tmp_path / "one/variables/variables"))
    assert join(graph, keys.get_variable_to_dtype_map()).keys["w"][0].variable == "w"

    module = tf.Module()
    module.weight = tf.Variable(np.ones((2, 3), np.float32), name="dense/weight")
    module.frozen = tf.Variable(1, trainable=False, name="frozen")
    module.call = tf.function(
        lambda x: tf.matmul(x, module.weight),
        input_signature=[tf.TensorSpec([None, 2], tf.float32)],
    )
    tf.saved_model.save(module, str(tmp_path / "two"))
    (graph,) = _load(tmp_path / "two" / "saved_model.pb")
    saved = {variable.name: variable for variable in graph.saved_variables()}
    assert saved["dense/weight"].shape == (2, 3)
    assert saved["dense/weight"].trainable
    assert not saved["frozen"].trainable
    assert saved["frozen"].dtype == "int32"
    keys = tf.train.load_checkpoint(str(tmp_path / "two/variables/variables"))
    join(graph, keys.get_variable_to_dtype_map())
    join(graph)
    assert any("traced_save" in name for name in graph.functions)


def test_names_are_kept_as_bytes(tf: Any) -> None:
    from tensorflow.core.framework import graph_pb2

    graph_def = graph_pb2.GraphDef()
    for name in ("plain", "é/ü", "a" * 300):
        node = graph_def.node.add(name=name, op="VariableV2")
        node.attr["dtype"].type = 101
        node.attr["shape"].shape.dim.add().size = 2
    (graph,) = parse_graphs(graph_def.SerializeToString(), "graph.pb", "graph_def")
    assert [variable.name for variable in variables(graph)] == ["plain", "é/ü", "a" * 300]
    assert [variable.dtype for variable in variables(graph)] == ["float32"] * 3
    assert [encode_name(name) for name in graph.nodes][1] == "é/ü".encode()
    assert all(variable.trainable is None for variable in variables(graph))


def test_every_constant_of_graph_keys_is_known(v1: Any) -> None:
    keys = v1.GraphKeys
    theirs = {name: getattr(keys, name) for name in dir(keys) if name.strip("_").isupper()}
    theirs = {name: raw for name, raw in theirs.items() if isinstance(raw, str)}
    theirs.pop("VARIABLES")  # an old name of GLOBAL_VARIABLES
    assert theirs == CONSTANTS
