"""``ckpttool collections``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.analysis.collections import collections
from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli import emit
from ckpttool.cli.options import CheckpointArgument
from ckpttool.render.collections import collections_body, collections_lines


def run(
    ckpt: CheckpointArgument,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Every member, not the first dozen.")
    ] = False,
) -> int:
    """Show the graph's collections, their members, and which of them are saved."""
    with open_checkpoint(ckpt) as checkpoint:
        result = collections(checkpoint)
    if emit.SETTINGS.json:
        emit.data(collections_body(result), result.notices)
    else:
        sink = emit.out()
        sink.write(collections_lines(result, sink.layout, every=every))
        emit.words(result.notices, "note")
    return 0
