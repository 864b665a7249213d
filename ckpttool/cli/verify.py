"""``ckpttool verify``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.cli.verify_action import show_verify


def run(
    ckpts: Annotated[
        list[str],
        typer.Argument(
            metavar="CKPT...",
            help="Checkpoints; of a directory all that are in it, and its state file.",
            show_default=False,
        ),
    ],
    quick: Annotated[
        bool, typer.Option("--quick", help="Read no tensor data: files, sizes, slices, graph.")
    ] = False,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="List the tensors that can still be read.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            metavar="ENGINE",
            help="Read all with this engine too and compare: tensorflow.",
        ),
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Every damaged tensor, not the first 20.")
    ] = False,
) -> int:
    """Check every checksum, shard, slice and offset; report all damage at once."""
    return show_verify(*ckpts, quick=quick, salvage=salvage, against=against, every=every)
