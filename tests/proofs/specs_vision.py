"""Specs of the mappings of image networks, at their full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import test_vision as proofs
from cases_vision import BY_NAME
from spec_support import write_spec
from tf1_layers import Layers

from ckpttool.mapping.like.template import load_template
from ckpttool.tensors import TensorSpec

FULL = {
    "vgg_16": "",
    "inception_v3_299": "",
    "mobilenet_v1_1.0_224": "",
    "mobilenet_v2_1.0_224": "",
    "mobilenet_v3_large_224": "large",
    "mobilenet_v3_small_224": "small",
    "mobilenet_v3_small_minimalistic_224": "minimalistic",
    "resnet_v2_50_224": "",
    "resnet_v1_50_224": "",
    "efficientnet_b0_224": "b0",
    "efficientnet_b5_288": "b5",
}


def write(tf: Any, folder: Path) -> None:
    """Build each network twice, in TF1 and in Keras, and write down what they have."""
    import keras

    for name, variant in FULL.items():
        case = BY_NAME[name]
        classes = 1000 + case.background
        with tf.Graph().as_default():
            x = tf.compat.v1.placeholder("float32", (1, case.pixels, case.pixels, 3))
            case.graph(Layers(tf, **case.layers), x, classes, **case.options)
            variables = tf.compat.v1.global_variables()
        source = [
            TensorSpec(item.op.name, "float32", tuple(item.shape.as_list())) for item in variables
        ]
        source.append(TensorSpec("global_step", "int64", ()))
        path = folder / "target.weights.h5"
        proofs.keras_model(keras, case, 1000).save_weights(path)
        template = load_template(str(path))
        write_spec(case.mapping, source, template, variant=variant)
        path.unlink()
