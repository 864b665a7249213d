"""Templates of formats whose own names say what their variables are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ckpttool.analysis.roles import VALUE_SUFFIX
from ckpttool.mapping.like.template import TargetVariable
from ckpttool.names import OBJECT_GRAPH_KEY, natural_key

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint

Variables = tuple[list[TargetVariable], bool]

_STATE = frozenset(("slot", "average", "step"))
_MAX_PATHS = 6  # object paths of one variable that are names of it
_OPTIMIZER = "optimizer_weights/"


def plain_variables(checkpoint: Checkpoint, config: Mapping[str, Any] | None) -> Variables:
    """Names that are keys, and the graph's own names: TF1 checkpoints, safetensors, npz."""
    found = []
    for row in checkpoint.rows():
        if not row.saved or row.shape is None or row.name == OBJECT_GRAPH_KEY:
            continue
        names = tuple(dict.fromkeys((row.name, *(row.graph_names or ()))))
        required = row.role not in _STATE
        found.append(TargetVariable(row.name, names, row.dtype, row.shape, required))
    return found, False


def legacy_variables(checkpoint: Checkpoint, config: Mapping[str, Any] | None) -> Variables:
    """Legacy ``.h5``: ``<layer>/<weight name>``, in the model's order."""
    found = []
    for key, spec in checkpoint.specs.items():
        plain = key.removesuffix(":0")
        layer, _, weight = plain.partition("/")
        names = [weight or plain, plain]
        last = weight.rpartition("/")[2]
        if not (weight == layer or weight.startswith(layer + "/")):
            # Weights are not always named after their layer; the group is.
            names = [plain, weight]
        names.append(f"{layer}/{last}")
        required = not key.startswith(_OPTIMIZER)
        unique = tuple(name for name in dict.fromkeys(names) if name)
        found.append(TargetVariable(key, unique, spec.dtype, spec.shape, required))
    return found, True


def object_variables(checkpoint: Checkpoint, config: Mapping[str, Any] | None) -> Variables:
    """Object-based checkpoints: paths from the root, and the variable's own name."""
    view = checkpoint.objects
    if view is None:
        return plain_variables(checkpoint, config)
    nodes = view.graph.nodes_by_key()
    found = []
    for key, spec in checkpoint.specs.items():
        if key == OBJECT_GRAPH_KEY:
            continue
        own = key.removesuffix(VALUE_SUFFIX)
        paths = [own]
        if key in nodes:
            walked = view.graph.paths(nodes[key], _MAX_PATHS)
            paths += ["/".join(path) for path in walked]
        full = [name.removesuffix(":0") for name in view.names(key)]
        required = not _is_state(checkpoint, key, paths)
        names = _object_names(full, paths)
        found.append(TargetVariable(key, names, spec.dtype, spec.shape, required))
    order = {item.key: _model_path(item.key, item.names) for item in found}
    found.sort(key=lambda item: (not item.required, natural_key(order[item.key])))
    return found, any("_operations/" in path or "layer-" in path for path in order.values())


def _object_names(full: list[str], paths: list[str]) -> tuple[str, ...]:
    """Model paths first, then the variable's own name, then what else leads to it."""
    model = [path for path in paths if "optimizer" not in path.split("/")]
    bare = [name.partition("/")[2] for name in full if name.count("/") > 1]  # of the model's name
    return tuple(dict.fromkeys([*(full if _tells(full) else ()), *model, *full, *bare, *paths]))


def _tells(full: list[str]) -> bool:
    """Whether a stored name says the layer too; Keras' older names are just ``kernel``."""
    return bool(full) and "/" in full[0]


def _model_path(key: str, names: tuple[str, ...]) -> str:
    paths = [name for name in names if "_operations/" in name or "layer-" in name]
    return min(paths, key=len) if paths else key


def _is_state(checkpoint: Checkpoint, key: str, paths: list[str]) -> bool:
    """Optimizers' and the checkpoint's own variables: a loader of weights does without them."""
    if checkpoint.role(key).role in _STATE:
        return True
    if any(part in ("save_counter", "seed_generator") for part in key.split("/")):
        return True
    return all(_in_optimizer(path) for path in paths) if paths else False


def _in_optimizer(path: str) -> bool:
    parts = path.split("/")
    # An optimizer's list of what it trains is another way to a weight of the model.
    return "optimizer" in parts and "_trainable_variables" not in parts
