"""A graph in float64: every float32 in it made a float64."""

from __future__ import annotations

from typing import Any

from ckpttool.errors import Problem, UsageError
from ckpttool.tensorflow_engine import load_tensorflow, node_message

_FLOAT, _DOUBLE = 1, 2
_NORMS = frozenset(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"))


def in_double(definition: Any) -> Any:
    """A GraphDef whose float32 types, constants and functions are float64.

    Inference batch normalization has no float64 kernel: it is written out.  Raises
    :class:`UsageError` where that cannot be.
    """
    doubled = type(definition)()
    doubled.CopyFrom(definition)
    for node in doubled.node:
        _retype(node)
    for function in doubled.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            if argument.type == _FLOAT:
                argument.type = _DOUBLE
        for node in function.node_def:
            _retype(node)
    norms = [node for node in doubled.node if node.op in _NORMS]
    for node in norms:
        doubled.node.extend(_written_out(node))
    return doubled


def _retype(node: Any) -> None:
    for value in node.attr.values():
        if value.type == _FLOAT:
            value.type = _DOUBLE
        elif value.HasField("tensor") and value.tensor.dtype == _FLOAT:
            tf = load_tensorflow()
            wide = tf.make_ndarray(value.tensor).astype("float64")
            value.tensor.CopyFrom(tf.make_tensor_proto(wide))
        elif value.HasField("list"):
            types = [_DOUBLE if item == _FLOAT else item for item in value.list.type]
            del value.list.type[:]
            value.list.type.extend(types)


def _written_out(node: Any) -> list[Any]:
    """Turn the node into the last step of a batch normalization; the steps before it."""
    training = "is_training" not in node.attr or node.attr["is_training"].b
    layout = node.attr["data_format"].s if "data_format" in node.attr else b"NHWC"
    if training or layout not in (b"", b"NHWC", b"NDHWC"):
        message = "this batch normalization cannot be computed in float64"
        raise UsageError(Problem("USE003", message, node.name, "training" if training else "NCHW"))
    tf = load_tensorflow()
    x, scale, offset, mean, variance = list(node.input)[:5]
    control = [item for item in node.input if item.startswith("^")]
    base = f"{node.name}/ckpttool"
    epsilon = node_message()
    epsilon.name, epsilon.op = f"{base}/epsilon", "Const"
    epsilon.attr["dtype"].type = _DOUBLE
    value = node.attr["epsilon"].f if "epsilon" in node.attr else 1e-4
    # The attribute is a float32: what was meant is the short decimal number that it stands for.
    epsilon.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(float(f"{value:.6g}"), tf.float64))
    steps = [
        epsilon,
        _step("AddV2", f"{base}/variance", variance, f"{base}/epsilon"),
        _step("Rsqrt", f"{base}/rsqrt", f"{base}/variance"),
        _step("Mul", f"{base}/factor", f"{base}/rsqrt", scale),
        _step("Sub", f"{base}/centred", x, mean),
        _step("Mul", f"{base}/scaled", f"{base}/centred", f"{base}/factor"),
    ]
    last = _step("AddV2", node.name, f"{base}/scaled", offset)
    last.input.extend(control)
    node.CopyFrom(last)
    return steps


def _step(op: str, name: str, *inputs: str) -> Any:
    node = node_message()
    node.name, node.op = name, op
    node.input.extend(inputs)
    node.attr["T"].type = _DOUBLE
    return node
