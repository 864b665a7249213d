"""Whether two computations agree: an error beside what the output does when inputs change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

EQUAL, CLOSE, DIFFERENT, NOTHING = "equal", "close", "different", "nothing"

# Error by sensitivity, up to which rounding explains it.  In float64 what remains is constants
# of the graph that are stored as float32 (0.1, an epsilon).
TOLERANCE = {"float32": 1e-4, "float64": 1e-6}
_CLOSE = 100.0  # times the tolerance
# Sensitivity by magnitude, below which the input hardly reaches the output.
DEAD = 1e-4


class FedInput(NamedTuple):
    """What was fed to one input of the graph.

    ``values`` says from where: ``normal``, ``int 0 to 99``, ``False``.  ``model_input`` is the
    model's input that got the same.  ``moves`` is how far the output went when this input alone
    was drawn again; None for what is not random.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    values: str
    model_input: str | None
    moves: float | None = None


class Proof(NamedTuple):
    """How well a model agrees with the graph that it was converted from.

    ``verdict``: ``equal`` (the error is one of rounding), ``close`` (it is more than that),
    ``different``, or ``nothing``: nothing is proved, since the output hardly moves with the input,
    is not finite, or is random.  ``sensitivity`` is how far the source's output moves between two
    inputs, ``magnitude`` its largest absolute value.  ``reasons`` say why, ``notes`` what else.
    """

    verdict: str
    max_abs_error: float
    sensitivity: float
    magnitude: float
    tolerance: float
    dtype: str
    output: str
    model_output: str
    feeds: tuple[FedInput, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the two are equal."""
        return self.verdict == EQUAL


class Measured(NamedTuple):
    """The three numbers of a comparison."""

    error: float
    sensitivity: float
    magnitude: float


def measured(source: Sequence[Array], model: Sequence[Array], sensitivity: float) -> Measured:
    """Largest differences between outputs for the same inputs; all in float64."""
    import numpy as np

    with np.errstate(all="ignore"):
        error = max(distance(a, b) for a, b in zip(source, model, strict=True))
        magnitude = max(float(np.abs(a.astype("f8")).max(initial=0.0)) for a in source)
    return Measured(error, sensitivity, magnitude)


def distance(a: Array, b: Array) -> float:
    """The largest absolute difference; NaN where either has one."""
    import numpy as np

    with np.errstate(all="ignore"):
        return float(np.abs(a.astype("f8") - b.astype("f8")).max(initial=0.0))


def judge(found: Measured, tolerance: float, dtype: str) -> tuple[str, tuple[str, ...]]:
    """The verdict, and why."""
    error, sensitivity, magnitude = found
    if not all(_finite(value) for value in (sensitivity, magnitude)):
        return NOTHING, ("the graph's output is not finite: NaN or infinity",)
    if sensitivity <= DEAD * magnitude or sensitivity == 0:
        reason = (
            f"the output hardly moves with the input: by {sensitivity:.2g}, at a magnitude of "
            f"{magnitude:.2g}; wrong weights would not show. Feed inputs that it depends on, or "
            "choose a tensor further up with --output-tensor"
        )
        return NOTHING, (reason,)
    if not _finite(error):
        return DIFFERENT, ("the model's output is not finite: NaN or infinity",)
    if error <= tolerance * sensitivity:
        return EQUAL, ()
    share = error / sensitivity
    if share <= _CLOSE * tolerance:
        settle = (
            "settle it with --float64, where only a real difference remains"
            if dtype == "float32"
            else "look for an epsilon, a constant or an approximation that differs"
        )
        reason = (
            f"the error is {share:.1g} of what the input moves: more than rounding ({tolerance:g}),"
            f" less than wrong weights; {settle}"
        )
        return CLOSE, (reason,)
    return DIFFERENT, (f"the error is {share:.2g} of what the input moves",)


def hints(source: Array, model: Array, close: float) -> list[str]:
    """What a known difference would explain."""
    import numpy as np

    out = []
    if source.ndim and source.shape[-1] > 1:
        with np.errstate(all="ignore"):
            for word, a, b in (("graph", source, model), ("model", model, source)):
                if distance(_softmax(a), b) <= close:
                    out.append(
                        f"they agree after a softmax of the {word}'s output: "
                        "compare logits with logits, --output-tensor and --model-output"
                    )
                    break
    if source.ndim and source.shape[0] > 1 and distance(source[::-1], model) <= close:
        out.append("they agree with the batch in reverse order")
    return out


def _softmax(array: Array) -> Array:
    import numpy as np

    wide = array.astype("f8")
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    found: Array = powers / powers.sum(axis=-1, keepdims=True)
    return found


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")
