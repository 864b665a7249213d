"""Many checkpoints: classes, relative changes, watched values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_makers import Bundle
from support import memory_checkpoint, strings

import ckpttool
from ckpttool.analysis.diff import DiffOptions
from ckpttool.analysis.metrics import Tolerance
from ckpttool.analysis.series import SeriesResult, SeriesRow, series, still_scopes, watched
from ckpttool.checkpoint import Checkpoint
from ckpttool.errors import UsageError
from ckpttool.formats.tensorflow.bundle import open_bundle
from ckpttool.render.diff import DiffView
from ckpttool.render.lines import Layout
from ckpttool.render.series import series_lines
from ckpttool.render.sparkline import sparkline
from ckpttool.tensors import dtype_named

PLAIN = Layout(None, False)


def bundles(folder: Path, *steps: dict[str, Any]) -> list[Checkpoint]:
    found = []
    for number, arrays in enumerate(steps):
        made = Bundle()
        for name, array in sorted(arrays.items()):
            made.add(name.encode(), np.asarray(array))
        located = made.write(folder, f"m-{number * 10}")
        found.append(Checkpoint(open_bundle(located._replace(step=number * 10))))
    return found


def follow(folder: Path, name: str, *values: Any, **options: Any) -> SeriesRow:
    steps = [{name: value} if value is not None else {"other": np.int32(0)} for value in values]
    rows = {row.name: row for row in series(bundles(folder, *steps), **options).rows}
    return rows[name]


def f32(*values: float) -> Any:
    return np.array(values, np.float32)


def test_moving(tmp_path: Path) -> None:
    row = follow(tmp_path, "w", f32(3, 4), f32(6, 8), f32(6, 8.5))
    assert row.status == "moving"
    assert row.present == (0, 1, 2)
    assert row.rel_l2 == (None, 1.0, pytest.approx(0.05))
    assert row.norms == (5, 10, pytest.approx(np.hypot(6, 8.5)))


def test_never_moved_and_frozen(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    still = follow(tmp_path, "w", f32(1, 2), f32(1, 2), f32(1, 2))
    assert (still.status, still.rel_l2) == ("never_moved", (None, 0, 0))
    frozen = follow(tmp_path / "b", "w", f32(1, 2), f32(2, 2), f32(2, 2), f32(2, 2))
    assert (frozen.status, frozen.note) == ("frozen", "since 10")
    assert frozen.norms == (pytest.approx(5**0.5), *[pytest.approx(8**0.5)] * 3)


def test_reset_to_an_earlier_value(tmp_path: Path) -> None:
    row = follow(tmp_path, "w", f32(1, 2), f32(2, 2), f32(3, 3), f32(2, 2))
    assert (row.status, row.note) == ("reset", "at 30 as at 10")


def test_reset_without_checksums_in_the_index() -> None:
    steps = [f32(1, 2), f32(2, 2), f32(1, 2)]
    found = [memory_checkpoint({"w": value}, path=f"m{i}") for i, value in enumerate(steps)]
    row = series(found).rows[0]
    assert (row.status, row.note) == ("reset", "at m2 as at m0")


def test_diverging(tmp_path: Path) -> None:
    for number, values in enumerate(
        ((f32(1), f32(2), f32(float("nan"))), (f32(1), f32(2), f32(2000)))
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert follow(folder, "w", *values).status == "diverging"
    (tmp_path / "grow").mkdir()
    assert follow(tmp_path / "grow", "w", f32(1), f32(500), f32(600)).status == "moving"


def test_what_is_not_everywhere(tmp_path: Path) -> None:
    row = follow(tmp_path, "w", None, f32(1), f32(2))
    assert (row.status, row.note) == ("partial", "only in 10, 20")
    assert row.present == (1, 2)
    assert row.rel_l2 == (None, 1.0)
    (tmp_path / "again").mkdir()
    back = follow(tmp_path / "again", "w", f32(1), None, f32(2))
    assert back.present == (0, 2)


def test_a_shape_that_changes(tmp_path: Path) -> None:
    row = follow(tmp_path, "w", f32(1), f32(1, 2), f32(1, 2))
    assert row.shape == (2,)
    assert row.rel_l2[1] is None
    assert row.status == "frozen"


def test_back_to_its_initializer(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [{"b": f32(0.5, 1)}, {"b": f32(3, 4)}, {"b": f32(0, 0)}]
    found = [memory_checkpoint(one, path=str(i)) for i, one in enumerate(steps)]
    assert series(found).rows[0].status == "moving"
    monkeypatch.setattr(Checkpoint, "initializer", lambda *_: "zeros")
    row = series(found).rows[0]
    assert (row.status, row.note) == ("reset", "back to its initializer")


def test_watched_values(tmp_path: Path) -> None:
    row = follow(tmp_path, "w", f32(1, 2, 3), f32(2, 2, 3), f32(4, 2, 3), watch=2)
    assert row.values == ((1, 2), (2, 2), (4, 2))
    (tmp_path / "s").mkdir()
    words = [strings(b"a", b"b"), strings(b"a", b"\xff"), strings(b"a", b"")]
    row = follow(tmp_path / "s", "s", *words, watch=9)
    assert row.values == ((b"a", b"b"), (b"a", b"\xff"), (b"a", b""))


def test_the_tower_that_was_not_shared_stands_out(tmp_path: Path) -> None:
    """The trained tower moves; its unshared twin keeps what it was initialized with."""
    twin = {"tower_1/fc_1/w": f32(3, 1), "tower_1/fc_2/w": f32(4, 1), "b": f32(0)}
    steps = [{**twin, "tower/fc_1/w": f32(i, 1), "tower/fc_2/w": f32(1, i)} for i in range(1, 4)]
    result = series(bundles(tmp_path, *steps))
    assert still_scopes(result.rows) == {"tower_1": 2}
    text = ["".join(part for part, _ in line) for line in series_lines(result, DiffView(), PLAIN)]
    assert "nothing ever moved under tower_1/ (2 variables)" in text
    assert still_scopes(series(bundles(tmp_path, twin, twin, twin)).rows) == {}


def test_selection_and_roles(tmp_path: Path) -> None:
    steps = [{"w": f32(i), "w/Adam": f32(i), "v": f32(i)} for i in range(3)]
    result = series(bundles(tmp_path, *steps), DiffOptions(roles=["slot"]))
    assert [(row.name, row.owner) for row in result.rows] == [("w/Adam", "w")]


# --- the samples ---------------------------------------------------------------------------------


def embedding_run(samples: Path) -> SeriesResult:
    folder = samples / "embedding_run"
    found = [ckpttool.open(str(folder / f"model.ckpt-{step}")) for step in (0, 168, 315)]
    result = ckpttool.diff(*found, watch=3)
    assert isinstance(result, SeriesResult)
    return result


def test_the_embedding_run_reads_as_its_tutorial_says(samples: Path) -> None:
    result = embedding_run(samples)
    assert result.steps == (0, 168, 315)
    status = {row.name: row.status for row in result.rows}
    assert status.pop("frozen_embeddings") == "never_moved"
    assert set(status.values()) == {"moving"}
    frozen = {row.name: row for row in result.rows}["frozen_embeddings"]
    assert frozen.rel_l2 == (None, 0, 0)
    assert frozen.values[0] == frozen.values[2] == pytest.approx((-1, -0.974684, -0.949367))


@pytest.mark.parametrize("width", [None, 120, 60, 30])
@pytest.mark.parametrize("unicode", [True, False])
def test_the_embedding_run_as_text(samples: Path, width: int | None, unicode: bool) -> None:
    lines = series_lines(embedding_run(samples), DiffView(), Layout(width, unicode))
    text = ["".join(part for part, _ in line) for line in lines]
    still = next(line for line in text if "never moved" in line and "frozen" in line)
    assert ("··" if unicode else "__") in still
    assert any("6 moving" in line for line in text)
    if not unicode:
        assert "\n".join(text).isascii()
    if width == 120:
        assert any("4.92" in line and "0.842" in line for line in text)


def test_many_steps_as_text(tmp_path: Path) -> None:
    steps = [{"w": f32(1 + 1 / (i + 1)), "c": f32(1)} for i in range(12)]
    result = series(bundles(tmp_path, *steps))
    lines = series_lines(result, DiffView(), Layout(80, True))
    text = ["".join(part for part, _ in line).rstrip() for line in lines]
    assert max(map(len, text)) <= 80 or str(tmp_path) in max(text, key=len)
    assert any(line.endswith("·" * 11) for line in text)


def test_sparklines() -> None:
    assert sparkline([1.0, 0.1, 0.0, None, float("inf")]) == "█▇· !"
    assert sparkline([1.0, 1e-9], unicode=False) == "@."
    assert sparkline([]) == ""


# --- corners -------------------------------------------------------------------------------------


def memory(*values: Any, name: str = "w", **options: Any) -> list[Checkpoint]:
    return [
        memory_checkpoint({name: value}, path=f"m{index}", **options)
        for index, value in enumerate(values)
    ]


def test_nan_from_the_first_step_on_is_not_diverging() -> None:
    nan = f32(float("nan"), 1)
    row = series(memory(nan, nan, f32(2, 1))).rows[0]
    assert (row.status, row.nan_or_inf) == ("moving", (1, 1, 0))


def test_prefixes_of_a_series() -> None:
    steps = [memory(f32(1), name="p/w")[0], *memory(f32(2), f32(4), name="q/w")]
    rows = series(steps, DiffOptions(strip_prefix_a="p/", strip_prefix_b="q/"), watch=1).rows
    assert [(row.name, row.rel_l2, row.values) for row in rows] == [
        ("w", (None, 1, 1), ((1,), (2,), (4,)))
    ]


def test_what_is_close_has_not_moved() -> None:
    steps = memory(f32(1), f32(1.001), f32(1.002))
    result = series(steps, DiffOptions(tolerance=Tolerance(rtol=0.01)))
    assert result.rows[0].status == "never_moved"
    assert result.rows[0].rel_l2[1] == pytest.approx(0.001, rel=1e-3)
    assert result.same
    assert not series(steps).same


def test_a_mapping_is_for_two() -> None:
    with pytest.raises(UsageError, match="two"):
        ckpttool.diff(*memory(f32(1), f32(1), f32(1)), mapping="add_scope")


def test_a_reset_is_to_the_same_bytes_and_what_they_mean(tmp_path: Path) -> None:
    ones, shaped = f32(1, 1), f32(1, 1).reshape(2, 1)
    assert follow(tmp_path, "w", ones, f32(2, 2), ones).status == "reset"
    (tmp_path / "s").mkdir()
    assert follow(tmp_path / "s", "w", ones, f32(2, 2, 2), shaped).status == "moving"
    (tmp_path / "t").mkdir()
    row = follow(tmp_path / "t", "w", ones, ones, f32(2, 2, 2), ones)
    assert (row.status, row.note) == ("reset", "at 30 as at 0")


def test_each_problem_is_told_once() -> None:
    steps = memory(f32(1), f32(2), f32(3))
    steps[1] = memory(f32(2), damaged=["w"])[0]
    result = series(steps, watch=2)
    assert [problem.code for problem in result.problems] == ["INP005"]
    assert result.rows[0].rel_l2 == (None, None, None)


def test_a_constant_initializer_is_rounded_as_the_variable_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dtype = dtype_named("bfloat16").numpy
    steps = memory(*(np.array([x, x], dtype) for x in (1.0, 2.0, 0.1)))
    monkeypatch.setattr(Checkpoint, "initializer", lambda *_: "constant(0.1)")
    assert series(steps).rows[0].note == "back to its initializer"
    monkeypatch.setattr(Checkpoint, "initializer", lambda *_: "random_uniform(-1, 1)")
    assert series(steps).rows[0].status == "moving"


def test_watched_values_alone() -> None:
    a, b = memory_checkpoint({"p/w": f32(1, 2), "x": f32(3)}), memory_checkpoint({"w": f32(4)})
    found = watched([a, b], DiffOptions(strip_prefix_a="p/", exclude=["x"]), 1)
    assert [(row.name, row.values) for row in found.rows] == [("w", ((1,), (4,)))]


def test_bars_for_many_steps_fit() -> None:
    assert sparkline([1.0, 0.0, None, 0.1], width=2) == "█▇"
    assert sparkline([None, None, float("nan"), 1.0], width=2) == " !"
    steps = memory(*(f32(1 + index) for index in range(200)))
    lines = series_lines(series(steps), DiffView(), Layout(60, True))
    assert max(sum(len(text) for text, _ in line) for line in lines) <= 60
