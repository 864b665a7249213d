"""Hand-written layers in the style of TF 1.x code, so that the samples need nothing but TF."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
from common import v1


def dense(inputs: tf.Tensor, units: int, name: str, **options: Any) -> tf.Tensor:
    """``name/kernel`` and ``name/bias`` by get_variable."""
    with v1.variable_scope(name):
        kernel = v1.get_variable("kernel", [inputs.shape[-1], units], **options)
        bias = v1.get_variable(
            "bias", [units], initializer=v1.zeros_initializer(), trainable=kernel.trainable
        )
        return tf.matmul(inputs, kernel) + bias


def conv(inputs: tf.Tensor, filters: int, name: str, size: int = 3) -> tf.Tensor:
    """``name/weights`` and ``name/biases`` by get_variable: a 2-D convolution and a relu."""
    with v1.variable_scope(name):
        weights = v1.get_variable("weights", [size, size, inputs.shape[-1], filters])
        biases = v1.get_variable("biases", [filters], initializer=v1.zeros_initializer())
        return tf.nn.relu(tf.nn.conv2d(inputs, weights, strides=1, padding="SAME") + biases)


def plain_dense(inputs: tf.Tensor, units: int, name: str) -> tf.Tensor:
    """``name/weights`` and ``name/biases`` by tf.Variable: a second call makes a second pair."""
    with tf.name_scope(name):
        weights = v1.Variable(tf.zeros([inputs.shape[-1], units]), name="weights")
        biases = v1.Variable(tf.zeros([units]), name="biases")
        return tf.matmul(inputs, weights) + biases


def loss_of(outputs: tf.Tensor, target: float = 1.0) -> tf.Tensor:
    """A loss that gives every parameter a gradient."""
    return tf.reduce_sum(tf.square(outputs - target), name="loss")


def lstm_cell(inputs: tf.Tensor, state: tuple[tf.Tensor, tf.Tensor], units: int) -> Any:
    """One step of TF1's BasicLSTMCell (gates i, j, f, o): ``kernel`` and ``bias``."""
    hidden, cell = state
    both = tf.concat([inputs, hidden], 1)
    kernel = v1.get_variable("kernel", [both.shape[-1], 4 * units])
    bias = v1.get_variable("bias", [4 * units], initializer=v1.zeros_initializer())
    i, j, f, o = tf.split(tf.matmul(both, kernel) + bias, 4, axis=1)
    cell = cell * tf.sigmoid(f + 1.0) + tf.sigmoid(i) * tf.tanh(j)
    return tf.tanh(cell) * tf.sigmoid(o), cell
