"""The proof without a graph: inputs and expected outputs from an ``.npz``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckpttool.checkpoint import open_checkpoint
from ckpttool.errors import Problem, UsageError
from ckpttool.mapping.proving.agreement import TOLERANCE, FedInput, Proof, hints, judge, measured

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.live.targets import TargetModel
    from ckpttool.mapping.proving.proof import ProveOptions

    Array = np.ndarray[Any, Any]

_INPUT, _OUTPUT = "input", "output"
_FORM = "arrays `input` and `output`, or `input/NAME` for each input of the model"


def prove_by_file(
    target: TargetModel, path: str, options: ProveOptions, notes: Sequence[str]
) -> Proof:
    """Compare with the ``output`` of an ``.npz`` on its ``input``, or ``input/NAME`` for several.

    The examples of the batch are told apart by their outputs: there have to be two or more.
    """
    arrays = _arrays(path)
    expected = arrays.pop(_OUTPUT)
    given = _inputs(arrays, target, path)
    named = target.run(given)
    from ckpttool.mapping.proving.proof import fitted, model_output

    chosen = model_output(named, expected, options.model_output, target.label)
    found = fitted(named[chosen], expected, chosen)
    dtype = "float64" if options.float64 else "float32"
    tolerance = TOLERANCE[dtype] if options.tolerance is None else options.tolerance
    sensitivity = 0.0
    if expected.ndim and expected.shape[0] > 1:
        wide = expected.astype("f8")
        sensitivity = float((wide.max(axis=0) - wide.min(axis=0)).max(initial=0.0))
    numbers = measured([expected], [found], sensitivity)
    verdict, reasons = judge(numbers, tolerance, dtype)
    if not expected.ndim or expected.shape[0] < 2:
        reasons = ("there is one example only: nothing tells what the output depends on",)
    elif verdict in ("close", "different"):
        reasons += tuple(hints(expected, found, tolerance * sensitivity))
    feeds = tuple(
        FedInput(name, str(array.dtype), array.shape, "as in the file", name)
        for name, array in given.items()
    )
    return Proof(
        verdict, numbers.error, sensitivity, numbers.magnitude, tolerance, dtype, path, chosen,
        feeds, reasons, tuple(notes),
    )  # fmt: skip


def _arrays(path: str) -> dict[str, Array]:
    with open_checkpoint(path) as file:
        if file.info.format != "npz" or _OUTPUT not in file.specs:
            found = ", ".join(list(file.specs)[:8]) or file.info.format
            raise UsageError(Problem("USE003", "not inputs and outputs", path, found, _FORM))
        return {name: file.reader.read(name) for name in file.specs}


def _inputs(arrays: Mapping[str, Array], target: TargetModel, path: str) -> dict[str, Array]:
    dtypes = {item.name: item.dtype for item in target.inputs}
    given: dict[str, Array] = {}
    for key, array in arrays.items():
        if key == _INPUT and len(target.inputs) < 2:
            name = target.inputs[0].name if target.inputs else _INPUT
        elif key.startswith(f"{_INPUT}/"):
            name = key.removeprefix(f"{_INPUT}/")
        else:
            raise UsageError(Problem("USE003", "not inputs and outputs", path, key, _FORM))
        given[name] = array.astype(dtypes.get(name) or array.dtype)
    if set(given) != set(dtypes) and (dtypes or not given):
        found, expected = ", ".join(given) or "none", ", ".join(dtypes)
        raise UsageError(Problem("USE003", "not the model's inputs", path, found, expected))
    return given
