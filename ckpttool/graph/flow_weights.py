"""Nodes that make weights of weights: a norm, a mask, a shape, a product of two factors.

What reads a variable only to make a layer's weights of it is no use of it yet: the layer is where
the data comes in.  Without that, a stack of layers with normalized weights would look like layers
side by side.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpttool.graph.dataflow import Dataflow

_WEIGHT_OPS = re.compile(
    rb"Add(?:V2|N)?|Sub|Mul|RealDiv|Div|DivNoNan|Neg|Square|Sqrt|Rsqrt|Abs|Sum|Mean|Max|Min|Maximum|"
    rb"Minimum|Pow|Exp|Softplus|Sign|Round|L2Loss|Reshape|Transpose|Tile|ExpandDims|Squeeze|Slice|"
    rb"StridedSlice|Split|SplitV|Pack|Unpack|ConcatV2|Concat|Shape|Range|Fill|FakeQuant\w+|"
    rb"Identity|ReadVariableOp|Enter|RefEnter|RefIdentity|Switch|RefSwitch|Cast|StopGradient|"
    rb"PreventGradient|EnsureShape|Snapshot|_Arg|ConcatPartitions"
)
_PRODUCTS = frozenset({b"MatMul", b"BatchMatMulV2"})
_HOLDERS = frozenset({b"VariableV2", b"Variable", b"VarHandleOp", b"AutoReloadVariable"})


def weight_nodes(flow: Dataflow) -> bytearray:
    """1 for each forward node that is made of variables and constants by ops that make weights.

    2 where a variable is among them.  A product counts only where all its factors have a
    variable: a constant may be the data of a small example.
    """
    flags = bytearray(len(flow))
    fits = {op: bool(_WEIGHT_OPS.fullmatch(op)) for op in set(flow.ops)}
    for number in flow.order:
        op = flow.ops[number]
        if op in _HOLDERS:
            flags[number] = 2
        elif op == b"Const":
            flags[number] = 1
        elif (fits[op] or op in _PRODUCTS) and not flow.backward[number]:
            flags[number] = _joined(flags, flow.inputs(number), product=op in _PRODUCTS)
    return flags


def _joined(flags: bytearray, inputs: Iterable[tuple[int, int]], *, product: bool) -> int:
    found = {flags[source] for source, _ in inputs}
    if not found or 0 in found or (product and 1 in found):
        return 0
    return max(found)
