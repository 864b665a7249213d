"""Live models filled from checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from remap_support import write_bundle

import ckpttool
from ckpttool.errors import CkptError, MappingError, OutputError, UsageError

pytestmark = pytest.mark.oracle

RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def keras(tf: Any) -> Any:
    return pytest.importorskip("keras")


def rules(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"version": 1, "rules": list(items), **more}


SAME = rules({"from": "**", "to": "**"})


def values(**shapes: tuple[int, ...]) -> dict[str, Any]:
    return {
        name.replace("__", "/"): RNG.normal(size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }


def checkpoint(folder: Path, arrays: dict[str, Any]) -> str:
    write_bundle(folder / "model.ckpt", arrays)
    return str(folder / "model.ckpt")


def weights_of(model: Any) -> list[Any]:
    return [np.asarray(item) for item in model.weights]


def equal(found: list[Any], expected: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def dense_model(keras: Any) -> Any:
    layers = keras.layers
    return keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="a"), layers.BatchNormalization(name="n")]
    )


def dense_values() -> dict[str, Any]:
    parts = {f"n__{name}": (3,) for name in ("gamma", "beta", "moving_mean", "moving_variance")}
    return values(a__kernel=(4, 3), a__bias=(3,), **parts)


def test_a_sequential_model(keras: Any, tmp_path: Path) -> None:
    arrays = dense_values()
    arrays |= {"a/kernel/Adam": arrays["a/kernel"], "global_step": np.int64(7)}
    path = checkpoint(tmp_path, arrays)
    model = dense_model(keras)
    report = ckpttool.load_into(
        model, path, rules({"from": "global_step", "drop": True}, {"from": "**", "to": "**"})
    )
    order = ["a/kernel", "a/bias", "n/gamma", "n/beta", "n/moving_mean", "n/moving_variance"]
    assert equal(weights_of(model), [arrays[name] for name in order])
    assert [item.name for item in report.filled] == order
    assert {item.name for item in report.dropped} == {"global_step", "a/kernel/Adam"}
    assert report.left == ()
    assert report.verified
    assert not any(item.constant for item in report.filled)


def test_names_that_need_no_mapping(keras: Any, tmp_path: Path) -> None:
    arrays = dense_values()
    model = dense_model(keras)
    model.compile("adam", "mse")
    model.train_on_batch(np.zeros((2, 4)), np.zeros((2, 3)))  # an optimizer with state
    with ckpttool.open(checkpoint(tmp_path, arrays)) as opened:
        report = ckpttool.load_into(model, opened)
    assert np.array_equal(weights_of(model)[0], arrays["a/kernel"])
    assert report.left == ()


def test_models_that_object_checkpoints_lose(tf: Any, keras: Any, tmp_path: Path) -> None:
    class Lists(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.stages = [keras.layers.Dense(3), keras.layers.Dense(3)]
            self.named = {"last": keras.layers.Dense(2)}

        def call(self, x: Any) -> Any:
            for layer in (*self.stages, self.named["last"]):
                x = layer(x)
            return x

    model = Lists()
    model(np.zeros((1, 3), np.float32))
    lost = tf.train.Checkpoint(model=model).save(str(tmp_path / "lost"))
    assert len(tf.train.list_variables(lost)) < len(model.weights)
    arrays = values(s0__k=(3, 3), s0__b=(3,), s1__k=(3, 3), s1__b=(3,), s2__k=(3, 2), s2__b=(2,))
    paths = ["layers/dense", "layers/dense_1", "layers/dense_2"]
    mapping = rules(
        *(
            {"from": f"s{number}/{part}", "to": f"{path}/vars/{place}"}
            for number, path in enumerate(paths)
            for place, part in enumerate("kb")
        )
    )
    ckpttool.load_into(model, checkpoint(tmp_path, arrays), mapping)
    expected = [arrays[f"s{n}/{part}"] for n in range(3) for part in "kb"]
    found = {item.tobytes() for item in weights_of(model)}
    assert found == {item.tobytes() for item in expected}

    cells = [keras.layers.LSTMCell(2), keras.layers.LSTMCell(2)]
    model = keras.Sequential([keras.Input((5, 3)), keras.layers.RNN(cells, name="rnn")])
    shapes = [item.shape for item in model.weights]
    arrays = values(**{f"v{number}": tuple(shape) for number, shape in enumerate(shapes)})
    report = ckpttool.load_into(model, checkpoint(tmp_path / "r", arrays), _by_order(model, arrays))
    assert equal(weights_of(model), [arrays[f"v{number}"] for number in range(len(shapes))])
    assert len(report.filled) == len(shapes)


def _by_order(model: Any, arrays: dict[str, Any]) -> dict[str, Any]:
    """Rules from ``v0``, ``v1``, … to the model's variables, in the order of its weights."""
    from ckpttool.mapping.like.template import live_template

    keys = [item.key for item in live_template(model).variables if item.required]
    return rules(*({"from": name, "to": key} for name, key in zip(arrays, keys, strict=True)))


def test_a_plain_module(tf: Any, tmp_path: Path) -> None:
    def make() -> Any:
        module = tf.Module()
        module.layers = [tf.Variable(tf.zeros((2, 3))), tf.Variable(tf.zeros(3))]
        module.by_name = {"x": tf.Variable(tf.zeros(2)), "n": tf.Variable(0, dtype=tf.int64)}
        return module

    arrays: dict[str, Any] = values(w=(2, 3), b=(3,), x=(2,))
    arrays["n"] = np.int64(5)
    module = make()
    mapping = rules(
        {"from": "w", "to": "layers/0"},
        {"from": "b", "to": "layers/1"},
        {"from": "{k}", "to": "by_name/{k}"},
    )
    report = ckpttool.load_into(module, checkpoint(tmp_path, arrays), mapping)
    assert np.array_equal(module.layers[0].numpy(), arrays["w"])
    assert np.array_equal(module.by_name["x"].numpy(), arrays["x"])
    assert module.by_name["n"].numpy() == 5
    assert len(report.filled) == 4
    assert report.verified


def test_layers_that_a_plain_module_does_not_track(tf: Any, keras: Any, tmp_path: Path) -> None:
    class Holder(tf.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.w = tf.Variable(tf.zeros(2))
            self._hidden = {1, 2}
            self._variables = [tf.Variable(tf.zeros(2))]

        @property
        def variables(self) -> Any:
            return (self.w, *self._variables, tf.Variable(tf.zeros(3)))

    with pytest.raises(MappingError, match="does not save all"):
        ckpttool.load_into(Holder(), checkpoint(tmp_path, values(w=(2,))), SAME)


def test_tf_keras(tf: Any, tmp_path: Path) -> None:
    tf_keras = pytest.importorskip("tf_keras")
    model = tf_keras.Sequential([tf_keras.layers.Dense(3, name="a", input_shape=(4,))])
    arrays = values(v0=(4, 3), v1=(3,))
    ckpttool.load_into(model, checkpoint(tmp_path, arrays), _by_order(model, arrays))
    assert equal(weights_of(model), [arrays["v0"], arrays["v1"]])


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"a/bias": None}, "MAP030"),
        ({"extra/kernel": np.zeros(3, np.float32)}, "MAP031"),
        ({"a/kernel": np.zeros((3, 4), np.float32)}, "MAP032"),
        ({"a/kernel": np.zeros((4, 3), np.float64)}, "MAP033"),
    ],
)
def test_what_does_not_fit_changes_nothing(
    keras: Any, tmp_path: Path, change: dict[str, Any], code: str
) -> None:
    arrays = {**dense_values(), **change}
    path = checkpoint(tmp_path, {name: item for name, item in arrays.items() if item is not None})
    model = dense_model(keras)
    before = weights_of(model)
    with pytest.raises(MappingError) as caught:
        ckpttool.load_into(model, path, SAME)
    assert code in {item.code for item in caught.value.problems}
    assert equal(weights_of(model), before)


def test_what_is_allowed(keras: Any, tmp_path: Path) -> None:
    arrays = {
        name: item.astype("f8") for name, item in dense_values().items() if "gamma" not in name
    }
    arrays["other"] = np.zeros(1)
    model = dense_model(keras)
    before = weights_of(model)
    report = ckpttool.load_into(
        model,
        checkpoint(tmp_path, arrays),
        rules({"from": "{l}/{v}", "to": "{l}/{v}"}),
        cast=True,
        allow_missing=["**/gamma"],
        allow_unused=["other"],
    )
    assert report.left == ("n/gamma",)
    assert np.array_equal(weights_of(model)[2], before[2])
    assert np.array_equal(weights_of(model)[0], arrays["a/kernel"].astype("f4"))


def test_damage_changes_nothing(keras: Any, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, dense_values())
    data = Path(f"{path}.data-00000-of-00001")
    raw = bytearray(data.read_bytes())
    raw[-1] ^= 1
    data.write_bytes(raw)
    model = dense_model(keras)
    before = weights_of(model)
    with pytest.raises(CkptError) as caught:
        ckpttool.load_into(model, path, SAME)
    assert caught.value.problems[0].code == "INP005"
    assert equal(weights_of(model), before)


def test_a_model_that_loads_something_else_is_found_out(keras: Any, tmp_path: Path) -> None:
    class Halved(keras.layers.Dense):  # type: ignore[misc, name-defined]
        def load_own_variables(self, store: Any) -> None:
            super().load_own_variables(store)
            self.kernel.assign(self.kernel / 2)

    model = keras.Sequential([keras.Input((4,)), Halved(3, name="a")])
    arrays = values(a__kernel=(4, 3), a__bias=(3,))
    path = checkpoint(tmp_path, arrays)
    with pytest.raises(OutputError) as caught:
        ckpttool.load_into(model, path, _by_order(model, {"a/kernel": 0, "a/bias": 0}))
    assert caught.value.problems[0].code == "OUT004"
    ckpttool.load_into(model, path, _by_order(model, {"a/kernel": 0, "a/bias": 0}), verify=False)


def test_constants_are_told_and_bfloat16_is_carried(keras: Any, tmp_path: Path) -> None:
    import ml_dtypes

    dtypes = keras.DTypePolicy("bfloat16")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="a", dtype=dtypes)])
    arrays = {
        "a/kernel": RNG.normal(size=(4, 3)).astype(ml_dtypes.bfloat16),
        "a/bias": np.zeros(3, ml_dtypes.bfloat16),
    }
    report = ckpttool.load_into(model, checkpoint(tmp_path, arrays), SAME)
    assert [item.constant for item in report.filled] == [False, True]
    kernel = np.asarray(keras.ops.cast(model.weights[0], "float32"))
    assert np.array_equal(kernel, arrays["a/kernel"].astype("f4"))


def test_what_is_no_model(keras: Any, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, dense_values())
    for model in (object(), 3, keras.Sequential([keras.layers.Dense(3)]), "no.module:here"):
        with pytest.raises(UsageError):
            ckpttool.load_into(model, path, SAME)
