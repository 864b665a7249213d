"""Checkpoints of the V1 format, the one of TF 0.x and early 1.x."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from common import (
    V1,
    Dups,
    Sample,
    Saved,
    expectation,
    numbers,
    plain_rows,
    sample,
    save_tensors,
    v1,
    values_of,
)
from layers import dense, loss_of
from partitions import partitioned_graph, sharded_graph


def _saver(sharded: bool = False) -> v1.train.Saver:
    return v1.train.Saver(write_version=V1, sharded=sharded, save_relative_paths=True)


@sample("v1_single")
def v1_single(made: Sample) -> None:
    """A V1 checkpoint in one file, with its .meta, Adam slots and a scalar."""
    with made.graph():
        flow = dense(dense(tf.ones([1, 3]), 4, "fc_1"), 2, "fc_2")
        optimizer = v1.train.AdamOptimizer(0.01)
        step = v1.train.get_or_create_global_step()
        train = optimizer.minimize(loss_of(flow), global_step=step)
        made.start()
        made.run(train, 3)
        about = Saved(optimizers=[optimizer], dups=Dups("none", "numbered layers, Adam slots"))
        made.save(step=3, saver=_saver(), about=about, state=True)


@sample("v1_sharded")
def v1_sharded(made: Sample) -> None:
    """A V1 checkpoint of three shards, model.ckpt-2-?????-of-00003."""
    with made.graph():
        train, optimizer = sharded_graph()
        made.start(devices=3)
        made.run(train, 2)
        prefix = "v1_sharded/model.ckpt-2"
        also = {"also": ["v1_sharded", f"{prefix}-?????-of-00003", f"{prefix}-00000-of-00003"]}
        about = Saved(optimizers=[optimizer])
        made.save(step=2, saver=_saver(sharded=True), about=about, state=True, extra=also)


@sample("v1_partitioned")
def v1_partitioned(made: Sample) -> None:
    """Partitioned variables in a V1 file: TensorFlow's reader lists them and refuses to read
    them; its restore op joins them."""
    with made.graph():
        train, optimizer = partitioned_graph()
        made.start()
        made.run(train, 2)
        made.save(step=2, saver=_saver(), about=Saved(optimizers=[optimizer]))


@sample("v1_sharded_partitioned")
def v1_sharded_partitioned(made: Sample) -> None:
    """A partitioned variable whose parts lie in different V1 shards."""
    with made.graph():

        def place(operation: tf.Operation) -> str:
            return f"/device:CPU:{1 if 'part_1' in operation.name else 0}"

        with v1.device(place):
            v1.get_variable("table", [7, 2], partitioner=v1.fixed_size_partitioner(3))
            v1.get_variable("bias", [2])
        made.start(devices=2)
        also = {"also": ["v1_sharded_partitioned/model.ckpt-?????-of-00002"]}
        made.save(saver=_saver(sharded=True), extra=also)


V1_DTYPES = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool")
V1_REFUSED = ("float16", "uint16", "complex64", "complex128", "qint8", "quint8", "qint32")


def _typed(name: str) -> np.ndarray:
    """A [2, 3] array of that dtype that no two elements of are equal, where it can be."""
    dtype = tf.as_dtype(name)
    if dtype.is_complex:
        parts = numbers(name, [2, 2, 3])
        return (parts[0] + 1j * parts[1]).astype(dtype.as_numpy_dtype)
    if dtype.is_floating:
        return numbers(name, [2, 3], dtype.as_numpy_dtype)
    whole = np.array([[0, 1, 2], [100, 126, 127]])
    if dtype == tf.bool:
        return whole % 2 == 1
    if dtype.is_quantized:
        return whole.astype(dtype.as_numpy_dtype)
    low, high = np.iinfo(dtype.as_numpy_dtype).min, np.iinfo(dtype.as_numpy_dtype).max
    return np.array([[low, 1, 2], [100, 126, high]], dtype.as_numpy_dtype)


@sample("v1_dtypes")
def v1_dtypes(made: Sample) -> None:
    """Every dtype that a V1 file can hold and TensorFlow's reader reads, a scalar and an empty
    tensor."""
    arrays = {name: _typed(name) for name in V1_DTYPES}
    arrays |= {"scalar": np.float32(2.5), "empty": np.zeros([0, 3], np.float32)}
    _save_arrays(made, arrays, {})


@sample("v1_refused_dtypes")
def v1_refused_dtypes(made: Sample) -> None:
    """The dtypes that TensorFlow writes into V1 files and whose reader then says `Data type not
    supported`."""
    arrays = {name: _typed(name) for name in V1_REFUSED}
    plain = {
        name: array.view(array.dtype[0]) if array.dtype.names else array
        for name, array in arrays.items()
    }
    _save_arrays(made, arrays, plain)


def _save_arrays(made: Sample, arrays: dict[str, np.ndarray], known: dict[str, np.ndarray]) -> None:
    prefix = made.folder / "model.ckpt"
    with made.graph():
        names = {name: name if name in V1_DTYPES + V1_REFUSED else None for name in arrays}
        tensors = {name: tf.constant(array, names[name]) for name, array in arrays.items()}
        save_tensors(prefix, tensors, V1)
        specs = {
            name: (tensor.dtype.name, tensor.shape.as_list()) for name, tensor in tensors.items()
        }
    truth = expectation(plain_rows(specs), values_of(prefix, specs, known))
    made.entry(prefix, format="tf-v1", truth=truth)
