"""TF2 checkpoints written here, restored by TensorFlow into models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from writer_support import numpy_type, outputs, same, write

from ckpttool.errors import OutputError
from ckpttool.formats.tensorflow.object_tracking import (
    lost_variables,
    refuse_silent_loss,
    variable_paths,
)
from ckpttool.formats.tensorflow.object_writer import create
from ckpttool.formats.writing import Output, WriteOptions

pytestmark = pytest.mark.oracle

Array = np.ndarray[Any, Any]
VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture(scope="module")
def keras(tf: Any) -> Any:
    return pytest.importorskip("keras")


def fresh(paths: dict[str, Any], seed: int = 0) -> dict[str, Array]:
    """Other values for all variables."""
    rng = np.random.default_rng(seed)
    return {
        name: np.asarray(rng.integers(0, 100, tuple(variable.shape)), variable.numpy().dtype)
        for name, variable in paths.items()
    }


def sequential(keras: Any) -> Any:
    layers = keras.layers
    inner = keras.Sequential([layers.Dense(3), layers.BatchNormalization()], name="inner")
    return keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.Conv1D(5, 3),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Bidirectional(layers.LSTM(4)),
            inner,
            layers.Dense(2, name="a.b"),
        ]
    )


def functional(keras: Any) -> Any:
    layers = keras.layers
    words = keras.Input((5,), dtype="int32")
    shared = layers.Dense(8)
    x = layers.Embedding(10, 8)(words)
    x = layers.MultiHeadAttention(2, 4)(x, x) + shared(x)
    x = layers.GRU(3, reset_after=True)(shared(keras.ops.relu(x)))
    return keras.Model(words, layers.Dense(1)(x))


def module(tf: Any, *, text: bool = False) -> Any:
    variable = tf.Variable
    found = tf.Module()
    found.w = variable(np.zeros((2, 3), np.float32))
    found.items = [variable(1.0), {"a/b.c": variable([1, 2])}]
    if text:
        found.text = {"..": variable(b"x")}
    found.pair = (variable(True), variable(np.zeros((0, 2), np.complex64)))
    found.also = found.w
    found.half = variable(np.zeros(3, numpy_type("bfloat16")))
    return found


CALLS = ["restore-consumed", "restore-matched", "read-matched"]


def restored(tf: Any, call: str, path: Path, **roots: Any) -> None:
    method, check = call.split("-")
    status = getattr(tf.train.Checkpoint(**roots), method)(str(path))
    name = {"consumed": "assert_consumed", "matched": "assert_existing_objects_matched"}[check]
    getattr(status, name)()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("make", [sequential, functional])
def test_keras(tf: Any, keras: Any, tmp_path: Path, call: str, make: Callable[..., Any]) -> None:
    model = make(keras)
    refuse_silent_loss(model)
    paths = variable_paths(model, ("model",))
    assert len(paths) == len(model.weights)
    arrays = fresh(paths)
    write(create, tmp_path / "ckpt", arrays)
    restored(tf, call, tmp_path / "ckpt", model=model)
    for name, variable in paths.items():
        same(variable.numpy(), arrays[name])


@pytest.mark.parametrize("call", CALLS)
def test_module(tf: Any, tmp_path: Path, call: str) -> None:
    model = module(tf, text=True)
    refuse_silent_loss(model)
    paths = variable_paths(model, ("model",))
    assert set(paths) == {
        f"model/{name}"
        for name in (
            "w", "items/0", "items/1/a.Sb..c", "text/....", "pair/0", "pair/1", "half",
        )
    }  # fmt: skip
    text = paths.pop("model/text/....")
    arrays = fresh(paths)

    with create(str(tmp_path / "ckpt")) as writer:
        for output in outputs(arrays):
            writer.declare(output)
        words = np.array([b"\xff\0"], object)
        writer.declare(Output("model/text/....", "string", (), lambda: [words]))
        writer.write()
        writer.commit()
    restored(tf, call, tmp_path / "ckpt", model=model)
    for name, variable in paths.items():
        same(np.asarray(variable.numpy()), arrays[name])
    assert text.numpy() == b"\xff\0"


def test_the_root_itself(tf: Any, tmp_path: Path) -> None:
    model = module(tf)
    paths = variable_paths(model)
    arrays = fresh(paths)
    write(create, tmp_path / "ckpt", arrays)
    status = tf.train.Checkpoint(model).restore(str(tmp_path / "ckpt"))
    status.assert_consumed()
    for name, variable in paths.items():
        same(np.asarray(variable.numpy()), arrays[name])


@pytest.mark.parametrize("call", CALLS)
def test_keras_with_its_optimizer(tf: Any, keras: Any, tmp_path: Path, call: str) -> None:
    """The optimizer's variables first: the kernel's shortest path leads through it."""
    template = trained(keras)
    saved = tf.train.Checkpoint(model=template, optimizer=template.optimizer)
    path = saved.save(str(tmp_path / "template"))
    model = trained(keras)
    names = variable_paths(model, ("model",))
    for n, variable in enumerate(model.optimizer.variables):
        names[f"optimizer/_variables/{n}"] = variable
    arrays = fresh(names)
    write(create, tmp_path / "ckpt", arrays, options=WriteOptions(template=path))
    restored(tf, call, tmp_path / "ckpt", model=model, optimizer=model.optimizer)
    for name, variable in names.items():
        same(variable.numpy(), arrays[name])
    ours, theirs = tf.train.load_checkpoint(str(tmp_path / "ckpt")), tf.train.load_checkpoint(path)
    assert ours.get_variable_to_shape_map() == theirs.get_variable_to_shape_map()


def trained(keras: Any) -> Any:
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(np.ones((2, 3)), np.ones((2, 1)), verbose=0)
    return model


def test_what_must_not_pass(tf: Any, keras: Any, tmp_path: Path) -> None:
    """The asserts that the other tests rely on do fail where something is wrong."""
    paths = variable_paths(trained(keras), ("model",))
    arrays = fresh(paths)
    short = dict(list(arrays.items())[1:])
    write(create, tmp_path / "short", short)
    with pytest.raises(AssertionError):
        restored(tf, "restore-matched", tmp_path / "short", model=trained(keras))
    write(create, tmp_path / "more", {**arrays, "model/other": np.zeros(1)})
    with pytest.raises(AssertionError):
        restored(tf, "restore-consumed", tmp_path / "more", model=trained(keras))


def test_a_template_without_some_values(tf: Any, tmp_path: Path) -> None:
    """Slots that are not written go without a trace; the asserts hold for what the model has."""
    model = module(tf)
    path = tf.train.Checkpoint(model=model, extra=tf.Variable(1.0)).save(str(tmp_path / "template"))
    paths = variable_paths(model, ("model",))
    arrays = fresh(paths)
    arrays["model/also"] = arrays.pop("model/w")
    write(create, tmp_path / "ckpt", arrays, options=WriteOptions(template=path))
    restored(tf, "restore-consumed", tmp_path / "ckpt", model=model)
    same(model.w.numpy(), arrays["model/also"])


def test_a_saved_model_as_the_template(tf: Any, tmp_path: Path) -> None:
    model = module(tf)
    tf.saved_model.save(model, str(tmp_path / "saved"))
    arrays = fresh(variable_paths(model))
    options = WriteOptions(template=str(tmp_path / "saved"))
    write(create, tmp_path / "ckpt", arrays, options=options)
    tf.train.Checkpoint(model).read(str(tmp_path / "ckpt")).assert_consumed()
    same(model.w.numpy(), arrays["w"])


# What TensorFlow loses.


def test_silent_loss(tf: Any, keras: Any, tmp_path: Path) -> None:
    class Listed(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [keras.layers.Dense(3), keras.layers.Dense(3)]
            self.heads = {"a": keras.layers.Dense(2)}
            self.last = keras.layers.Dense(1)

        def call(self, x: Any) -> Any:
            for layer in (*self.blocks, self.heads["a"], self.last):
                x = layer(x)
            return x

    one, two = Listed(), Listed()
    for model in (one, two):
        model(np.ones((1, 3), np.float32))
    # TensorFlow itself: the asserts pass, and the models differ.
    path = tf.train.Checkpoint(model=one).save(str(tmp_path / "theirs"))
    status = tf.train.Checkpoint(model=two).restore(path)
    status.assert_consumed()
    status.assert_existing_objects_matched()
    kept = [
        np.array_equal(a.numpy(), b.numpy()) for a, b in zip(one.weights, two.weights, strict=True)
    ]
    lost = lost_variables(one)
    assert 0 < kept.count(False) <= len(lost)
    assert len(lost) == 6
    with pytest.raises(OutputError) as caught:
        refuse_silent_loss(one)
    assert caught.value.problems[0].code == "OUT005"
    assert "6 of 8" in (caught.value.problems[0].found or "")


def test_stacked_cells_are_lost(keras: Any) -> None:
    layers = keras.layers
    cells = [layers.LSTMCell(2), layers.LSTMCell(2)]
    model = keras.Sequential([keras.Input((4, 3)), layers.RNN(cells), layers.Dense(1)])
    assert len(lost_variables(model)) == 6


# tf_keras, where it is installed.


@pytest.fixture(scope="module")
def tf_keras(tf: Any) -> Any:
    return pytest.importorskip("tf_keras", reason="tf_keras is not installed")


def legacy(tf_keras: Any) -> Any:
    layers = tf_keras.layers

    class Model(tf_keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.blocks = [layers.Dense(3), layers.BatchNormalization()]
            self.heads = {"a.b": layers.Dense(2)}

        def call(self, x: Any) -> Any:
            for layer in self.blocks:
                x = layer(x)
            return self.heads["a.b"](x)

    model = Model()
    model(np.ones((1, 3), np.float32))
    return model


def legacy_functional(tf_keras: Any) -> Any:
    layers = tf_keras.layers
    x = inputs = tf_keras.Input((4, 3))
    x = layers.RNN([layers.LSTMCell(2), layers.GRUCell(3)])(x)
    return tf_keras.Model(inputs, layers.Dense(2)(layers.BatchNormalization()(x)))


@pytest.mark.parametrize("make", [legacy, legacy_functional])
@pytest.mark.parametrize("call", CALLS)
def test_tf_keras(tf: Any, tf_keras: Any, tmp_path: Path, call: str, make: Any) -> None:
    model = make(tf_keras)
    refuse_silent_loss(model)
    paths = variable_paths(model, ("model",))
    arrays = fresh(paths)
    assert len(arrays) == len(model.weights)
    write(create, tmp_path / "ckpt", arrays)
    restored(tf, call, tmp_path / "ckpt", model=model)
    for name, variable in paths.items():
        same(variable.numpy(), arrays[name])


@pytest.mark.parametrize("make", [legacy, legacy_functional])
def test_tf_keras_load_weights(tf_keras: Any, tmp_path: Path, make: Any) -> None:
    model = make(tf_keras)
    paths = variable_paths(model)
    arrays = fresh(paths)
    write(create, tmp_path / "w", arrays)
    model.load_weights(str(tmp_path / "w")).assert_existing_objects_matched()
    for name, variable in paths.items():
        same(variable.numpy(), arrays[name])
    # With what tf_keras wrote as the template there is no save_counter: all is consumed.
    make(tf_keras).save_weights(str(tmp_path / "template"), save_format="tf")
    options = WriteOptions(template=str(tmp_path / "template"))
    write(create, tmp_path / "w2", fresh(paths, 1), options=options)
    model.load_weights(str(tmp_path / "w2")).assert_consumed()
    for name, variable in paths.items():
        same(variable.numpy(), fresh(paths, 1)[name])


def test_tf_keras_slots(tf: Any, tf_keras: Any, tmp_path: Path) -> None:
    """Slots of the older optimizers hang on their variables."""

    def made() -> tuple[Any, Any]:
        model = legacy_functional(tf_keras)
        model.compile(tf_keras.optimizers.legacy.Adam(), "mse")
        model.fit(np.ones((2, 4, 3)), np.ones((2, 2)), verbose=0)
        return model, tf.train.Checkpoint(model=model, optimizer=model.optimizer)

    _, saved = made()
    path = saved.save(str(tmp_path / "template"))
    reader = tf.train.load_checkpoint(path)
    skip = ("_CHECKPOINTABLE_OBJECT_GRAPH", f"save_counter{VALUE}")
    names = sorted(name for name in reader.get_variable_to_shape_map() if name not in skip)
    assert any(".OPTIMIZER_SLOT" in name for name in names)
    rng = np.random.default_rng(3)
    arrays = {}
    for name in names:
        old = np.asarray(reader.get_tensor(name))
        arrays[name] = np.asarray(rng.integers(1, 9, old.shape), old.dtype)
    for options in (WriteOptions(), WriteOptions(template=path)):
        write(create, tmp_path / "ckpt", arrays, options=options, force=True)
        _, saved = made()
        status = saved.restore(str(tmp_path / "ckpt"))
        status.assert_existing_objects_matched()
        status.assert_consumed()
        again = tf.train.load_checkpoint(saved.save(str(tmp_path / "again")))
        for name, array in arrays.items():
            same(np.asarray(again.get_tensor(name)), array)
