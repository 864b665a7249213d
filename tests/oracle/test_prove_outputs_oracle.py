"""Which tensor of a graph is taken for the model's output: also of graphs that were trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ckpttool
from ckpttool.errors import UsageError
from ckpttool.live.graphs import Graph
from ckpttool.live.outputs import choose_output

pytestmark = pytest.mark.oracle

SHAPES = ((None, 3),)


def _net(tf: Any) -> Any:
    """Two layers over six features, and their outputs: three logits, which are named."""
    v1 = tf.compat.v1
    x = v1.placeholder(tf.float32, (None, 6), "features")
    for name, units in (("hidden", 3), ("top", 3)):
        with v1.variable_scope(name):
            start = v1.random_normal_initializer(stddev=0.7, seed=units)
            kernel = v1.get_variable("kernel", (x.shape[-1], units), initializer=start)
            bias = v1.get_variable("bias", (units,), initializer=start)
        x = tf.matmul(x, kernel) + bias
        x = tf.nn.relu(x) if name == "hidden" else tf.identity(x, name="logits")
    return x


def _minimize(tf: Any, loss: Any) -> None:
    v1 = tf.compat.v1
    v1.train.AdamOptimizer(1e-3).minimize(loss, v1.train.get_or_create_global_step())


def _sparse_labels(tf: Any) -> None:
    v1 = tf.compat.v1
    logits = _net(tf)
    labels = v1.placeholder(tf.int32, (None,), "labels")
    _minimize(tf, v1.losses.sparse_softmax_cross_entropy(labels, logits))
    right = tf.equal(tf.argmax(logits, 1, tf.int32), labels)
    v1.summary.scalar("accuracy", tf.reduce_mean(tf.cast(right, tf.float32)))
    v1.summary.merge_all()


def _labels_of_the_same_shape(tf: Any) -> None:
    wanted = tf.compat.v1.placeholder(tf.float32, (None, 3), "wanted")
    error = tf.identity(_net(tf) - wanted, name="error")
    _minimize(tf, tf.reduce_mean(tf.square(error)))


def _trained_in_a_scope(tf: Any) -> None:
    v1 = tf.compat.v1
    wanted = v1.placeholder(tf.float32, (None, 3), "wanted")
    with v1.variable_scope("net"):
        logits = _net(tf)
    with v1.variable_scope("training"):
        _minimize(tf, v1.losses.mean_squared_error(wanted, logits))


def _with_an_end(tf: Any) -> None:
    """Predictions that nothing reads, beside the loss."""
    tf.nn.softmax(_net(tf), name="probabilities")
    _minimize(
        tf,
        tf.reduce_mean(tf.square(tf.compat.v1.get_default_graph().get_tensor_by_name("logits:0"))),
    )


def _weights_decay_and_averages(tf: Any) -> None:
    v1 = tf.compat.v1
    wanted = v1.placeholder(tf.float32, (None, 3), "wanted")
    logits = _net(tf)
    decay = tf.add_n([tf.nn.l2_loss(item) for item in v1.trainable_variables()])
    _minimize(tf, v1.losses.mean_squared_error(wanted, logits) + 0.1 * decay)
    average = v1.get_variable("mean", (3,), trainable=False)
    v1.assign_sub(average, 0.1 * (average - tf.reduce_mean(logits, 0)))


def _an_input_beside_the_labels(tf: Any) -> None:
    """Weights of the examples, also of the shape of the output."""
    v1 = tf.compat.v1
    importance = v1.placeholder(tf.float32, (None, 3), "importance")
    wanted = v1.placeholder(tf.float32, (None, 3), "wanted")
    _minimize(tf, tf.reduce_mean(importance * tf.square(_net(tf) - wanted)))


CASES: dict[Callable[[Any], None], str] = {
    _sparse_labels: "logits:0",
    _labels_of_the_same_shape: "logits:0",
    _trained_in_a_scope: "net/logits:0",
    _with_an_end: "probabilities:0",
    _weights_decay_and_averages: "logits:0",
    _an_input_beside_the_labels: "logits:0",
}


def _saved(tf: Any, folder: Path, build: Callable[[Any], Any]) -> str:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(7)
        build(tf)
        session.run(v1.global_variables_initializer())
        return str(v1.train.Saver().save(session, str(folder / "model.ckpt")))


def _graph(tf: Any, build: Callable[[Any], Any]) -> Graph:
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        build(tf)
        v1.train.Saver()
        return Graph(v1.train.export_meta_graph(graph=graph), "model.ckpt.meta")


@pytest.mark.parametrize("build", CASES, ids=lambda build: build.__name__.strip("_"))
def test_the_output_of_a_trained_graph(tf: Any, build: Callable[[Any], None]) -> None:
    choice = choose_output(_graph(tf, build), None, SHAPES)
    assert choice.tensor == CASES[build]
    assert bool(choice.notes) == (choice.tensor != "probabilities:0")


def test_a_trained_graph_is_proved_as_it_is(tf: Any, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras")
    prefix = _saved(tf, tmp_path, _sparse_labels)
    hidden = keras.layers.Dense(3, "relu", name="hidden")
    model = keras.Sequential([keras.Input((6,)), hidden, keras.layers.Dense(3, name="top")])
    rules = [
        {"from": "{layer}/{part}", "to": "{layer}/{part}", "where": {"part": ["kernel", "bias"]}}
    ]
    mapping = {
        "version": 1,
        "slots": "drop",
        "rules": [*rules, {"from": "global_step", "drop": True}],
    }
    proof = ckpttool.prove(prefix, model, mapping)
    assert (proof.verdict, proof.output) == ("equal", "logits:0")
    assert any("logits:0 is taken for the output" in note for note in proof.notes)


def test_what_fits_no_shape_is_asked(tf: Any) -> None:
    with pytest.raises(UsageError) as caught:
        choose_output(_graph(tf, _two_heads), None, SHAPES)
    assert "several outputs" in caught.value.problems[0].message


def _two_heads(tf: Any) -> None:
    logits = _net(tf)
    tf.nn.relu(logits, name="one")
    tf.nn.sigmoid(logits, name="two")
