"""One side of a comparison: an open reader, under names of the comparison's own.

A side may call its tensors otherwise than the file does: without a prefix, or as a mapping file
renames them.  It also knows where bytes lie that can be read, or told apart, without the reader.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import CkptError, Problem, UsageError
from ckpttool.storage.crc32c import unmask
from ckpttool.tensors import TensorSpec, dtype_named

if TYPE_CHECKING:
    from ckpttool.formats.base import Reader
    from ckpttool.formats.streaming import Array
    from ckpttool.formats.tensorflow.bundle import BundleReader, StoredPart
    from ckpttool.storage.files import LocalFile

PIECE = 1 << 20  # bytes of a piece that a reader is asked for: it stays in the cache


class Region(NamedTuple):
    """Little-endian elements of a fixed size in one stretch of a local file; the CRC is masked."""

    fd: int
    path: str
    offset: int
    size: int
    crc32c: int


class Side:
    """A reader, the names that the comparison uses for its keys, and the files it has open."""

    def __init__(self, reader: Reader, keys: Mapping[str, str]) -> None:
        """``keys`` has the reader's key of every name, in order."""
        self.reader = reader
        self.keys = keys
        self.specs: Mapping[str, TensorSpec] = reader.specs
        if any(name != key for name, key in keys.items()):
            self.specs = {name: reader.specs[key]._replace(name=name) for name, key in keys.items()}
        elif len(keys) != len(reader.specs):
            self.specs = {name: reader.specs[name] for name in keys}
        self._bundle = _as_bundle(reader)
        self._names: dict[str, str] | None = None
        self._lock = Lock()  # a reader is not asked by two threads at once
        self._files: dict[str, LocalFile | None] = {}

    def close(self) -> None:
        """Close the files that this side opened; the reader stays open."""
        for file in self._files.values():
            if file is not None:
                file.close()
        self._files.clear()

    def name_of(self, key: str) -> str | None:
        """The comparison's name for a key of the reader; None if it is left out."""
        if self._names is None:
            self._names = {key: name for name, key in self.keys.items()}
        return self._names.get(key)

    @property
    def endianness(self) -> str | None:
        """Byte order of a V2 bundle; None for other formats, whose indexes have no checksums."""
        return None if self._bundle is None else self._bundle.endianness

    def entries(self) -> Mapping[str, bytes]:
        """The index entries that hold a tensor's checksum, by the reader's keys, as stored."""
        bundle = self._bundle
        if bundle is None:
            return {}
        entries = bundle.entries()
        if not bundle.partitioned:
            return entries
        parts = bundle.partitioned
        return {key: entry for key, entry in entries.items() if key not in parts}

    def content(self, name: str) -> object | None:
        """What stands for the tensor's bytes as stored: equal means equal bytes, but for a CRC
        that happens to be the same.  None where the index does not tell."""
        parts = self._parts(name)
        if parts is None or self._bundle is None or not all(part.crc32c for part in parts):
            return None  # 0 is what an index says that has no checksums
        stored = tuple((part.slice, part.size, part.crc32c) for part in parts)
        return self._bundle.endianness, stored

    def is_partitioned(self, name: str) -> bool:
        """Whether the tensor is stored in parts."""
        return self.keys[name] in self.reader.partitioned

    def checksum(self, name: str) -> int | None:
        """CRC32C of the elements, little-endian in C order, where the index has just that."""
        parts = self._parts(name)
        if parts is None or len(parts) != 1 or parts[0].slice is not None:
            return None
        if self._bundle is None or self._bundle.endianness != "little":
            return None
        spec = self.specs[name]
        if not dtype_named(spec.dtype).itemsize or parts[0].size != spec.nbytes:
            return None
        return unmask(parts[0].crc32c) if parts[0].crc32c else None

    def region(self, name: str) -> Region | None:
        """Where a tensor lies in one piece of a local file; None if it does not."""
        spec = self.specs[name]
        if not dtype_named(spec.dtype).itemsize:
            return None
        if self._bundle is None or self._bundle.endianness == "big":
            return None
        parts = self._parts(name)
        if parts is None or len(parts) != 1 or parts[0].slice is not None:
            return None
        part = parts[0]
        file = self._file(part.path)
        if file is None or part.size != spec.nbytes or part.offset + part.size > file.size:
            return None  # the reader will say what is wrong
        return Region(file.fileno(), part.path, part.offset, part.size, part.crc32c)

    def pieces(self, name: str) -> Iterator[Array]:
        """The elements in C order, piece by piece; safe to use beside other threads."""
        chunks = self.reader.chunks(self.keys[name], PIECE)
        while True:
            with self._lock:
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk.array

    def read(self, name: str) -> Array:
        """The whole tensor."""
        with self._lock:
            return self.reader.read(self.keys[name])

    def _parts(self, name: str) -> list[StoredPart] | None:
        if self._bundle is None:
            return None
        try:
            return self._bundle.stored_parts(self.keys[name])
        except CkptError:
            return None  # damaged: reading it will say so

    def _file(self, path: str) -> LocalFile | None:
        import os

        from ckpttool.storage.files import LOCAL, is_url

        if path not in self._files:
            file: LocalFile | None = None
            if hasattr(os, "preadv") and not is_url(path) and LOCAL.is_file(path):
                with suppress(CkptError):  # the reader will say so of the tensors in it
                    file = LOCAL.open(path)
            self._files[path] = file
        return self._files[path]


def renamed_keys(names: Mapping[str, Any], strip_prefix: str) -> dict[str, str]:
    """Name to key, with ``strip_prefix`` taken off the keys that begin with it."""
    keys: dict[str, str] = {}
    for key in names:
        name = key[len(strip_prefix) :] if strip_prefix and key.startswith(strip_prefix) else key
        if name in keys or (key and not name):
            raise UsageError(
                Problem(
                    "USE003",
                    "without this prefix two tensors have one name"
                    if name in keys
                    else "a name is nothing but this prefix",
                    found=f"{keys[name]} and {key}" if name in keys else key,
                    expected=f"no second {name}" if name in keys else None,
                )
            )
        keys[name] = key
    return keys


def _as_bundle(reader: Reader) -> BundleReader | None:
    # By what it can do: a SavedModel's reader hands through the bundle inside it.
    if all(hasattr(reader, name) for name in ("stored_parts", "entries", "endianness")):
        return reader  # type: ignore[return-value]
    return None
