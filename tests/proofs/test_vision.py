"""Proofs of the mappings of image networks: outputs of TF1 graphs and of ``keras.applications``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import graphs_vision as graphs
import numpy as np
import pytest
from cases_vision import AVERAGE, BY_NAME, CASES, CLASSES, Case
from proof_support import Measured, Source, measure, proves, refutes, remap, tell, tf1_source
from tf1_layers import Layers, images

import ckpttool
from ckpttool.errors import CkptError

pytestmark = pytest.mark.oracle

ROOT = Path(__file__).resolve().parent.parent.parent


def _named(cases: list[Case]) -> list[Any]:
    marks = {True: [pytest.mark.heavy], False: []}
    return [pytest.param(case, id=case.name, marks=marks[case.heavy]) for case in cases]


class Made(NamedTuple):
    """A checkpoint, the Keras model to fill, and the file of that model."""

    source: Source
    model: Any
    like: Path


def _documented() -> dict[str, Any]:
    """The models that the how-to page has, as it has them."""
    page = (ROOT / "docs" / "how-to" / "migrate-vision.md").read_text("utf-8")
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if "def " in block:
            exec(block, names)  # noqa: S102
    return names


def _inputs(case: Case, count: int, seed: int) -> Any:
    found = images((count, case.pixels, case.pixels, 3), seed)
    return found * 127.5 + 127.5 if case.graph is graphs.efficientnet else found


def _trained(tf: Any, kind: str) -> Callable[[Any], list[Any]] | None:
    """What training leaves: a momentum and a step, or averages beside spoilt weights."""
    v1 = tf.compat.v1

    def momentum(y: Any) -> list[Any]:
        step = v1.train.get_or_create_global_step()
        loss = tf.reduce_mean(tf.square(y))
        return [v1.train.MomentumOptimizer(1e-6, 0.9).minimize(loss, step)] * 2

    def average(_: Any) -> list[Any]:
        variables = v1.global_variables()
        with v1.variable_scope("", use_resource=False):
            averages = [
                v1.get_variable(f"{item.op.name}{AVERAGE}", item.shape, trainable=False)
                for item in variables
            ]
        kept = [v1.assign(new, item) for new, item in zip(averages, variables, strict=True)]
        spoilt = [v1.assign(item, item * 1.5 + 0.1) for item in variables]
        return [kept, spoilt]

    return {"momentum": momentum, "average": average}.get(kind)


def make(tf: Any, keras: Any, case: Case, folder: Path) -> Made:
    """The TF1 checkpoint of a case, and its Keras model."""

    def build(x: Any, calibrating: bool) -> tuple[Any, list[Any]]:
        net = Layers(tf, calibrating=calibrating, **case.layers)
        return case.graph(net, x, CLASSES, **case.options), net.updates

    def averages() -> Any:
        return {f"{item.op.name}{AVERAGE}": item for item in tf.compat.v1.global_variables()}

    source = tf1_source(
        tf,
        folder / "model.ckpt",
        [_inputs(case, 2, 1)],
        build,
        batch=_inputs(case, 8 if case.pixels < 100 else 4, 3),
        finish=_trained(tf, case.training),
        restored=averages if case.training == "average" else None,
    )
    model = keras_model(keras, case, CLASSES - case.background)
    model.save_weights(folder / "target.weights.h5")
    return Made(source, model, folder / "target.weights.h5")


def keras_model(keras: Any, case: Case, classes: int) -> Any:
    """The model that a case is loaded into."""
    depth = case.options.get("depth")
    if case.model == "slim_resnet_v1":
        return _documented()[case.model](depth, classes, case.pixels)
    keras.utils.clear_session()  # or the numbers in names go on
    name = f"ResNet{depth}V2" if case.model == "same_pool" else case.model
    model = getattr(keras.applications, name)(
        weights=None,
        input_shape=(case.pixels, case.pixels, 3),
        classes=classes,
        classifier_activation=None,
        **case.built,
    )
    return _documented()["slim_pool"](model) if case.model == "same_pool" else model


def outputs(case: Case, made: Made, **options: Any) -> tuple[Any, Any]:
    """Outputs for two images: of the TF1 graph, and of the Keras model filled from it."""
    filled = made.like.with_name("filled.weights.h5")
    params = {**case.params, **options.pop("params", {})}
    remap(made.source.prefix, case.mapping, filled, like=made.like, params=params, **options)
    made.model.load_weights(filled)
    both = made.source.inputs[0]
    if case.params.get("channels") == "bgr":
        both = both[..., ::-1]
    found = np.asarray(made.model(both, training=False))
    return made.source.outputs[0][:, case.background :], found


def measured(case: Case, made: Made, **options: Any) -> Measured:
    """How far the Keras model is from the TF1 graph."""
    expected, found = outputs(case, made, **options)
    return measure(expected, found)


@pytest.fixture(scope="module")
def made(tf: Any, keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Made]:
    """Makes each light case once."""
    known: dict[str, Made] = {}

    def get(case: Case) -> Made:
        if case.name not in known:
            known[case.name] = make(tf, keras, case, tmp_path_factory.mktemp(case.name))
        return known[case.name]

    return get


@pytest.mark.parametrize("case", _named(CASES))
def test_outputs_are_equal(
    tf: Any, keras: Any, case: Case, made: Callable[[Case], Made], tmp_path: Path
) -> None:
    both = make(tf, keras, case, tmp_path) if case.heavy else made(case)
    found = measured(case, both)
    proves(case.name, found, error=case.error, sensitivity=case.sensitivity)


def _first(rule: str, before: str) -> tuple[str, str]:
    """The edit that puts a rule before another."""
    return rule, f"{before}\n  - {rule}"


_POINTWISE = '{from: "MobilenetV1/Conv2d_{i:int}_pointwise/weights", to: "conv_pw_{i}/kernel"}'
_DEPTHWISE = (
    '{from: "MobilenetV1/Conv2d_{i:int}_depthwise/depthwise_weights", to: "conv_dw_{i}/kernel"}'
)
_SLICED = "{slice: {axis: -1, start: $skip_classes}}"
_SHIFTED = "{slice: {axis: -1, stop: -1}}"

# Light case, what is wrong, edits of the mapping, parameters.
MISTAKES: list[tuple[str, str, list[tuple[str, str]], dict[str, Any]]] = [
    ("mobilenet_v1_0.25_64", "classes shifted by one", [(_SLICED, _SHIFTED)], {}),
    (
        "mobilenet_v1_0.25_64",
        "one square kernel transposed",
        [
            _first(
                _POINTWISE,
                "{from: MobilenetV1/Conv2d_13_pointwise/weights, to: conv_pw_13/kernel,\n"
                "     apply: [{transpose: [0, 1, 3, 2]}]}",
            )
        ],
        {},
    ),
    (
        "mobilenet_v1_0.25_64",
        "height and width of depthwise kernels swapped",
        [(_DEPTHWISE, _DEPTHWISE[:-1] + ", apply: [{transpose: [1, 0, 2, 3]}]}")],
        {},
    ),
    (
        "mobilenet_v2_0.35_96",
        "weights and not their averages",
        [("averages: use", "averages: ignore")],
        {},
    ),
    (
        "mobilenet_v2_0.35_96",
        "offset and mean of one batch norm swapped",
        [
            (
                '{from: "MobilenetV2/Conv/BatchNorm/{part}", to: "bn_Conv1/{part}"}',
                (
                    '{from: "MobilenetV2/Conv/BatchNorm/{part}", to: "bn_Conv1/{part}",\n'
                    "     where: {part: {beta: moving_mean, moving_mean: beta, gamma: gamma,\n"
                    "                    moving_variance: moving_variance}}}"
                ),
            )
        ],
        {},
    ),
    (
        "mobilenet_v3_small_64_gate",
        "scale and variance swapped in one block",
        [
            (
                "  - from: MobilenetV3/expanded_conv{i:suffix}/{layer}/BatchNorm/{part}\n",
                (
                    "  - from: MobilenetV3/expanded_conv_3/expand/BatchNorm/{part}\n"
                    "    to: expanded_conv_3_expand_bn/{part}\n"
                    "    where: {part: {gamma: moving_variance, moving_variance: gamma,\n"
                    "                   beta: beta, moving_mean: moving_mean}}\n"
                    "  - from: MobilenetV3/expanded_conv{i:suffix}/{layer}/BatchNorm/{part}\n"
                ),
            )
        ],
        {},
    ),
    (
        "inception_v3_75",
        "two branches of one shape swapped",
        [
            ("Mixed_6c/Branch_0/Conv2d_0a_1x1: 40", "Mixed_6c/Branch_0/Conv2d_0a_1x1: 49"),
            ("Mixed_6c/Branch_3/Conv2d_0b_1x1: 49", "Mixed_6c/Branch_3/Conv2d_0b_1x1: 40"),
        ],
        {},
    ),
    (
        "inception_v3_75",
        "numbers of names taken for numbers in the file",
        [('"{part.class}{layer+', '"layers/{part.class}{layer+'), ("name: kernel", "name: vars/0")],
        {},
    ),
    ("resnet_v1_50_64", "red and blue swapped", [], {"channels": "bgr"}),
    (
        "resnet_v2_50_64",
        "two batch norms of every unit swapped",
        [
            (
                "_block{u}_{k}_bn/{part}\n",
                "_block{u}_{k}_bn/{part}\n    where: {k: {1: 2, 2: 1}}\n",
            )
        ],
        {},
    ),
    (
        "efficientnet_b0_64",
        "deviations that are no variances",
        [(f"$stddev_{c} * $stddev_{c}", f"$stddev_{c}") for c in "rgb"],
        {},
    ),
]


@pytest.mark.parametrize(
    ("name", "edits", "params"),
    [pytest.param(name, *rest, id=f"{name}: {what}") for name, what, *rest in MISTAKES],
)
def test_a_mistake_in_the_mapping_is_seen(
    name: str,
    edits: list[tuple[str, str]],
    params: dict[str, Any],
    made: Callable[[Case], Made],
) -> None:
    case = BY_NAME[name]
    both = made(case)
    try:
        found = measured(case, both, edits=edits, params=params)
    except CkptError:
        found = None
    refutes(name, found, error=case.error)


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("name", "model"),
    [("resnet_v1_50_64", "ResNet50"), ("resnet_v2_50_64", "ResNet50V2")],
    ids=["resnet_v1", "resnet_v2"],
)
def test_keras_resnets_themselves_are_other_functions(
    keras: Any, name: str, model: str, made: Callable[[Case], Made], tmp_path: Path
) -> None:
    case = BY_NAME[name]._replace(model=model)
    other = keras_model(keras, case, CLASSES - case.background)
    other.save_weights(tmp_path / "target.weights.h5")
    both = made(BY_NAME[name])._replace(model=other, like=tmp_path / "target.weights.h5")
    found = measured(case, both)
    tell(f"{name}, in keras.applications.{model}: {found}")
    assert found.error > 0.1 * found.sensitivity


def test_every_variable_of_a_resnet_v1_arrives(
    made: Callable[[Case], Made],
) -> None:
    """Its status is "weights only": they are all there, bit for bit, and the biases are zero."""
    both = made(BY_NAME["resnet_v1_50_64"])
    outputs(BY_NAME["resnet_v1_50_64"], both)
    model = both.model
    with ckpttool.open(str(both.source.prefix)) as checkpoint:
        unit = "resnet_v1_50/block2/unit_3/bottleneck_v1/conv2"
        read = checkpoint.reader.read
        kernel, bias = model.get_layer("conv3_block3_2_conv").get_weights()
        assert np.array_equal(kernel, read(f"{unit}/weights"))
        assert not bias.any()
        norm = model.get_layer("conv3_block3_2_bn").get_weights()
        names = ("gamma", "beta", "moving_mean", "moving_variance")
        for name, value in zip(names, norm, strict=True):
            assert np.array_equal(value, read(f"{unit}/BatchNorm/{name}"))
        zeros = [
            layer.name
            for layer in model.layers
            if layer.name.endswith("_conv") and layer.get_weights()[1].any()
        ]
        assert zeros == []
