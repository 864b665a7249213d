"""Numeric proofs: right mappings pass, wrong ones of every kind fail, and so do dead networks."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool
from ckpttool.cli.main import execute
from ckpttool.errors import InputError, MappingError, UsageError
from ckpttool.mapping.proving.proof import ProveOptions, prove_remap

pytestmark = pytest.mark.oracle

Build = Callable[[Any], Any]


@pytest.fixture(scope="module")
def keras(tf: Any) -> Any:
    return pytest.importorskip("keras")


def save(tf: Any, folder: Path, build: Build, **options: Any) -> str:
    """A graph, initialized and saved; its prefix."""
    v1 = tf.compat.v1
    folder.mkdir(exist_ok=True)
    with tf.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(7)
        build(tf, **options)
        session.run(v1.global_variables_initializer())
        return str(v1.train.Saver().save(session, str(folder / "model.ckpt")))


def variable(tf: Any, name: str, shape: tuple[int, ...], scale: float | None = None) -> Any:
    """He's initialization, so that the signal stays alive."""
    fan = int(np.prod(shape[:-1])) or 1
    scale = (2 / fan) ** 0.5 if scale is None else scale
    start = tf.compat.v1.random_normal_initializer(stddev=scale)
    return tf.compat.v1.get_variable(name, shape, initializer=start)


def dense(tf: Any, x: Any, scope: str, units: int, gain: float = 1.0) -> Any:
    size = int(x.shape[-1])
    with tf.compat.v1.variable_scope(scope):
        kernel = variable(tf, "kernel", (size, units), gain * (2 / size) ** 0.5)
        bias = variable(tf, "bias", (units,), 0.2 * gain)
    return tf.matmul(x, kernel) + bias


# --- networks and their models -------------------------------------------------------------------


def mlp(tf: Any, gain: float = 1.0, depth: int = 2, dropout: str = "") -> Any:
    x = tf.compat.v1.placeholder(tf.float32, (None, 6), "features")
    for number in range(depth):
        x = tf.nn.relu(dense(tf, x, f"hidden_{number}", 6, gain))
        if dropout == "on":
            x = tf.nn.dropout(x, rate=0.5)
    y = dense(tf, x, "logits", 3)
    return tf.identity(y, name="out")


def mlp_model(keras: Any, depth: int = 2) -> Any:
    layers = [keras.layers.Dense(6, "relu", name=f"hidden_{number}") for number in range(depth)]
    return keras.Sequential([keras.Input((6,)), *layers, keras.layers.Dense(3, name="logits")])


MLP: list[dict[str, Any]] = [{"from": "{layer}/{part}", "to": "{layer}/{part}"}]


def cnn(tf: Any, training: bool = False, axes: str = "fused") -> Any:
    x = tf.compat.v1.placeholder(tf.float32, (None, None, None, 2), "image")
    kernel = variable(tf, "conv/kernel", (3, 3, 2, 4))
    x = tf.nn.conv2d(x, kernel, 1, "SAME") + variable(tf, "conv/bias", (4,), 0.1)
    gamma = tf.abs(variable(tf, "bn/gamma", (4,), 1.0))
    beta = variable(tf, "bn/beta", (4,), 1.0)
    mean = variable(tf, "bn/moving_mean", (4,), 1.0)
    squares = variable(tf, "bn/moving_variance", (4,), 1.0)
    if training:
        x, *_ = tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, epsilon=1e-3, is_training=True)
        x += 0 * mean + 0 * squares
    else:
        x, *_ = tf.compat.v1.nn.fused_batch_norm(
            x, gamma, beta, mean, tf.square(squares) + 0.5, epsilon=1e-3, is_training=False
        )
    x = tf.nn.relu(x)
    depthwise = variable(tf, "depthwise/kernel", (3, 3, 4, 1), 0.5)
    x = tf.nn.depthwise_conv2d(x, depthwise, (1, 2, 2, 1), "SAME")
    return dense(tf, tf.reduce_mean(x, (1, 2)), "logits", 4)


def cnn_model(keras: Any, epsilon: float = 1e-3, size: int = 9) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((size, size, 2)),
            layers.Conv2D(4, 3, padding="same", name="conv"),
            layers.BatchNormalization(epsilon=epsilon, name="bn"),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, 2, "same", use_bias=False, name="depthwise"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(4, name="logits"),
        ]
    )


def stored_cnn(tf: Any) -> Any:
    """The same with variables as a checkpoint has them: no functions of them in the graph."""
    x = tf.compat.v1.placeholder(tf.float32, (None, None, None, 2), "image")
    x = tf.nn.conv2d(x, variable(tf, "conv/kernel", (3, 3, 2, 4)), 1, "SAME")
    x += variable(tf, "conv/bias", (4,), 0.1)
    v1 = tf.compat.v1
    rng = np.random.default_rng(3)
    parts = [
        v1.get_variable(f"bn/{name}", initializer=rng.uniform(low, 2, 4).astype(np.float32))
        for name, low in (("gamma", 0.5), ("beta", -1), ("moving_mean", -1), ("moving_variance", 1))
    ]
    x, *_ = v1.nn.fused_batch_norm(x, *parts, epsilon=1e-3, is_training=False)
    x = tf.nn.relu(x)
    depthwise = variable(tf, "depthwise/kernel", (3, 3, 4, 1), 0.5)
    x = tf.nn.depthwise_conv2d(x, depthwise, (1, 2, 2, 1), "SAME")
    return dense(tf, tf.reduce_mean(x, (1, 2)), "logits", 4)


CNN = MLP


def lstm(tf: Any) -> Any:
    """An embedding and a basic LSTM cell, unrolled: gates i, j, f, o and a forget bias of 1."""
    v1 = tf.compat.v1
    ids = v1.placeholder(tf.int32, (None, 5), "ids")
    table = variable(tf, "embedding", (11, 3), 1.0)
    x = tf.gather(table, ids)
    kernel = variable(tf, "rnn/kernel", (3 + 4, 16), 0.7)
    bias = variable(tf, "rnn/bias", (16,), 0.3)
    c = h = tf.zeros((tf.shape(ids)[0], 4))
    for step in range(5):
        gates = tf.matmul(tf.concat([x[:, step], h], 1), kernel) + bias
        i, j, f, o = tf.split(gates, 4, 1)
        c = tf.sigmoid(f + 1.0) * c + tf.sigmoid(i) * tf.tanh(j)
        h = tf.sigmoid(o) * tf.tanh(c)
    return tf.identity(h, "state")


def lstm_model(keras: Any) -> Any:
    return keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(11, 3, name="embedding"),
            keras.layers.LSTM(4, name="lstm"),
        ]
    )


def lstm_rules(to: str = "ifco", bias: float = 1.0) -> list[dict[str, Any]]:
    gates = {"reorder_gates": {"from": "ijfo", "to": to, "axis": -1}}
    add = {"add": {"value": bias, "axis": 0, "block": to.index("f"), "of": 4}}
    return [
        {"from": "embedding", "to": "embedding/embeddings"},
        {
            "from": "rnn/kernel",
            "to": ["lstm/kernel", "lstm/recurrent_kernel"],
            "apply": [gates, {"split": {"axis": 0, "sizes": [3, -1]}}],
        },
        {"from": "rnn/bias", "to": "lstm/bias", "apply": [gates, add]},
    ]


def prove(prefix: str, model: Any, rules: list[dict[str, Any]], **options: Any) -> Any:
    return ckpttool.prove(
        prefix, model, {"version": 1, "rules": rules}, options=ProveOptions(**options)
    )


def module(model: Any) -> str:
    """``package.module:callable`` of a function that makes a model."""
    made = types.ModuleType("made_for_proofs")
    made.make = model  # type: ignore[attr-defined]
    sys.modules["made_for_proofs"] = made
    return "made_for_proofs:make"


# --- what is right passes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "model", "rules"),
    [(mlp, mlp_model, MLP), (stored_cnn, cnn_model, CNN), (lstm, lstm_model, lstm_rules())],
)
@pytest.mark.parametrize("double", [False, True])
def test_a_right_mapping_is_equal(
    tf: Any, keras: Any, tmp_path: Path, build: Build, model: Any, rules: Any, double: bool
) -> None:
    prefix = save(tf, tmp_path, build)
    proof = prove(prefix, module(lambda: model(keras)), rules, float64=double)
    assert proof.verdict == "equal", proof
    assert proof.passed
    assert proof.dtype == ("float64" if double else "float32")
    assert proof.sensitivity > 0.05
    assert proof.magnitude >= proof.sensitivity / 2
    # A forget bias is added in float32, whatever the model computes in.
    assert proof.max_abs_error < (1e-8 if double else 1e-5)
    assert len(proof.feeds) == 1
    assert proof.feeds[0].model_input is not None


def test_what_was_fed(tf: Any, keras: Any, tmp_path: Path) -> None:
    proof = prove(save(tf, tmp_path, lstm), lstm_model(keras), lstm_rules(), batch=3)
    assert proof.output == "state:0"
    (fed,) = proof.feeds
    assert (fed.name, fed.shape, fed.values) == ("ids:0", (3, 5), "int 0 to 10")
    proof = prove(save(tf, tmp_path / "c", stored_cnn), cnn_model(keras), CNN)
    assert proof.feeds[0].shape == (2, 9, 9, 2)


# --- what is wrong fails -------------------------------------------------------------------------


def changed(rules: list[dict[str, Any]], name: str, **parts: Any) -> list[dict[str, Any]]:
    """A rule for one name before the others."""
    return [{"from": name, "to": name, **parts}, *rules]


def swapped(first: str, second: str) -> list[dict[str, Any]]:
    return [{"from": first, "to": second}, {"from": second, "to": first}]


_TRANSPOSED = {"transpose": {"perm": [1, 0, 2, 3]}}


@pytest.mark.parametrize(
    ("build", "model", "rules"),
    [
        (mlp, mlp_model, changed(MLP, "hidden_1/kernel", apply=["transpose"])),
        (mlp, mlp_model, [*swapped("hidden_0/kernel", "hidden_1/kernel"), *MLP]),
        (mlp, mlp_model, [*swapped("hidden_0/bias", "hidden_1/bias"), *MLP]),
        (mlp, mlp_model, changed(MLP, "logits/bias", apply=[{"scale": -1}])),
        (stored_cnn, cnn_model, changed(CNN, "conv/kernel", apply=[_TRANSPOSED])),
        (stored_cnn, cnn_model, changed(CNN, "depthwise/kernel", apply=[_TRANSPOSED])),
        (stored_cnn, cnn_model, [*swapped("bn/beta", "bn/moving_mean"), *CNN]),
        (stored_cnn, lambda keras: cnn_model(keras, 1e-5), CNN),
        (lstm, lstm_model, lstm_rules("ifco", bias=0.0)),
        (lstm, lstm_model, lstm_rules("ijfo"[:1] + "cfo")),
        (lstm, lstm_model, lstm_rules("icfo")),
    ],
    ids=[
        "transposed", "swapped kernels", "swapped biases", "sign", "conv transposed",
        "depthwise transposed", "beta for mean", "epsilon", "no forget bias", "gates",
        "gates as stored",
    ],
)  # fmt: skip
def test_a_wrong_one_fails(
    tf: Any, keras: Any, tmp_path: Path, build: Build, model: Any, rules: Any
) -> None:
    prefix = save(tf, tmp_path, build)
    proof = prove(prefix, model(keras), rules)
    assert proof.verdict in ("different", "close"), proof
    assert not proof.passed
    assert proof.reasons
    assert proof.max_abs_error > proof.tolerance * proof.sensitivity


def test_a_small_difference_is_close_and_still_there_in_float64(
    tf: Any, keras: Any, tmp_path: Path
) -> None:
    prefix = save(tf, tmp_path, stored_cnn)
    make = module(lambda: cnn_model(keras, 1.2e-3))
    proof = prove(prefix, make, CNN)
    assert proof.verdict in ("close", "equal")
    proof = prove(prefix, make, CNN, float64=True)
    assert proof.verdict in ("close", "different")
    assert prove(prefix, make, CNN, tolerance=0.01).passed


# --- what proves nothing -------------------------------------------------------------------------


def test_a_dead_network_proves_nothing(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix = save(tf, tmp_path, mlp, gain=0.02, depth=8)
    rules = changed(MLP, "hidden_1/kernel", apply=["transpose"])
    for mapping in (MLP, rules):
        proof = prove(prefix, mlp_model(keras, 8), mapping)
        assert proof.verdict == "nothing"
        assert proof.max_abs_error < 1e-4  # the error itself says nothing
        assert "hardly moves" in proof.reasons[0]


def test_a_training_graph_proves_nothing(tf: Any, keras: Any, tmp_path: Path) -> None:
    proof = prove(save(tf, tmp_path / "d", mlp, dropout="on"), mlp_model(keras), MLP)
    assert proof.verdict == "nothing"
    assert "random" in proof.reasons[0]
    proof = prove(save(tf, tmp_path / "b", cnn, training=True), cnn_model(keras), CNN)
    assert proof.verdict == "nothing"
    assert "others of its batch" in proof.reasons[0]


def test_an_inference_graph_beside_a_training_graph(tf: Any, keras: Any, tmp_path: Path) -> None:
    training = save(tf, tmp_path / "t", mlp, dropout="on")
    save(tf, tmp_path / "i", mlp)
    proof = prove(training, mlp_model(keras), MLP, graph=str(tmp_path / "i" / "model.ckpt.meta"))
    assert proof.passed


def test_constant_variables_are_told(tf: Any, keras: Any, tmp_path: Path) -> None:
    def build(tf: Any) -> Any:
        x = tf.compat.v1.placeholder(tf.float32, (None, 6), "x")
        w = variable(tf, "a/kernel", (6, 6))
        b = tf.compat.v1.get_variable("a/bias", 6, initializer=tf.zeros_initializer())
        y = tf.nn.relu(tf.matmul(x, w) + b)
        c = tf.compat.v1.get_variable("b/bias", 6, initializer=tf.zeros_initializer())
        return tf.matmul(y, variable(tf, "b/kernel", (6, 6))) + c

    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(6, "relu", name="a"), layers.Dense(6, name="b")]
    )
    proof = prove(save(tf, tmp_path, build), model, [*swapped("a/bias", "b/bias"), *MLP])
    assert proof.passed
    assert any("swapped without a trace" in note for note in proof.notes)


# --- inputs and outputs --------------------------------------------------------------------------


def two_inputs(tf: Any) -> Any:
    """A training graph: two inputs, a flag, a keep probability, a loss, gradients, an optimizer."""
    v1 = tf.compat.v1
    image = v1.placeholder(tf.float32, (None, 6), "scope/image")
    ids = v1.placeholder(tf.int64, (None,), "ids")
    labels = v1.placeholder(tf.int64, (None,), "labels")
    training = v1.placeholder_with_default(True, (), "is_training")
    keep = v1.placeholder(tf.float32, (), "keep")
    table = variable(tf, "table", (50, 6), 1.0)
    x = image + tf.gather(table, ids)
    x = tf.cond(training, lambda: tf.nn.dropout(x, rate=0.5), lambda: x) * keep
    logits = tf.identity(dense(tf, x, "logits", 3), "scores")
    loss = tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )
    v1.train.AdamOptimizer().minimize(loss, v1.train.get_or_create_global_step())
    tf.nn.softmax(logits, name="probabilities")
    v1.summary.scalar("loss", loss)
    return logits


def two_model(keras: Any) -> Any:
    image, ids = keras.Input((6,), name="image"), keras.Input((), dtype="int32", name="ids")
    x = keras.layers.add([image, keras.layers.Embedding(50, 6, name="table")(ids)])
    return keras.Model([ids, image], keras.layers.Dense(3, name="logits")(x))


TWO: list[dict[str, Any]] = [
    {"from": "table", "to": "table/embeddings"},
    {"from": "global_step", "drop": True},
    {"from": "logits/{part}", "to": "logits/{part}"},
]


def test_inputs_are_found_and_paired(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix = save(tf, tmp_path, two_inputs)
    proof = prove(prefix, two_model(keras), TWO, output="scores")
    assert proof.passed, proof
    fed = {item.name: item for item in proof.feeds}
    assert set(fed) == {"scope/image:0", "ids:0", "is_training:0", "keep:0"}
    assert fed["ids:0"].values == "int 0 to 49"
    assert fed["scope/image:0"].model_input == "image"
    assert fed["is_training:0"].values == "False"
    assert fed["keep:0"].values == "1"
    assert all(fed[name].moves for name in ("ids:0", "scope/image:0"))
    assert prove(prefix, two_model(keras), TWO, output="scores", float64=False, seed=4).passed
    on = prove(prefix, two_model(keras), TWO, output="scores", feeds=("is_training=true",))
    assert on.verdict == "nothing"
    half = prove(prefix, two_model(keras), TWO, output="scores", feeds=("keep=0.5",))
    assert half.verdict == "different"


def test_what_is_not_clear_is_asked(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix = save(tf, tmp_path, two_inputs)
    with pytest.raises(UsageError) as caught:
        ckpttool.prove(prefix, tf.keras.Sequential([keras.Input((6,)), keras.layers.Dense(7)]))
    assert "probabilities:0" in str(caught.value.problems[0].found)
    assert "several outputs" in caught.value.problems[0].message
    for wrong in ({"output": "scoers"}, {"output": "scores", "feeds": ("lables=1",)}):
        with pytest.raises(UsageError):
            prove(prefix, two_model(keras), TWO, **wrong)
    proof = prove(prefix, two_model(keras), TWO)
    assert proof.output == "probabilities:0"  # the only one of the model's shape
    assert proof.verdict == "different"
    assert any("softmax" in reason for reason in proof.reasons)


def test_a_model_with_several_outputs(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix = save(tf, tmp_path, mlp)
    inner = mlp_model(keras)
    model = keras.Model(inner.inputs, {"a": inner.outputs[0], "b": 2 * inner.outputs[0]})
    with pytest.raises(UsageError, match="which output"):
        ckpttool.prove(prefix, model)
    ckpttool.load_into(inner, prefix, {"version": 1, "rules": MLP})
    assert ckpttool.prove(prefix, model, options=ProveOptions(model_output="a")).passed
    assert not ckpttool.prove(prefix, model, options=ProveOptions(model_output="b")).passed


def test_partitioned_resource_and_ref_variables(tf: Any, keras: Any, tmp_path: Path) -> None:
    def build(tf: Any, resource: bool) -> Any:
        v1 = tf.compat.v1
        with v1.variable_scope("", partitioner=v1.fixed_size_partitioner(2), use_resource=resource):
            x = v1.placeholder(tf.float32, (None, 6), "x")
            start = v1.random_normal_initializer()
            with v1.variable_scope("d"):
                w = v1.get_variable("kernel", (6, 3), initializer=start)
                b = v1.get_variable("bias", (3,), initializer=start, partitioner=None)
        return tf.matmul(x, tf.convert_to_tensor(w)) + tf.convert_to_tensor(b)

    for resource in (False, True):
        prefix = save(tf, tmp_path / str(resource), build, resource=resource)
        make = module(
            lambda: keras.Sequential([keras.Input((6,)), keras.layers.Dense(3, name="d")])
        )
        for double in (False, True):
            assert prove(prefix, make, MLP, float64=double).passed


def test_ops_that_nobody_has_any_more_and_devices(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix = save(tf, tmp_path, two_inputs)
    path = Path(f"{prefix}.meta")
    meta = tf.compat.v1.MetaGraphDef.FromString(path.read_bytes())
    for node in meta.graph_def.node:
        node.device = "/job:worker/task:3/device:GPU:7"
        if node.op == "ApplyAdam":
            node.op = "ApplyOptimizerOfTheHouse"
    extra = meta.graph_def.node.add()
    extra.name, extra.op = "zap", "NoSuchOp"
    extra.input.append("scores")
    extra.attr["_class"].list.s.append(b"loc:@gone")
    path.write_bytes(meta.SerializeToString())
    assert prove(prefix, two_model(keras), TWO, output="scores").passed


@pytest.mark.parametrize("control_flow", [1, 2])
def test_loops(tf: Any, keras: Any, tmp_path: Path, control_flow: int) -> None:
    v1 = tf.compat.v1

    def build(tf: Any) -> Any:
        x = v1.placeholder(tf.float32, (None, 5, 3), "x")
        kernel = variable(tf, "rnn/kernel", (3 + 4, 4), 0.7)
        bias = variable(tf, "rnn/bias", (4,), 0.3)
        inputs = tf.transpose(x, (1, 0, 2))

        def body(step: Any, h: Any) -> Any:
            return step + 1, tf.tanh(tf.matmul(tf.concat([inputs[step], h], 1), kernel) + bias)

        start = tf.zeros((tf.shape(x)[0], 4))
        return tf.while_loop(lambda step, h: step < 5, body, (0, start))[1]

    (v1.enable_control_flow_v2 if control_flow == 2 else v1.disable_control_flow_v2)()
    try:
        prefix = save(tf, tmp_path, build)
    finally:
        v1.enable_control_flow_v2()
    make = module(
        lambda: keras.Sequential([keras.Input((5, 3)), keras.layers.SimpleRNN(4, name="rnn")])
    )
    split = {"split": {"axis": 0, "sizes": [3, -1]}}
    rules = [
        {"from": "rnn/kernel", "to": ["rnn/kernel", "rnn/recurrent_kernel"], "apply": [split]},
        {"from": "rnn/bias", "to": "rnn/bias"},
    ]
    for double in (False, True):
        proof = prove(prefix, make, rules, float64=double)
        assert proof.passed, proof


def test_a_tf_keras_model(tf: Any, tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    prefix = save(tf, tmp_path, mlp)

    def make() -> Any:
        layers = [tf_keras.layers.Dense(6, "relu"), tf_keras.layers.Dense(6, "relu")]
        return tf_keras.Sequential(
            [tf_keras.layers.InputLayer((6,)), *layers, tf_keras.layers.Dense(3)]
        )

    model = make()
    reader = tf.train.load_checkpoint(prefix)
    names = ["hidden_0", "hidden_1", "logits"]
    model.set_weights([reader.get_tensor(f"{n}/{p}") for n in names for p in ("kernel", "bias")])
    assert ckpttool.prove(prefix, model).passed
    assert not ckpttool.prove(prefix, make()).passed


def test_the_graph_of_a_saved_model(tf: Any, keras: Any, tmp_path: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        y = mlp(tf)
        x = session.graph.get_tensor_by_name("features:0")
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(session, str(tmp_path / "saved"), {"x": x}, {"y": y})
    proof = prove(str(tmp_path / "saved"), mlp_model(keras), MLP)
    assert proof.passed
    assert proof.output == "out:0"


# --- without a graph, with weights, from the command line ----------------------------------------


def test_inputs_and_outputs_from_a_file(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix = save(tf, tmp_path, mlp)
    model = mlp_model(keras)
    ckpttool.load_into(model, prefix, {"version": 1, "rules": MLP})
    x = np.random.default_rng(1).normal(size=(4, 6)).astype(np.float32)
    y = np.asarray(model(x))
    good, bad, one = (str(tmp_path / f"{name}.npz") for name in ("good", "bad", "one"))
    np.savez(good, input=x, output=y)
    np.savez(bad, input=x, output=y[::-1])
    np.savez(one, input=x[:1], output=y[:1])
    fresh = mlp_model(keras)
    assert prove(prefix, fresh, MLP, io=good).passed
    assert prove(prefix, fresh, MLP, io=bad).verdict == "different"
    alone = prove(prefix, fresh, MLP, io=one)
    assert alone.verdict == "nothing"
    assert "one example" in alone.reasons[0]
    wrong = str(tmp_path / "wrong.npz")
    for arrays in ({"x": x}, {"input": x}, {"input/other": x, "output": y}):
        np.savez(wrong, **arrays)
        with pytest.raises(UsageError):
            prove(prefix, fresh, MLP, io=wrong)


def test_a_file_of_weights_and_an_archive(
    tf: Any, keras: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = save(tf, tmp_path, mlp)
    model = mlp_model(keras)
    weights, archive = str(tmp_path / "m.weights.h5"), str(tmp_path / "m.keras")
    model.save_weights(weights)
    make = module(lambda: mlp_model(keras))
    assert not ckpttool.prove(prefix, make, weights=weights).passed
    ckpttool.load_into(model, prefix, {"version": 1, "rules": MLP})
    model.save_weights(weights, overwrite=True)
    model.save(archive)
    assert ckpttool.prove(prefix, make, weights=weights).passed
    assert ckpttool.prove(prefix, archive).passed
    assert execute(["prove", prefix, archive, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["verdict"] == "equal"
    assert body["feeds"][0]["name"] == "features:0"
    assert execute(["prove", prefix, make, "--weights", weights]) == 0
    text = capsys.readouterr().out
    assert "equal: the error is one of rounding" in text
    assert "sensitivity" in text
    mapping = tmp_path / "m.yaml"
    mapping.write_text(
        "version: 1\nrules:\n- {from: hidden_1/kernel, to: hidden_1/kernel, apply: [transpose]}\n"
        "- {from: '{a}/{b}', to: '{a}/{b}'}\n"
    )
    assert execute(["prove", prefix, make, "-m", str(mapping)]) == 1
    assert "different" in capsys.readouterr().out
    assert execute(["prove", prefix, "no.such:thing"]) == 2
    assert execute(["prove", prefix, make, "--feed", "x"]) == 2
    capsys.readouterr()


def test_before_a_remap(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix = save(tf, tmp_path, mlp)
    make = module(lambda: mlp_model(keras))
    assert prove_remap_of(prefix, MLP, make).passed
    wrong = changed(MLP, "hidden_1/kernel", apply=["transpose"])
    with pytest.raises(MappingError) as caught:
        prove_remap_of(prefix, wrong, make)
    assert caught.value.problems[0].code == "MAP034"
    with pytest.raises(UsageError):
        prove_remap_of(prefix, MLP, "model.weights.h5")


def test_remap_writes_nothing_where_the_proof_fails(
    tf: Any, keras: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefix = save(tf, tmp_path / "in", mlp)
    make = module(lambda: mlp_model(keras))
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("version: 1\ntarget: keras\nrules:\n- {from: '{a}/{b}', to: '{a}/{b}'}\n")
    odd = "- {from: hidden_1/kernel, to: hidden_1/kernel, apply: [transpose]}\n"
    bad.write_text(good.read_text().replace("rules:\n", f"rules:\n{odd}"))
    out = tmp_path / "out" / "m.weights.h5"
    words = ["remap", prefix, "--like", make, "-o", str(out), "--prove"]
    assert execute([*words, "-m", str(bad)]) == 4
    assert "MAP034" in capsys.readouterr().err
    assert not out.exists()
    assert execute([*words, "-m", str(good), "--float64", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["proof"]["verdict"] == "equal"
    assert body["verified"] is True
    model = mlp_model(keras)
    model.load_weights(str(out))
    assert ckpttool.prove(prefix, model).passed
    assert execute([*words[:-1], "-m", str(good), "--force", "--float64"]) == 2
    assert execute([*words, "-m", str(good), "--force", "--inverse"]) == 2
    assert execute(["remap", prefix, "-m", str(good), "-o", str(out), "--force", "--prove"]) == 2
    assert execute([*words, "-m", str(good), "--force"]) == 0
    assert "equal" in capsys.readouterr().out


def prove_remap_of(prefix: str, rules: list[dict[str, Any]], like: str) -> Any:
    with ckpttool.open(prefix) as checkpoint:
        return prove_remap(checkpoint, {"version": 1, "rules": rules}, like)


def test_without_a_graph(tf: Any, keras: Any, tmp_path: Path) -> None:
    prefix = save(tf, tmp_path, mlp)
    Path(f"{prefix}.meta").unlink()
    with pytest.raises(InputError, match="no graph"):
        prove(prefix, mlp_model(keras), MLP)
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    with pytest.raises(InputError, match="Saver"):
        ckpttool.prove(str(tmp_path / "w.npz"), mlp_model(keras))
    with pytest.raises(UsageError):
        ckpttool.prove(prefix, object())
