"""Renamed tensors: what is claimed, what is not, and the rules that come of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_makers import Bundle
from support import memory_checkpoint

from ckpttool.analysis.diff import DiffOptions, DiffResult, diff
from ckpttool.analysis.renames import RenameRule, rename_rules
from ckpttool.checkpoint import Checkpoint
from ckpttool.formats.bundle import open_bundle
from ckpttool.mapping.comparing import through
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
