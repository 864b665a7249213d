"""What starting up may import, and what the package as a whole may not."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "ckpttool"
SOURCES = sorted(PACKAGE.rglob("*.py"))

_TREE = """
import sys
sys.stdout.write("")
from ckpttool.cli.main import execute
code = execute({arguments!r})
heavy = {{"numpy", "h5py", "rich", "tensorflow", "typer", "json", "yaml", "google.protobuf"}}
sys.stderr.write(" ".join(sorted(heavy & set(sys.modules))) + "|" + str(code))
"""


def _modules_after(arguments: list[str]) -> tuple[set[str], int]:
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _TREE.format(arguments=arguments)],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    names, _, code = run.stderr.rpartition("|")
    return set(names.split("\n")[-1].split()), int(code)


@pytest.mark.parametrize("command", ["tree", "collections"])
def test_a_plain_listing_imports_nothing_heavy(command: str, samples: Path) -> None:
    found, code = _modules_after([command, str(samples / "collections_variables")])
    assert (found, code) == (set(), 0)


def test_options_cost_the_parser_and_no_more(samples: Path) -> None:
    found, code = _modules_after(["tree", str(samples / "my_scope"), "--slots"])
    assert code == 0
    assert found <= {"typer", "json"}


def test_tensorflow_is_imported_in_one_module_only() -> None:
    importers = [
        path.relative_to(PACKAGE).as_posix()
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        and any(
            name.split(".")[0] == "tensorflow"
            for name in [
                *(alias.name for alias in node.names),
                getattr(node, "module", None) or "",
            ]
        )
    ]
    assert set(importers) == {"tensorflow_engine.py"}


def test_nothing_is_checked_by_assert() -> None:
    found = [
        f"{path.name}:{node.lineno}"
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_every_error_code_is_registered_and_used() -> None:
    import re

    from ckpttool.errors import CODES

    used: set[str] = set()
    for path in SOURCES:
        if path.name != "errors.py":
            used |= set(
                re.findall(r'"((?:INP|USE|MAP|OUT|EXT|BUG|INT)\d{3})"', path.read_text("utf-8"))
            )
    assert used <= set(CODES)
    assert set(CODES) - used <= {"INP004"}  # the default of errors.corrupt
