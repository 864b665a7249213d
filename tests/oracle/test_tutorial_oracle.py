"""The tutorial of a migration, typed as it stands."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from cli_support import Run

pytestmark = pytest.mark.oracle

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "tutorial" / "first-migration.md").read_text("utf-8")


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the samples and the page's model, where commands are typed."""
    pytest.importorskip("keras")
    (tmp_path / "sample_ckpts").symlink_to(ROOT / "sample_ckpts")
    (model,) = _blocks("python")
    (tmp_path / "my_model.py").write_text(model, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    return tmp_path


def test_every_command(tf: object, workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for block in _blocks("sh") for line in block.splitlines()]
    assert len(lines) >= 8
    said = ""
    for line in lines:
        done = Run(capsys, *shlex.split(line)[1:])
        assert done.code == 0, (line, done.err)
        said += done.out
    assert "tf_layers__keras" in said
    assert said.count("equal: the error is one of rounding") == 2
    assert "11 identical" in said
    assert (workplace / "out" / "net.safetensors").is_file()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('name="batch_normalization"', 'epsilon=0.01, name="batch_normalization"'),
        ('16, activation="relu"', "16"),
    ],
)
def test_a_changed_model_fails(
    tf: object, workplace: Path, capsys: pytest.CaptureFixture[str], old: str, new: str
) -> None:
    path = workplace / "my_model.py"
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    line = next(line for block in _blocks("sh") for line in block.splitlines() if " prove " in line)
    done = Run(capsys, *shlex.split(line)[1:])
    assert done.code == 1
    assert "close" in done.out or "different" in done.out
