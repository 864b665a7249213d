"""Read a V2 TensorBundle: ``prefix.index`` and its ``prefix.data-SSSSS-of-NNNNN`` shards.

Opening reads the index alone.  Shards are opened when a tensor in them is read, so a missing one
harms only its own tensors.  Source: ``tensorflow:core/util/tensor_bundle/tensor_bundle.cc``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.errors import CorruptError, InputError, Problem, corrupt
from ckpttool.formats.base import CheckpointInfo
from ckpttool.formats.locating.located import Located
from ckpttool.formats.parts import PartReader
from ckpttool.formats.streaming import RawStream, Stream, Where
from ckpttool.formats.tensorflow.bundle_index import (
    Entry,
    Header,
    read_index,
)
from ckpttool.formats.tensorflow.ordered_code import FULL, Extent, encode_slice_key
from ckpttool.formats.tensorflow.slice_layout import to_slice
from ckpttool.formats.tensorflow.string_stream import StringStream, scalar_string
from ckpttool.formats.tensorflow.table import Block, Table
from ckpttool.names import OBJECT_GRAPH_KEY, encode_name
from ckpttool.storage.files import RangedFile, files_for
from ckpttool.tensors import Slice, dtype_from_enum, dtype_named

if TYPE_CHECKING:
    from ckpttool.formats.tensorflow.object_graph import ObjectGraph

_INDEX_SUFFIX = ".index"
_MAX_LISTED_SHARDS = 4096


class StoredPart(NamedTuple):
    """Where the bytes of a tensor, or of one slice of it, are stored.

    ``crc32c`` is masked, exactly as the index holds it, and covers the bytes as they lie in the
    file.  ``slice`` is None for a tensor that is stored whole; ``extents`` then is empty.
    """

    shard: int
    path: str
    offset: int
    size: int
    crc32c: int
    slice: Slice | None
    extents: tuple[Extent, ...]


class BundleReader(PartReader):
    """An open V2 bundle.  ``endianness`` is that of the data, ``little`` or ``big``."""

    def __init__(self, located: Located, *, salvage: bool = False) -> None:
        """Open the index.  ``salvage`` skips its damaged blocks; ``damaged_blocks`` has them."""
        if located.index is None:
            raise InputError(Problem("INP001", "no index file", located.path))
        self._files = files_for(located.index)
        self.damaged_blocks: list[tuple[Block, CorruptError]] = []
        file = self._files.open(located.index)
        try:
            table = Table(file)
            self._index = read_index(table, self._damaged if salvage else None)
        finally:
            file.close()
        self._index_path = located.index
        header = self._header(located)
        self.endianness = header.endianness
        self._shards = _shard_paths(located, header.num_shards)
        self._open: dict[int, RangedFile] = {}
        self._layouts: dict[str, list[tuple[Slice, tuple[Extent, ...]]]] = {}
        self._entries: dict[str, Entry] = {}  # of partitioned variables: they can be long
        self._last: tuple[str, Entry] | None = None  # asked for one thing, and then the next
        self.specs = self._index.specs
        self.info = self._describe(located, header)

    @property
    def partitioned(self) -> set[str]:
        """Names of the variables that are stored in slices."""
        return self._index.partitioned

    @property
    def unlisted(self) -> dict[str, Problem]:
        """Names whose entries are damaged, so that they are not in ``specs``, and why."""
        return self._index.problems

    @property
    def shard_paths(self) -> tuple[str, ...]:
        """The data files, by shard number."""
        return self._shards

    def entry_dtype_enum(self, name: str) -> int:
        """The dtype's number as the index has it."""
        return self._entry(name).dtype_enum

    def entries(self) -> Mapping[str, bytes]:
        """The tensors' index entries as stored: equal ones of two bundles mean equal bytes.

        Of a partitioned variable the entry says nothing of the data.
        """
        return self._index.entries()

    def stored_bytes(self, name: str) -> int:
        """Bytes of the tensor's data in the shards; of a partitioned one, of all its parts."""
        return sum(part.size for part in self.stored_parts(name))

    def slices(self, name: str) -> Sequence[Slice]:
        """The parts of a partitioned variable, in C order of their starts; empty if whole."""
        if name not in self._index.partitioned:
            self.spec(name)
            return ()
        return [part for part, _ in self._layout(name)]

    def stored_parts(self, name: str) -> list[StoredPart]:
        """Where the bytes are: one part for a whole tensor, one a slice for a partitioned one.

        Neither reads nor opens a shard.  The parts are in the order of :meth:`slices`.
        """
        if name not in self._index.partitioned:
            return [self._stored(self._entry(name), None, ())]
        return [
            self._stored(self._part_entry(name, part, extents), part, extents)
            for part, extents in self._layout(name)
        ]

    def stored_range(self, name: str) -> tuple[str, int, int] | None:
        """File, first byte and size of a tensor; None unless all of it lies there plainly."""
        spec = self.spec(name)
        itemsize = dtype_named(spec.dtype).itemsize
        if name in self._index.partitioned or self.endianness != "little" or not itemsize:
            return None
        part = self.stored_parts(name)[0]
        return part[1:4] if part.size == prod(spec.shape) * itemsize else None

    def object_graph(self) -> ObjectGraph | None:
        """The TF2 object graph, decoded without NumPy; None for a name-based checkpoint."""
        if OBJECT_GRAPH_KEY not in self.specs:
            return None
        from ckpttool.formats.tensorflow.object_graph import parse_object_graph

        entry = self._entry(OBJECT_GRAPH_KEY)
        file = self._shard(OBJECT_GRAPH_KEY, entry)
        where = Where(OBJECT_GRAPH_KEY, file.path, entry.offset)
        if dtype_from_enum(entry.dtype_enum).kind != "string" or entry.shape:
            raise where.damaged("no scalar string")
        big = self.endianness == "big"
        data = scalar_string(
            file, entry.offset, entry.size, where, crc=entry.crc32c, big_endian=big
        )
        return parse_object_graph(data, f"{file.path}: tensor {OBJECT_GRAPH_KEY}")

    def close(self) -> None:
        """Close the shards; they open again if they are needed."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _whole(self, name: str) -> Stream:
        return self._stream(name, self._entry(name))

    def _part(self, name: str, index: int) -> Stream:
        part, extents = self._layout(name)[index]
        return self._stream(name, self._part_entry(name, part, extents))

    def check_slices(self, name: str) -> None:
        """Raise INP008 if the parts of ``name`` do not cover it exactly, or share their bytes."""
        super().check_slices(name)
        if name not in self._index.partitioned:
            return
        # Parts that lie on each other would let a small file stand for a tensor of any size.
        sums: dict[int, int] = {}
        for part in self.stored_parts(name):
            sums[part.shard] = sums.get(part.shard, 0) + part.size
        for shard, total in sums.items():
            path = self._shards[shard]
            if self._files.is_file(path) and total > (size := self._files.size(path)):
                what = f"the slices of {name} are more than their shard holds"
                raise corrupt(what, path, code="INP007", found=size, expected=f"≥ {total} bytes")

    def _entry(self, name: str) -> Entry:
        known = self._entries.get(name)
        if known is not None:
            return known
        if self._last is not None and self._last[0] == name:
            return self._last[1]
        spec = self.spec(name)
        entry = self._index.entry(name, self._index_path)
        if entry.shape != spec.shape or dtype_from_enum(entry.dtype_enum).name != spec.dtype:
            raise corrupt(f"the entry of {name} contradicts itself", self._index_path)
        if entry.extents:
            self._entries[name] = entry
        self._last = (name, entry)
        return entry

    def _layout(self, name: str) -> list[tuple[Slice, tuple[Extent, ...]]]:
        layout = self._layouts.get(name)
        if layout is None:
            entry = self._entry(name)
            layout = []
            for extents in entry.extents:
                part = to_slice(extents, entry.shape)
                if part is None:
                    raise corrupt(
                        f"a slice of {name} lies outside it",
                        self._index_path,
                        code="INP008",
                        found=list(extents),
                        expected=f"inside {list(entry.shape)}",
                    )
                layout.append((part, extents))
            layout.sort(key=lambda item: item[0].start)
            self._layouts[name] = layout
        return layout

    def _part_entry(self, name: str, part: Slice, extents: tuple[Extent, ...]) -> Entry:
        whole = self._entry(name)
        if all(length == FULL for _, length in extents):
            return whole._replace(extents=())  # a part that is everything has no entry of its own
        key = encode_slice_key(encode_name(name), extents)
        entry = self._index.part(key, self._index_path, name)
        if entry is None:
            raise corrupt(
                f"a slice of {name} is listed but not there",
                self._index_path,
                code="INP008",
                found=f"no part at {list(part.start)}",
            )
        if entry.dtype_enum != whole.dtype_enum or entry.shape != part.shape:
            raise corrupt(
                f"a slice of {name} is not what its variable says",
                self._index_path,
                found=f"shape {list(entry.shape)}",
                expected=f"shape {list(part.shape)}",
            )
        return entry

    def _stored(self, entry: Entry, part: Slice | None, extents: tuple[Extent, ...]) -> StoredPart:
        path = self._shard_path(entry)
        return StoredPart(entry.shard, path, entry.offset, entry.size, entry.crc32c, part, extents)

    def _stream(self, name: str, entry: Entry) -> Stream:
        dtype = dtype_from_enum(entry.dtype_enum)
        count = prod(entry.shape)
        file = self._shard(name, entry)
        where = Where(name, file.path, entry.offset)
        big = self.endianness == "big"
        if dtype.kind == "string":
            return StringStream(
                file,
                entry.offset,
                entry.size,
                count,
                where,
                crc=entry.crc32c,
                big_endian=big,
            )
        if entry.size != count * dtype.itemsize:
            raise where.damaged("wrong size", entry.size, count * dtype.itemsize)
        return RawStream(file, entry.offset, count, dtype, where, crc=entry.crc32c, big_endian=big)

    def _shard_path(self, entry: Entry) -> str:
        if entry.shard >= len(self._shards):
            raise corrupt(
                "an entry points to a shard that does not exist",
                self._index_path,
                found=entry.shard,
                expected=f"below {len(self._shards)}",
            )
        return self._shards[entry.shard]

    def _shard(self, name: str, entry: Entry) -> RangedFile:
        file = self._open.get(entry.shard)
        if file is None:
            path = self._shard_path(entry)
            if not self._files.is_file(path):
                raise self._missing(name, path)
            file = self._open[entry.shard] = self._files.open(path)
        return file

    def _missing(self, name: str, path: str) -> InputError:
        if len(self.info.missing_files) == len(self._shards):
            return InputError(
                Problem(
                    "INP012",
                    f"the data of {name} is not here, only the index",
                    path,
                    hint="put the .data files beside the .index file",
                )
            )
        return InputError(
            Problem("INP006", f"the shard that holds {name} is missing", path, "no such file")
        )

    def _damaged(self, block: Block, error: CorruptError) -> None:
        self.damaged_blocks.append((block, error))

    def _header(self, located: Located) -> Header:
        header = self._index.header
        if header is not None:
            return header
        if not self.damaged_blocks:
            raise InputError(Problem("INP003", "the table has no bundle header", self._index_path))
        return Header(max(1, len(located.shards)), "little")  # lost with its block: the usual one

    def _describe(self, located: Located, header: Header) -> CheckpointInfo:
        listed = self._shards[:_MAX_LISTED_SHARDS]
        name = located.format
        if name in ("tf-v2", "tf2"):
            name = "tf2" if OBJECT_GRAPH_KEY in self.specs else "tf-v2"
        missing = located.missing  # a remote file system is not asked twice
        if self._shards is not located.shards:
            missing = tuple(path for path in listed if not self._files.is_file(path))
        damage = [error.problems[0] for _, error in self.damaged_blocks]
        return CheckpointInfo(
            path=located.path,
            format=name,
            shards=header.num_shards,
            files=(self._index_path, *listed),
            graphs=located.graphs,
            missing_files=missing,
            notices=(*located.notices, *self._index.notices),
            step=located.step,
            damage=(*damage, *self._index.problems.values()),
        )


def open_bundle(located: Located, *, salvage: bool = False) -> BundleReader:
    """Open a located V2 bundle; damaged index blocks raise unless ``salvage`` is set."""
    return BundleReader(located, salvage=salvage)


def _shard_paths(located: Located, count: int) -> tuple[str, ...]:
    """The shards that the header promises: as located, or else named after the index."""
    count = max(1, count)
    if len(located.shards) == count:
        return located.shards
    index = located.index or ""
    prefix = index[: -len(_INDEX_SUFFIX)] if index.endswith(_INDEX_SUFFIX) else index
    return tuple(f"{prefix}.data-{shard:05d}-of-{count:05d}" for shard in range(count))
