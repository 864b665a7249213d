"""Arrays that are computed when they are read: where they begin, and what they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ckpttool.formats.arrays import blocks_of
from ckpttool.formats.base import CHUNK_BYTES, Reader
from ckpttool.mapping.transforms.base import ArraySpec, Index, Lazy
from ckpttool.mapping.transforms.workspace import KEPT_BYTES, Workspace, in_memory
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_TILE = 64
_STRING_BYTES = 64  # what an element of unknown length is taken for

__all__ = ["Computed", "Held", "Leaf", "Result", "Workspace", "leaf"]


class Computed:
    """An array that is made from others when it is read.

    Subclasses say how to make a region; they may know a better way to stream.
    """

    inputs: Sequence[Lazy] = ()

    def __init__(self, spec: ArraySpec, inputs: Sequence[Lazy] = ()) -> None:
        self._spec = spec
        self.inputs = inputs

    @property
    def spec(self) -> ArraySpec:
        """Dtype and shape."""
        return self._spec

    @property
    def streams(self) -> bool:
        """Whether :meth:`stream` takes nothing but streams of what this is made of."""
        return False

    def region(self, low: Index, high: Index) -> Array:
        """The elements from ``low`` up to, not including, ``high``; not to be written to."""
        raise NotImplementedError

    def stream(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """All elements in C order, as 1-D arrays of at most ``max_bytes``."""
        for low, high in regions_of(self._spec, max_bytes):
            yield _flat(self.region(low, high))


class Leaf(Computed):
    """A tensor of a checkpoint.  Streams come from the reader, which checks them.

    A region needs the whole tensor: the workspace keeps it.
    """

    def __init__(self, reader: Reader, name: str, workspace: Workspace) -> None:
        spec = reader.specs[name]
        super().__init__(ArraySpec(spec.dtype, spec.shape))
        self.name = name
        self.workspace = workspace
        self._reader = reader
        self._key = (id(reader), name)

    @property
    def streams(self) -> bool:
        """Whether it would have to be written to the disk for a region."""
        return nbytes(self._spec) > KEPT_BYTES and not self.workspace.holds(self._key)

    def region(self, low: Index, high: Index) -> Array:
        """A view of the tensor as the workspace keeps it."""
        return cut(self.workspace.array(self._key, self), low, high)

    def stream(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """The reader's chunks, as they come."""
        for chunk in self._reader.chunks(self.name, max_bytes):
            yield chunk.array


class Held(Computed):
    """An array that is in memory, as a lazy one."""

    def __init__(self, array: Array, dtype: str | None = None) -> None:
        """``dtype`` is TensorFlow's name where the array's own does not tell."""
        name = "string" if array.dtype == object else array.dtype.name
        super().__init__(ArraySpec(dtype or name, tuple(array.shape)))
        self._array = array

    def region(self, low: Index, high: Index) -> Array:
        """A view."""
        return cut(self._array, low, high)


class Stored(Computed):
    """``source`` with its elements in another shape: regions of it need all of it, in order."""

    def __init__(self, spec: ArraySpec, source: Lazy) -> None:
        while isinstance(source, Stored):
            source = source.inputs[0]
        super().__init__(spec, (source,))
        self._source = source
        self._array: Array | None = None

    @property
    def streams(self) -> bool:
        """As its source."""
        return getattr(self._source, "streams", False)

    def region(self, low: Index, high: Index) -> Array:
        """A view of the source as it is kept."""
        return cut(self._whole().reshape(self._spec.shape), low, high)

    def stream(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """The source's own stream: the order of elements is the same."""
        return self._source.stream(max_bytes)

    def _whole(self) -> Array:
        source = self._source
        if isinstance(source, Held):
            return _whole_region(source)
        if isinstance(source, Leaf):
            return _whole_region(source)
        workspace = workspace_of(source)
        if workspace is not None:
            return workspace.array(id(source), source)
        if self._array is None:
            self._array = in_memory(source)
        return self._array


class Result(Computed):
    """What a chain hands out: while it is streamed, the workspace keeps what it needs."""

    def __init__(self, source: Lazy, workspace: Workspace) -> None:
        super().__init__(source.spec, (source,))
        self.source = source
        self._workspace = workspace

    @property
    def streams(self) -> bool:
        """As its source."""
        return getattr(self.source, "streams", False)

    def region(self, low: Index, high: Index) -> Array:
        """The source's."""
        return self.source.region(low, high)

    def stream(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Array]:
        """The source's."""
        with self._workspace.activity():
            yield from self.source.stream(max_bytes)


def leaf(reader: Reader, name: str, workspace: Workspace) -> Lazy:
    """The tensor ``name`` of a reader, as the beginning of a chain."""
    return Leaf(reader, name, workspace)


def workspace_of(lazy: Lazy) -> Workspace | None:
    """The workspace of the tensors that ``lazy`` is made of."""
    todo = [lazy]
    while todo:
        item = todo.pop()
        if isinstance(item, Leaf):
            return item.workspace
        todo.extend(getattr(item, "inputs", ()))
    return None


def names_of(lazy: Lazy) -> list[str]:
    """The tensors that ``lazy`` is made of, in order."""
    names: dict[str, None] = {}
    todo = [lazy]
    while todo:
        item = todo.pop()
        if isinstance(item, Leaf):
            names[item.name] = None
        todo.extend(reversed(getattr(item, "inputs", ())))
    return list(names)


def nbytes(spec: ArraySpec) -> int:
    """Bytes of the elements; strings count as none."""
    return prod(spec.shape) * dtype_named(spec.dtype).itemsize


def regions_of(spec: ArraySpec, max_bytes: int) -> Iterator[tuple[Index, Index]]:
    """Corners of consecutive C-order blocks of at most ``max_bytes``."""
    most = max(1, max_bytes // (dtype_named(spec.dtype).itemsize or _STRING_BYTES))
    for block in blocks_of(spec.shape, most):
        bounds = [part.indices(size) for part, size in zip(block, spec.shape, strict=True)]
        yield tuple(item[0] for item in bounds), tuple(item[1] for item in bounds)


def cut(array: Array, low: Index, high: Index) -> Array:
    """The view of ``array`` between two corners."""
    place: tuple[Any, ...] = (*map(slice, low, high), Ellipsis)
    part: Array = array[place]
    return part


def _flat(array: Array) -> Array:
    """The elements in C order.

    Where neighbours in memory are no neighbours in the result, a few columns at a time: what the
    processor has fetched for one row is then still there for the next (about three times faster).
    """
    import numpy as np

    flat: Array
    if array.ndim < 2 or array.size < _TILE**2 or abs(array.strides[-1]) <= array.itemsize:
        flat = np.ascontiguousarray(array).reshape(-1)
        return flat
    out = np.empty(array.shape, array.dtype)
    for start in range(0, array.shape[-1], _TILE):
        out[..., start : start + _TILE] = array[..., start : start + _TILE]
    flat = out.reshape(-1)
    return flat


def _whole_region(source: Lazy) -> Array:
    shape = source.spec.shape
    return source.region((0,) * len(shape), shape)
