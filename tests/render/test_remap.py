"""A plan as people read it: at any width, with what matters and without what repeats."""

from __future__ import annotations

from ckpttool.mapping.execution.execute import RemapResult
from ckpttool.mapping.planning.plan import Dropped, Plan, Step
from ckpttool.render.lines import Layout
from ckpttool.render.remap import remap_lines

SLOTS = tuple(Dropped(f"scope/of/a/variable/kernel/Adam_{n}", "slots: drop") for n in range(50))
PLAN = Plan(
    "run/model.ckpt-3",
    "0" * 8,
    "keras",
    (
        Step("b", ("a",), (), "float32", (2, 3), "my.yaml:4:5"),
        Step("y" * 30, ("x" * 30,), ("transpose",), "float32", (3, 2), "other.yaml:9:1"),
    ),
    (Dropped("step", "my.yaml:7:3"), Dropped("rest", "unmatched: drop"), *SLOTS),
    {"epsilon": 0.001},
    caveats=("a caveat of several words that goes on and on until it is longer than a line",),
    label="my.yaml",
)


def _text(width: int | None, *, every: bool = False, unicode: bool = True) -> list[str]:
    lines = remap_lines(RemapResult(PLAN, None, False, ()), Layout(width, unicode), every=every)
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_a_rule_is_told_by_its_line_in_the_mapping_that_heads_the_plan() -> None:
    text = _text(None)
    assert text[0] == "run/model.ckpt-3  through my.yaml"
    assert "  a" + " " * 29 + " → b  line 4" in text
    assert any(line.endswith("transpose  3×2  other.yaml:9:1") for line in text)
    assert "  step       → dropped  line 7" in text


def test_what_a_policy_drops_is_counted_and_what_no_rule_took_is_named() -> None:
    text = _text(None)
    assert "  50 tensors → dropped  slots: drop" in text
    assert "  rest       → dropped  unmatched: drop" in text
    assert not any("Adam" in line for line in text)
    assert sum("Adam" in line for line in _text(None, every=True)) == 50
    assert text[-2] == "2 tensors to write to keras, 1 renamed, 1 transformed, 52 dropped"


def test_nothing_is_cut_or_wrapped_by_the_terminal() -> None:
    text = _text(68)
    assert [line for line in text if len(line) > 68] == [
        "      → " + "y" * 30 + "  transpose  3×2  other.yaml:9:1"
    ]
    start = next(at for at, line in enumerate(text) if line.startswith("  caveat "))
    assert text[start + 1].startswith(" " * 9)
    assert " ".join(line.strip() for line in text[start : start + 2]).startswith("caveat a caveat")


def test_without_unicode() -> None:
    text = _text(None, unicode=False)
    assert all(line.isascii() for line in text)
    assert any("transpose  3x2" in line for line in text)
