"""Image networks and sizes that the mappings are proved on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import graphs_vision as graphs
from graphs_inception import inception_v3

CLASSES = 11  # one of them "background", where there is one
GATE = "gate"
AVERAGE = "/ExponentialMovingAverage"  # what TensorFlow appends


class Case(NamedTuple):
    """A network of some size.

    ``graph`` and ``options`` make the TF1 graph, ``model`` with ``built`` the Keras model.
    ``error`` is the bound of the largest difference, ``sensitivity`` the least that says anything.
    """

    name: str
    mapping: str
    pixels: int
    graph: Callable[..., Any]
    model: str
    options: Mapping[str, Any] = {}
    built: Mapping[str, Any] = {}
    layers: Mapping[str, Any] = {}
    background: bool = True
    params: Mapping[str, Any] = {}
    training: str = ""
    error: float = 5e-5
    sensitivity: float = 0.1
    heavy: bool = False


V1, V2 = "slim_mobilenet_v1__keras_mobilenet", "slim_mobilenet_v2__keras_mobilenet_v2"
V3, EFF = "slim_mobilenet_v3__keras_mobilenet_v3", "tpu_efficientnet__keras_efficientnet"
INCEPTION = "slim_inception_v3__keras_inception_v3"
RES1, RES2 = "slim_resnet_v1__keras_resnet", "slim_resnet_v2__keras_resnet_v2"
VGG = "slim_vgg_16__keras_vgg16"

_V3 = {"include_preprocessing": False}
_MIN = {"minimalistic": True}
_RES1: dict[str, Any] = {"layers": {"epsilon": 1e-5}, "background": False}
_RES2: dict[str, Any] = {"layers": {"epsilon": 1e-5}}
_EFF: dict[str, Any] = {"background": False}


def _mobilenets(name: str, pixels: int, alpha: float, heavy: bool, training: str = "") -> Case:
    mapping, graph, model = {
        "v1": (V1, graphs.mobilenet_v1, "MobileNet"),
        "v2": (V2, graphs.mobilenet_v2, "MobileNetV2"),
    }[name]
    what = {"alpha": alpha}
    full = f"mobilenet_{name}_{alpha}_{pixels}"
    return Case(full, mapping, pixels, graph, model, what, what, training=training, heavy=heavy)


def _v3(size: str, pixels: int, heavy: bool, error: float, **options: Any) -> Case:
    minimal = {"minimalistic": True} if options.get("minimalistic") else {}
    name = f"mobilenet_v3_{size}{'_minimalistic' if minimal else ''}_{pixels}"
    name += f"_{GATE}" if GATE in options else ""
    model = f"MobileNetV3{size.title()}"
    return Case(
        name,
        V3,
        pixels,
        graphs.mobilenet_v3,
        model,
        {"size": size, **options},
        {**_V3, **minimal},
        error=error,
        heavy=heavy,
    )


def _resnet(version: int, depth: int, pixels: int, model: str, heavy: bool, **more: Any) -> Case:
    mapping, graph, base = (
        (RES1, graphs.resnet_v1, _RES1) if version == 1 else (RES2, graphs.resnet_v2, _RES2)
    )
    name = f"resnet_v{version}_{depth}_{pixels}"
    what = {"depth": depth}
    return Case(name, mapping, pixels, graph, model, what, heavy=heavy, **{**base, **more})


def _efficientnet(variant: str, heavy: bool, pixels: int = 0) -> Case:
    return Case(
        f"efficientnet_{variant}_{pixels or graphs.EFFICIENTNETS[variant][2]}",
        EFF,
        pixels or graphs.EFFICIENTNETS[variant][2],
        graphs.efficientnet,
        f"EfficientNet{variant.upper()}",
        {"variant": variant},
        background=False,
        error=1e-4 if pixels else 2e-5,  # on few pixels outputs are larger
        heavy=heavy,
    )


CASES = [
    _mobilenets("v1", 64, 0.25, False, "momentum"),
    _mobilenets("v2", 96, 0.35, False, "average"),
    _v3("small", 64, False, 2e-5, gate=1 / 6),
    _v3("small", 64, False, 1e-5, minimalistic=True),
    Case("inception_v3_75", INCEPTION, 75, inception_v3, "InceptionV3", layers={"scale": False}),
    _resnet(2, 50, 64, "same_pool", False),
    _resnet(1, 50, 64, "slim_resnet_v1", False),
    _efficientnet("b0", False, 64),
    Case("vgg_16", VGG, 224, graphs.vgg_16, "VGG16", background=False, heavy=True),
    Case(
        "vgg_16_bgr",
        VGG,
        224,
        graphs.vgg_16,
        "VGG16",
        background=False,
        params={"channels": "bgr"},
        heavy=True,
    ),
    Case(
        "inception_v3_299",
        INCEPTION,
        299,
        inception_v3,
        "InceptionV3",
        layers={"scale": False},
        heavy=True,
    ),
    *(_mobilenets("v1", *size, True) for size in ((224, 1.0), (160, 0.5))),
    *(_mobilenets("v2", *size, True) for size in ((224, 1.0), (192, 1.4), (223, 1.0))),
    *(_v3(size, 224, True, 1e-3) for size in ("large", "small")),
    *(_v3(size, 224, True, 2e-5, gate=1 / 6) for size in ("large", "small")),
    *(_v3(size, 224, True, 1e-5, minimalistic=True) for size in ("large", "small")),
    *(_resnet(2, depth, 224, "same_pool", True) for depth in (50, 101, 152)),
    _resnet(2, 50, 225, "ResNet50V2", True),
    *(_resnet(1, depth, 224, "slim_resnet_v1", True) for depth in (50, 101, 152)),
    *(_efficientnet(variant, True) for variant in ("b0", "b1", "b2", "b3")),
    *(_efficientnet(variant, True, 288) for variant in ("b4", "b5", "b6", "b7")),
]
BY_NAME = {case.name: case for case in CASES}
