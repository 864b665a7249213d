"""What rules say beyond one name for another: captures, tables, groups, conditions, includes."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remap_support import plan_for, specs, told

from ckpttool.errors import MappingError
from ckpttool.mapping.language.document import Document, load_document, parse_document
from ckpttool.mapping.language.numbers import parse_formula
from ckpttool.mapping.language.patterns import Pattern, PatternError, Template
from ckpttool.mapping.language.quick import any_pattern
from ckpttool.mapping.language.rules import compile_rules
from ckpttool.mapping.language.templates import as_template
from ckpttool.mapping.planning.plan import Plan, make_plan
from ckpttool.tensors import TensorSpec

MOVES = [
    # pattern, template, name, new name (None: no match)
    ("dense{i:suffix}/w", "d{i}/w", "dense/w", "d0/w"),
    ("dense{i:suffix}/w", "d{i}/w", "dense_12/w", "d12/w"),
    ("dense{i:suffix}/w", "d{i}/w", "dense_0/w", None),
    ("dense{i:suffix}/w", "d{i}/w", "dense_01/w", None),
    ("dense{i:suffix}/w", "d{i}/w", "dense_x/w", None),
    ("l{i:int}/w", "dense{i:suffix}/w", "l0/w", "dense/w"),
    ("l{i:int}/w", "dense{i:suffix}/w", "l3/w", "dense_3/w"),
    ("l{i:int}/w", "dense{i-1:suffix}/w", "l1/w", "dense/w"),
    ("l{i:int}/w", "l{i+1}/w", "l9/w", "l10/w"),
    ("l{i:int}/w", "l{2*i+1}/w", "l4/w", "l9/w"),
    ("b{b:int}/u{u:int}", "c{b*3+u-1:suffix}", "b0/u1", "c"),
    ("b{b:int}/u{u:int}", "c{ b * 3 + u - 1 :suffix}", "b2/u2", "c_7"),
    ("block_{i:int}/w", "b{i*1}/w", "block_007/w", "b7/w"),
    ("block_{i:int}/w", "b{i}/w", "block_007/w", "b007/w"),
    ("{p:path}/w", "x/{p}/v", "a/b/w", "x/a/b/v"),
    ("{p:path}/w", "x/{p}/v", "w", None),
    ("a{p:path}", "{p}", "a/b", "/b"),
    ("{p:path}/{x}{i:suffix}/w", "{x}/{i}/{p}", "a/b/conv_2/w", "conv_2/0/a/b"),
    ("{x}{i:suffix}/{x}{i:suffix}", "{x}-{i}", "a_1/a_1", "a_1-0"),
    ("{p:path}/w", "{p:flat}/v", "a/b/c/w", "a_b_c/v"),
    ("{p:path}/w", "{p}/{p:flat}", "a/w", "a/a"),
    ("re:(.+)/w", "x_{1:flat}", "a/b/w", "x_a_b"),
    ("re:l([0-9]+)/w", "x{1:suffix}", "l2/w", "x_2"),
]


@pytest.mark.parametrize(("source", "target", "name", "expected"), MOVES)
def test_moves(source: str, target: str, name: str, expected: str | None) -> None:
    pattern, template = any_pattern(source, {}), Template(target)
    assert template.lacking(pattern) is None
    ways = [pattern.match, pattern.search] if isinstance(pattern, Pattern) else [pattern.match]
    for caught in (way(name) for way in ways):
        assert (None if caught is None else template.render(caught)) == expected


@pytest.mark.parametrize("text", ["i+", "+i", "i//2", "i i", "i-", "i*", "(i)", "i+1.5", ""])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(ValueError, match="no sum"):
        parse_formula(text)
    with pytest.raises(PatternError):
        Template(f"a{{{text}:suffix}}")


@given(
    st.lists(
        st.sampled_from(["a", "/", "_", "*", "**", "{x}", "{i:int}", "{s:suffix}", "{p:path}"]),
        min_size=1,
        max_size=6,
    ).map("".join),
    st.text(alphabet="a1_/", max_size=9),
)
@settings(max_examples=100, deadline=None)
def test_a_pattern_gives_back_the_names_that_it_matched(text: str, name: str) -> None:
    try:
        pattern = Pattern(text)
    except PatternError:
        return
    template = as_template(pattern.text, pattern.atoms)
    for caught in (pattern.match(name), pattern.search(name)):
        if caught is not None and "**" not in text:
            assert template.render(caught) == name


@given(
    st.lists(
        st.tuples(st.integers(-9, 9), st.sampled_from(["", "i", "j"])), min_size=1, max_size=4
    ),
    st.integers(0, 99),
    st.integers(0, 99),
)
@settings(max_examples=100, deadline=None)
def test_numbers_are_what_python_says(parts: list[tuple[int, str]], i: int, j: int) -> None:
    text = "+".join(f"{abs(n)}*{name}" if name else str(abs(n)) for n, name in parts)
    for (n, _), at in zip(parts[1:], range(1, 9), strict=False):
        if n < 0:  # the sign of each but the first
            pieces = text.split("+")
            text = "+".join(pieces[:at]) + "-" + "+".join(pieces[at:])
            break
    formula = parse_formula(text)
    expected = eval(text, {"i": i, "j": j})  # noqa: S307
    assert str(parse_formula(str(formula))) == str(formula)
    caught = {"i": str(i), "j": str(j)}
    if expected >= 0:
        assert formula.value(caught) == expected
    else:
        with pytest.raises(ValueError, match="negative"):
            formula.value(caught)


def moves(
    source: dict[str, TensorSpec], rules: str, **options: object
) -> dict[str, tuple[str, ...]]:
    """Target to sources."""
    plan = plan_for(source, "unmatched: drop\nrules:\n" + rules, **options)
    return {step.target: step.sources for step in plan.steps}


def test_a_table_limits_and_translates() -> None:
    source = specs("a/q/w", "a/k/w", "a/x/w")
    rules = "  - {from: 'a/{p}/w', to: 'b/{p}', where: {p: {q: query, k: key}}}\n"
    assert moves(source, rules) == {"b/query": ("a/q/w",), "b/key": ("a/k/w",)}


def test_a_table_with_columns() -> None:
    source = specs("conv2d/w", "conv2d_1/w", "conv2d_2/w")
    rules = (
        "  - from: 'conv2d{i:suffix}/w'\n    to: 's{i.stage}{i.letter}/{i}/{i.stage+1}'\n"
        "    where: {i: {0: {stage: 1, letter: a}, 2: {stage: 4, letter: b}}}\n"
    )
    assert moves(source, rules) == {"s1a/0/2": ("conv2d/w",), "s4b/2/5": ("conv2d_2/w",)}


def test_keys_of_a_path_hold_slashes() -> None:
    source = specs("a/b/w", "a/c/w", "d/w")
    rules = "  - {from: '{p:path}/w', to: 'x/{p}', where: {p: {a/b: one, d: two/3}}}\n"
    assert moves(source, rules) == {"x/one": ("a/b/w",), "x/two/3": ("d/w",)}


def test_parameters_in_tables_and_formulas() -> None:
    source = specs("l0/w", "l1/w")
    yaml = "params: {first: 3, z: out}\n"
    rules = (
        "rules:\n  - from: 'l{i:int}/w'\n    to: '{i.n}/{i+$first}'\n"
        "    where: {i: {0: {n: $z}, 1: {n: in}}}\n"
    )
    plan = plan_for(source, yaml + rules)
    assert [step.target for step in plan.steps] == ["out/3", "in/4"]


def test_several_sources_go_together() -> None:
    source = specs(
        *(f"l{i}/{gate}/{part}" for i in (0, 1) for gate in ("a", "b") for part in ("w", "v"))
    )
    rules = (
        "  - from: ['l{i:int}/a/{p}', 'l{i:int}/b/{p}']\n    to: 'x{i}/{p}'\n    apply: [concat]\n"
    )
    found = moves(source, rules)
    assert found == {f"x{i}/{p}": (f"l{i}/a/{p}", f"l{i}/b/{p}") for i in (0, 1) for p in "vw"}


def test_one_source_may_go_with_several_groups() -> None:
    source = specs("shared", "l0/w", "l1/w")
    rules = "  - {from: ['l{i:int}/w', shared], to: 'x{i}', apply: [concat]}\n"
    assert moves(source, rules) == {"x0": ("l0/w", "shared"), "x1": ("l1/w", "shared")}


def test_pairs_without_transforms() -> None:
    source = specs("l0/w", "l0/v")
    rules = "  - {from: ['l{i:int}/w', 'l{i:int}/v'], to: ['k{i}', 'b{i}']}\n"
    assert moves(source, rules) == {"k0": ("l0/w",), "b0": ("l0/v",)}


def test_one_source_for_several_targets_is_tied() -> None:
    plan = plan_for(specs("a"), "rules:\n  - {from: a, to: [b, c]}\n")
    assert [(step.target, step.sources, step.expression) for step in plan.steps] == [
        ("b", ("a",), None),
        ("c", ("a",), None),
    ]


def test_an_incomplete_group_of_an_optional_rule_goes_to_the_next() -> None:
    source = specs("l0/w", "l0/v", "l1/w")
    rules = (
        "  - {from: ['l{i:int}/w', 'l{i:int}/v'], to: 'x{i}', apply: [concat], optional: true}\n"
        "  - {from: 'l{i:int}/{p}', to: 'y{i}/{p}'}\n"
    )
    assert moves(source, rules) == {"x0": ("l0/w", "l0/v"), "y1/w": ("l1/w",)}


def test_collect_takes_parts_in_the_order_of_their_numbers() -> None:
    source = specs(*(f"{name}/part_{k}" for name in ("a", "b") for k in range(12)), "a/part_x")
    rules = "  - {from: '{n}/part_{k:int}', to: '{n}', collect: k, apply: [concat]}\n"
    found = moves(source, rules)
    assert found == {name: tuple(f"{name}/part_{k}" for k in range(12)) for name in "ab"}
    ones = specs("w_1", "w_2")
    rules = "  - {from: 'w_{k:int}', to: w, collect: k, apply: [concat]}\n"
    assert moves(ones, rules) == {"w": ("w_1", "w_2")}
    plain = specs("w", "w_1", "w_2")
    rules = "  - {from: 'w{k:suffix}', to: v, collect: k, apply: [concat]}\n"
    assert moves(plain, rules) == {"v": ("w", "w_1", "w_2")}


def test_spread_names_as_many_results_as_there_are() -> None:
    source = specs("a/w", **{"a/w": (3, 2)})
    rules = "  - {from: '{x}/w', to: '{x}/v{n:suffix}/{n+1}', spread: n, apply: [unstack]}\n"
    plan = plan_for(source, "rules:\n" + rules)
    assert [(step.target, step.shape) for step in plan.steps] == [
        ("a/v/1", (2,)),
        ("a/v_1/2", (2,)),
        ("a/v_2/3", (2,)),
    ]


def test_when_asks_what_else_is_there() -> None:
    source = specs("b0/conv/w", "b1/conv/w", "b1/conv_1/w")
    rules = (
        "  - from: 'b{i:int}/conv/w'\n    to: 'p{i}'\n    when: {missing: 'b{i}/conv_1/w'}\n"
        "  - {from: 'b{i:int}/conv/w', to: 'e{i}', when: {exists: ['b{i}/conv_1/w']}}\n"
        "  - {from: 'b{i:int}/conv_1/w', to: 'p{i}'}\n"
    )
    assert moves(source, rules) == {
        "p0": ("b0/conv/w",),
        "e1": ("b1/conv/w",),
        "p1": ("b1/conv_1/w",),
    }


def test_when_asks_for_parameters() -> None:
    yaml = (
        "params: {kind: a, top: true}\nunmatched: keep\nrules:\n"
        "  - {from: w, to: x, when: {param: {kind: [b, c]}}}\n"
        "  - {from: w, to: y, when: {param: {kind: a, top: true}}}\n"
    )
    assert [step.target for step in plan_for(specs("w"), yaml).steps] == ["y"]
    plan = plan_for(specs("w"), yaml, params={"kind": "c"})
    assert [step.target for step in plan.steps] == ["x"]


def test_a_constant_needs_no_source() -> None:
    yaml = (
        "params: {n: 3}\nrules:\n  - {from: a, to: b}\n"
        "  - {to: [z, y], apply: [{zeros: {shape: [$n], dtype: int32}}]}\n"
        "  - {to: o, apply: [{ones: {shape: [1]}}], when: {exists: nothing}}\n"
    )
    plan = plan_for(specs("a"), yaml)
    assert [(s.target, s.sources, s.dtype, s.shape) for s in plan.steps[1:]] == [
        ("z", (), "int32", (3,)),
        ("y", (), "int32", (3,)),
    ]


def test_drop_takes_a_list() -> None:
    plan = plan_for(
        specs("a", "b", "c"), "rules:\n  - {from: [a, b], drop: true}\n  - {from: c, to: d}\n"
    )
    assert dict(plan.dropped) == {"a": "m.yaml:2:13", "b": "m.yaml:2:16"}


WRONG_PLANS = [
    # rules, code, place
    ("  - {from: ['l{i:int}/w', 'l{i:int}/v'], to: 'x{i}', apply: [concat]}\n", "MAP022", "3:6"),
    ("  - {from: 'p_{k:int}', to: x, collect: k, apply: [concat]}\n", "MAP022", "3:6"),
    ("  - {from: 'l{i:int}/w', to: 'x{i-1}'}\n", "MAP024", "3:6"),
    ("  - {to: 'x{1-2}', apply: [{zeros: {shape: [1]}}]}\n", "MAP024", "3:6"),
    ("  - {from: 'n_{k:int}', to: x, collect: k, apply: [concat]}\n", "MAP024", "3:6"),
    ("  - {from: 'n_{k:int}', to: 'x{k+1}'}\n", "MAP024", "3:6"),
    ("  - {from: ['gone{i:suffix}', 'n{i:suffix}'], to: [x, 'y{i}']}\n", "MAP012", "3:6"),
    ("  - {from: 're:l([0-9]+)/(.)', to: 'x{2:suffix}'}\n", "MAP024", "3:6"),
    ("  - {from: 'l{i:int}/w', to: 'x{i}', apply: [{reshape: [3]}]}\n", "MAP018", "3:46"),
    ("  - {from: 'l{i:int}/w', to: 'x{i}', apply: [unstack]}\n", "MAP017", "3:45"),
    ("  - {from: 'l{i:int}/w', to: 'x', apply: [transpose]}\n", "MAP011", "3:6"),
]  # fmt: skip


@pytest.mark.parametrize(("rules", "code", "place"), WRONG_PLANS)
def test_plans_that_cannot_be(rules: str, code: str, place: str) -> None:
    source = specs("l0/w", "l1/w", "l1/v", "p_0", "p_2", f"n_{'9' * 5000}")
    with pytest.raises(MappingError) as raised:
        plan_for(source, "unmatched: keep\nrules:\n" + rules)
    assert {(found, where) for found, where in told(raised.value)} == {(code, f"m.yaml:{place}")}


@pytest.mark.parametrize("numbers", [(2, 3), (0, 2), (1, 3)])
def test_parts_that_are_missing_are_told(numbers: tuple[int, ...]) -> None:
    yaml = "rules:\n  - {from: 'p_{k:int}', to: x, collect: k, apply: [concat]}\n"
    with pytest.raises(MappingError) as raised:
        plan_for(specs(*(f"p_{number}" for number in numbers)), yaml)
    assert told(raised.value) == [("MAP022", "m.yaml:2:6")]
    with pytest.raises(MappingError) as raised:
        plan_for(specs("p_0", "p_00"), yaml)
    assert "twice" in raised.value.problems[0].message


def test_a_group_that_an_earlier_rule_has_torn() -> None:
    yaml = (
        "rules:\n  - {from: '**/v', drop: true}\n"
        "  - {from: ['l{i:int}/w', 'l{i:int}/v'], to: 'x{i}', apply: [concat]}\n"
    )
    with pytest.raises(MappingError) as raised:
        plan_for(specs("l0/w", "l0/v"), yaml)
    assert told(raised.value) == [("MAP022", "m.yaml:3:6")]
    assert "taken by m.yaml:2:6" in raised.value.problems[0].message


def test_a_lost_first_source_is_told() -> None:
    yaml = (
        "unmatched: keep\nrules:\n  - {from: ['l{i:int}/w', 'l{i:int}/v'], to: ['x{i}', 'y{i}']}\n"
    )
    with pytest.raises(MappingError) as raised:
        plan_for(specs("l0/w", "l0/v", "l1/v"), yaml)
    assert told(raised.value) == [("MAP022", "m.yaml:3:6")]
    assert "l1/w is missing" in raised.value.problems[0].message


def test_misfits_of_many_layers_are_told_a_few_times() -> None:
    source = specs(*(f"l{i}/w" for i in range(50)))
    yaml = "rules:\n  - {from: 'l{i:int}/w', to: 'x{i}', apply: [{reshape: [3]}]}\n"
    with pytest.raises(MappingError) as raised:
        plan_for(source, yaml)
    assert len(raised.value.problems) == 4
    assert "l0/w float32 [2]" in (raised.value.problems[0].found or "")


# --- slots and averages ----------------------------------------------------------------------

TRAINED = {
    **specs("a/w", "a/w/Adam", "a/w/Adam_1", "a/w/ExponentialMovingAverage", "b/w", "global_step"),
    **{n: TensorSpec(n, "float32", (4, 2)) for n in ("a/w", "a/w/Adam", "a/w/Adam_1")},
    "a/w/ExponentialMovingAverage": TensorSpec("a/w/ExponentialMovingAverage", "float32", (4, 2)),
    "global_step": TensorSpec("global_step", "int64", ()),
}  # fmt: skip


def operations(plan: Plan) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    return {step.target: (step.sources, step.operations) for step in plan.steps}


def test_slots_go_through_the_transforms_of_their_variable() -> None:
    yaml = (
        "slots: follow\nunmatched: keep\nrules:\n"
        "  - {from: a/w, to: [x, y], apply: [{add: 1.0}, {split: {axis: 0, sizes: [1, 3]}}]}\n"
    )
    found = operations(plan_for(TRAINED, yaml))
    for suffix, source in (("/Adam", "a/w/Adam"), ("/Adam_1", "a/w/Adam_1")):
        assert [found[f"{name}{suffix}"][0] for name in "xy"] == [(source,)] * 2
        assert all("add" not in word for word in found[f"x{suffix}"][1])
    # An average is a weight: all is done to it.
    average = found["x/ExponentialMovingAverage"]
    assert average[0] == ("a/w/ExponentialMovingAverage",)
    assert "add" in average[1][0]


def test_slots_follow_a_rule_that_matches_them_too() -> None:
    source = {name: TRAINED[name] for name in ("a/w", "a/w/Adam")}
    found = operations(
        plan_for(source, "rules:\n  - {from: '**', to: 'n/**', apply: [{add: 1}]}\n")
    )
    assert found == {
        "n/a/w": (("a/w",), ("add 1",)),
        "n/a/w/Adam": (("a/w/Adam",), ()),
    }


def test_slots_that_cannot_follow_are_told() -> None:
    yaml = "unmatched: keep\nrules:\n  - {from: a/w, to: x, apply: [{scale: 2}]}\n"
    with pytest.raises(MappingError) as raised:
        plan_for(TRAINED, "slots: follow\n" + yaml)
    assert told(raised.value) == [("MAP019", "m.yaml:4:32")]
    assert len(plan_for(TRAINED, "slots: drop\n" + yaml).steps) == 4
    joined = (
        "unmatched: keep\nrules:\n"
        "  - {from: [a/w, b/w], to: [x, y], apply: [{each: [[transpose], []]}]}\n"
    )
    with pytest.raises(MappingError) as raised:
        plan_for(TRAINED, joined)
    assert {code for code, _ in told(raised.value)} == {"MAP019"}
    assert "a/w/Adam and no b/w/Adam" in raised.value.problems[0].message


def test_averages_take_the_place_of_their_variables() -> None:
    yaml = (
        "averages: use\nslots: drop\nunmatched: keep\nrules:\n"
        "  - {from: a/w, to: x, apply: [transpose]}\n  - {from: b/**, to: y/**}\n"
    )
    plan = plan_for(TRAINED, yaml)
    assert operations(plan) == {
        "x": (("a/w/ExponentialMovingAverage",), ("averages: use", "transpose")),
        "y/w": (("b/w",), ()),
        "global_step": (("global_step",), ()),
    }
    assert dict(plan.dropped)["a/w"] == "averages: use"
    assert [(w.code, w.found) for w in plan.warnings] == [("MAP026", "1: b/w")]
    renamed = plan_for(
        TRAINED, "averages: use\nslots: drop\nrules:\n  - {from: '**', to: 'n/**'}\n"
    )
    assert "n/a/w/ExponentialMovingAverage" not in operations(renamed)
    assert operations(renamed)["n/a/w"] == (("a/w/ExponentialMovingAverage",), ("averages: use",))
    without = plan_for(specs("a"), "averages: use\n")
    assert [w.code for w in without.warnings] == ["MAP026"]


def test_slots_are_left_out_where_a_format_has_no_place_for_them() -> None:
    rules = compile_rules(load_rules_text("rules:\n  - {from: a, to: b}\n"))
    assert [rules.slots_for(target) for target in ("tf1", "npz", "keras", "tf2")] == [
        "follow", "follow", "drop", "drop",
    ]  # fmt: skip
    told_so = compile_rules(load_rules_text("slots: follow\n"))
    assert told_so.slots_for("keras") == "follow"


def load_rules_text(text: str) -> Document:
    return parse_document(text, "m.yaml")


# --- included files --------------------------------------------------------------------------


def write(folder: Path, **files: str) -> str:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder / "main.yaml")


def included(path: str, source: dict[str, TensorSpec], **options: object) -> dict[str, str]:
    rules = compile_rules(load_document(path, "main.yaml"), **options)  # type: ignore[arg-type]
    plan = make_plan(source, rules, {}, source="c")
    return {step.sources[0]: step.target for step in plan.steps}


def test_rules_of_another_file_stand_where_they_are_included(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main=(
            "params: {to: top}\nassumes: {x: 1}\ncaveats: first\nrules:\n"
            "  - {from: a/w, to: first}\n"
            "  - {include: part.yaml, set: {scope: $to, old: a}}\n  - {from: '**', to: 'rest/**'}\n"
        ),
        part=(
            "params: {scope: , old: }\nassumes: {x: 2, y: $scope}\ncaveats: [second]\n"
            "rules:\n  - {from: '$old/{x}', to: '$scope/{x}'}\n"
        ),
    )
    source = specs("a/w", "a/v", "b/w")
    assert included(path, source) == {"a/w": "first", "a/v": "top/v", "b/w": "rest/b/w"}
    rules = compile_rules(load_document(path), params={"to": "other"})
    assert rules.assumes == {"x": 1, "y": "other"}
    assert rules.caveats == ("first", "second")


def test_parameters_of_an_included_file_can_be_given_from_outside(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        main="include: [part.yaml]\nrules:\n  - {from: b, to: c}\n",
        part="params: {scope: here}\nrules:\n  - {from: a, to: $scope/a}\n",
    )
    source = specs("a", "b")
    assert included(path, source) == {"a": "here/a", "b": "c"}
    assert included(path, source, params={"scope": "there"})["a"] == "there/a"


def test_a_built_in_file_can_be_included() -> None:
    rules = compile_rules(load_rules_text("rules:\n  - {include: add_scope, set: {scope: x}}\n"))
    assert make_plan(specs("w"), rules, {}, source="c").steps[0].target == "x/w"


REFUSED = [
    ({"main": "include: main.yaml\n"}, "MAP016", "main.yaml:1:10"),
    ({"main": "include: b.yaml\n", "b": "include: main.yaml\n"}, "MAP016", "b.yaml:1:10"),
    ({"main": "include: ../outside.yaml\n"}, "MAP016", "main.yaml:1:10"),
    ({"main": "include: b.yaml\n", "b": "rules:\n  - {from: '{'}\n"}, "MAP002", "b.yaml:2:5"),
    ({"main": "include: b.yml\n"}, "MAP006", "main.yaml:1:10"),
    ({"main": "include: {set: {}}\n"}, "MAP002", "main.yaml:1:10"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "code", "where"), REFUSED)
def test_includes_that_cannot_be(
    tmp_path: Path, files: dict[str, str], code: str, where: str
) -> None:
    (tmp_path / "outside.yaml").write_text("rules: []\n")
    path = write(tmp_path / "in", **files)
    with pytest.raises(MappingError) as raised:
        compile_rules(load_document(path, "main.yaml"))
    assert (code, where) in told(raised.value)


def test_a_long_chain_of_includes_ends(tmp_path: Path) -> None:
    files = {f"f{i}": f"include: f{i + 1}.yaml\n" for i in range(30)}
    path = write(tmp_path, main="include: f0.yaml\n", f30="rules: []\n", **files)
    with pytest.raises(MappingError) as raised:
        compile_rules(load_document(path, "main.yaml"))
    assert [problem.code for problem in raised.value.problems] == ["MAP007"]
