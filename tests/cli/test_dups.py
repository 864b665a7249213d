"""The ``dups`` command as people and scripts run it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_support import Run

import ckpttool
from ckpttool.cli.dups_action import series_of
from ckpttool.mapping.remap import load_rules, plan_remap, remap


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda *arguments: Run(capsys, "dups", *arguments)


def test_a_finding_is_exit_1_with_reasons_and_a_fix(run: Any, samples: Path) -> None:
    found = run(samples / "two_towers_variable")
    assert found.code == 1
    for words in (
        "unshared  2 copies  4 variables each", "tower  the live copy", "tower_1/fc_1/weights",
        "the train op changes tower and never tower_1", "fix: tf.Variable never shares.",
        "1 unshared group", "(inferred)",
    ):  # fmt: skip
        assert words in found.out


def test_no_finding_is_exit_0_and_others_are_behind_all(run: Any, samples: Path) -> None:
    found = run(samples / "stacked_dense")
    assert found.code == 0
    assert "stacked layers 1" in found.out
    assert "dense_2" not in found.out
    found = run(samples / "stacked_dense", "--all")
    assert found.code == 0
    assert "dense_2" in found.out
    assert "Adam_1" in found.out


def test_undecided_and_numbered_are_exit_0(run: Any, samples: Path) -> None:
    for name in ("ensemble", "recreated_by_renaming", "two_optimizers", "deep_scopes"):
        assert run(samples / name, "--all").code == 0


def test_json_keeps_its_contract(run: Any, samples: Path) -> None:
    found = run(samples / "two_towers_add_weight", "--json")
    body = found.body()
    assert found.code == 1
    assert (body["command"], body["status"], body["has_graph"]) == ("dups", "finding", True)
    group = body["groups"][0]
    assert group["variables"] == [
        ["tower/dense_block/bias", "tower/dense_block/kernel"],
        ["tower_1/dense_block_1/bias", "tower_1/dense_block_1/kernel"],
    ]
    assert (group["verdict"], group["keep"], group["cause"]) == ("unshared", 0, "layer_object")
    assert 0 < group["confidence"] <= 1
    assert all(set(item) == {"kind", "text", "certainty"} for item in group["evidence"])
    assert {item["verdict"] for item in body["groups"]} == {"unshared", "slot"}
    assert "shared" not in body
    assert run(samples / "my_scope_shared", "--json").body()["status"] == "ok"


def test_shared_towers(run: Any, samples: Path) -> None:
    found = run(samples / "two_towers_shared", "--shared")
    assert found.code == 0
    assert "shared  4 variables read from test, train" in found.out
    assert "tower/fc_1/kernel" in found.out
    body = run(samples / "two_towers_shared", "--shared", "--json").body()
    assert body["shared"][0] == {"name": "tower/fc_1/bias", "towers": ["test", "train"]}
    assert "without a graph" in run(samples / "no_graph", "--shared").out


def test_without_a_graph_it_says_so(run: Any, samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(samples / "two_towers_variable", folder)
    for graph in folder.glob("*.meta"):
        graph.unlink()
    found = run(folder, "--all")
    assert found.code == 0
    assert "no graph" in found.out
    assert "undecided" in found.out


def test_a_mapping_keeps_the_live_copy(run: Any, samples: Path, tmp_path: Path) -> None:
    source = samples / "notebook_rerun"
    file = tmp_path / "mend.yaml"
    assert run(source, "--write-mapping", file).code == 1
    with ckpttool.open(str(source)) as checkpoint:
        rules = load_rules(str(file))
        remap(checkpoint, rules, str(tmp_path / "mended"))
        live = checkpoint.reader.read("Variable_8")
    with ckpttool.open(str(tmp_path / "mended")) as mended:
        assert sorted(mended.specs) == ["Variable", "Variable_1", "Variable_2", "Variable_3"]
        assert (mended.reader.read("Variable") == live).all()
    assert run(source, "--write-mapping", file).code == 5  # it is there already
    assert run(source, "--write-mapping", file, "--force").code == 1


def test_slots_go_with_the_copy_that_is_dropped(run: Any, samples: Path, tmp_path: Path) -> None:
    source = samples / "two_towers_variable"
    file = tmp_path / "mend.yaml"
    run(source, "--write-mapping", file)
    with ckpttool.open(str(source)) as checkpoint:
        plan = plan_remap(checkpoint, load_rules(str(file)))
        kept = {item.target for item in plan.steps}
        assert {name for name in checkpoint.specs if not name.startswith("tower_1/")} == kept


def test_a_choice_between_live_copies_is_left_to_people(
    run: Any, samples: Path, tmp_path: Path
) -> None:
    source = samples / "siamese_unshared"
    file = tmp_path / "mend.yaml"
    found = run(source, "--write-mapping", file)
    assert "choose the one to keep" in found.out
    text = file.read_text(encoding="utf-8")
    with ckpttool.open(str(source)) as checkpoint:
        assert len(plan_remap(checkpoint, load_rules(str(file))).steps) == len(checkpoint.specs)
        # As the comments say: take one block, and the brackets off.
        head, _, block = text.partition("  # to keep branch_1:\n")
        chosen = head.replace("rules: []", "rules:") + block.replace("  # ", "  ")
        file.write_text(chosen, encoding="utf-8")
        kept = {item.target for item in plan_remap(checkpoint, load_rules(str(file))).steps}
        assert "branch/fc/weights" in kept
        assert "branch_1/fc/weights" not in kept
        assert "branch/fc/weights/Adam" in kept


def test_names_in_a_mapping_are_taken_as_they_are(tmp_path: Path) -> None:
    from ckpttool.analysis.duplicates import DuplicateGroup, DuplicatesResult
    from ckpttool.render.dups_mapping import mapping_text

    odd = ('a*/{x}"\\', 'a*_1/{x}"\\')
    group = DuplicateGroup(
        tuple((name,) for name in odd), (("a*",), ("a*_1",)), "unshared", 0.9, (), 1
    )
    text = mapping_text(DuplicatesResult(("x",), True, (group,), None), odd)
    file = tmp_path / "m.yaml"
    file.write_text(text, encoding="utf-8")
    rules = load_rules(str(file))
    found = [rules.first(name) for name in odd]
    assert found[0] is not None
    assert found[0][0].template is None
    assert found[1] is not None
    assert found[1][0].template is not None
    assert found[1][0].template.render(found[1][1]) == odd[0]
    assert rules.first("ab/y") is None
    # A rule for a variable that only the graph has would match nothing.
    text = mapping_text(DuplicatesResult(("x",), True, (group,), None), odd[1:])
    assert "drop" not in text
    assert "to:" in text


def test_a_directory_is_its_run(run: Any, samples: Path, tmp_path: Path) -> None:
    for step in (1, 20, 3):
        for part in ("index", "data-00000-of-00001"):
            source = samples / "my_scope" / f"model.ckpt.{part}"
            shutil.copy(source, tmp_path / f"model.ckpt-{step}.{part}")
            shutil.copy(source, tmp_path / f"other.{part}")
    found = series_of([str(tmp_path)])
    assert [Path(path).name for path in found] == ["model.ckpt-1", "model.ckpt-3", "model.ckpt-20"]
    assert series_of(["a", "b"]) == ["a", "b"]
    body = run(tmp_path, "--json").body()
    assert [Path(path).name for path in body["checkpoints"]] == [Path(path).name for path in found]


def test_names_cannot_drive_the_terminal() -> None:
    from ckpttool.analysis.duplicates import DuplicateGroup, DuplicatesResult, Evidence
    from ckpttool.render.dups import dups_lines
    from ckpttool.render.lines import Layout

    bad = "a\x1b[31m[bold]"
    group = DuplicateGroup(
        ((bad,), (bad + "_1",)),
        ((bad,), (bad + "_1",)),
        "unshared",
        0.9,
        (Evidence("names", bad),),
        0,
    )
    lines = list(dups_lines(DuplicatesResult((bad,), True, (group,), None), Layout(80, False)))
    text = "\n".join("".join(part for part, _ in line) for line in lines)
    assert "\x1b" not in text
    assert text.isascii()


def test_damage_and_absence_are_exit_3(run: Any, samples: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "nothing").code == 3
    manifest = json.loads((samples / "MANIFEST.json").read_text(encoding="utf-8"))
    for entry in manifest["damaged"]:
        found = run(samples / entry["path"], "--json")
        assert found.code in (0, 1, 3), entry["path"]
        assert found.body()["command"] == "dups"
