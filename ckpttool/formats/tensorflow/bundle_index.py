"""The index of a V2 bundle: header, entries, and which entries are parts of others.

Listing is the hot path: dtype and shape lead each entry and are the same for many, so their bytes
are decoded once; offsets, sizes and checksums are parsed when a tensor is asked for.  Source:
``tensorflow:core/protobuf/tensor_bundle.proto`` and ``core/util/tensor_bundle/tensor_bundle.cc``.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from operator import lt
from typing import NamedTuple

from ckpttool.errors import CorruptError, Problem, corrupt
from ckpttool.formats.tensorflow.ordered_code import Extent, decode_slice_key
from ckpttool.formats.tensorflow.slice_layout import parse_extents, parse_shape
from ckpttool.formats.tensorflow.table import Block, Table
from ckpttool.formats.tensorflow.versions import refuse_newer
from ckpttool.names import decode_name
from ckpttool.storage.wire import (
    BYTES,
    FIXED32,
    VARINT,
    WireError,
    fields,
    signed,
)
from ckpttool.tensors import Shape, TensorSpec, dtype_from_enum

MAX_SHARDS = 100_000
MAX_ENTRIES = 4_000_000  # keys of one index: what is listed of them takes a gigabyte or two
MAX_NAME_BYTES = 1 << 30  # of all keys: tables store of a key only what differs from the last
_SLICES_TAG = b"\x3a"  # field 7, length-delimited

_Head = tuple[str, Shape]  # dtype name, shape


class Header(NamedTuple):
    """The bundle's header entry; ``endianness`` is ``little`` or ``big``."""

    num_shards: int
    endianness: str


class Entry(NamedTuple):
    """One bundle entry, whole.

    ``crc32c`` is masked, as stored.  ``extents`` has one item a slice for the entry of a
    partitioned variable, whose data is in entries of their own.
    """

    dtype_enum: int
    shape: Shape
    shard: int
    offset: int
    size: int
    crc32c: int
    extents: tuple[tuple[Extent, ...], ...]


class BundleIndex:
    """What an index lists: ``specs`` in key order, and entries that are parsed on request."""

    def __init__(self) -> None:
        self.header: Header | None = None
        self.specs: dict[str, TensorSpec] = {}
        self.partitioned: set[str] = set()
        self.notices: list[Problem] = []  # what is odd, though nothing is lost
        self.problems: dict[str, Problem] = {}  # entries that cannot be listed, and why
        self._parts: dict[bytes, bytes] = {}
        self._stored: list[bytes] = []  # the entry of each spec, in the same order
        self._by_name: dict[str, bytes] | None = None  # the same, once one is asked for

    def entries(self) -> dict[str, bytes]:
        """The entries of all listed names, as they are stored."""
        return self._values()

    def entry(self, name: str, path: str) -> Entry:
        """The entry of a listed name."""
        return parse_entry(self._values()[name], path, name)

    def part(self, key: bytes, path: str, name: str) -> Entry | None:
        """The entry of one slice of ``name``, by its key."""
        value = self._parts.get(key)
        return None if value is None else parse_entry(value, path, name)

    def _values(self) -> dict[str, bytes]:
        if self._by_name is None:
            self._by_name = dict(zip(self.specs, self._stored, strict=True))
        return self._by_name


def read_index(
    table: Table, on_damage: Callable[[Block, CorruptError], None] | None = None
) -> BundleIndex:
    """Read all entries.  With ``on_damage``, blocks that are damaged are handed to it instead."""
    index = BundleIndex()
    heads: dict[bytes, _Head] = {}
    lost: list[Block] = []

    def skip(block: Block, error: CorruptError) -> None:
        lost.append(block)
        if on_damage is not None:
            on_damage(block, error)

    # Hundreds of thousands of small tuples that all stay: collecting garbage meanwhile finds
    # nothing and takes as long as the listing itself.
    collecting = gc.isenabled()
    gc.disable()
    try:
        last = None
        ordered = True
        room = MAX_NAME_BYTES
        for block, contents, found in table.entries(
            skip if on_damage is not None else None, MAX_ENTRIES
        ):
            _list_block(index, heads, table.path, block, contents, found)
            keys = [key for key, _, _ in found]
            room -= sum(map(len, keys))
            if room < 0:
                raise corrupt(
                    "the names of the index are too long", table.path, block.offset, code="INP009",
                    found=f"{MAX_NAME_BYTES - room} bytes or more", expected=f"≤ {MAX_NAME_BYTES}",
                )  # fmt: skip
            if keys and ordered:
                ordered = (
                    (last is None or last < keys[0])
                    and keys[-1] <= block.separator
                    and all(map(lt, keys, keys[1:]))
                )
                last = keys[-1]
    finally:
        if collecting:
            gc.enable()
    if len(index.specs) != len(index._stored):
        raise corrupt("the index lists a name twice", table.path)
    if not ordered:
        what = "the keys of the index are out of order: TensorFlow does not find all of them"
        index.notices.append(Problem("INP004", what, table.path))
    if index.header is not None and not index.header.num_shards:
        what = "the header entry counts no shards; one is assumed"
        index.notices.append(Problem("INP004", what, table.path, "num_shards 0", "≥ 1"))
    # In any other order of fields: only where there are parts, or were before a block was lost.
    if index._parts or lost:
        index.partitioned.update(
            name
            for name, value in index._values().items()
            if value.find(_SLICES_TAG) >= 0 and _has_slices(value)
        )
        _adopt_orphans(index, heads, table.path)
    return index


def _list_block(
    index: BundleIndex,
    heads: dict[bytes, _Head],
    path: str,
    block: Block,
    contents: bytes,
    found: list[tuple[bytes, int, int]],
) -> None:
    """Add a block's entries to the index: the loop that listing time is spent in."""
    specs = index.specs
    store = index._stored.append
    make = tuple.__new__  # a spec is a tuple; its own constructor takes twice the time
    for key, start, stop in found:
        value = contents[start:stop]
        if key < b"\x01":
            if key:
                index._parts[key] = value
            else:
                index.header = parse_header(value, path)
            continue
        end = 0
        try:
            end = 4 + value[3]
            head = heads[value[:end]]
        except (IndexError, KeyError):
            new = _new_head(index, heads, value, key, path, block.offset + start)
            if new is None:
                continue
            head = new
        try:
            name = key.decode()
        except UnicodeDecodeError:
            name = decode_name(key)
        specs[name] = make(TensorSpec, (name, *head))
        store(value)
        # As TensorFlow writes it: after dtype and shape a partitioned variable has slices only.
        if value[end : end + 1] == _SLICES_TAG and _has_slices(value):
            index.partitioned.add(name)


def parse_header(value: bytes, path: str) -> Header:
    """A ``BundleHeaderProto``; refuses a version that this reader is too old for."""
    shards = endianness = 0
    try:
        for number, wire_type, a, b in fields(value):
            if number == 1 and wire_type == VARINT:
                shards = signed(a)
            elif number == 2 and wire_type == VARINT:
                endianness = a
            elif number == 3 and wire_type == BYTES:
                refuse_newer(value, a, b, path)
    except WireError as error:
        raise corrupt(f"the header entry is damaged: {error.message}", path) from error
    if shards > MAX_SHARDS:
        raise corrupt(
            "the header entry counts too many shards", path, code="INP009",
            found=shards, expected=f"≤ {MAX_SHARDS}",
        )  # fmt: skip
    if endianness > 1 or shards < 0:
        found = f"endianness {endianness}, {shards} shards"
        raise corrupt("the header entry is damaged", path, found=found)
    return Header(shards, "big" if endianness else "little")


def parse_entry(value: bytes, path: str, name: str) -> Entry:
    """A whole ``BundleEntryProto``; ``name`` is for the message."""
    enum = shard = offset = size = crc = 0
    shape: Shape = ()
    extents = []
    try:
        for number, wire_type, a, b in fields(value):
            if wire_type == VARINT:
                if number == 1:
                    enum = a
                elif number == 3:
                    shard = signed(a)
                elif number == 4:
                    offset = signed(a)
                elif number == 5:
                    size = signed(a)
            elif number == 6 and wire_type == FIXED32:
                crc = a
            elif number == 2 and wire_type == BYTES:
                shape = parse_shape(value, a, b)
            elif number == 7 and wire_type == BYTES:
                extents.append(parse_extents(value, a, b))
    except WireError as error:
        raise corrupt(f"the entry of {name} is damaged: {error.message}", path) from error
    if shard < 0 or offset < 0 or size < 0:
        found = f"shard {shard}, {size} bytes at {offset}"
        raise corrupt(f"the entry of {name} is damaged", path, found=found)
    return Entry(enum, shape, shard, offset, size, crc, tuple(extents))


def _new_head(
    index: BundleIndex, heads: dict[bytes, _Head], value: bytes, key: bytes, path: str, where: int
) -> _Head | None:
    """Dtype and shape of an entry whose leading bytes were not met yet.

    None, with the reason in ``index.problems``, if it has none.  An entry that is damaged further
    on is listed all the same: it is an error when it is read.
    """
    name = decode_name(key)
    # The canonical form: a one-byte dtype, then a shape shorter than 128 bytes.
    end = 0
    if len(value) > 3 and value[0] == 0x08 and value[1] < 0x80 and value[2] == 0x12:
        end = 4 + value[3] if value[3] < 0x80 else 0
    try:
        entry = parse_entry(value[:end] if end else value, path, name)
        if not entry.dtype_enum:
            raise corrupt(f"the entry of {name} has no dtype", path)
    except CorruptError as error:
        index.problems[name] = error.problems[0]._replace(where=f"{path}: byte {where}")
        return None
    head = (dtype_from_enum(entry.dtype_enum).name, entry.shape)
    if 0 < end <= len(value):
        heads[value[:end]] = head
    return head


def _has_slices(value: bytes) -> bool:
    try:
        return any(number == 7 and kind == BYTES for number, kind, _, _ in fields(value))
    except WireError:
        return False  # an error when the entry is read


def _listed_slices(index: BundleIndex, name: str, path: str) -> set[tuple[Extent, ...]]:
    """The slices that the entry of ``name`` lists; none if it is damaged, or has none."""
    if name not in index.partitioned:
        return set()
    try:
        return set(index.entry(name, path).extents)
    except CorruptError:
        return set()  # an error when the variable is read


def _adopt_orphans(index: BundleIndex, heads: dict[bytes, _Head], path: str) -> None:
    """Keys that begin with a zero byte are slices only if their variable says so.

    Any other is a tensor with an odd name, or a part whose variable is lost: listed, not hidden.
    Of a variable that is there, parts that it does not list are told of.
    """
    listed: dict[str, set[tuple[Extent, ...]]] = {}
    orphans = []
    unknown: dict[str, int] = {}
    for key in index._parts:
        decoded = decode_slice_key(key)
        if decoded:
            name = decode_name(decoded[0])
            if name not in listed:
                listed[name] = _listed_slices(index, name, path)
            if decoded[1] in listed[name]:
                continue
            if name in index.specs:
                unknown[name] = unknown.get(name, 0) + 1
                continue
        orphans.append(key)
    for name, count in unknown.items():
        what = f"slices of {name} are stored that {name} does not list"
        index.notices.append(Problem("INP008", what, path, str(count), "0"))
    if not orphans:
        return
    specs, values = {}, {}
    for key in orphans:
        value = index._parts.pop(key)
        new = _new_head(index, heads, value, key, path, 0)
        if new is not None:
            name = decode_name(key)
            specs[name] = TensorSpec(name, *new)
            values[name] = value
            if _has_slices(value):
                index.partitioned.add(name)
    index.specs = {**specs, **index.specs}
    index._by_name = {**values, **index._values()}
