"""Plans: where each name goes, slots with their variables, and every check."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remap_support import plan_for, renames, specs, told

from ckpttool.analysis.roles import Role
from ckpttool.errors import MappingError
from ckpttool.mapping.language.rules import quick_rules
from ckpttool.mapping.planning.plan import Plan, make_plan, plan_data
from ckpttool.tensors import TensorSpec

POWERS = {"beta1_power": (), "beta2_power": (), "global_step": ()}
TRAINED = specs(
    "beta1_power",
    "beta2_power",
    "emb/part_0/Adam",
    "emb",
    "global_step",
    "net/a/w",
    "net/a/w/Adam",
    "net/a/w/Adam_1",
    "net/a/w/ExponentialMovingAverage",
    "net/b/w",
    "opt/net/b/w/Adam",
    "t5/w",
    "t5/w_slot_v",
    **POWERS,
)


def problems(yaml: str, source: dict[str, TensorSpec]) -> list[tuple[str, str | None]]:
    with pytest.raises(MappingError) as raised:
        plan_for(source, yaml)
    return told(raised.value)


def dropped(plan: Plan) -> dict[str, str]:
    return dict(plan.dropped)


def test_followers_go_where_their_variable_goes() -> None:
    yaml = (
        "unmatched: keep\nrules:\n"
        "  - {from: net/a/w, to: x/k}\n"
        "  - {from: net/b/w, to: y/k}\n"
        "  - {from: emb, to: table}\n"
        "  - {from: t5/w, to: t5/k}\n"
    )
    moves = renames(plan_for(TRAINED, yaml))
    assert moves["net/a/w/Adam"] == "x/k/Adam"
    assert moves["net/a/w/Adam_1"] == "x/k/Adam_1"
    assert moves["net/a/w/ExponentialMovingAverage"] == "x/k/ExponentialMovingAverage"
    assert moves["opt/net/b/w/Adam"] == "opt/y/k/Adam"
    assert moves["emb/part_0/Adam"] == "table/part_0/Adam"
    assert moves["t5/w_slot_v"] == "t5/k_slot_v"
    assert moves["beta1_power"] == "beta1_power"


def test_a_later_general_rule_does_not_tear_slots_off() -> None:
    source = specs("old/w", "old/w/Adam", "old/v", "old/v/Adam")
    yaml = "rules:\n  - {from: old/w, to: special}\n  - {from: old/**, to: new/**}\n"
    assert renames(plan_for(source, yaml)) == {
        "old/w": "special",
        "old/w/Adam": "special/Adam",
        "old/v": "new/v",
        "old/v/Adam": "new/v/Adam",
    }


def test_a_rule_about_slots_is_obeyed() -> None:
    source = specs("a/w", "a/w/Adam")
    yaml = "rules:\n  - {from: a/w, to: b/w}\n  - {from: '**/Adam', to: 'slots/**'}\n"
    assert renames(plan_for(source, yaml)) == {"a/w": "b/w", "a/w/Adam": "slots/a/w"}
    yaml = "slots: drop\nrules:\n  - {from: a/w, to: b/w}\n  - {from: a/w/Adam, to: kept}\n"
    assert renames(plan_for(source, yaml)) == {"a/w": "b/w", "a/w/Adam": "kept"}
    yaml = "rules:\n  - {from: '**/Adam', drop: true}\n  - {from: a/**, to: b/**}\n"
    assert dropped(plan_for(source, yaml)) == {"a/w/Adam": "m.yaml:2:6"}


def test_a_rule_before_the_variables_own_is_obeyed() -> None:
    source = specs("a/w", "a/w/Adam", "a/v")
    yaml = "rules:\n  - {from: 're:a/(v|w/Adam)', to: 'x/{1}'}\n  - {from: a/w, to: b}\n"
    assert renames(plan_for(source, yaml)) == {"a/w": "b", "a/w/Adam": "x/w/Adam", "a/v": "x/v"}


def test_dropping_a_variable_drops_its_followers() -> None:
    plan = plan_for(TRAINED, "unmatched: keep\nrules:\n  - {from: net/a/w, drop: true}\n")
    assert dropped(plan) == {
        "net/a/w": "m.yaml:3:6",
        "net/a/w/Adam": "m.yaml:3:6 (slots: follow)",
        "net/a/w/Adam_1": "m.yaml:3:6 (slots: follow)",
        "net/a/w/ExponentialMovingAverage": "m.yaml:3:6 (slots: follow)",
    }


def test_dropping_under_a_condition() -> None:
    source = specs("a/w", "a/w/Adam", "a/buffer", "b/buffer", "b/w")
    yaml = (
        "unmatched: keep\nrules:\n"
        "  - {from: '{x}/buffer', drop: true, when: {exists: '{x}/w/Adam'}}\n"
    )
    plan = plan_for(source, yaml)
    assert dropped(plan) == {"a/buffer": "m.yaml:3:6"}
    assert renames(plan)["b/buffer"] == "b/buffer"


def test_slots_drop() -> None:
    plan = plan_for(TRAINED, "slots: drop\n")
    assert set(dropped(plan)) == {
        "beta1_power",
        "beta2_power",
        "emb/part_0/Adam",
        "net/a/w/Adam",
        "net/a/w/Adam_1",
        "opt/net/b/w/Adam",
        "t5/w_slot_v",
    }
    assert set(dropped(plan).values()) == {"slots: drop"}
    assert "global_step" in renames(plan)
    assert "net/a/w/ExponentialMovingAverage" in renames(plan)


def test_a_general_rule_does_not_keep_slots_that_are_dropped() -> None:
    source = specs("old/w", "old/w/Adam")
    plan = plan_for(source, "slots: drop\nrules:\n  - {from: old/**, to: new/**}\n")
    assert renames(plan) == {"old/w": "new/w"}


def test_averages_ignore() -> None:
    plan = plan_for(TRAINED, "averages: ignore\n")
    assert dropped(plan) == {"net/a/w/ExponentialMovingAverage": "averages: ignore"}


def test_roles_come_from_the_caller() -> None:
    source = specs("w", "odd")
    rules = quick_rules(rename=["w=v"])
    plan = make_plan(source, rules, {"odd": Role("slot", "w", False)}, source="c")
    assert renames(plan) == {"w": "v", "odd": "odd"}
    plan = make_plan(source, quick_rules(slots="drop"), {"odd": Role("slot", "w")}, source="c")
    assert dropped(plan) == {"odd": "slots: drop"}
    circle = {"w": Role("slot", "odd"), "odd": Role("slot", "w")}
    assert len(make_plan(source, quick_rules(), circle, source="c").steps) == 2


def test_chains_of_followers() -> None:
    source = specs("w", "w/Adam", "w/Adam/ExponentialMovingAverage")
    roles = {
        "w/Adam": Role("slot", "w"),
        "w/Adam/ExponentialMovingAverage": Role("average", "w/Adam"),
    }
    plan = make_plan(source, quick_rules(rename=["w=v"]), roles, source="c")
    assert renames(plan)["w/Adam/ExponentialMovingAverage"] == "v/Adam/ExponentialMovingAverage"


def test_an_object_graph_has_no_place() -> None:
    source = specs("a/.ATTRIBUTES/VARIABLE_VALUE", "_CHECKPOINTABLE_OBJECT_GRAPH")
    plan = plan_for(source, "rules:\n  - {from: '{x}/.ATTRIBUTES/VARIABLE_VALUE', to: '{x}'}\n")
    assert renames(plan) == {"a/.ATTRIBUTES/VARIABLE_VALUE": "a"}
    assert list(dropped(plan)) == ["_CHECKPOINTABLE_OBJECT_GRAPH"]


def test_unmatched_names() -> None:
    source = specs("a/w", "b/w", "b/w/Adam", "c/w")
    yaml = "rules:\n  - {from: a/w, to: x}\n"
    with pytest.raises(MappingError) as raised:
        plan_for(source, yaml)
    assert [(p.code, p.found) for p in raised.value.problems] == [
        ("MAP010", "b/w"),
        ("MAP010", "c/w"),
        ("MAP010", "2 of 4 names"),
    ]
    assert renames(plan_for(source, "unmatched: keep\n" + yaml))["b/w"] == "b/w"
    assert dropped(plan_for(source, "unmatched: drop\n" + yaml)) == {
        "b/w": "unmatched: drop",
        "b/w/Adam": "unmatched: drop (slots: follow)",
        "c/w": "unmatched: drop",
    }


def test_a_caveat_tells_why_no_rule_has_a_name() -> None:
    yaml = (
        "caveats: [no peepholes (w_f_diag), no projection/kernel, kernel is a word]\n"
        "rules:\n  - {from: a/w, to: b}\n"
    )
    names = ("a/w", "c/w_f_diag", "d/projection/kernel", "e/kernel", "f/w_f_diag")
    with pytest.raises(MappingError) as raised:
        plan_for(specs(*names), yaml)
    hints = {problem.found: problem.hint for problem in raised.value.problems}
    assert hints["c/w_f_diag"] == "no peepholes (w_f_diag)"
    assert hints["d/projection/kernel"] == "no projection/kernel"
    assert hints["e/kernel"] is None
    assert hints["f/w_f_diag"] is None, "a caveat is told once"


def test_many_unmatched_names_are_counted() -> None:
    source = specs("a", *(f"v_{number}" for number in range(250)))
    with pytest.raises(MappingError) as raised:
        plan_for(source, "rules:\n  - {from: a, to: b}\n")
    assert [problem.found for problem in raised.value.problems[-2:]] == [
        "150 more names",
        "250 of 251 names",
    ]


def test_collisions_tell_both_sources_and_rules() -> None:
    yaml = "unmatched: keep\nrules:\n  - {from: a/w, to: x/w}\n  - {from: b/*, to: x/*}\n"
    with pytest.raises(MappingError) as raised:
        plan_for(specs("a/w", "b/w", "c"), yaml)
    (problem,) = raised.value.problems
    assert problem.code == "MAP011"
    assert problem.message == "2 names would become x/w"
    assert problem.found == (
        "a/w by m.yaml:3:6 (from: a/w to: x/w); b/w by m.yaml:4:6 (from: b/* to: x/*)"
    )


def test_collisions_with_what_is_kept_and_with_followers() -> None:
    yaml = "unmatched: keep\nrules:\n  - {from: a, to: b}\n"
    with pytest.raises(MappingError) as raised:
        plan_for(specs("a", "a/Adam", "b", "b/Adam"), yaml)
    assert [problem.message for problem in raised.value.problems] == [
        "2 names would become b",
        "2 names would become b/Adam",
    ]
    assert "unmatched: keep" in (raised.value.problems[0].found or "")
    assert "following a" in (raised.value.problems[1].found or "")


def test_names_may_change_places() -> None:
    yaml = "rules:\n  - {from: a, to: b}\n  - {from: b, to: a}\n"
    assert renames(plan_for(specs("a", "b"), yaml)) == {"a": "b", "b": "a"}


def test_a_rule_that_matches_nothing_names_the_nearest() -> None:
    source = specs(
        "bert/encoder/layer_0/w", "bert/encoder/layer_1/w", "bert/pooler/w", "global_step"
    )
    yaml = "unmatched: keep\nrules:\n  - from: encoder/layer_{i}/**\n    to: x/{i}/**\n"
    with pytest.raises(MappingError) as raised:
        plan_for(source, yaml)
    (problem,) = raised.value.problems
    assert problem.code == "MAP012"
    assert problem.message == "rule matches nothing"
    assert problem.where == "m.yaml:3:5   from: encoder/layer_{i}/**"
    assert problem.found == "0 of 4 names; nearest: bert/encoder/layer_0"
    assert problem.hint == "ckpttool tree model.ckpt --match 'bert/**'"


@pytest.mark.parametrize(
    ("pattern", "nearest"),
    [
        ("pooler/w", "bert/pooler/w"),
        ("bert/pooler", "bert/pooler"),
        ("bert/encoder/layer_{i}", "bert/encoder/layer_0"),
        ("bret/pooler/w", "bert/pooler/w"),
        ("re:bret/pooler/.*", "bert/pooler"),
    ],
)
def test_the_nearest_of_a_pattern(pattern: str, nearest: str) -> None:
    source = specs("bert/encoder/layer_0/w", "bert/pooler/w")
    yaml = f"unmatched: keep\nrules:\n  - {{from: '{pattern}', drop: true}}\n"
    with pytest.raises(MappingError) as raised:
        plan_for(source, yaml)
    assert f"nearest: {nearest}" in (raised.value.problems[0].found or "")


def test_a_rule_that_earlier_ones_leave_nothing_says_so() -> None:
    yaml = "rules:\n  - {from: a/**, to: b/**}\n  - {from: a/w, to: c}\n"
    with pytest.raises(MappingError) as raised:
        plan_for(specs("a/w"), yaml)
    (problem,) = raised.value.problems
    assert (problem.code, problem.where) == ("MAP012", "m.yaml:3:6   from: a/w")
    assert "never used" in problem.message
    assert problem.found == "1 of 1 names, taken by m.yaml:2:6"


def test_optional_rules_may_match_nothing_but_not_all_of_them() -> None:
    yaml = "rules:\n  - {from: a, to: b}\n  - {from: x, to: y, optional: true}\n"
    assert renames(plan_for(specs("a"), yaml)) == {"a": "b"}
    yaml = "unmatched: keep\nrules:\n  - {from: x, to: y, optional: true}\n"
    assert problems(yaml, specs("a")) == [("MAP012", "m.yaml")]


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("a/x", "{from: 're:a/x(y?)', to: '{1}'}"),
        ("a/x", '{from: a/x, to: "\\0x"}'),
        ("a/x", "{from: a/x, to: _CHECKPOINTABLE_OBJECT_GRAPH}"),
        ("a/" + "x" * 70_000, "{from: 'a/{x}', to: 'b/{x}'}"),
    ],
)
def test_invalid_targets(name: str, rule: str) -> None:
    assert problems(f"rules:\n  - {rule}\n", specs(name)) == [("MAP013", "m.yaml:2:6")]


def test_a_name_that_cannot_be_encoded() -> None:
    assert problems('rules:\n  - {from: a, to: "\\ud800"}\n', specs("a"))[0][0] in (
        "MAP001",  # libyaml refuses it itself
        "MAP013",
    )
    with pytest.raises(MappingError) as raised:
        make_plan(specs("a"), quick_rules(add_prefix="\ud800/"), {}, source="c")
    assert [problem.code for problem in raised.value.problems] == ["MAP013"]


def test_every_kind_of_problem_is_told_at_once() -> None:
    yaml = (
        "rules:\n  - {from: a, to: x}\n  - {from: b, to: x}\n  - {from: nothing, to: y}\n"
        "  - {from: '{e}mpty', to: '{e}', where: {e: e}}\n"
        "  - {from: 're:(q?)zero', to: '{1}'}\n"
    )
    codes = {code for code, _ in problems(yaml, specs("a", "b", "c", "empty", "zero"))}
    assert codes == {"MAP010", "MAP011", "MAP012", "MAP013"}


def test_a_slot_that_is_kept_without_its_variable_is_a_warning() -> None:
    yaml = "rules:\n  - {from: a/w/Adam, to: kept}\n  - {from: a/w, drop: true}\n"
    plan = plan_for(specs("a/w", "a/w/Adam"), yaml)
    assert [(w.code, w.where) for w in plan.warnings] == [("MAP014", "m.yaml:2:6   from: a/w/Adam")]
    assert plan_for(specs("a/w"), "rules:\n  - {from: a/w, drop: true}\n").warnings == ()


def test_targets_that_differ_by_case_only_are_a_warning() -> None:
    yaml = "unmatched: keep\nrules:\n  - {from: a/w, to: Net/w}\n"
    plan = plan_for(specs("a/w", "net/w"), yaml)
    assert [(w.code, w.found) for w in plan.warnings] == [("MAP015", "Net/w, net/w")]
    as_it_was = plan_for(
        specs("a", "Net/w", "net/w"), "unmatched: keep\nrules:\n  - {from: a, to: b}\n"
    )
    assert as_it_was.warnings == ()


def test_plan_as_plain_data() -> None:
    yaml = "rules:\n  - {from: a, to: b}\n  - {from: c, drop: true}\n"
    plan = plan_for(specs("a", "c", a=(2, 3)), yaml)
    assert plan_data(plan) == {
        "plan": [
            {
                "target": "b",
                "sources": ["a"],
                "operations": [],
                "dtype": "float32",
                "shape": [2, 3],
                "rule": "m.yaml:2:6",
            }
        ],
        "dropped": [{"name": "c", "rule": "m.yaml:3:6"}],
    }
    assert plan.renamed == 1


@given(st.lists(st.sampled_from(["a", "b", "w", "x_1"]), min_size=1, max_size=4), st.data())
@settings(max_examples=60, deadline=None)
def test_renaming_there_and_back_changes_nothing(parts: list[str], data: st.DataObject) -> None:
    names = {"old/" + "/".join(parts)}
    names |= {
        "old/" + "/".join(data.draw(st.lists(st.sampled_from(parts), min_size=1, max_size=4)))
        for _ in range(3)
    }
    source = specs(*sorted(names))
    there = plan_for(source, "rules:\n  - {from: old/**, to: new/deep/**}\n")
    middle = specs(*(step.target for step in there.steps))
    back = plan_for(middle, "rules:\n  - {from: new/deep/**, to: old/**}\n")
    moved, returned = renames(there), renames(back)
    assert {name: returned[moved[name]] for name in source} == {name: name for name in source}


@pytest.mark.parametrize(
    "rule",
    [
        "{from: 'n{i:int}', to: t, collect: i, apply: [concat]}",
        "{from: '{x}', to: '{x}', where: {x: {TABLE}}}",
        "{from: '{x}', to: 'b/{x}'}",
    ],
)
def test_a_plan_of_very_many_names_takes_no_more_than_its_share(rule: str) -> None:
    """Calls, not time: four times the names must not take sixteen times the work."""

    def calls(count: int) -> int:
        names = [f"n{number}" for number in range(count)]
        table = ", ".join(f"{name}: m{name}" for name in names)
        source = specs(*names)
        done = 0

        def tell(*_: Any) -> None:
            nonlocal done
            done += 1

        text = f"rules:\n  - {rule.replace('TABLE', table)}\n"
        sys.setprofile(tell)
        try:
            plan_for(source, text)
        finally:
            sys.setprofile(None)
        return done

    calls(10)
    assert calls(1600) < 6 * calls(400)
