"""The command line of ``suggest``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ckpttool.cli.main import execute

pytest.importorskip("lap", reason="the suggest extra is not installed")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, str]:
    """Two files: the same layers under other names."""
    rng = np.random.default_rng(0)
    old, new = {}, {}
    for n in range(3):
        for part, shape in (("kernel", (4 + n, 5 + n)), ("bias", (5 + n,))):
            old[f"net/fc_{n}/{part}"] = rng.normal(size=shape).astype(np.float32)
            new[f"model/dense_{n}/{part}"] = np.zeros(shape, np.float32)
    source, target = tmp_path / "old.npz", tmp_path / "new.npz"
    np.savez(source, **old)
    np.savez(target, **new)
    return str(source), str(target)


def test_the_draft_is_printed_and_remaps(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = pair
    assert execute(["suggest", source, "--like", target]) == 0
    text = capsys.readouterr().out
    assert "net/fc_{i:int}/{part}" in text
    mapping, output = tmp_path / "m.yaml", tmp_path / "out.npz"
    assert execute(["suggest", source, "--like", target, "-o", str(mapping)]) == 0
    assert mapping.read_text() == text
    assert "6 of 6 variables" in capsys.readouterr().out
    command = ["remap", source, "-m", str(mapping), "--like", target, "-o", str(output)]
    assert execute(command) == 0
    with np.load(source) as old, np.load(output) as new:
        np.testing.assert_array_equal(old["net/fc_1/kernel"], new["model/dense_1/kernel"])
        assert len(new.files) == 6


def test_json_and_an_existing_file(
    pair: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = pair
    assert execute(["--json", "suggest", source, "--like", target]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["totals"] == {"tensors": 6, "variables": 6, "told": 6}
    assert body["rules"][0]["confidence"] in ("high", "medium")
    assert body["mapping"].startswith("# A draft")
    taken = tmp_path / "taken.yaml"
    taken.write_text("mine")
    assert execute(["suggest", source, "--like", target, "-o", str(taken)]) == 5
    assert taken.read_text() == "mine"
    assert execute(["suggest", source, "--like", target, "-o", str(taken), "--force"]) == 0


def test_a_target_that_is_not_there_is_an_input_error(pair: tuple[str, str]) -> None:
    assert execute(["suggest", pair[0], "--like", pair[0] + ".none"]) == 3


def test_without_the_solver_it_says_what_to_install(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "lap", None)
    assert execute(["suggest", pair[0], "--like", pair[1]]) == 6
    assert "ckpttool[suggest]" in capsys.readouterr().err
