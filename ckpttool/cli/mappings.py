"""``ckpttool mappings``."""

from __future__ import annotations

from typing import Annotated

import typer


def run(
    action: Annotated[
        str,
        typer.Argument(metavar="ACTION", help="list, show, lint or detect.", show_default=False),
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MAP...|CKPT]",
            help="Mapping files, or built-in ones; detect: a checkpoint.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="CKPT", help="lint: plan for this checkpoint too."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="lint: a parameter of the mapping."),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="TARGET",
            help="detect: a file of the target model, or module:callable: what fits it is first.",
        ),
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also", metavar="PATH", help="detect: a mapping file of yours, or a folder of them."
        ),
    ] = None,
) -> int:
    """List the built-in mapping files, show one, check files, or tell which fit a checkpoint."""
    from ckpttool.cli.mappings_action import MappingsCommand, carry_out

    command = MappingsCommand(
        action, tuple(names or ()), against, tuple(param or ()), like, tuple(also or ())
    )
    return carry_out(command)
