"""The layers that TF1 image networks are made of, with the variable names of slim."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import sqrt
from typing import Any

import numpy as np

Tensor = Any
Activation = Callable[[Tensor], Tensor] | None


class Layers:
    """Makes layers in the current graph of ``tf.compat.v1``.

    Weights are drawn as He et al. have it (``gain`` 2), so that a signal keeps its size through a
    deep net.  While ``calibrating``, batch norm takes the statistics of its input and puts them
    into the moving averages (``updates``), as a training step of decay 0 does: with statistics
    that have nothing to do with the signal, the signal dies and hides every error.
    """

    def __init__(
        self, tf: Any, *, calibrating: bool = False, epsilon: float = 1e-3, scale: bool = True
    ) -> None:
        self.tf = tf
        self.v1 = tf.compat.v1
        self.calibrating = calibrating
        self.epsilon = epsilon
        self.scale = scale
        self.updates: list[Any] = []
        self.norm_scope = "BatchNorm"
        self._seed = 0

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """A variable scope, entered as often as one likes."""
        with self.v1.variable_scope(name, reuse=self.v1.AUTO_REUSE, auxiliary_name_scope=False):
            yield

    def variable(
        self, name: str, shape: Sequence[int], spread: float, middle: float = 0.0, **options: Any
    ) -> Tensor:
        """A variable of normally distributed values, the same in every graph of a kind."""
        self._seed += 1
        draw = self.v1.random_normal_initializer(middle, spread, seed=self._seed)
        return self.v1.get_variable(name, tuple(shape), initializer=draw, **options)

    def norm(self, x: Tensor, *, scale: bool | None = None, center: bool = True) -> Tensor:
        """Batch norm of the last axis."""
        size = (int(x.shape[-1]),)
        with self.scope(self.norm_scope):
            beta = self.variable("beta", size, 0.2) if center else None
            gamma = self.variable("gamma", size, 0.2, 1.0) if self._scaled(scale) else None
            mean = self.variable("moving_mean", size, 0.1, trainable=False)
            variance = self.v1.get_variable(
                "moving_variance", size, initializer=self.v1.ones_initializer(), trainable=False
            )
        if self.calibrating:
            now, spread = self.tf.nn.moments(x, list(range(len(x.shape) - 1)))
            self.updates += [self.v1.assign(mean, now), self.v1.assign(variance, spread)]
            mean, variance = now, spread
        return self.tf.nn.batch_normalization(x, mean, variance, beta, gamma, self.epsilon)

    def _scaled(self, scale: bool | None) -> bool:
        return self.scale if scale is None else scale

    def conv(
        self,
        x: Tensor,
        scope: str,
        filters: int,
        size: int | tuple[int, int],
        stride: int = 1,
        *,
        act: Activation = None,
        norm: bool = True,
        bias: bool = False,
        padding: str = "SAME",
        kernel: str = "weights",
        offset: str = "biases",
    ) -> Tensor:
        """A convolution, then batch norm or a bias, then ``act``."""
        height, width = (size, size) if isinstance(size, int) else size
        inputs = int(x.shape[-1])
        gain = 2.0 if act is not None else 1.0
        with self.scope(scope):
            shape = (height, width, inputs, filters)
            w = self.variable(kernel, shape, sqrt(gain / (height * width * inputs)))
            x = self.tf.nn.conv2d(x, w, strides=stride, padding=padding)
            if bias:
                x = x + self.variable(offset, (filters,), 0.1)
            if norm:
                x = self.norm(x)
        return act(x) if act else x

    def depthwise(
        self,
        x: Tensor,
        scope: str,
        size: int,
        stride: int = 1,
        *,
        act: Activation = None,
        norm: bool = True,
        kernel: str = "depthwise_weights",
    ) -> Tensor:
        """A convolution of each channel by itself, batch norm and ``act``."""
        with self.scope(scope):
            w = self.variable(kernel, (size, size, int(x.shape[-1]), 1), sqrt(2.0 / size**2))
            x = self.tf.nn.depthwise_conv2d(x, w, (1, stride, stride, 1), "SAME")
            if norm:
                x = self.norm(x)
        return act(x) if act else x

    def conv_same(
        self, x: Tensor, scope: str, filters: int, size: int, stride: int, **options: Any
    ) -> Tensor:
        """A convolution padded alike on both sides, as slim's ``conv2d_same`` is."""
        if stride == 1:
            return self.conv(x, scope, filters, size, **options)
        before = (size - 1) // 2
        sides = (before, size - 1 - before)
        x = self.tf.pad(x, ((0, 0), sides, sides, (0, 0)))
        return self.conv(x, scope, filters, size, stride, padding="VALID", **options)

    def max_pool(self, x: Tensor, size: int, stride: int, padding: str = "SAME") -> Tensor:
        """The largest of each window."""
        return self.tf.nn.max_pool2d(x, size, stride, padding)

    def global_pool(self, x: Tensor) -> Tensor:
        """Mean over the image; height and width become 1."""
        return self.tf.reduce_mean(x, (1, 2), keepdims=True)

    def logits(self, x: Tensor, scope: str, classes: int) -> Tensor:
        """A 1x1 convolution with a bias, to ``[batch, classes]``."""
        x = self.conv(x, scope, classes, 1, norm=False, bias=True)
        return self.tf.reshape(x, (-1, classes))


def images(shape: Sequence[int], seed: int = 0) -> Any:
    """Random images with values from -1 to 1."""
    draw = np.random.default_rng(seed)
    return draw.uniform(-1.0, 1.0, tuple(shape)).astype("float32")
