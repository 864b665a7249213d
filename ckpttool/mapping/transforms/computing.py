"""Arrays made by computing with values, and the checks that no value is lost in silence.

Narrow floating-point types are computed in float32 and rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any

from ckpttool.errors import MappingError, Problem
from ckpttool.formats.arrays import blocks_of
from ckpttool.formats.base import CHUNK_BYTES
from ckpttool.mapping.transforms.base import ArraySpec, Index, Lazy
from ckpttool.mapping.transforms.declared import resized
from ckpttool.mapping.transforms.lazy import Computed, names_of
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_AT_ONCE = 1 << 18  # elements; few enough to stay in the processor's cache


class Mapped(Computed):
    """A function of each element alone."""

    def __init__(self, spec: ArraySpec, source: Lazy, function: Callable[[Array], Array]) -> None:
        super().__init__(spec, (source,))
        self._function = function

    @property
    def streams(self) -> bool:
        """As its source."""
        return getattr(self.inputs[0], "streams", False)

    def region(self, low: Index, high: Index) -> Array:
        """The function of the source's region."""
        return self._function(self.inputs[0].region(low, high))

    def stream(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """The function of the source's stream."""
        source = self.inputs[0]
        before = dtype_named(source.spec.dtype).itemsize
        after = dtype_named(self._spec.dtype).itemsize
        wanted = max(1, max_bytes // max(before, after)) * before
        for array in source.stream(wanted):
            yield self._function(array)


class Raised(Computed):
    """A value added to some places of an axis."""

    def __init__(self, source: Lazy, axis: int, start: int, stop: int, value: float) -> None:
        super().__init__(source.spec, (source,))
        self._axis = axis
        self._bounds = (start, stop)
        self._add = adder(source, value)

    def region(self, low: Index, high: Index) -> Array:
        """A copy where it is in the way of the addition."""
        axis = self._axis
        array = self.inputs[0].region(low, high)
        start, stop = (min(max(b - low[axis], 0), array.shape[axis]) for b in self._bounds)
        if start >= stop:
            return array
        at = (slice(None),) * axis + (slice(start, stop),)
        out: Array = array.copy()
        out[at] = self._add(array[at])
        return out


class Summed(Computed):
    """The sum of equal blocks of an axis."""

    def __init__(self, spec: ArraySpec, source: Lazy, axis: int, blocks: int) -> None:
        super().__init__(spec, (source,))
        self._axis = axis
        self._blocks = blocks

    def region(self, low: Index, high: Index) -> Array:
        """Block by block, from the first."""
        import numpy as np

        shape = tuple(b - a for a, b in zip(low, high, strict=True))
        out = np.empty(shape, dtype_named(self._spec.dtype).numpy)
        for block in blocks_of(shape, _AT_ONCE):
            bounds = [part.indices(size) for part, size in zip(block, shape, strict=True)]
            lower = tuple(a + item[0] for a, item in zip(low, bounds, strict=True))
            upper = tuple(a + item[1] for a, item in zip(low, bounds, strict=True))
            out[block] = self._sum(lower, upper)
        return out

    def _sum(self, low: Index, high: Index) -> Array:
        import numpy as np

        axis, width = self._axis, self._spec.shape[self._axis]
        work = _work_type(self._spec.dtype)
        total: Array | None = None
        finite: Array | None = None
        for block in range(self._blocks):
            offset = block * width
            lower = resized(low, axis, low[axis] + offset)
            upper = resized(high, axis, high[axis] + offset)
            part = self.inputs[0].region(lower, upper).astype(work)
            known = np.isfinite(part)
            finite = known if finite is None else finite & known
            with np.errstate(all="ignore"):
                total = part if total is None else total + part
        if total is None or finite is None:
            raise ValueError("no blocks to add")
        return _rounded(total, finite, self._spec.dtype, self, "sum_blocks")


def adder(source: Lazy, value: float) -> Callable[[Array], Array]:
    """``x + value`` for arrays of the source's dtype."""
    return _operation(source, "add", lambda array, unit: array + unit(value))


def scaler(source: Lazy, factor: float) -> Callable[[Array], Array]:
    """``x * factor``."""
    return _operation(source, "scale", lambda array, unit: array * unit(factor))


def squarer(source: Lazy) -> Callable[[Array], Array]:
    """``x * x``."""
    return _operation(source, "square", lambda array, unit: array * array)


def caster(source: Lazy, dtype: str) -> Callable[[Array], Array]:
    """``x`` in another dtype; refuses values that it does not have."""
    before, after = dtype_named(source.spec.dtype), dtype_named(dtype)
    bounds = integer_bounds(dtype) if after.kind in ("int", "uint") else None

    def cast(array: Array) -> Array:
        import numpy as np

        if after.kind == "bool":
            return array.astype(bool)
        if bounds is not None:
            _check_integers(array, bounds, source, dtype, before.kind)
            return array.astype(after.numpy)
        known = np.isfinite(array) if before.kind in ("float", "complex") else _true(array)
        return _rounded(array, known, dtype, source, "cast")

    return _in_blocks(cast, dtype)


def integer_bounds(dtype: str) -> tuple[int, int]:
    """The least and the largest value of an integer dtype."""
    row = dtype_named(dtype)
    bits = row.itemsize * 8
    return (0, 2**bits - 1) if row.kind == "uint" else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def _operation(
    source: Lazy, name: str, compute: Callable[[Array, Any], Array]
) -> Callable[[Array], Array]:
    dtype = source.spec.dtype

    def run(array: Array) -> Array:
        import numpy as np

        work = _work_type(dtype)
        wide = array.astype(work, copy=False)
        with np.errstate(all="ignore"):
            result = compute(wide, work.type)
        return _rounded(result, np.isfinite(wide), dtype, source, name)

    return _in_blocks(run, dtype)


def _in_blocks(function: Callable[[Array], Array], dtype: str) -> Callable[[Array], Array]:
    """The same function, a part at a time: what it needs meanwhile is many times its input."""

    def run(array: Array) -> Array:
        import numpy as np

        if array.size <= _AT_ONCE:
            return function(array)
        out = np.empty(array.shape, dtype_named(dtype).numpy)
        for block in blocks_of(array.shape, _AT_ONCE):
            out[block] = function(array[block])
        return out

    return run


def _work_type(dtype: str) -> np.dtype[Any]:
    import numpy as np

    if dtype in ("float64", "complex64", "complex128"):
        return dtype_named(dtype).numpy
    return np.dtype(np.float32)


def _true(array: Array) -> Array:
    import numpy as np

    return np.broadcast_to(np.True_, array.shape)


def _rounded(array: Array, known: Array, dtype: str, source: Lazy, name: str) -> Array:
    """``array`` in ``dtype``; what was finite (``known``) must still be, NaN must stay NaN."""
    import numpy as np

    with np.errstate(all="ignore"):
        out = array.astype(dtype_named(dtype).numpy, copy=False)
        finite = np.isfinite(out)
        if finite.all():
            lost = ~known
        else:
            lost = known & ~finite
            if out.dtype != array.dtype:
                lost = lost | (np.isnan(out) != np.isnan(array))
    if lost.any():
        raise _lost(source, name, array[lost].reshape(-1)[0], f"a value of {dtype}")
    return out


def _check_integers(
    array: Array, bounds: tuple[int, int], source: Lazy, dtype: str, kind: str
) -> None:
    import numpy as np

    if not prod(array.shape) or kind == "bool":
        return
    if kind == "float":
        wide = array.astype(_work_type(source.spec.dtype), copy=False)
        # 2**63 - 1 is no float: the bound itself is compared as the next one that is.
        fits = (wide > float(bounds[0]) - 1) & (wide < float(bounds[1] + 1))
        fits |= wide == float(bounds[0])
        if not fits.all():
            raise _lost(source, "cast", wide[~fits].reshape(-1)[0], f"a value of {dtype}")
        return
    for value in (int(np.min(array)), int(np.max(array))):
        if not bounds[0] <= value <= bounds[1]:
            raise _lost(source, "cast", value, f"{bounds[0]} to {bounds[1]}")


def _lost(source: Lazy, name: str, value: object, expected: str) -> MappingError:
    names = ", ".join(names_of(source)[:3]) or "an array"
    message = f"{name} cannot represent a value of {names}"
    return MappingError(Problem("MAP025", message, None, str(value), expected))
