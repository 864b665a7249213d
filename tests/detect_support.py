"""What the tests of detecting share: names and shapes of nets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ckpttool.analysis.roles import infer_roles
from ckpttool.mapping.detecting.detect import detect
from ckpttool.mapping.detecting.proposals import Detection
from ckpttool.tensors import TensorSpec

Shapes = Mapping[str, tuple[int, ...]]


def named(shapes: Shapes) -> dict[str, TensorSpec]:
    """Float specs."""
    return {name: TensorSpec(name, "float32", shape) for name, shape in shapes.items()}


def detected(shapes: Shapes | Mapping[str, TensorSpec], **options: Any) -> Detection:
    """What fits these names, with the roles that they show."""
    specs = {
        name: item if isinstance(item, TensorSpec) else TensorSpec(name, "float32", item)
        for name, item in shapes.items()
    }
    return detect("model.ckpt", specs, infer_roles(specs), **options)


def _dense(name: str, inputs: int, units: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": (inputs, units), f"{name}/bias": (units,)}


def _norm(name: str, units: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/LayerNorm/gamma": (units,), f"{name}/LayerNorm/beta": (units,)}


def bert(
    layers: int = 2,
    hidden: int = 128,
    *,
    scope: str = "bert/",
    heads: bool = True,
    adam: bool = False,
) -> dict[str, tuple[int, ...]]:
    """google-research/bert, as run_pretraining.py saves it; ``scope`` stands before all."""
    found: dict[str, tuple[int, ...]] = {
        f"{scope}embeddings/word_embeddings": (300, hidden),
        f"{scope}embeddings/token_type_embeddings": (2, hidden),
        f"{scope}embeddings/position_embeddings": (512, hidden),
        **_norm(f"{scope}embeddings", hidden),
        **_dense(f"{scope}pooler/dense", hidden, hidden),
    }
    for layer in range(layers):
        at = f"{scope}encoder/layer_{layer}"
        for part in ("query", "key", "value"):
            found |= _dense(f"{at}/attention/self/{part}", hidden, hidden)
        found |= _dense(f"{at}/attention/output/dense", hidden, hidden)
        found |= _dense(f"{at}/intermediate/dense", hidden, 4 * hidden)
        found |= _dense(f"{at}/output/dense", 4 * hidden, hidden)
        found |= _norm(f"{at}/attention/output", hidden) | _norm(f"{at}/output", hidden)
    if heads:
        found |= _dense("cls/predictions/transform/dense", hidden, hidden)
        found |= _norm("cls/predictions/transform", hidden)
        found["cls/predictions/output_bias"] = (300,)
        found["cls/seq_relationship/output_weights"] = (2, hidden)
        found["cls/seq_relationship/output_bias"] = (2,)
    if adam:
        found |= {f"{name}/adam_{kind}": found[name] for name in list(found) for kind in "mv"}
        found["global_step"] = ()
    return found


def layers(count: int = 3, scope: str = "net/") -> dict[str, tuple[int, ...]]:
    """A net of dense layers that is nobody's."""
    found: dict[str, tuple[int, ...]] = {}
    for number in range(count):
        found |= _dense(f"{scope}stage_{number}/project", 8, 8)
    return found
