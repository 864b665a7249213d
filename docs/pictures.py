"""Draw the terminal pictures of the documentation by running the commands.

python docs/pictures.py
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
WIDTH = 112

# Picture name to the command line, run in the repository's folder.
PICTURES = {
    "tree": ["tree", "sample_ckpts/collections_variables"],
    "tree_folded": ["tree", "sample_ckpts/many_blocks", "--depth", "2"],
}


def draw(words: list[str]) -> str:
    """One command's output as SVG, coloured as on a terminal."""
    from rich.console import Console

    from ckpttool.cli import emit
    from ckpttool.cli.main import execute
    from ckpttool.render.lines import RichSink

    console = Console(
        record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, color_system="truecolor"
    )
    original, emit.out = emit.out, lambda: RichSink(console)
    try:
        execute([*words, "--quiet"])
    finally:
        emit.out = original
    picture = console.export_svg(title=f"ckpttool {' '.join(words)}", unique_id="ckpttool")
    # The viewer's own monospace font: a picture must not fetch anything.
    picture = re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.DOTALL)
    return picture.replace("Fira Code", "DejaVu Sans Mono")


def main() -> None:
    """Write every picture."""
    os.chdir(ROOT)
    IMAGES.mkdir(exist_ok=True)
    for name, words in PICTURES.items():
        (IMAGES / f"{name}.svg").write_text(draw(words), encoding="utf-8")


if __name__ == "__main__":
    main()
