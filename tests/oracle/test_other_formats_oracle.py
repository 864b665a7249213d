"""Keras' own files, TensorFlow's own choice of a checkpoint, and SavedModels, read natively."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.formats.keras.archive import ArchiveReader
from ckpttool.formats.keras.legacy import LegacyReader
from ckpttool.formats.keras.weights import KerasReader
from ckpttool.formats.locating.locate import locate
from ckpttool.formats.registry import open_located

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def keras(tf: Any) -> Any:
    """Keras on TensorFlow."""
    return pytest.importorskip("keras")


@pytest.fixture(scope="module")
def model(keras: Any) -> Any:
    """A small model with nested layers, trained for a step so that its optimizer has slots."""
    layers = keras.layers
    inner = keras.Sequential([layers.Dense(3, name="in_a"), layers.Dense(2, name="in_b")])
    built = keras.Sequential(
        [
            keras.Input((6, 4)),
            layers.Conv1D(5, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.LSTM(4, name="lstm"),
            layers.Dropout(0.5),
            inner,
            layers.Dense(2, name="out"),
        ]
    )
    built.compile("adam", "mse")
    rng = np.random.default_rng(0)
    built.fit(rng.random((4, 6, 4)), rng.random((4, 2)), verbose=0)
    return built


def _bytes(arrays: Any) -> list[tuple[str, tuple[int, ...], bytes]]:
    found = [np.asarray(array) for array in arrays]
    return sorted((array.dtype.name, array.shape, array.tobytes()) for array in found)


def test_weights(model: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "m.weights.h5")
    model.save_weights(path)
    reader = open_located(locate(path))
    assert isinstance(reader, KerasReader)
    with reader:
        assert reader.info.damage == ()
        names = [name for name in reader.specs if not name.startswith("optimizer/")]
        assert _bytes(map(reader.read, names)) == _bytes(
            variable.numpy() for variable in model.weights
        )
        labels = reader.labels()
        kernel = model.get_layer("conv").kernel.numpy()
        found = [name for name in names if labels[name] == "conv"]
        np.testing.assert_array_equal(reader.read(found[0]), kernel)
        assert reader.read("optimizer/vars/0") == 1


def test_archive(model: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "m.keras")
    model.save(path)
    reader = open_located(locate(path))
    assert isinstance(reader, ArchiveReader)
    with reader:
        names = [name for name in reader.specs if not name.startswith("optimizer/")]
        assert _bytes(map(reader.read, names)) == _bytes(
            variable.numpy() for variable in model.weights
        )
        assert b'"class_name": "Sequential"' in (reader.config() or b"")


def test_legacy(model: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "m.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(path)
    reader = open_located(locate(path))
    assert isinstance(reader, LegacyReader)
    with reader:
        assert reader.info.damage == ()
        assert reader.layer_names() == [layer.name for layer in model.layers]
        assert "Sequential" in (reader.model_config() or "")
        names = [name for name in reader.specs if not name.startswith("optimizer_weights/")]
        ours = [reader.read(name) for name in names]
        theirs = [variable.numpy() for layer in model.layers for variable in layer.weights]
        assert _bytes(ours) == _bytes(theirs)
        slots = [name for name in reader.specs if name.startswith("optimizer_weights/")]
        assert len(slots) == len(model.optimizer.variables)


def test_shards(keras: Any, tmp_path: Path) -> None:
    built = keras.Sequential(
        [keras.Input((300,)), *(keras.layers.Dense(300, name=f"d{i}") for i in range(5))]
    )
    path = str(tmp_path / "m.weights.json")
    built.save_weights(path, max_shard_size=0.0008)  # in GB
    assert len(os.listdir(tmp_path)) > 2
    with open_located(locate(path)) as reader:
        assert reader.info.damage == ()
        assert reader.info.shards == len(os.listdir(tmp_path)) - 1
        assert _bytes(map(reader.read, reader.specs)) == _bytes(
            variable.numpy() for variable in built.variables
        )


def test_bfloat16(keras: Any, tmp_path: Path) -> None:
    built = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, dtype="bfloat16")])
    path = str(tmp_path / "m.weights.h5")
    built.save_weights(path)
    with open_located(locate(path)) as reader:
        assert {spec.dtype for spec in reader.specs.values()} == {"bfloat16"}
        assert _bytes(map(reader.read, reader.specs)) == _bytes(
            np.asarray(variable.value) for variable in built.variables
        )


def test_the_same_choice_as_latest_checkpoint(tf: Any, tmp_path: Path) -> None:
    names = ["plain", "with space", "模", "it's", 'a"b', "tab\there", "dots..and.v2", "100%"]
    for number, name in enumerate(names):
        folder = tmp_path / str(number)
        checkpoint = tf.train.Checkpoint(x=tf.Variable(1.0))
        written = checkpoint.save(str(folder / name))
        latest = tf.train.latest_checkpoint(str(folder))
        assert latest == written
        found = locate(str(folder))
        assert found.path == latest
        assert not found.notices
        state = tf.train.get_checkpoint_state(str(folder))
        assert state is not None
        assert locate(str(folder / "checkpoint")).path == state.model_checkpoint_path


def test_a_run_through_its_state_file(tf: Any, tmp_path: Path) -> None:
    x = tf.Variable(0)
    manager = tf.train.CheckpointManager(tf.train.Checkpoint(x=x), str(tmp_path), max_to_keep=2)
    for step in range(5):
        x.assign(step)
        manager.save()
    found = locate(str(tmp_path))
    assert (found.path, found.step) == (manager.latest_checkpoint, 5)
    from ckpttool.formats.tensorflow.state_file import read_state

    state = read_state(str(tmp_path / "checkpoint"))
    assert len(state.all) == len(state.timestamps) == 2


def test_saved_model_of_now(tf: Any, tmp_path: Path) -> None:
    module = tf.Module()
    module.a = tf.Variable([[1.0, 2.0]], name="a")
    module.b = tf.Variable(3, name="b")
    tf.saved_model.save(module, str(tmp_path / "s"))
    theirs = tf.train.load_checkpoint(str(tmp_path / "s/variables/variables"))
    with open_located(locate(str(tmp_path / "s"))) as reader:
        assert reader.info.format == "saved-model"
        shapes = theirs.get_variable_to_shape_map()
        assert set(reader.specs) == set(shapes)
        for name in shapes:
            if reader.specs[name].dtype != "string":
                np.testing.assert_array_equal(reader.read(name), theirs.get_tensor(name))


def test_saved_model_without_variables(tf: Any, tmp_path: Path) -> None:
    tf.saved_model.save(tf.Module(), str(tmp_path / "s"))
    for name in os.listdir(tmp_path / "s/variables"):
        os.unlink(tmp_path / "s/variables" / name)
    with open_located(locate(str(tmp_path / "s"))) as reader:
        assert not reader.specs
        assert [problem.code for problem in reader.info.notices] == ["INP012"]
