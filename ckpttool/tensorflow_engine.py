"""TensorFlow itself, behind the `tensorflow` extra: the one module that imports it."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckpttool.errors import ExtraMissingError, InputError, Problem
from ckpttool.names import encode_name

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]


def load_tensorflow() -> Any:
    """The TensorFlow module, quiet and without a GPU; :class:`ExtraMissingError` without it."""
    keep_quiet()
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ExtraMissingError(
            Problem(
                "EXT001",
                "this needs TensorFlow, the `tensorflow` extra",
                found=str(error),
                hint="pip install 'ckpttool[tensorflow]'",
            )
        ) from error
    return tf


def keep_quiet() -> None:
    """Have TensorFlow, when it is imported, say nothing on stderr and look for no GPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # or it says on stderr that they are on
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


class TensorFlowReader:
    """TensorFlow's own reader of a checkpoint, V1 or V2; ``version`` is TensorFlow's."""

    def __init__(self, prefix: str) -> None:
        """Open ``prefix``; :class:`InputError` where TensorFlow refuses it."""
        self._tf = load_tensorflow()
        self._prefix = prefix
        self.version = str(self._tf.__version__)
        try:
            # Not `load_checkpoint`, which takes a prefix that ends in a slash for a directory.
            self._reader = self._tf.compat.v1.train.NewCheckpointReader(prefix)
        except Exception as error:
            what = "TensorFlow does not open this checkpoint"
            raise InputError(Problem("INP018", what, prefix, _first_line(error))) from error

    def names(self) -> list[str] | None:
        """Names as TensorFlow lists them; None where it does not (a name that is not UTF-8)."""
        try:
            return sorted(self._reader.get_variable_to_shape_map())
        except (UnicodeDecodeError, RuntimeError):
            return None

    def read(self, name: str, dtype: str) -> Array:
        """One tensor; :class:`InputError` where TensorFlow refuses it."""
        try:
            return self._array(self._reader.get_tensor(name))
        except Exception:
            # Its older reader knows fewer types than its restoring op does.
            return self._restored(name, dtype)

    def _restored(self, name: str, dtype: str) -> Array:
        tf = self._tf
        try:
            (tensor,) = tf.raw_ops.RestoreV2(
                prefix=tf.constant(os.fsencode(self._prefix)),
                tensor_names=tf.constant([encode_name(name)]),
                shape_and_slices=tf.constant([""]),
                dtypes=[tf.as_dtype(dtype)],
            )
            return self._array(tensor.numpy())
        except Exception as error:
            what = f"TensorFlow does not read tensor {name}"
            raise InputError(Problem("INP018", what, self._prefix, _first_line(error))) from error

    def _array(self, value: Any) -> Array:
        import numpy as np

        if isinstance(value, bytes):  # a scalar string
            array = np.empty((), object)
            array[()] = value
            return array
        return np.asarray(value)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def parse_meta_graphs(data: bytes, kind: str) -> list[Any]:
    """The ``MetaGraphDef`` messages of a file's bytes, as TensorFlow parses them.

    ``kind`` is that of a :class:`ckpttool.formats.base.GraphSource`.  Raises
    :class:`InputError` where they are nothing of that kind.
    """
    load_tensorflow()
    from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

    saved = kind == "saved_model"
    message: Any = saved_model_pb2.SavedModel() if saved else meta_graph_pb2.MetaGraphDef()
    target = message.graph_def if kind == "graph_def" else message
    try:
        try:
            target.ParseFromString(data)
        except Exception:
            import_module("google.protobuf.text_format").Parse(data.decode(), target)
    except Exception as error:
        what = "TensorFlow does not parse this graph"
        raise InputError(Problem("INP014", what, None, _first_line(error))) from error
    return list(message.meta_graphs) if saved else [message]


def node_message() -> Any:
    """An empty ``NodeDef``."""
    from tensorflow.core.framework import node_def_pb2

    return node_def_pb2.NodeDef()
