"""MetaGraphs from files: content decides, damage is located, collections have their kinds."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.errors import CkptError, CorruptError, InputError, Problem
from ckpttool.formats.base import GraphSource
from ckpttool.graph.initializers import describe
from ckpttool.graph.metagraph import MetaGraph, load_graphs, parse_graphs
from ckpttool.graph.savers import join
from ckpttool.graph.textproto import encode_text
from ckpttool.graph.variables import variables
from ckpttool.storage.wire import encode_bytes_field

TEXT = r"""
meta_info_def { tags: "serve" tags: "train" tensorflow_version: "1.15.0"
  stripped_op_list { op { name: "Const" } } }
graph_def {
  node { name: "w" op: "VariableV2"
    attr { key: "dtype" value { type: DT_FLOAT } }
    attr { key: "shape" value { shape { dim { size: 2 } } } } }
  node { name: "value" op: "Const"
    attr { key: "value" value { tensor { dtype: DT_FLOAT tensor_shape { dim { size: 2 } }
      float_val: 0.25 } } } }
  node { name: "w/Assign" op: "Assign" input: "w" input: "value" }
  node { name: "save/Const" op: "Const" }
  node { name: "save/names" op: "Const"
    attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
      string_val: "renamed/w" } } } }
  node { name: "save/slices" op: "Const"
    attr { key: "value" value { tensor { dtype: DT_STRING tensor_shape { dim { size: 1 } }
      string_val: "" } } } }
  node { name: "save/SaveV2" op: "SaveV2"
    input: "save/Const" input: "save/names" input: "save/slices" input: "w" }
  node { name: "save/control_dependency" op: "Identity" input: "save/Const" input: "^save/SaveV2" }
  library { function { signature { name: "f" }
    node_def { name: "inner" op: "Relu" input: "x" } } }
}
saver_def { filename_tensor_name: "save/Const:0" save_tensor_name: "save/control_dependency:0"
  restore_op_name: "save/restore_all" version: V2 }
collection_def { key: "variables" value { bytes_list {
  value: "\n\003w:0\022\010w/Assign\032\003w:0" } } }
collection_def { key: "trainable_variables" value { bytes_list {
  value: "\n\003w:0\022\010w/Assign\032\003w:0" } } }
collection_def { key: "mine" value { bytes_list {
  value: "\n\003w:0\022\010w/Assign\032\003w:0" } } }
collection_def { key: "not_mine" value { bytes_list {
  value: "\n\003w:0\022\010w/Assign" value: "\n\003x:0" } } }
collection_def { key: "not_either" value { bytes_list { value: "\n\nsave/Const" } } }
collection_def { key: "words" value { bytes_list { value: "some text" value: "\000\001\377" } } }
collection_def { key: "nodes" value { node_list { value: "w:0" value: "value" } } }
collection_def { key: "elsewhere" value { node_list { value: "w:1" } } }
collection_def { key: "numbers" value { int64_list { value: [3, -1] } } }
collection_def { key: "rates" value { float_list { value: [0.5, inf] } } }
collection_def { key: "nothing" value { } }
collection_def { key: "assets" value { any_list {
  value { [type.googleapis.com/tensorflow.AssetFileDef] { filename: "a.txt" } }
  value { type_url: "type.googleapis.com/x.Unknown" value: "abc" } } } }
collection_def { key: "savers" value { bytes_list {
  value: "\n\014save/Const:0\022\031save/control_dependency:0\032\020save/restore_all8\002" } } }
signature_def { key: "run" value { method_name: "m"
  inputs { key: "x" value { name: "x:0" dtype: DT_INT64 tensor_shape { dim { size: -1 } } } }
  outputs { key: "y" value { name: "y:0" dtype: DT_STRING tensor_shape { unknown_rank: true } } }
} }
object_graph_def { nodes { } nodes { variable { dtype: DT_FLOAT shape { dim { size: 4 } }
  trainable: true name: "obj/w" } } }
"""


def _binary() -> bytes:
    return encode_text(TEXT.encode(), "MetaGraphDef")


@pytest.fixture(params=["text", "binary"])
def graph(request: pytest.FixtureRequest) -> MetaGraph:
    """The same MetaGraph from both forms."""
    raw = TEXT.encode() if request.param == "text" else _binary()
    (found,) = parse_graphs(raw, "model.meta", "meta_graph")
    return found


def test_info_and_signatures(graph: MetaGraph) -> None:
    assert graph.tags == ("serve", "train")
    assert graph.tf_version == "1.15.0"
    assert [saver.scope for saver in graph.savers] == ["save", "save"] or len(graph.savers) == 1
    signature = graph.signatures["run"]
    assert signature.method == "m"
    assert signature.inputs == {"x": ("x:0", "int64", (None,))}
    assert signature.outputs["y"].shape is None
    assert graph.saved_variables() == [(1, "obj/w", "float32", (4,), True)]
    assert list(graph.functions) == ["f"]
    assert graph.function_nodes("f")["inner"].inputs == ["x"]
    assert graph.consumers("w") == ["w/Assign", "save/SaveV2"]


def test_collections(graph: MetaGraph) -> None:
    found = {name: (c.kind, c.members) for name, c in graph.collections.items()}
    assert list(found) == sorted(found)
    assert found["variables"] == found["mine"] == ("variable", ("w",))
    assert found["not_mine"][0] == found["not_either"][0] == "bytes"
    assert found["words"] == ("bytes", ("some text", r"b'\x00\x01\xff' (3 bytes)"))
    assert found["nodes"] == ("node", ("w:0", "value"))
    assert found["numbers"] == ("int64", (3, -1))
    assert found["rates"] == ("float", (0.5, float("inf")))
    assert found["nothing"] == ("empty", ())
    assert found["assets"] == (
        "any", ("tensorflow.AssetFileDef a.txt", "x.Unknown (3 bytes)")
    )  # fmt: skip
    assert found["savers"] == ("saver", ("save",))


def test_variables_and_join(graph: MetaGraph) -> None:
    (variable,) = variables(graph)
    assert variable.collections == ("mine", "nodes", "trainable_variables", "variables")
    assert variable.trainable is True
    assert (variable.dtype, variable.shape, variable.op) == ("float32", (2,), "VariableV2")
    assert variable.initializer_name == "w/Assign"
    assert variable.initial_value_name == "value"
    initializer = describe(graph, variable)
    assert initializer is not None
    assert initializer.text == "constant(0.25)"
    found = join(graph)
    assert found.how == "save_op"
    assert found.keys_of() == {"w": ["renamed/w"]}


def test_content_decides_not_the_kind_that_was_thought(tmp_path: Path) -> None:
    node = (
        b'node { name: "w" op: "Variable" } node { name: "x" op: "NoOp" } versions { producer: 9 }'
    )
    saved = (
        b"saved_model_schema_version: 1 meta_graphs { meta_info_def { tags: 'a' } } meta_graphs {}"
    )
    cases = (
        (node, encode_text(node, "GraphDef"), "graph_def", 1),
        (TEXT.encode(), _binary(), "meta_graph", 1),
        (saved, encode_text(saved, "SavedModel"), "saved_model", 2),
    )
    for text, binary, kind, count in cases:
        for raw in (text, binary, b"\n\n# a comment\n" + text):
            for claimed in ("graph_def", "meta_graph"):
                path = tmp_path / "graph.pb"
                path.write_bytes(raw)
                graphs = load_graphs(GraphSource(str(path), claimed))
                assert len(graphs) == count
                assert graphs[0].kind == kind


def test_a_bare_graph_has_variables_and_no_collections() -> None:
    raw = b'node { name: "w" op: "Variable" } node { name: "t" op: "MutableHashTableV2" }'
    (graph,) = parse_graphs(raw, "graph.pbtxt", "graph_def")
    assert graph.collections == {}
    assert [(v.name, v.trainable, v.is_table) for v in variables(graph)] == [
        ("w", None, False), ("t", None, True)
    ]  # fmt: skip
    assert join(graph).keys.keys() == {"w", "t"}
    assert join(graph, ["w"]).how_of("w") == "name"


def test_a_file_that_is_cut_while_it_is_open(tmp_path: Path) -> None:
    """Nothing is read from the file later: a memory map would kill the process here."""
    path = tmp_path / "a.meta"
    path.write_bytes(_binary() + b"\xfa\x01\x80\x80\x80\x10" + bytes(32 << 20))
    (graph,) = load_graphs(GraphSource(str(path), "meta_graph"))
    os.truncate(path, 0)
    test_collections(graph)
    test_variables_and_join(graph)
    test_info_and_signatures(graph)


def test_errors_say_where(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        load_graphs(GraphSource(str(tmp_path / "none.meta"), "meta_graph"))
    assert caught.value.problems[0].code == "INP001"
    with pytest.raises(CorruptError, match="empty"):
        parse_graphs(b"", "m.meta", "meta_graph")
    with pytest.raises(CorruptError) as damaged:
        parse_graphs(TEXT.replace('"w"', "w", 1).encode(), "m.meta", "meta_graph")
    line = TEXT[: TEXT.index('"w"')].count("\n") + 1
    assert damaged.value.problems[0].where == f"m.meta:{line}:16"
    assert damaged.value.problems[0].code == "INP014"


def _problem(call: Callable[[], object]) -> Problem | None:
    """What ``call`` fails with; any other exception than ours ends the test."""
    try:
        call()
    except CkptError as error:
        return error.problems[0]
    return None


def _use(raw: bytes) -> None:
    """Everything that a command asks of a graph."""
    for graph in parse_graphs(raw, "m.meta", "meta_graph"):
        for collection in graph.collections.values():
            assert len(collection.members) == len(collection)
        for variable in variables(graph):
            assert variable.name is not None
            _ = (variable.dtype, variable.shape, variable.slice_info, variable.made_by)
            describe(graph, variable)
        join(graph)
        join(graph, {"renamed/w", "w"})
        _ = (graph.functions, graph.signatures, graph.saved_variables(), graph.consumers("w"))
        for node in graph.nodes.values():
            _ = (node.inputs, node.device, [node.attr(key) for key in node.attr_names])


def test_a_truncated_file_is_an_error_with_its_place() -> None:
    raw = _binary()
    failed = 0
    for cut in range(1, len(raw)):
        problem = _problem(lambda cut=cut: _use(raw[:cut]))  # type: ignore[misc]
        if problem is not None:
            failed += 1
            assert problem.code == "INP014"
            where, _, offset = (problem.where or "").rpartition(" ")
            assert where == "m.meta: byte"
            assert int(offset) <= cut
    assert failed > len(raw) * 0.9  # a cut between two top-level fields leaves a valid file


def test_flipped_bytes_never_end_in_a_traceback() -> None:
    raw = _binary()
    rng = random.Random(5)  # noqa: S311  the same bytes in every run
    for _ in range(1500):
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(raw))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x12))
        problem = _problem(lambda raw=bytes(changed): _use(raw))  # type: ignore[misc]
        assert problem is None or problem.where


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=100), st.sampled_from(["meta_graph", "graph_def", "saved_model"]))
def test_any_bytes_are_a_graph_or_an_error(raw: bytes, kind: str) -> None:
    for wrapped in (raw, encode_bytes_field(2, raw), encode_bytes_field(4, raw)):
        problem = _problem(lambda raw=wrapped: parse_graphs(raw, "m.meta", kind))  # type: ignore[misc]
        assert problem is None or problem.code == "INP014"


def test_real_text_in_a_pb(real_ckpts: Path) -> None:
    path = real_ckpts / "tf-metrics-metagraph/metrics_export_meta_graph.pb"
    (graph,) = load_graphs(GraphSource(str(path), "meta_graph"))
    assert graph.collections["local_variables"].members == ("mean/total:0", "mean/count:0")
    assert [variable.collections for variable in variables(graph)] == [("local_variables",)] * 2


def test_real_graph_without_variable_collections(real_ckpts: Path) -> None:
    path = real_ckpts / "idx-ssd-mobilenet/model.ckpt.meta"
    (graph,) = load_graphs(GraphSource(str(path), "meta_graph"))
    found = variables(graph)
    assert len(found) == 200
    assert all(variable.trainable is None for variable in found)
    assert len(join(graph).keys) == 200


def test_real_estimator_with_slices(real_ckpts: Path) -> None:
    path = real_ckpts / "estimator-dnn-proximal/model.ckpt-10000.meta"
    (graph,) = load_graphs(GraphSource(str(path), "meta_graph"))
    found = join(graph)
    (part,) = found.keys["dnn/hiddenlayer_0/kernel/t_0/ProximalAdagrad"]
    assert part.variable == "dnn/dnn/hiddenlayer_0/kernel/part_0/ProximalAdagrad"
    assert part.spec is not None
    assert part.spec.full_shape == (22, 10)
    assert graph.collections["queue_runners"].members == ("enqueue_input/random_shuffle_queue",)


def test_real_v1_saver(real_ckpts: Path) -> None:
    path = real_ckpts / "v1-dnc-copy/model.ckpt.meta"
    (graph,) = load_graphs(GraphSource(str(path), "meta_graph"))
    saved = join(graph).keys_of()
    assert len(saved) == 7
    assert {v.name for v in variables(graph)} - set(saved) == {
        v.name for v in variables(graph) if "RMSProp" in v.name
    }
