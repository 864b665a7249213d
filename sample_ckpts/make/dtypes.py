"""Every dtype and shape that a V2 checkpoint can hold, and strings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf
from common import (
    Sample,
    Saved,
    expectation,
    numbers,
    plain_rows,
    read_specs,
    sample,
    save_tensors,
    v1,
    values_of,
)

FLOATS = ("float16", "float32", "float64", "bfloat16", "float8_e5m2", "float8_e4m3fn")
FLOATS += ("float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz", "float4_e2m1fn")
INTEGERS = ("int2", "int4", "int8", "int16", "int32", "int64", "bool")
INTEGERS += ("uint2", "uint4", "uint8", "uint16", "uint32", "uint64")
QUANTIZED = ("qint8", "quint8", "qint16", "quint16", "qint32")
COMMON = ("float16", "bfloat16", "float32", "float64", "int32", "int64", "uint8", "bool")
LONG = b"0123456789abcdef" * 320  # 5120 bytes: a length of two varint bytes


def typed_values(name: str) -> np.ndarray:
    """A [2, 3] array with the extremes of that dtype in it."""
    dtype = tf.as_dtype(name)
    if dtype.is_complex:
        parts = numbers(name, [2, 2, 3], np.float64)
        return (parts[0] + 1j * parts[1]).astype(dtype.as_numpy_dtype)
    if dtype == tf.bool:
        return np.array([[True, False, True], [False, False, True]])
    if name in FLOATS:
        values = numbers(name, [2, 3]) * 20
        if name != "float4_e2m1fn":
            values[0, 0] = np.nan
        if name in ("float16", "float32", "float64", "bfloat16", "float8_e5m2"):
            values[0, 1:] = np.inf, -np.inf
        return values.astype(dtype.as_numpy_dtype)
    values = np.array([[0, 1, 1], [0, 0, 1]], dtype=np.int64)
    if name in QUANTIZED:
        return (values * 100).astype(dtype.as_numpy_dtype)
    low, high = int(dtype.min), int(dtype.max)
    wide = [[low, 0, 1], [high, 1, 0]]
    return np.array(wide, dtype=object).astype(dtype.as_numpy_dtype)


@sample("dtypes")
def dtypes(made: Sample) -> None:
    """One tensor of every dtype that a V2 checkpoint can hold, down to the 2-bit ones, with NaN,
    infinities and extremes."""
    names = [*FLOATS, *INTEGERS, *QUANTIZED, "complex64", "complex128"]
    prefix = made.folder / "model.ckpt"
    with made.graph():
        save_tensors(prefix, {name: tf.constant(typed_values(name), name) for name in names})
    _entry(made, prefix)


@sample("shapes")
def shapes(made: Sample) -> None:
    """Scalars, empty tensors, a dimension of one, seven dimensions, and a duplicate of a tensor."""
    arrays = {
        "scalar/float": np.float32(0.81),
        "scalar/int": np.int64(-(1 << 40)),
        "scalar/bool": np.bool_(True),
        "empty/rows": np.zeros([0, 3], np.float32),
        "empty/columns": np.zeros([3, 0], np.float32),
        "empty/vector": np.zeros([0], np.int32),
        "one/by/one": np.ones([1, 1], np.float32),
        "seven": np.arange(1 * 2 * 1 * 3 * 1 * 2 * 1, dtype=np.int16).reshape(1, 2, 1, 3, 1, 2, 1),
        "ramp": np.linspace(-1, 1, 33, dtype=np.float32),
        "ramp_again": np.linspace(-1, 1, 33, dtype=np.float32),
        "all_nan": np.full([4], np.nan, np.float32),
        "zeros": np.zeros([4, 4], np.float32),
        "constant": np.full([4, 4], 0.25, np.float32),
    }
    prefix = made.folder / "model.ckpt"
    with made.graph():
        save_tensors(prefix, {name: tf.constant(array) for name, array in arrays.items()})
    _entry(made, prefix)


@sample("strings")
def strings(made: Sample) -> None:
    """String variables: a scalar, 1-D, 2-D with empty strings and NUL bytes, an empty tensor, and
    one string of 5 KB."""
    table = [[b"", b"a"], [b"nul\x00inside", b"\xff\xfe not UTF-8"], ["žluťoučký".encode(), b""]]
    arrays: dict[str, object] = {
        "scalar": b"hello",
        "vector": [b"one", b"", b"three"],
        "matrix": table,
        "long": [LONG, b"short"],
        "escape": [b"\x1b[31mred\x1b[0m", b"[bold]markup[/bold]", b"line\nbreak"],
        "only_empty": [b"", b"", b""],
    }
    with made.graph():
        for name, value in arrays.items():
            v1.Variable(tf.constant(value), name=name, trainable=False)
        v1.Variable(tf.zeros([0, 2], tf.string), name="none", trainable=False)
        v1.Variable(tf.zeros([2, 2]), name="weights")
        made.start()
        made.save(about=Saved())


@sample("dtypes_variables")
def dtypes_variables(made: Sample) -> None:
    """Variables of the dtypes that training code uses, with a graph: half, bfloat16, double,
    integers, bool, string, complex."""
    with made.graph():
        for name in (*COMMON, "complex64"):
            v1.Variable(tf.constant(typed_values(name), name), name=name, trainable=False)
        made.start()
        made.save()


def _entry(made: Sample, prefix: Path) -> None:
    specs = read_specs(prefix)
    truth = expectation(plain_rows(specs), values_of(prefix, specs, limit=len(specs)))
    made.entry(prefix, format="tf-v2", truth=truth)
