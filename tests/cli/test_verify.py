"""The ``verify`` command as people and scripts run it."""

from __future__ import annotations

import builtins
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_support import Run


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda *arguments: Run(capsys, "verify", *arguments)


def test_intact(run: Any, samples: Path) -> None:
    found = run(samples / "numbered_layers" / "model.ckpt-5")
    assert found.code == 0
    assert found.out.startswith("intact  ")
    assert "27 tensors, none damaged; " in found.out
    assert "every checksum compared" in found.out
    assert found.err == ""


def test_damage_is_exit_1_by_tensor_and_byte(run: Any, samples: Path) -> None:
    found = run(samples / "damaged" / "truncated_data" / "model.ckpt-5")
    assert found.code == 1
    assert "27 tensors, 9 damaged" in found.out
    assert "model.ckpt-5.data-00000-of-00001: bytes 1904 to 3056" in found.out
    body = run(samples / "damaged" / "truncated_data", "--json").body()
    assert (body["status"], body["tensors"], len(body["damaged"])) == ("finding", 27, 9)
    first = body["damaged"][0]
    assert (first["name"], first["reason"]) == ("fc_1/kernel/Adam", "truncated")
    assert (first["start"], first["end"], first["found"]) == (1904, 3056, "324 bytes")
    assert body["missing_shards"] == []


def test_nothing_to_read_is_exit_3(run: Any, samples: Path) -> None:
    found = run(samples / "damaged" / "html_page" / "model.ckpt")
    assert found.code == 3
    assert found.out.startswith("unreadable  ")
    assert "fetch the raw file" in found.out
    body = run(samples / "damaged" / "empty_index" / "model.ckpt-5", "--json").body()
    assert body["status"] == "error"
    assert body["problems"][0]["code"] == "INP003"
    assert body["checkpoints"][0]["status"] == "unreadable"
    alone = run(samples / "meta_alone" / "model.ckpt.meta")
    assert alone.code == 3
    assert "missing" in alone.out


def test_several_checkpoints(run: Any, samples: Path) -> None:
    good, bad = samples / "my_scope", samples / "damaged" / "missing_shard"
    found = run(good, bad)
    assert found.code == 1
    assert found.out.rstrip().endswith("2 checkpoints: 1 intact, 1 damaged")
    body = run(good, bad, "--json").body()
    assert [item["status"] for item in body["checkpoints"]] == ["intact", "damaged"]
    assert [Path(path).name for path in body["missing_shards"]] == [
        "model.ckpt-2.data-00001-of-00003"
    ]
    assert run(good, samples / "nothing_here").code == 3


def test_a_directory_names_its_newest_intact_checkpoint(
    run: Any, samples: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(samples / "embedding_run", folder)
    assert run(folder).code == 0
    (folder / "model.ckpt-315.data-00000-of-00001").unlink()
    found = run(folder)
    assert found.code == 1
    assert f"newest intact: {folder}/model.ckpt-168" in found.out
    assert "the checkpoint that the state file names as the latest is damaged" in found.out
    (entry,) = run(folder, "--json").body()["directories"]
    assert entry["newest_intact"] == f"{folder}/model.ckpt-168"
    assert entry["state_file_agrees"] is False
    assert len(entry["checkpoints"]) == 3


def test_salvage_lists_what_is_left(run: Any, samples: Path) -> None:
    path = samples / "damaged" / "slice_gap" / "model.ckpt-2"
    found = run(path, "--salvage")
    assert found.code == 1
    assert "11 tensors can still be read:" in found.out
    assert "    emb/bias\n" in found.out
    (entry,) = run(path, "--salvage", "--json").body()["checkpoints"]
    assert len(entry["readable"]) == 11
    assert "emb/table" not in entry["readable"]
    assert "readable" not in run(path, "--json").body()["checkpoints"][0]


def test_long_lists_are_cut_and_all_shows_them(run: Any, samples: Path) -> None:
    path = samples / "damaged" / "empty_data" / "model.ckpt-5"
    assert "and 7 more: --all shows them" in run(path).out
    whole = run(path, "--all").out
    assert "--all" not in whole
    assert whole.count("cut short") == 27


def test_quick(run: Any, samples: Path) -> None:
    found = run(samples / "damaged" / "flipped_tensor_byte", "--quick")
    assert found.code == 0
    assert "no data was read" in found.out


def test_names_are_made_fit_to_print(run: Any, samples: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    shutil.copytree(samples / "bytes_in_names", folder)
    for file in folder.glob("*.data-*"):
        file.write_bytes(b"")
    found = run(folder, "--all")
    assert found.code == 1
    assert "\\x" in found.out
    found.out.encode()  # no lone surrogates
    assert run(folder, "--json").body()["status"] == "finding"


def test_without_tensorflow(run: Any, samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.split(".")[0] == "tensorflow":
            raise ImportError("No module named 'tensorflow'")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    found = run(samples / "my_scope", "--against", "tensorflow")
    assert found.code == 6
    assert "EXT001" in found.err
    assert "ckpttool[tensorflow]" in found.err


def test_an_engine_that_is_none(run: Any, samples: Path) -> None:
    found = run(samples / "my_scope", "--against", "torch")
    assert found.code == 2
    assert "USE003" in found.err
