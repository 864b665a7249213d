"""Specs of the mappings of recurrent cells, from the graphs and layers of their proofs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import test_rnn as proofs
from cases_rnn import BY_NAME, STEPS, WIDTH
from spec_support import write_spec

from ckpttool.mapping.like.template import load_template
from ckpttool.tensors import TensorSpec

VARIANTS = {
    "lstm_static": "static",
    "lstm_cells": "cells",
    "lstm_named_layers": "scopes",
    "lstm_stack_both": "both",
    "gru_multi": "multi",
    "gru_both": "both",
    "gru_block": "",
    "basic_rnn_cudnn_tanh": "cudnn",
    "basic_rnn_stack_both": "both",
    "cudnn_lstm": "",
    "cudnn_lstm_both": "both",
    "cudnn_gru": "",
    "cudnn_gru_both": "both",
    "model": "",
}


def write(tf: Any, folder: Path) -> None:
    """Build each graph and its Keras model, and write down what they have."""
    import keras

    for name, variant in VARIANTS.items():
        case = BY_NAME[name]
        with tf.Graph().as_default():
            shape, dtype = ((3, STEPS), "int32") if case.ids else ((3, STEPS, WIDTH), "float32")
            case.graph(tf, tf.compat.v1.placeholder(dtype, shape))
            variables = tf.compat.v1.global_variables()
        source = [
            TensorSpec(item.op.name, "float32", tuple(item.shape.as_list())) for item in variables
        ]
        source.append(TensorSpec("global_step", "int64", ()))
        path = folder / "target.weights.h5"
        proofs.keras_model(keras, case).save_weights(path)
        template = load_template(str(path))
        write_spec(case.mapping, source, template, variant=variant, params=case.params)
        path.unlink()
