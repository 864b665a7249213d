"""Image networks as TF1 code: layers, scopes and paddings of slim and of the TPU models.

Each function makes the logits of a network in the current graph.  Architectures and names are
those of ``tensorflow/models:research/slim/nets`` and
``tensorflow/tpu:models/official/efficientnet``.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import numpy as np
from tf1_layers import Layers, Tensor


def divisible(value: float, by: int = 8) -> int:
    """The multiple of ``by`` nearest to ``value``, and not more than a tenth below it."""
    new = max(by, int(value + by / 2) // by * by)
    return new + by if new < 0.9 * value else new


def vgg_16(net: Layers, x: Tensor, classes: int) -> Tensor:
    """VGG-16; the images have 224 pixels."""
    relu = net.tf.nn.relu
    options: dict[str, Any] = {"norm": False, "bias": True, "act": relu}
    with net.scope("vgg_16"):
        for block, (repeats, filters) in enumerate(
            ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512)), start=1
        ):
            for i in range(repeats):
                x = net.conv(x, f"conv{block}/conv{block}_{i + 1}", filters, 3, **options)
            x = net.max_pool(x, 2, 2, "VALID")
        x = net.conv(x, "fc6", 4096, 7, padding="VALID", **options)
        x = net.conv(x, "fc7", 4096, 1, **options)
        return net.logits(x, "fc8", classes)


def mobilenet_v1(net: Layers, x: Tensor, classes: int, alpha: float = 1.0) -> Tensor:
    """MobileNet v1."""
    relu6 = net.tf.nn.relu6
    blocks = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5]
    with net.scope("MobilenetV1"):
        x = net.conv(x, "Conv2d_0", max(8, int(32 * alpha)), 3, 2, act=relu6)
        for i, (filters, stride) in enumerate([*blocks, (1024, 2), (1024, 1)], start=1):
            x = net.depthwise(x, f"Conv2d_{i}_depthwise", 3, stride, act=relu6)
            x = net.conv(x, f"Conv2d_{i}_pointwise", max(8, int(filters * alpha)), 1, act=relu6)
        return net.logits(net.global_pool(x), "Logits/Conv2d_1c_1x1", classes)


def mobilenet_v2(net: Layers, x: Tensor, classes: int, alpha: float = 1.0) -> Tensor:
    """MobileNet v2; the last convolution does not shrink with ``alpha``."""
    relu6 = net.tf.nn.relu6
    with net.scope("MobilenetV2"):
        x = net.conv(x, "Conv", divisible(32 * alpha), 3, 2, act=relu6)
        number = 0
        for widen, filters, repeats, first in (
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ):
            for repeat in range(repeats):
                stride = first if repeat == 0 else 1
                with net.scope(f"expanded_conv_{number}" if number else "expanded_conv"):
                    inputs, out = x, divisible(filters * alpha)
                    if widen > 1:
                        x = net.conv(x, "expand", int(x.shape[-1]) * widen, 1, act=relu6)
                    x = net.depthwise(x, "depthwise", 3, stride, act=relu6)
                    x = net.conv(x, "project", out, 1)
                    if stride == 1 and int(inputs.shape[-1]) == out:
                        x = x + inputs
                number += 1
        x = net.conv(x, "Conv_1", divisible(1280 * max(alpha, 1.0)), 1, act=relu6)
        return net.logits(net.global_pool(x), "Logits/Conv2d_1c_1x1", classes)


# Kernel, width, output, squeeze-and-excite, hard swish, stride.
_V3 = {
    "large": (
        (3, 16, 16, 0, 0, 1),
        (3, 64, 24, 0, 0, 2),
        (3, 72, 24, 0, 0, 1),
        (5, 72, 40, 1, 0, 2),
        *[(5, 120, 40, 1, 0, 1)] * 2,
        (3, 240, 80, 0, 1, 2),
        (3, 200, 80, 0, 1, 1),
        *[(3, 184, 80, 0, 1, 1)] * 2,
        (3, 480, 112, 1, 1, 1),
        (3, 672, 112, 1, 1, 1),
        (5, 672, 160, 1, 1, 2),
        *[(5, 960, 160, 1, 1, 1)] * 2,
    ),
    "small": (
        (3, 16, 16, 1, 0, 2),
        (3, 72, 24, 0, 0, 2),
        (3, 88, 24, 0, 0, 1),
        (5, 96, 40, 1, 1, 2),
        *[(5, 240, 40, 1, 1, 1)] * 2,
        (5, 120, 48, 1, 1, 1),
        (5, 144, 48, 1, 1, 1),
        (5, 288, 96, 1, 1, 2),
        *[(5, 576, 96, 1, 1, 1)] * 2,
    ),
}


def mobilenet_v3(
    net: Layers,
    x: Tensor,
    classes: int,
    size: str = "large",
    minimalistic: bool = False,
    gate: float = 0.16667,
) -> Tensor:
    """MobileNet v3; ``gate`` is the factor of the squeeze-and-excite gate, rounded in slim."""
    relu, tf = net.tf.nn.relu, net.tf

    def hard_swish(y: Tensor) -> Tensor:
        return y * tf.nn.relu6(y + 3.0) * np.float32(1.0 / 6.0)

    act = relu if minimalistic else hard_swish
    biased: dict[str, Any] = {"norm": False, "bias": True}
    with net.scope("MobilenetV3"):
        x = net.conv(x, "Conv", 16, 3, 2, act=act)
        for i, (kernel, width, out, squeeze, swish, stride) in enumerate(_V3[size]):
            inner = hard_swish if swish and not minimalistic else relu
            with net.scope(f"expanded_conv_{i}" if i else "expanded_conv"):
                inputs = x
                if i:
                    x = net.conv(x, "expand", width, 1, act=inner)
                x = net.depthwise(x, "depthwise", 3 if minimalistic else kernel, stride, act=inner)
                if squeeze and not minimalistic:
                    with net.scope("squeeze_excite"):
                        y = net.global_pool(x)
                        y = net.conv(y, "Conv", divisible(width / 4), 1, act=relu, **biased)
                        y = net.conv(y, "Conv_1", width, 1, **biased)
                        x = x * (tf.nn.relu6(y + 3.0) * np.float32(gate))
                x = net.conv(x, "project", out, 1)
                if stride == 1 and int(inputs.shape[-1]) == out:
                    x = x + inputs
        x = net.conv(x, "Conv_1", 6 * int(x.shape[-1]), 1, act=act)
        x = net.global_pool(x)
        x = net.conv(x, "Conv_2", 1280 if size == "large" else 1024, 1, act=act, **biased)
        return net.logits(x, "Logits/Conv2d_1c_1x1", classes)


UNITS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet_v1(net: Layers, x: Tensor, classes: int, depth: int = 50) -> Tensor:
    """ResNet v1; the last unit of a block has the stride, on its 3x3 convolution."""
    relu = net.tf.nn.relu
    with net.scope(f"resnet_v1_{depth}"):
        x = net.max_pool(net.conv_same(x, "conv1", 64, 7, 2, act=relu), 3, 2)
        for block, units in enumerate(UNITS[depth]):
            out = 256 << block
            for unit in range(units):
                stride = 2 if unit == units - 1 and block < 3 else 1
                with net.scope(f"block{block + 1}/unit_{unit + 1}/bottleneck_v1"):
                    if int(x.shape[-1]) == out:
                        shortcut = net.max_pool(x, 1, stride) if stride > 1 else x
                    else:
                        shortcut = net.conv(x, "shortcut", out, 1, stride)
                    x = net.conv(x, "conv1", out // 4, 1, act=relu)
                    x = net.conv_same(x, "conv2", out // 4, 3, stride, act=relu)
                    x = relu(shortcut + net.conv(x, "conv3", out, 1))
        return net.logits(net.global_pool(x), "logits", classes)


def resnet_v2(net: Layers, x: Tensor, classes: int, depth: int = 50) -> Tensor:
    """ResNet v2: batch norm before the convolutions."""
    relu = net.tf.nn.relu
    biased: dict[str, Any] = {"norm": False, "bias": True}
    with net.scope(f"resnet_v2_{depth}"):
        x = net.max_pool(net.conv_same(x, "conv1", 64, 7, 2, **biased), 3, 2)
        for block, units in enumerate(UNITS[depth]):
            out = 256 << block
            for unit in range(units):
                stride = 2 if unit == units - 1 and block < 3 else 1
                with net.scope(f"block{block + 1}/unit_{unit + 1}/bottleneck_v2"):
                    x = _unit_v2(net, x, out, stride)
        net.norm_scope = "postnorm"
        x = relu(net.norm(x))
        net.norm_scope = "BatchNorm"
        return net.logits(net.global_pool(x), "logits", classes)


def _unit_v2(net: Layers, x: Tensor, out: int, stride: int) -> Tensor:
    relu = net.tf.nn.relu
    biased: dict[str, Any] = {"norm": False, "bias": True}
    net.norm_scope = "preact"
    preact = relu(net.norm(x))
    net.norm_scope = "BatchNorm"
    if int(x.shape[-1]) == out:
        shortcut = net.max_pool(x, 1, stride) if stride > 1 else x
    else:
        shortcut = net.conv(preact, "shortcut", out, 1, stride, **biased)
    y = net.conv(preact, "conv1", out // 4, 1, act=relu)
    y = net.conv_same(y, "conv2", out // 4, 3, stride, act=relu)
    return shortcut + net.conv(y, "conv3", out, 1, **biased)


# Width, depth, pixels.
EFFICIENTNETS = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
    "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456),
    "b6": (1.8, 2.6, 528),
    "b7": (2.0, 3.1, 600),
}
# Repeats, kernel, stride, widening, output.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def efficientnet(net: Layers, x: Tensor, classes: int, variant: str = "b0") -> Tensor:
    """EfficientNet; images have values from 0 to 255 and are normalised here."""
    wide, deep, _ = EFFICIENTNETS[variant]
    swish = net.tf.nn.silu
    mean, spread = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
    x = (x - mean * 255) / (spread * 255)
    with net.scope(f"efficientnet-{variant}"):
        with net.scope("stem"):
            x = _Numbered(net).conv(x, divisible(32 * wide), 3, 2, act=swish)
        number = 0
        for repeats, kernel, first, widen, filters in _STAGES:
            for repeat in range(ceil(deep * repeats)):
                with net.scope(f"blocks_{number}"):
                    stride, out = first if repeat == 0 else 1, divisible(filters * wide)
                    x = _mbconv(net, x, kernel, stride, widen, out)
                number += 1
        with net.scope("head"):
            x = _Numbered(net).conv(x, divisible(1280 * wide), 1, act=swish)
            x = net.tf.reduce_mean(x, (1, 2))
            with net.scope("dense"):
                size = int(x.shape[-1])
                w = net.variable("kernel", (size, classes), size**-0.5)
                return x @ w + net.variable("bias", (classes,), 0.1)


def _mbconv(net: Layers, x: Tensor, kernel: int, stride: int, widen: int, out: int) -> Tensor:
    swish, layers = net.tf.nn.silu, _Numbered(net)
    inputs, size = x, int(x.shape[-1])
    if widen > 1:
        x = layers.conv(x, size * widen, 1, act=swish)
    x = layers.depthwise(x, kernel, stride, act=swish)
    with net.scope("se"):
        inner = _Numbered(net)
        y = inner.conv(net.global_pool(x), max(1, size // 4), 1, act=swish, bias=True)
        y = inner.conv(y, int(x.shape[-1]), 1, bias=True)
    x = layers.conv(x * net.tf.sigmoid(y), out, 1)
    return x + inputs if stride == 1 and size == out else x


class _Numbered:
    """Layers with the names that ``tf.layers`` counts up within one scope."""

    def __init__(self, net: Layers) -> None:
        self._net = net
        self._counts: dict[str, int] = {}

    def conv(self, x: Tensor, filters: int, size: int, stride: int = 1, **options: Any) -> Tensor:
        """A convolution with a bias, or with batch norm."""
        act, bias = options.get("act"), options.get("bias", False)
        names: dict[str, Any] = {"kernel": "kernel", "offset": "bias", "norm": False, "bias": bias}
        x = self._net.conv(
            x, self._next("conv2d"), filters, size, stride, act=act if bias else None, **names
        )
        return x if bias else self._norm(x, act)

    def depthwise(self, x: Tensor, size: int, stride: int, act: Any) -> Tensor:
        """A depthwise convolution with batch norm."""
        scope = self._next("depthwise_conv2d")
        x = self._net.depthwise(x, scope, size, stride, norm=False, kernel="depthwise_kernel")
        return self._norm(x, act)

    def _norm(self, x: Tensor, act: Any) -> Tensor:
        self._net.norm_scope = self._next("tpu_batch_normalization")
        x = self._net.norm(x)
        return act(x) if act else x

    def _next(self, stem: str) -> str:
        number = self._counts.get(stem, 0)
        self._counts[stem] = number + 1
        return f"{stem}_{number}" if number else stem
