"""Keras models of every shape that its files take, and copies of their files by our writers.

Nothing here imports Keras: it is handed in, whatever its version.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.formats.registry import open_located, open_reader
from ckpttool.formats.targets import TARGETS
from ckpttool.formats.writing import Output, WriteOptions, Written


def sequential(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, name="conv_a"),
            layers.BatchNormalization(name="norm"),
            layers.DepthwiseConv2D(3),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(5, activation="relu"),
            layers.Dense(2, name="out"),
        ]
    )


def functional(keras: Any) -> Any:
    layers = keras.layers
    ids, dense = keras.Input((7,), dtype="int32"), keras.Input((7, 4))
    shared = layers.Dense(4, name="shared")
    x = layers.Embedding(11, 4)(ids)
    x = layers.Add()([shared(x), shared(dense)])
    x = layers.LayerNormalization()(x)
    x = layers.Conv1D(3, 2)(x)
    return keras.Model([ids, dense], layers.Dense(2)(x))


def nested(keras: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential(
        [layers.Dense(3, name="in_a"), layers.BatchNormalization(), layers.Dense(3, name="in_b")],
        name="inner",
    )
    inputs = keras.Input((4,))
    return keras.Model(inputs, layers.Dense(2, name="head")(inner(inputs)))


def recurrent(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((5, 4)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.GRU(3, return_sequences=True),
            layers.TimeDistributed(layers.Dense(3)),
            layers.RNN([layers.LSTMCell(3), layers.GRUCell(2)]),
        ]
    )


def attention(keras: Any) -> Any:
    layers = keras.layers
    inputs = keras.Input((5, 4))
    x = layers.MultiHeadAttention(2, 3)(inputs, inputs)
    return keras.Model(inputs, layers.Dense(2)(layers.LayerNormalization()(x)))


MODELS: dict[str, Callable[[Any], Any]] = {
    "sequential": sequential,
    "functional": functional,
    "nested": nested,
    "recurrent": recurrent,
    "attention": attention,
}


def built(keras: Any, name: str, seed: int) -> Any:
    """A model with an optimizer that has its slots; all its variables random."""
    keras.backend.clear_session()
    model = MODELS[name](keras)
    model.compile("adam", keras.losses.MeanSquaredError())
    model.optimizer.build(model.trainable_variables)
    rng = np.random.default_rng(seed)
    for variable in (*model.weights, *optimizer_variables(model)):
        value = rng.integers(1, 99, tuple(variable.shape))
        if "float" in str(variable.dtype):
            value = rng.standard_normal(tuple(variable.shape))
        variable.assign(value)
    return model


def optimizer_variables(model: Any) -> list[Any]:
    found = model.optimizer.variables
    return list(found() if callable(found) else found)


def assert_same(a: Any, b: Any, *, optimizer: bool = False) -> None:
    """Every weight has the same bits, and so the optimizer's if asked for."""
    pairs = list(zip(a.weights, b.weights, strict=True))
    if optimizer:
        pairs += zip(optimizer_variables(a), optimizer_variables(b), strict=True)
    assert pairs
    for one, other in pairs:
        ours, theirs = np.asarray(one), np.asarray(other)
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes(), one.name


def load(model: Any, path: Path, **options: Any) -> Any:
    """``load_weights``, with every warning an error."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.load_weights(str(path), **options)
    return model


def rewrite(
    kind: str, source: Path, path: Path, template: Path | None = None, **options: Any
) -> Written:
    """Copy a Keras file through our reader and a writer, reading it back before it is kept."""
    told = WriteOptions(template=str(template) if template else None, **options)
    with (
        closing(open_reader(str(source))) as reader,
        TARGETS[kind].open()(str(path), options=told, sources=reader.info.files) as writer,
    ):
        specs = [(spec.name, spec.dtype, spec.shape) for spec in reader.specs.values()]
        assert not list(TARGETS[kind].refusals()(specs, told))
        for name, dtype, shape in specs:
            writer.declare(
                Output(
                    name, dtype, shape,
                    lambda name=name: (chunk.array for chunk in reader.chunks(name, 64)),
                )
            )  # fmt: skip
        with writer.flushing():
            writer.write()
        with closing(open_located(writer.staged())) as back:
            assert back.info.damage == ()
            assert dict(back.specs) == dict(reader.specs)
            for name in back.specs:
                assert back.read(name).tobytes() == reader.read(name).tobytes()
        return writer.commit()
