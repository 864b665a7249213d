"""``ckpttool collections``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.cli.actions import show_collections
from ckpttool.cli.options import CheckpointArgument


def run(
    ckpt: CheckpointArgument,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Every member, not the first dozen.")
    ] = False,
) -> int:
    """Show the graph's collections and their members."""
    return show_collections(ckpt, every=every)
