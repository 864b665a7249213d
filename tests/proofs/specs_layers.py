"""Specs of the mapping of plain layers, from the graphs and layers of its proofs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import test_layers as proofs
from cases_layers import BATCH, BY_NAME, MAPPING
from graphs_layers import Plain
from spec_support import write_spec

from ckpttool.mapping.like.template import load_template
from ckpttool.tensors import TensorSpec

VARIANTS = ("cnn", "conv1d", "embedding", "group_norm", "renorm", "scopes", "slim")


def write(tf: Any, folder: Path) -> None:
    """Build each graph and its Keras model, and write down what they have."""
    import keras

    for name in VARIANTS:
        case = BY_NAME[name]
        with tf.Graph().as_default():
            dtype = "int32" if case.ids else "float32"
            x = tf.compat.v1.placeholder(dtype, (BATCH, *case.shape))
            case.graph(Plain(tf, slim=case.slim), x)
            variables = tf.compat.v1.global_variables()
        source = [
            TensorSpec(item.op.name, "float32", tuple(item.shape.as_list())) for item in variables
        ]
        source.append(TensorSpec("global_step", "int64", ()))
        path = folder / "target.keras"
        proofs.keras_model(keras, case).save(path)
        template = load_template(str(path))
        write_spec(MAPPING, source, template, variant=name, params=case.params)
        path.unlink()
