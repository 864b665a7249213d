"""Drafts for small pairs made by hand, and what becomes of what is not certain."""

from __future__ import annotations

import pytest

from ckpttool.mapping.language.document import parse_document
from ckpttool.mapping.language.rules import compile_rules
from ckpttool.mapping.like.template import TargetVariable, Template
from ckpttool.mapping.planning.matching import Matching
from ckpttool.mapping.suggest.draft import Draft, draft
from ckpttool.mapping.suggest.fold import Line, fold
from ckpttool.mapping.suggest.shapes import changes
from ckpttool.mapping.suggest.units import SourceTensor
from ckpttool.render.suggest import draft_text

pytest.importorskip("lap", reason="the suggest extra is not installed")

Shape = tuple[int, ...]


def _draft(
    source: dict[str, Shape],
    target: dict[str, Shape],
    *,
    kind: str = "keras",
    ordered: bool = True,
    graph: bool = True,
) -> Draft:
    tensors = [
        SourceTensor(name, "float32", shape, at if graph else None)
        for at, (name, shape) in enumerate(source.items())
    ]
    variables = [TargetVariable(name, (), "float32", shape) for name, shape in target.items()]
    template = Template(variables, kind=kind, path="target", ordered=ordered)
    return draft(tensors, template, source="source", dropped=[("global_step", "step")])


def _told(found: Draft) -> dict[str, tuple[str, ...]]:
    return {
        target: line.sources
        for rule in found.rules
        for line in rule.lines
        for target in line.targets
    }


def _mapped(found: Draft, names: list[str]) -> dict[str, tuple[str, ...]]:
    """What the written file makes of the names, by the language's own engine."""
    rules = compile_rules(parse_document(draft_text(found).encode(), "draft.yaml"))
    matching = Matching(names, rules)
    assert not matching.problems
    out = {}
    for name, match in matching.of.items():
        if match.group is not None:
            out.update(dict.fromkeys(match.group.targets, match.group.sources))
        elif match.target is not None:
            out[match.target] = (name,)
    return out


def _layers(stem: str, count: int, first: str = "") -> list[str]:
    return [stem + (f"_{n}" if n else first) for n in range(count)]


def test_a_stack_of_equal_layers_goes_by_the_graphs_order_in_one_rule() -> None:
    source: dict[str, Shape] = {}
    target: dict[str, Shape] = {}
    for number in range(12):
        stem = f"dense_{number}" if number else "dense"
        source |= {f"{stem}/kernel": (4, 4), f"{stem}/bias": (4,)}
        target |= {f"dense_{number + 3}/kernel": (4, 4), f"dense_{number + 3}/bias": (4,)}
    found = _draft(source, target)
    assert _told(found)["dense_14/bias"] == ("dense_11/bias",)
    assert len(found.rules) == 1
    assert found.rules[0].sources == ("dense{i:suffix}/{part}",)
    assert found.rules[0].targets == ("dense_{i+3}/{part}",)
    assert _mapped(found, [*source, "global_step"]) == _told(found)


def test_names_that_nothing_tells_apart_stay_open() -> None:
    source: dict[str, Shape] = {"alpha/kernel": (4, 4), "zeta/kernel": (4, 4)}
    target: dict[str, Shape] = {"mu/kernel": (4, 4), "nu/kernel": (4, 4)}
    found = _draft(source, target, ordered=False, graph=False)
    assert not found.rules
    assert {rule.confidence for rule in found.open_rules} == {"low"}
    text = draft_text(found)
    assert "\n  # Open" in text
    assert _mapped(found, ["global_step"]) == {}


def test_what_is_left_over_is_listed_and_slots_are_not_asked_about() -> None:
    source: dict[str, Shape] = {"a/kernel": (4, 3), "odd/kernel": (9, 9, 9)}
    target: dict[str, Shape] = {"x/kernel": (4, 3), "x/bias": (3,), "y/kernel": (5, 5)}
    found = _draft(source, target)
    assert _told(found) == {"x/kernel": ("a/kernel",)}
    assert [item.name for item in found.unused] == ["odd/kernel"]
    assert [(item.name, item.filler) for item in found.missing] == [
        ("x/bias", "zeros"), ("y/kernel", None),
    ]  # fmt: skip
    text = draft_text(found)
    assert "No place for odd/kernel" in text
    assert "zeros" in text
    assert "global_step" in text


def test_recurrent_cells_get_their_transforms() -> None:
    source: dict[str, Shape] = {
        "rnn/basic_lstm_cell/kernel": (11, 32),
        "rnn/basic_lstm_cell/bias": (32,),
        "gru/gru_cell/gates/kernel": (13, 10),
        "gru/gru_cell/gates/bias": (10,),
        "gru/gru_cell/candidate/kernel": (13, 5),
        "gru/gru_cell/candidate/bias": (5,),
        "plain/basic_rnn_cell/kernel": (9, 7),
        "plain/basic_rnn_cell/bias": (7,),
    }
    target: dict[str, Shape] = {
        "lstm/cell/kernel": (3, 32), "lstm/cell/recurrent_kernel": (8, 32), "lstm/cell/bias": (32,),
        "gru/cell/kernel": (8, 15), "gru/cell/recurrent_kernel": (5, 15), "gru/cell/bias": (15,),
        "simple/cell/kernel": (2, 7), "simple/cell/recurrent_kernel": (7, 7),
        "simple/cell/bias": (7,),
    }  # fmt: skip
    found = _draft(source, target)
    assert set(_told(found)) == set(target)
    assert found.forget_bias
    assert _mapped(found, [*source, "global_step"]) == _told(found)
    # A bias of this shape is of a GRU that computes something else.
    other = _draft(source, {**target, "gru/cell/bias": (2, 15)})
    assert "gru/cell/bias" not in _told(other)


def test_a_safetensors_target_gets_kernels_turned() -> None:
    source: dict[str, Shape] = {}
    target: dict[str, Shape] = {}
    for layer in range(3):
        for part in ("query", "key"):
            stem = f"bert/encoder/layer_{layer}/attention/self/{part}"
            source |= {f"{stem}/kernel": (6, 6), f"{stem}/bias": (6,)}
            stem = f"encoder.layer.{layer}.attention.self.{part}"
            target |= {f"{stem}.weight": (6, 6), f"{stem}.bias": (6,)}
    found = _draft(source, target, kind="safetensors", ordered=False, graph=False)
    told = _told(found)
    assert told["encoder.layer.2.attention.self.key.weight"] == (
        "bert/encoder/layer_2/attention/self/key/kernel",
    )
    assert set(told) == set(target)
    chains = {rule.chain for rule in found.rules if "weight" in rule.targets[0]}
    assert chains == {("transpose: [1, 0]",)}
    assert _mapped(found, [*source, "global_step"]) == told


@pytest.mark.parametrize(
    ("source", "target", "chain"),
    [
        ((3, 4), (3, 4), ()),
        ((1, 1, 8, 5), (8, 5), ("squeeze: [0, 1]",)),
        ((1, 8, 5), (8, 5), ("squeeze: 0",)),
        ((8, 5), (1, 1, 8, 5), ("expand: [0, 1]",)),
        ((7, 7, 5, 4), (245, 4), ("reshape: [-1, d3]",)),
        ((8, 8), (8, 2, 4), ("reshape: [0, 2, -1]",)),
        ((8, 8), (2, 4, 8), ("reshape: [2, -1, d1]",)),
        ((5, 1001), (5, 1000), ("slice: {axis: 1, start: 1}",)),
        ((1, 1, 5, 1001), (5, 1000), ("slice: {axis: 3, start: 1}", "squeeze: [0, 1]")),
    ],
)
def test_shapes_that_become_others(source: Shape, target: Shape, chain: tuple[str, ...]) -> None:
    from ckpttool.mapping.language.nodes import parse_yaml
    from ckpttool.mapping.transforms.base import ArraySpec
    from ckpttool.mapping.transforms.parse import parse_chain

    found = changes(source, target, "kernel", False)[0]
    assert found.chain == chain
    if chain:
        text = "[" + ", ".join("{" + step + "}" for step in chain) + "]"
        made = parse_chain(parse_yaml(text, "x"))
        assert made.infer([ArraySpec("float32", source)])[0][0].shape == target


def test_shapes_that_do_not_line_up_are_no_reshape() -> None:
    assert changes((6, 4), (4, 6), "kernel", False) == []
    assert changes((6, 4), (3, 8), "kernel", False) == []
    assert changes((2,), (3,), "bias", False) == []


def _line(source: str, target: str) -> Line:
    return Line((source,), (target,), (), "high", ("names",))


def test_a_folded_rule_takes_nothing_else() -> None:
    lines = [_line(f"a/l{n}/w", f"x_{n}") for n in (1, 2, 4)]
    names = [*(line.sources[0] for line in lines), "a/l3/w"]
    (rule,) = fold(lines, names)
    assert dict(rule.where)["i"].rows == tuple((text, (text,)) for text in "124")
    (free,) = fold(lines, names[:-1])
    assert not free.where


def test_numbers_that_follow_no_sum_become_a_table() -> None:
    lines = [_line(f"a/l{n}/w", f"x_{m}/k") for n, m in ((0, 7), (1, 3), (2, 4))]
    (rule,) = fold(lines, [line.sources[0] for line in lines])
    table = dict(rule.where)["i"]
    assert table.columns == ("n1",)
    assert table.rows == (("0", ("7",)), ("1", ("3",)), ("2", ("4",)))


def test_the_assignment_is_the_best_of_all() -> None:
    from itertools import permutations

    from ckpttool.mapping.suggest.matching import Matcher
    from ckpttool.mapping.suggest.units import source_units, target_units

    names = ["a/q/kernel", "a/r/kernel", "b/q/kernel", "b/r/kernel", "c/kernel"]
    shapes: list[Shape] = [(4, 4), (4, 4), (4, 4), (4, 4), (4, 5)]
    source = [SourceTensor(n, "float32", s) for n, s in zip(names, shapes, strict=True)]
    other = ["b/r/kernel", "x/q/kernel", "c/kernel", "a/kernel", "a/r/kernel"]
    goals: list[Shape] = [(4, 4), (4, 4), (4, 5), (4, 4), (4, 4)]
    variables = [TargetVariable(n, (), "float32", s) for n, s in zip(other, goals, strict=True)]
    template = Template(variables, kind="npz", path="t")
    matcher = Matcher(source_units(source), target_units(template), torch=False)
    pairs = matcher.match()
    score, fits = matcher.score, matcher.fits
    best = max(
        sum(score(s, t) for s, t in enumerate(order) if fits(s, t))
        for order in permutations(range(5))
        if all(fits(s, t) for s, t in enumerate(order))
    )
    assert sum(score(pair.source, pair.target) for pair in pairs) == pytest.approx(best, abs=1e-3)


def test_marks_of_the_language_in_names_are_escaped() -> None:
    source: dict[str, Shape] = {"a{b}*$c/kernel": (2, 3)}
    found = _draft(source, {"x{y}*$z/kernel": (2, 3)})
    assert _mapped(found, [*source, "global_step"]) == {"x{y}*$z/kernel": ("a{b}*$c/kernel",)}
