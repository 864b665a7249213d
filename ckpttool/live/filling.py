"""Give a live model new values, through its own framework's file and loader.

A Keras model is saved by Keras, the values in the file are replaced, and Keras loads the file:
whatever a model's way of keeping its variables is, the file has it.  Other modules go through a
checkpoint of objects in the same way.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ckpttool.errors import CkptError, MappingError, OutputError, Problem, UsageError
from ckpttool.formats.arrays import blocks_of
from ckpttool.formats.base import CHUNK_BYTES
from ckpttool.live.models import is_keras, save_model
from ckpttool.names import OBJECT_GRAPH_KEY
from ckpttool.tensors import TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.formats.base import Reader

    Array = np.ndarray[Any, Any]
    Values = Callable[[], Iterator[Array]]

# Dtype and shape, and arrays that together are the tensor in C order.
Replacements = Mapping[str, tuple[TensorSpec, "Values"]]


def load_values(model: Any, path: str, values: Replacements) -> None:
    """Replace values in ``path``, a file that the model was saved to, and load it.

    Raises :class:`OutputError` where the framework refuses it.
    """
    try:
        if is_keras(model):
            _rewrite_h5(path, values)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about an optimizer that has no state yet
                model.load_weights(path)
        else:
            _load_objects(model, path, values)
    except CkptError:
        raise
    except Exception as error:
        message = f"the model does not load its own file: {type(error).__name__}"
        raise OutputError(Problem("OUT004", message, found=str(error)[:400])) from error


def load_file(model: Any, path: str) -> None:
    """Have a model load a file that is there: a weights file, an archive, an object checkpoint.

    Nothing may be missing.  Raises :class:`UsageError` where the framework refuses it.
    """
    try:
        if is_keras(model) and not os.path.isfile(f"{path}.index"):
            model.load_weights(path)
            return
        from ckpttool.tensorflow_engine import load_tensorflow

        checkpoint = load_tensorflow().train.Checkpoint
        status = checkpoint(model=model).read(path.removesuffix(".index"))
        status.assert_existing_objects_matched()
    except Exception as error:
        message = f"the model does not load this file: {type(error).__name__}"
        raise UsageError(Problem("USE003", message, path, str(error)[:400])) from error


def count_variables(model: Any) -> int:
    """How many variables a model has that a file of its weights should hold."""
    found = model.weights if is_keras(model) else model.variables
    return len({id(item) for item in found})


def refuse_lost(model: Any, label: str, listed: int) -> None:
    """MAP030 where a model's own file does not hold all its variables."""
    count = count_variables(model)
    if listed < count:
        message = f"{label} does not save all its variables: the rest could not be filled"
        hint = "Keras layers in a plain module are not tracked: make the model a keras.Model"
        found = f"{listed} variables in its file"
        raise MappingError(Problem("MAP030", message, None, found, f"{count}", hint))


def saved_again(model: Any, label: str) -> tuple[str, object]:
    """The model as it is now, in a file; the file is gone when the second value is."""
    saved = save_model(model, label)
    return saved.path, saved.folder


def _rewrite_h5(path: str, values: Replacements) -> None:
    """Write into the datasets of a file that Keras wrote; their types stay."""
    import h5py

    with h5py.File(path, "r+") as file:
        for key, (spec, stream) in values.items():
            dataset = file[key]
            most = max(1, CHUNK_BYTES // max(1, dtype_named(spec.dtype).itemsize))
            source = _Pieces(stream())
            for block in blocks_of(spec.shape, most):
                shape = tuple(
                    len(range(*part.indices(size)))
                    for part, size in zip(block, spec.shape, strict=True)
                )
                array = source.take(shape)
                if dataset.dtype.kind == "V":
                    array = array.view(dataset.dtype)
                dataset[block] = array
            source.finish()


class _Pieces:
    """Arrays of any lengths, taken as blocks of given shapes."""

    def __init__(self, arrays: Iterator[Array]) -> None:
        self._arrays = arrays
        self._left: Array | None = None

    def take(self, shape: tuple[int, ...]) -> Array:
        """The next elements, in this shape."""
        import numpy as np

        wanted = int(np.prod(shape))
        parts: list[Array] = []
        while wanted:
            if self._left is None or not len(self._left):
                self._left = next(self._arrays).reshape(-1)
            parts.append(self._left[:wanted])
            self._left = self._left[wanted:]
            wanted -= len(parts[-1])
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        array: Array = np.ascontiguousarray(whole).reshape(shape)
        return array

    def finish(self) -> None:
        """Read on to the end, where a reader checks the checksum."""
        for _ in self._arrays:
            pass


def _load_objects(model: Any, path: str, values: Replacements) -> None:
    """Write the checkpoint again, with other values and the same graph of objects; restore it."""
    from ckpttool.checkpoint import open_checkpoint
    from ckpttool.formats.tensorflow.bundle_target import create
    from ckpttool.formats.writing import Output
    from ckpttool.tensorflow_engine import load_tensorflow

    changed = f"{path}-filled"
    with open_checkpoint(path) as checkpoint, create(changed) as writer:
        for name, spec in checkpoint.specs.items():
            if name in values and name != OBJECT_GRAPH_KEY:
                writer.declare(Output(*values[name][0]._replace(name=name), values[name][1]))
            else:
                stream = _stream(checkpoint.reader, name)
                writer.declare(Output(name, spec.dtype, spec.shape, stream))
        writer.write()
        writer.commit()
    load_tensorflow().train.Checkpoint(model).read(changed).assert_consumed()


def _stream(reader: Reader, name: str) -> Values:
    return lambda: (chunk.array for chunk in reader.chunks(name))
