"""Renamed tensors: what is claimed, what is not, and the rules that come of it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_makers import Bundle
from hypothesis import given, settings
from hypothesis import strategies as st
from support import memory_checkpoint

from ckpttool.analysis.diff import DiffOptions, DiffResult, diff
from ckpttool.analysis.renames import RenameRule, rename_rules
from ckpttool.checkpoint import Checkpoint
from ckpttool.formats.tensorflow.bundle import open_bundle
from ckpttool.formats.tensorflow.ordered_code import FULL
from ckpttool.mapping.comparing import exact_rules, moved_keys, through
from ckpttool.mapping.language.rules import RuleSet
from ckpttool.mapping.remap import load_rules
from ckpttool.render.mapping_file import mapping_text

RANDOM = np.random.default_rng(11)


def some(*shape: int) -> Any:
    return RANDOM.normal(size=shape).astype(np.float32)


def renames(a: dict[str, Any], b: dict[str, Any]) -> dict[str, str]:
    result = diff(memory_checkpoint(a), memory_checkpoint(b))
    return {item.a: item.b for item in result.renamed}


def test_equal_content_under_another_name() -> None:
    w, v = some(3, 4), some(3, 4)
    a, b = {"x/w": w, "x/v": v}, {"p": v, "q": w}
    result = diff(memory_checkpoint(a), memory_checkpoint(b))
    assert {(item.a, item.b, item.evidence) for item in result.renamed} == {
        ("x/w", "q", "content"),
        ("x/v", "p", "content"),
    }
    assert (result.added, result.removed, result.changed) == ((), (), ())
    assert all(item.change is None for item in result.renamed)
    assert not result.same


def test_equal_contents_that_are_ambiguous_follow_their_scope() -> None:
    zeros = np.zeros(4, np.float32)
    w, u = some(4, 4), some(4, 4)
    a = {"old/a/w": w, "old/a/b": zeros, "old/c/w": u, "old/c/b": zeros}
    b = {"new/a/w": w, "new/a/b": zeros, "new/c/w": u, "new/c/b": zeros}
    assert renames(a, b) == {name: name.replace("old", "new") for name in a}


def test_what_is_ambiguous_is_not_claimed() -> None:
    zeros = np.zeros(4, np.float32)
    assert renames({"a": zeros, "b": zeros}, {"c": zeros, "d": zeros}) == {}
    assert renames({"a/x": some(2, 2)}, {"b/y": some(2, 2)}) == {}
    assert renames({"alpha": np.float32(0.9)}, {"decay": np.float32(0.9)}) == {}


def test_trained_on_and_renamed() -> None:
    a = {f"net/layer_{i}/weights": some(5, 5) for i in range(3)}
    b = {f"net/layer_{i}/kernel": some(5, 5) for i in range(3)}
    assert renames(a, b) == {name: name.replace("weights", "kernel") for name in a}


def test_a_renamed_tensor_that_changed_has_its_metrics() -> None:
    w, v = some(5, 5), some(5, 5)
    a = {"old/w": w, "old/v": v}
    b = {"new/w": w, "new/v": v + 1}
    result = diff(memory_checkpoint(a), memory_checkpoint(b))
    changes = {item.a: item.change for item in result.renamed}
    assert changes["old/w"] is None
    change = changes["old/v"]
    assert change is not None
    assert change.metrics is not None
    assert change.metrics.max_abs == pytest.approx(1, rel=1e-6)


def test_slots_go_along() -> None:
    a, b = {}, {}
    for name in ("w", "b"):
        for slot in ("", "/Adam", "/Adam_1"):
            array = np.zeros(3, np.float32) if slot else some(3)
            a[f"s/{name}{slot}"] = b[f"t/{name}{slot}"] = array
    assert renames(a, b) == {name: name.replace("s/", "t/", 1) for name in a}


def test_content_is_found_across_formats(tmp_path: Path) -> None:
    w, half = some(3, 3), some(7).astype(np.float16)
    made = Bundle()
    made.add(b"half", half)
    made.add(b"w", w)
    stored = Checkpoint(open_bundle(made.write(tmp_path)))
    other = memory_checkpoint({"x": w, "y": half})
    assert {item.a: item.b for item in diff(stored, other).renamed} == {"w": "x", "half": "y"}
    assert {item.a: item.b for item in diff(other, stored).renamed} == {"x": "w", "y": "half"}


def test_without_renames() -> None:
    w = some(3, 3)
    a, b = memory_checkpoint({"a": w}), memory_checkpoint({"b": w})
    result = diff(a, b, DiffOptions(renames=False))
    assert not result.renamed
    assert [item.name for item in result.added] == ["b"]


# --- rules ---------------------------------------------------------------------------------------


def test_a_whole_scope_is_one_rule() -> None:
    moved = {f"old/l{i}/{leaf}": f"new/l{i}/{leaf}" for i in range(3) for leaf in "wb"}
    assert rename_rules(moved, moved) == [RenameRule("old", "new", True, 6)]
    kept = [*moved, "old/l0/extra"]
    assert {(rule.old, rule.new) for rule in rename_rules(moved, kept) if rule.scope} == {
        ("old/l1", "new/l1"),
        ("old/l2", "new/l2"),
    }


def test_root_and_single_names() -> None:
    down = {"a/w": "m/a/w", "b/w": "m/b/w"}
    assert rename_rules(down, down) == [RenameRule("", "m", True, 2)]
    up = {"m/a/w": "a/w", "m/b/w": "b/w"}
    assert rename_rules(up, up) == [RenameRule("m", "", True, 2)]
    assert rename_rules({"a": "b"}, ["a", "c"]) == [RenameRule("a", "b", False, 1)]


@pytest.mark.parametrize(
    ("names", "change"),
    [
        (["old/a/w", "old/a/w/Adam", "old/b/w", "keep/x"], ("old/", "new/")),
        (["a/w", "b/w"], ("", "deep/er/")),
        (["top/a/w", "top/b/w"], ("top/", "")),
        (["a{x}/w*", "a{x}/v\\", "re:x/$y"], ("a{x}", "b")),
        (["re:x/w", "re:x/v"], ("re:x", "{curly}")),
    ],
)
def test_the_written_mapping_is_the_proof(
    tmp_path: Path, names: list[str], change: tuple[str, str]
) -> None:
    """Compared through the mapping that was written, nothing differs."""
    a = {name: some(3, 2) for name in names}
    old, new = change
    b = {new + n[len(old) :] if n.startswith(old) else n: value for n, value in a.items()}
    first, second = memory_checkpoint(a), memory_checkpoint(b)
    result = diff(first, second)
    rules = rename_rules({item.a: item.b for item in result.renamed}, a)
    path = tmp_path / "map.yaml"
    path.write_text(mapping_text(rules, source="a", target="b"), encoding="utf-8")
    again = diff(first, second, through(DiffOptions(), first, str(path)))
    assert again.same, path.read_text()
    assert set(again.identical) == set(b)


def test_through_a_mapping_what_is_wrong_shows() -> None:
    a = memory_checkpoint({"old/w": some(2), "old/b": some(2), "old/b/Adam": some(2)})
    b = memory_checkpoint({"new/w": a.reader.read("old/w"), "new/b": a.reader.read("old/w")})
    rules = load_rules(
        {"version": 1, "slots": "drop", "rules": [{"from": "old/**", "to": "new/**"}]}
    )
    result: DiffResult = diff(a, b, through(DiffOptions(), a, rules))
    assert result.identical == ("new/w",)
    assert [item.name for item in result.changed] == ["new/b"]
    assert result.dropped == ("old/b/Adam",)


# --- hostile and odd names -----------------------------------------------------------------------


def test_deep_names_take_bounded_time_and_memory() -> None:
    deep = "a/" * 20_000
    w = some(3, 3)
    a = {deep + "x/w": w, deep + "x/b": w[0], deep + "x/c": w[0]}
    b = {deep + "y/w": w, deep + "y/b": w[0], deep + "y/c": w[0]}
    assert renames(a, b)[deep + "x/w"] == deep + "y/w"
    assert len(rename_rules({deep + "x/w": deep + "y/w"}, a)) == 1


def test_a_renamed_partitioned_variable_that_became_whole(tmp_path: Path) -> None:
    array = np.arange(40, dtype=np.float32).reshape(10, 4)
    made, whole = Bundle(), Bundle()
    made.add_slices(b"x/parts", array, [[(0, 3), (0, FULL)], [(3, 7), (0, FULL)]])
    whole.add(b"other", array)
    (tmp_path / "w").mkdir()
    a = Checkpoint(open_bundle(made.write(tmp_path)))
    b = Checkpoint(open_bundle(whole.write(tmp_path / "w")))
    for one, two in ((a, b), (b, a)):
        (found,) = diff(one, two).renamed
        assert (found.evidence, found.change) == ("content", None)


PARTS = ("a", "b", "{", "}", "*", "re:", "$", "\\", "\udcff", "\U0001f600", "é", "\x7f", "\n", '"',
         "#", " ", "/Adam", "/Adam_1", "/ExponentialMovingAverage", "_1", ":", "\u2028", "\x85",
         "\ufeff", "[", "?", "!", "\ufffe")  # fmt: skip
COMPONENTS = st.lists(st.sampled_from(PARTS), max_size=3).map("".join)
NAMES = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join).filter(bool)
LISTS = st.lists(NAMES, min_size=1, max_size=5, unique=True)


@given(LISTS, LISTS, st.sampled_from(["", "p/", "\udc80"]))
@settings(max_examples=100, deadline=None)
def test_the_written_mapping_does_what_was_found(
    names_a: list[str], names_b: list[str], prefix: str
) -> None:
    """Whatever the names, and where slots stay or go: through the mapping, no rename is left."""
    a = {prefix + name: some(3, 2) for name in names_a}
    b = dict(zip(names_b, a.values(), strict=False))
    first, second = memory_checkpoint(a), memory_checkpoint(b)
    options = DiffOptions(strip_prefix_a=prefix)
    result = diff(first, second, options)
    rules = exact_rules(first, moved_keys(first, second, options, result))
    lists = {
        "removed": [item.name for item in result.removed],
        "added": [item.name for item in result.added],
    }
    text = mapping_text(rules, source="a\x7f\U0001f600", target="b\udc80", **lists)
    document = load_rules_text(text)
    again = diff(first, second, through(DiffOptions(), first, document))
    assert not again.renamed, text
    assert {item.name for item in again.added} == set(lists["added"]), text
    assert [item.name for item in again.removed] == [prefix + name for name in lists["removed"]]
    assert len(again.changed) == len(result.changed)


def test_a_slot_that_stays_has_a_rule_of_its_own() -> None:
    """The mapping's slots follow their variables: not those that are the same in both."""
    w, slot = some(3), some(3)
    first = memory_checkpoint({"a/w": w, "a/w/Adam": slot})
    second = memory_checkpoint({"a/v": w, "a/w/Adam": slot})
    result = diff(first, second)
    rules = exact_rules(first, moved_keys(first, second, DiffOptions(), result))
    assert [(rule.old, rule.new) for rule in rules] == [("a/w/Adam", "a/w/Adam"), ("a/w", "a/v")]
    text = mapping_text(rules, source="a", target="b")
    assert diff(first, second, through(DiffOptions(), first, load_rules_text(text))).same


def load_rules_text(text: str) -> RuleSet:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.yaml"
        path.write_bytes(text.encode())
        return load_rules(str(path))
