"""``ckpttool suggest``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.cli.suggest_action import show_suggestion


def run(
    ckpt: Annotated[
        str, typer.Argument(metavar="CKPT", help="The checkpoint to migrate.", show_default=False)
    ],
    like: Annotated[
        str,
        typer.Option(
            "--like",
            metavar="TARGET",
            help="A file that the target model was saved to, or package.module:callable that "
            "returns it.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the mapping there, not here."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing FILE.")] = False,
) -> int:
    """Draft a mapping file from a checkpoint to a target, each rule with its evidence."""
    return show_suggestion(ckpt, like, output=output, force=force)
