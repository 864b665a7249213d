"""What of a live model TensorFlow would save, and what it would lose without a word.

``tf.train.Checkpoint`` follows the references that TensorFlow tracks.  A Keras 3 model of the
user's own class that keeps layers in a list or a dict, and ``StackedRNNCells``, hold variables
that no tracked reference leads to: they are neither saved nor restored, and all of
TensorFlow's asserts pass.  TensorFlow is not imported here: a model brings its own.
Source: ``tensorflow:python/checkpoint/trackable_view.py``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

from ckpttool.errors import OutputError, Problem
from ckpttool.formats.tensorflow.object_graph import MAX_NODES
from ckpttool.formats.tensorflow.object_names import Path, object_key
from ckpttool.names import printable

_LISTED = 5  # names in a message


def tracked(model: Any) -> Iterator[tuple[Path, Any]]:
    """Every object that TensorFlow reaches from ``model``, once, and the shortest path to it."""
    seen = {id(model)}
    queue: deque[tuple[Path, Any]] = deque((((), model),))
    while queue and len(seen) <= MAX_NODES:
        path, found = queue.popleft()
        yield path, found
        children = getattr(found, "_trackable_children", None)
        for name, child in (children("checkpoint") if children else {}).items():
            if id(child) not in seen:
                seen.add(id(child))
                queue.append(((*path, name), child))


def weights_of(model: Any) -> list[Any]:
    """The variables that a model's outputs depend on, each once; no random seeds, no metrics."""
    found: Any = getattr(model, "weights", None)
    if found is None:
        found = getattr(model, "variables", ())
    return list({id(variable): variable for variable in found}.values())


def variable_paths(model: Any, root: Path = ()) -> dict[str, Any]:
    """The weights that TensorFlow reaches, by the names that the writer takes.

    ``root`` is where the model hangs in the checkpoint: ``("model",)`` for
    ``tf.train.Checkpoint(model=model)``, nothing for ``model.load_weights(prefix)``.
    """
    weights = {id(variable) for variable in weights_of(model)}
    return {
        object_key((*root, *path)): found for path, found in tracked(model) if id(found) in weights
    }


def lost_variables(model: Any) -> list[str]:
    """Names of the weights that a TF2 checkpoint of ``model`` would not have."""
    reached = {id(found) for _, found in tracked(model)}
    return [_name(variable) for variable in weights_of(model) if id(variable) not in reached]


def refuse_silent_loss(model: Any) -> None:
    """OUT005 if a TF2 checkpoint could not bring all weights back into ``model``."""
    try:
        lost = lost_variables(model)
    except ValueError as error:  # TensorFlow's own, of lists that were changed behind its back
        problem = Problem("OUT005", f"TensorFlow cannot follow the model's objects: {error}")
        raise OutputError(problem) from error
    if not lost:
        return
    count = len(weights_of(model))
    names = ", ".join(map(printable, lost[:_LISTED]))
    raise OutputError(
        Problem(
            "OUT005",
            "TensorFlow's checkpoints do not follow all of this model's layers: those in plain "
            "lists and dicts of a Keras 3 model would silently keep their random weights",
            found=f"{len(lost)} of {count} variables lost: {names}"
            + (", …" if len(lost) > _LISTED else ""),
            hint="write --to keras (.weights.h5), and load it with model.load_weights",
        )
    )


def _name(variable: Any) -> str:
    return str(getattr(variable, "path", None) or getattr(variable, "name", "a variable"))
