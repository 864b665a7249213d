"""The mean of equally long streams of numbers, block by block, accumulated in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ckpttool.errors import InputError, Problem
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_BLOCK = 64 << 10  # elements: a block of float64 and what is added to it stay in the cache
_AVERAGED = ("float", "complex")


def is_averaged(dtype: str) -> bool:
    """Whether a tensor of this dtype has a mean: integers, bools and strings have none."""
    return dtype_named(dtype).kind in _AVERAGED


def mean_blocks(
    streams: Sequence[Iterator[Array]], weights: Sequence[float] | None, dtype: str
) -> Iterator[Array]:
    """The weighted mean of ``streams`` in TensorFlow's ``dtype``, as 1-D arrays.

    However the streams are cut, each is read to its end, where a reader checks the checksum.
    Sums are taken in float64 (complex128) in the order of the streams and rounded once; what is
    equal in all streams stays as it is.  Raises :class:`InputError` if one ends before the others.
    """
    import numpy as np

    row = dtype_named(dtype)
    wide = np.complex128 if row.kind == "complex" else np.float64
    for blocks in _lockstep(streams):
        with np.errstate(all="ignore"):  # NaN and infinities are values like others here
            mean = _mean(blocks, weights, wide, row.numpy)
        yield mean


def _mean(
    blocks: Sequence[Array], weights: Sequence[float] | None, wide: Any, dtype: np.dtype[Any]
) -> Array:
    import numpy as np

    total = blocks[0].astype(wide)
    if weights is not None:
        total *= weights[0]
    for number, block in enumerate(blocks[1:], 1):
        if weights is None:
            np.add(total, block.astype(wide, copy=False), out=total)
        else:
            total += block.astype(wide) * weights[number]
    total /= len(blocks) if weights is None else sum(weights)
    if dtype.itemsize < np.dtype(wide).itemsize:
        return rounded(total, dtype)
    # A sum of equal float64 numbers may be rounded, and its quotient be another number.
    equal = np.logical_and.reduce([blocks[0] == block for block in blocks[1:]])
    return np.where(equal, blocks[0], total) if len(blocks) > 1 else blocks[0].astype(dtype)


def rounded(array: Array, dtype: np.dtype[Any]) -> Array:
    """Float64 or complex128 numbers as ``dtype``, rounded once, to nearest and even.

    NumPy's own casts round once; those of ml_dtypes go through float32, and would round twice.
    """
    import numpy as np

    if dtype.kind in "fc" and dtype.isbuiltin == 1:
        return array.astype(dtype)
    with np.errstate(all="ignore"):
        near = array.astype(np.float32)
    bits = near.view(np.uint32)
    # To odd: towards zero, then the last bit set if that was not exact.  The second rounding then
    # sees on which side of a tie the number was.
    bits -= np.abs(near.astype(np.float64)) > np.abs(array)
    bits |= near.astype(np.float64) != array
    nan = np.isnan(array)
    if nan.any():
        near[nan] = np.nan
    return near.astype(dtype)


def _lockstep(streams: Sequence[Iterator[Array]]) -> Iterator[list[Array]]:
    """Equally long pieces of all streams, at most a block each."""
    pending: list[Array | None] = [None] * len(streams)
    while True:
        for number, stream in enumerate(streams):
            while (held := pending[number]) is None or not len(held):
                pending[number] = next(stream, None)
                if pending[number] is None:
                    break
        here = [array for array in pending if array is not None]
        if not here:
            return
        if len(here) < len(streams):
            raise InputError(Problem("INP004", "one of the tensors ends before the others"))
        count = min(_BLOCK, *(len(array) for array in here))
        yield [array[:count] for array in here]
        pending = [array[count:] for array in here]
