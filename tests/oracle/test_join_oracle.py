"""Which variable each key of a checkpoint holds, checked by values of graphs made here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.formats.base import GraphSource
from ckpttool.graph.metagraph import load_graphs, parse_graphs
from ckpttool.graph.savers import join, saver_joins
from ckpttool.graph.variables import variables

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="session")
def v1(tf: Any) -> Any:
    """TensorFlow's 1.x API."""
    return tf.compat.v1


class _Run:
    """A saved checkpoint, with the value that each variable had in the session."""

    def __init__(self, tf: Any, prefix: str, values: dict[str, np.ndarray[Any, Any]]) -> None:
        self.prefix = prefix
        self.values = values
        self.reader = tf.train.load_checkpoint(prefix)
        self.graph = load_graphs(GraphSource(prefix + ".meta", "meta_graph"))[0]

    def check(self, how: str = "save_op") -> Any:
        """Every key's tensor is the value of the variables that the join names for it."""
        keys = self.reader.get_variable_to_dtype_map()
        found = join(self.graph, keys)
        assert set(found.keys) == set(keys)
        for key, parts in found.keys.items():
            whole = self.reader.get_tensor(key)
            assert parts, key
            assert found.how_of(key) == how, key
            for part in parts:
                stored = whole
                if part.spec is not None:
                    assert part.spec.full_shape == whole.shape
                    at = zip(part.spec.part.start, part.spec.part.shape, strict=True)
                    stored = whole[tuple(slice(s, s + n) for s, n in at)]
                np.testing.assert_array_equal(stored, self.values[part.variable])
        return found


def _save(tf: Any, v1: Any, folder: Path, saver: Any, session: Any) -> _Run:
    prefix = saver.save(session, str(folder / "model.ckpt"), global_step=3)
    every = session.graph.get_collection("variables") + session.graph.get_collection("kept")
    values = {variable.op.name: session.run(variable) for variable in dict.fromkeys(every)}
    return _Run(tf, prefix, values)


def _start(v1: Any) -> Any:
    """A session in which every variable has a value of its own."""
    session = v1.Session()
    rng = np.random.default_rng(7)
    for variable in v1.global_variables():
        shape = variable.shape.as_list()
        value = (rng.normal(size=shape) * 100).astype(variable.dtype.base_dtype.as_numpy_dtype)
        variable.load(value, session) if hasattr(variable, "load") else None
    return session


@pytest.mark.parametrize("resource", [False, True])
@pytest.mark.parametrize("sharded", [False, True])
def test_join_of_partitions_and_slots(
    tf: Any, v1: Any, tmp_path: Path, resource: bool, sharded: bool
) -> None:
    with v1.Graph().as_default():
        with v1.device("/cpu:0"):
            table = v1.get_variable(
                "emb/table", [10, 2], partitioner=v1.fixed_size_partitioner(3),
                use_resource=resource,
            )  # fmt: skip
        plain = v1.get_variable("w", [2, 3], use_resource=resource)
        grid = v1.get_variable(
            "grid", [4, 6], partitioner=v1.fixed_size_partitioner(3, axis=1), use_resource=resource
        )
        total = tf.reduce_sum(tf.convert_to_tensor(table)) + tf.reduce_sum(plain * 2.0)
        total += tf.reduce_sum(tf.convert_to_tensor(grid))
        v1.train.AdamOptimizer().minimize(total, v1.train.get_or_create_global_step())
        session = _start(v1)
        run = _save(tf, v1, tmp_path, v1.train.Saver(sharded=sharded), session)
    found = run.check()
    assert len(found.keys["emb/table"]) == 3
    assert [part.spec.part.start for part in found.keys["grid"]] == [(0, 0), (0, 2), (0, 4)]
    assert found.keys_of()["emb/table/part_0"] == ["emb/table"]
    infos = {variable.name: variable.slice_info for variable in variables(run.graph)}
    assert infos["emb/table/part_1"] is not None
    assert infos["emb/table/part_1"].full_name == "emb/table"
    assert infos["w"] is None


@pytest.mark.parametrize("resource", [False, True])
def test_join_of_weights_under_averages_names(
    tf: Any, v1: Any, tmp_path: Path, resource: bool
) -> None:
    with v1.Graph().as_default():
        weight = v1.get_variable("w", [3], use_resource=resource)
        v1.get_variable("v", [3], use_resource=resource)
        average = v1.train.ExponentialMovingAverage(0.9)
        average.apply([weight])
        session = _start(v1)
        run = _save(tf, v1, tmp_path, v1.train.Saver(average.variables_to_restore()), session)
    found = run.check()
    (part,) = found.keys["w/ExponentialMovingAverage"]
    assert part.variable == "w"
    (member,) = run.graph.collections["moving_average_variables"].members
    assert member == "w"


def test_join_of_averages_saved_as_weights(tf: Any, v1: Any, tmp_path: Path) -> None:
    with v1.Graph().as_default():
        weight = v1.get_variable("w", [3])
        average = v1.train.ExponentialMovingAverage(0.9)
        average.apply([weight])
        saver = v1.train.Saver({"w": average.average(weight), "copy/of/w": weight})
        run = _save(tf, v1, tmp_path, saver, _start(v1))
    found = run.check()
    assert found.keys["w"][0].variable == "w/ExponentialMovingAverage"
    assert found.keys["copy/of/w"][0].variable == "w"


def test_the_saver_that_fits_the_keys_is_chosen(tf: Any, v1: Any, tmp_path: Path) -> None:
    with v1.Graph().as_default():
        one, two = v1.get_variable("one", [3]), v1.get_variable("two", [3])
        first = v1.train.Saver([one, two])
        second = v1.train.Saver({"renamed": one})
        session = _start(v1)
        run = _save(tf, v1, tmp_path, first, session)
        other = second.save(session, str(tmp_path / "other"), write_meta_graph=False)
    run.check()
    assert [found.scope for found in saver_joins(run.graph)] == ["save", "save_1"]
    found = join(run.graph, tf.train.load_checkpoint(other).get_variable_to_dtype_map())
    assert found.scope == "save_1"
    assert found.keys["renamed"][0].variable == "one"


def test_join_through_the_restore_ops(tf: Any, v1: Any, tmp_path: Path) -> None:
    from tensorflow.core.protobuf import meta_graph_pb2

    with v1.Graph().as_default():
        v1.get_variable("ref", [3], use_resource=False)
        v1.get_variable("res", [3], use_resource=True)
        v1.get_variable("p", [4, 2], partitioner=v1.fixed_size_partitioner(2), use_resource=True)
        saver = v1.train.Saver({"a": v1.global_variables()[0], "b": v1.global_variables()[1]})
        run = _save(tf, v1, tmp_path, saver, _start(v1))
        everything = v1.train.Saver()
        graph = v1.get_default_graph().as_graph_def()
    meta = meta_graph_pb2.MetaGraphDef.FromString(Path(run.prefix + ".meta").read_bytes())
    meta.graph_def.CopyFrom(graph)
    for kept, keys in ((saver, {"a", "b"}), (everything, {"ref", "res", "p"})):
        meta.saver_def.CopyFrom(kept.saver_def)
        nodes = [node for node in meta.graph_def.node if node.op != "SaveV2"]
        del meta.graph_def.node[:]
        meta.graph_def.node.extend(nodes)
        (changed,) = parse_graphs(meta.SerializeToString(), "x.meta", "meta_graph")
        found = join(changed)
        assert found.how == "restore_op"
        assert set(found.keys) == keys
    assert [part.variable for part in found.keys["p"]] == ["p/part_0", "p/part_1"]
    assert found.keys["p"][1].spec is not None
    assert found.keys["p"][1].spec.part.start == (2, 0)
    assert found.keys["res"][0].variable == "res"


def test_join_without_any_saver(tf: Any, v1: Any) -> None:
    with v1.Graph().as_default():
        v1.get_variable("w", [3], use_resource=True)
        v1.get_variable("local", [3], collections=["local_variables"])
        v1.get_variable("p", [4, 2], partitioner=v1.fixed_size_partitioner(2))
        raw = v1.train.export_meta_graph(clear_extraneous_savers=True).SerializeToString()
    (graph,) = parse_graphs(raw, "x.meta", "meta_graph")
    found = join(graph)
    assert found.how == "name"
    assert set(found.keys) == {"w", "p"}
    assert found.how_of("p") == "slice_info"
    assert [part.variable for part in found.keys["p"]] == ["p/part_0", "p/part_1"]
    assert set(join(graph, ["local", "nothing"]).keys) == {"local"}


def test_join_of_tables(tf: Any, v1: Any, tmp_path: Path) -> None:
    from tensorflow.python.ops.lookup_ops import MutableHashTable

    with v1.Graph().as_default():
        v1.get_variable("w", [3])
        table = MutableHashTable(tf.string, tf.int64, -1, name="words")
        insert = table.insert(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64))
        session = _start(v1)
        session.run(insert)
        prefix = v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    (graph,) = load_graphs(GraphSource(prefix + ".meta", "meta_graph"))
    keys = tf.train.load_checkpoint(prefix).get_variable_to_dtype_map()
    found = join(graph, keys)
    assert set(found.keys) == set(keys)
    held = {variable.name: variable for variable in variables(graph)}
    (name,) = {part.variable for key in keys if key != "w" for part in found.keys[key]}
    assert held[name].is_table
    assert held[name].dtype == "int64"


def test_unregistered_ops_do_not_matter(tf: Any, v1: Any, tmp_path: Path) -> None:
    from tensorflow.core.protobuf import meta_graph_pb2

    with v1.Graph().as_default():
        weight = v1.get_variable("w", [3], initializer=v1.zeros_initializer())
        tf.identity(weight * 2.0, name="out")
        run = _save(tf, v1, tmp_path, v1.train.Saver(), _start(v1))
    meta = meta_graph_pb2.MetaGraphDef.FromString(Path(run.prefix + ".meta").read_bytes())
    for node in meta.graph_def.node:
        if node.op in ("Mul", "Identity") and not node.name.startswith("save"):
            node.op = "NobodyKnowsThisOp"
    (graph,) = parse_graphs(meta.SerializeToString(), "x.meta", "meta_graph")
    assert join(graph).keys["w"][0].variable == "w"
    assert graph.nodes["out"].op == "NobodyKnowsThisOp"
    assert graph.consumers("w") == [
        node.name for node in meta.graph_def.node
        if any(name.split(":")[0].lstrip("^") == "w" for name in node.input)
    ]  # fmt: skip
