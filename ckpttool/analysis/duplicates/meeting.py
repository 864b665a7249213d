"""Where copies side by side come together: compared with each other, or put together."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ckpttool.graph.dataflow import Dataflow

_JOINING = frozenset({b"Concat", b"ConcatV2", b"Pack", b"ParallelConcat"})
_ADDING = frozenset({b"Add", b"AddV2", b"AddN", b"BiasAdd"})
# What makes one number, or one for each example, of what a network gives: a part of a loss.
_REDUCING = frozenset({
    b"Sum", b"Mean", b"Max", b"Min", b"Prod", b"L2Loss", b"SoftmaxCrossEntropyWithLogits",
    b"SparseSoftmaxCrossEntropyWithLogits", b"EuclideanNorm",
})  # fmt: skip
_SCALING = frozenset({
    b"Identity", b"Mul", b"RealDiv", b"Div", b"DivNoNan", b"Neg", b"Add", b"AddV2", b"Sub", b"Sqrt",
    b"Square", b"Select", b"SelectV2", b"Cast", b"Log", b"Maximum", b"Minimum",
})  # fmt: skip
_MAX_STEPS = 32


def forward_from(flow: Dataflow, starts: Iterable[int]) -> bytearray:
    """A flag for each forward node that is computed from one of ``starts``, itself included."""
    flags = bytearray(len(flow))
    pending = list(starts)
    for number in pending:
        flags[number] = 1
    while pending:
        for use in flow.readers(pending.pop()):
            if not flags[use.node] and not flow.backward[use.node]:
                flags[use.node] = 1
                pending.append(use.node)
    return flags


def put_together(flow: Dataflow, one: Iterable[int], other: Iterable[int]) -> bool:
    """Whether what two copies give is joined or added up before it is a loss: parts of a network.

    Copies that were meant to be one are compared (a distance), or each has its term of the loss.
    """
    first, second = forward_from(flow, one), forward_from(flow, other)
    for number in range(len(flow)):
        if not (first[number] and second[number]):
            continue
        inputs = [source for source, _ in flow.inputs(number)]
        if any(first[source] and second[source] for source in inputs):
            continue
        op = flow.ops[number]
        if op in _JOINING:
            return True
        if op in _ADDING and not all(_reduced(flow, source) for source in inputs):
            return True
    return False


def _reduced(flow: Dataflow, number: int) -> bool:
    """Whether a term comes from a reduction by scaling alone."""
    pending = [number]
    for _ in range(_MAX_STEPS):
        if not pending:
            return True
        current = pending.pop()
        op = flow.ops[current]
        if op in _REDUCING or op == b"Const":
            continue
        if op not in _SCALING:
            return False
        pending += [source for source, _ in flow.inputs(current)]
    return False
