"""Two towers, train and test: with one set of weights, and with two where one was meant."""

from __future__ import annotations

import tensorflow as tf
from common import Dups, Sample, Saved, sample, v1
from layers import dense, loss_of, plain_dense


def _inputs() -> tuple[tf.Tensor, tf.Tensor]:
    train = v1.placeholder_with_default(tf.ones([4, 3]), [4, 3], name="train_images")
    test = v1.placeholder_with_default(tf.ones([2, 3]), [2, 3], name="test_images")
    return train, test


def _train_and_save(made: Sample, output: tf.Tensor, dups: Dups) -> None:
    step = v1.train.get_or_create_global_step()
    optimizer = v1.train.AdamOptimizer(0.01)
    updates = v1.get_collection(v1.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(updates):
        train = optimizer.minimize(loss_of(output), global_step=step)
    made.start()
    made.run(train, 3)
    made.save(step=3, about=Saved(optimizers=[optimizer], dups=dups))


@sample("two_towers_shared")
def two_towers_shared(made: Sample) -> None:
    """A train and a test tower that share their weights by AUTO_REUSE."""

    def tower(images: tf.Tensor) -> tf.Tensor:
        with v1.variable_scope("tower", reuse=v1.AUTO_REUSE):
            return dense(tf.nn.relu(dense(images, 4, "fc_1")), 2, "fc_2")

    with made.graph():
        train, test = _inputs()
        with tf.name_scope("train"):
            output = tower(train)
        with tf.name_scope("test"):
            tf.identity(tower(test), name="output")
        _train_and_save(made, output, Dups("none", "shared by AUTO_REUSE"))


@sample("two_towers_variable")
def two_towers_variable(made: Sample) -> None:
    """The same two towers made of plain tf.Variable: AUTO_REUSE does nothing for those, so the
    test tower has untrained weights of its own."""

    def tower(images: tf.Tensor) -> tf.Tensor:
        with v1.variable_scope("tower", reuse=v1.AUTO_REUSE):
            return plain_dense(tf.nn.relu(plain_dense(images, 4, "fc_1")), 2, "fc_2")

    with made.graph():
        train, test = _inputs()
        output = tower(train)
        tf.identity(tower(test), name="output")
        leaves = [f"{layer}/{leaf}" for layer in ("fc_1", "fc_2") for leaf in ("weights", "biases")]
        dups = Dups(
            "unshared",
            "tf.Variable in a re-entered variable_scope",
            [[f"{scope}/{leaf}" for leaf in leaves] for scope in ("tower", "tower_1")],
        )
        _train_and_save(made, output, dups)


@sample("two_towers_add_weight", optional="tf_keras")
def two_towers_add_weight(made: Sample) -> None:
    """Two towers of a Keras layer with add_weight, the layer made anew in each: dense_block and
    dense_block_1, of which only the first is trained."""

    class DenseBlock(tf.keras.layers.Layer):
        """A layer as people write it, with two weights."""

        def build(self, shape: tf.TensorShape) -> None:
            """Make the weights."""
            self.kernel = self.add_weight(name="kernel", shape=[shape[-1], 2], initializer="zeros")
            self.bias = self.add_weight(name="bias", shape=[2], initializer="zeros")

        def call(self, inputs: tf.Tensor) -> tf.Tensor:
            """Multiply and add."""
            return tf.matmul(inputs, self.kernel) + self.bias

    def tower(images: tf.Tensor) -> tf.Tensor:
        with v1.variable_scope("tower", reuse=v1.AUTO_REUSE):
            return DenseBlock()(dense(images, 3, "fc_1"))

    with made.graph():
        train, test = _inputs()
        output = tower(train)
        tf.identity(tower(test), name="output")
        copies = _keras_copies("dense_block")
        dups = Dups("unshared", "a Keras layer made twice: add_weight never reuses", copies)
        _train_and_save(made, output, dups)


@sample("two_towers_batch_norm", optional="tf_keras")
def two_towers_batch_norm(made: Sample) -> None:
    """Two towers that share their kernel by AUTO_REUSE but build BatchNormalization twice: the
    test tower normalizes by averages that were never updated."""

    def tower(images: tf.Tensor, training: bool) -> tf.Tensor:
        with v1.variable_scope("tower", reuse=v1.AUTO_REUSE):
            flow = dense(images, 3, "fc_1")
            layer = tf.keras.layers.BatchNormalization(fused=False)
            flow = layer(flow, training=training)
            if training:
                for update in layer.updates:
                    v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, update)
            return flow

    with made.graph():
        train, test = _inputs()
        output = tower(train, training=True)
        tf.identity(tower(test, training=False), name="output")
        copies = _keras_copies("batch_normalization")
        dups = Dups("unshared", "BatchNormalization made twice beside shared weights", copies)
        _train_and_save(made, output, dups)


def _keras_copies(layer: str) -> list[list[str]]:
    names = [variable.op.name for variable in v1.global_variables()]
    second = [name for name in names if f"{layer}_1/" in name]
    return [[name for name in names if f"{layer}/" in name], second]
