"""The ``diff`` command as people and scripts run it."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import Run
from format_makers import Bundle
from support import memory_checkpoint, strings

from ckpttool.analysis.diff import DiffOptions, diff
from ckpttool.analysis.metrics import Tolerance
from ckpttool.cli import progress
from ckpttool.render.diff import DiffView, diff_lines
from ckpttool.render.diff_json import diff_body
from ckpttool.render.json import dumps
from ckpttool.render.lines import Layout


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda *arguments: Run(capsys, "diff", *arguments)


@pytest.fixture
def steps(samples: Path) -> list[str]:
    return [str(samples / "embedding_run" / f"model.ckpt-{step}") for step in (0, 168, 315)]


def save(folder: Path, name: str, **arrays: Any) -> str:
    made = Bundle()
    for key, array in sorted(arrays.items()):
        made.add(key.replace("__", "/").encode(), np.asarray(array))
    made.write(folder, name)
    return str(folder / name)


F32 = np.arange(6, dtype=np.float32)


# --- exit codes and JSON -------------------------------------------------------------------------


def test_exit_codes(run: Any, steps: list[str], tmp_path: Path) -> None:
    assert run(steps[0], steps[0]).code == 0
    assert run(steps[0], steps[1]).code == 1
    assert run(steps[0], tmp_path / "nothing").code == 3
    assert run(steps[0], steps[0], "--role", "nonsense").code == 2
    assert run(steps[0], "--full").code == 2


def test_json_of_two(run: Any, steps: list[str]) -> None:
    result = run(steps[0], steps[1], "--json")
    body = result.body()
    assert result.code == 1
    assert (body["schema"], body["command"], body["status"]) == (1, "diff", "finding")
    assert [item["step"] for item in body["checkpoints"]] == [0, 168]
    assert (body["added"], body["removed"], body["renamed"], body["identical"]) == ([], [], [], 1)
    changed = {item["name"]: item for item in body["changed"]}
    assert set(changed) == {
        "embeddings",
        "global_step",
        "nce/biases",
        "nce/weights",
        "softmax/biases",
        "softmax/weights",
    }
    step = changed["global_step"]
    assert (step["kind"], step["max_abs"], step["rel_l2"], step["cosine"]) == (
        "value",
        168,
        "Infinity",
        None,
    )
    contract = {"name", "kind", "a", "b", "max_abs", "mean_abs", "rel_l2", "cosine"}
    assert contract | {"changed_fraction", "nan_a", "nan_b"} <= set(step)
    assert step["a"] == {"dtype": "int64", "shape": []}
    same = run(steps[0], steps[0], "--json").body()
    assert (same["status"], same["identical"], same["changed"]) == ("ok", 7, [])


def test_json_of_a_series(run: Any, steps: list[str], samples: Path) -> None:
    result = run(*steps, "--json", "--watch-values", "2")
    body = result.body()
    assert result.code == 1
    rows = {row["name"]: row for row in body["series"]}
    assert rows["embeddings"]["steps"] == [0, 168, 315]
    assert rows["embeddings"]["rel_l2"][0] is None
    assert rows["embeddings"]["rel_l2"][1] == pytest.approx(4.91752, rel=1e-5)
    assert rows["frozen_embeddings"]["class"] == "never_moved"
    assert len(rows["frozen_embeddings"]["values"]) == 3
    assert body["classes"]["moving"] == 6
    whole = run(samples / "embedding_run", "--all-steps", "--json").body()
    assert [row["rel_l2"] for row in whole["series"]] == [row["rel_l2"] for row in body["series"]]
    assert whole["steps"] == [0, 168, 315]


def test_all_steps_are_in_numerical_order(run: Any, tmp_path: Path) -> None:
    for step in (10, 9, 100):
        save(tmp_path, f"m-{step}", w=F32 + step)
    assert run(tmp_path, "--all-steps", "--json").body()["steps"] == [9, 10, 100]
    assert run(tmp_path / "m-10", "--all-steps").code == 2


def test_json_names_are_whole_and_numbers_finite(run: Any, tmp_path: Path) -> None:
    long = "scope/" * 60 + "w"
    odd = np.array([math.nan, math.inf], np.float32)
    a = save(tmp_path, "a", **{long.replace("/", "__"): F32[:2], "s": strings(b"x")})
    b = save(tmp_path, "b", **{long.replace("/", "__"): odd, "s": strings(b"y")})
    body = run(a, b, "--json").body()
    changed = {item["name"]: item for item in body["changed"]}
    assert (changed[long]["nan_b"], changed[long]["inf_b"]) == (1, 1)
    assert changed[long]["max_abs"] == "Infinity"
    assert changed["s"]["max_abs"] is None
    assert changed["s"]["changed_fraction"] == 1


def test_values_of_two_are_watched(run: Any, steps: list[str]) -> None:
    body = run(steps[0], steps[1], "--watch-values", "2", "--json").body()
    assert [len(one) for one in body["values"]["embeddings"]] == [2, 2]
    text = run(steps[0], steps[1], "--watch-values", "2").out
    assert "-0.10180118" in text


# --- options -------------------------------------------------------------------------------------


def test_fail_on(run: Any, tmp_path: Path) -> None:
    a = save(tmp_path, "a", w=F32, n=F32, gone=np.int32(1))
    b = save(tmp_path, "b", w=F32 + 1, n=np.where(F32 == 2, np.float32(np.nan), F32), new=F32[:2])
    assert run(a, b).code == 1
    for kinds, code in (
        ("added", 1),
        ("shape", 0),
        ("shape,dtype", 0),
        ("dtype, value", 1),
        ("nan", 1),
        ("renamed", 0),
        ("removed", 1),
    ):
        assert run(a, b, "--fail-on", kinds).code == code, kinds
    assert run(a, b, "--fail-on", "added", "--json").body()["status"] == "finding"
    assert run(a, b, "--fail-on", "shape", "--json").body()["status"] == "ok"
    assert run(b, a, "--fail-on", "nan").code == 0  # it went away
    assert run(a, b, "--fail-on", "everything").code == 2


def test_fail_on_classes_of_a_series(run: Any, steps: list[str]) -> None:
    assert run(*steps, "--fail-on", "diverging,reset,nan").code == 0
    assert run(*steps, "--fail-on", "never_moved").code == 1
    assert run(*steps, "--fail-on", "added").code == 2


def test_tolerances(run: Any, tmp_path: Path) -> None:
    a, b = save(tmp_path, "a", w=F32), save(tmp_path, "b", w=F32 + np.float32(1e-4))
    assert run(a, b).code == 1
    result = run(a, b, "--atol", "0.001", "--json")
    assert result.code == 0
    assert [item["name"] for item in result.body()["close"]] == ["w"]
    assert run(a, b, "--rtol", "1e-9").code == 1


def test_mapping_there_and_back(run: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    arrays = {f"old__l{i}__w": random.normal(size=(2, i + 1)) for i in range(3)}
    a = save(tmp_path, "a", **arrays, step=np.int64(3))
    new = {name.replace("old", "net"): value for name, value in arrays.items()}
    b = save(tmp_path, "b", **new, step=np.int64(3))
    target = tmp_path / "map.yaml"
    assert run(a, b, "--write-mapping", target).code == 1
    assert '"old/**"' in target.read_text()
    assert run(a, b, "-m", target).code == 0
    assert run(a, b, "--write-mapping", target).code == 5
    assert run(a, b, "--write-mapping", target, "--force").code == 1
    assert run(a, b, "--no-renames", "--json").body()["renamed"] == []
    assert run(a, b, "--strip-prefix-a", "old/", "--strip-prefix-b", "net/").code == 0
    assert run(a, b, a, "-m", target).code == 2


def test_damage_is_told_and_the_rest_compared(run: Any, tmp_path: Path) -> None:
    a, b = save(tmp_path, "a", w=F32, v=F32), save(tmp_path, "b", w=F32 + 1, v=F32 + 2)
    data = tmp_path / "b.data-00000-of-00001"
    raw = bytearray(data.read_bytes())
    raw[-1] ^= 1
    data.write_bytes(raw)
    result = run(a, b)
    assert result.code == 3
    assert "INP005" in result.err
    body = run(a, b, "--json").body()
    assert body["status"] == "error"
    assert [item["name"] for item in body["changed"]] == ["v"]
    assert body["unreadable"] == ["w"]
    assert body["problems"][0]["code"] == "INP005"
    data.unlink()
    assert run(a, b).code == 3
    assert run(a, a).code == 0  # told by the index alone


def test_values_are_watched_under_the_names_of_the_comparison(run: Any, tmp_path: Path) -> None:
    a, b = save(tmp_path, "a", p__w=F32), save(tmp_path, "b", q__w=F32, q__v=F32[:1])
    target = tmp_path / "map.yaml"
    run(a, b, "--write-mapping", target)
    for options in (("-m", target), ("--strip-prefix-a", "p/", "--strip-prefix-b", "q/")):
        body = run(a, b, *options, "--watch-values", "1", "--json").body()
        assert body["values"] == {
            "q/w" if options[0] == "-m" else "w": [[0.0], [0.0]],
            "q/v" if options[0] == "-m" else "v": [[0.0]],
        }
        assert run(a, b, *options, "--watch-values", "1").code == 1


def test_a_mapping_of_stripped_names_is_in_terms_of_the_files(run: Any, tmp_path: Path) -> None:
    a = save(tmp_path, "a", p__w=F32, p__old__v=F32[:3])
    b = save(tmp_path, "b", w=F32, new__v=F32[:3])
    target = tmp_path / "map.yaml"
    assert run(a, b, "--strip-prefix-a", "p/", "--write-mapping", target).code == 1
    assert run(a, b, "-m", target).code == 0
    assert run(a, b, "-m", target, "--write-mapping", tmp_path / "x").code == 2


def test_shape_and_dtype_at_once_fail_on_either(run: Any, tmp_path: Path) -> None:
    a, b = save(tmp_path, "a", w=F32), save(tmp_path, "b", w=F32[:2].astype(np.int32))
    for kind in ("shape", "dtype"):
        assert run(a, b, "--fail-on", kind).code == 1, kind
    assert run(a, b, "--fail-on", "value").code == 0


def test_tolerances_that_are_no_numbers(run: Any, tmp_path: Path) -> None:
    a = save(tmp_path, "a", w=F32)
    assert run(a, a, "--rtol", "nan").code == 2
    assert run(a, a, "--atol", "-1").code == 2


# --- text ----------------------------------------------------------------------------------------


def text_of(a: dict[str, Any], b: dict[str, Any], layout: Layout, **options: Any) -> list[str]:
    view = options.pop("view", DiffView())
    result = diff(memory_checkpoint(a), memory_checkpoint(b), DiffOptions(**options))
    lines = diff_lines(result, view, layout)
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_most_changed_first_and_slots_folded() -> None:
    a = {"m/w": F32, "m/w/Adam": F32, "m/v": F32, "step": np.int64(0), "m/x": F32}
    b = {"m/w": F32 * 1.5, "m/w/Adam": F32 * 9, "m/v": F32 * 3, "step": np.int64(9), "m/x": F32}
    lines = text_of(a, b, Layout(None, True))
    rows = [line.split()[1] for line in lines if line.startswith("~")]
    assert rows == ["m/v", "m/w", "step"]
    assert any("+1 slot (rel L2 up to 8)" in line for line in lines)
    listed = text_of(a, b, Layout(None, True), view=DiffView(slots=True))
    assert any(line.startswith("~ m/w/Adam") for line in listed)


def test_scopes_are_summed_up() -> None:
    a = {f"enc/l{i}/{leaf}": F32 for i in range(3) for leaf in "wb"} | {"head/w": F32}
    b = {**a, "head/w": F32 * 2, "enc/l1/w": F32 * 1.1, "head/b": F32[:2]}
    lines = text_of(a, b, Layout(None, True))
    start = next(index for index, line in enumerate(lines) if line.startswith("scope"))
    assert lines[start + 1].split() == ["head", "1", "1", "1"]
    assert lines[start + 2].split()[0] == "enc/l1"


def test_top_and_marks() -> None:
    a = {f"v{i}": F32 for i in range(9)} | {"gone": np.int32([1])}
    b = {f"v{i}": F32 + i + 1 for i in range(9)} | {"new": np.int64([1])}
    lines = text_of(a, b, Layout(None, True), view=DiffView(top=3))
    assert sum(line.startswith("~") for line in lines) == 3
    assert "  and 6 more changed: --top 0 shows all" in lines
    assert any(line.startswith("- gone") for line in lines)
    assert any(line.startswith("+ new") for line in lines)
    assert lines[-1] == "9 changed, 1 added, 1 removed, 0 identical"


@pytest.mark.parametrize("width", [40, 80, None])
def test_narrow_drops_columns_not_names(width: int | None) -> None:
    name = "a/rather/long/name/of/a/variable"
    lines = text_of({name: F32}, {name: F32 * 2}, Layout(width, False))
    row = next(line for line in lines if line.startswith("~"))
    assert name in row
    assert ("2.5" in row) == (width is None)  # the mean goes first
    assert "\n".join(lines).isascii()


def test_what_is_worth_a_remark() -> None:
    odd = np.array([1, np.nan, np.inf], np.float32)
    lines = text_of(
        {"s": F32, "d": F32, "n": F32[:3], "c": F32},
        {"s": F32[:5], "d": F32.astype(np.float64) + 1, "n": odd, "c": F32 + np.float32(0.01)},
        Layout(None, True),
        tolerance=Tolerance(atol=0.1),
    )
    text = "\n".join(lines)
    assert "shape [6] → [5]" in text
    assert "dtype float32 → float64" in text
    assert "NaN 0 → 1 Inf 0 → 1" in text
    assert any(line.startswith("= c") for line in lines)


def test_control_characters_do_not_reach_the_terminal() -> None:
    evil = "x\x1b[31m/[bold]w"
    lines = text_of({evil: F32}, {evil: F32 + 1}, Layout(None, True))
    assert all("\x1b" not in line for line in lines)


def test_body_is_json_whatever_the_numbers() -> None:
    a = {"u": np.array([0], np.uint64), "z": np.zeros(2), "c": np.array([1j])}
    b = {"u": np.array([2**64 - 1], np.uint64), "z": np.ones(2), "c": np.array([2j])}
    body = json.loads(dumps(diff_body(diff(memory_checkpoint(a), memory_checkpoint(b)))))
    assert body["changed"][0]["max_abs"] == 2**64 - 1
    assert body["changed"][1]["rel_l2"] == "Infinity"


def test_progress_bar(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert progress.bar("comparing") is None  # no terminal here
    monkeypatch.setattr(progress, "_DELAY", 0.0)
    monkeypatch.setattr(progress, "_PERIOD", 0.0)
    bar = progress.Bar("comparing")
    advance = bar.begin(2048)
    advance(1024)
    bar.end()
    shown = capsys.readouterr().err
    assert "50% 1.0 KiB of 2.0 KiB" in shown
    assert shown.endswith("\r\x1b[K")


def test_what_did_not_change_is_not_said_to() -> None:
    a = {"x": F32, "e": F32[:0]}
    lines = text_of(
        a, {name: one.astype(np.float64) for name, one in a.items()}, Layout(None, True)
    )
    assert [line.split()[6] for line in lines if line.startswith("~")] == ["0%", "0%"]


# --- git -----------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_difftool(tmp_path: Path, samples: Path) -> None:
    """The set-up that docs/how-to/git-diff.md shows."""
    command = f"{sys.executable} -m ckpttool"

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        user = ("-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(  # noqa: S603
            (str(shutil.which("git")), *user, *arguments),
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(samples.parent)},
            capture_output=True,
            text=True,
            check=False,
        )

    git("init", "-q")
    for step in (0, 168):
        for file in (samples / "embedding_run").glob(f"model.ckpt-{step}.*"):
            shutil.copy(file, tmp_path / file.name.replace(f"ckpt-{step}.", "ckpt."))
        git("add", ".")
        git("commit", "-qm", f"step {step}")
    git("config", "difftool.ckpttool.cmd", f'{command} diff "$LOCAL" "$REMOTE"')
    shown = git("difftool", "-d", "-t", "ckpttool", "HEAD~1", "HEAD")
    assert "6 changed, 1 identical" in shown.stdout, shown.stderr
    (tmp_path / ".gitattributes").write_text("*.index diff=ckpttool\n")
    git("config", "diff.ckpttool.textconv", f"{command} tree")
    other = samples / "no_graph" / "model.ckpt-2.index"
    (tmp_path / "model.ckpt.index").write_bytes(other.read_bytes())
    shown = git("diff", "--", "*.index")
    assert "-├── embeddings" in shown.stdout or "-|-- embeddings" in shown.stdout, shown.stdout
