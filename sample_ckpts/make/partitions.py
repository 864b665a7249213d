"""Partitioned variables and checkpoints of several data files."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from common import Dups, Sample, Saved, sample, v1
from layers import loss_of


def partitioned_graph() -> tuple[tf.Tensor, v1.train.Optimizer]:
    """Two partitioned variables and a whole one, with Adam: the train op and the optimizer."""
    with v1.variable_scope("emb"):
        rows = v1.get_variable("table", [10, 2], partitioner=v1.fixed_size_partitioner(3))
        columns = v1.get_variable(
            "columns", [2, 5], partitioner=v1.fixed_size_partitioner(2, axis=1)
        )
        bias = v1.get_variable("bias", [5])
    flow = tf.matmul(tf.convert_to_tensor(rows), tf.convert_to_tensor(columns)) + bias
    optimizer = v1.train.AdamOptimizer(0.01)
    step = v1.train.get_or_create_global_step()
    return optimizer.minimize(loss_of(flow), global_step=step), optimizer


@sample("partitioned")
def partitioned(made: Sample) -> None:
    """Variables in three parts along axis 0 and two along axis 1, and the Adam slots of the
    parts."""
    with made.graph():
        train, optimizer = partitioned_graph()
        made.start()
        made.run(train, 2)
        dups = Dups("none", "parts of one variable, Adam slots")
        made.save(step=2, about=Saved(optimizers=[optimizer], dups=dups))


@sample("partitioned_by_size")
def partitioned_by_size(made: Sample) -> None:
    """A partitioner by size makes eight parts of one row each; a 3-D variable is split in its
    middle axis; one resource variable is split too."""
    with made.graph():
        by_size = v1.variable_axis_size_partitioner(max_shard_bytes=8)
        v1.get_variable("rows", [8, 2], partitioner=by_size)
        v1.get_variable("cube", [2, 7, 3], partitioner=v1.fixed_size_partitioner(4, axis=1))
        halves = v1.fixed_size_partitioner(2)
        v1.get_variable("resource", [5, 2], partitioner=halves, use_resource=True)
        v1.get_variable("counts", [6], tf.int64, trainable=False, partitioner=halves)
        made.start()
        made.save(about=Saved(dups=Dups("none", "parts of one variable")))


@sample("partitioned_by_hand")
def partitioned_by_hand(made: Sample) -> None:
    """Parts under names of their own, emb_0 to emb_2, for embedding_lookup with mod strategy."""
    with made.graph():
        parts = [v1.get_variable(f"emb_{part}", [3, 2]) for part in range(3)]
        v1.nn.embedding_lookup(parts, [0, 5], name="looked_up")
        made.start()
        made.save(about=Saved(dups=Dups("none", "parts of one table, numbered")))


def sharded_graph() -> tuple[tf.Tensor, v1.train.Optimizer]:
    """Variables on three devices: the train op and the optimizer."""
    flow: Any = tf.ones([1, 3])
    task = "/job:localhost/replica:0/task:0"
    for index in range(3):
        with tf.device(f"{task}/device:CPU:{index}"):
            flow = tf.matmul(flow, v1.get_variable(f"layer_{index}/kernel", [3, 3]))
    with tf.device(f"{task}/device:CPU:0"):
        step = v1.train.get_or_create_global_step()
    optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
    return optimizer.minimize(loss_of(flow), global_step=step), optimizer


@sample("sharded")
def sharded(made: Sample) -> None:
    """Saver(sharded=True) and variables on several devices: one data file a device."""
    with made.graph():
        train, optimizer = sharded_graph()
        made.start(devices=3)
        made.run(train, 2)
        saver = v1.train.Saver(sharded=True, save_relative_paths=True)
        dups = Dups("none", "numbered layers")
        made.save(step=2, saver=saver, about=Saved(optimizers=[optimizer], dups=dups), state=True)


@sample("sharded_partitioned")
def sharded_partitioned(made: Sample) -> None:
    """One variable whose parts lie in different data files."""
    with made.graph():

        def place(operation: tf.Operation) -> str:
            return f"/device:CPU:{1 if 'part_1' in operation.name else 0}"

        with v1.device(place):
            v1.get_variable("table", [7, 2], partitioner=v1.fixed_size_partitioner(3))
            v1.get_variable("bias", [2])
        made.start(devices=2)
        made.save(saver=v1.train.Saver(sharded=True, save_relative_paths=True))
