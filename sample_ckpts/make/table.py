"""A small reader and writer of TensorFlow's table files and tensor bundles.

The samples that TensorFlow itself cannot make (another byte order, compressed or tiny blocks, keys
that are no text) are written with this.  It shares no code with ckpttool, so that neither can hide
the other's mistakes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import cramjam
import google_crc32c
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_shape_pb2, versions_pb2
from tensorflow.core.protobuf import tensor_bundle_pb2

MAGIC = 0xDB4775248B80FB57
FOOTER = 48
TRAILER = 5
RESTART_EVERY = 16
RAW, SNAPPY = 0, 1


def varint(value: int) -> bytes:
    """A base-128 varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at an offset, and the offset behind it."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def masked_crc(data: bytes) -> int:
    """TensorFlow's masked CRC-32C."""
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def _block(entries: list[tuple[bytes, bytes]]) -> bytes:
    out, restarts, last = bytearray(), [], b""
    for number, (key, value) in enumerate(entries):
        shared = 0
        if number % RESTART_EVERY == 0:
            restarts.append(len(out))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        out += varint(shared) + varint(len(key) - shared) + varint(len(value))
        out += key[shared:] + value
        last = key
    restarts = restarts or [0]
    return bytes(out) + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts))


def table_bytes(
    entries: Iterable[tuple[bytes, bytes]], block_size: int = 4096, compression: int = RAW
) -> bytes:
    """A whole table file; ``block_size`` is the size that a block is closed at."""
    out = bytearray()

    def write(block: bytes) -> bytes:
        stored = bytes(cramjam.snappy.compress_raw(block)) if compression == SNAPPY else block
        handle = varint(len(out)) + varint(len(stored))
        kind = bytes([compression])
        out.extend(stored + kind + struct.pack("<I", masked_crc(stored + kind)))
        return handle

    index: list[tuple[bytes, bytes]] = []
    pending: list[tuple[bytes, bytes]] = []
    size = 0
    for key, value in sorted(entries):
        pending.append((key, value))
        size += len(key) + len(value) + 3
        if size >= block_size:
            index.append((key, write(_block(pending))))
            pending, size = [], 0
    if pending:
        index.append((pending[-1][0], write(_block(pending))))
    footer = write(_block([])) + write(_block(index))
    return bytes(out) + footer.ljust(FOOTER - 8, b"\0") + struct.pack("<Q", MAGIC)


def _block_entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    (count,) = struct.unpack("<I", data[-4:])
    end, at, key = len(data) - 4 * (count + 1), 0, b""
    while at < end:
        shared, at = read_varint(data, at)
        fresh, at = read_varint(data, at)
        length, at = read_varint(data, at)
        key = key[:shared] + data[at : at + fresh]
        at += fresh
        yield key, data[at : at + length]
        at += length


@dataclass
class Block:
    """One data block: where it lies in the file, and its entries."""

    offset: int
    size: int
    entries: list[tuple[bytes, bytes]]


def read_blocks(path: Path) -> list[Block]:
    """The data blocks of an intact, uncompressed table file."""
    data = path.read_bytes()
    footer = data[-FOOTER:]
    at = 0
    for _ in range(2):
        _, at = read_varint(footer, at)
    offset, at = read_varint(footer, at)
    size, _ = read_varint(footer, at)
    blocks = []
    for _, handle in _block_entries(data[offset : offset + size]):
        start, at = read_varint(handle, 0)
        length, _ = read_varint(handle, at)
        entries = list(_block_entries(data[start : start + length]))
        blocks.append(Block(start, length, entries))
    return blocks


def read_table(path: Path) -> list[tuple[bytes, bytes]]:
    """All entries of an intact, uncompressed table file."""
    return [entry for block in read_blocks(path) for entry in block.entries]


def header(shards: int = 1, big_endian: bool = False) -> bytes:
    """The value of the key "" of a bundle index."""
    return tensor_bundle_pb2.BundleHeaderProto(
        num_shards=shards,
        endianness=tensor_bundle_pb2.BundleHeaderProto.BIG if big_endian else 0,
        version=versions_pb2.VersionDef(producer=1),
    ).SerializeToString(deterministic=True)


def write_bundle(prefix: Path, arrays: Mapping[bytes, np.ndarray], **options: int) -> None:
    """A V2 checkpoint of one shard; ``options`` are those of ``table_bytes``."""
    entries, data = [(b"", header())], bytearray()
    for name, array in sorted(arrays.items()):
        raw = np.ascontiguousarray(array).tobytes()
        entry = tensor_bundle_pb2.BundleEntryProto(
            dtype=tf.as_dtype(array.dtype).as_datatype_enum,
            shape=tensor_shape_pb2.TensorShapeProto(
                dim=[tensor_shape_pb2.TensorShapeProto.Dim(size=size) for size in array.shape]
            ),
            offset=len(data),
            size=len(raw),
            crc32c=masked_crc(raw),
        )
        entries.append((name, entry.SerializeToString(deterministic=True)))
        data += raw
    Path(f"{prefix}.index").write_bytes(table_bytes(entries, **options))
    Path(f"{prefix}.data-00000-of-00001").write_bytes(bytes(data))


def swapped(raw: bytes, dtype: tf.DType, count: int) -> bytes:
    """The bytes of a tensor as a machine of the other byte order would have written them."""
    if dtype == tf.string:
        return _swapped_strings(raw, count)
    if dtype.size == 1:
        return raw
    width = dtype.size // 2 if dtype.is_complex else dtype.size
    return np.frombuffer(raw, f"u{width}").byteswap().tobytes()


def _string_parts(raw: bytes, count: int) -> tuple[list[int], int]:
    """The lengths of the strings of a tensor, and the offset behind them."""
    lengths, at = [], 0
    for _ in range(count):
        length, at = read_varint(raw, at)
        lengths.append(length)
    return lengths, at


def _swapped_strings(raw: bytes, count: int) -> bytes:
    """Only the checksum of the lengths depends on the byte order, and it covers them as uint32."""
    lengths, at = _string_parts(raw, count)
    checksum = masked_crc(struct.pack(f">{count}I", *lengths))
    return raw[:at] + struct.pack(">I", checksum) + raw[at + 4 :]


def tensor_crc(raw: bytes, dtype: tf.DType, count: int) -> int:
    """The CRC of an index entry of a big-endian bundle: strings count their lengths as uint32."""
    if dtype != tf.string:
        return masked_crc(raw)
    lengths, at = _string_parts(raw, count)
    return masked_crc(struct.pack(f">{count}I", *lengths) + raw[at:])


def big_endian_twin(source: Path, target: Path) -> None:
    """Copy a bundle of one shard, data and header turned to big-endian, with matching CRCs."""
    data = bytearray(Path(f"{source}.data-00000-of-00001").read_bytes())
    entries = []
    for key, value in read_table(Path(f"{source}.index")):
        if key == b"":
            entries.append((key, header(big_endian=True)))
            continue
        entry = tensor_bundle_pb2.BundleEntryProto.FromString(value)
        if entry.size and not entry.slices:
            part = slice(entry.offset, entry.offset + entry.size)
            dtype, count = tf.as_dtype(entry.dtype), prod(dim.size for dim in entry.shape.dim)
            data[part] = swapped(bytes(data[part]), dtype, count)
            entry.crc32c = tensor_crc(bytes(data[part]), dtype, count)
        entries.append((key, entry.SerializeToString(deterministic=True)))
    Path(f"{target}.index").write_bytes(table_bytes(entries))
    Path(f"{target}.data-00000-of-00001").write_bytes(bytes(data))
