"""The documentation: its commands run, its links lead somewhere, its derived pages are fresh."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ckpttool.cli.app import COMMANDS
from ckpttool.cli.main import execute

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
_BLOCK = re.compile(r"^```(?:sh|console|bash)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_OF_ITS_OWN = "first-migration.md"  # needs a model: tests/oracle/test_tutorial_oracle.py types it
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def _commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        if page.name == _OF_ITS_OWN:
            continue
        for block in _BLOCK.findall(page.read_text("utf-8")):
            for line in block.splitlines():
                if line.startswith("ckpttool ") and "sample_ckpts/" in line and "|" not in line:
                    found.append((page.relative_to(ROOT).as_posix(), line))
    return found


@pytest.mark.parametrize(("page", "line"), _commands())
def test_commands_run_as_written(
    page: str, line: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    line, _, comment = line.partition("  #")
    expected = re.search(r"exit (\d+)", comment)
    words = shlex.split(line)[1:]
    # What a command writes goes to a temporary place; what it reads is named from the root.
    words = [str(tmp_path / word) if word.startswith("out/") else word for word in words]
    monkeypatch.chdir(ROOT)
    assert execute(words) == (int(expected[1]) if expected else 0)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    broken = [
        link
        for link in _LINK.findall(text)
        if "://" not in link
        and not link.startswith("#")
        and not (page.parent / link.split("#")[0]).exists()
    ]
    assert broken == []


def test_derived_pages_are_fresh() -> None:
    run = subprocess.run(  # noqa: S603
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


def test_every_command_has_its_json_documented() -> None:
    text = (ROOT / "docs" / "reference" / "json.md").read_text("utf-8")
    assert [name for name in COMMANDS if f"\n## {name}\n" not in text] == []
