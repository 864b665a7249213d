"""Checksums of tensors as they are written, to compare what is read back with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any

from ckpttool.errors import CkptError
from ckpttool.formats.writing import Values
from ckpttool.storage.crc32c import crc32c, unmask
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.formats.base import Reader

    Array = np.ndarray[Any, Any]

_WINDOW = 1 << 18  # stays in the processor's cache


class Checksums:
    """CRC32C of the elements of tensors: little-endian, C order; strings with their lengths."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def followed(self, name: str, values: Values) -> Values:
        """The same values, and the checksum of the last time that they were streamed."""

        def stream() -> Iterator[Array]:
            crc = 0
            for array in values():
                crc = extended(array, crc)
                yield array
            self._known[name] = crc

        return stream

    def known(self, name: str, crc: int) -> None:
        """A checksum that is known without reading."""
        self._known[name] = crc

    def __getitem__(self, name: str) -> int | None:
        return self._known.get(name)


def checksum(arrays: Iterable[Array]) -> int:
    """The checksum of arrays that together are a tensor."""
    crc = 0
    for array in arrays:
        crc = extended(array, crc)
    return crc


def extended(array: Array, crc: int) -> int:
    """The checksum ``crc``, over more elements."""
    import numpy as np

    flat = np.ascontiguousarray(array).reshape(-1)
    if flat.dtype == object:
        for value in flat:
            crc = crc32c(value, crc32c(len(value).to_bytes(8, "little"), crc))
        return crc
    if flat.dtype == bool:
        flat = flat.view(np.uint8) != 0  # any other byte than 0 is true
    elif flat.dtype.byteorder == ">":
        flat = flat.astype(flat.dtype.newbyteorder("<"))
    data = flat.view(np.uint8).data if len(flat) else memoryview(b"")
    for start in range(0, len(data), _WINDOW):
        crc = crc32c(bytes(data[start : start + _WINDOW]), crc)
    return crc


def stored_checksum(reader: Reader, name: str) -> int | None:
    """The checksum as a V2 bundle's index has it, where that is over just the elements."""
    bundle: Any = getattr(reader, "bundle", reader)
    spec = reader.specs[name]
    dtype = dtype_named(spec.dtype)
    if not hasattr(bundle, "stored_parts") or bundle is None or bundle.endianness != "little":
        return None
    if not dtype.itemsize or dtype.kind == "bool":
        return None
    try:
        parts = bundle.stored_parts(name)
    except CkptError:
        return None
    if len(parts) != 1 or parts[0].slice is not None:
        return None
    if parts[0].size != prod(spec.shape) * dtype.itemsize:
        return None
    return unmask(parts[0].crc32c)
