"""Arrays made by moving elements: no value changes, whatever the dtype."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.formats.base import CHUNK_BYTES
from ckpttool.mapping.transforms.base import ArraySpec, Index, Lazy
from ckpttool.mapping.transforms.declared import resized
from ckpttool.mapping.transforms.lazy import Computed, Stored, nbytes
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_STRIDED_BYTES = 8 << 20  # of the source, read to take every n-th of it
_MOST_PASSES = 4  # over a source that streams, before it is kept instead


class Piece(NamedTuple):
    """``length`` places along an axis, and where they come from: a source, or the fill."""

    length: int
    source: int | None = None
    start: int = 0


class Joined(Computed):
    """Pieces of arrays, one after the other along an axis."""

    def __init__(
        self,
        spec: ArraySpec,
        inputs: Sequence[Lazy],
        axis: int,
        pieces: Sequence[Piece],
        fill: object = 0,
    ) -> None:
        super().__init__(spec, inputs)
        self._axis = axis
        self._pieces = _merged(pieces)
        self._fill = fill
        self._starts = []
        start = 0
        for piece in self._pieces:
            self._starts.append(start)
            start += piece.length

    @property
    def streams(self) -> bool:
        """Where whole pieces follow each other, and not too much is read in vain."""
        if prod(self._spec.shape[: self._axis]) != 1:
            return False
        passes: dict[int, int] = {}
        for piece in self._pieces:
            if piece.source is not None and not self._is_whole(piece):
                if not getattr(self.inputs[piece.source], "streams", False):
                    return False
                passes[piece.source] = passes.get(piece.source, 0) + 1
        taken = {k: self.inputs[k].spec for k in passes}
        wanted = max(1, nbytes(self._spec))
        return all(
            count == 1 and nbytes(taken[k]) <= _MOST_PASSES * wanted for k, count in passes.items()
        )

    def region(self, low: Index, high: Index) -> Array:
        """A view where one piece holds it, else a copy."""
        import numpy as np

        axis = self._axis
        parts = []
        place, stop = low[axis], high[axis]
        number = max(0, bisect_right(self._starts, place) - 1)
        while place < stop:
            piece = self._pieces[number]
            begin = place - self._starts[number]
            count = min(stop - place, piece.length - begin)
            if count > 0:
                parts.append(self._part(piece, begin, count, low, high))
                place += count
            number += 1
        if len(parts) == 1:
            return parts[0]
        if not parts:
            shape = [b - a for a, b in zip(low, high, strict=True)]
            return np.empty(shape, dtype_named(self._spec.dtype).numpy)
        return np.concatenate(parts, axis)

    def stream(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """Piece after piece, without keeping a source where the order allows it."""
        if not self.streams:
            yield from super().stream(max_bytes)
            return
        inner = self._spec.shape[self._axis + 1 :]
        for piece in self._pieces:
            if piece.source is None:
                spec = ArraySpec(self._spec.dtype, (piece.length, *inner))
                yield from Filled(spec, self._fill).stream(max_bytes)
            elif self._is_whole(piece):
                yield from self.inputs[piece.source].stream(max_bytes)
            else:
                row = prod(inner)
                source = self.inputs[piece.source].stream(max_bytes)
                yield from _between(source, piece.start * row, piece.length * row)

    def _is_whole(self, piece: Piece) -> bool:
        source = self.inputs[piece.source or 0].spec
        return piece.length == source.shape[self._axis]

    def _part(self, piece: Piece, begin: int, count: int, low: Index, high: Index) -> Array:

        if piece.source is None:
            shape = [b - a for a, b in zip(low, high, strict=True)]
            shape[self._axis] = count
            return _spread(self._fill, self._spec.dtype, shape)
        start = piece.start + begin
        lower, upper = resized(low, self._axis, start), resized(high, self._axis, start + count)
        return self.inputs[piece.source].region(lower, upper)


class Filled(Computed):
    """The same value everywhere."""

    def __init__(self, spec: ArraySpec, value: object) -> None:
        super().__init__(spec)
        self._value = value

    @property
    def streams(self) -> bool:
        """It is made of nothing."""
        return True

    def region(self, low: Index, high: Index) -> Array:
        """One element, seen many times."""

        shape = [b - a for a, b in zip(low, high, strict=True)]
        return _spread(self._value, self._spec.dtype, shape)


class Transposed(Computed):
    """The axes in another order: axis ``k`` of the result is axis ``perm[k]`` of the source."""

    def __init__(self, spec: ArraySpec, source: Lazy, perm: Sequence[int]) -> None:
        super().__init__(spec, (source,))
        self._perm = tuple(perm)
        self._back = [self._perm.index(axis) for axis in range(len(self._perm))]

    def region(self, low: Index, high: Index) -> Array:
        """A view of the source's region."""
        lower, upper = (tuple(corner[k] for k in self._back) for corner in (low, high))
        part: Array = self.inputs[0].region(lower, upper).transpose(self._perm)
        return part


class Flipped(Computed):
    """One axis in reverse."""

    def __init__(self, source: Lazy, axis: int) -> None:
        super().__init__(source.spec, (source,))
        self._axis = axis

    def region(self, low: Index, high: Index) -> Array:
        """A view of the source's region."""
        axis, size = self._axis, self._spec.shape[self._axis]
        lower, upper = resized(low, axis, size - high[axis]), resized(high, axis, size - low[axis])
        back = (slice(None),) * axis + (slice(None, None, -1),)
        part: Array = self.inputs[0].region(lower, upper)[back]
        return part


class Units(Computed):
    """The same array with axes of size 1 put in or taken out."""

    def __init__(self, spec: ArraySpec, source: Lazy) -> None:
        super().__init__(spec, (source,))
        self._axes = [axis for axis, size in enumerate(spec.shape) if size != 1]
        inner = source.spec.shape
        self._inner = [axis for axis, size in enumerate(inner) if size != 1]
        self._rank = len(inner)

    @property
    def streams(self) -> bool:
        """As its source."""
        return getattr(self.inputs[0], "streams", False)

    def region(self, low: Index, high: Index) -> Array:
        """A view of the source's region."""
        lower, upper = [0] * self._rank, [1] * self._rank
        for axis, inner in zip(self._axes, self._inner, strict=True):
            lower[inner], upper[inner] = low[axis], high[axis]
        shape = [b - a for a, b in zip(low, high, strict=True)]
        if 0 in shape:
            return _spread(0, self._spec.dtype, shape)
        return self.inputs[0].region(tuple(lower), tuple(upper)).reshape(shape)

    def stream(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """The source's own stream."""
        return self.inputs[0].stream(max_bytes)


class Interleaved(Computed):
    """Arrays dealt out along an axis: place ``i`` comes from array ``i % n``."""

    def __init__(self, spec: ArraySpec, inputs: Sequence[Lazy], axis: int) -> None:
        super().__init__(spec, inputs)
        self._axis = axis

    def region(self, low: Index, high: Index) -> Array:
        """A copy."""
        import numpy as np

        axis, count = self._axis, len(self.inputs)
        start, stop = low[axis], high[axis]
        shape = [b - a for a, b in zip(low, high, strict=True)]
        out = np.empty(shape, dtype_named(self._spec.dtype).numpy)
        for number, source in enumerate(self.inputs):
            first, last = -(-(start - number) // count), -(-(stop - number) // count)
            if first < last:
                place = slice(first * count + number - start, None, count)
                at = (slice(None),) * axis + (place,)
                lower, upper = resized(low, axis, first), resized(high, axis, last)
                out[at] = source.region(lower, upper)
        return out


class EveryNth(Computed):
    """Places ``first, first + step, …`` of an axis."""

    def __init__(self, spec: ArraySpec, source: Lazy, axis: int, first: int, step: int) -> None:
        super().__init__(spec, (source,))
        self._axis = axis
        self._first = first
        self._step = step

    def region(self, low: Index, high: Index) -> Array:
        """A copy, made from the source in parts: it holds ``step`` times as much."""
        import numpy as np

        axis, step = self._axis, self._step
        shape = [b - a for a, b in zip(low, high, strict=True)]
        out = np.empty(shape, dtype_named(self._spec.dtype).numpy)
        row = max(1, nbytes(ArraySpec(self._spec.dtype, resized(tuple(shape), axis, 1))))
        batch = max(1, _STRIDED_BYTES // (row * step))
        keep = (slice(None),) * axis
        for begin in range(0, shape[axis], batch):
            count = min(batch, shape[axis] - begin)
            start = self._first + (low[axis] + begin) * step
            lower = resized(low, axis, start)
            upper = resized(high, axis, start + (count - 1) * step + 1)
            every, place = (*keep, slice(None, None, step)), (*keep, slice(begin, begin + count))
            out[place] = self.inputs[0].region(lower, upper)[every]
        return out


def reshaped(source: Lazy, shape: Sequence[int]) -> Lazy:
    """``source`` with its elements in another shape."""
    spec = ArraySpec(source.spec.dtype, tuple(shape))
    if spec == source.spec:
        return source
    if [size for size in spec.shape if size != 1] == [n for n in source.spec.shape if n != 1]:
        return Units(spec, source)
    return Stored(spec, source)


def part_of(source: Lazy, axis: int, start: int, stop: int) -> Lazy:
    """``start`` to ``stop`` along an axis."""
    dtype, shape = source.spec
    if start == 0 and stop == shape[axis]:
        return source
    spec = ArraySpec(dtype, resized(shape, axis, stop - start))
    return Joined(spec, (source,), axis, [Piece(stop - start, 0, start)])


def _merged(pieces: Sequence[Piece]) -> list[Piece]:
    """Neighbours that are neighbours at their source too, as one."""
    out: list[Piece] = []
    for piece in pieces:
        last = out[-1] if out else None
        if not piece.length:
            continue
        if (
            last
            and last.source == piece.source
            and (piece.source is None or last.start + last.length == piece.start)
        ):
            out[-1] = last._replace(length=last.length + piece.length)
        else:
            out.append(piece)
    return out


def _between(stream: Iterator[Array], start: int, count: int) -> Iterator[Array]:
    """``count`` elements from ``start``.  The stream is read to its end, where it is checked."""
    position = 0
    for array in stream:
        part = array[max(0, start - position) : max(0, start + count - position)]
        position += len(array)
        if len(part):
            yield part


def _spread(value: object, dtype: str, shape: Sequence[int]) -> Array:
    """One element, seen many times."""
    import numpy as np

    out = np.empty((), dtype_named(dtype).numpy)
    out[()] = value
    return np.broadcast_to(out, shape)
