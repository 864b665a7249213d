"""Tensor specs and the table of TensorFlow dtypes.

The table is data only: NumPy is imported when an array type is asked for, never to list names.
Enum numbers are those of ``tensorflow/core/framework/types.proto``.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np

Shape = tuple[int, ...]

# ``_REF`` enum values (reference variables in TF1 graphs) are the plain value plus this.
REF_OFFSET = 100


class DType(NamedTuple):
    """One TensorFlow dtype.

    ``itemsize`` is the number of bytes of one stored element, 0 where elements have no fixed
    size (string) or cannot be decoded (resource, variant).  ``kind`` is one of ``float int uint
    bool complex quantized string opaque``.  ``array_type`` names the NumPy (or ml_dtypes) type.
    """

    name: str
    enum: int
    itemsize: int
    kind: str
    array_type: str | None

    @property
    def enum_name(self) -> str:
        """``DT_FLOAT`` and so on, as TensorFlow's own tools print it."""
        return _ENUM_NAMES.get(self.name) or "DT_" + self.name.upper()

    @property
    def numpy(self) -> np.dtype[Any]:
        """The NumPy dtype of a decoded element (``object`` holding ``bytes`` for strings)."""
        return _numpy_dtype(self.array_type)


_ENUM_NAMES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}

_ROWS = (
    ("float32", 1, 4, "float", "float32"),
    ("float64", 2, 8, "float", "float64"),
    ("int32", 3, 4, "int", "int32"),
    ("uint8", 4, 1, "uint", "uint8"),
    ("int16", 5, 2, "int", "int16"),
    ("int8", 6, 1, "int", "int8"),
    ("string", 7, 0, "string", "object"),
    ("complex64", 8, 8, "complex", "complex64"),
    ("int64", 9, 8, "int", "int64"),
    ("bool", 10, 1, "bool", "bool"),
    ("qint8", 11, 1, "quantized", "int8"),
    ("quint8", 12, 1, "quantized", "uint8"),
    ("qint32", 13, 4, "quantized", "int32"),
    ("bfloat16", 14, 2, "float", "bfloat16"),
    ("qint16", 15, 2, "quantized", "int16"),
    ("quint16", 16, 2, "quantized", "uint16"),
    ("uint16", 17, 2, "uint", "uint16"),
    ("complex128", 18, 16, "complex", "complex128"),
    ("float16", 19, 2, "float", "float16"),
    ("resource", 20, 0, "opaque", None),
    ("variant", 21, 0, "opaque", None),
    ("uint32", 22, 4, "uint", "uint32"),
    ("uint64", 23, 8, "uint", "uint64"),
    ("float8_e5m2", 24, 1, "float", "float8_e5m2"),
    ("float8_e4m3fn", 25, 1, "float", "float8_e4m3fn"),
    ("float8_e4m3fnuz", 26, 1, "float", "float8_e4m3fnuz"),
    ("float8_e4m3b11fnuz", 27, 1, "float", "float8_e4m3b11fnuz"),
    ("float8_e5m2fnuz", 28, 1, "float", "float8_e5m2fnuz"),
    ("int4", 29, 1, "int", "int4"),
    ("uint4", 30, 1, "uint", "uint4"),
    ("int2", 31, 1, "int", "int2"),
    ("uint2", 32, 1, "uint", "uint2"),
    ("float4_e2m1fn", 33, 1, "float", "float4_e2m1fn"),
)

BY_NAME: dict[str, DType] = {row[0]: DType(*row) for row in _ROWS}
BY_ENUM: dict[int, DType] = {dtype.enum: dtype for dtype in BY_NAME.values()}


def dtype_from_enum(value: int) -> DType:
    """The dtype of an enum value, with ``_REF`` stripped; unknown values are named, not refused."""
    if value > REF_OFFSET:
        value -= REF_OFFSET
    return BY_ENUM.get(value) or DType(f"dtype_{value}", value, 0, "opaque", None)


def dtype_named(name: str) -> DType:
    """The dtype of that name; a name that is not in the table is opaque, not an error."""
    return BY_NAME.get(name) or DType(name, 0, 0, "opaque", None)


class TensorSpec(NamedTuple):
    """Name, dtype (TensorFlow's name for it) and shape of a tensor, without its data."""

    name: str
    dtype: str
    shape: Shape

    @property
    def parameters(self) -> int:
        """Number of elements: the product of the shape, 1 for a scalar."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded elements, 0 for strings and opaque dtypes (ask the reader)."""
        return prod(self.shape) * dtype_named(self.dtype).itemsize


class Slice(NamedTuple):
    """One part of a partitioned variable: where it begins in the whole, and its extent."""

    start: Shape
    shape: Shape


def _numpy_dtype(array_type: str | None) -> np.dtype[Any]:
    import numpy as np

    if array_type is None:
        raise TypeError("this dtype has no array type")
    try:
        return np.dtype(array_type)
    except TypeError:
        import ml_dtypes

        resolved: np.dtype[Any] = np.dtype(getattr(ml_dtypes, array_type))
        return resolved
