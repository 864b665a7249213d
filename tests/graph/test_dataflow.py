"""Reachability, uses of variables, losses and roots, on graphs written by hand."""

from __future__ import annotations

import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.graph.dataflow import Dataflow
from ckpttool.graph.flow_nodes import MAX_DEPTH
from ckpttool.graph.metagraph import MetaGraph, parse_graphs
from ckpttool.graph.uses import VariableUse, variable_use
from ckpttool.graph.variables import variables


def graph(*nodes: str, library: str = "") -> MetaGraph:
    """``"name op input input …"`` for each node, an attribute as ``key=text proto``."""
    text = "".join(f"node {{ {_node(node)} }}\n" for node in nodes)
    return parse_graphs((text + library).encode(), "graph", "graph_def")[0]


def _node(line: str) -> str:
    name, op, *rest = line.split()
    parts = [f'name: "{name}" op: "{op}"']
    for item in rest:
        if "=" in item:
            key, value = item.split("=", 1)
            parts.append(f'attr {{ key: "{key}" value {{ {value} }} }}')
        else:
            parts.append(f'input: "{item}"')
    return " ".join(parts)


def function(name: str, arguments: str, results: dict[str, str], *nodes: str) -> str:
    """A library with one function."""
    signature = "".join(
        f'input_arg {{ name: "{item}" type: DT_FLOAT }} ' for item in arguments.split()
    )
    signature += "".join(f'output_arg {{ name: "{item}" type: DT_FLOAT }} ' for item in results)
    ret = "".join(f'ret {{ key: "{key}" value: "{value}" }} ' for key, value in results.items())
    body = "".join(f"node_def {{ {_node(node)} }} " for node in nodes)
    return f'library {{ function {{ signature {{ name: "{name}" {signature}}} {body}{ret}}} }}\n'


def at(flow: Dataflow, name: str) -> int:
    return flow.names.index(name.encode())


def above(flow: Dataflow, name: str, *marked: str) -> set[str]:
    """Which of ``marked`` a node is computed from."""
    marks = {at(flow, item): 1 << bit for bit, item in enumerate(marked)}
    mask = flow.upstream(marks, {at(flow, name)})[at(flow, name)]
    return {item for bit, item in enumerate(marked) if mask >> bit & 1}


def use(made: MetaGraph, name: str) -> VariableUse:
    found = variable_use(Dataflow(made), [item for item in variables(made) if item.name == name])
    assert found is not None
    return found


TRAINED = (
    "x Placeholder", "w VariableV2", "w/init Const", "w/Assign Assign w w/init",
    "w/read Identity w", "y MatMul x w/read", "loss Mean y", "gradients/loss_grad/Tile Tile loss",
    "gradients/y_grad/MatMul MatMul gradients/loss_grad/Tile x",
    "lr Const", "update ApplyGradientDescent w lr gradients/y_grad/MatMul",
    "save/SaveV2 SaveV2 w", "save/RestoreV2 RestoreV2", "save/Assign Assign w save/RestoreV2",
)  # fmt: skip


def test_a_variable_that_is_trained() -> None:
    made = graph(*TRAINED)
    flow = Dataflow(made)
    found = use(made, "w")
    assert found.trained
    assert not found.updated
    assert not found.fed
    assert [flow.name(read.node) for read in found.reads] == ["y"]
    assert [flow.name(number) for number in flow.losses] == ["loss"]
    assert [flow.name(root.node) for root in flow.roots] == ["x"]


def test_the_backward_part_lets_nothing_through() -> None:
    flow = Dataflow(graph(*TRAINED))
    assert above(flow, "loss", "w/read", "y") == {"w/read", "y"}
    assert above(flow, "update", "y") == set()


def test_an_optimizer_written_by_hand_trains() -> None:
    nodes = [node for node in TRAINED if not node.startswith("update")]
    made = graph(
        *nodes, "step Mul gradients/y_grad/MatMul lr", "new Sub w/read step", "set Assign w new"
    )
    assert use(made, "w").trained


def test_copies_averages_and_statistics() -> None:
    made = graph(
        "a VariableV2", "a/read Identity a", "b VariableV2", "b/read Identity b", "tau Const",
        "keep Mul b/read tau", "take Mul a/read tau", "new Add keep take", "set Assign b new",
        "m VariableV2", "m/read Identity m", "x Placeholder", "y MatMul x a/read", "mean Mean y",
        "off Sub m/read mean", "update AssignSub m off",
        "p VariableV2", "zero Const", "init Assign p zero", "value Placeholder",
        "load Assign p value",
    )  # fmt: skip
    flow = Dataflow(made)
    soft = use(made, "b")
    assert [flow.name(number) for number in soft.copied_from] == ["a"]
    assert not soft.reads  # what only goes into variables computes nothing
    moving = use(made, "m")
    # Computed from data that went through `a`: no copy of `a`.
    assert moving.updated
    assert not moving.copied_from
    assert use(made, "p").fed
    assert not use(made, "p").updated
    assert [flow.name(read.node) for read in use(made, "a").reads] == ["y"]


def test_a_loop_in_the_graph_passes_its_results_on_once() -> None:
    made = graph(
        "x Placeholder", "w VariableV2", "w/read Identity w", "enter Enter x", "w_in Enter w/read",
        "merge Merge enter next", "go LoopCond merge", "switch Switch merge go",
        "body MatMul switch:1 w_in", "late Tanh body", "next NextIteration late",
        "exit Exit switch", "after Relu exit",
    )  # fmt: skip
    flow = Dataflow(made)
    assert len(flow.order) == len(flow)  # no cycle is left
    assert above(flow, "body", "late") == set()
    assert above(flow, "after", "late", "body", "x") == {"late", "body", "x"}
    assert [flow.name(read.node) for read in use(made, "w").reads] == ["body"]


def test_functions_are_put_in_once_per_call() -> None:
    body = function("f", "a b", {"out": "y:product:0"}, "y MatMul a b", "idle Relu a")
    call = "PartitionedCall x f=func{name:'f'}"
    made = graph(
        "x Placeholder", "v VarHandleOp", "u VarHandleOp",
        f"one {call.replace(' x', ' x v')}", f"two {call.replace(' x', ' one u')}", "end Relu two",
        library=body.replace("MatMul a b", "MatMul a b"),
    )  # fmt: skip
    flow = Dataflow(made)
    assert above(flow, "end", "one/y", "two/y", "one/idle") == {"one/y", "two/y"}
    assert above(flow, "two/y", "one/y") == {"one/y"}
    assert above(flow, "one/y", "two/y") == set()
    assert [flow.name(read.node) for read in use(made, "v").reads] == ["one/y"]
    assert [flow.name(read.node) for read in use(made, "u").reads] == ["two/y"]


def test_outputs_of_a_call_are_told_apart() -> None:
    body = function("f", "a b", {"first": "p:y:0", "second": "q:y:0"}, "p Relu a", "q Tanh b")
    made = graph(
        "x Placeholder",
        "z Placeholder",
        "call f x z",
        "one Relu call",
        "two Relu call:1",
        library=body,
    )
    flow = Dataflow(made)
    assert above(flow, "one", "x", "z") == {"x"}
    assert above(flow, "two", "x", "z") == {"z"}


def test_branches_of_a_conditional_meet() -> None:
    library = function("t", "a", {"o": "p:y:0"}, "p Relu a") + function(
        "e", "a", {"o": "q:y:0"}, "q Tanh a"
    )
    made = graph(
        "c Placeholder", "x Placeholder",
        "if If c x then_branch=func{name:'t'} else_branch=func{name:'e'}", "end Relu if",
        library=library,
    )  # fmt: skip
    assert above(Dataflow(made), "end", "if/p", "if/q") == {"if/p", "if/q"}


def test_a_function_that_calls_itself_ends() -> None:
    body = function("f", "a", {"o": "g:o:0"}, "g f a")
    flow = Dataflow(graph("x Placeholder", "call f x", "end Relu call", library=body))
    assert len(flow) < 4 + 3 * MAX_DEPTH + 3
    assert above(flow, "end", "x") == {"x"}


def test_what_is_not_here_is_left_out() -> None:
    flow = Dataflow(
        graph("a Relu nowhere:3 ^gone", "b PartitionedCall a f=func{name:'gone'}", "c Relu b")
    )
    assert above(flow, "c", "a") == {"a"}


def test_a_cycle_ends() -> None:
    flow = Dataflow(graph("a Relu b", "b Relu a", "c Relu c", "d Relu"))
    assert [flow.name(number) for number in flow.order] == ["d"]
    assert flow.upstream({0: 1}, {0, 1}) == {}


def test_switches_are_no_data() -> None:
    flow = Dataflow(
        graph(
            "flag Placeholder dtype=type:DT_BOOL",
            "x Placeholder dtype=type:DT_FLOAT",
            "save/Const PlaceholderWithDefault",
            "it IteratorGetNext",
            "p Relu it",
            "q Relu it:1",
        )
    )
    assert [(flow.name(root.node), root.output) for root in flow.roots] == [
        ("x", 0), ("it", 0), ("it", 1),
    ]  # fmt: skip


def test_the_loss_is_what_nothing_after_it_has_a_gradient() -> None:
    flow = Dataflow(
        graph(
            "x Placeholder",
            "h Relu x",
            "same Identity h",
            "loss Mean same",
            "log Log loss",
            "train/gradients/h_grad/A Relu loss",
            "train/gradients/loss_grad/B Relu loss",
            "other Mean h",
            "gradients_1/other_grad/C Relu other",
        )
    )
    assert sorted(flow.name(number) for number in flow.losses) == ["loss", "other"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 40))
def test_reachability_agrees_with_a_plain_walk(seed: int, size: int) -> None:
    draw = random.Random(seed)  # noqa: S311
    inputs = [
        [draw.randrange(n) for _ in range(draw.randrange(3))] if n else [] for n in range(size)
    ]
    order = list(range(size))
    draw.shuffle(order)  # a graph's nodes come in any order
    flow = Dataflow(
        graph(*(" ".join([f"n{n}", "Relu", *(f"n{i}" for i in inputs[n])]) for n in order))
    )
    marked = [n for n in range(size) if draw.random() < 0.5]
    reach: list[set[int]] = []
    for n in range(size):
        reach.append({m for i in inputs[n] for m in reach[i] | ({i} & set(marked))})
    marks = {order.index(n): 1 << n for n in marked}
    found = flow.upstream(marks, set(range(size)))
    for n in range(size):
        assert found[order.index(n)] == sum(1 << m for m in reach[n])
    down = flow.downstream_of([order.index(n) for n in marked])
    for n in range(size):
        assert bool(down[order.index(n)]) == (n in marked or bool(reach[n]))


def test_real_graphs_have_no_cycles_left(real_ckpts: Path) -> None:
    for path in sorted(real_ckpts.glob("*/*.meta")):
        for made in parse_graphs(path.read_bytes(), str(path), "meta_graph"):
            flow = Dataflow(made)
            assert len(flow.order) == len(flow), path
