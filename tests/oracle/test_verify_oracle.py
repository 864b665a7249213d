"""``verify --against tensorflow``: TensorFlow reads the same, and a wrong reader is found out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import verify
from ckpttool.cli.main import execute
from ckpttool.errors import UsageError
from ckpttool.formats.tensorflow.bundle import BundleReader
from ckpttool.tensorflow_engine import TensorFlowReader

pytestmark = pytest.mark.oracle

FOLDER = Path(__file__).resolve().parents[2] / "sample_ckpts"
MANIFEST: dict[str, list[dict[str, Any]]] = json.loads(
    (FOLDER / "MANIFEST.json").read_text("utf-8")
)
SAMPLES = [
    item["path"]
    for item in MANIFEST["samples"]
    if item["format"] != "meta-graph" and item["expect"].get("variables")
]


@pytest.mark.parametrize("path", SAMPLES)
def test_tensorflow_reads_the_same(path: str, tf: Any) -> None:
    result = verify(str(FOLDER / path), against="tensorflow")
    assert result.against is not None
    assert result.against.differing == ()
    assert result.against.faults == ()
    assert result.against.compared == len(result.names) - len(result.unchecked)
    assert result.against.version == tf.__version__


def test_other_values_are_found(tf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del tf
    read = BundleReader.chunks

    def changed(self: BundleReader, name: str, *rest: Any) -> Any:
        for chunk in read(self, name, *rest):
            array = chunk.array.copy()
            if name == "fc_1/kernel":
                array[5] = np.nextafter(array[5], 1)
            yield chunk._replace(array=array)

    monkeypatch.setattr(BundleReader, "chunks", changed)
    path = str(FOLDER / "numbered_layers")
    result = verify(path, against="tensorflow")
    assert result.status == "damaged"
    assert result.against is not None
    (found,) = result.against.differing
    assert (found.name, found.reason, found.problem.found) == (
        "fc_1/kernel",
        "differs",
        "element 5",
    )


def test_other_strings_are_found(tf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del tf
    read = BundleReader.chunks

    def changed(self: BundleReader, name: str, *rest: Any) -> Any:
        for chunk in read(self, name, *rest):
            array = chunk.array.copy()
            if name == "vector":
                array[-1] += b"!"
            yield chunk._replace(array=array)

    monkeypatch.setattr(BundleReader, "chunks", changed)
    result = verify(str(FOLDER / "strings"), against="tensorflow")
    assert result.against is not None
    assert [item.name for item in result.against.differing] == ["vector"]


def test_names_that_only_one_lists(tf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    del tf
    names = TensorFlowReader.names

    def fewer(self: TensorFlowReader) -> list[str] | None:
        return [*(names(self) or [])[1:], "more"]

    monkeypatch.setattr(TensorFlowReader, "names", fewer)
    result = verify(str(FOLDER / "my_scope"), against="tensorflow")
    assert result.against is not None
    assert [item.code for item in result.against.faults] == ["INP018", "INP018"]


def test_what_tensorflow_cannot_open(tf: Any) -> None:
    del tf
    result = verify(str(FOLDER / "damaged" / "lost_index_suffix"), against="tensorflow")
    assert result.against is not None
    assert [item.code for item in result.against.faults] == ["INP018"]


def test_formats_that_tensorflow_does_not_read(tf: Any, tmp_path: Path) -> None:
    del tf
    np.savez(tmp_path / "a.npz", a=np.ones(3))
    with pytest.raises(UsageError):
        verify(str(tmp_path / "a.npz"), against="tensorflow")


def test_the_command(tf: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(FOLDER / "sharded_partitioned")
    assert execute(["verify", path, "--against", "tensorflow"]) == 0
    assert f"tensorflow {tf.__version__} reads the same" in capsys.readouterr().out
    assert execute(["verify", path, "--against", "tensorflow", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["checkpoints"]
    assert entry["against"]["differing"] == []
