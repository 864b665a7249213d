"""Renamed checkpoints, restored by TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from remap_support import open_prefix, plan_for, write_bundle

from ckpttool.analysis.roles import infer_roles
from ckpttool.formats.locating.located import Located
from ckpttool.formats.tensorflow.slices_v1 import open_v1
from ckpttool.mapping.execution.execute import execute
from ckpttool.mapping.language.rules import quick_rules
from ckpttool.mapping.planning.plan import make_plan

pytestmark = pytest.mark.oracle


def remap(source: Path, target: Path, yaml: str, **options: Any) -> dict[str, str]:
    with open_prefix(source) as reader:
        plan = plan_for(reader.specs, yaml)
        assert execute(plan, reader, str(target), **options).verified
    return {step.target: step.sources[0] for step in plan.steps}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, bytes) or a.dtype == object:
        return np.asarray(a, object).tolist() == np.asarray(b, object).tolist()
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def train(tf: Any, prefix: Path, scope: str, *, partitions: int = 1) -> dict[str, Any]:
    """A small trained net under ``scope``, saved; its values by key."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        build(tf, scope, partitions)
        saver = v1.train.Saver()
        session.run(v1.global_variables_initializer())
        session.run(session.graph.get_operation_by_name("train"))
        saver.save(session, str(prefix))
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def build(tf: Any, scope: str, partitions: int) -> Any:
    v1 = tf.compat.v1
    partitioner = v1.fixed_size_partitioner(partitions) if partitions > 1 else None
    with v1.variable_scope(scope, partitioner=partitioner):
        w = v1.get_variable("w", (7, 2), initializer=v1.random_normal_initializer(seed=3))
        b = v1.get_variable("b", (2,), initializer=v1.ones_initializer(), partitioner=None)
    step = v1.train.get_or_create_global_step()
    loss = tf.reduce_sum(tf.square(tf.matmul(tf.ones((1, 7)), tf.convert_to_tensor(w)) + b))
    return v1.train.AdamOptimizer(0.1).minimize(loss, global_step=step, name="train")


MOVE = "unmatched: keep\nrules:\n  - {from: old/**, to: new/net/**}\n"


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("partitions", [1, 3])
def test_a_saver_restores_the_renamed_graph(
    tf: Any, tmp_path: Path, partitions: int, link: bool
) -> None:
    values = train(tf, tmp_path / "m", "old", partitions=partitions)
    moved = remap(tmp_path / "m", tmp_path / "out" / "n", MOVE, link=link)
    assert {target for target in moved if target.startswith("old")} == set()
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        build(tf, "new/net", partitions)
        saver = v1.train.Saver()
        saver.restore(session, str(tmp_path / "out" / "n"))
        saver.save(session, str(tmp_path / "again"))
    again = tf.train.load_checkpoint(str(tmp_path / "again"))
    assert set(again.get_variable_to_shape_map()) == set(moved)
    for target, source in moved.items():
        assert same(again.get_tensor(target), values[source]), target


@pytest.mark.parametrize("partitions", [2, 4])
def test_another_partitioning_restores_too(tf: Any, tmp_path: Path, partitions: int) -> None:
    values = train(tf, tmp_path / "m", "old", partitions=3)
    remap(tmp_path / "m", tmp_path / "n", "slots: drop\n" + MOVE)
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("new/net", partitioner=v1.fixed_size_partitioner(partitions)):
            w = v1.get_variable("w", (7, 2))
        v1.train.Saver([w]).restore(session, str(tmp_path / "n"))
        assert same(session.run(tf.convert_to_tensor(w)), values["old/w"])


SAMPLES = [
    "deep_scopes/model.ckpt",
    "dtypes/model.ckpt",
    "partitioned/model.ckpt-2",
    "sharded/model.ckpt-2",
    "sharded_partitioned/model.ckpt",
    "strings/model.ckpt",
    "shapes/model.ckpt",
    "optimizers/model.ckpt",
    "many_blocks/model.ckpt",
    "snappy_index/model.ckpt-5",
    "big_endian/model.ckpt-2",
]


@pytest.mark.parametrize("name", SAMPLES)
def test_load_checkpoint_reads_every_tensor(
    tf: Any, samples: Path, tmp_path: Path, name: str
) -> None:
    before = tf.train.load_checkpoint(str(samples / name))
    with open_prefix(samples / name) as reader:
        rules = quick_rules(add_prefix="far/")
        plan = make_plan(reader.specs, rules, infer_roles(reader.specs), source=name)
        execute(plan, reader, str(tmp_path / "n"))
    after = tf.train.load_checkpoint(str(tmp_path / "n"))
    shapes = after.get_variable_to_shape_map()
    assert shapes == {
        f"far/{key}": shape for key, shape in before.get_variable_to_shape_map().items()
    }
    for key in before.get_variable_to_shape_map():
        try:
            expected = before.get_tensor(key)
        except tf.errors.OpError as error:  # TensorFlow lists some dtypes that it cannot return
            with pytest.raises(type(error)):
                after.get_tensor(f"far/{key}")
            continue
        assert same(np.asarray(after.get_tensor(f"far/{key}")), np.asarray(expected)), key


def test_names_that_are_not_text(tf: Any, samples: Path, tmp_path: Path) -> None:
    prefix = samples / "bytes_in_names" / "model.ckpt"
    with open_prefix(prefix) as reader:
        plan = make_plan(reader.specs, quick_rules(add_prefix="x/"), {}, source="m")
        execute(plan, reader, str(tmp_path / "n"))
        for name, spec in reader.specs.items():
            key = b"x/" + name.encode("utf-8", "surrogateescape")
            dtype = tf.as_dtype(spec.dtype)
            value = tf.raw_ops.RestoreV2(
                prefix=str(tmp_path / "n"),
                tensor_names=[key],
                shape_and_slices=[""],
                dtypes=[dtype],
            )[0]
            assert same(value.numpy(), reader.read(name))


def test_v1_checkpoints(tf: Any, samples: Path, tmp_path: Path) -> None:
    path = next(
        str(path)
        for path in (samples / "v1_partitioned").iterdir()
        if path.name.startswith("model") and path.suffix != ".meta"
    )
    with open_v1(Located(path, "tf-v1", path, (path,))) as reader:
        plan = make_plan(reader.specs, quick_rules(add_prefix="x/"), {}, source="m")
        execute(plan, reader, str(tmp_path / "n"))
        after = tf.train.load_checkpoint(str(tmp_path / "n"))
        for name in reader.specs:
            assert same(np.asarray(after.get_tensor(f"x/{name}")), reader.read(name))


def test_encoded_arrays(tf: Any, tmp_path: Path) -> None:
    arrays = {
        "float32": np.arange(6, dtype=np.float32).reshape(2, 3),
        "bfloat16": np.array([1.5, -2], ml_dtypes.bfloat16),
        "bool": np.array([True, False]),
        "complex64": np.array(1 + 2j, np.complex64),
        "string": np.array([b"", b"a\0", b"z" * 200], object),
        "empty": np.zeros((0, 3), np.float32),
        "int64": np.array(-5, np.int64),
    }
    write_bundle(tmp_path / "m", arrays)
    reader = tf.train.load_checkpoint(str(tmp_path / "m"))
    for name, array in arrays.items():
        assert same(np.asarray(reader.get_tensor(name)), np.asarray(array)), name


def test_the_writer_writes_what_tensorflow_writes(tf: Any, tmp_path: Path) -> None:
    arrays = {
        "a/w": np.arange(600, dtype=np.float32).reshape(20, 30),
        "b": np.array([b"x", b""], object),
        "c": np.array(3, np.int64),
    }
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "theirs"),
        tensor_names=list(arrays),
        shape_and_slices=[""] * len(arrays),
        tensors=[tf.constant(value) for value in arrays.values()],
    )
    write_bundle(tmp_path / "ours", arrays)
    for suffix in (".index", ".data-00000-of-00001"):
        assert (
            Path(f"{tmp_path}/ours{suffix}").read_bytes()
            == Path(f"{tmp_path}/theirs{suffix}").read_bytes()
        )
