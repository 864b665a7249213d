"""Every sample shows what the manifest says, and every damaged twin fails as it says.

The manifest was written by TensorFlow when the samples were made; nothing in it comes from the
code under test.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.cli.main import execute
from ckpttool.errors import CkptError
from ckpttool.storage.crc32c import crc32c

FOLDER = Path(__file__).resolve().parent.parent / "sample_ckpts"
MANIFEST: dict[str, list[dict[str, Any]]] = json.loads(
    (FOLDER / "MANIFEST.json").read_text("utf-8")
)
SAMPLES = [pytest.param(item, id=item["path"]) for item in MANIFEST["samples"]]
DAMAGED = [pytest.param(item, id=item["path"]) for item in MANIFEST["damaged"]]


def test_the_manifest_and_the_folder_agree() -> None:
    named = {item["path"].split("/")[0] for item in MANIFEST["samples"]}
    present = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert named == present - {"make", "damaged", "__pycache__"}
    damaged = {item["path"].split("/")[1] for item in MANIFEST["damaged"]}
    assert damaged == {path.name for path in (FOLDER / "damaged").iterdir()}


def _value_crc(array: np.ndarray[Any, Any]) -> str:
    if array.dtype == object:
        data = b"".join(len(item).to_bytes(8, "little") + item for item in array.ravel())
    elif array.dtype.name in ("int2", "int4"):  # equal values may differ in unused bits
        data = array.astype(np.int8).tobytes()
    else:
        data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return f"{crc32c(data):08x}"


def _rows(checkpoint: Checkpoint) -> list[dict[str, Any]]:
    rows = []
    for row in checkpoint.rows():
        found = row._asdict()
        found["shape"] = None if row.shape is None else list(row.shape)
        found["collections"] = None if row.collections is None else list(row.collections)
        rows.append(found)
    return rows


@pytest.mark.parametrize("sample", SAMPLES)
def test_sample(sample: dict[str, Any]) -> None:
    expected = sample["expect"]
    with open_checkpoint(str(FOLDER / sample["path"])) as checkpoint:
        assert checkpoint.info.format == sample["format"]
        assert checkpoint.info.step == sample["step"]
        assert checkpoint.info.damage == ()
        if "resolves_to" in sample:
            assert Path(checkpoint.info.path) == FOLDER / sample["resolves_to"]
        keys = ["name", "dtype", "shape", "role", "owner", "trainable", "saved"]
        keys += ["collections", "partitions"]
        found = {
            (row["name"], row["saved"]): {key: row[key] for key in keys}
            for row in _rows(checkpoint)
        }
        wanted = {
            (row["name"], row["saved"]): {key: row[key] for key in keys}
            for row in expected["variables"]
        }
        assert found == wanted
        for key, crc in expected.get("values_crc32c", {}).items():
            assert _value_crc(checkpoint.reader.read(key)) == crc, key


@pytest.mark.parametrize(
    "sample", [item for item in SAMPLES if item.values[0]["expect"].get("collections")]
)
def test_collections_of_a_sample(sample: dict[str, Any]) -> None:
    with open_checkpoint(str(FOLDER / sample["path"])) as checkpoint:
        by_counts = [
            {name: len(collection) for name, collection in graph.collections.items()}
            for graph in checkpoint.graphs
        ]
    assert sample["expect"]["collections"] in by_counts


@pytest.mark.parametrize(
    ("typed", "resolved"),
    [
        pytest.param(typed, item["path"], id=typed)
        for item in MANIFEST["samples"]
        for typed in item.get("also", [])
    ],
)
def test_other_ways_to_type_it(typed: str, resolved: str) -> None:
    with (
        open_checkpoint(str(FOLDER / typed)) as one,
        open_checkpoint(str(FOLDER / resolved)) as other,
    ):
        assert one.info.path == other.info.path
        assert one.specs == other.specs


@pytest.mark.parametrize("damaged", DAMAGED)
def test_damaged(damaged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    expected = damaged["expect"]
    path = str(FOLDER / damaged["path"])
    assert execute(["tree", path, "--json"]) == expected["exit"]
    answer = json.loads(capsys.readouterr().out)
    assert (answer["status"] == "error") == (expected["exit"] != 0)
    if expected["exit"]:
        assert answer["problems"], "damage must be told"
    if not expected["opens"]:
        with pytest.raises(CkptError):
            open_checkpoint(path)
        return
    with open_checkpoint(path) as checkpoint:
        readable, unreadable, nowhere = [], [], []
        for name in checkpoint.specs:
            try:
                checkpoint.reader.read(name)
                readable.append(name)
            except CkptError as error:
                unreadable.append(name)
                nowhere += [problem for problem in error.problems if not problem.where]
    assert readable == expected["readable"]
    assert nowhere == []
    if expected["exit"] == 0:
        assert unreadable == expected["unreadable"]


@pytest.mark.parametrize("damaged", DAMAGED)
def test_damaged_for_people(damaged: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["tree", str(FOLDER / damaged["path"])]) == damaged["expect"]["exit"]
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    assert "BUG001" not in captured.err
