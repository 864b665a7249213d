"""TF1 graphs of plain layers, the Keras layers of the same names, and what the mapping is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from graphs_layers import Plain

MAPPING = "tf_layers__keras"
BATCH = 8
IMAGE = (6, 6, 4)
ROWS = 9

Graph = Callable[[Plain, Any], Any]


class Case(NamedTuple):
    """A TF1 graph and the layers of its Keras model.

    ``graph(net, x)`` makes the output, ``layers(keras.layers)`` those of a Sequential model.
    ``shape`` is that of one input, ``spread`` scales inputs.  ``archive``: the target is a
    ``.keras`` file.
    """

    name: str
    graph: Graph
    layers: Callable[[Any], list[Any]]
    shape: tuple[int, ...] = IMAGE
    params: Mapping[str, Any] = {}
    slim: bool = False
    ids: bool = False
    averages: bool = False
    archive: bool = False
    spread: float = 1.0


def inputs(case: Case, seed: int) -> Any:
    """A batch of random inputs."""
    draw = np.random.default_rng(seed)
    if case.ids:
        return draw.integers(0, ROWS, (BATCH, *case.shape)).astype("int32")
    return (case.spread * draw.normal(size=(BATCH, *case.shape))).astype("float32")


def _mlp(net: Plain, x: Any) -> Any:
    x = net.tf.nn.relu(net.norm(net.dense(x, "dense", 6)))
    return net.dense(x, "dense_1", 3)


def _mlp_layers(layers: Any, **options: Any) -> list[Any]:
    return [
        layers.Dense(6, name="dense"),
        layers.BatchNormalization(name="batch_normalization", **options),
        layers.ReLU(),
        layers.Dense(3, name="dense_1"),
    ]


def _cnn(net: Plain, x: Any) -> Any:
    x = net.tf.nn.relu(net.norm(net.conv2d(x, "conv2d", 4)))
    x = net.max_pool(net.conv2d(x, "conv2d_1", 5), 2, 2)
    return net.dense(net.flat(x), "dense", 3)


def _cnn_layers(layers: Any) -> list[Any]:
    return [
        layers.Conv2D(4, 3, padding="same", name="conv2d"),
        layers.BatchNormalization(name="batch_normalization"),
        layers.ReLU(),
        layers.Conv2D(5, 3, padding="same", name="conv2d_1"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(3, name="dense"),
    ]


def _slim(net: Plain, x: Any) -> Any:
    x = net.tf.nn.relu(net.conv2d(x, "Conv", 4))
    x = net.conv(x, "Conv_1", 4, 3, act=net.tf.nn.relu)
    x = net.depthwise_conv(x, "SeparableConv2d", 1)
    x = net.separable(x, "SeparableConv2d_1", 5, 1)
    x = net.transposed(x, "Conv2d_transpose", 2)
    x = net.dense(net.flat(x), "fully_connected", 4)
    with net.scope("fully_connected"):
        return net.norm(x, scale=False)


def _slim_layers(layers: Any) -> list[Any]:
    return [
        layers.Conv2D(4, 3, padding="same", activation="relu", name="Conv"),
        layers.Conv2D(4, 3, padding="same", use_bias=False, name="Conv_1"),
        layers.BatchNormalization(name="Conv_1_BatchNorm"),
        layers.ReLU(),
        layers.DepthwiseConv2D(3, padding="same", name="SeparableConv2d"),
        layers.SeparableConv2D(5, 3, padding="same", name="SeparableConv2d_1"),
        layers.Conv2DTranspose(2, 3, 2, padding="same", name="Conv2d_transpose"),
        layers.Flatten(),
        layers.Dense(4, name="fully_connected"),
        layers.BatchNormalization(scale=False, name="fully_connected_BatchNorm"),
    ]


def _scopes(net: Plain, x: Any) -> Any:
    with net.scope("net"):
        x = net.conv2d(x, "root", 4)
        with net.scope("block1"):
            x = net.norm(x)
            with net.scope("unit_1/bottleneck/inner"):
                x = net.separable(net.tf.nn.relu(x), "sep", 4, 1)
        return net.dense(net.flat(x), "head/logits", 3)


def _scopes_layers(layers: Any) -> list[Any]:
    return [
        layers.Conv2D(4, 3, padding="same", name="root"),
        layers.BatchNormalization(name="block1_batch_normalization"),
        layers.ReLU(),
        layers.SeparableConv2D(4, 3, padding="same", name="block1_unit_1_bottleneck_inner_sep"),
        layers.Flatten(),
        layers.Dense(3, name="head_logits"),
    ]


def _table(net: Plain, ids: Any) -> Any:
    with net.scope("net"):
        return net.dense(net.flat(net.table(ids, "word_table", ROWS, 4)), "dense", 3)


def _embedded(net: Plain, ids: Any) -> Any:
    with net.scope("EmbedSequence"):
        x = net.table(ids, "embeddings", ROWS, 4)
    return net.dense(net.flat(x), "fully_connected", 3)


def _text_layers(layers: Any, table: str, dense: str) -> list[Any]:
    return [
        layers.Embedding(ROWS, 4, name=table),
        layers.Flatten(),
        layers.Dense(3, name=dense),
    ]


def _norm_layers(layers: Any, **options: Any) -> list[Any]:
    return [
        layers.Dense(5, name="dense"),
        layers.BatchNormalization(name="batch_normalization", **options),
    ]


def _wide(net: Plain, x: Any) -> Any:
    x = net.dense(x, "fully_connected", 6)
    return net.grouped(x, "LayerNorm", 1, 1e-12)


def normed(layers: Any, name: str, groups: int, epsilon: float) -> list[Any]:
    """A convolution, and a norm of groups of its channels."""
    return [
        layers.Conv2D(4, 3, padding="same", name="Conv"),
        layers.GroupNormalization(groups, epsilon=epsilon, name=name),
    ]


def _normed(scope: str, groups: int, epsilon: float) -> Graph:
    return lambda net, x: net.grouped(net.conv2d(x, "Conv", 4), scope, groups, epsilon)


def _nchw(net: Plain, x: Any) -> Any:
    """What a net of NCHW images is from its last convolution on."""
    x = net.tf.transpose(net.tf.nn.relu(net.conv2d(x, "conv2d", 5)), (0, 3, 1, 2))
    return net.dense(net.flat(x), "dense", 3)


NCHW = Case(
    "nchw",
    _nchw,
    lambda layers: [
        layers.Conv2D(5, 3, padding="same", activation="relu", name="conv2d"),
        layers.Flatten(),
        layers.Dense(3, name="dense"),
    ],
    (4, 3, 4),
)

# Where the epsilon counts, the variance has to be small beside it.
CASES = [
    Case("mlp", _mlp, _mlp_layers, (6,), spread=0.1),
    Case("cnn", _cnn, _cnn_layers),
    Case("cnn_averages", _cnn, _cnn_layers, averages=True),
    Case(
        "separable",
        lambda net, x: net.separable(x, "separable_conv2d", 5, 2),
        lambda layers: [
            layers.SeparableConv2D(
                5, 3, padding="same", depth_multiplier=2, name="separable_conv2d"
            )
        ],
    ),
    Case(
        "depthwise",
        lambda net, x: net.depthwise_conv(x, "depthwise_conv2d", 2),
        lambda layers: [
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise_conv2d")
        ],
    ),
    Case(
        "transposed",
        lambda net, x: net.transposed(x, "conv2d_transpose", 4),
        lambda layers: [layers.Conv2DTranspose(4, 3, 2, padding="same", name="conv2d_transpose")],
    ),
    Case(
        "conv1d",
        lambda net, x: net.separable1d(net.conv1d(x, "conv1d", 4), "separable_conv1d", 3),
        lambda layers: [
            layers.Conv1D(4, 3, 2, padding="same", name="conv1d"),
            layers.SeparableConv1D(
                3, 3, padding="same", depth_multiplier=2, name="separable_conv1d"
            ),
        ],
        (7, 4),
    ),
    Case(
        "conv3d",
        lambda net, x: net.conv3d(x, "conv3d", 3),
        lambda layers: [layers.Conv3D(3, (2, 3, 3), padding="same", name="conv3d")],
        (3, 4, 4, 2),
    ),
    Case(
        "norm_no_scale",
        lambda net, x: net.norm(net.dense(x, "dense", 5), scale=False),
        lambda layers: _norm_layers(layers, scale=False),
        (5,),
        archive=True,
    ),
    Case(
        "norm_no_center",
        lambda net, x: net.norm(net.dense(x, "dense", 5), center=False),
        lambda layers: _norm_layers(layers, center=False),
        (5,),
        archive=True,
    ),
    Case(
        "renorm",
        lambda net, x: net.renorm(net.dense(x, "dense", 5)),
        _norm_layers,
        (5,),
    ),
    Case(
        "embedding",
        _table,
        lambda layers: _text_layers(layers, "word_table", "dense"),
        (3,),
        {"scope": "net/", "table": "word_table"},
        ids=True,
    ),
    Case(
        "embed_sequence",
        _embedded,
        lambda layers: _text_layers(layers, "EmbedSequence", "fully_connected"),
        (3,),
        slim=True,
        ids=True,
    ),
    Case(
        "layer_norm",
        _wide,
        lambda layers: [
            layers.Dense(6, name="fully_connected"),
            layers.LayerNormalization(epsilon=1e-12, name="LayerNorm"),
        ],
        (6,),
        slim=True,
        spread=0.1,
    ),
    Case(
        "layer_norm_images",
        _normed("LayerNorm", 1, 1e-12),
        lambda layers: normed(layers, "LayerNorm", 1, 1e-12),
        slim=True,
        spread=0.1,
    ),
    Case(
        "group_norm",
        _normed("GroupNorm", 2, 1e-6),
        lambda layers: normed(layers, "GroupNorm", 2, 1e-6),
        slim=True,
        spread=0.1,
    ),
    Case(
        "instance_norm",
        _normed("InstanceNorm", 4, 1e-6),
        lambda layers: normed(layers, "InstanceNorm", -1, 1e-6),
        slim=True,
        spread=0.1,
    ),
    Case("slim", _slim, _slim_layers, slim=True, archive=True),
    Case("scopes", _scopes, _scopes_layers, params={"scope": "net/"}),
]
BY_NAME = {case.name: case for case in (*CASES, NCHW)}
