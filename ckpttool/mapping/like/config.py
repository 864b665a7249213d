"""A model's configuration as data: which layer has which class and options.

``config.json`` of a ``.keras`` archive, ``model_config`` of a legacy ``.h5``.  Nothing in it is
imported, looked up or built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ckpttool.errors import InputError, Problem
from ckpttool.mapping.like.layers import snake

MAX_LAYERS = 1_000_000
MAX_DEPTH = 64


class Layer(NamedTuple):
    """One layer: class, name, options, and the layers in it by attribute.

    ``layers`` are those of a model or a stack of cells, in the order of ``model.layers``, by which
    Keras numbers them in files.  ``variables`` are names of its own variables where a live model
    told them.
    """

    kind: str
    name: str
    options: Mapping[str, Any]
    attributes: Mapping[str, Layer]
    layers: tuple[Layer, ...] = ()
    variables: tuple[str, ...] | None = None

    def child(self, attribute: str, label: str | None) -> Layer | None:
        """The layer under an attribute; else the only one of that name."""
        if attribute in self.attributes:
            return self.attributes[attribute]
        named = [layer for layer in self.layers if label and layer.name == label]
        return named[0] if len(named) == 1 else None

    def numbered(self) -> Iterator[tuple[str, Layer]]:
        """Each of ``layers`` with the name that a file gives it: ``dense``, ``dense_1``."""
        counts: dict[str, int] = {}
        for layer in self.layers:
            stem = snake(layer.kind)
            number = counts.get(stem, 0)
            counts[stem] = number + 1
            yield (f"{stem}_{number}" if number else stem), layer


def parse_config(raw: bytes, path: str) -> dict[str, Any] | None:
    """The configuration as plain data; None for what is none.  Raises :class:`InputError`."""
    import json

    try:
        found = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(
            Problem("INP004", "the model's configuration is not valid JSON", path, str(error)[:200])
        ) from error
    return found if isinstance(found, dict) else None


def layer_tree(config: Mapping[str, Any] | None) -> Layer | None:
    """The layers of a configuration; None where it does not tell any."""
    if config is None:
        return None
    budget = [MAX_LAYERS]
    return _layer(config, budget, 0)


def _layer(found: object, budget: list[int], depth: int) -> Layer | None:
    budget[0] -= 1
    if not isinstance(found, Mapping) or depth > MAX_DEPTH or budget[0] < 0:
        return None
    kind, options = found.get("class_name"), found.get("config")
    if not isinstance(kind, str):
        return None
    if not isinstance(options, Mapping):
        options = {}
    kind = kind.rpartition(">")[2]  # `package>Class` of a registered one
    name = options.get("name", found.get("name"))  # a custom class may keep it out of its options
    attributes: dict[str, Layer] = {}
    for attribute in ("layer", "forward_layer", "backward_layer", "cell"):
        inner = _layer(options.get(attribute), budget, depth + 1)
        if inner is not None:
            attributes[attribute] = inner
    if kind == "Bidirectional":
        _both_ways(attributes)
    layers = _layers(options, budget, depth)
    text = name if isinstance(name, str) else ""
    return Layer(kind, text, options, attributes, layers, found.get("variables"))


def _layers(options: Mapping[str, Any], budget: list[int], depth: int) -> tuple[Layer, ...]:
    for key in ("layers", "cells"):
        items = options.get(key)
        if isinstance(items, (list, tuple)):
            found = (_layer(item, budget, depth + 1) for item in items if not _is_operation(item))
            return tuple(layer for layer in found if layer is not None)
    return ()


def _both_ways(attributes: dict[str, Layer]) -> None:
    """Bidirectional keeps its layer under ``layer`` and names the two copies after it."""
    inner = attributes.get("layer")
    if inner is None:
        return
    for attribute, prefix in (("forward_layer", "forward_"), ("backward_layer", "backward_")):
        layer = attributes.setdefault(attribute, inner)
        if not layer.name.startswith(prefix):
            attributes[attribute] = layer._replace(name=prefix + layer.name)


def _is_operation(found: object) -> bool:
    """Whether an entry is a plain function such as ``keras.ops.add``: no layer, no number."""
    module = found.get("module") if isinstance(found, Mapping) else None
    return isinstance(module, str) and "ops" in module.split(".")
