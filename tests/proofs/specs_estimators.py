"""Specs of the mappings of estimators and tables, from the graphs and models of their proofs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cases_estimators import CASES
from spec_support import write_spec
from tf1_layers import Layers

from ckpttool.mapping.like.template import load_template
from ckpttool.tensors import TensorSpec


def write(tf: Any, folder: Path) -> None:
    """Build each graph and its Keras model, and write down what they have."""
    import keras

    for case in CASES:
        with tf.Graph().as_default():
            batch = case.inputs(1)
            case.graph(Layers(tf), tf.compat.v1.placeholder(batch.dtype, batch.shape))
            variables = tf.compat.v1.global_variables()
        source = [
            TensorSpec(item.op.name, "float32", tuple(item.shape.as_list())) for item in variables
        ]
        source.append(TensorSpec("global_step", "int64", ()))
        keras.utils.clear_session()
        path = folder / "target.weights.h5"
        case.model(keras).save_weights(path)
        template = load_template(str(path))
        write_spec(case.mapping, source, template, variant=case.name, params=case.params)
        path.unlink()
