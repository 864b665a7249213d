"""`mappings detect` as people and scripts run it, and what says so where a mapping is missing."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import Run
from detect_support import bert, layers
from remap_support import write_bundle

from ckpttool.cli.main import execute
from ckpttool.mapping.detecting.commands import commands
from ckpttool.mapping.detecting.detect import detect_mappings
from ckpttool.render.detect import detect_lines
from ckpttool.render.lines import Layout

MINE = """\
description: stages to other stages
rules:
  - {from: "net/stage_{i:int}/project/{part}", to: "new/stage_{i}/{part}"}
"""


def _write(prefix: Path, shapes: Any) -> None:
    write_bundle(prefix, {name: np.zeros(shape, np.float32) for name, shape in shapes.items()})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Commands in a folder with a BERT of two layers, a net that is nobody's, and its mapping."""
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "bert.ckpt", bert(adam=True))
    _write(tmp_path / "net.ckpt", layers())
    (tmp_path / "mine.yaml").write_text(MINE)
    return lambda *words: Run(capsys, *words)


def test_what_fits_comes_with_what_to_type(run: Any) -> None:
    found = run("mappings", "detect", "bert.ckpt")
    assert found.code == 0
    assert found.err == ""
    line = next(line for line in found.lines if "-m google_bert__keras_hub_bert" in line)
    assert shlex.split(line) == shlex.split(
        "ckpttool remap bert.ckpt -m google_bert__keras_hub_bert --set heads=2 --like TARGET "
        "-o out/model.weights.h5"
    )
    assert "heads=2: bert/encoder/layer_0/attention/self/query/kernel is [128, 128]" in found.out
    assert "A convention, check it" in found.out
    assert "TARGET is a file of the target model" in found.out


def test_the_commands_run(run: Any, tmp_path: Path) -> None:
    body = run("mappings", "detect", "bert.ckpt", "--json").body()
    typed = [item["commands"] for item in body["proposals"] if item["target"] == "safetensors"]
    assert typed
    for line in typed[0]:
        assert execute(shlex.split(line)[1:]) == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_scope_goes_first_in_a_command_of_its_own(run: Any, tmp_path: Path) -> None:
    _write(tmp_path / "deep.ckpt", bert(scope="my/model/bert/", heads=False))
    body = run("mappings", "detect", "deep.ckpt", "--json").body()
    item = next(item for item in body["proposals"] if item["target"] == "safetensors")
    assert item["strip"] == "my/model/"
    assert len(item["commands"]) == 2
    for line in item["commands"]:
        assert execute(shlex.split(line)[1:]) == 0
    assert (tmp_path / "out" / "model.safetensors").is_file()
    assert "my/model/ goes first" in run("mappings", "detect", "deep.ckpt").out


def test_the_contract(run: Any, tmp_path: Path) -> None:
    body = run("mappings", "detect", "bert.ckpt", "--json").body()
    assert (body["schema"], body["command"], body["status"]) == (1, "mappings", "ok")
    assert body["checkpoint"].keys() == {"path", "names", "weights", "looked_at"}
    assert body["checkpoint"]["looked_at"] == body["checkpoint"]["weights"] == 46
    assert body["files"] > 20
    for item in body["proposals"]:
        assert item.keys() == {
            "mapping", "description", "target", "status", "fits", "kind", "weights", "unmatched",
            "unused", "strip", "params", "guesses", "needed", "choices", "faults", "like",
            "commands",
        }  # fmt: skip
        assert item["kind"] in ("model", "layers", "names")
        assert item["weights"].keys() == {"taken", "left_out", "kept"}
        assert item["unmatched"].keys() == {"count", "names"}
        assert item["strip"] is item["like"] is None
        assert bool(item["commands"]) == item["fits"]
    hub = next(item for item in body["proposals"] if item["mapping"].endswith("keras_hub_bert"))
    assert hub["params"] == {"heads": 2}
    assert hub["weights"] == {"taken": 39, "left_out": 7, "kept": 0}
    (guess,) = hub["guesses"]
    assert guess.keys() == {"param", "value", "source", "shape", "convention"}
    assert (guess["value"], guess["shape"]) == (2, [128, 128])
    (choice,) = hub["choices"]
    assert choice == {"param": "head", "value": "masked_lm", "taken": 44, "fits": True}
    partly = {**bert(), "mine/a": (2,), "mine/b": (2,)}
    _write(tmp_path / "partly.ckpt", partly)
    body = run("mappings", "detect", "partly.ckpt", "--json").body()
    assert body["status"] == "finding"
    assert body["proposals"][0]["unmatched"] == {"count": 2, "names": ["mine/a", "mine/b"]}
    assert all(item["commands"] == [] for item in body["proposals"])


def test_a_finding_where_nothing_fits(run: Any, tmp_path: Path) -> None:
    _write(tmp_path / "odd.ckpt", {"alpha/w": (2,), "beta/w": (2,)})
    found = run("mappings", "detect", "odd.ckpt")
    assert found.code == 1
    assert found.lines[-1].strip() == "ckpttool suggest odd.ckpt --like TARGET"
    body = run("mappings", "detect", "odd.ckpt", "--json").body()
    assert (body["status"], body["proposals"]) == ("finding", [])
    found = run("mappings", "detect", "net.ckpt", "--like", "odd.ckpt")
    assert found.code == 1
    assert "ckpttool suggest net.ckpt --like odd.ckpt" in found.out
    assert "not this" in found.out


@pytest.mark.parametrize("shapes", [{}, {"w/Adam": (2,), "w/Adam_1": (2,), "beta1_power": ()}])
def test_a_checkpoint_without_weights(run: Any, tmp_path: Path, shapes: Any) -> None:
    _write(tmp_path / "empty.ckpt", shapes)
    found = run("mappings", "detect", "empty.ckpt")
    assert found.code == 1
    if not shapes:
        assert "there are no weights here" in found.out
        assert "suggest" not in found.out


def test_files_of_ones_own(run: Any, tmp_path: Path) -> None:
    for also in ("mine.yaml", "."):
        body = run("mappings", "detect", "net.ckpt", "--also", also, "--json").body()
        first = body["proposals"][0]
        assert Path(first["mapping"]).name == "mine.yaml"
        assert first["kind"] == "model"
        assert execute([*shlex.split(first["commands"][0])[1:], "--force"]) == 0
    for name in ("other.yaml", "b.yaml", "c.yaml", "d.yaml", "e.yaml"):
        (tmp_path / name).write_text("services: {}\n")
    found = run("mappings", "detect", "net.ckpt", "--also", ".")
    assert found.code == 0
    assert "note[MAP002]" in found.err
    assert found.err.count("note[MAP002]") == 3
    assert "2 more files cannot be used as mappings" in found.err
    problems = run("mappings", "detect", "net.ckpt", "--also", ".", "--json").body()["problems"]
    assert len(problems) == 5
    assert run("mappings", "detect", "net.ckpt", "--also", "other.yaml").code == 4
    assert run("mappings", "detect", "net.ckpt", "--also", "nowhere").code == 4


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["detect"], 2),
        (["detect", "net.ckpt", "bert.ckpt"], 2),
        (["detect", "nothing.ckpt"], 3),
        (["detect", "net.ckpt", "--against", "net.ckpt"], 2),
        (["detect", "net.ckpt", "--set", "a=1"], 2),
        (["list", "--also", "mine.yaml"], 2),
        (["lint", "mine.yaml", "--like", "net.ckpt"], 2),
        (["detect", "net.ckpt", "--like", "nothing.npz"], 3),
    ],
)
def test_exit_codes(run: Any, words: list[str], code: int) -> None:
    found = run("mappings", *words)
    assert found.code == code
    assert found.out == ""


def _text(path: str, width: int | None, unicode: bool = True, **options: Any) -> list[str]:
    found = detect_mappings(path, **options)
    lines = detect_lines(found, path, None, Layout(width, unicode))
    return ["".join(text for text, _ in line).rstrip() for line in lines]


@pytest.mark.parametrize("width", [72, 80, 200, None])
def test_any_width(run: Any, width: int | None) -> None:
    lines = _text("bert.ckpt", width)
    typed = [line for line in lines if line.startswith("  ckpttool ")]
    assert len(typed) == 3  # to be copied, so in one piece
    if width is not None:
        assert max(len(line) for line in lines if line not in typed) <= width
    words = " ".join(" ".join(lines).split())
    assert "46 weights of 139 names" in words
    assert "39 of 46 taken, 7 left out by its rules" in words
    assert "heads of 64 units, as in all that were published" in words


def test_names_from_files_do_not_drive_the_terminal(run: Any, tmp_path: Path) -> None:
    odd = {**bert(), "\x1b[31m\nred": (2,), "[bold]é": (2,)}
    _write(tmp_path / "odd.ckpt", odd)
    (tmp_path / "a\x1b[2Jb.yaml").write_text('description: "\\e[31m"\n' + MINE.split("\n", 1)[1])
    for words in (["odd.ckpt"], ["net.ckpt", "--also", "."]):
        found = run("mappings", "detect", *words)
        assert "\x1b" not in found.out + found.err
    assert "[bold]" in run("mappings", "detect", "odd.ckpt").out
    assert all(line.isascii() for line in _text("odd.ckpt", 80, unicode=False))
    coloured = run("mappings", "detect", "net.ckpt", "--color").out
    assert "\x1b[" in coloured


def test_no_color(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run("mappings", "detect", "bert.ckpt").out


# --- where a mapping is missing ---------------------------------------------------------------


def test_remap_without_a_mapping_names_what_fits(run: Any, tmp_path: Path) -> None:
    found = run("remap", "bert.ckpt", "-o", "there", "--json")
    assert found.code == 2
    (problem,) = found.body()["problems"]
    assert problem["code"] == "USE001"
    assert "google_bert__hf_bert, google_bert__keras_hub_bert" in problem["found"]
    assert "-m MAP" in problem["expected"]
    words = shlex.split(problem["hint"])
    assert words[-2:] == ["-o", "there.safetensors"]
    assert execute(words[1:]) == 0
    assert (tmp_path / "there.safetensors").is_file()
    assert (
        "  try: ckpttool remap bert.ckpt -m google_bert__hf_bert"
        in run("remap", "bert.ckpt", "-o", "there").err
    )


def test_remap_to_keras_without_a_mapping_names_what_fits(run: Any) -> None:
    found = run("remap", "bert.ckpt", "-o", "there.weights.h5", "--json")
    assert found.code == 4
    problems = found.body()["problems"]
    assert {problem["code"] for problem in problems[:-1]} == {"MAP013"}
    assert "google_bert__keras_hub_bert" in problems[-1]["found"]
    assert problems[-1]["hint"].startswith("ckpttool remap bert.ckpt -m google_bert__hf_bert")


@pytest.mark.parametrize("source", ["odd.ckpt", "nothing.ckpt"])
def test_remap_without_a_mapping_where_nothing_fits(run: Any, tmp_path: Path, source: str) -> None:
    _write(tmp_path / "odd.ckpt", {"alpha/w": (2,)})
    found = run("remap", source, "-o", "there", "--json")
    assert found.code == 2
    (problem,) = found.body()["problems"]
    assert problem["found"] is None
    assert "--add-prefix" in problem["expected"]


def test_options_and_other_formats_need_no_mapping(run: Any) -> None:
    for words in (["--slots", "drop", "-o", "a"], ["-o", "b.safetensors"]):
        assert run("remap", "net.ckpt", *words).code == 0
    assert run("remap", "net.ckpt", "--add-prefix", "x/", "-o", "c").code == 0


@pytest.mark.parametrize(
    ("wanted", "target", "output"),
    [
        (None, "keras", "out/model.weights.h5"),
        ("a.weights.h5", "keras", "a.weights.h5"),
        ("a", "keras", "a.weights.h5"),
        ("a.safetensors", "keras", "out/model.weights.h5"),
        ("a", "tf1", "a"),
        ("a.npz", "tf1", "out/model.ckpt"),
        (None, "tf2", "out/model.ckpt"),
    ],
)
def test_the_output_of_a_command(run: Any, wanted: Any, target: str, output: str) -> None:
    item = detect_mappings("net.ckpt").proposals[0]._replace(target=target)
    (line,) = commands(item, "net ckpt", output=wanted)
    words = shlex.split(line)
    assert words[:3] == ["ckpttool", "remap", "net ckpt"]
    assert words[-2:] == ["-o", output]
    assert ("--like" in words) == (target == "keras")


def test_a_failed_proof_of_a_model_that_nothing_was_put_into(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ckpttool.cli import prove_action
    from ckpttool.mapping.proving.agreement import Proof

    def proved(verdict: str) -> None:
        proof = Proof(verdict, 1.0, 1.0, 1.0, 1e-5, "float32", "a", "b", (), (), ())
        monkeypatch.setattr(prove_action, "prove", lambda *_, **__: proof)

    proved("different")
    found = run("prove", "net.ckpt", "my model:make")
    assert found.code == 1
    assert "try: ckpttool mappings detect net.ckpt --like 'my model:make'" in found.err
    for words in (["-m", "mine.yaml"], ["--weights", "x.h5"]):
        assert "mappings detect" not in run("prove", "net.ckpt", "m:make", *words).err
    proved("equal")
    assert run("prove", "net.ckpt", "m:make").err == ""
