"""Proofs of the mappings of recurrent cells: outputs of TF1 graphs and of Keras layers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases_rnn import (
    BASIC,
    BATCH,
    BY_NAME,
    CASES,
    GRU,
    LENGTHS,
    LSTM,
    STEPS,
    WIDTH,
    Case,
    seq,
    ways,
)
from proof_support import Measured, Source, measure, proves, refutes, remap, tf1_source

from ckpttool.errors import CkptError

pytestmark = pytest.mark.oracle

ERROR = 5e-7


class Made(NamedTuple):
    """A checkpoint, the Keras model to fill, and the file of that model."""

    source: Source
    model: Any
    like: Path


def _inputs(case: Case, seed: int) -> Any:
    draw = np.random.default_rng(seed)
    if case.ids:
        return draw.integers(0, 9, (BATCH, STEPS)).astype("int32")
    return draw.normal(size=(BATCH, STEPS, WIDTH)).astype("float32")


def _trained(tf: Any) -> Callable[[Any], list[Any]]:
    """What a step of Adam leaves."""

    def adam(y: Any) -> list[Any]:
        v1 = tf.compat.v1
        step = v1.train.get_or_create_global_step()
        return [v1.train.AdamOptimizer(1e-3).minimize(tf.reduce_mean(tf.square(y)), step)]

    return adam


def make(tf: Any, keras: Any, case: Case, folder: Path) -> Made:
    """The TF1 checkpoint of a case, and its Keras model."""
    source = tf1_source(
        tf,
        folder / "model.ckpt",
        [_inputs(case, 1), _inputs(case, 2)],
        lambda x, calibrating: (case.graph(tf, x), ()),
        batch=_inputs(case, 3),
        finish=_trained(tf) if case.name in ("model", "lstm_multi") else None,
    )
    model = keras_model(keras, case)
    model.save_weights(folder / "target.weights.h5")
    return Made(source, model, folder / "target.weights.h5")


def keras_model(keras: Any, case: Case) -> Any:
    """The model that a case is loaded into."""
    keras.utils.clear_session()
    shape, dtype = ((STEPS,), "int32") if case.ids else ((STEPS, WIDTH), "float32")
    return keras.Sequential([keras.Input(shape, dtype=dtype), *case.layers(keras.layers)])


def measured(case: Case, made: Made, **options: Any) -> Measured:
    """How far the Keras model is from the TF1 graph, on valid steps."""
    filled = made.like.with_name("filled.weights.h5")
    source = made.source.prefix
    if case.first:
        source = made.like.with_name("renamed.ckpt")
        remap(made.source.prefix, case.first, source)
    remap(source, case.mapping, filled, like=made.like, params=case.params, **options)
    made.model.load_weights(filled)
    valid = np.ones((BATCH, STEPS), bool)
    if case.lengths:
        valid = np.arange(STEPS) < np.asarray(LENGTHS)[:, None]
    mask = {"mask": valid} if case.lengths else {}
    layers = made.model.layers[0] if case.lengths else made.model
    found = [np.asarray(layers(x, **mask)) for x in made.source.inputs]
    return measure([y[valid] for y in made.source.outputs], [y[valid] for y in found])


@pytest.fixture(scope="module")
def made(tf: Any, keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Made]:
    """Makes each case once."""
    known: dict[str, Made] = {}

    def get(case: Case) -> Made:
        if case.name not in known:
            known[case.name] = make(tf, keras, case, tmp_path_factory.mktemp(case.name))
        return known[case.name]

    return get


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_outputs_are_equal(case: Case, made: Callable[[Case], Made]) -> None:
    found = measured(case, made(case))
    proves(f"{case.mapping}: {case.name}", found, error=ERROR, sensitivity=0.3)


# What `real_cells.py` makes: the mapping, the layers, parameters.
REAL: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "basic_lstm": (LSTM, seq("LSTM", "lstm"), {}),
    "lstm": (LSTM, seq("LSTM", "lstm"), {"forget_bias": 0.5}),
    "lstm_multi": (LSTM, seq("LSTM", "lstm", "lstm_1"), {}),
    "lstm_both": (LSTM, ways("LSTM", "bidirectional"), {}),
    "gru": (GRU, seq("GRU", "gru", reset_after=False), {}),
    "gru_both": (GRU, ways("GRU", "bidirectional", reset_after=False), {}),
    "basic_rnn": (BASIC, seq("SimpleRNN", "simple_rnn"), {}),
}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of TF1's own cells, made where Keras 2 runs."""
    if find_spec("tf_keras") is None:
        pytest.skip("tf_keras is not installed")
    folder = tmp_path_factory.mktemp("real")
    for name in REAL:
        (folder / name).mkdir()
    script = Path(__file__).with_name("real_cells.py")
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(script), str(folder)],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.heavy
@pytest.mark.parametrize("name", REAL)
def test_cells_of_tensorflow_itself_are_equal(keras: Any, real: Path, name: str) -> None:
    mapping, layers, params = REAL[name]
    case = Case(name, mapping, lambda tf, x: x, layers, params)
    with np.load(real / name / "run.npz") as run:
        inputs, outputs = [run["x0"], run["x1"]], [run["y0"], run["y1"]]
    model = keras_model(keras, case)
    like = real / name / "target.weights.h5"
    model.save_weights(like)
    made = Made(Source(real / name / "model.ckpt", inputs, outputs), model, like)
    found = measured(case, made)
    proves(f"{mapping}: {name} of tf.compat.v1.nn.rnn_cell", found, error=ERROR, sensitivity=0.3)


@pytest.mark.parametrize(
    ("name", "options", "code"),
    [
        ("gru", {"reset_after": True}, "MAP032"),
        ("basic_lstm", {"units": 5}, "MAP032"),
        ("lstm_both", {"kind": "GRU"}, "MAP032"),
    ],
)
def test_another_layer_is_refused(
    keras: Any,
    made: Callable[[Case], Made],
    tmp_path: Path,
    name: str,
    options: dict[str, Any],
    code: str,
) -> None:
    case = BY_NAME[name]
    kind = options.pop("kind", "GRU" if name == "gru" else "LSTM")
    layers = ways(kind, "bidirectional") if "both" in name else seq(kind, kind.lower(), **options)
    model = keras_model(keras, case._replace(layers=layers))
    model.save_weights(tmp_path / "other.weights.h5")
    with pytest.raises(CkptError) as error:
        measured(case, made(case)._replace(model=model, like=tmp_path / "other.weights.h5"))
    assert code in {problem.code for problem in error.value.problems}


_NO_BIAS = ("value: $forget_bias", "value: 0")
_HIDDEN, _INPUT = "candidate/hidden_projection/bias", "candidate/input_projection/bias"

# Case, what is wrong, edits of the mapping.
MISTAKES = [
    ("basic_lstm", "two gates swapped", [("to: ifco", "to: icfo")]),
    ("basic_lstm", "gates as they were", [("to: ifco", "to: ijfo")]),
    ("basic_lstm", "no forget bias", [_NO_BIAS]),
    ("basic_lstm", "forget bias at another gate", [("block: 1", "block: 2")]),
    (
        "basic_lstm",
        "input and state swapped",
        [("sizes: [-1, d1//4]}}]", "sizes: [-1, d1//4]}}, {pick: [1, 0]}]")],
    ),
    ("basic_lstm", "a kernel transposed", [("[{split", "[{reshape: [d1, d0]}, transpose, {split")]),
    (
        "lstm_both",
        "forward and backward swapped",
        [("fw: forward", "fw: backward"), ("bw: backward", "bw: forward")],
    ),
    ("lstm_multi", "layers in another order", [("$layer{k:suffix}", "$layer{2-k:suffix}")]),
    ("gru", "gates as they were", [("to: urc", "to: ruc")]),
    (
        "gru",
        "candidate and gate swapped",
        [("to: urc", "to: cru")],
    ),
    (
        "gru_both",
        "forward and backward swapped",
        [("fw: forward", "fw: backward"), ("bw: backward", "bw: forward")],
    ),
    (
        "basic_rnn",
        "input and state swapped",
        [("sizes: [-1, d1]}}]", "sizes: [-1, d1]}}, {pick: [1, 0]}]")],
    ),
    (
        "lstm_stack_both",
        "layers in another order",
        [("$both{k:suffix}", "$both{1-k:suffix}")],
    ),
    ("cudnn_lstm", "gates as they were", [("to: ifco", "to: ijfo")]),
    ("cudnn_gru", "gates as they were", [("to: urc", "to: ruc")]),
    ("cudnn_lstm", "a forget bias", [("forget_bias: 0 ", "forget_bias: 1 ")]),
    (
        "cudnn_gru",
        "the biases of the candidate swapped",
        [("{pick: [0, 2, 1, 3, 4, 5, 4, 6]}", "{pick: [0, 2, 1, 3, 4, 6, 4, 5]}")],
    ),
    (
        "cudnn_gru",
        "the biases of the gates lost",
        [("[], [], [], [], [zeros], []", "[], [], [], [zeros], [zeros], []")],
    ),
]


@pytest.mark.parametrize(
    ("name", "edits"),
    [pytest.param(name, edits, id=f"{name}: {what}") for name, what, edits in MISTAKES],
)
def test_a_mistake_in_the_mapping_is_seen(
    name: str, edits: list[tuple[str, str]], made: Callable[[Case], Made]
) -> None:
    case = BY_NAME[name]
    try:
        found = measured(case, made(case), edits=edits)
    except CkptError:
        found = None
    refutes(name, found, error=ERROR)
