"""Read ``.safetensors``, one file or several with an ``.index.json``.

The header is JSON with the dtype, shape and place of each tensor.  An entry that contradicts
itself or its neighbours is left out and told as damage; the others stay readable.  Source:
``huggingface/safetensors:README.md`` and ``safetensors/src/tensor.rs``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

from ckpttool.errors import CkptError, CorruptError, InputError, Problem, corrupt
from ckpttool.formats.arrays import ArrayReader, Damage, checked_shape
from ckpttool.formats.base import CheckpointInfo
from ckpttool.formats.locating.located import Located
from ckpttool.formats.locating.sniff import SAFETENSORS_HEADER_CAP, foreign
from ckpttool.formats.streaming import RawStream, Stream, Where
from ckpttool.storage.files import RangedFile, files_for, join, split
from ckpttool.tensors import Shape, TensorSpec, dtype_named

# The format's dtypes by TensorFlow's names.  F4, F6 and E8M0 have no name there: they keep
# their own, and count as opaque (they are packed, two or more elements to a byte).
DTYPES = {
    "BOOL": "bool", "U8": "uint8", "I8": "int8", "U16": "uint16", "I16": "int16",
    "U32": "uint32", "I32": "int32", "U64": "uint64", "I64": "int64",
    "F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64",
    "C64": "complex64",
    "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E4M3FNUZ": "float8_e4m3fnuz",
}  # fmt: skip
_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E8M0": 8}
METADATA = "__metadata__"


class Entry(NamedTuple):
    """One tensor of a file: its bytes are ``file[begin:end]``."""

    path: str
    dtype: str
    shape: Shape
    begin: int
    end: int


class SafetensorsReader(ArrayReader):
    """An open ``.safetensors``.  ``metadata`` is what the file says of itself."""

    def __init__(self, located: Located) -> None:
        """Read the header of every shard."""
        index = located.index or located.path
        self._files = files_for(index)
        self._open: dict[str, RangedFile] = {}
        self._entries: dict[str, Entry] = {}
        self._damage = Damage(index)
        self._notices = list(located.notices)
        self.metadata: dict[str, str] = {}
        shards, missing = located.shards, located.missing
        if not shards and not index.endswith(".json"):
            shards = (index,)
        if shards:
            for path in shards:
                if path not in missing:
                    self._add(path, salvage=len(shards) > 1)
        else:
            shards, missing = self._read_map(index)
        for path in missing:
            self._damage.add(Problem("INP006", "a shard is missing", path, "no such file"))
        self.specs = {
            name: TensorSpec(name, entry.dtype, entry.shape)
            for name, entry in self._entries.items()
        }
        self.info = CheckpointInfo(
            path=located.path,
            format=located.format,
            shards=len(shards),
            files=tuple(dict.fromkeys((index, *shards))),
            missing_files=missing,
            notices=tuple(self._notices),
            damage=self._damage.all(),
        )

    def stored_bytes(self, name: str) -> int:
        """Bytes of the tensor in the file."""
        self.spec(name)
        entry = self._entries[name]
        return entry.end - entry.begin

    def stored_range(self, name: str) -> tuple[str, int, int]:
        """File, first byte and size of a tensor, for a plain copy of its bytes."""
        self.spec(name)
        entry = self._entries[name]
        return entry.path, entry.begin, entry.end - entry.begin

    def close(self) -> None:
        """Close the files; they open again if they are needed."""
        for file in self._open.values():
            file.close()
        self._open.clear()

    def _whole(self, name: str) -> Stream:
        entry = self._entries[name]
        where = Where(name, entry.path, entry.begin)
        count = prod(entry.shape)
        return RawStream(
            self._file(entry.path), entry.begin, count, dtype_named(entry.dtype), where
        )

    def _file(self, path: str) -> RangedFile:
        file = self._open.get(path)
        if file is None:
            file = self._open[path] = self._files.open(path)
        return file

    def _add(self, path: str, *, salvage: bool, only: set[str] | None = None) -> set[str]:
        """Add the tensors of one file; with ``only``, of a name mapped elsewhere nothing."""
        try:
            found = self._read(path)
        except CkptError as error:
            if not salvage:
                raise
            reason = foreign(self._files, path)
            for problem in (reason,) if reason else error.problems:
                self._damage.add(problem)
            return set()
        for name, entry in found:
            if name in self._entries or (only is not None and name in only):
                if name in self._entries:
                    self._damage.add(Problem("INP004", f"tensor {name} is in two shards", path))
                continue
            self._entries[name] = entry
        return {name for name, _ in found}

    def _read(self, path: str) -> list[tuple[str, Entry]]:
        file = self._file(path)
        header, begin = read_header(file)
        metadata = header.pop(METADATA, {})
        if not isinstance(metadata, dict) or any(type(v) is not str for v in metadata.values()):
            raise corrupt("the metadata is no map of strings", path, 8)
        self.metadata.update(metadata)
        entries = []
        for name, raw in header.items():
            try:
                entries.append((name, _entry(raw, name, path, begin)))
            except CorruptError as error:
                self._damage.add(error.problems[0])
        return list(self._contiguous(entries, file, begin))

    def _contiguous(
        self, entries: list[tuple[str, Entry]], file: RangedFile, begin: int
    ) -> Iterator[tuple[str, Entry]]:
        """The entries in order of their places, without those that overlap one before them."""
        entries.sort(key=lambda item: (item[1].begin, item[1].end))
        at, before = begin, "the header"
        for name, entry in entries:
            if entry.begin < at:
                what = f"tensor {name} overlaps {before}"
                self._damage.add(Problem("INP004", what, f"{file.path}: byte {entry.begin}"))
                continue
            if entry.begin > at:
                what = f"{entry.begin - at} bytes before tensor {name} belong to no tensor"
                self._damage.add(Problem("INP004", what, f"{file.path}: byte {at}"))
            at, before = entry.end, name
            yield name, entry
        if at > file.size:
            found, expected = f"{file.size} bytes", f"{at} bytes"
            message = "the file is cut short: the tensors at its end cannot be read"
            self._notices.append(Problem("INP007", message, file.path, found, expected))
        elif at < file.size:
            what = f"{file.size - at} bytes after the last tensor belong to no tensor"
            self._damage.add(Problem("INP004", what, f"{file.path}: byte {at}"))

    def _read_map(self, index: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Read the shards that a weight map names: all of their paths, and those not there."""
        from ckpttool.formats.weight_map import read_weight_map

        weight_map = read_weight_map(self._files, index)
        directory = split(index)[0]
        by_shard: dict[str, set[str]] = {}
        for name, shards in weight_map.items():
            by_shard.setdefault(shards[0], set()).add(name)
        paths = {shard: join(directory, shard) for shard in sorted(by_shard)}
        missing = tuple(path for path in paths.values() if not self._files.is_file(path))
        mapped = set(weight_map)
        extra = 0
        for shard, path in paths.items():
            if path in missing:
                continue
            had = len(self._entries)
            found = self._add(path, salvage=True, only=mapped - by_shard[shard])
            extra += len(found - mapped) if len(self._entries) > had else 0
            absent = by_shard[shard] - found if found else set()
            for name in sorted(absent):
                self._damage.add(Problem("INP004", f"tensor {name} is not in its shard", path))
        if extra:
            message = f"{extra} tensors in the shards are not in the weight map; they are listed"
            self._notices.append(Problem("INP004", message, index))
        return tuple(paths.values()), missing


def read_header(file: RangedFile) -> tuple[dict[str, Any], int]:
    """The header's JSON object, and where the tensors' bytes begin."""
    import json

    length = int.from_bytes(file.pread(0, 8), "little")
    if file.size < 8 or length > SAFETENSORS_HEADER_CAP:
        raise corrupt(
            "the header is too large", file.path, 0, code="INP009",
            found=f"{length} bytes", expected=f"≤ {SAFETENSORS_HEADER_CAP}",
        )  # fmt: skip
    if 8 + length > file.size:
        raise corrupt(
            "the file ends inside its header", file.path, 8, code="INP007",
            found=f"{file.size - 8} bytes", expected=f"{length} bytes",
        )  # fmt: skip
    data = file.pread(8, length)
    try:
        header = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError) as error:
        raise corrupt(f"the header is not valid JSON: {error}", file.path, 8) from error
    if not isinstance(header, dict):
        raise corrupt("the header is no JSON object", file.path, 8)
    return header, 8 + length


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = sorted(key for key, _ in pairs)
        twice = next(a for a, b in pairwise(keys) if a == b)
        raise ValueError(f"{twice!r} is there twice")
    return found


def _entry(raw: Any, name: str, path: str, begin: int) -> Entry:
    """One checked header entry; places are turned into places in the file."""
    if any("\ud800" <= letter <= "\udfff" for letter in name):
        raise corrupt(f"the name {name!r} is no text", path, 8)
    if not isinstance(raw, dict) or not isinstance(raw.get("dtype"), str):
        raise corrupt(f"the entry of tensor {name} is damaged", path, 8, found=repr(raw)[:80])
    shape = checked_shape(raw.get("shape"), f"tensor {name}", path)
    offsets = raw.get("data_offsets")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or any(type(offset) is not int for offset in offsets)
        or not 0 <= offsets[0] <= offsets[1] < 1 << 63
    ):
        raise corrupt(f"tensor {name} has impossible offsets", path, 8, found=repr(offsets)[:80])
    stored = raw["dtype"]
    dtype = DTYPES.get(stored) or stored.upper()  # an unknown one must not pass for TensorFlow's
    bits = _BITS.get(stored, 8 * dtype_named(dtype).itemsize if stored in DTYPES else 0)
    size = offsets[1] - offsets[0]
    if bits and size * 8 != prod(shape) * bits:
        raise corrupt(
            f"tensor {name} has another size than its shape", path, begin + offsets[0],
            found=f"{size} bytes", expected=f"{prod(shape) * bits / 8:g} bytes",
        )  # fmt: skip
    return Entry(path, dtype, shape, begin + offsets[0], begin + offsets[1])


def open_safetensors(located: Located) -> SafetensorsReader:
    """Open located safetensors: one file, several, or the map of several."""
    reader = SafetensorsReader(located)
    if not reader.specs and reader.info.missing_files and not reader.info.damage:
        raise InputError(Problem("INP006", "no shard is here", located.path))
    return reader
