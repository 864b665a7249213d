"""Collections of the MetaGraph: the standard ones, custom ones, and every kind of list."""

from __future__ import annotations

import tensorflow as tf
from common import Dups, Sample, Saved, sample, v1
from google.protobuf import any_pb2, wrappers_pb2
from layers import dense, loss_of

KEYS = v1.GraphKeys


@sample("collections_variables")
def collections_variables(made: Sample) -> None:
    """Local, model, moving-average and custom collections of variables, and the averages saved."""
    with made.graph():
        inputs = tf.ones([2, 3])
        with v1.variable_scope("net"):
            outputs = dense(inputs, 2, "fc", collections=[KEYS.GLOBAL_VARIABLES, "fc_weights"])
            v1.get_variable(
                "moving_mean",
                [2],
                trainable=False,
                collections=[KEYS.GLOBAL_VARIABLES, KEYS.MODEL_VARIABLES],
            )
            v1.get_variable("temperature", [], trainable=False)
        v1.get_variable("seen", [], tf.int32, collections=[KEYS.LOCAL_VARIABLES], trainable=False)
        metric = [KEYS.LOCAL_VARIABLES, KEYS.METRIC_VARIABLES]
        v1.get_variable("total", [2], collections=metric, trainable=False)
        step = v1.train.get_or_create_global_step()
        average = v1.train.ExponentialMovingAverage(0.9, num_updates=step)
        train = v1.train.GradientDescentOptimizer(0.1).minimize(loss_of(outputs), global_step=step)
        with tf.control_dependencies([train]):
            follow = average.apply(v1.trainable_variables())
        made.start()
        made.run(follow, 2)
        made.save(step=2, about=Saved(averages=[average], dups=Dups("none", "averages")))


@sample("collections_training")
def collections_training(made: Sample) -> None:
    """Losses, regularization losses, update ops, summaries, queue runners, tables and their
    initializers, and control flow contexts."""
    with made.graph():
        words = tf.lookup.KeyValueTensorInitializer(
            tf.constant(["cat", "dog"]), tf.constant([0, 1], tf.int64)
        )
        tf.lookup.StaticVocabularyTable(words, 1, name="words").lookup(tf.constant(["cat"]))
        queue = v1.FIFOQueue(4, [tf.float32], [[3]], name="queue")
        enqueue = queue.enqueue([tf.ones([3])])
        v1.train.add_queue_runner(v1.train.QueueRunner(queue, [enqueue, enqueue]))

        def small(weights: tf.Tensor) -> tf.Tensor:
            return tf.multiply(0.01, tf.reduce_sum(weights * weights), name="small")

        inputs = v1.placeholder_with_default(tf.ones([2, 3]), [2, 3], name="inputs")
        outputs = dense(inputs, 2, "fc", regularizer=small)
        mean = v1.get_variable("moving_mean", [2], trainable=False)
        v1.add_to_collection(
            KEYS.UPDATE_OPS, v1.assign_sub(mean, 0.1 * (mean - tf.reduce_mean(outputs, 0))).op
        )
        v1.losses.mean_squared_error(tf.ones([2, 2]), outputs)
        loss = v1.losses.get_total_loss()
        v1.summary.scalar("loss", loss)
        v1.summary.histogram("outputs", outputs)
        v1.cond(loss > 1.0, lambda: tf.reduce_sum(outputs) + 1.0, lambda: tf.constant(0.0))
        v1.while_loop(lambda i: i < 3, lambda i: i + 1, [tf.constant(0)], name="count")
        step = v1.train.get_or_create_global_step()
        optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
        with tf.control_dependencies(v1.get_collection(KEYS.UPDATE_OPS)):
            train = optimizer.minimize(loss, global_step=step)
        v1.add_to_collection(KEYS.TRAIN_OP, train)
        made.start()
        made.run(train, 2)
        made.save(step=2, about=Saved(optimizers=[optimizer]))


@sample("collections_lists")
def collections_lists(made: Sample) -> None:
    """Custom collections of every kind: node, bytes, int64, float and Any lists, and a Saver.

    An empty collection is not exported.
    """
    with made.graph():
        weights = v1.get_variable("weights", [2, 2])
        v1.add_to_collection("nodes", weights)
        v1.add_to_collection("nodes", tf.identity(weights, name="copy"))
        v1.add_to_collection("operations", v1.no_op(name="nothing"))
        for text in (b"plain", b"\xff\x00\x1b[31m", b""):
            v1.add_to_collection("bytes", text)
        for number in (0, -1, 1 << 62):
            v1.add_to_collection("integers", number)
        for fraction in (0.5, float("inf"), -1e-30):
            v1.add_to_collection("floats", fraction)
        for value in (7, 8):
            packed = any_pb2.Any()
            packed.Pack(wrappers_pb2.Int64Value(value=value))
            v1.add_to_collection("anything", packed)
        v1.add_to_collection("[bold]markup", 1)
        v1.get_default_graph().get_collection_ref("empty")
        made.start()
        saver = v1.train.Saver(save_relative_paths=True)
        v1.add_to_collection(KEYS.SAVERS, saver)
        made.save(saver=saver)


@sample("mutable_table")
def mutable_table(made: Sample) -> None:
    """A mutable lookup table saved beside a variable: vocab-keys and vocab-values."""
    with made.graph():
        v1.get_variable("weights", [2, 2])
        table = tf.lookup.experimental.MutableHashTable(
            tf.string, tf.int64, -1, name="vocab", experimental_is_anonymous=False
        )
        insert = table.insert(tf.constant(["only"]), tf.constant([3], tf.int64))
        made.start()
        made.run(insert)
        made.save()


@sample("saver_subset")
def saver_subset(made: Sample) -> None:
    """A Saver over some of the variables: the others are in the graph and not in the data."""
    with made.graph():
        flow = dense(dense(tf.ones([1, 3]), 2, "backbone"), 2, "head")
        step = v1.train.get_or_create_global_step()
        optimizer = v1.train.AdamOptimizer(0.01)
        train = optimizer.minimize(loss_of(flow), global_step=step)
        made.start()
        made.run(train)
        saver = v1.train.Saver(v1.trainable_variables("backbone"), save_relative_paths=True)
        made.save(step=1, saver=saver, about=Saved(optimizers=[optimizer]))
