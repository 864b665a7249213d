"""TF1 graphs with the variables of canned estimators and of sharded tables, and Keras models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from tf1_layers import Layers

ESTIMATOR = "tf_estimator__keras"
EMBEDDING = "sharded_embedding__keras"
BATCH, CLASSES, UNITS = 16, 3, 6
IDS, WORDS, DIM = 7, 5, 3  # of the columns cat and word; of the embedding of cat
ROWS, SHARDS = 11, 3  # of a table whose shards are not of one size


class Case(NamedTuple):
    """A graph and the Keras model that it becomes; ``inputs(seed)`` is a batch."""

    name: str
    mapping: str
    graph: Callable[[Layers, Any], Any]
    model: Callable[[Any], Any]
    inputs: Callable[[int], Any]
    params: Mapping[str, Any] = {}


# Columns a, cat, word and x of an estimator, as one array: a number, two ids, two numbers.


def columns(seed: int) -> Any:
    """A batch of examples."""
    draw = np.random.default_rng(seed)
    numbers = draw.normal(size=(BATCH, 3))
    ids = draw.integers(0, IDS, (BATCH, 1)), draw.integers(0, WORDS, (BATCH, 1))
    return np.concatenate([numbers[:, :1], *ids, numbers[:, 1:]], 1).astype("float32")


def _rows(net: Layers, name: str, shape: tuple[int, ...], parts: int) -> Any:
    """A variable, or parts of it that are variables of their own."""
    if parts == 1:
        return net.variable(name, shape, 0.5)
    bounds = np.linspace(0, shape[0], parts + 1).astype(int)
    sizes = [int(size) for size in np.diff(bounds)]
    made = [
        net.variable(f"{name}/part_{k}", (size, *shape[1:]), 0.5) for k, size in enumerate(sizes)
    ]
    return net.tf.concat(made, 0)


def _dnn(net: Layers, packed: Any, parts: int = 1, norm: bool = True) -> Any:
    tf = net.tf
    with net.scope("dnn"):
        table = _rows(
            net,
            "input_from_feature_columns/input_layer/cat_embedding/embedding_weights",
            (IDS, DIM),
            parts,
        )
        # Sorted by name: a, cat_embedding, word_indicator, x.
        flow = tf.concat(
            [
                packed[:, :1],
                tf.gather(table, tf.cast(packed[:, 1], "int32")),
                tf.one_hot(tf.cast(packed[:, 2], "int32"), WORDS),
                packed[:, 3:],
            ],
            1,
        )
        width = 1 + DIM + WORDS + 2
        for k in range(2):
            with net.scope(f"hiddenlayer_{k}"):
                flow = flow @ _rows(net, "kernel", (width, UNITS), parts)
                flow = tf.nn.relu(flow + net.variable("bias", (UNITS,), 0.3))
                if norm:
                    net.norm_scope = f"batchnorm_{k}"
                    flow = net.norm(flow)
            width = UNITS
        with net.scope("logits"):
            flow = flow @ _rows(net, "kernel", (UNITS, CLASSES), parts)
            return flow + net.variable("bias", (CLASSES,), 0.3)


def _linear(net: Layers, packed: Any, parts: int = 1) -> Any:
    tf = net.tf
    fed = {
        "a": packed[:, :1],
        "cat": tf.one_hot(tf.cast(packed[:, 1], "int32"), IDS),
        "word": tf.one_hot(tf.cast(packed[:, 2], "int32"), WORDS),
        "x": packed[:, 3:],
    }
    with net.scope("linear/linear_model"):
        flows = []
        for name, value in fed.items():
            split = parts if name in ("cat", "word") else 1
            weights = _rows(net, f"{name}/weights", (int(value.shape[-1]), CLASSES), split)
            flows.append(value @ weights)
        return tf.add_n(flows) + net.variable("bias_weights", (CLASSES,), 0.3)


def _combined(net: Layers, packed: Any, parts: int = 1) -> Any:
    return _dnn(net, packed, parts) + _linear(net, packed, parts)


def _keras_dnn(keras: Any, packed: Any, order: str = "acwx", norm: bool = True) -> Any:
    layers, ops = keras.layers, keras.ops
    columns = {
        "a": packed[:, :1],
        "c": layers.Embedding(IDS, DIM, name="cat_embedding")(ops.cast(packed[:, 1], "int32")),
        "w": ops.one_hot(ops.cast(packed[:, 2], "int32"), WORDS),
        "x": packed[:, 3:],
    }
    flow = layers.Concatenate()([columns[letter] for letter in order])
    for k in range(2):
        flow = layers.Dense(UNITS, activation="relu", name=f"hiddenlayer_{k}")(flow)
        if norm:
            flow = layers.BatchNormalization(name=f"batchnorm_{k}")(flow)
    return layers.Dense(CLASSES, name="logits")(flow)


def _keras_linear(keras: Any, packed: Any) -> Any:
    layers, ops = keras.layers, keras.ops
    fed = {
        "a": packed[:, :1],
        "cat": ops.one_hot(ops.cast(packed[:, 1], "int32"), IDS),
        "word": ops.one_hot(ops.cast(packed[:, 2], "int32"), WORDS),
        "x": packed[:, 3:],
    }
    flows = [
        layers.Dense(CLASSES, use_bias=name == "a", name=f"linear_{name}")(value)
        for name, value in fed.items()
    ]
    return layers.Add()(flows)


def _of_columns(build: Callable[..., Any]) -> Callable[[Any], Any]:
    def model(keras: Any) -> Any:
        packed = keras.Input((5,))
        return keras.Model(packed, build(keras, packed))

    return model


def disordered(keras: Any) -> Any:
    """A mistake: the columns in another order, though all shapes fit."""
    packed = keras.Input((5,))
    return keras.Model(packed, _keras_dnn(keras, packed, order="xcwa"[::-1]))


def _both(keras: Any, packed: Any) -> Any:
    return keras.layers.Add()([_keras_dnn(keras, packed), _keras_linear(keras, packed)])


# A table in shards.


def ids(seed: int) -> Any:
    """A batch of ids, all of them in it."""
    draw = np.random.default_rng(seed)
    return draw.permutation(np.arange(4 * ROWS) % ROWS).reshape(4, ROWS).astype("int32")


def _sharded(strategy: str) -> Callable[[Layers, Any], Any]:
    def graph(net: Layers, packed: Any) -> Any:
        sizes = [(ROWS + SHARDS - 1 - k) // SHARDS for k in range(SHARDS)]
        with net.scope("net"):
            shards = [net.variable(f"emb_{k}", (size, DIM), 0.7) for k, size in enumerate(sizes)]
        v1 = net.v1
        found = v1.nn.embedding_lookup(shards, packed, partition_strategy=strategy)
        return net.tf.identity(found)

    return graph


def _table(keras: Any) -> Any:
    packed = keras.Input((ROWS,), dtype="int32")
    return keras.Model(packed, keras.layers.Embedding(ROWS, DIM, name="words")(packed))


_SHARDS = {"shards": "net/emb_", "layer": "words"}
CASES = (
    Case("dnn", ESTIMATOR, _dnn, _of_columns(_keras_dnn), columns),
    Case(
        "dnn_plain",
        ESTIMATOR,
        lambda net, packed: _dnn(net, packed, norm=False),
        _of_columns(lambda keras, packed: _keras_dnn(keras, packed, norm=False)),
        columns,
    ),
    Case("linear", ESTIMATOR, _linear, _of_columns(_keras_linear), columns, {"bias": "a"}),
    Case("combined", ESTIMATOR, _combined, _of_columns(_both), columns, {"bias": "a"}),
    Case(
        "parts",
        ESTIMATOR,
        lambda net, packed: _combined(net, packed, 2),
        _of_columns(_both),
        columns,
        {"bias": "a"},
    ),
    Case("mod", EMBEDDING, _sharded("mod"), _table, ids, _SHARDS),
    Case("div", EMBEDDING, _sharded("div"), _table, ids, {**_SHARDS, "strategy": "div"}),
)
BY_NAME = {case.name: case for case in CASES}
