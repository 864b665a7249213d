"""A converted model, to be run on what the TF1 graph was run on."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import Problem, UsageError
from ckpttool.live.models import call_model, is_keras, is_model
from ckpttool.tensorflow_engine import load_tensorflow

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Dims = tuple[int | None, ...]

_KERAS_SUFFIX = ".keras"


class ModelInput(NamedTuple):
    """One input of the model; ``shape`` is None where the model does not say."""

    name: str
    dtype: str | None
    shape: Dims | None


def open_model(model: Any, double: bool = False) -> Any:
    """The model itself, what ``module:callable`` returns, or what a ``.keras`` archive holds.

    An archive is loaded in Keras' safe mode: no code in it is run.  ``double`` has the callable
    make its model in float64.  Raises :class:`UsageError` where there is no model.
    """
    if not isinstance(model, str):
        return model
    if model.endswith(_KERAS_SUFFIX) and os.path.isfile(model):
        return _load_archive(model)
    if ":" not in model:
        expected = "package.module:callable, or a .keras archive"
        raise UsageError(Problem("USE003", "this is no model to be run", None, model, expected))
    with _in_double() if double else nullcontext():
        return call_model(model)


@contextmanager
def _in_double() -> Iterator[None]:
    """Models that are made meanwhile are in float64."""
    load_tensorflow()
    here = []
    for name in ("keras", "tf_keras"):
        with suppress(ImportError):
            here.append(importlib.import_module(name))
    before = []
    for keras in here:
        policy = keras.mixed_precision
        get = getattr(policy, "global_policy", None) or policy.dtype_policy
        before.append((keras.backend.floatx(), get()))
        keras.backend.set_floatx("float64")
        policy.set_global_policy("float64")
    try:
        yield
    finally:
        for keras, (floatx, policy) in zip(here, before, strict=True):
            keras.backend.set_floatx(floatx)
            keras.mixed_precision.set_global_policy(policy)


def fresh_names() -> None:
    """Have Keras number its layers from the beginning: the next model is called as the first."""
    keras = sys.modules.get("keras")
    if keras is not None:
        keras.backend.clear_session()


def _load_archive(path: str) -> Any:
    try:
        return load_tensorflow().keras.models.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        message = f"Keras does not load this archive: {type(error).__name__}"
        hint = "give the model as module:callable if it has layers of your own"
        raise UsageError(Problem("USE003", message, path, str(error)[:300], hint=hint)) from error


class TargetModel:
    """A live model with named inputs and outputs."""

    def __init__(self, model: Any, label: str) -> None:
        """Raises :class:`UsageError` where ``model`` cannot be called."""
        if not is_model(model) or not callable(model):
            found = f"a {type(model).__module__}.{type(model).__qualname__}"
            raise UsageError(Problem("USE003", f"{label} is no model to be run", None, found))
        self.model = model
        self.label = label
        self._keras = is_keras(model)
        # Keras 3 may compute with other things than TensorFlow's tensors.
        three = self._keras and hasattr(sys.modules.get("keras"), "ops") and _is_three(model)
        self._backend = sys.modules["keras"].ops if three else None
        self.inputs: tuple[ModelInput, ...] = tuple(self._inputs())

    @property
    def in_double(self) -> bool:
        """Whether all its floating-point variables are float64."""
        found = self.model.weights if self._keras else self.model.variables
        dtypes = [str(getattr(item.dtype, "name", item.dtype)) for item in found]
        return all(name == "float64" for name in dtypes if "float" in name)

    @property
    def shapes(self) -> tuple[Dims, ...]:
        """The shapes of its outputs, where it says them."""
        outputs = getattr(self.model, "outputs", None) if self._keras else None
        return tuple(tuple(item.shape) for item in outputs or ())

    def run(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name; ``values`` are those of the inputs.

        Raises :class:`UsageError` where the model does not take them.
        """
        try:
            return dict(self._flat(self._call(values)))
        except UsageError:
            raise
        except Exception as error:
            message = f"{self.label} does not take these inputs: {type(error).__name__}"
            shapes = ", ".join(f"{name} {list(item.shape)}" for name, item in values.items())
            raise UsageError(Problem("USE003", message, None, shapes, str(error)[:300])) from error

    def _inputs(self) -> list[ModelInput]:
        found = []
        tensors = getattr(self.model, "inputs", None) if self._keras else None
        for tensor in tensors or ():
            name = str(tensor.name).partition(":")[0]
            dtype = str(getattr(tensor.dtype, "name", tensor.dtype))
            found.append(ModelInput(name, dtype, tuple(tensor.shape)))
        return found

    def _call(self, values: Mapping[str, Array]) -> Any:
        arrays: dict[str, Any] = dict(values)
        if self._backend is None:
            convert = load_tensorflow().constant
            arrays = {name: convert(value) for name, value in values.items()}
        given: Any = arrays
        if self.inputs:
            structure = getattr(self.model, "input", None)
            if not isinstance(structure, Mapping):
                listed = [arrays[item.name] for item in self.inputs]
                several = len(listed) > 1 or isinstance(structure, (list, tuple))
                given = listed if several else listed[0]
        elif len(arrays) == 1:
            given = next(iter(arrays.values()))
        return self.model(given, training=False) if self._keras else self.model(given)

    def _flat(self, value: Any, name: str = "") -> list[tuple[str, Array]]:
        import numpy as np

        if isinstance(value, Mapping):
            parts: Sequence[tuple[Any, Any]] = list(value.items())
        elif isinstance(value, (list, tuple)):
            parts = list(enumerate(value))
        else:
            plain = value if self._backend is None else self._backend.convert_to_numpy(value)
            return [(name or "output", np.asarray(plain))]
        joined = [(f"{name}/{key}" if name else str(key), item) for key, item in parts]
        return [pair for key, item in joined for pair in self._flat(item, key)]


def _is_three(model: Any) -> bool:
    """Whether a Keras model is one of Keras 3."""
    return any(kind.__module__.split(".")[0] == "keras" for kind in type(model).__mro__)
