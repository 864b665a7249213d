"""Checksums of tensors as they are written, to compare what is read back with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ckpttool.errors import CkptError
from ckpttool.formats.writing import Stored, Values
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


def stored_whole(reader: Reader, name: str) -> tuple[Stored, int] | None:
    """Where a V2 bundle has a tensor's elements, and their checksum as its index tells it.

    None where the bytes, or what the checksum is of, are anything else than just the elements.
    """
    bundle: Any = getattr(reader, "bundle", reader)
    dtype = dtype_named(reader.specs[name].dtype)
    if not hasattr(bundle, "stored_parts") or dtype.kind == "bool":
        return None
    try:
        place = bundle.stored_range(name)
        if place is None:
            return None
        return Stored(*place[:2]), unmask(bundle.stored_parts(name)[0].crc32c)
    except CkptError:
        return None
