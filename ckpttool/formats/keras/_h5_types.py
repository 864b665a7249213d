"""HDF5 datatypes by TensorFlow's names, and their values as arrays of this machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ckpttool.names import decode_name
from ckpttool.tensors import BY_NAME, dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

EMPTY = "empty"  # a dataspace without elements, not even none of a shape


def dtype_name(node: Any, attribute: Callable[[Any, str], Any]) -> str:
    """TensorFlow's name of a dataset's type; for what it has none, another (opaque).

    ``attribute`` reads an attribute of the dataset.
    """
    import h5py

    kind = node.get_type()
    if kind.get_class() == h5py.h5t.STRING:
        return "string"
    try:
        dtype = kind.dtype
    except (TypeError, ValueError, NotImplementedError, RuntimeError):
        return "unknown"
    if kind.get_class() == h5py.h5t.OPAQUE:
        # Keras stores what HDF5 has no type for as bytes, and says in an attribute what.
        stated = text(attribute(node, "dtype")) or ""
        row = BY_NAME.get(stated)
        fits = row is not None and row.array_type and row.itemsize == dtype.itemsize
        return stated if fits else str(dtype.str)
    if dtype.subdtype is not None or dtype.names is not None:
        return "structured"
    return str(dtype.name)


def plain_order(node: Any) -> str | None:
    """``<`` or ``>`` if the stored bytes are plain elements of that order; None if not.

    Equal types only: a float of another layout, or an integer with padding, needs converting.
    """
    import h5py

    kind = node.get_type()
    if kind.get_class() not in (h5py.h5t.FLOAT, h5py.h5t.INTEGER, h5py.h5t.OPAQUE):
        return None
    dtype = kind.dtype
    if kind.get_class() != h5py.h5t.OPAQUE and not kind.equal(h5py.h5t.py_create(dtype)):
        return None
    return ">" if dtype.byteorder == ">" else "<"


def decode(array: Any, dtype: str) -> Array:
    """A block as a flat array of the decoded type, in this machine's byte order."""
    import numpy as np

    if dtype == "string":
        items = np.asarray(array, object).reshape(-1).tolist()
        out = np.empty(len(items), object)
        out[:] = [item.encode() if isinstance(item, str) else bytes(item) for item in items]
        return out
    flat = np.asarray(array).reshape(-1)
    target = dtype_named(dtype).numpy
    if flat.dtype.kind == "V":
        return flat.view(target)
    if flat.dtype.kind == "b":  # a truth value is stored as a byte, and may be any
        return np.asarray(flat.view(np.uint8) != 0)
    return flat.astype(target, copy=False)


def text(value: Any) -> str | None:
    if isinstance(value, str):
        return str(value)
    return decode_name(bytes(value)) if isinstance(value, bytes) else None
