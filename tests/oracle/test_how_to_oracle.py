"""Pages on migrations: their commands, typed as they stand, with the model of the page."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from cli_support import Run

import ckpttool

pytestmark = pytest.mark.oracle

ROOT = Path(__file__).resolve().parents[2]
PAGES = {"migrate-layers": 3, "migrate-rnn": 2}  # commands about samples


@pytest.mark.parametrize("name", PAGES)
def test_every_command_about_a_sample(
    tf: object,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("keras")
    page = (ROOT / "docs" / "how-to" / f"{name}.md").read_text("utf-8")
    (tmp_path / "sample_ckpts").symlink_to(ROOT / "sample_ckpts")
    model, load = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "my_model.py").write_text(model, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    lines = re.findall(r"^    (ckpttool .*sample_ckpts/.*)$", page, re.MULTILINE)
    assert len(lines) == PAGES[name]
    for line in lines:
        done = Run(capsys, *shlex.split(line)[1:])
        assert done.code == 0, (line, done.err)
    import my_model  # type: ignore[import-not-found]

    names: dict[str, object] = {"my_model": my_model}
    exec(load, names)  # noqa: S102
    loaded = names["model"].get_weights()  # type: ignore[attr-defined]
    with ckpttool.open("out/net.weights.h5") as written:
        sums = [float(written.reader.read(key).sum()) for key in written.specs]
    assert sorted(float(value.sum()) for value in loaded) == pytest.approx(sorted(sums))
    assert len(set(sums)) > 4
