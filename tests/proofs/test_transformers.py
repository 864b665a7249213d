"""Proofs of the mappings of transformers: outputs of TF1 graphs and of the libraries' models.

Those with the libraries themselves are heavy, since they need them; what runs everywhere are
forward passes in NumPy over the names of two of the targets.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import graphs_transformers as graphs
import numpy as np
import pytest
from cases_transformers import CASES, Case, hub_config, outside_config
from cases_transformers import Made as Graph
from proof_support import Measured, Source, measure, proves, remap, tf1_source
from tf1_layers import Layers

pytestmark = pytest.mark.oracle

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "how-to" / "migrate-transformers.md"
Sources = Callable[[Graph], Source]


def documented() -> dict[str, Any]:
    """The changes of models that the how-to page has, as it has them."""
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.M):
        if "def " in block:
            exec(block, names)  # noqa: S102
    return names


def trained(tf: Any) -> list[Any]:
    """What training leaves: a step, and the slots of BERT's own optimizer."""
    v1 = tf.compat.v1
    spoilt = [
        v1.get_variable(f"{item.op.name}/{slot}", item.shape, trainable=False)
        for item in v1.trainable_variables()
        for slot in ("adam_m", "adam_v")
    ]
    step = v1.train.get_or_create_global_step()
    return [[v1.assign(item, item + 1) for item in spoilt], v1.assign_add(step, 3)]


def make_source(tf: Any, graph: Graph, folder: Path) -> Source:
    """The TF1 checkpoint of a graph; its outputs are one dictionary for each input."""

    def build(packed: Any, _: bool) -> tuple[Any, list[Any]]:
        return graph.graph(Layers(tf), packed, graph.sizes, **graph.options), []

    def model_variables() -> list[Any]:
        slots = re.compile(r"/adam_[mv]\Z|\Aglobal_step\Z")
        return [v for v in tf.compat.v1.global_variables() if not slots.search(v.op.name)]

    one, two = (graphs.tokens(graph.sizes, length=graph.length, seed=seed) for seed in (1, 2))
    if graph.graph is graphs.gpt2:
        one[:, 1] = two[:, 1] = 1  # it has no mask
    return tf1_source(
        tf,
        folder / "model.ckpt",
        [one, two],
        build,
        batch=one,
        finish=lambda _: trained(tf),
        restored=model_variables,
    )


@pytest.fixture(scope="module")
def sources(tf: Any, tmp_path_factory: pytest.TempPathFactory) -> Sources:
    """Makes each TF1 checkpoint once."""
    known: dict[str, Source] = {}

    def get(graph: Graph) -> Source:
        if graph.name not in known:
            known[graph.name] = make_source(tf, graph, tmp_path_factory.mktemp(graph.name))
        return known[graph.name]

    return get


# The real models.


def hub_model(case: Case) -> Any:
    """The model of keras_hub that a case is loaded into."""
    hub = pytest.importorskip("keras_hub", reason="keras_hub is not installed")
    family = case.mapping.rpartition("_")[2]
    names = {"bert": "Bert", "albert": "Albert", "electra": "Electra", "gpt2": "GPT2"}
    backbone = getattr(hub.models, f"{names[family]}Backbone")(**hub_config(case))
    if case.model.endswith("Backbone"):
        return backbone
    kind = getattr(hub.models, case.model)
    if case.model.endswith("Classifier"):
        return kind(backbone, num_classes=3, preprocessor=None, dropout=0.0)
    return kind(backbone, preprocessor=None)


def hub_outputs(model: Any, case: Case, packed: Any) -> dict[str, Any]:
    """The outputs of a model of keras_hub, by name."""
    fed = {"token_ids": packed[:, 0], "padding_mask": packed[:, 1], "segment_ids": packed[:, 2]}
    if case.model.endswith("MaskedLM"):
        places = np.arange(packed.shape[2])
        fed["mask_positions"] = np.broadcast_to(places, packed[:, 0].shape).astype("int32")
    found = model({key: fed[key] for key in model.input}, training=False)
    if isinstance(found, Mapping):
        return {key: np.asarray(value) for key, value in found.items()}
    value = np.asarray(found)
    (name,) = case.outputs.values()
    return {name: value}


def in_keras_hub(case: Case, source: Source, folder: Path, **options: Any) -> list[Any]:
    """Remap, load into the model of keras_hub, and run."""
    model = hub_model(case)
    like, filled = folder / "target.weights.h5", folder / "filled.weights.h5"
    model.save_weights(like)
    remap(source.prefix, case.mapping, filled, like=like, params=case.params, **options)
    with warnings.catch_warnings():  # its optimizer, which keras_hub makes, is not in the file
        warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
        model.load_weights(filled)
    if case.change:
        documented()[case.change](model)
    return [hub_outputs(model, case, packed) for packed in source.inputs]


def outside(case: Case, source: Source, folder: Path, **options: Any) -> list[Any]:
    """Remap, and load and run the model in a process with Keras 2."""
    if find_spec("tf_keras") is None or find_spec(MODULES[case.library]) is None:
        pytest.skip(f"{MODULES[case.library]} or tf_keras is not installed")
    tf2 = case.library == "tf_models"
    output = folder / ("filled/model.ckpt-1" if tf2 else "model.safetensors")
    output.parent.mkdir(exist_ok=True)
    remap(source.prefix, case.mapping, output, params=case.params, **options)
    job = {
        "library": case.library,
        "model": case.model,
        "config": outside_config(case),
        "config_class": case.config_class,
        "weights": str(output if tf2 else folder),
        "unexpected": case.unexpected,
        "segments": not case.mapping.endswith("gpt2"),
        "root": "encoder",
        "inputs": str(folder / "inputs.npz"),
        "outputs": str(folder / "outputs.npz"),
    }
    np.savez(job["inputs"], one=source.inputs[0], two=source.inputs[1])
    (folder / "job.json").write_text(json.dumps(job), "utf-8")
    done = subprocess.run(
        [sys.executable, str(HERE / "outside.py"), str(folder / "job.json")],
        env={**os.environ, "TF_USE_LEGACY_KERAS": "1", "USE_TORCH": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(job["outputs"]) as found:
        return [
            {key.partition("/")[2]: found[key] for key in found.files if key.startswith(one)}
            for one in ("one/", "two/")
        ]


MODULES = {"transformers": "transformers", "tf_models": "official"}


def measured(case: Case, source: Source, folder: Path, **options: Any) -> Measured:
    """The worst of all outputs that are compared."""
    run = in_keras_hub if case.library == "keras_hub" else outside
    return worst(source, run(case, source, folder, **options), case.outputs)


def worst(source: Source, found: list[Any], outputs: Mapping[str, str]) -> Measured:
    """The largest error and the smallest sensitivity of several outputs."""
    each = [
        measure([item[ours] for item in source.outputs], [item[theirs] for item in found])
        for ours, theirs in outputs.items()
    ]
    return Measured(
        max(item.error for item in each),
        max(item.scale for item in each),
        min(item.sensitivity for item in each),
    )


@pytest.mark.heavy
@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_outputs_are_equal(case: Case, sources: Sources, tmp_path: Path) -> None:
    found = measured(case, sources(case.source), tmp_path)
    proves(case.name, found, error=case.error, sensitivity=case.sensitivity)
