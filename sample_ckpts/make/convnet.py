"""A small image classifier, whole enough to be migrated and run: the tutorial's example."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from common import Dups, Sample, Saved, sample, v1
from layers import dense

CLASSES = 10


def _conv(inputs: tf.Tensor, filters: int, name: str, *, bias: bool) -> tf.Tensor:
    with v1.variable_scope(name):
        kernel = v1.get_variable("kernel", [3, 3, inputs.shape[-1], filters])
        flow = tf.nn.conv2d(inputs, kernel, strides=1, padding="SAME")
        return flow + v1.get_variable("bias", [filters]) if bias else flow


def _batch_norm(inputs: tf.Tensor, training: tf.Tensor, name: str) -> tf.Tensor:
    size = [inputs.shape[-1]]
    with v1.variable_scope(name):
        gamma = v1.get_variable("gamma", size, initializer=v1.ones_initializer())
        beta = v1.get_variable("beta", size)
        mean = v1.get_variable("moving_mean", size, trainable=False)
        variance = v1.get_variable(
            "moving_variance", size, initializer=v1.ones_initializer(), trainable=False
        )
        batch_mean, batch_variance = tf.nn.moments(inputs, [0, 1, 2])
        for moving, now in ((mean, batch_mean), (variance, batch_variance)):
            step = v1.assign_sub(moving, (moving - now) * 0.5)
            v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, step)
        flow = tf.where(training, inputs - batch_mean, inputs - mean)
        scale = tf.where(training, batch_variance, variance)
        return flow * gamma * tf.math.rsqrt(scale + 0.001) + beta


@sample("small_convnet")
def small_convnet(made: Sample) -> None:
    """A classifier of 8 by 8 images in tf.layers' names, trained with Adam: two convolutions, batch
    normalization, two dense layers, with the graph that computes logits from images."""
    with made.graph():
        images = v1.placeholder(tf.float32, [None, 8, 8, 1], name="images")
        labels = v1.placeholder(tf.int32, [None], name="labels")
        training = v1.placeholder_with_default(False, [], name="is_training")
        flow = _conv(images, 4, "conv2d", bias=False)
        flow = tf.nn.relu(_batch_norm(flow, training, "batch_normalization"))
        flow = tf.nn.max_pool2d(flow, 2, 2, "VALID")
        flow = tf.nn.relu(_conv(flow, 8, "conv2d_1", bias=True))
        flow = tf.nn.max_pool2d(flow, 2, 2, "VALID")
        flow = tf.reshape(flow, [-1, 32])
        flow = tf.nn.relu(dense(flow, 16, "dense"))
        logits = tf.identity(dense(flow, CLASSES, "dense_1"), name="logits")
        loss = v1.losses.sparse_softmax_cross_entropy(labels, logits)
        step = v1.train.get_or_create_global_step()
        optimizer = v1.train.AdamOptimizer(0.01)
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS)):
            train = optimizer.minimize(loss, global_step=step)
        session = made.start()
        random = np.random.RandomState(0)
        for _ in range(30):
            chosen = random.randint(0, CLASSES, 32)
            noise = random.normal(0.0, 0.3, (32, 8, 8, 1))
            noise[np.arange(32), chosen % 8, chosen // 2] += 3.0
            session.run(train, {images: noise, labels: chosen, training: True})
        made.save(
            step=30,
            about=Saved([optimizer], dups=Dups("none", "layers that feed each other")),
        )
