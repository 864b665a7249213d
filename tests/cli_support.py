"""A command line run in this process, as people and scripts run it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ckpttool.cli.main import execute


class Run:
    """The outcome of one command line: exit code, standard output and error."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *arguments: object) -> None:
        capsys.readouterr()
        self.code = execute([*map(str, arguments)])
        self.out, self.err = capsys.readouterr()
        self.lines = self.out.splitlines()

    def body(self) -> dict[str, Any]:
        """The JSON object that ``--json`` prints."""
        found: dict[str, Any] = json.loads(self.out)
        return found
