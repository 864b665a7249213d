"""What stands for a tensor's content, so that equal ones are found without comparing all pairs.

Two V2 bundles tell by the checksums in their indexes.  Anything else is read once and summed up
by CRC32C over the elements, little-endian in C order; a V2 bundle on the other side still need
not be read, for that is the checksum it stores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ckpttool.analysis.sides import Side
from ckpttool.errors import CkptError
from ckpttool.storage.crc32c import crc32c
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Content = Callable[[str], object | None]


def contents(a: Side, b: Side) -> tuple[Content, Content]:
    """For each side a function of a name, whose results can be compared with the other's."""
    if a.endianness is not None and a.endianness == b.endianness:
        return _or_summed(a, _stored(a)), _or_summed(b, _stored(b))
    return _or_summed(a, a.checksum), _or_summed(b, b.checksum)


def _stored(side: Side) -> Content:
    """What the index has of a tensor: a partitioned one may be whole on the other side."""

    def stored(name: str) -> object | None:
        found = side.checksum(name)
        if found is not None or side.is_partitioned(name):
            return found
        return side.content(name)

    return stored


def _or_summed(side: Side, known: Content) -> Content:
    def content(name: str) -> object | None:
        found = known(name)
        return found if found is not None else checksum(side, name)

    return content


def checksum(side: Side, name: str) -> int | None:
    """CRC32C of the elements; None if the tensor cannot be read."""
    crc = 0
    try:
        if dtype_named(side.specs[name].dtype).array_type is None:
            return None
        for array in side.pieces(name):
            crc = crc32c(element_bytes(array), crc)
    except CkptError:
        return None
    return crc


def element_bytes(array: Array) -> bytes:
    """The elements as little-endian bytes; strings as their lengths, then themselves."""
    import sys

    if array.dtype == object:
        items = array.tolist()
        return b"".join(len(item).to_bytes(8, "little") + item for item in items)
    unit = array.dtype.itemsize // (2 if array.dtype.kind == "c" else 1)
    if sys.byteorder == "big" and unit > 1:
        array = array.view(f"u{unit}").byteswap()
    return array.tobytes()
