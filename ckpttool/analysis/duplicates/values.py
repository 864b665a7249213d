"""What the values say: equal, still at the initializer, moved between checkpoints.

Equality costs no data where the index has checksums (V2).  Whether a variable is still what its
initializer made it is exact for constants; for random ones it is a question of bounds and spread
over a bounded sample, so the answer is "as if", never "certainly".
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import CkptError
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.checkpoint import Checkpoint

_SAMPLE = 1 << 20  # elements of a random variable that are looked at
_ENOUGH = 24  # fewer elements tell nothing of a distribution
_NUMBER = r"(-?(?:[0-9.]+(?:e[-+]?[0-9]+)?|inf|nan))"
_NORMAL = re.compile(rf"(truncated|random)_normal\(mean={_NUMBER}, stddev={_NUMBER}\)")
_UNIFORM = re.compile(rf"random_uniform\(minval={_NUMBER}, maxval={_NUMBER}\)")
_CONSTANT = re.compile(rf"constant\({_NUMBER}\)")
# The standard deviation of a normal variable that is cut at two of its own.
_TRUNCATED = 0.87962566

INITIAL, MOVED, UNKNOWN = "initial", "moved", "unknown"


class Start(NamedTuple):
    """Whether a variable is still at its initializer; ``exact`` where no chance is in it."""

    state: str
    exact: bool


def is_constant(text: str) -> bool:
    """Whether an initializer, as told in words, gives the same values each time."""
    return text in ("zeros", "ones") or text.startswith("constant")


class Values:
    """Questions about the values of one checkpoint; each tensor is read at most once for each."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint = checkpoint
        self._starts: dict[str, Start] = {}
        self._flat: dict[str, bool | None] = {}

    def same(self, first: str, second: str) -> bool | None:
        """Whether two variables hold the same values; None if they cannot be read."""
        return same_values(self._checkpoint, first, self._checkpoint, second)

    def start(self, name: str) -> Start:
        """Whether a variable is still what its initializer made it."""
        found = self._starts.get(name)
        if found is None:
            found = self._starts[name] = self._start(name)
        return found

    def flat(self, name: str) -> bool | None:
        """Whether every element is the same finite number, as after a constant initializer."""
        if name not in self._flat:
            self._flat[name] = self._is_flat(name)
        return self._flat[name]

    def _start(self, name: str) -> Start:
        text = self._checkpoint.initializer(name)
        spec = self._checkpoint.specs.get(name)
        unknown = Start(UNKNOWN, False)
        if text is None or spec is None or dtype_named(spec.dtype).kind not in ("float", "int"):
            return unknown
        constant = {"zeros": 0.0, "ones": 1.0}.get(text)
        match = _CONSTANT.fullmatch(text)
        if match:
            constant = float(match[1])
        try:
            if constant is not None:
                return Start(INITIAL if self._equals(name, constant) else MOVED, True)
            return self._random(name, text)
        except CkptError:
            return unknown

    def _random(self, name: str, text: str) -> Start:
        normal, uniform = _NORMAL.fullmatch(text), _UNIFORM.fullmatch(text)
        if normal is None and uniform is None:
            return Start(UNKNOWN, False)
        sample = self._sample(name)
        if normal is not None:
            fits = _fits_normal(
                sample, float(normal[2]), float(normal[3]), cut=normal[1] == "truncated"
            )
        else:
            match = uniform
            fits = match is not None and _fits_uniform(sample, float(match[1]), float(match[2]))
        if not fits:
            return Start(MOVED, False)
        return Start(INITIAL if sample.size >= _ENOUGH else UNKNOWN, False)

    def _equals(self, name: str, constant: float) -> bool:
        import numpy as np

        for array in self._pieces(name):
            wanted = np.asarray(constant).astype(array.dtype)
            if not bool((array == wanted).all()):
                return False
        return True

    def _is_flat(self, name: str) -> bool | None:
        spec = self._checkpoint.specs.get(name)
        if spec is None or spec.parameters < 2 or dtype_named(spec.dtype).kind != "float":
            return None
        first: Any = None
        try:
            for array in self._pieces(name):
                if first is None:
                    first = array[0]
                if not bool((array == first).all()):
                    return False
        except CkptError:
            return None
        return None if first is None else bool(math.isfinite(float(first)))

    def _sample(self, name: str) -> np.ndarray[Any, Any]:
        import numpy as np

        pieces, count = [], 0
        for array in self._pieces(name):
            pieces.append(array[: _SAMPLE - count].astype(np.float64))
            count += pieces[-1].size
            if count >= _SAMPLE:
                break
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def _pieces(self, name: str) -> Iterator[np.ndarray[Any, Any]]:
        for chunk in self._checkpoint.reader.chunks(name):
            yield chunk.array


def _fits_normal(sample: np.ndarray[Any, Any], mean: float, deviation: float, *, cut: bool) -> bool:
    if not math.isfinite(mean) or not deviation > 0:
        return False
    off = abs(sample - mean) / deviation
    furthest = float(off.max()) if sample.size else 0.0
    expected = deviation * (_TRUNCATED if cut else 1.0)
    # Beyond 6.5 deviations lies one of 10 billion samples.
    return furthest <= (2.001 if cut else 6.5) and _spread_fits(sample, mean, expected)


def _fits_uniform(sample: np.ndarray[Any, Any], low: float, high: float) -> bool:
    width = high - low
    if not (math.isfinite(width) and width > 0):
        return False
    slack = width * 1e-6
    if sample.size and not (sample.min() >= low - slack and sample.max() <= high + slack):
        return False
    return _spread_fits(sample, (low + high) / 2, width / math.sqrt(12))


def _spread_fits(sample: np.ndarray[Any, Any], mean: float, deviation: float) -> bool:
    """Whether mean and deviation are those expected, within five standard errors."""
    count = sample.size
    if count < _ENOUGH:
        return True
    error = deviation / math.sqrt(count)
    close = abs(float(sample.mean()) - mean) <= 5 * error
    return close and abs(float(sample.std()) - deviation) <= 5 * error + 1e-3 * deviation


def same_values(
    checkpoint: Checkpoint, name: str, other: Checkpoint, other_name: str
) -> bool | None:
    """Whether two tensors hold the same bytes: by the checksums of the index if it has them.

    None if they are of different shape or one cannot be read.
    """
    one, two = checkpoint.specs.get(name), other.specs.get(other_name)
    if one is None or two is None or (one.dtype, one.shape) != (two.dtype, two.shape):
        return None
    try:
        sums, more = _checksums(checkpoint, name), _checksums(other, other_name)
        if sums is not None and more is not None and len(sums) == len(more):
            return sums == more
        return _streamed(checkpoint, name, other, other_name)
    except CkptError:
        return None


def _checksums(checkpoint: Checkpoint, name: str) -> list[tuple[object, ...]] | None:
    parts = getattr(checkpoint.reader, "stored_parts", None)
    if parts is None:
        return None
    order = getattr(checkpoint.reader, "endianness", "little")
    return [(order, part.slice, part.size, part.crc32c) for part in parts(name)]


def _streamed(checkpoint: Checkpoint, name: str, other: Checkpoint, other_name: str) -> bool:
    import numpy as np

    one, two = checkpoint.reader.chunks(name), other.reader.chunks(other_name)
    for first, second in zip(one, two, strict=True):
        if first.array.tobytes() != second.array.tobytes() and not np.array_equal(
            first.array, second.array
        ):
            return False
    return True


def moved_between(checkpoints: Sequence[Checkpoint], name: str) -> bool | None:
    """Whether a variable changed anywhere in a row of checkpoints; None if it is not in two."""
    known = [checkpoint for checkpoint in checkpoints if name in checkpoint.specs]
    answers = [same_values(one, name, two, name) for one, two in itertools.pairwise(known)]
    if not answers or None in answers:
        return True if False in answers else None
    return False in answers
