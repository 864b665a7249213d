"""Checkpoints of well-known TF1 code by name and shape, and what each tensor is in Keras.

Used by the tests, and by hand to measure:

    python tests/mapping/suggest/pairs.py
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

Shape = tuple[int, ...]
# For a variable of the target: the tensor it is in the checkpoint with its shape; None if none.
Origin = Callable[[str, Shape], "tuple[str, Shape] | None"]

_SLIM = {
    "kernel": "weights",
    "bias": "biases",
    "gamma": "BatchNorm/gamma",
    "beta": "BatchNorm/beta",
    "moving_mean": "BatchNorm/moving_mean",
    "moving_variance": "BatchNorm/moving_variance",
}


class Known(NamedTuple):
    """A pair: the Keras model, and the origin of each of its variables."""

    name: str
    model: Callable[[Any], Any]
    origin: Origin
    extra: tuple[tuple[str, Shape], ...] = ()  # tensors that the target has no place for


def _one_more(shape: Shape) -> Shape:
    return (*shape[:-1], shape[-1] + 1)


def _mobilenet_v1(name: str, shape: Shape) -> tuple[str, Shape]:
    layer, variable = name.split("/")
    scope = layer.removesuffix("_bn")
    if scope == "conv_preds":
        tail = "weights" if variable == "kernel" else "biases"
        return f"MobilenetV1/Logits/Conv2d_1c_1x1/{tail}", _one_more(shape)
    scope = "0" if scope == "conv1" else scope
    scope = re.sub(r"conv_dw_(\d+)", r"\1_depthwise", scope)
    scope = re.sub(r"conv_pw_(\d+)", r"\1_pointwise", scope)
    tail = _SLIM[variable]
    if variable == "kernel" and scope.endswith("depthwise"):
        tail = "depthwise_weights"
    return f"MobilenetV1/Conv2d_{scope}/{tail}", shape


def _mobilenet_v2(name: str, shape: Shape) -> tuple[str, Shape]:
    layer, variable = name.split("/")
    if layer == "predictions":
        tail = "weights" if variable == "kernel" else "biases"
        wide = _one_more(shape)
        wide = (1, 1, *wide) if variable == "kernel" else wide
        return f"MobilenetV2/Logits/Conv2d_1c_1x1/{tail}", wide
    scope = layer.removesuffix("_bn").removesuffix("_BN").removeprefix("bn_")
    scope = {"Conv1": "Conv", "Conv_1": "Conv_1"}.get(scope, scope)
    scope = re.sub(r"expanded_conv_(\w+)", r"expanded_conv/\1", scope)
    scope = re.sub(r"block_(\d+)_(\w+)", r"expanded_conv_\1/\2", scope)
    tail = "depthwise_weights" if (variable, "depthwise") == ("kernel", scope[-9:]) else None
    return f"MobilenetV2/{scope}/{tail or _SLIM[variable]}", shape


def _mobilenet_v3(name: str, shape: Shape) -> tuple[str, Shape]:
    layer, variable = name.split("/")
    if layer == "logits":
        tail = "weights" if variable == "kernel" else "biases"
        return f"MobilenetV3/Logits/Conv2d_1c_1x1/{tail}", _one_more(shape)
    scope = layer.removesuffix("_bn")
    scope = {"conv": "Conv", "conv_1": "Conv_1", "conv_2": "Conv_2"}.get(scope, scope)
    found = re.fullmatch(r"expanded_conv(_\d+)?_(\w+)", scope)
    if found:
        part = found[2]
        part = {
            "squeeze_excite_conv": "squeeze_excite/Conv",
            "squeeze_excite_conv_1": "squeeze_excite/Conv_1",
        }.get(part, part)
        scope = f"expanded_conv{found[1] or ''}/{part}"
    tail = "depthwise_weights" if (variable, "depthwise") == ("kernel", scope[-9:]) else None
    return f"MobilenetV3/{scope}/{tail or _SLIM[variable]}", shape


def _vgg16(name: str, shape: Shape) -> tuple[str, Shape]:
    layer, variable = name.split("/")
    tail = _SLIM[variable]
    found = re.fullmatch(r"block(\d)_conv(\d)", layer)
    if found:
        return f"vgg_16/conv{found[1]}/conv{found[1]}_{found[2]}/{tail}", shape
    scope = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}[layer]
    return f"vgg_16/{scope}/{tail}", (1, 1, *shape) if variable == "kernel" else shape


def _resnet(version: int) -> Origin:
    def origin(name: str, shape: Shape) -> tuple[str, Shape] | None:
        layer, variable = name.split("/")
        top = f"resnet_v{version}_50"
        if layer == "predictions":
            tail = _SLIM[variable]
            return f"{top}/logits/{tail}", (1, 1, *shape) if variable == "kernel" else shape
        if layer == "post_bn":
            return f"{top}/postnorm/{variable}", shape
        found = re.fullmatch(r"conv(\d)_block(\d+)_(\w+)", layer)
        if not found:
            if version == 1 and variable == "bias":
                return None
            return f"{top}/conv1/{_SLIM[variable]}", shape
        unit = f"{top}/block{int(found[1]) - 1}/unit_{found[2]}/bottleneck_v{version}"
        part = found[3]
        if part == "preact_bn":
            return f"{unit}/preact/{variable}", shape
        number, kind = part.split("_")
        scope = "shortcut" if number == "0" else f"conv{number}"
        if version == 1 and (kind, variable) == ("conv", "bias"):
            return None
        return f"{unit}/{scope}/{_SLIM[variable]}", shape

    return origin


def _inception_order() -> Iterator[str]:
    yield from ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3")
    for block in "bcd":
        one, five = ("0a_1x1", "0b_5x5") if block != "c" else ("0b_1x1", "")
        yield f"Mixed_5{block}/Branch_0/Conv2d_0a_1x1"
        yield f"Mixed_5{block}/Branch_1/Conv2d_{one}"
        yield f"Mixed_5{block}/Branch_1/" + (f"Conv2d_{five}" if five else "Conv_1_0c_5x5")
        for part in ("0a_1x1", "0b_3x3", "0c_3x3"):
            yield f"Mixed_5{block}/Branch_2/Conv2d_{part}"
        yield f"Mixed_5{block}/Branch_3/Conv2d_0b_1x1"
    yield "Mixed_6a/Branch_0/Conv2d_1a_1x1"
    for part in ("0a_1x1", "0b_3x3", "1a_1x1"):
        yield f"Mixed_6a/Branch_1/Conv2d_{part}"
    for block in "bcde":
        yield f"Mixed_6{block}/Branch_0/Conv2d_0a_1x1"
        for part in ("0a_1x1", "0b_1x7", "0c_7x1"):
            yield f"Mixed_6{block}/Branch_1/Conv2d_{part}"
        for part in ("0a_1x1", "0b_7x1", "0c_1x7", "0d_7x1", "0e_1x7"):
            yield f"Mixed_6{block}/Branch_2/Conv2d_{part}"
        yield f"Mixed_6{block}/Branch_3/Conv2d_0b_1x1"
    for branch, parts in (
        ("0", ("0a_1x1", "1a_3x3")),
        ("1", ("0a_1x1", "0b_1x7", "0c_7x1", "1a_3x3")),
    ):
        for part in parts:
            yield f"Mixed_7a/Branch_{branch}/Conv2d_{part}"
    for block in "bc":
        yield f"Mixed_7{block}/Branch_0/Conv2d_0a_1x1"
        for part in ("0a_1x1", "0b_1x3", "0b_3x1" if block == "b" else "0c_3x1"):
            yield f"Mixed_7{block}/Branch_1/Conv2d_{part}"
        for part in ("0a_1x1", "0b_3x3", "0c_1x3", "0d_3x1"):
            yield f"Mixed_7{block}/Branch_2/Conv2d_{part}"
        yield f"Mixed_7{block}/Branch_3/Conv2d_0b_1x1"


_INCEPTION = list(_inception_order())


def _inception(name: str, shape: Shape) -> tuple[str, Shape]:
    layer, variable = name.split("/")
    if layer == "predictions":
        wide = _one_more(shape)
        wide = (1, 1, *wide) if variable == "kernel" else wide
        return f"InceptionV3/Logits/Conv2d_1c_1x1/{_SLIM[variable]}", wide
    tail = layer.rpartition("_")[2]
    place = int(tail) if tail.isdigit() else 0
    return f"InceptionV3/{_INCEPTION[place]}/{_SLIM[variable]}", shape


_AUX: tuple[tuple[str, Shape], ...] = (
    ("InceptionV3/AuxLogits/Conv2d_1b_1x1/weights", (1, 1, 768, 128)),
    ("InceptionV3/AuxLogits/Conv2d_1b_1x1/BatchNorm/beta", (128,)),
    ("InceptionV3/AuxLogits/Conv2d_1b_1x1/BatchNorm/moving_mean", (128,)),
    ("InceptionV3/AuxLogits/Conv2d_1b_1x1/BatchNorm/moving_variance", (128,)),
    ("InceptionV3/AuxLogits/Conv2d_2a_5x5/weights", (5, 5, 128, 768)),
    ("InceptionV3/AuxLogits/Conv2d_2a_5x5/BatchNorm/beta", (768,)),
    ("InceptionV3/AuxLogits/Conv2d_2a_5x5/BatchNorm/moving_mean", (768,)),
    ("InceptionV3/AuxLogits/Conv2d_2a_5x5/BatchNorm/moving_variance", (768,)),
    ("InceptionV3/AuxLogits/Conv2d_2b_1x1/weights", (1, 1, 768, 1001)),
    ("InceptionV3/AuxLogits/Conv2d_2b_1x1/biases", (1001,)),
)


def _efficientnet(name: str, shape: Shape) -> tuple[str, Shape] | None:
    layer, variable = name.split("/")
    top = "efficientnet-b0"
    if layer == "normalization":
        return None
    if layer == "predictions":
        return f"{top}/head/dense/{variable}", shape
    fixed = {
        "stem_conv": "stem/conv2d",
        "stem_bn": "stem/tpu_batch_normalization",
        "top_conv": "head/conv2d",
        "top_bn": "head/tpu_batch_normalization",
    }
    if layer in fixed:
        return f"{top}/{fixed[layer]}/{variable}", shape
    found = re.fullmatch(r"block(\d)([a-z])_(\w+)", layer)
    if found is None:
        raise ValueError(layer)
    before = [1, 2, 2, 3, 3, 4, 1]
    block = sum(before[: int(found[1]) - 1]) + ord(found[2]) - ord("a")
    expand = block > 0
    part = {
        "expand_conv": "conv2d",
        "expand_bn": "tpu_batch_normalization",
        "dwconv": "depthwise_conv2d",
        "bn": "tpu_batch_normalization" + ("_1" if expand else ""),
        "se_reduce": "se/conv2d",
        "se_expand": "se/conv2d_1",
        "project_conv": "conv2d" + ("_1" if expand else ""),
        "project_bn": "tpu_batch_normalization" + ("_2" if expand else "_1"),
    }[found[3]]
    if part == "depthwise_conv2d":
        variable = "depthwise_kernel"
    return f"{top}/blocks_{block}/{part}/{variable}", shape


APPLICATIONS: tuple[Known, ...] = (
    Known(
        "slim vgg_16", lambda k: k.applications.VGG16(weights=None, input_shape=(32, 32, 3)), _vgg16
    ),
    Known(
        "slim inception_v3", lambda k: k.applications.InceptionV3(weights=None), _inception, _AUX
    ),
    Known("slim mobilenet_v1", lambda k: k.applications.MobileNet(weights=None), _mobilenet_v1),
    Known("slim mobilenet_v2", lambda k: k.applications.MobileNetV2(weights=None), _mobilenet_v2),
    Known(
        "slim mobilenet_v3 small",
        lambda k: k.applications.MobileNetV3Small(weights=None, include_preprocessing=False),
        _mobilenet_v3,
    ),
    Known(
        "slim mobilenet_v3 large",
        lambda k: k.applications.MobileNetV3Large(weights=None, include_preprocessing=False),
        _mobilenet_v3,
    ),
    Known("slim resnet_v2_50", lambda k: k.applications.ResNet50V2(weights=None), _resnet(2)),
    Known("slim resnet_v1_50", lambda k: k.applications.ResNet50(weights=None), _resnet(1)),
    Known("efficientnet-b0", lambda k: k.applications.EfficientNetB0(weights=None), _efficientnet),
)


class Score(NamedTuple):
    """How a draft did: variables told rightly and wrongly, of all that have an origin."""

    right: int
    wrong: int
    total: int
    rules: int
    open: int


def truth(known: Known, template: Any) -> tuple[list[tuple[str, Shape]], dict[str, str]]:
    """The checkpoint's tensors, and the origin of each variable of the target, by name."""
    tensors: dict[str, Shape] = dict(known.extra)
    origins: dict[str, str] = {}
    for variable in template.variables:
        if not variable.required:
            continue
        found = known.origin(variable.name, variable.shape)
        if found is not None:
            tensors[found[0]] = found[1]
            origins[variable.name] = found[0]
    return sorted(tensors.items()), origins


def measure(draft: Any, origins: dict[str, str]) -> Score:
    """Compare a draft with the truth."""
    told: dict[str, tuple[str, ...]] = {}
    for rule in draft.rules:
        for line in rule.lines:
            for target in line.targets:
                told[target] = line.sources
    right = sum(told.get(name) == (source,) for name, source in origins.items())
    return Score(right, len(told) - right, len(origins), len(draft.rules), len(draft.missing))


def _run() -> None:
    import keras

    from ckpttool.mapping.like.template import live_template
    from ckpttool.mapping.suggest.draft import draft
    from ckpttool.mapping.suggest.units import SourceTensor

    wanted = sys.argv[1:]
    for known in APPLICATIONS:
        if wanted and not any(word in known.name for word in wanted):
            continue
        template = live_template(known.model(keras))
        tensors, origins = truth(known, template)
        made = draft(
            [SourceTensor(name, "float32", shape) for name, shape in tensors],
            template,
            source=known.name,
        )
        score = measure(made, origins)
        line = f"{known.name:28} {score.right}/{score.total} right, {score.wrong} wrong"
        sys.stdout.write(f"{line}, {score.rules} rules\n")
        keras.backend.clear_session()
        if wanted:
            from ckpttool.render.suggest import draft_text

            sys.stdout.write(draft_text(made))


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))
    _run()
