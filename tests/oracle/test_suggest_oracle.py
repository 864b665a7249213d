"""Drafts from real TF1 checkpoints to real Keras models, carried out and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mapping.suggest.pairs import APPLICATIONS, Known, measure
from mapping.suggest.pairs import truth as origins_of
from oracle.suggest_pairs import SMALL, truth

from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli.main import execute
from ckpttool.mapping.like.template import live_template, load_template
from ckpttool.mapping.suggest.draft import draft, suggest
from ckpttool.mapping.suggest.units import SourceTensor

pytestmark = pytest.mark.oracle
pytest.importorskip("lap", reason="the suggest extra is not installed")


@pytest.fixture(scope="module")
def keras(tf: Any) -> Any:
    return pytest.importorskip("keras")


def _save(tf: Any, shapes: dict[str, tuple[int, ...]], prefix: str) -> None:
    """A TF1 checkpoint of trained variables with Adam's slots, a step and a graph."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        for name, shape in shapes.items():
            moving = "moving_" in name
            start = v1.random_normal_initializer()
            v1.get_variable(name, shape, initializer=start, trainable=not moving)
        v1.train.get_or_create_global_step()
        loss = sum(tf.reduce_sum(item * item) for item in v1.trainable_variables())
        v1.train.AdamOptimizer().minimize(loss)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, prefix)


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("graph", [True, False], ids=["graph", "names"])
@pytest.mark.parametrize("form", ["keras", "weights.h5"])
def test_every_tensor_of_a_small_pair_is_told(
    tf: Any, keras: Any, tmp_path: Path, name: str, graph: bool, form: str
) -> None:
    small = SMALL[name]()
    prefix = str(tmp_path / "model")
    _save(tf, small.tensors, prefix)
    if not graph:
        Path(prefix + ".meta").unlink()
    keras.backend.clear_session()
    model = small.model(keras)
    like = str(tmp_path / f"like.{form}")
    if form == "keras":
        model.save(like)
    else:
        model.save_weights(like)
    template = load_template(like)
    with open_checkpoint(prefix) as checkpoint:
        made = suggest(checkpoint, template)
    told = {
        target: set(line.sources)
        for rule in made.rules
        for line in rule.lines
        for target in line.targets
    }
    known = truth(small, model)
    assert told == {template.by_key[template.resolve(k) or k].name: v for k, v in known.items()}
    mapping, output = tmp_path / "m.yaml", tmp_path / "out.weights.h5"
    assert execute(["suggest", prefix, "--like", like, "-o", str(mapping)]) == 0
    command = ["remap", prefix, "-m", str(mapping), "--like", like, "-o", str(output), "-q"]
    assert execute(command) == 0
    model.load_weights(str(output))
    with open_checkpoint(prefix) as checkpoint:
        for path, sources in known.items():
            values = {v.path: v.numpy() for v in model.variables}[path]
            if len(sources) > 1 or "lstm" in path:
                continue
            stored = checkpoint.reader.read(next(iter(sources)))
            if stored.size == values.size:
                np.testing.assert_array_equal(values.ravel(), stored.ravel())


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def test_a_migrated_lstm_computes_what_tf1s_cell_does(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix, like = str(tmp_path / "model"), str(tmp_path / "like.keras")
    stem = "rnn/basic_lstm_cell"
    _save(tf, {f"{stem}/kernel": (3 + 4, 16), f"{stem}/bias": (16,)}, prefix)
    keras.backend.clear_session()
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.LSTM(4)])
    model.save(like)
    mapping, output = str(tmp_path / "m.yaml"), str(tmp_path / "o.weights.h5")
    assert execute(["suggest", prefix, "--like", like, "-o", mapping]) == 0
    assert execute(["remap", prefix, "-m", mapping, "--like", like, "-o", output, "-q"]) == 0
    model.load_weights(output)
    x = np.random.default_rng(1).normal(size=(2, 5, 3)).astype(np.float32)
    with open_checkpoint(prefix) as checkpoint:
        kernel = checkpoint.reader.read(f"{stem}/kernel")
        bias = checkpoint.reader.read(f"{stem}/bias")
    cell = state = np.zeros((2, 4), np.float32)
    for step in range(5):
        gates = np.concatenate([x[:, step], state], 1) @ kernel + bias
        i, j, f, o = np.split(gates, 4, 1)
        cell = cell * _sigmoid(f + 1.0) + _sigmoid(i) * np.tanh(j)
        state = np.tanh(cell) * _sigmoid(o)
    np.testing.assert_allclose(model.predict(x, verbose=0), state, atol=1e-6)


def test_a_migrated_gru_computes_what_tf1s_cell_does(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix, like = str(tmp_path / "model"), str(tmp_path / "like.keras")
    stem = "rnn/gru_cell"
    shapes: dict[str, tuple[int, ...]] = {
        f"{stem}/gates/kernel": (3 + 4, 8), f"{stem}/gates/bias": (8,),
        f"{stem}/candidate/kernel": (3 + 4, 4), f"{stem}/candidate/bias": (4,),
    }  # fmt: skip
    _save(tf, shapes, prefix)
    keras.backend.clear_session()
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.GRU(4, reset_after=False)])
    model.save(like)
    mapping, output = str(tmp_path / "m.yaml"), str(tmp_path / "o.weights.h5")
    assert execute(["suggest", prefix, "--like", like, "-o", mapping]) == 0
    assert execute(["remap", prefix, "-m", mapping, "--like", like, "-o", output, "-q"]) == 0
    model.load_weights(output)
    x = np.random.default_rng(1).normal(size=(2, 5, 3)).astype(np.float32)
    with open_checkpoint(prefix) as checkpoint:
        gates, low, last, high = (checkpoint.reader.read(name) for name in shapes)
    state = np.zeros((2, 4), np.float32)
    for step in range(5):
        both = np.concatenate([x[:, step], state], 1)
        r, u = np.split(_sigmoid(both @ gates + low), 2, 1)
        c = np.tanh(np.concatenate([x[:, step], r * state], 1) @ last + high)
        state = u * state + (1 - u) * c
    np.testing.assert_allclose(model.predict(x, verbose=0), state, atol=1e-6)


@pytest.mark.parametrize(
    "known",
    [item for item in APPLICATIONS
     if item.name in ("slim mobilenet_v3 small", "slim inception_v3", "slim resnet_v2_50")],
    ids=lambda known: known.name,
)  # fmt: skip
def test_every_tensor_of_a_published_network_is_told_by_names_alone(
    keras: Any, known: Known
) -> None:
    keras.backend.clear_session()
    with live_template(known.model(keras)) as template:
        tensors, origins = origins_of(known, template)
        source = [SourceTensor(name, "float32", shape) for name, shape in tensors]
        score = measure(draft(source, template, source=known.name), origins)
    assert score.wrong == 0
    assert score.right == score.total
