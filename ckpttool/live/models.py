"""Call what makes a model, and let the model's own framework write it down.

Nothing here is imported before somebody names a callable.  What a file says is never imported or
called: only ``package.module:callable`` as a person typed it.
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
import tempfile
import warnings
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

from ckpttool.errors import CkptError, ExtraMissingError, Problem, UsageError
from ckpttool.tensorflow_engine import keep_quiet

_FRAMEWORKS = frozenset(("tensorflow", "keras", "tf_keras", "keras_hub", "sonnet"))
_MAX_DEPTH = 60
_KINDS = "a Keras 3, tf_keras or tf.Module model"


class Folder:
    """A temporary folder, gone when this object is."""

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="ckpttool-")
        self.cleanup = weakref.finalize(self, shutil.rmtree, self.name, ignore_errors=True)
        _FOLDERS.add(self)


_FOLDERS: weakref.WeakSet[Folder] = weakref.WeakSet()


def remove_folders() -> None:
    """Remove all temporary folders: for a process that ends without its exit handlers."""
    for folder in list(_FOLDERS):
        folder.cleanup()


class SavedModel(NamedTuple):
    """A model as its framework wrote it; the files are gone when ``folder`` is.

    ``config`` is the model's configuration as data: layers in the order of ``model.layers``.
    """

    path: str
    folder: Folder
    config: Mapping[str, Any] | None


def call_model(text: str) -> Any:
    """What ``package.module:callable`` returns, called without arguments; or the object itself.

    Raises :class:`ExtraMissingError` where its framework is not installed and
    :class:`UsageError` where there is no such callable, or it fails.
    """
    module_name, _, attributes = text.partition(":")
    keep_quiet()
    here = os.getcwd()
    sys.path.insert(0, here)  # as `python -m` has it
    try:
        found: Any = importlib.import_module(module_name)
        for name in attributes.split("."):
            found = getattr(found, name)
        return found if is_model(found) or not callable(found) else found()
    except CkptError:
        raise
    except Exception as error:
        _missing(error)
        message = f"{text} gives no model: {type(error).__name__}"
        raise UsageError(
            Problem("USE003", message, found=str(error)[:400], expected=_KINDS)
        ) from error
    finally:
        if here in sys.path:
            sys.path.remove(here)


def is_model(found: Any) -> bool:
    """Whether an object, not a class, is one of the models that can be saved here."""
    return not isinstance(found, type) and (is_keras(found) or _is_module(found))


def save_model(model: Any, label: str) -> SavedModel:
    """Have a built model written into a temporary folder.

    Keras models become a ``.weights.h5``, other modules a checkpoint of objects.
    """
    if not is_model(model):
        found = f"a {type(model).__module__}.{type(model).__qualname__}"
        raise UsageError(Problem("USE003", f"{label} is no model", found=found, expected=_KINDS))
    folder = Folder()
    try:
        if is_keras(model):
            path = _save_keras(model, label, folder.name)
            return SavedModel(path, folder, _described(model))
        return SavedModel(_save_module(model, folder.name), folder, None)
    except BaseException:
        folder.cleanup()
        raise


def _save_keras(model: Any, label: str, folder: str) -> str:
    if not model.built or not model.weights:
        hint = "call it once on an input, or model.build(shape)"
        raise UsageError(Problem("USE003", f"{label} has no weights yet", hint=hint))
    path = os.path.join(folder, "model.weights.h5")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save_weights(path)
    return path


def _save_module(model: Any, folder: str) -> str:
    from ckpttool.tensorflow_engine import load_tensorflow

    path: str = load_tensorflow().train.Checkpoint(model).write(os.path.join(folder, "model"))
    return path


def _described(layer: Any, depth: int = 0) -> dict[str, Any]:
    """Class, name, variables and layers, as ``config.json`` has them and more."""
    config: dict[str, Any] = {"name": str(getattr(layer, "name", ""))}
    described: dict[str, Any] = {"class_name": type(layer).__name__, "config": config}
    own = [
        *getattr(layer, "_trainable_variables", ()),
        *getattr(layer, "_non_trainable_variables", ()),
    ]
    described["variables"] = tuple(str(getattr(item, "name", "")) for item in own)
    if depth > _MAX_DEPTH:
        return described
    for name in ("layer", "forward_layer", "backward_layer", "cell"):
        inner = getattr(layer, name, None)
        if inner is not None and hasattr(inner, "weights"):
            config[name] = _described(inner, depth + 1)
    cells = getattr(layer, "cells", None)
    layers = cells if isinstance(cells, (list, tuple)) else getattr(layer, "layers", None)
    if not isinstance(layers, (list, tuple)):
        flatten = getattr(layer, "_flatten_layers", None)
        layers = flatten(include_self=False, recursive=False) if flatten else ()
    config["layers"] = [_described(inner, depth + 1) for inner in layers]
    return described


def is_keras(model: Any) -> bool:
    """Whether an object is a Keras 3 or tf_keras model."""
    return any(
        kind.__name__ == "Model" and kind.__module__.split(".")[0] in ("keras", "tf_keras")
        for kind in type(model).__mro__
    )


def _is_module(model: Any) -> bool:
    tensorflow = sys.modules.get("tensorflow")
    return tensorflow is not None and isinstance(model, tensorflow.Module)


def _missing(error: BaseException) -> None:
    """Raise EXT001 where the reason of an error is a framework that is not installed."""
    seen: BaseException | None = error
    while seen is not None:
        name = getattr(seen, "name", None) or ""
        if isinstance(seen, ImportError) and name.split(".")[0] in _FRAMEWORKS:
            message = "a live model needs its framework, the `tensorflow` extra"
            hint = "pip install 'ckpttool[tensorflow]', or give a file that the model was saved to"
            raise ExtraMissingError(Problem("EXT001", message, found=str(seen), hint=hint))
        seen = seen.__cause__ or seen.__context__
