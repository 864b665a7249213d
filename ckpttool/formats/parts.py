"""What V1 and V2 readers share: whole tensors, parts, and joining parts, over streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ckpttool.errors import InputError, Problem, TensorNotFoundError, corrupt
from ckpttool.formats.base import CHUNK_BYTES, CheckpointInfo, Chunk
from ckpttool.formats.streaming import Stream, allocate
from ckpttool.formats.tensorflow.slice_layout import cover_fault, row_blocks
from ckpttool.names import nearest
from ckpttool.tensors import DType, Shape, Slice, TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.formats.tensorflow.object_graph import ObjectGraph

    Array = np.ndarray[Any, Any]

_READ_BYTES = 1 << 20  # a piece that stays in the processor's cache from reading to copying
_STRING_BYTES = 64  # guess for one string where a count of elements is needed


class PartReader:
    """Reads tensors that are stored whole or in slices; subclasses open the streams."""

    info: CheckpointInfo
    specs: Mapping[str, TensorSpec]

    def stored_bytes(self, name: str) -> int:
        """Bytes that the tensor's data takes in the file (all its slices)."""
        raise NotImplementedError

    def slices(self, name: str) -> Sequence[Slice]:
        """The parts of a partitioned variable, in C order of their starts; empty if whole."""
        raise NotImplementedError

    def close(self) -> None:
        """Release files; the specs stay valid."""
        raise NotImplementedError

    def _whole(self, name: str) -> Stream:
        raise NotImplementedError

    def _part(self, name: str, index: int) -> Stream:
        raise NotImplementedError

    def object_graph(self) -> ObjectGraph | None:
        """The TF2 object graph; only a V2 bundle can hold one."""
        return None

    def spec(self, name: str) -> TensorSpec:
        """The spec of ``name``, or :class:`TensorNotFoundError` with the nearest names."""
        spec = self.specs.get(name)
        if spec is None:
            close = nearest(name, self.specs)
            raise TensorNotFoundError(
                Problem(
                    "INP010",
                    f"no tensor named {name}",
                    self.info.path,
                    hint=f"nearest: {', '.join(close)}" if close else None,
                )
            )
        return spec

    def check_slices(self, name: str) -> None:
        """Raise INP008 if the parts of ``name`` do not cover it exactly; nothing if it is whole."""
        parts = self.slices(name)
        fault = cover_fault(self.spec(name).shape, parts) if parts else None
        if fault:
            message = f"the slices of {name} do not cover it exactly"
            raise corrupt(message, self.info.path, code="INP008", found=fault)

    def check(self, name: str) -> None:
        """Read ``name`` through and check all that can be checked, keeping nothing."""
        for _ in self.chunks(name):
            pass

    def read(self, name: str) -> Array:
        """The whole tensor, joined if partitioned, checked; a fresh writable array."""
        spec = self.spec(name)
        dtype = _decodable(spec, self.info.path)
        if not self.slices(name):
            return _read(self._whole(name), spec.shape, dtype, name)
        out = None
        for chunk in self._joined(name, spec, dtype, _READ_BYTES):
            if out is None:  # the parts were opened, and so found to be there
                out = allocate((spec.parameters,), dtype, name)
            out[chunk.start : chunk.start + len(chunk.array)] = chunk.array
        if out is None:
            out = allocate((0,), dtype, name)
        return _shaped(out, spec.shape, name)

    def read_slice(self, name: str, index: int) -> Array:
        """One part of a partitioned variable, checked; a fresh writable array."""
        spec = self.spec(name)
        dtype = _decodable(spec, self.info.path)
        parts = self.slices(name)
        if not 0 <= index < len(parts):
            raise InputError(
                Problem(
                    "INP010",
                    f"{name} has no part {index}",
                    self.info.path,
                    expected=f"0 to {len(parts) - 1}" if parts else "a partitioned variable",
                )
            )
        return _read(self._part(name, index), parts[index].shape, dtype, name)

    def chunks(self, name: str, max_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
        """The whole tensor in C order, piece by piece; the checksum is checked at the end."""
        spec = self.spec(name)
        dtype = _decodable(spec, self.info.path)
        if self.slices(name):
            yield from self._joined(name, spec, dtype, max_bytes)
            return
        stream = self._whole(name)
        step = max(1, max_bytes // dtype.itemsize) if dtype.itemsize else stream.count
        start = 0
        while start < stream.count:
            array = stream.take(min(step, stream.count - start), max_bytes)
            yield Chunk(start, array)
            start += len(array)
        stream.finish()

    def _joined(self, name: str, spec: TensorSpec, dtype: DType, max_bytes: int) -> Iterator[Chunk]:
        """Row blocks of the whole; each part is read once, in order."""
        self.check_slices(name)
        parts = self.slices(name)
        # Scalars have no rows: as one row of one element they are no special case.
        shape = spec.shape or (1,)
        if not spec.shape:
            parts = [Slice((0,), (1,)) for _ in parts]
        streams = [self._part(name, index) for index in range(len(parts))]
        row = prod(shape[1:])
        rows = max(1, max_bytes // max(1, row * (dtype.itemsize or _STRING_BYTES)))
        for first, last, gives in row_blocks(shape, parts, rows) if spec.parameters else ():
            block = allocate((last - first, *shape[1:]), dtype, name)
            for index, begin, end in gives:
                part = parts[index]
                array = streams[index].take((end - begin) * prod(part.shape[1:]))
                place = tuple(
                    slice(start, start + size)
                    for start, size in zip(part.start[1:], part.shape[1:], strict=True)
                )
                rows_here = slice(begin - first, end - first)
                values = array.reshape((end - begin, *part.shape[1:]))
                at = (rows_here, *place)
                block[at] = values
            yield Chunk(first * row, block.reshape(-1))
        for stream in streams:
            stream.finish()

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _decodable(spec: TensorSpec, path: str) -> DType:
    dtype = dtype_named(spec.dtype)
    if dtype.array_type is None:
        message = f"tensor {spec.name} of dtype {spec.dtype} cannot be decoded"
        raise InputError(Problem("INP011", message, path, spec.dtype))
    return dtype


def _read(stream: Stream, shape: Shape, dtype: DType, name: str) -> Array:
    """All elements of a stream, in pieces: each is checked while it is in the cache."""
    out = allocate((stream.count,), dtype, name)
    step = _READ_BYTES // (dtype.itemsize or _STRING_BYTES)
    for start in range(0, stream.count, step):
        stop = min(start + step, stream.count)
        out[start:stop] = stream.take(stop - start)
    stream.finish()
    return _shaped(out, shape, name)


def _shaped(array: Array, shape: Shape, name: str) -> Array:
    """``array`` in its shape; NumPy holds fewer dimensions than TensorFlow stores."""
    try:
        return array.reshape(shape)
    except ValueError as error:
        what = f"tensor {name} of shape {list(shape)} does not fit an array"
        raise InputError(
            Problem("INP009", what, None, f"{len(shape)} dimensions", "≤ 64")
        ) from error
