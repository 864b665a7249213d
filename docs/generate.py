"""Write the reference pages, and parts of pages, that are derived from the code.

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

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "docs" / "reference"
MAPPINGS = ROOT / "mappings" / "README.md"


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


def transforms_page() -> str:
    """Every transform of the mapping language, with its arguments."""
    from ckpttool.mapping.transforms import reference

    parts = [_TRANSFORMS_HEAD]
    for row in reference():
        name, summary, params, short, undone, slots = row
        parts.append(f"## {name}\n\n{summary[0].upper()}{summary[1:]}.\n")
        if params:
            rows = [
                f"| `{param.name}`{' *' if param.required else ''} | {param.kind.word} "
                f"| {param.help} |"
                for param in params
            ]
            parts.append("| argument | | |\n|---|---|---|\n" + "\n".join(rows) + "\n")
        notes = [f"Undone: {undone}.", f"Optimizer slots: {slots}."]
        if short:
            notes.insert(0, f"`{name}: …` alone gives `{short}`.")
        if not any(param.required for param in params):
            notes.insert(0, f"`{name}` may stand without arguments.")
        parts.append(" ".join(notes) + "\n")
    return "\n".join(parts)


_TRANSFORMS_HEAD = """\
# Transforms

Made by `python docs/generate.py` from the table of transforms. `apply` is a list of them:

    apply: [{reorder_gates: {from: ijfo, to: ifco}}, {split: {axis: 0, sizes: [$input, -1]}}]

The list begins with the arrays of `from` and ends with those of `to`: one for each name, or one
for all names. A transform takes one array, and each in its turn where there are several; `concat`,
`stack`, `interleave`, `pick` and `each` take them all together.

A size is an integer or a small expression: `+ - * // ( )`, `$parameters`, and `d0`, `d1`, … for
the sizes of the array at hand, as in `d1//4`. A division must leave no rest. A number is such an
expression with `/` and decimal points, without `d0`.

Arguments with a `*` are required. "Undone" says how `--inverse` does: exactly is bit for bit.
What computes with values does so in the array's own dtype, narrow floating-point types in float32
with one rounding at the end. A finite value that becomes infinite, or an integer that does not fit,
is an error (MAP025). Strings are moved, never computed with.
"""


def schema_page() -> str:
    """The JSON Schema of mapping files."""
    import json

    from ckpttool.mapping.language.schema import mapping_schema

    return json.dumps(mapping_schema(), indent=1, ensure_ascii=False) + "\n"


_BEGIN = "<!-- The table is made by `python docs/generate.py` from the mapping files. -->\n"
_END = "<!-- End of the table. -->\n"


def mappings_page() -> str:
    """The page of mapping files as it is, with its table of the built-in ones made anew."""
    before, _, rest = MAPPINGS.read_text(encoding="utf-8").partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not end:
        raise SystemExit(f"{MAPPINGS.name} lacks the marks around its table")
    return f"{before}{_BEGIN}\n{_mappings_table()}\n{_END}{after}"


def _mappings_table() -> str:
    from ckpttool.mapping.language.catalog import mappings
    from ckpttool.render.mappings import STATUS_WORDS

    rows = []
    for item in mappings():
        proof = item.free.get("proof")
        proof = proof if isinstance(proof, dict) else {}
        status = STATUS_WORDS.get(item.status or "", item.status or "")
        numbers = (_number(proof.get(key)) for key in ("max_abs_error", "sensitivity"))
        description = " ".join(item.description.split()).replace("|", "\\|")
        rows.append(f"| {' | '.join((f'`{item.name}`', description, status, *numbers))} |\n")
    return "| name | does | proof | error | sensitivity |\n|---|---|---|---|---|\n" + "".join(rows)


def _number(value: object) -> str:
    """A number as people write it: 3.4e-7."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return ""
    return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e")


PAGES = {
    REFERENCE / "cli.md": cli_page,
    REFERENCE / "errors.md": errors_page,
    REFERENCE / "transforms.md": transforms_page,
    REFERENCE / "mapping.schema.json": schema_page,
    MAPPINGS: mappings_page,
}


def main() -> int:
    """Write or check the pages; returns the exit code."""
    stale = []
    for path, make in PAGES.items():
        text = make()
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            stale.append(path.relative_to(ROOT).as_posix())
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"stale: {', '.join(stale)}; run python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
