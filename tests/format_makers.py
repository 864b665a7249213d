"""Checkpoints made by hand, byte by byte, for tests of the readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ckpttool.formats.locating.located import Located
from ckpttool.formats.tensorflow.ordered_code import FULL, Extent, encode_slice_key
from ckpttool.formats.tensorflow.table_writer import write_table
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.wire import (
    encode_bytes_field,
    encode_fixed32_field,
    encode_varint,
    encode_varint_field,
)
from ckpttool.tensors import BY_NAME

HEADER = b"\x08\x01\x1a\x02\x08\x01"


def shape_message(shape: Sequence[int]) -> bytes:
    """A ``TensorShapeProto``."""
    dims = (encode_varint_field(1, size) if size else b"" for size in shape)
    return b"".join(encode_bytes_field(2, dim) for dim in dims)


def slice_message(extents: Sequence[Extent]) -> bytes:
    """A ``TensorSliceProto``."""
    parts = []
    for start, length in extents:
        extent = encode_varint_field(1, start) if start else b""
        extent += b"" if length == FULL else encode_varint_field(2, length)
        parts.append(encode_bytes_field(1, extent))
    return b"".join(parts)


def entry_message(
    enum: int,
    shape: Sequence[int],
    *,
    shard: int = 0,
    offset: int = 0,
    size: int = 0,
    crc: int | None = None,
    slices: Sequence[Sequence[Extent]] = (),
) -> bytes:
    """A ``BundleEntryProto``; zero fields are absent, as proto3 writes them."""
    out = encode_varint_field(1, enum) + encode_bytes_field(2, shape_message(shape))
    for number, value in ((3, shard), (4, offset), (5, size)):
        out += encode_varint_field(number, value) if value else b""
    out += encode_fixed32_field(6, crc) if crc is not None else b""
    return out + b"".join(encode_bytes_field(7, slice_message(item)) for item in slices)


def string_payload(strings: Sequence[bytes], order: Any = "little") -> tuple[bytes, int]:
    """The stored bytes of a string tensor and its masked checksum."""
    lengths = b"".join(encode_varint(len(item)) for item in strings)
    crc = 0
    for item in strings:
        crc = crc32c(len(item).to_bytes(4, order), crc)
    check = mask(crc).to_bytes(4, order)
    data = b"".join(strings)
    return lengths + check + data, mask(crc32c(check + data, crc))


class Bundle:
    """A bundle under construction; ``write`` puts its files into a folder."""

    def __init__(self, *, big_endian: bool = False, shards: int = 1) -> None:
        self.big_endian = big_endian
        self.shards = [bytearray() for _ in range(shards)]
        header = encode_varint_field(1, shards)
        header += encode_varint_field(2, 1) if big_endian else b""
        self.entries: dict[bytes, bytes] = {b"": header + b"\x1a\x02\x08\x01"}

    def payload(self, array: np.ndarray[Any, Any]) -> tuple[bytes, int]:
        """Stored bytes and masked checksum."""
        if array.dtype == object:
            order = "big" if self.big_endian else "little"
            return string_payload(list(array.reshape(-1)), order)
        if self.big_endian:
            unit = array.dtype.itemsize // (2 if array.dtype.kind == "c" else 1)
            array = array.reshape(-1).view(f"u{unit}").byteswap()
        data = array.tobytes()
        return data, mask(crc32c(data))

    def add(
        self, key: bytes, array: np.ndarray[Any, Any], dtype: str | None = None, shard: int = 0
    ) -> None:
        """A tensor that is stored whole."""
        data, crc = self.payload(array)
        name = dtype or ("string" if array.dtype == object else array.dtype.name)
        self.entries[key] = entry_message(
            BY_NAME[name].enum,
            array.shape,
            shard=shard,
            offset=len(self.shards[shard]),
            size=len(data),
            crc=crc,
        )
        self.shards[shard] += data

    def add_slices(
        self,
        name: bytes,
        array: np.ndarray[Any, Any],
        slices: Sequence[Sequence[Extent]],
        shards: Sequence[int] = (),
    ) -> None:
        """A partitioned variable."""
        dtype = "string" if array.dtype == object else array.dtype.name
        self.entries[name] = entry_message(BY_NAME[dtype].enum, array.shape, slices=slices)
        for index, extents in enumerate(slices):
            place = tuple(
                slice(None) if length == FULL else slice(start, start + length)
                for start, length in extents
            )
            part = np.ascontiguousarray(array[place])
            shard = shards[index] if shards else 0
            self.add(encode_slice_key(name, extents), part, dtype, shard)

    def index(self, **options: int) -> bytes:
        """The bytes of the index."""
        return b"".join(write_table(sorted(self.entries.items()), **options))

    def write(self, folder: Path, name: str = "m", **options: int) -> Located:
        """Write the files; what ``locate`` would say of them."""
        (folder / f"{name}.index").write_bytes(self.index(**options))
        count = len(self.shards)
        for shard, data in enumerate(self.shards):
            (folder / f"{name}.data-{shard:05d}-of-{count:05d}").write_bytes(bytes(data))
        return located(folder / name)


def located(prefix: Path) -> Located:
    """A V2 bundle at ``prefix``, with the shards left to the header."""
    return Located(str(prefix), "tf-v2", f"{prefix}.index")


class V1Tensor(NamedTuple):
    """A tensor of a hand-made V1 file: each slice has the bytes of a ``TensorProto``."""

    name: bytes
    enum: int
    shape: Sequence[int]
    slices: Sequence[tuple[Sequence[Extent], bytes]]


def v1_table(tensors: Sequence[V1Tensor], **options: int) -> bytes:
    """The bytes of a V1 file."""
    meta = b""
    entries = {}
    for name, enum, shape, slices in tensors:
        listed = encode_bytes_field(1, name) + encode_bytes_field(2, shape_message(shape))
        listed += encode_varint_field(3, enum)
        for extents, proto in slices:
            listed += encode_bytes_field(4, slice_message(extents))
            saved = encode_bytes_field(1, name) + encode_bytes_field(2, slice_message(extents))
            saved += encode_bytes_field(3, proto)
            entries[encode_slice_key(name, extents)] = encode_bytes_field(2, saved)
        meta += encode_bytes_field(1, listed)
    meta += encode_bytes_field(2, encode_varint_field(1, 1))
    entries[b""] = encode_bytes_field(1, meta)
    return b"".join(write_table(sorted(entries.items()), **options))


def located_v1(*paths: Path) -> Located:
    """A V1 checkpoint of one file, or of several shards."""
    shards = tuple(map(str, paths))
    return Located(shards[0], "tf-v1", shards[0], shards)
