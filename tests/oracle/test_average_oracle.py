"""Means of checkpoints, against TensorFlow and restored by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool

pytestmark = pytest.mark.oracle


def build(tf: Any, partitions: int) -> Any:
    v1 = tf.compat.v1
    partitioner = v1.fixed_size_partitioner(partitions) if partitions > 1 else None
    with v1.variable_scope("net", partitioner=partitioner):
        w = v1.get_variable("w", (7, 3), initializer=v1.random_normal_initializer(seed=3))
    h = v1.get_variable("h", (5,), tf.float16, v1.random_normal_initializer(seed=4))
    b16 = v1.get_variable("b16", (5,), tf.bfloat16, v1.random_normal_initializer(seed=5))
    step = v1.train.get_or_create_global_step()
    loss = tf.reduce_sum(tf.square(tf.matmul(tf.ones((1, 7)), tf.convert_to_tensor(w))))
    loss += tf.cast(tf.reduce_sum(h * h), tf.float32) + tf.cast(tf.reduce_sum(b16), tf.float32)
    return v1.train.MomentumOptimizer(0.01, 0.9).minimize(loss, global_step=step, name="train")


def train(tf: Any, folder: Path, partitions: int) -> list[Path]:
    """Four checkpoints of a run."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        train_op = build(tf, partitions)
        saver = v1.train.Saver(max_to_keep=10)
        session.run(v1.global_variables_initializer())
        for _ in range(4):
            session.run(train_op)
            saver.save(session, str(folder / "m"), global_step=v1.train.get_global_step())
    return [folder / f"m-{step}" for step in range(1, 5)]


@pytest.mark.parametrize("partitions", [1, 3])
def test_the_mean_as_tensorflow_would_compute_it(tf: Any, tmp_path: Path, partitions: int) -> None:
    paths = train(tf, tmp_path, partitions)
    checkpoints = [ckpttool.open(str(path)) for path in paths[1:]]
    result = ckpttool.average(checkpoints, str(tmp_path / "out" / "mean"), slots="last")
    for one in checkpoints:
        one.close()
    assert result.verified
    readers = [tf.train.load_checkpoint(str(path)) for path in paths[1:]]
    mean = tf.train.load_checkpoint(str(tmp_path / "out" / "mean"))
    assert mean.get_variable_to_dtype_map() == readers[0].get_variable_to_dtype_map()
    for name in mean.get_variable_to_shape_map():
        found = mean.get_tensor(name)
        last = readers[-1].get_tensor(name)
        if name.endswith("Momentum") or name == "global_step":
            assert np.array_equal(found, last), name
            continue
        values = [tf.cast(reader.get_tensor(name), tf.float64) for reader in readers]
        expected = tf.cast(tf.add_n(values) / 3, last.dtype).numpy()
        # TensorFlow's own cast to bfloat16 rounds twice.
        assert np.allclose(found.astype("f8"), expected.astype("f8"), rtol=2.0**-8, atol=0), name
        if last.dtype != tf.bfloat16.as_numpy_dtype:
            assert np.array_equal(found, expected), name
    # The graph that was trained takes it: its partitioned variables, too.
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        build(tf, partitions)
        v1.train.Saver().restore(session, str(tmp_path / "out" / "mean"))
        assert session.run(v1.train.get_global_step()) == 4
        parts = [item for item in v1.global_variables() if item.op.name.startswith("net/w")]
        weights = [item for item in parts if "Momentum" not in item.op.name]
        whole = np.concatenate(session.run(weights))
    assert np.array_equal(whole, mean.get_tensor("net/w"))


def test_the_mean_of_object_based_checkpoints_is_one(tf: Any, tmp_path: Path) -> None:
    def make(number: float) -> Any:
        module = tf.Module()
        module.w = tf.Variable([number, 2 * number])
        module.parts = [tf.Variable(number), tf.Variable(3, dtype=tf.int64)]
        return module

    paths = [
        tf.train.Checkpoint(model=make(number)).save(str(tmp_path / f"c{number}"))
        for number in (1.0, 2.0, 6.0)
    ]
    checkpoints = [ckpttool.open(path) for path in paths]
    ckpttool.average(checkpoints, str(tmp_path / "mean"))
    for one in checkpoints:
        one.close()
    module = make(0.0)
    checkpoint = tf.train.Checkpoint(model=module)
    checkpoint.restore(str(tmp_path / "mean")).assert_consumed()
    assert module.w.numpy().tolist() == [3.0, 6.0]
    assert module.parts[0].numpy() == 3.0
    assert checkpoint.save_counter.numpy() == 1
