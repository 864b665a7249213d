"""Write a V2 bundle: tensors are declared, then streamed, then everything is committed at once.

Bytes that another bundle holds already are copied as they are, with their checksums, by the kernel
where it can.  Arrays are encoded as TensorFlow does.  The same tensors always give the same bytes.
Source: ``tensorflow:core/util/tensor_bundle/tensor_bundle.cc``.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import InputError, OutputError, Problem
from ckpttool.formats.copying import Announcer, Run, copy_runs, merge_runs
from ckpttool.formats.locating.located import Located
from ckpttool.formats.streaming import Where
from ckpttool.formats.tensorflow.ordered_code import FULL, Extent, encode_slice_key
from ckpttool.formats.tensorflow.table_writer import write_table
from ckpttool.formats.writing import Follow, Progress, Span, Values, ignore
from ckpttool.names import encode_name
from ckpttool.storage.atomic import OutputGroup, Staged
from ckpttool.storage.crc32c import crc32c, mask, unmask
from ckpttool.storage.files import files_for, join, split
from ckpttool.storage.wire import (
    encode_bytes_field,
    encode_fixed32_field,
    encode_varint,
    encode_varint_field,
)
from ckpttool.tensors import Shape, dtype_from_enum

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_PRODUCER = 1  # kTensorBundleVersion
_FULL32 = 0xFFFFFFFF


class PartSource(NamedTuple):
    """Bytes that lie in a file already: where, and the checksum the index has for them (masked).

    ``extents`` say which slice of the variable this is; empty for a whole tensor.
    """

    path: str
    offset: int
    size: int
    crc32c: int
    extents: tuple[Extent, ...] = ()
    shard: int = 0


class Written(NamedTuple):
    """What was written: the prefix, all files (the index last), their bytes, and the tensors."""

    path: str
    files: tuple[str, ...]
    bytes: int
    tensors: int


class Place(NamedTuple):
    """A part's place in the output, and its checksum (masked)."""

    shard: int
    offset: int
    size: int
    crc32c: int


class _Tensor:
    """A declared tensor: parts to copy, or values to encode."""

    __slots__ = ("enum", "name", "parts", "shape", "stored", "values")

    def __init__(
        self,
        name: str,
        enum: int,
        shape: Shape,
        parts: Sequence[PartSource] = (),
        values: Values | None = None,
    ) -> None:
        self.name = name
        self.enum = enum
        self.shape = shape
        self.parts = tuple(parts)
        self.values = values
        self.stored: list[Place] = []


class BundleWriter:
    """One output bundle.  Use it as a context; leaving it without :meth:`commit` undoes all."""

    def __init__(
        self,
        prefix: str,
        *,
        endianness: str = "little",
        link: Sequence[str] = (),
        force: bool = False,
        sources: Iterable[str] = (),
    ) -> None:
        """``prefix`` names the output; ``endianness`` is that of the bytes to be copied.

        With ``link``, the output's shards are hard links to these files and nothing is copied:
        parts then keep their shard and offset.  ``sources`` are files that must not be replaced.
        Raises :class:`OutputError` where the output cannot go.
        """
        self.prefix = _checked_prefix(prefix)
        self._big = endianness == "big"
        self._link = tuple(link)
        count = max(1, len(self._link))
        self._shards = [f"{prefix}.data-{shard:05d}-of-{count:05d}" for shard in range(count)]
        self._index = f"{prefix}.index"
        members = [*self._shards, self._index]
        stale = [path for path in _older_shards(prefix) if path not in members]
        self._group = OutputGroup(members, stale=stale, force=force, sources=sources)
        self._tensors: dict[str, _Tensor] = {}
        self._staged: list[Staged] = []
        self._bytes = 0

    def copy(self, name: str, dtype_enum: int, shape: Shape, parts: Sequence[PartSource]) -> None:
        """Declare a tensor whose bytes are copied; one part without extents if it is whole."""
        self._declare(_Tensor(name, dtype_enum, shape, parts))

    def encode(self, name: str, dtype_enum: int, shape: Shape, values: Values) -> None:
        """Declare a tensor that is encoded from arrays, little-endian."""
        if dtype_from_enum(dtype_enum).array_type is None or self._big or self._link:
            found = dtype_from_enum(dtype_enum).name
            problem = Problem("OUT005", f"tensor {name} cannot be encoded here", self.prefix, found)
            raise OutputError(problem)
        self._declare(_Tensor(name, dtype_enum, shape, values=values))

    def write(self, progress: Progress = ignore, follow: Follow = ignore) -> None:
        """Stream everything that is declared into temporary files."""
        self._check_sources()
        if self._link:
            for source, final in zip(self._link, self._shards, strict=True):
                self._staged.append(self._group.stage_link(source, final))
            self._place_linked()
        else:
            self._write_data(progress, follow)
        index = self._group.stage(self._index)
        self._staged.append(index)
        for piece in write_table(self._entries()):
            index.write(piece)
            self._bytes += len(piece)

    def _write_data(self, progress: Progress, follow: Follow) -> None:
        data = self._group.stage(self._shards[0])
        self._staged.append(data)
        tensors = self._tensors.values()
        runs = merge_runs(part for tensor in tensors for part in tensor.parts)
        self._place_copied(runs)
        data.reserve(
            sum(run.size for pieces in runs.values() for run in pieces)
            + sum(map(_encoded_bytes, tensors))
        )
        spans = (
            Span(tensor.name, place.offset, place.size, unmask(place.crc32c))
            for tensor in tensors
            for place in tensor.stored
        )
        announcer = Announcer(data, spans, follow)

        def tell(size: int) -> None:
            progress(size)
            announcer.advance(size)

        self._bytes = copy_runs(runs, data, tell)
        for tensor in tensors:
            if tensor.values is not None:
                self._encode(tensor, data, progress, follow)

    def staged(self) -> Located:
        """The written files before they are committed, for reading them back."""
        return Located(
            self.prefix,
            "tf-v2",
            self._staged[-1].path,
            tuple(staged.path for staged in self._staged[:-1]),
        )

    def flushing(self) -> AbstractContextManager[None]:
        """A context in which the disk takes what is written meanwhile."""
        return self._group.flushing()

    def commit(self) -> Written:
        """Give the files their names, the index last."""
        self._group.commit()
        files = (*self._shards, self._index)
        return Written(self.prefix, files, self._bytes, len(self._tensors))

    def __enter__(self) -> BundleWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._group.abort()

    def _declare(self, tensor: _Tensor) -> None:
        if tensor.name in self._tensors:
            raise ValueError(f"{tensor.name} is declared twice")
        self._tensors[tensor.name] = tensor

    def _check_sources(self) -> None:
        """INP006 or INP007, with the tensor's name, before anything is written."""
        sizes: dict[str, int] = {}
        for tensor in self._tensors.values():
            for part in tensor.parts:
                path = part.path
                if path not in sizes:
                    files = files_for(path)
                    sizes[path] = files.size(path) if files.is_file(path) else -1
                if sizes[path] < 0:
                    message = "a data shard is missing"
                    raise InputError(Problem("INP006", message, path, "no such file"))
                if part.offset + part.size > sizes[path]:
                    where = Where(tensor.name, path, part.offset)
                    raise where.short(max(0, sizes[path] - part.offset), part.size)

    def _place_copied(self, runs: dict[str, list[Run]]) -> None:
        for tensor in self._tensors.values():
            for part in tensor.parts:
                offset = _moved(runs.get(part.path, ()), part)
                tensor.stored.append(Place(0, offset, part.size, part.crc32c))

    def _place_linked(self) -> None:
        for tensor in self._tensors.values():
            for part in tensor.parts:
                place = Place(part.shard, part.offset, part.size, part.crc32c)
                tensor.stored.append(place)

    def _encode(self, tensor: _Tensor, data: Staged, progress: Progress, follow: Follow) -> None:
        offset = self._bytes
        crc = count = 0
        values = tensor.values or tuple
        dtype = dtype_from_enum(tensor.enum)
        if dtype.kind == "string":
            head, crc, count = _string_head(values())
            data.write(head)
            self._bytes += len(head)
            pieces: Iterator[bytes] = (b"".join(array.reshape(-1)) for array in values())
        else:
            pieces = (encode_elements(array, dtype.name) for array in values())
        for piece in pieces:
            data.write(piece)
            crc = crc32c(piece, crc)
            self._bytes += len(piece)
            if dtype.itemsize:  # nobody knows before how many bytes strings are
                progress(len(piece))
        if dtype.kind != "string":
            count = (self._bytes - offset) // dtype.itemsize
            follow(data, Span(tensor.name, offset, self._bytes - offset, crc))
        if count != prod(tensor.shape):
            raise ValueError(f"{count} values for {tensor.name} of shape {tensor.shape}")
        tensor.stored.append(Place(0, offset, self._bytes - offset, mask(crc)))

    def _entries(self) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of the index, in the order of the keys."""
        yield b"", _header(len(self._shards), self._big)
        entries: list[tuple[bytes, bytes]] = []
        for tensor in self._tensors.values():
            entries += _tensor_entries(tensor)
        entries.sort(key=lambda item: item[0])
        yield from entries


def _encoded_bytes(tensor: _Tensor) -> int:
    """Bytes of a tensor that is encoded; of strings nobody knows before."""
    if tensor.values is None:
        return 0
    return prod(tensor.shape) * dtype_from_enum(tensor.enum).itemsize


def encode_elements(array: Array, dtype: str) -> bytes:
    """The stored bytes of elements: little-endian, C order, 2- and 4-bit types a byte each."""
    import numpy as np

    if dtype == "bool":
        return bytes((np.ascontiguousarray(array) != 0).view(np.uint8).tobytes())
    narrow = {"int4": 0x0F, "uint4": 0x0F, "float4_e2m1fn": 0x0F, "int2": 0x03, "uint2": 0x03}
    if dtype in narrow:
        return bytes((np.ascontiguousarray(array).view(np.uint8) & narrow[dtype]).tobytes())
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return bytes(array.tobytes())


def _string_head(arrays: Iterable[Array]) -> tuple[bytes, int, int]:
    """Lengths and their checksum as stored; the running checksum after them; how many."""
    lengths = bytearray()
    crc = count = 0
    for array in arrays:
        for value in array.reshape(-1):
            size = len(value)
            lengths += encode_varint(size)
            crc = crc32c(size.to_bytes(4 if size <= _FULL32 else 8, "little"), crc)
            count += 1
    stored = mask(crc).to_bytes(4, "little")
    return bytes(lengths) + stored, crc32c(stored, crc), count


def _moved(runs: Sequence[Run], part: PartSource) -> int:
    """Where a part's bytes are after the copy; 0 for an empty one that stands nowhere in it."""
    at = bisect_right(runs, part.offset, key=lambda run: run.offset) - 1
    run = runs[at] if at >= 0 else Run(0, 0, 0)
    if part.offset + part.size > run.offset + run.size:
        return 0
    return run.target + part.offset - run.offset


def _tensor_entries(tensor: _Tensor) -> Iterator[tuple[bytes, bytes]]:
    key = encode_name(tensor.name)
    if not tensor.parts or not tensor.parts[0].extents:
        yield key, _entry(tensor.enum, tensor.shape, tensor.stored[0])
        return
    whole = None
    slices = b""
    for part, stored in zip(tensor.parts, tensor.stored, strict=True):
        slices += _slice_field(part.extents)
        if all(length == FULL for _, length in part.extents):
            whole = stored  # a part that is everything is stored under the plain name
            continue
        sizes = zip(part.extents, tensor.shape, strict=True)
        shape = tuple(size if length == FULL else length for (_, length), size in sizes)
        yield encode_slice_key(key, part.extents), _entry(tensor.enum, shape, stored)
    yield key, _entry(tensor.enum, tensor.shape, whole) + slices


def _entry(enum: int, shape: Shape, stored: Place | None) -> bytes:
    """A ``BundleEntryProto`` without slices; fields of value 0 are left out, as proto3 does."""
    dims = b"".join(
        encode_bytes_field(2, encode_varint_field(1, size) if size else b"") for size in shape
    )
    out = encode_varint_field(1, enum) + encode_bytes_field(2, dims)
    if stored is None:
        return out
    for number, value in ((3, stored.shard), (4, stored.offset), (5, stored.size)):
        if value:
            out += encode_varint_field(number, value)
    return out + encode_fixed32_field(6, stored.crc32c) if stored.crc32c else out


def _slice_field(extents: Sequence[Extent]) -> bytes:
    body = b""
    for start, length in extents:
        extent = encode_varint_field(1, start) if start else b""
        if length != FULL:
            extent += encode_varint_field(2, length)
        body += encode_bytes_field(1, extent)
    return encode_bytes_field(7, body)


def _header(shards: int, big: bool) -> bytes:
    out = encode_varint_field(1, shards)
    if big:
        out += encode_varint_field(2, 1)
    return out + encode_bytes_field(3, encode_varint_field(1, _PRODUCER))


def _checked_prefix(prefix: str) -> str:
    if not split(prefix)[1]:
        problem = Problem(
            "OUT002",
            "the output is a directory, not a prefix",
            prefix,
            hint=f"try {join(prefix or '.', 'model.ckpt')}",
        )
        raise OutputError(problem)
    if os.path.isdir(prefix):
        hint = f"try {join(prefix, 'model.ckpt')}"
        raise OutputError(Problem("OUT002", "the output is a directory", prefix, hint=hint))
    return prefix


def _older_shards(prefix: str) -> list[str]:
    """Data files of any earlier bundle of this prefix, and a V1 file of this very name."""
    directory, base = split(prefix)
    shard = re.compile(re.escape(base) + r"\.data-[0-9]{5,}-of-[0-9]{5,}\Z")
    found = [
        join(directory, name) for name in files_for(prefix).names(directory) if shard.match(name)
    ]
    return [*found, prefix] if os.path.lexists(prefix) else found
