"""Write the reference pages that are derived from the code.

python docs/generate.py            write them
python docs/generate.py --check    exit 1 if any is stale
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["COLUMNS"] = "100"
os.environ["NO_COLOR"] = "1"
os.environ["TERM"] = "dumb"

REFERENCE = Path(__file__).resolve().parent / "reference"


def cli_page() -> str:
    """Every command's own help text."""
    from typer.testing import CliRunner

    from ckpttool.cli.app import COMMANDS, build

    app = build()
    runner = CliRunner()
    parts = ["# Command line\n\nMade by `python docs/generate.py` from the commands themselves.\n"]
    for command in ["", *COMMANDS]:
        words = [*command.split(), "--help"]
        text = runner.invoke(app, words, prog_name="ckpttool").output
        body = "\n".join(line.rstrip() for line in text.strip().splitlines())
        parts.append(f"## ckpttool {command}".rstrip() + f"\n\n```text\n{body}\n```\n")
    return "\n".join(parts)


def errors_page() -> str:
    """Every problem code with its meaning."""
    from ckpttool.errors import CODES

    exits = {"INP": 3, "USE": 2, "MAP": 4, "OUT": 5, "EXT": 6, "BUG": 70, "INT": 130}
    rows = [f"| `{code}` | {exits[code[:3]]} | {meaning} |" for code, meaning in CODES.items()]
    return (
        "# Error codes\n\nMade by `python docs/generate.py`. A code may also stand on a note or a "
        "warning, which does not change the exit code.\n\n"
        "| code | exit code of an error | meaning |\n|---|---|---|\n" + "\n".join(rows) + "\n"
    )


PAGES = {"cli.md": cli_page, "errors.md": errors_page}


def main() -> int:
    """Write or check the pages; returns the exit code."""
    stale = []
    for name, make in PAGES.items():
        path = REFERENCE / name
        text = make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"stale: {', '.join(stale)}; run python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
