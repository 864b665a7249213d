"""Proofs of the mappings of canned estimators and of tables in shards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases_estimators import BY_NAME, CASES, Case, disordered
from proof_support import Measured, Source, measure, proves, refutes, remap, tf1_source
from tf1_layers import Layers

from ckpttool.errors import CkptError

pytestmark = pytest.mark.oracle

ERROR = 2e-6


class Made(NamedTuple):
    """A checkpoint, the Keras model to fill, and the file of that model."""

    source: Source
    model: Any
    like: Path


def _trained(tf: Any) -> Callable[[Any], list[Any]]:
    """What a step of the estimators' own optimizers leaves."""

    def train(y: Any) -> list[Any]:
        v1 = tf.compat.v1
        step = v1.train.get_or_create_global_step()
        loss = tf.reduce_mean(tf.square(y))
        known = v1.trainable_variables()
        linear = [item for item in known if item.op.name.startswith("linear/")]
        others = [item for item in known if item not in linear]
        found = [
            optimizer.minimize(loss, var_list=items)
            for optimizer, items in (
                (v1.train.AdagradOptimizer(0.05), others),
                (v1.train.FtrlOptimizer(0.2), linear),
            )
            if items
        ]
        return [found, v1.assign_add(step, 1)]

    return train


@pytest.fixture(scope="module")
def made(tf: Any, keras: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Case], Made]:
    """Makes each case once."""
    known: dict[str, Made] = {}

    def get(case: Case) -> Made:
        if case.name not in known:
            known[case.name] = _make(tf, keras, case, tmp_path_factory.mktemp(case.name))
        return known[case.name]

    return get


def _make(tf: Any, keras: Any, case: Case, folder: Path) -> Made:
    def build(x: Any, calibrating: bool) -> tuple[Any, list[Any]]:
        net = Layers(tf, calibrating=calibrating)
        return case.graph(net, x), net.updates

    def model_variables() -> list[Any]:
        return [item for item in tf.compat.v1.global_variables() if item.op.name != "global_step"]

    source = tf1_source(
        tf,
        folder / "model.ckpt",
        [case.inputs(1), case.inputs(2)],
        build,
        batch=case.inputs(3),
        finish=_trained(tf),
        restored=model_variables,
    )
    keras.utils.clear_session()
    model = case.model(keras)
    like = folder / "target.weights.h5"
    model.save_weights(like)
    return Made(source, model, like)


def _outputs(made: Made, model: Any, filled: Path) -> Measured:
    model.load_weights(filled)
    return measure(made.source.outputs, [np.asarray(model(x)) for x in made.source.inputs])


def _measured(case: Case, made: Made, model: Any = None, **options: Any) -> Measured:
    filled = made.like.with_name("filled.weights.h5")
    asked = {"params": case.params, **options}
    remap(made.source.prefix, case.mapping, filled, like=made.like, **asked)
    return _outputs(made, model or made.model, filled)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_outputs_are_equal(case: Case, made: Callable[[Case], Made]) -> None:
    found = _measured(case, made(case))
    proves(f"{case.mapping}: {case.name}", found, error=ERROR, sensitivity=0.5)


Edits = Sequence[tuple[str, str]]
_SQUARE = "from: dnn/hiddenlayer_1/kernel, to: hiddenlayer_1/kernel"
_TRANSPOSED = ("\nrules:\n", f"\nrules:\n  - {{{_SQUARE}, apply: [transpose]}}\n")
MISTAKES: list[tuple[str, str, dict[str, Any]]] = [
    ("dnn", "a square kernel transposed", {"edits": [_TRANSPOSED]}),
    (
        "dnn",
        "the norms in each other's place",
        {"edits": [("to: batchnorm_{k}/{part}", "to: 'batchnorm_{1-k}/{part}'")]},
    ),
    ("parts", "parts interleaved", {"edits": [("concat: {axis: 0}", "interleave: {axis: 0}")]}),
    ("mod", "one after the other", {"params": {**BY_NAME["div"].params}}),
    ("div", "taken in turn", {"params": {**BY_NAME["mod"].params}}),
]


@pytest.mark.parametrize(("name", "what", "options"), MISTAKES, ids=[row[1] for row in MISTAKES])
def test_a_mistake_is_seen(
    name: str, what: str, options: dict[str, Any], made: Callable[[Case], Made]
) -> None:
    case = BY_NAME[name]
    try:
        found = _measured(case, made(case), **options)
    except CkptError:
        found = None
    refutes(f"{name}, {what}", found, error=ERROR)


def test_columns_in_another_order_are_seen(keras: Any, made: Callable[[Case], Made]) -> None:
    case = BY_NAME["dnn"]
    keras.utils.clear_session()
    found = _measured(case, made(case), disordered(keras))
    refutes("dnn, columns in another order", found, error=ERROR)


def test_the_bias_needs_its_column(made: Callable[[Case], Made]) -> None:
    case = BY_NAME["linear"]
    with pytest.raises(CkptError) as raised:
        _measured(case, made(case), params={})
    found = {problem.code: str(problem) for problem in raised.value.problems}
    assert "linear_bias_column/bias" in found["MAP031"]
    assert "MAP030" in found, "the bias of the Dense layer that has one gets no value"
