"""Initializers read off small graphs: folding of scale and offset, and honest names."""

from __future__ import annotations

import pytest

from ckpttool.graph.initializers import describe
from ckpttool.graph.metagraph import parse_graphs
from ckpttool.graph.variables import variables


def _node(name: str, op: str, *inputs: str, attrs: str = "") -> str:
    items = " ".join(f'input: "{item}"' for item in inputs)
    return f'node {{ name: "{name}" op: "{op}" {items} {attrs} }}'


def _const(name: str, value: float) -> str:
    tensor = f"tensor {{ dtype: DT_FLOAT tensor_shape {{}} float_val: {value} }}"
    return _node(name, "Const", attrs=f'attr {{ key: "value" value {{ {tensor} }} }}')


def _text(*nodes: str, value: str = "v") -> str | None:
    every = [
        _node("w", "VariableV2"), _node("w/Assign", "Assign", "w", value),
        _const("two", 2.0), _const("three", 3.0), _const("zero", 0.0), *nodes,
    ]  # fmt: skip
    (graph,) = parse_graphs("\n".join(every).encode(), "graph.pbtxt", "graph_def")
    found = describe(graph, variables(graph)[0])
    return None if found is None else found.text


_NORMAL = _node("r", "RandomStandardNormal", "shape")
_UNIFORM = _node("r", "RandomUniform", "shape")


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([_NORMAL, _node("v", "Identity", "r")], "random_normal(mean=0.0, stddev=1.0)"),
        (
            [_NORMAL, _node("m", "Mul", "two", "r"), _node("v", "AddV2", "m", "three")],
            "random_normal(mean=3.0, stddev=2.0)",
        ),
        (
            [_NORMAL, _node("a", "Add", "r", "three"), _node("v", "Mul", "a", "two")],
            "random_normal(mean=6.0, stddev=2.0)",
        ),
        (
            [_NORMAL, _node("a", "Sub", "r", "three"), _node("v", "RealDiv", "a", "two")],
            "random_normal(mean=-1.5, stddev=0.5)",
        ),
        (
            [_NORMAL, _node("v", "Sub", "three", "r")],
            "random_normal(mean=3.0, stddev=1.0)",
        ),
        (
            [_UNIFORM, _node("d", "Sub", "three", "two"), _node("m", "Mul", "r", "d"),
             _node("v", "Add", "m", "two")],
            "random_uniform(minval=2.0, maxval=3.0)",
        ),
        ([_UNIFORM, _node("v", "Sub", "two", "r")], "random_uniform(minval=1.0, maxval=2.0)"),
        ([_UNIFORM, _node("v", "RealDiv", "r", "zero")], "op: RealDiv of RandomUniform"),
        ([_UNIFORM, _node("v", "Mul", "r", "r")], "op: Mul of RandomUniform"),
        ([_UNIFORM, _node("s", "Softmax", "r"), _node("v", "Mul", "s", "two")],
         "op: Softmax of RandomUniform, times 2.0 plus 0.0"),
        ([_node("v", "Fill", "shape", "two")], "constant(2.0)"),
        ([_node("v", "Fill", "shape", "zero")], "zeros"),
        ([_node("v", "OnesLike", "x")], "ones"),
        ([_node("u", "VarHandleOp"), _node("v", "ReadVariableOp", "u")], "value of u"),
        ([_node("v", "PyFunc")], "a Python function"),
        ([_node("v", "Unheard/Of")], "op: Unheard/Of"),
        ([_node("w/read", "Identity", "w"), _node("s", "Switch", "w/read", "p"),
          _node("i", "Switch", "two", "p"), _node("v", "Merge", "s", "i:1")], "constant(2.0)"),
        ([_node("v", "Identity", "v")], None),
        ([], None),
    ],
)  # fmt: skip
def test_text(nodes: list[str], text: str | None) -> None:
    assert _text(*nodes) == text


def test_a_constant_expression_that_never_ends() -> None:
    nodes = [_node(f"n{i}", "Add", f"n{i + 1}", f"n{i + 1}") for i in range(1000)]
    nodes += [_const("n1000", 1.0), _UNIFORM, _node("v", "Mul", "n0", "r")]
    assert _text(*nodes) == "op: Mul of RandomUniform"


def test_restores_are_not_initializers() -> None:
    nodes = [_node("save/RestoreV2", "RestoreV2", "p", "n", "s")]
    assert _text(*nodes, value="save/RestoreV2") is None


def test_a_cycle_ends() -> None:
    assert (_text(_node("v", "Add", "v", "two")) or "op: Add").startswith("op: Add")
