"""Mappings undone: by the original's shapes, and by the rules alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remap_support import specs, told, write_bundle

from ckpttool.checkpoint import open_checkpoint
from ckpttool.errors import MappingError
from ckpttool.mapping.comparing import diff
from ckpttool.mapping.language.document import document_from
from ckpttool.mapping.language.rules import compile_rules
from ckpttool.mapping.planning.inverse_rules import inverse_rules
from ckpttool.mapping.planning.plan import make_plan
from ckpttool.mapping.remap import load_rules, remap

ARRAYS = {
    "a/w": np.arange(12, dtype=np.float32).reshape(3, 4),
    "a/w/Adam": np.arange(12, 24, dtype=np.float32).reshape(3, 4),
    "dense/kernel": np.ones((2, 2), np.float32),
    "dense_1/kernel": np.zeros((2, 2), np.float32),
    "dense_2/bias": np.arange(5, dtype=np.float32),
    "emb/part_0": np.zeros((2, 2), np.float32),
    "emb/part_1": np.ones((3, 2), np.float32),
    "g/x": np.ones((2, 2), np.float32),
    "g/y": np.zeros((2, 2), np.float32),
}
EXACT: list[dict[str, Any]] = [
    {"from": "a/w", "to": ["k", "r"], "apply": ["transpose", {"split": {"axis": 0, "parts": 2}}]},
    {
        "from": "dense{i:suffix}/{p}",
        "to": "d{i+1}.{p}",
        "where": {"p": {"kernel": "weight", "bias": "b"}},
    },
    {"from": ["g/x", "g/y"], "to": "g", "apply": ["stack"]},
]
COLLECTED = {"from": "emb/part_{k:int}", "collect": "k", "to": "emb", "apply": ["concat"]}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "m", ARRAYS)
    return tmp_path / "m"


def there_and_back(source: Path, rules: list[dict[str, Any]], **options: Any) -> Any:
    mapping = load_rules({"unmatched": "keep", "rules": rules})
    middle, back = str(source.parent / "middle.npz"), str(source.parent / "back")
    with open_checkpoint(str(source)) as a:
        remap(a, mapping, middle)
        with open_checkpoint(middle) as b:
            result = remap(b, mapping, back, inverse=True, **options)
        with open_checkpoint(back) as c:
            return diff(a, c), result


def test_undone_with_the_original(source: Path) -> None:
    result, done = there_and_back(source, [*EXACT, COLLECTED], like=str(source))
    assert result.same
    assert len(result.identical) == len(ARRAYS)
    assert done.notices == ()


def test_undone_by_the_rules_alone(source: Path) -> None:
    result, _ = there_and_back(source, EXACT)
    assert result.same
    assert len(result.identical) == len(ARRAYS)


def test_what_was_dropped_is_told(source: Path) -> None:
    rules = [{"from": "g/x", "drop": True}, {"from": "g/y", "to": "y"}]
    result, done = there_and_back(source, rules, like=str(source))
    assert [item.name for item in result.removed] == ["g/x"]
    assert [(item.code, item.found) for item in done.notices] == [("MAP028", "1: g/x")]


@pytest.mark.parametrize(
    "apply",
    [
        [{"sum_blocks": {"of": 2}}],
        [{"slice": {"axis": 0, "start": 1}}],
        ["square"],
        [{"zeros": {}}],
    ],
)
def test_what_cannot_be_undone_writes_nothing(source: Path, apply: list[Any]) -> None:
    rules = [{"from": "g/x", "to": "g", "apply": apply}]
    for options in ({"like": str(source)}, {}):
        with pytest.raises(MappingError) as raised:
            there_and_back(source, rules, **options)
        assert {problem.code for problem in raised.value.problems} == {"MAP028"}
        assert "rules[0].apply[0]" in (raised.value.problems[0].where or "")
        assert not list(source.parent.glob("back*"))
        (source.parent / "middle.npz").unlink()


def test_a_checkpoint_that_the_mapping_has_not_made(source: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "other", {"k": np.zeros((2, 3), np.float32)})
    for rules in (EXACT, [{"from": "g/x", "to": "y"}]):
        mapping = load_rules({"unmatched": "drop", "rules": rules})
        path, options = str(tmp_path / "other"), {"inverse": True, "like": str(source)}
        with open_checkpoint(path) as other, pytest.raises(MappingError) as raised:
            remap(other, mapping, str(tmp_path / "o"), **options)
        assert {problem.code for problem in raised.value.problems} == {"MAP028"}


REFUSED = [
    {"from": "a/{x}", "to": "b"},
    {"from": "re:a/(.*)", "to": "b/{1}"},
    {"from": "a/{i:int}", "to": "b/{i*2}"},
    {"from": "a/{i:int}", "to": "b/{i}/{i+1}"},
    {"from": "a/{i:int}", "to": "b/{i}", "when": {"exists": "c"}},
    {"from": "a/{x}", "to": "b/{x}", "where": {"x": {"p": "r", "q": "r"}}},
    {"from": "a/{x}", "to": "b/{x.y}", "where": {"x": {"p": {"y": "r"}}}},
    COLLECTED,
    {"from": "a", "to": "b{n}", "spread": "n", "apply": ["unstack"]},
    {"from": "**/a", "to": "b"},
    {"from": "{p:path}/a", "to": "{p:flat}/b"},
]


@pytest.mark.parametrize("rule", REFUSED)
def test_rules_that_need_the_original(rule: dict[str, Any]) -> None:
    with pytest.raises(MappingError) as raised:
        inverse_rules(compile_rules(document_from({"rules": [rule]})))
    assert told(raised.value) == [("MAP028", "mapping: rules[0].from")]
    assert "--like ORIGINAL" in (raised.value.problems[0].hint or "")


MOVES = [
    ({"from": "a/**", "to": "b/**"}, ["a/x", "a/y/z"]),
    ({"from": "**/w", "to": "x/**/v"}, ["w", "a/b/w"]),
    ({"from": "l{i:int}/{p}", "to": "x{i+3}.{p}"}, ["l0/a", "l12/b"]),
    ({"from": "l{i:suffix}/w", "to": "x{i}"}, ["l/w", "l_3/w"]),
    ({"from": "l{i:int}/w", "to": "x{i-1:suffix}"}, ["l1/w", "l2/w"]),
    ({"from": "l{i:suffix}/w", "to": "x{i+1:suffix}"}, ["l/w", "l_2/w"]),
    ({"from": "{p:path}/w", "to": "{p}.v"}, ["a/b/w", "c/w"]),
    ({"from": "{x}/{y}", "to": "{y}/{x}", "where": {"x": ["a", "b"]}}, ["a/c", "b/d"]),
    (
        {"from": "c{i:suffix}", "to": "s{i}", "where": {"i": {0: "first", 1: "second"}}},
        ["c", "c_1"],
    ),
]


@pytest.mark.parametrize(("rule", "names"), MOVES)
def test_names_there_and_back(rule: dict[str, Any], names: list[str]) -> None:
    rules = compile_rules(document_from({"rules": [rule]}))
    there = make_plan(specs(*names), rules, {}, source="c")
    back = make_plan(
        specs(*(step.target for step in there.steps)), inverse_rules(rules), {}, source="c"
    )
    targets = {step.sources[0]: step.target for step in back.steps}
    for step in there.steps:
        assert targets[step.target] == step.sources[0]


@given(
    st.lists(st.sampled_from(["a", "_", "/", "{x}", "{i:int}", "*"]), min_size=1, max_size=5),
    st.permutations(["x", "i"]),
    st.lists(st.text(alphabet="a1_/", min_size=1, max_size=8), min_size=1, max_size=8),
    st.integers(0, 3),
)
@settings(max_examples=100, deadline=None)
def test_there_and_back_is_the_same_name_or_refused(
    pieces: list[str], order: list[str], names: list[str], more: int
) -> None:
    text = "".join(pieces)
    stars = text.count("*")
    places = {"x": "{x}", "i": f"{{i+{more}}}"}
    used = [places[name] for name in order if f"{{{name}" in text]
    target = "/".join(["t", *used, *"*" * stars])
    rows = [{"from": text, "to": target, "optional": True}, {"from": "zz", "to": "zz"}]
    try:
        rules = compile_rules(document_from({"unmatched": "drop", "rules": rows}))
        back = inverse_rules(rules)
    except MappingError:
        return
    for name in names:
        found = rules.first(name)
        if found is None or found.rule.template is None:
            continue
        moved = found.rule.template.render(found.caught)
        returned = back.first(moved)
        if returned is None or returned.rule.template is None:
            raise AssertionError(f"{moved} is not taken back")
        again = returned.rule.template.render(returned.caught)
        if not any(part.startswith("0") and part != "0" for part in found.caught.names.values()):
            assert rules.first(again) is not None
            assert found.rule.template.render(rules.first(again).caught) == moved  # type: ignore[union-attr]
