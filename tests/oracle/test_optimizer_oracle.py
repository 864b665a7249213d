"""A TF1 model and its optimizer's state in Keras: training goes on as it would have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import open_checkpoint
from ckpttool.mapping.remap import remap

pytestmark = pytest.mark.oracle

RULES = {
    "rules": [
        {"from": "net/hidden/{p}", "to": "hidden/{p}"},
        {"from": "net/top/w", "to": "top/kernel", "apply": ["transpose"]},
        {"from": "net/top/b", "to": "top/bias"},
        {"from": "global_step", "drop": True},
    ],
    "unmatched": "drop",
}
RATE = 0.05


# Name here to TF1's optimizer, Keras' one, and what the mapping calls it.
CASES: dict[str, tuple[Any, Any, str]] = {
    "adam": (
        lambda train: train.AdamOptimizer(RATE),
        lambda kinds: kinds.Adam(RATE, epsilon=1e-8),
        "adam",
    ),
    "momentum": (
        lambda train: train.MomentumOptimizer(RATE, 0.9),
        lambda kinds: kinds.SGD(RATE, 0.9),
        "momentum",
    ),
    "rmsprop": (
        lambda train: train.RMSPropOptimizer(RATE, momentum=0.5),
        lambda kinds: kinds.RMSprop(RATE, momentum=0.5, epsilon=1e-10),
        "rmsprop",
    ),
    "centered": (
        lambda train: train.RMSPropOptimizer(RATE, centered=True),
        lambda kinds: kinds.RMSprop(RATE, centered=True, epsilon=1e-10),
        "rmsprop_centered",
    ),
    "adagrad": (
        lambda train: train.AdagradOptimizer(RATE),
        lambda kinds: kinds.Adagrad(RATE),
        "adagrad",
    ),
    "adadelta": (
        lambda train: train.AdadeltaOptimizer(RATE),
        lambda kinds: kinds.Adadelta(RATE, epsilon=1e-8),
        "adadelta",
    ),
    "ftrl": (lambda train: train.FtrlOptimizer(RATE), lambda kinds: kinds.Ftrl(RATE), "ftrl"),
}


def keras_model(optimizer: Any) -> Any:
    import keras

    model = keras.Sequential(
        [
            keras.layers.Input((3,)),
            keras.layers.Dense(4, activation="tanh", name="hidden"),
            keras.layers.Dense(2, name="top"),
        ]
    )
    optimizer.build(model.trainable_variables)
    model.compile(optimizer=optimizer, loss="mse")
    return model


@pytest.mark.parametrize("name", sorted(CASES))
def test_training_goes_on(tf: Any, tmp_path: Path, name: str) -> None:
    draw = np.random.default_rng(3)
    x = draw.normal(size=(16, 3)).astype(np.float32)
    y = draw.normal(size=(16, 2)).astype(np.float32)
    v1 = tf.compat.v1
    old, new, kind = CASES[name]
    weights = {}
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("net"):
            hidden = v1.get_variable("hidden/kernel", (3, 4), use_resource=True)
            bias = v1.get_variable("hidden/bias", (4,), use_resource=True)
            top = v1.get_variable("top/w", (2, 4), use_resource=True)
            last = v1.get_variable("top/b", (2,), use_resource=True)
        out = tf.tanh(x @ hidden + bias) @ tf.transpose(top) + last
        loss = tf.reduce_mean(tf.square(out - y))
        step = v1.train.get_or_create_global_step()
        train = old(v1.train).minimize(loss, global_step=step)
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver()
        for _ in range(5):
            session.run(train)
        prefix = saver.save(session, str(tmp_path / "model.ckpt"))
        for _ in range(5):
            session.run(train)
        weights = dict(
            zip(("h", "b", "t", "l"), session.run([hidden, bias, top, last]), strict=True)
        )
    template = str(tmp_path / "template.weights.h5")
    import keras

    model = keras_model(new(keras.optimizers))
    model.save_weights(template)
    with open_checkpoint(prefix) as checkpoint:
        remap(
            checkpoint,
            RULES,
            str(tmp_path / "out.weights.h5"),
            like=template,
            optimizer=f"{kind},learning_rate={RATE}",
        )
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Keras only warns of an optimizer that does not fit
        model.load_weights(str(tmp_path / "out.weights.h5"))
    assert int(model.optimizer.iterations) == 5
    for _ in range(5):
        model.train_on_batch(x, y)
    found = [variable.numpy() for variable in model.trainable_variables]
    for value, expected in zip(
        found, (weights["h"], weights["b"], weights["t"].T, weights["l"]), strict=True
    ):
        assert np.abs(value - expected).max() < 2e-6
