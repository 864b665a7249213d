"""How a variable was initialized, read off the graph and said in TensorFlow's words.

The value that the initializer assigns is followed through copies and conditionals; additions and
multiplications by constants are folded into the parameters of the random op under them.  What is
not recognized is named by its op, never guessed.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.graph.attrs import TensorValue
from ckpttool.graph.nodes import NodeTable, base_name, output_number
from ckpttool.names import decode_name, encode_name
from ckpttool.storage.wire import WireError
from ckpttool.tensors import dtype_from_enum

if TYPE_CHECKING:
    from ckpttool.graph.metagraph import MetaGraph
    from ckpttool.graph.variables import GraphVariable

_MAX_STEPS = 200
_MAX_SHOWN = 8  # elements of a constant that are spelled out

_COPIES = frozenset({
    b"Identity", b"Cast", b"StopGradient", b"Snapshot", b"RefIdentity", b"Reshape", b"EnsureShape",
    b"PlaceholderWithDefault", b"Enter", b"PreventGradient", b"Transpose", b"CheckNumerics",
})  # fmt: skip
_FORWARDS = _COPIES | {b"Switch", b"ReadVariableOp"}
_ADD = frozenset({b"Add", b"AddV2", b"BiasAdd"})
_ARITHMETIC = _ADD | {b"Sub", b"Mul", b"RealDiv", b"Div"}
_NORMAL = {
    b"TruncatedNormal": "truncated_normal", b"RandomStandardNormal": "random_normal",
    b"StatelessTruncatedNormal": "truncated_normal", b"StatelessRandomNormal": "random_normal",
    b"StatelessTruncatedNormalV2": "truncated_normal", b"StatelessRandomNormalV2": "random_normal",
}  # fmt: skip
_UNIFORM = frozenset({b"RandomUniform", b"StatelessRandomUniform", b"StatelessRandomUniformV2"})
_READS = frozenset({b"VariableV2", b"Variable", b"VarHandleOp"})
_RESTORES = frozenset({b"RestoreV2", b"RestoreSlice", b"Restore"})
_PYTHON = frozenset({b"PyFunc", b"PyFuncStateless", b"EagerPyFunc"})


class Initializer(NamedTuple):
    """``text`` as one would write it (``truncated_normal(mean=0.0, stddev=0.1)``).

    ``op`` is the operation that makes the values; ``dtype`` what it makes; ``seed`` the op-level
    and graph-level seeds ``(seed, seed2)``, None if none is fixed or the op has none.
    """

    text: str
    op: str
    dtype: str | None
    seed: tuple[int, int] | None


def describe(graph: MetaGraph, variable: GraphVariable) -> Initializer | None:
    """The variable's initializer as the graph has it; None if the graph does not show one."""
    value = variable.initial_value_name
    if value is None:
        return None
    try:
        return _Reader(graph.table).read(encode_name(value))
    except WireError as error:
        raise graph.table.damaged(error) from error


class _Reader:
    def __init__(self, table: NodeTable) -> None:
        self._table = table
        self._steps = 0

    def read(self, tensor: bytes) -> Initializer | None:
        """Follow ``tensor`` to the op that makes its values, folding scale and offset."""
        table = self._table
        scale, offset, folded = 1.0, 0.0, False
        while self._steps < _MAX_STEPS:
            self._steps += 1
            number = table.index.get(base_name(tensor))
            if number is None:
                return None
            op = table.ops[number]
            inputs = table.data_inputs(number)
            following: bytes | None = None
            if op in _FORWARDS and inputs:
                following = inputs[0]
            elif op == b"Merge":
                following = self._branch(inputs)
            elif op in (b"If", b"StatelessIf", b"Cond"):
                return self._named(self._conditional(inputs), number)
            elif op in _ARITHMETIC:
                step = self._affine(op, inputs)
                if step is None:
                    return self._other(number, scale, offset, folded)
                following, factor, term = step
                scale, offset, folded = scale * factor, offset + scale * term, True
            if following is None:
                return self._source(number, tensor, inputs, (scale, offset, folded))
            tensor = following
        return None

    def _conditional(self, inputs: list[bytes]) -> str:
        """A conditional of functions: its branches are not looked into, its inputs are."""
        table = self._table
        for tensor in inputs[1:]:
            number = table.index.get(base_name(tensor))
            if number is not None and table.ops[number] in _READS:
                return f"value of {decode_name(table.names[number])} (in a conditional)"
        return "chosen in a conditional"

    def _branch(self, inputs: list[bytes]) -> bytes | None:
        """Of a conditional's outcomes, the one that is not just the variable itself."""
        table = self._table
        for tensor in inputs:
            current = tensor
            for _ in range(8):
                number = table.index.get(base_name(current))
                if number is None or table.ops[number] not in (_COPIES | {b"Switch"}):
                    break
                first = table.first_input(number)
                if first is None:
                    break
                current = first
            number = table.index.get(base_name(current))
            if number is not None and table.ops[number] not in _READS | {b"ReadVariableOp"}:
                return tensor
        return inputs[0] if inputs else None

    def _affine(self, op: bytes, inputs: list[bytes]) -> tuple[bytes, float, float] | None:
        """``(tensor, factor, term)`` if the op scales or shifts one tensor by a constant."""
        if len(inputs) != 2:
            return None
        left, right = self._scalar(inputs[0]), self._scalar(inputs[1])
        if right is not None and left is None:
            if op in _ADD:
                return inputs[0], 1.0, right
            if op == b"Sub":
                return inputs[0], 1.0, -right
            if op == b"Mul":
                return inputs[0], right, 0.0
            return (inputs[0], 1.0 / right, 0.0) if right else None
        if left is not None and right is None:
            if op in _ADD:
                return inputs[1], 1.0, left
            if op == b"Sub":
                return inputs[1], -1.0, left
            if op == b"Mul":
                return inputs[1], left, 0.0
        return None

    def _scalar(self, tensor: bytes) -> float | None:
        """The value of a constant scalar expression; None if it is none."""
        self._steps += 1
        table = self._table
        number = table.index.get(base_name(tensor))
        if number is None or self._steps > _MAX_STEPS:
            return None
        op = table.ops[number]
        if op == b"Const":
            value = table.tensor(number)
            found = value.splat() if value is not None and value.count == 1 else None
            return float(found) if isinstance(found, (int, float)) else None
        inputs = table.data_inputs(number)
        if op in (b"Identity", b"Cast", b"Neg", b"Sqrt", b"Rsqrt") and len(inputs) == 1:
            single = self._scalar(inputs[0])
            return None if single is None else _unary(op, single)
        if op not in _ARITHMETIC or len(inputs) != 2:
            return None
        left = self._scalar(inputs[0])
        right = None if left is None else self._scalar(inputs[1])
        return None if left is None or right is None else _binary(op, left, right)

    def _source(
        self, number: int, tensor: bytes, inputs: list[bytes], affine: tuple[float, float, bool]
    ) -> Initializer | None:
        """Name the op that makes the values."""
        table = self._table
        op = table.ops[number]
        scale, offset, folded = affine
        if op in _NORMAL:
            text = f"{_NORMAL[op]}(mean={_show(offset)}, stddev={_show(abs(scale))})"
            return self._made(text, number)
        if op in _UNIFORM:
            low, high = sorted((offset, offset + scale))
            return self._made(f"random_uniform(minval={_show(low)}, maxval={_show(high)})", number)
        if op == b"RandomUniformInt" and len(inputs) == 3 and not folded:
            low_int, high_int = self._scalar(inputs[1]), self._scalar(inputs[2])
            if _finite(low_int) and _finite(high_int):
                text = f"random_uniform(minval={low_int:.0f}, maxval={high_int:.0f})"
                return self._made(text, number)
        if folded:
            return self._other(number, scale, offset, folded)
        if op == b"Const":
            return self._constant(number)
        if op == b"Fill" and len(inputs) == 2:
            return self._fill(number, inputs[1])
        if op in (b"ZerosLike", b"OnesLike"):
            return self._named("zeros" if op == b"ZerosLike" else "ones", number)
        if op in _READS:
            return self._named(f"value of {decode_name(table.names[number])}", number)
        if op in _RESTORES:
            return self._restored(number, output_number(tensor))
        return self._other(number, scale, offset, folded)

    def _constant(self, number: int) -> Initializer:
        value = self._table.tensor(number)
        if value is None:
            return self._named("constant", number)
        return Initializer(_constant_text(value), "Const", value.dtype.name, None)

    def _fill(self, number: int, tensor: bytes) -> Initializer:
        value = self._scalar(tensor)
        if value is None:
            return self._named("constant", number)
        return self._named(_splat_text(value), number)

    def _restored(self, number: int, output: int) -> Initializer:
        from ckpttool.graph.savers import constant_string

        table = self._table
        inputs = table.data_inputs(number)
        file = constant_string(table, inputs[0], 0) if inputs else None
        name = constant_string(table, inputs[1], output) if len(inputs) > 1 else None
        text = "restored from another checkpoint"
        if name is not None:
            text = f"restored from {decode_name(name)}"
            if file is not None:
                text += f" in {decode_name(file)}"
        return self._named(text, number)

    def _other(self, number: int, scale: float, offset: float, folded: bool) -> Initializer:
        """What is not a plain random op or constant: orthogonal, identity, or the op's name."""
        behind = self._behind(number)
        if b"Qr" in behind:
            gain = f"(gain={_show(abs(scale))})" if folded and offset == 0 else ""
            return self._made("orthogonal" + gain, number)
        op = self._table.ops[number]
        if op in (b"MatrixDiag", b"MatrixDiagV2", b"MatrixDiagV3", b"MatrixSetDiag",
                  b"MatrixSetDiagV2", b"MatrixSetDiagV3"):  # fmt: skip
            gain = f"(gain={_show(scale)})" if folded and scale != 1 else ""
            if not behind & set(_NORMAL) and not behind & _UNIFORM:
                return self._named("identity" + gain, number)
        if op in _PYTHON:
            return self._named("a Python function", number)
        if op in (b"Placeholder", b"PlaceholderV2"):
            return self._named("fed by the program (placeholder)", number)
        around = f", times {_show(scale)} plus {_show(offset)}" if folded else ""
        random = sorted(decode_name(found) for found in behind - {op} if b"Random" in found)
        of = f" of {', '.join(random)}" if random else ""
        return self._named(f"op: {decode_name(op)}{of}{around}", number)

    def _behind(self, number: int) -> set[bytes]:
        """Ops of the nodes that ``number`` is computed from, as far as the step budget goes."""
        table = self._table
        seen = {number}
        queue = [number]
        while queue and len(seen) < _MAX_STEPS:
            for name in table.data_inputs(queue.pop()):
                source = table.index.get(base_name(name))
                if source is not None and source not in seen:
                    seen.add(source)
                    queue.append(source)
        return {table.ops[found] for found in seen}

    def _made(self, text: str, number: int) -> Initializer:
        found = self._named(text, number)
        return found._replace(seed=self._seed(number))

    def _named(self, text: str, number: int) -> Initializer:
        dtype = None
        for key in (b"dtype", b"T"):
            attr = self._table.attr(number, key)
            if dtype is None and attr is not None and attr.kind == "type":
                dtype = dtype_from_enum(attr.value).name
        return Initializer(text, decode_name(self._table.ops[number]), dtype, None)

    def _seed(self, number: int) -> tuple[int, int] | None:
        """The seeds of a random op; both 0 (or absent) means that none is fixed."""
        found = [self._table.attr(number, key) for key in (b"seed", b"seed2")]
        seeds = [item.value if item is not None and item.kind == "i" else 0 for item in found]
        return (seeds[0], seeds[1]) if any(seeds) else None


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _unary(op: bytes, value: float) -> float | None:
    if op == b"Neg":
        return -value
    if op in (b"Sqrt", b"Rsqrt"):
        if value <= 0:
            return 0.0 if value == 0 and op == b"Sqrt" else None
        return math.sqrt(value) if op == b"Sqrt" else 1.0 / math.sqrt(value)
    return value


def _binary(op: bytes, left: float, right: float) -> float | None:
    if op in _ADD:
        return left + right
    if op == b"Sub":
        return left - right
    if op == b"Mul":
        return left * right
    return left / right if right else None


def _constant_text(value: TensorValue) -> str:
    if value.dtype.name == "string":
        shown = value.strings()
        if value.count == 1 and len(shown) == 1 and len(shown[0]) <= 64:
            return f"constant({shown[0]!r})"
        return f"constant of {value.count} strings"
    exact = value.dtype.name == "float64"
    splat = value.splat()
    if splat is not None:
        return _splat_text(splat, exact)
    if 0 < value.count <= _MAX_SHOWN:
        numbers = value.numbers(_MAX_SHOWN)
        if numbers is not None:
            return f"constant([{', '.join(_show(number, exact) for number in numbers)}])"
    shape = "unknown" if value.shape is None else list(value.shape)
    return f"constant of shape {shape}"


def _splat_text(value: float | int | bool, exact: bool = False) -> str:
    if value == 0 and not isinstance(value, bool):
        return "zeros"
    if value == 1 and not isinstance(value, bool):
        return "ones"
    return f"constant({_show(value, exact)})"


def _show(value: float | int | bool, exact: bool = False) -> str:
    """A number as short as float32 allows (0.1, not 0.10000000149011612), or in full."""
    if exact or isinstance(value, (bool, int)) or not math.isfinite(value):
        return str(value)
    try:
        packed = struct.pack("<f", value)
    except OverflowError:
        return repr(value)
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == packed:
            return repr(short)
    return repr(value)
