"""Slice specs, and the join on graphs that no TensorFlow of today makes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.graph.metagraph import MetaGraph, parse_graphs
from ckpttool.graph.savers import join, parse_slice_spec, saver_joins


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10 2 0,4:0,2", ((10, 2), ((0, 0), (4, 2)))),
        ("10 2 4,3:-", ((10, 2), ((4, 0), (3, 2)))),
        ("7 -", ((7,), ((0,), (7,)))),
        ("", None),
        ("10 2", None),
        ("10 2 0,4", None),
        ("10 2 0,4:0", None),
        ("10 -2 0,4:0,2", None),
        ("x 0,1", None),
        ("1  0,1", None),
        ("9" * 30 + " 0,1", None),
        ("٣ 0,1", None),  # a digit, but not one that int() should see
    ],
)
def test_slice_specs(text: str, expected: object) -> None:
    assert parse_slice_spec(text) == expected


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="0123456789 ,:-", max_size=20))
def test_any_slice_spec_parses_or_is_none(text: str) -> None:
    found = parse_slice_spec(text)
    if found is not None:
        assert len(found.full_shape) == len(found.part.start) == len(found.part.shape)


def _strings(name: str, *values: str) -> str:
    items = ", ".join(f'"{value}"' for value in values)
    return (
        f'node {{ name: "{name}" op: "Const" attr {{ key: "value" value {{ tensor {{ '
        f"dtype: DT_STRING tensor_shape {{ dim {{ size: {len(values)} }} }} "
        f"string_val: [{items}] }} }} }} }}"
    )


def _node(name: str, op: str, *inputs: str) -> str:
    items = " ".join(f'input: "{item}"' for item in inputs)
    return f'node {{ name: "{name}" op: "{op}" {items} }}'


def _graph(*nodes: str) -> MetaGraph:
    return parse_graphs("\n".join(nodes).encode(), "graph.pbtxt", "graph_def")[0]


def test_the_first_save_op_of_all() -> None:
    graph = _graph(
        _node("a", "Variable"), _node("b", "Variable"), _strings("save/names", "x", "y"),
        _node("save/Const", "Const"),
        _node("save/save", "Save", "save/Const", "save/names", "b", "a"),
    )  # fmt: skip
    found = join(graph, {"x", "y"})
    assert (found.how, found.keys_of()) == ("save_op", {"b": ["x"], "a": ["y"]})


def test_copies_casts_and_joined_variables() -> None:
    graph = _graph(
        _node("a", "VariableV2"), _node("b", "VarHandleOp"), _node("lone", "Const"),
        _node("a/read", "Identity", "a"), _node("a/half", "Cast", "a/read"),
        _node("b/Read", "ReadVariableOp", "b", "^a/read"), _node("both", "ConcatV2", "a", "b/Read"),
        _strings("n", "k1", "k2", "k3", "k4", "k5"), _strings("s", "", "", "", "", ""),
        _node("save/SaveV2", "SaveV2", "p", "n", "s", "a/half", "b/Read:0", "both", "lone", "gone"),
    )  # fmt: skip
    (found,) = saver_joins(graph)
    parts = {key: [part.variable for part in value] for key, value in found.keys.items()}
    assert parts == {"k1": ["a"], "k2": ["b"], "k3": ["a", "b"], "k4": [], "k5": []}


def test_a_cycle_ends() -> None:
    graph = _graph(
        _node("x", "Identity", "y"), _node("y", "Identity", "x"),
        _node("m", "Merge", "m", "n"), _node("n", "NextIteration", "m"),
        _strings("names", "k1", "k2"), _strings("s", "", ""),
        _node("save/SaveV2", "SaveV2", "p", "names", "s", "x", "m"),
        _node("w", "Variable"), _node("w/Assign", "Assign", "w", "x"),
        _node("save/names", "Identity", "save/names"),
        _node("save_1/SaveV2", "SaveV2", "p", "save/names", "s", "x"),
    )  # fmt: skip
    assert [found.keys for found in saver_joins(graph)] == [{"k1": (), "k2": ()}, {}]


def test_keys_no_saver_explains_are_joined_by_name() -> None:
    graph = _graph(
        _node("a", "Variable"), _node("b", "Variable"), _strings("names", "a"), _strings("s", ""),
        _node("save/SaveV2", "SaveV2", "p", "names", "s", "a"),
    )  # fmt: skip
    found = join(graph, ["a", "b", "c"])
    assert set(found.keys) == {"a", "b"}
    assert (found.how_of("a"), found.how_of("b")) == ("save_op", "name")


def test_short_lists_do_not_matter() -> None:
    graph = _graph(
        _node("a", "Variable"), _strings("names", "a", "b", "c"), _strings("s", "2 0,1"),
        _node("save/SaveV2", "SaveV2", "p", "names", "s", "a"), _node("x", "SaveV2", "p"),
        _node("y", "SaveV2"),
    )  # fmt: skip
    (first, second) = saver_joins(graph)
    assert list(first.keys) == ["a"]
    assert second.keys == {}


def test_of_savers_that_fit_equally_the_graphs_own_is_chosen() -> None:
    nodes = [_node("a", "Variable"), _node("b", "Variable"), _strings("k", "k"), _strings("s", "")]
    for scope, variable in (("save", "a"), ("save_1", "b")):
        nodes.append(_node(f"{scope}/SaveV2", "SaveV2", "p", "k", "s", variable))
        nodes.append(_node(f"{scope}/done", "Identity", "p", f"^{scope}/SaveV2"))
    for own, variable in (("save", "a"), ("save_1", "b")):
        text = (
            "graph_def {" + "\n".join(nodes) + "}"
            f'saver_def {{ save_tensor_name: "{own}/done:0" restore_op_name: "{own}/restore_all" }}'
        )
        (graph,) = parse_graphs(text.encode(), "m.meta", "meta_graph")
        for found in (join(graph), join(graph, {"k"})):
            assert found.scope == own
            assert found.keys_of() == {variable: ["k"]}
