"""Specs of the mappings of transformers: as published, and as small as in their proofs.

Runs where `pip install -e '.[dev,proofs]'` has been run; `CASES="hub_bert hub_gpt2"` in the
environment writes those of some cases alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import test_transformers as proofs
from cases_transformers import BY_NAME, Case, outside_config
from graphs_transformers import Sizes
from spec_support import write_spec
from tf1_layers import Layers

from ckpttool.mapping.like.template import Template, load_template
from ckpttool.tensors import TensorSpec

BERT_BASE = Sizes(30522, 512, 2, 12, 12, 768, 3072)
PUBLISHED = {
    "hub_bert": BERT_BASE,
    "hf_bert_heads_torch": BERT_BASE,
    "tf_models_bert": BERT_BASE,
    "hub_albert": BERT_BASE._replace(vocabulary=30000, embedding=128),
    "hf_albert_torch": BERT_BASE._replace(vocabulary=30000, embedding=128),
    "hub_electra": BERT_BASE._replace(heads=4, hidden=256, inner=1024, embedding=128),
    "hf_electra_torch": BERT_BASE._replace(heads=4, hidden=256, inner=1024, embedding=128),
    "hub_gpt2": Sizes(50257, 1024, 0, 12, 12, 768, 3072),
    "hf_gpt2_torch": Sizes(50257, 1024, 0, 12, 12, 768, 3072),
    "hub_xlnet": BERT_BASE._replace(vocabulary=32000),
    "hf_xlnet_torch": BERT_BASE._replace(vocabulary=32000),
    "hf_t5_torch": Sizes(32128, 0, 0, 6, 8, 512, 2048),
}
SMALL = {
    "hub_bert": "small",
    "hub_bert_masked_lm": "masked_lm",
    "hub_bert_classifier": "classifier",
    "hf_bert_classifier_torch": "classifier",
    "hf_bert_squad_torch": "squad",
    "hub_albert_groups": "groups",
    "hub_albert_masked_lm": "masked_lm",
    "hub_albert_classifier": "classifier",
    "hf_albert_groups_torch": "groups",
    "hub_electra": "small",
    "hub_electra_even": "even",
    "hub_generator": "generator",
    "hf_albert_classifier_torch": "classifier",
    "hf_generator_torch": "generator",
    "hf_generator_own_tables_torch": "own_tables",
    "hub_gpt2": "small",
    "hf_xlnet_classifier_torch": "classifier",
    "hf_t5_gated_torch": "gated",
}

# The file of PyTorch's model lacks the bias that the model for TensorFlow asks for; a model of
# question answering has no pooler.
UNCHECKED = ("hf_albert_torch", "hf_albert_groups_torch", "hf_bert_squad_torch")


def write(tf: Any, folder: Path) -> None:
    """Build each graph and its model, and write down what they have."""
    only = os.environ.get("CASES", "").split()
    for name, sizes in PUBLISHED.items():
        if only and name not in only:
            continue
        case = BY_NAME[name]
        params = {**case.params, "heads": sizes.heads} if "heads" in case.params else case.params
        source = case.source._replace(sizes=sizes)
        _write(tf, folder, case._replace(source=source, params=params), "")
    for name, variant in SMALL.items():
        if only and name not in only:
            continue
        _write(tf, folder, BY_NAME[name], variant)


def _write(tf: Any, folder: Path, case: Case, variant: str) -> None:
    graph = case.source
    with tf.Graph().as_default():
        packed = tf.compat.v1.placeholder("int32", (None, 3, 14))
        graph.graph(Layers(tf), packed, graph.sizes, **graph.options)
        variables = tf.compat.v1.global_variables()
    source = [
        TensorSpec(item.op.name, "float32", tuple(item.shape.as_list())) for item in variables
    ]
    source.append(TensorSpec("global_step", "int64", ()))
    template = None if case.name in UNCHECKED else _target(case, folder)
    write_spec(case.mapping, source, template, variant=variant, params=case.params)


def _target(case: Case, folder: Path) -> Template:
    if case.library == "keras_hub":
        path = folder / "target.weights.h5"
        proofs.hub_model(case).save_weights(path)
    else:
        path = folder / ("encoder" if case.library == "tf_models" else "hf")
        job = {
            "library": case.library,
            "model": case.model,
            "config": outside_config(case),
            "config_class": case.config_class,
            "root": "encoder",
            "weights": str(path / "model") if case.library == "tf_models" else str(path),
        }
        (folder / "job.json").write_text(json.dumps(job), "utf-8")
        subprocess.run(  # noqa: S603
            [sys.executable, str(Path(__file__).with_name("outside.py")), str(folder / "job.json")],
            env={**os.environ, "TF_USE_LEGACY_KERAS": "1"},
            check=True,
        )
        path = path / ("model" if case.library == "tf_models" else "model.safetensors")
    return load_template(str(path))
