"""What our writers make of Keras' files, loaded by Keras itself."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras_support as support
import numpy as np
import pytest

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def keras(tf: Any) -> Any:
    """Keras on TensorFlow."""
    return pytest.importorskip("keras")


@pytest.fixture(scope="module", params=support.MODELS)
def case(keras: Any, request: pytest.FixtureRequest, tmp_path_factory: Any) -> Any:
    """A model's name, the model, and a folder with its files as Keras saved them."""
    folder = tmp_path_factory.mktemp(request.param)
    model = support.built(keras, request.param, 1)
    model.save_weights(folder / "theirs.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(folder / "theirs.h5")
        model.save(folder / "theirs.keras")
    return request.param, model, folder


@pytest.mark.parametrize("template", [None, "theirs.weights.h5", "theirs.keras"])
def test_weights(keras: Any, case: Any, template: str | None, tmp_path: Path) -> None:
    name, model, folder = case
    path = tmp_path / "ours.weights.h5"
    support.rewrite(
        "keras", folder / "theirs.weights.h5", path, folder / template if template else None
    )
    found = support.load(support.built(keras, name, 2), path)
    support.assert_same(model, found, optimizer=True)


def test_a_template_gives_the_file_that_keras_writes(case: Any, tmp_path: Path) -> None:
    _, _, folder = case
    theirs, path = folder / "theirs.weights.h5", tmp_path / "ours.weights.h5"
    support.rewrite("keras", theirs, path, theirs)
    trees: list[dict[str, Any]] = []
    for file in (theirs, path):
        with h5py.File(file) as opened:
            tree: dict[str, Any] = {}
            opened.visititems(
                lambda name, node, tree=tree: tree.update(
                    {name: (dict(node.attrs), getattr(node, "dtype", None))}
                )
            )
            trees.append(tree)
    # What looks like an object and is a list has a group more: names do not tell.
    assert {key for key in trees[1] if key not in trees[0]} <= {"layers/rnn/cell/cells/vars"}
    assert {key: trees[1][key] for key in trees[0]} == trees[0]


@pytest.mark.parametrize("limit", [1, 300, 1 << 20])
def test_shards(keras: Any, case: Any, limit: int, tmp_path: Path) -> None:
    name, model, folder = case
    path = tmp_path / "ours.weights.json"
    written = support.rewrite(
        "keras", folder / "theirs.weights.h5", path, max_shard_bytes=limit
    )  # fmt: skip
    assert (len(written.files) == 2) == (limit > 300)
    found = support.load(support.built(keras, name, 2), path)
    support.assert_same(model, found, optimizer=True)


@pytest.mark.parametrize("whole", [False, True])
def test_legacy(keras: Any, case: Any, whole: bool, tmp_path: Path) -> None:
    name, model, folder = case
    theirs, path = folder / "theirs.h5", tmp_path / "ours.h5"
    support.rewrite("keras-h5", theirs, path, theirs if whole else None)
    support.assert_same(model, support.load(support.built(keras, name, 2), path))
    support.assert_same(model, support.load(support.built(keras, name, 2), path, by_name=True))
    if whole:
        found = keras.models.load_model(path)
        support.assert_same(model, found)
        support.assert_same(keras.models.load_model(theirs), found, optimizer=True)


def test_archive(keras: Any, case: Any, tmp_path: Path) -> None:
    """The template has other weights; its description is what counts."""
    name, model, folder = case
    other = support.built(keras, name, 3)
    template, path = tmp_path / "other.keras", tmp_path / "ours.keras"
    other.save(template)
    support.rewrite("keras-archive", folder / "theirs.weights.h5", path, template)
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(template) as theirs:
        assert ours.testzip() is None
        assert ours.namelist() == theirs.namelist()
        assert ours.read("config.json") == theirs.read("config.json")
    support.assert_same(model, keras.models.load_model(path), optimizer=True)
    support.assert_same(model, support.load(support.built(keras, name, 2), path))


def test_bfloat16(keras: Any, tmp_path: Path) -> None:
    def make() -> Any:
        return keras.Sequential(
            [keras.Input((3,)), keras.layers.Dense(2, dtype="bfloat16", name="d")]
        )

    model = make()
    model.save_weights(tmp_path / "theirs.weights.h5")
    support.rewrite("keras", tmp_path / "theirs.weights.h5", tmp_path / "ours.weights.h5")
    found = support.load(make(), tmp_path / "ours.weights.h5")
    assert found.layers[0].kernel.dtype == "bfloat16"
    for one, other in zip(model.weights, found.weights, strict=True):
        assert np.asarray(one.value).tobytes() == np.asarray(other.value).tobytes()


@pytest.mark.parametrize("dtype", ["bool", "uint16", "int64", "float16", "float64", "complex64"])
@pytest.mark.parametrize("kind", ["weights", "legacy"])
def test_dtypes(keras: Any, dtype: str, kind: str, tmp_path: Path) -> None:
    @keras.saving.register_keras_serializable()
    class Holder(keras.layers.Layer):  # type: ignore[misc,name-defined]
        def build(self, shape: Any) -> None:
            self.held = self.add_weight(
                shape=(3,), dtype=dtype, initializer="zeros", trainable=False, name="held"
            )

        def call(self, inputs: Any) -> Any:
            return inputs

    model, found = (keras.Sequential([keras.Input((2,)), Holder()]) for _ in range(2))
    model.layers[0].held.assign(np.array([1, 0, 1]).astype(dtype))
    suffix = ".weights.h5" if kind == "weights" else ".h5"
    theirs, ours = tmp_path / f"theirs{suffix}", tmp_path / f"ours{suffix}"
    if kind == "weights":
        model.save_weights(theirs)
        support.rewrite("keras", theirs, ours)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(theirs)
        support.rewrite("keras-h5", theirs, ours)
    support.load(found, ours)
    assert np.asarray(found.layers[0].held).tolist() == [1, 0, 1]


def test_legacy_lists_that_are_split(keras: Any, tmp_path: Path) -> None:
    """Layer names that together take more than one attribute can hold."""
    layers = keras.layers

    def make() -> Any:
        names = [f"{'x' * 5000}_{number}" for number in range(15)]
        return keras.Sequential(
            [keras.Input((2,)), *(layers.Dense(2, name=name) for name in names)]
        )

    model, found = make(), make()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "theirs.h5")
    support.rewrite("keras-h5", tmp_path / "theirs.h5", tmp_path / "ours.h5")
    with h5py.File(tmp_path / "ours.h5") as file:
        assert "layer_names1" in file.attrs
    support.assert_same(model, support.load(found, tmp_path / "ours.h5"))
    found = make()
    support.assert_same(model, support.load(found, tmp_path / "ours.h5", by_name=True))


@pytest.mark.parametrize("name", support.MODELS)
def test_tf_keras(tf: Any, name: str, tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras", reason="tf_keras is not installed")
    model = support.built(tf_keras, name, 1)
    model.save_weights(tmp_path / "theirs.weights.h5")
    support.rewrite("keras", tmp_path / "theirs.weights.h5", tmp_path / "ours.weights.h5")
    found = support.load(support.built(tf_keras, name, 2), tmp_path / "ours.weights.h5")
    support.assert_same(model, found)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "theirs.h5")
    support.rewrite("keras-h5", tmp_path / "theirs.h5", tmp_path / "ours.h5")
    for options in ({}, {"by_name": True}):
        found = support.load(support.built(tf_keras, name, 2), tmp_path / "ours.h5", **options)
        support.assert_same(model, found)
    support.rewrite(
        "keras-h5", tmp_path / "theirs.h5", tmp_path / "whole.h5", tmp_path / "theirs.h5"
    )
    support.assert_same(model, tf_keras.models.load_model(tmp_path / "whole.h5"))
