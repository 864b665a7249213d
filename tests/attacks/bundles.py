"""Attacks by TensorFlow's own files: tables, V2 bundles, V1 files, state files."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from attack import attack
from format_makers import (
    HEADER,
    Bundle,
    V1Tensor,
    entry_message,
    shape_message,
    v1_table,
)

from ckpttool.formats.tensorflow.table_writer import MAGIC, write_table
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.wire import (
    encode_bytes_field,
    encode_varint,
    encode_varint_field,
)

FLOAT, STRING = 1, 7
SMALL = np.arange(6, dtype=np.float32)


def _sealed(block: bytes, kind: int = 0) -> bytes:
    """A block with its trailer."""
    block += bytes((kind,))
    return block + mask(crc32c(block)).to_bytes(4, "little")


def _table(block: bytes, kind: int = 0, *, handle: tuple[int, int] | None = None) -> bytes:
    """A table of one data block, whose contents and handle may be anything."""
    data = _sealed(block, kind)
    empty = _sealed(b"\x00\x00\x00\x00\x01\x00\x00\x00")
    offset, size = handle or (0, len(block))
    where = encode_varint(offset) + encode_varint(size)
    entry = b"\x00\x01" + encode_varint(len(where)) + b"\xff" + where
    index = entry + b"\x00\x00\x00\x00\x01\x00\x00\x00"
    meta_at = len(data)
    index_at = meta_at + len(empty)
    handles = encode_varint(meta_at) + encode_varint(len(empty) - 5)
    handles += encode_varint(index_at) + encode_varint(len(index))
    footer = handles.ljust(40, b"\x00") + struct.pack("<Q", MAGIC)
    return data + empty + _sealed(index) + footer


def _block(*entries: bytes, restarts: bytes = b"\x00\x00\x00\x00\x01\x00\x00\x00") -> bytes:
    return b"".join(entries) + restarts


def _entry(key: bytes, value: bytes, *, shared: int = 0) -> bytes:
    head = encode_varint(shared) + encode_varint(len(key)) + encode_varint(len(value))
    return head + key + value


def _index(folder: Path, data: bytes, payload: bytes = b"") -> Path:
    (folder / "m.index").write_bytes(data)
    (folder / "m.data-00000-of-00001").write_bytes(payload)
    return folder / "m"


def _entries(folder: Path, payload: bytes = b"", **entries: bytes) -> Path:
    """A bundle of these messages."""
    rows = {b"": HEADER, **{key.encode(): value for key, value in entries.items()}}
    return _index(folder, b"".join(write_table(sorted(rows.items()))), payload)


# --- tables ----------------------------------------------------------------------------------


@attack("INP004")
def table_handle_outside(folder: Path) -> Path:
    return _index(folder, _table(_block(_entry(b"", HEADER)), handle=(1 << 60, 100)))


@attack("INP004")
def table_handle_of_all_ones(folder: Path) -> Path:
    return _index(folder, _table(_block(_entry(b"", HEADER)), handle=((1 << 64) - 1,) * 2))


@attack("INP004")
def table_key_longer_than_block(folder: Path) -> Path:
    entry = b"\x00" + encode_varint(1 << 40) + b"\x01" + b"k"
    return _index(folder, _table(_block(_entry(b"", HEADER), entry)))


@attack("INP004")
def table_value_longer_than_block(folder: Path) -> Path:
    entry = b"\x00\x01" + encode_varint((1 << 63) + 5) + b"k"
    return _index(folder, _table(_block(_entry(b"", HEADER), entry)))


@attack("INP004")
def table_shares_more_than_there_is(folder: Path) -> Path:
    return _index(folder, _table(_block(_entry(b"", HEADER), _entry(b"k", b"", shared=1 << 31))))


@attack("INP009")
def table_keys_that_grow(folder: Path) -> Path:
    """Each key takes the whole one before it: their sum is the square of the file."""
    entries = [_entry(b"", HEADER)]
    entries += [_entry(b"k", b"", shared=length) for length in range(60_000)]
    return _index(folder, _table(_block(*entries)))


@attack("INP004")
def table_restarts_without_end(folder: Path) -> Path:
    block = _block(_entry(b"", HEADER), restarts=b"\xff\xff\xff\xff")
    return _index(folder, _table(block))


@attack("INP009")
def table_snappy_bomb_by_word(folder: Path) -> Path:
    return _index(folder, _table(encode_varint((1 << 32) - 1) + b"\x00a", 1))


@attack("INP009")
def table_snappy_bomb(folder: Path) -> Path:
    """Copies of 64 bytes, three bytes each."""
    copies = b"\x00a" + b"\xfe\x01\x00" * 4_000_000
    return _index(folder, _table(encode_varint(1 + 64 * 4_000_000) + copies, 1))


@attack("INP004")
def table_block_of_unknown_kind(folder: Path) -> Path:
    return _index(folder, _table(_block(_entry(b"", HEADER)), 77))


@attack("INP004")
def table_that_is_a_footer(folder: Path) -> Path:
    return _index(folder, bytes(40) + struct.pack("<Q", MAGIC))


# --- V2 bundles ------------------------------------------------------------------------------


@attack("INP009")
def bundle_of_billions_of_shards(folder: Path) -> Path:
    header = encode_varint_field(1, (1 << 31) - 1) + b"\x1a\x02\x08\x01"
    return _index(folder, b"".join(write_table([(b"", header)])))


@attack("INP004")
def bundle_shape_overflows(folder: Path) -> Path:
    return _entries(folder, w=entry_message(FLOAT, (1 << 62, 1 << 62), size=4, crc=0))


@attack("INP004")
def bundle_shape_is_zero_after_overflow(folder: Path) -> Path:
    """2³² times 2³² is 0 in 64 bits."""
    return _entries(folder, w=entry_message(FLOAT, (1 << 32, 1 << 32), size=0, crc=0))


@attack("INP004")
def bundle_negative_dimension(folder: Path) -> Path:
    dim = encode_bytes_field(2, encode_varint_field(1, (1 << 64) - 1))
    message = encode_varint_field(1, FLOAT) + encode_bytes_field(2, dim)
    return _entries(folder, w=message)


@attack("INP004")
def bundle_of_a_thousand_dimensions(folder: Path) -> Path:
    return _entries(folder, bytes(4), w=entry_message(FLOAT, (1,) * 1000, size=4, crc=0))


@attack("INP007")
def bundle_tensor_behind_the_end(folder: Path) -> Path:
    return _entries(folder, w=entry_message(FLOAT, (1 << 40,), offset=8, size=1 << 42, crc=0))


@attack("INP004")
def bundle_negative_size(folder: Path) -> Path:
    return _entries(folder, w=entry_message(FLOAT, (4,), size=(1 << 64) - 16, crc=0))


@attack("INP004")
def bundle_offset_wraps_around(folder: Path) -> Path:
    message = entry_message(FLOAT, (4,), offset=(1 << 64) - 8, size=16, crc=0)
    return _entries(folder, bytes(16), w=message)


@attack("INP004")
def bundle_shard_that_is_none(folder: Path) -> Path:
    return _entries(folder, bytes(16), w=entry_message(FLOAT, (4,), shard=7, size=16, crc=0))


@attack("INP004")
def bundle_strings_by_the_trillion(folder: Path) -> Path:
    return _entries(folder, bytes(16), w=entry_message(STRING, (1 << 40,), size=16, crc=0))


@attack("INP004")
def bundle_string_of_exabytes(folder: Path) -> Path:
    length = 1 << 60
    check = mask(crc32c(length.to_bytes(8, "little"))).to_bytes(4, "little")
    payload = encode_varint(length) + check + bytes(8)
    crc = mask(crc32c(length.to_bytes(8, "little") + check + bytes(8)))
    return _entries(folder, payload, w=entry_message(STRING, (), size=len(payload), crc=crc))


@attack("INP008")
def bundle_slices_overlap(folder: Path) -> Path:
    bundle = Bundle()
    bundle.add_slices(b"w", SMALL, [((0, 4),), ((2, 4),)])
    bundle.write(folder)
    return folder / "m"


@attack("INP008")
def bundle_slice_behind_its_variable(folder: Path) -> Path:
    message = entry_message(FLOAT, (6,), slices=[((0, 3),), ((1 << 62, 3),)])
    return _entries(folder, w=message)


@attack("INP008")
def bundle_slices_without_number(folder: Path) -> Path:
    """More than a variable may have, each of them there."""
    bundle = Bundle()
    bundle.add_slices(
        b"w", np.zeros(20_000, np.float32), [((number, 1),) for number in range(20_000)]
    )
    bundle.write(folder)
    return folder / "m"


@attack("INP009")
def bundle_tensors_on_the_same_bytes(folder: Path) -> Path:
    """A hundred tensors of a megabyte, all of them the same one."""
    data = bytes(1 << 20)
    crc = mask(crc32c(data))
    message = entry_message(FLOAT, (1 << 18,), size=1 << 20, crc=crc)
    return _entries(folder, data, **{f"w{number:04}": message for number in range(100)})


@attack(None)
def bundle_names_for_a_terminal(folder: Path) -> Path:
    """Escapes, markup, line breaks, a text turned around, paths that leave, no text at all."""
    bundle = Bundle()
    for name in (
        b"\x1b[2J\x1b]0;owned\x07", b"[red]markup[/red]", b"a\nb\r\tc", b"\xe2\x80\xaetfel",
        b"../../etc/passwd", b"/etc/passwd", b"C:\\windows", b"\xff\xfe\x00", b"a" * 100_000,
        b"//", b" ", b"%s{0}$HOME`id`",
    ):  # fmt: skip
        bundle.add(name, SMALL)
    bundle.write(folder)
    return folder / "m"


@attack(None)
def bundle_names_in_depth(folder: Path) -> Path:
    """A name of twenty thousand scopes, each inside of the other."""
    bundle = Bundle()
    bundle.add(b"/".join([b"s"] * 20_000), SMALL)
    bundle.write(folder)
    return folder / "m"


# --- V1 files --------------------------------------------------------------------------------


@attack("INP004")
def v1_values_of_another_number(folder: Path) -> Path:
    proto = encode_varint_field(1, FLOAT) + encode_bytes_field(5, SMALL.tobytes())
    path = folder / "m.ckpt"
    path.write_bytes(v1_table([V1Tensor(b"w", FLOAT, (1 << 40,), [(((0, -1),), proto)])]))
    return path


@attack("INP004")
def v1_shape_overflows(folder: Path) -> Path:
    proto = encode_varint_field(1, FLOAT) + encode_bytes_field(5, SMALL.tobytes())
    shape = (1 << 62, 1 << 62)
    path = folder / "m.ckpt"
    path.write_bytes(v1_table([V1Tensor(b"w", FLOAT, shape, [(((0, -1),) * 2, proto)])]))
    return path


@attack("INP004")
def v1_list_without_end(folder: Path) -> Path:
    """A list of tensors that says it is longer than the file."""
    meta = b"\x0a" + encode_varint(1 << 50) + shape_message((2,))
    path = folder / "m.ckpt"
    path.write_bytes(b"".join(write_table([(b"", meta)])))
    return path


# --- state files and what stands beside them -------------------------------------------------


def _with_state(folder: Path, text: str) -> Path:
    bundle = Bundle()
    bundle.add(b"w", SMALL)
    bundle.write(folder, "model.ckpt-1")
    (folder / "checkpoint").write_text(text, "utf-8")
    return folder


@attack("INP015")
def state_that_leaves_its_folder(folder: Path) -> Path:
    outside = folder / "outside"
    outside.mkdir()
    bundle = Bundle()
    bundle.add(b"secret", SMALL)
    bundle.write(outside)
    inside = folder / "inside"
    inside.mkdir()
    return _with_state(inside, 'model_checkpoint_path: "../outside/m"\n')


@attack("INP015")
def state_of_an_absolute_path(folder: Path) -> Path:
    return _with_state(folder, 'model_checkpoint_path: "/etc/passwd"\n')


@attack("INP009")
def state_of_megabytes(folder: Path) -> Path:
    return _with_state(folder, 'model_checkpoint_path: "m"\n' * 700_000)


@attack("INP003")
def pickle_in_the_place_of_a_checkpoint(folder: Path) -> Path:
    """It would make a file beside it."""
    path = folder / "model.ckpt"
    mark = str(folder / "RUN").encode()
    path.write_bytes(b"cos\nsystem\n(S'touch " + mark + b"'\ntR.")
    return path


@attack("INP002")
def index_that_is_a_pipe(folder: Path) -> Path:
    """Whoever opens it waits for ever."""
    os.mkfifo(folder / "m.index")
    return folder / "m"


@attack("INP001")
def index_that_leads_nowhere(folder: Path) -> Path:
    (folder / "m.index").symlink_to("gone")
    (folder / "m.data-00000-of-00001").write_bytes(b"")
    return folder / "m"
