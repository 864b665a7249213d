"""A TF1 model and its optimizer's state in Keras: training goes on as it would have."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from remap_support import write_bundle

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


def keras_model(keras: Any, optimizer: Any) -> Any:
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


def _goes_on(tf: Any, tmp_path: Path, name: str, keras: Any, *, tf2: bool) -> None:
    """Train on here and there, from a state that was carried over."""
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
    model = keras_model(keras, new(keras.optimizers))
    if tf2:
        template = tf.train.Checkpoint(model=model).save(str(tmp_path / "like" / "model.ckpt"))
    else:
        template = str(tmp_path / "template.weights.h5")
        model.save_weights(template)
    output = str(tmp_path / ("out/model.ckpt" if tf2 else "out.weights.h5"))
    with open_checkpoint(prefix) as checkpoint:
        asked = f"{kind},learning_rate={RATE}"
        to = "tf2" if tf2 else "keras"
        remap(checkpoint, RULES, output, to=to, like=template, optimizer=asked)
    if tf2:
        status = tf.train.Checkpoint(model=model).restore(output)
        status.assert_existing_objects_matched()
        status.assert_consumed()
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Keras only warns of an optimizer that does not fit
            model.load_weights(output)
    assert int(model.optimizer.iterations) == 5
    for _ in range(5):
        model.train_on_batch(x, y)
    found = [variable.numpy() for variable in model.trainable_variables]
    for value, expected in zip(
        found, (weights["h"], weights["b"], weights["t"].T, weights["l"]), strict=True
    ):
        assert np.abs(value - expected).max() < 2e-6


@pytest.mark.parametrize("name", sorted(CASES))
def test_training_goes_on(tf: Any, tmp_path: Path, name: str) -> None:
    keras = pytest.importorskip("keras")
    _goes_on(tf, tmp_path, name, keras, tf2=False)


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_training_goes_on_from_a_tf2_checkpoint(
    tf: Any, tmp_path: Path, name: str, library: str
) -> None:
    keras = pytest.importorskip(library)
    _goes_on(tf, tmp_path, name, keras, tf2=True)


@pytest.mark.parametrize("library", ["keras", "tf_keras"])
def test_each_slot_goes_to_its_own_weight(tf: Any, tmp_path: Path, library: str) -> None:
    """All shapes are alike, and the object graph has beta before gamma."""
    keras = pytest.importorskip(library)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((4,)),
            layers.Dense(4, name="hidden"),
            layers.BatchNormalization(name="norm"),
            layers.Dense(4, name="top"),
        ]
    )
    model.compile(optimizer=keras.optimizers.Adam(RATE), loss="mse")
    model.optimizer.build(model.trainable_variables)
    names = [
        "hidden/kernel", "hidden/bias", "norm/gamma", "norm/beta", "top/kernel", "top/bias",
        "norm/moving_mean", "norm/moving_variance",
    ]  # fmt: skip
    source: dict[str, Any] = {"global_step": np.array(7, np.int64)}
    for number, name in enumerate(names):
        source[name] = np.full((4, 4) if "kernel" in name else (4,), number, np.float32)
        if "moving" not in name:
            source[f"{name}/Adam"] = source[name] + 10
            source[f"{name}/Adam_1"] = source[name] + 20
    write_bundle(tmp_path / "m", source)
    like = tf.train.Checkpoint(model=model).save(str(tmp_path / "like" / "model.ckpt"))
    rules = {"rules": [{"from": "{p:path}", "to": "{p}", "where": {"p": names}}],
             "unmatched": "drop"}  # fmt: skip
    output = str(tmp_path / "out" / "model.ckpt")
    with open_checkpoint(str(tmp_path / "m")) as checkpoint:
        asked = "adam,learning_rate=0.125"
        remap(checkpoint, rules, output, to="tf2", like=like, optimizer=asked)
    tf.train.Checkpoint(model=model).restore(output).assert_consumed()
    optimizer = model.optimizer
    assert (int(optimizer.iterations), float(optimizer.learning_rate)) == (7, 0.125)
    for number, variable in enumerate(model.trainable_variables):
        assert np.all(variable.numpy() == number)
        assert np.all(optimizer._momentums[number].numpy() == 10 + number)
        assert np.all(optimizer._velocities[number].numpy() == 20 + number)
