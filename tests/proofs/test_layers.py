"""Proofs of the mapping of plain layers: outputs of TF1 graphs and of Keras layers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases_layers import BY_NAME, CASES, MAPPING, NCHW, Case, inputs
from graphs_layers import Plain
from proof_support import Measured, Source, measure, proves, refutes, remap, tf1_source

import ckpttool
from ckpttool.errors import CkptError
from ckpttool.mapping.remap import load_rules

pytestmark = pytest.mark.oracle

ERROR = 2e-6
PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "migrate-layers.md"
Edits = Sequence[tuple[str, str]]


class Made(NamedTuple):
    """A checkpoint, the Keras model to fill, and the file of that model."""

    source: Source
    model: Any
    like: Path


def trained(tf: Any, averages: bool) -> Callable[[Any], list[Any]]:
    """What a step of training leaves: slots, the global step, averages of the weights."""

    def train(y: Any) -> list[Any]:
        v1 = tf.compat.v1
        step = v1.train.get_or_create_global_step()
        adam = v1.train.AdamOptimizer(1e-2).minimize(tf.reduce_mean(tf.square(y)), step)
        if not averages:
            return [adam]
        return [adam, tf.train.ExponentialMovingAverage(0.5).apply(v1.trainable_variables())]

    return train


def make(tf: Any, keras: Any, case: Case, folder: Path) -> Made:
    """The TF1 checkpoint of a case, and its Keras model."""

    def build(x: Any, calibrating: bool) -> tuple[Any, list[Any]]:
        net = Plain(tf, calibrating=calibrating, slim=case.slim)
        return case.graph(net, x), net.updates

    def averages() -> Any:
        return tf.train.ExponentialMovingAverage(0.5).variables_to_restore()

    source = tf1_source(
        tf,
        folder / "model.ckpt",
        [inputs(case, 1), inputs(case, 2)],
        build,
        batch=inputs(case, 3),
        finish=trained(tf, case.averages) if case.name.startswith(("cnn", "mlp")) else None,
        restored=averages if case.averages else None,
    )
    model = keras_model(keras, case)
    # A weights file alone does not tell a norm without scale from one without center.
    like = folder / ("target.keras" if case.archive else "target.weights.h5")
    (model.save if case.archive else model.save_weights)(like)
    return Made(source, model, like)


def keras_model(keras: Any, case: Case) -> Any:
    """The model that a case is loaded into."""
    keras.utils.clear_session()
    dtype = "int32" if case.ids else "float32"
    return keras.Sequential([keras.Input(case.shape, dtype=dtype), *case.layers(keras.layers)])


def outputs(made: Made, filled: Path) -> Measured:
    """How far the Keras model with these weights is from the TF1 graph."""
    made.model.load_weights(filled)
    found = [np.asarray(made.model(x)) for x in made.source.inputs]
    return measure(made.source.outputs, found)


def measured(case: Case, made: Made, **options: Any) -> Measured:
    """The same, after the shipped mapping."""
    filled = made.like.with_name("filled.weights.h5")
    asked = {"params": case.params, "to": "keras", **options}
    remap(made.source.prefix, MAPPING, filled, like=made.like, **asked)
    return outputs(made, filled)


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
    proves(f"{MAPPING}: {case.name}", found, error=ERROR, sensitivity=0.5)


def _first(rule: str) -> Edits:
    """A rule that stands before all others."""
    return [("\nrules:\n", f"\nrules:\n  - {{{rule}}}\n")]


def _swapped(one: str, other: str) -> Edits:
    return [(f"{one}: {one}, {other}: {other}", f"{one}: {other}, {other}: {one}")]


_CROSSED = "{from: '{c}/weights', to: '{c}/kernel', where: {c: {Conv: Conv_1, Conv_1: Conv}}}"

# Case, what is wrong, edits of the mapping.
MISTAKES: list[tuple[str, str, Edits]] = [
    (
        "mlp",
        "a square kernel transposed",
        _first("from: dense/kernel, to: dense/kernel, apply: [transpose]"),
    ),
    ("mlp", "gamma and beta swapped", _swapped("gamma", "beta")),
    ("mlp", "mean and variance swapped", _swapped("moving_mean", "moving_variance")),
    ("norm_no_scale", "beta as gamma", [("beta: beta", "beta: gamma")]),
    ("norm_no_scale", "mean and variance swapped", _swapped("moving_mean", "moving_variance")),
    ("norm_no_center", "gamma as beta", [("gamma: gamma", "gamma: beta")]),
    (
        "cnn",
        "inputs and outputs of a kernel swapped",
        _first("from: conv2d/kernel, to: conv2d/kernel, apply: [{transpose: [0, 1, 3, 2]}]"),
    ),
    (
        "cnn",
        "height and width of a kernel swapped",
        _first("from: conv2d/kernel, to: conv2d/kernel, apply: [{transpose: [1, 0, 2, 3]}]"),
    ),
    (
        "cnn_averages",
        "weights in the place of their averages",
        [("averages: use", "averages: ignore")],
    ),
    (
        "transposed",
        "inputs and outputs of a kernel swapped",
        _first(
            "from: conv2d_transpose/kernel, to: conv2d_transpose/kernel, "
            "apply: [{transpose: [0, 1, 3, 2]}]"
        ),
    ),
    (
        "separable",
        "its depthwise kernel as that of a DepthwiseConv",
        [('to: "{layer:flat}/depthwise_kernel"', 'to: "{layer:flat}/kernel"')],
    ),
    (
        "separable",
        "channels in another order",
        _first(
            "from: separable_conv2d/depthwise_kernel, to: separable_conv2d/depthwise_kernel, "
            "apply: [{reshape: [d0, d1, d3, d2]}, {transpose: [0, 1, 3, 2]}]"
        ),
    ),
    (
        "depthwise",
        "channels in another order",
        _first(
            "from: depthwise_conv2d/depthwise_kernel, to: depthwise_conv2d/kernel, "
            "apply: [{reshape: [d0, d1, d3, d2]}, {transpose: [0, 1, 3, 2]}]"
        ),
    ),
    ("layer_norm", "gamma and beta swapped", _swapped("gamma", "beta")),
    ("group_norm", "gamma and beta swapped", _swapped("gamma", "beta")),
    (
        "slim",
        "two layers swapped",
        [
            ("rules:\n", f"rules:\n  - {_CROSSED}\n"),
        ],
    ),
    ("scopes", "slashes kept", [("{layer:flat}/{part}", "{layer}/{part}")]),
]


@pytest.mark.parametrize(
    ("name", "edits"),
    [pytest.param(name, edits, id=f"{name}: {what}") for name, what, edits in MISTAKES],
)
def test_a_mistake_in_the_mapping_is_seen(
    name: str, edits: Edits, made: Callable[[Case], Made]
) -> None:
    case = BY_NAME[name]
    try:
        found = measured(case, made(case), edits=edits)
    except CkptError:
        found = None
    refutes(name, found, error=ERROR)


# What Keras has where nobody says otherwise, or what another library has.
EPSILONS = [
    ("mlp", "BatchNormalization", 1e-5),
    ("layer_norm", "LayerNormalization", 1e-3),
    ("layer_norm_images", "GroupNormalization", 1e-3),
    ("group_norm", "GroupNormalization", 1e-3),
    ("instance_norm", "GroupNormalization", 1e-3),
]


@pytest.mark.parametrize(("name", "kind", "epsilon"), EPSILONS)
def test_another_epsilon_is_seen(
    keras: Any, made: Callable[[Case], Made], name: str, kind: str, epsilon: float
) -> None:
    case = BY_NAME[name]
    measured(case, made(case))

    def change(layer: Any) -> Any:
        config = layer.get_config()
        if type(layer).__name__ == kind:
            config["epsilon"] = epsilon
        return type(layer).from_config(config)

    model = keras.models.clone_model(made(case).model, clone_function=change)
    found = outputs(
        made(case)._replace(model=model), made(case).like.with_name("filled.weights.h5")
    )
    refutes(f"{name} with epsilon {epsilon:g}", found, error=ERROR)


def test_layer_norm_over_the_last_axis_is_another_one_for_images(
    keras: Any, made: Callable[[Case], Made]
) -> None:
    case = BY_NAME["layer_norm_images"]
    other = case._replace(
        layers=lambda layers: [
            layers.Conv2D(4, 3, padding="same", name="Conv"),
            layers.LayerNormalization(epsilon=1e-12, name="LayerNorm"),
        ]
    )
    this = made(case)
    measured(case, this)
    model = keras_model(keras, other)
    model.layers[0].set_weights(this.model.layers[0].get_weights())
    model.layers[1].set_weights(this.model.layers[1].get_weights())
    found = measure(this.source.outputs, [np.asarray(model(x)) for x in this.source.inputs])
    refutes("layer_norm_images over channels", found, error=ERROR)


def test_what_batch_norm_keeps_beside_its_statistics_is_left_out(
    made: Callable[[Case], Made], tmp_path: Path
) -> None:
    case = BY_NAME["renorm"]
    with ckpttool.open(str(made(case).source.prefix)) as checkpoint:
        names = set(checkpoint.specs)
    plan = remap(made(case).source.prefix, MAPPING, tmp_path / "o.npz", to="npz", dry_run=True).plan
    left = {item.name for item in plan.dropped}
    assert len(left) == 7
    assert {name.rsplit("/", 1)[-1] for name in names - left} == {
        *("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
    }


@pytest.mark.parametrize("name", ["norm_no_scale", "norm_no_center"])
def test_a_weights_file_does_not_tell_which_part_a_norm_lacks(
    made: Callable[[Case], Made], tmp_path: Path, name: str
) -> None:
    this = made(BY_NAME[name])
    this.model.save_weights(tmp_path / "target.weights.h5")
    with pytest.raises(CkptError) as error:
        measured(BY_NAME[name], this._replace(like=tmp_path / "target.weights.h5"))
    assert "MAP031" in {problem.code for problem in error.value.problems}


def _mapping_of_the_page(folder: Path) -> Path:
    """The mapping file that the page has for a net of NCHW images."""
    (text,) = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    path = folder / "nchw.yaml"
    path.write_text(text, "utf-8")
    return path


def test_the_rule_for_a_flatten_of_nchw_images(
    made: Callable[[Case], Made], tmp_path: Path
) -> None:
    rules = load_rules(str(_mapping_of_the_page(tmp_path)), params={"height": 4, "width": 3})
    this = made(NCHW)
    filled = tmp_path / "filled.weights.h5"
    with ckpttool.open(str(this.source.prefix)) as checkpoint:
        ckpttool.remap(checkpoint, rules, str(filled), like=str(this.like))
    proves("flatten of NCHW images", outputs(this, filled), error=ERROR, sensitivity=0.5)
    refutes("the rows as they were", measured(NCHW, this), error=ERROR)
