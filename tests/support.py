"""A checkpoint in memory, for tests of what is done with tensors once they are read."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from ckpttool.checkpoint import Checkpoint
from ckpttool.errors import InputError, Problem, TensorNotFoundError
from ckpttool.formats.base import CHUNK_BYTES, CheckpointInfo, Chunk
from ckpttool.formats.tensorflow.object_graph import ObjectGraph
from ckpttool.tensors import BY_NAME, Slice, TensorSpec, dtype_named

Array = np.ndarray[Any, Any]


class MemoryReader:
    """A :class:`ckpttool.formats.base.Reader` over arrays.

    ``dtypes`` names TensorFlow's dtype where the array's own does not tell (``qint8``,
    ``variant``).  ``parts`` are row counts of a partitioned variable's slices.  ``damaged`` names
    cannot be read.  ``reads`` records every name whose data was asked for.
    """

    def __init__(
        self,
        arrays: Mapping[str, Any],
        *,
        dtypes: Mapping[str, str] | None = None,
        parts: Mapping[str, Sequence[int]] | None = None,
        damaged: Sequence[str] = (),
        path: str = "memory",
    ) -> None:
        self.arrays: dict[str, Array] = {name: _array(value) for name, value in arrays.items()}
        given = dict(dtypes or {})
        self.specs: Mapping[str, TensorSpec] = {
            name: TensorSpec(name, given.get(name) or _dtype(array), array.shape)
            for name, array in self.arrays.items()
        }
        self._parts = dict(parts or {})
        self.partitioned: Collection[str] = frozenset(self._parts)
        self._damaged = frozenset(damaged)
        self.reads: list[str] = []
        self.largest_chunk = 0  # elements
        self.info = CheckpointInfo(path, "npz", 1, (path,))

    def stored_bytes(self, name: str) -> int:
        """The array's size; the strings' own lengths."""
        array = self._known(name)
        return sum(map(len, array.flat)) if array.dtype == object else array.nbytes

    def slices(self, name: str) -> Sequence[Slice]:
        """Blocks of rows."""
        shape = self._known(name).shape
        start = 0
        out = []
        for rows in self._parts.get(name, ()):
            out.append(Slice((start, *(0 for _ in shape[1:])), (rows, *shape[1:])))
            start += rows
        return out

    def read(self, name: str) -> Array:
        """A copy of the array."""
        copy: Array = self._opened(name).copy()
        return copy

    def read_slice(self, name: str, index: int) -> Array:
        """A copy of one block of rows."""
        part = self.slices(name)[index]
        rows = slice(part.start[0], part.start[0] + part.shape[0])
        copy: Array = self._opened(name)[rows].copy()
        return copy

    def chunks(self, name: str, max_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
        """Pieces that do not end where rows do."""
        flat = self._opened(name).reshape(-1)
        step = max(1, max_bytes // max(1, flat.itemsize))
        for start in range(0, flat.size, step):
            piece = flat[start : start + step]
            self.largest_chunk = max(self.largest_chunk, piece.size)
            yield Chunk(start, piece)

    def object_graph(self) -> ObjectGraph | None:
        """None: names are all there is."""
        return None

    def close(self) -> None:
        """Nothing is open."""

    def __enter__(self) -> MemoryReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _known(self, name: str) -> Array:
        if name not in self.arrays:
            raise TensorNotFoundError(Problem("INP010", f"no tensor named {name}"))
        return self.arrays[name]

    def _opened(self, name: str) -> Array:
        array = self._known(name)
        self.reads.append(name)
        if name in self._damaged:
            raise InputError(Problem("INP005", f"the checksum of tensor {name} does not match"))
        if dtype_named(self.specs[name].dtype).array_type is None:
            raise InputError(Problem("INP011", f"tensor {name} cannot be decoded"))
        return array


def memory_checkpoint(arrays: Mapping[str, Any], **options: Any) -> Checkpoint:
    """A :class:`Checkpoint` over a :class:`MemoryReader`."""
    return Checkpoint(MemoryReader(arrays, **options))


def strings(*items: bytes, shape: Sequence[int] | None = None) -> Array:
    """A string tensor as readers give it."""
    array = np.empty(len(items), object)
    array[:] = items
    return array if shape is None else array.reshape(shape)


def _array(value: Any) -> Array:
    return value if isinstance(value, np.ndarray) else np.asarray(value)


def _dtype(array: Array) -> str:
    name = "string" if array.dtype == object else array.dtype.name
    if name not in BY_NAME:
        raise ValueError(f"TensorFlow has no dtype {name}")
    return name
