"""TF1 graphs of the layers of tf.layers and tf.contrib.layers, with their variable names.

The equations are those of the TF1 documentation, in raw ops.  ``slim`` decides what a layer calls
its variables: ``weights`` and ``biases``, or ``kernel`` and ``bias``.
"""

from __future__ import annotations

from math import prod
from typing import Any

from tf1_layers import Layers

Tensor = Any


class Plain(Layers):
    """Layers with the names of tf.layers, or with those of TF-Slim."""

    def __init__(self, tf: Any, *, calibrating: bool = False, slim: bool = False) -> None:
        super().__init__(tf, calibrating=calibrating)
        self.kernel, self.bias = ("weights", "biases") if slim else ("kernel", "bias")
        self.norm_scope = "BatchNorm" if slim else "batch_normalization"

    def weights(self, *shape: int, prefix: str = "", inputs: int = 0) -> Tensor:
        """A kernel; ``inputs`` is how many numbers an output is the sum of."""
        spread = (2.0 / (inputs or prod(shape[:-1]))) ** 0.5
        return self.variable(prefix + self.kernel, shape, spread)

    def biased(self, x: Tensor) -> Tensor:
        """``x`` with a bias for each of its channels."""
        return x + self.variable(self.bias, (int(x.shape[-1]),), 0.3)

    def dense(self, x: Tensor, scope: str, units: int) -> Tensor:
        """``tf.layers.dense``, ``fully_connected``."""
        with self.scope(scope):
            return self.biased(self.tf.matmul(x, self.weights(int(x.shape[-1]), units)))

    def conv2d(self, x: Tensor, scope: str, filters: int, size: int = 3) -> Tensor:
        """``tf.layers.conv2d`` with padding ``SAME``."""
        with self.scope(scope):
            kernel = self.weights(size, size, int(x.shape[-1]), filters)
            return self.biased(self.tf.nn.conv2d(x, kernel, 1, "SAME"))

    def conv1d(self, x: Tensor, scope: str, filters: int) -> Tensor:
        """``tf.layers.conv1d``, three steps wide, in steps of 2."""
        with self.scope(scope):
            kernel = self.weights(3, int(x.shape[-1]), filters)
            return self.biased(self.tf.nn.conv1d(x, kernel, 2, "SAME"))

    def conv3d(self, x: Tensor, scope: str, filters: int) -> Tensor:
        """``tf.layers.conv3d``."""
        with self.scope(scope):
            kernel = self.weights(2, 3, 3, int(x.shape[-1]), filters)
            return self.biased(self.tf.nn.conv3d(x, kernel, (1, 1, 1, 1, 1), "SAME"))

    def transposed(self, x: Tensor, scope: str, filters: int) -> Tensor:
        """``tf.layers.conv2d_transpose``, twice the height and width."""
        height, width, inputs = (int(size) for size in x.shape[1:])
        with self.scope(scope):
            kernel = self.weights(3, 3, filters, inputs, inputs=3 * inputs)
            shape = (self.tf.shape(x)[0], 2 * height, 2 * width, filters)
            return self.biased(self.tf.nn.conv2d_transpose(x, kernel, shape, 2, "SAME"))

    def depthwise_conv(self, x: Tensor, scope: str, multiplier: int) -> Tensor:
        """``slim.separable_conv2d`` without a number of outputs."""
        with self.scope(scope):
            return self.biased(self._depthwise(x, multiplier))

    def separable(self, x: Tensor, scope: str, filters: int, multiplier: int) -> Tensor:
        """``tf.layers.separable_conv2d``."""
        with self.scope(scope):
            x = self._depthwise(x, multiplier)
            point = self.weights(1, 1, int(x.shape[-1]), filters, prefix="pointwise_")
            return self.biased(self.tf.nn.conv2d(x, point, 1, "SAME"))

    def separable1d(self, x: Tensor, scope: str, filters: int) -> Tensor:
        """``tf.layers.separable_conv1d``."""
        inputs = int(x.shape[-1])
        with self.scope(scope):
            kernel = self.weights(3, inputs, 2, prefix="depthwise_", inputs=3)
            wide = self.tf.nn.depthwise_conv2d(x[:, None], kernel[None], (1, 1, 1, 1), "SAME")
            point = self.weights(1, 2 * inputs, filters, prefix="pointwise_")
            return self.biased(self.tf.nn.conv1d(wide[:, 0], point, 1, "SAME"))

    def _depthwise(self, x: Tensor, multiplier: int) -> Tensor:
        kernel = self.weights(3, 3, int(x.shape[-1]), multiplier, prefix="depthwise_", inputs=9)
        return self.tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")

    def renorm(self, x: Tensor) -> Tensor:
        """Batch norm with what renorm and zero debias leave beside it."""
        x = self.norm(x)
        with self.scope(self.norm_scope):
            for name in ("renorm_mean", "renorm_stddev", "moving_stddev"):
                self.variable(name, (int(x.shape[-1]),), 1.0, trainable=False)
            for name in ("renorm_mean_weight", "renorm_stddev_weight"):
                self.variable(name, (), 1.0, trainable=False)
            with self.scope(f"{self.norm_scope}/moving_mean"):
                self.variable("biased", (int(x.shape[-1]),), 1.0, trainable=False)
                self.variable("local_step", (), 1.0, trainable=False)
        return x

    def grouped(self, x: Tensor, scope: str, groups: int, epsilon: float) -> Tensor:
        """``group_norm``; ``layer_norm`` with one group, ``instance_norm`` with one per channel."""
        channels = int(x.shape[-1])
        split = (-1, *(int(size) for size in x.shape[1:-1]), groups, channels // groups)
        parts = self.tf.reshape(x, split)
        axes = [*range(1, len(split) - 2), len(split) - 1]
        mean, variance = self.tf.nn.moments(parts, axes, keepdims=True)
        parts = (parts - mean) / self.tf.sqrt(variance + epsilon)
        with self.scope(scope):
            beta = self.variable("beta", (channels,), 0.3)
            gamma = self.variable("gamma", (channels,), 0.3, 1.0)
        return self.tf.reshape(parts, self.tf.shape(x)) * gamma + beta

    def flat(self, x: Tensor) -> Tensor:
        """All axes but the first as one."""
        return self.tf.reshape(x, (-1, prod(int(size) for size in x.shape[1:])))

    def table(self, ids: Tensor, name: str, rows: int, width: int) -> Tensor:
        """Rows of an embedding table."""
        return self.tf.nn.embedding_lookup(self.variable(name, (rows, width), 1.0), ids)
