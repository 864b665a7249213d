"""``ckpttool mappings``."""

from __future__ import annotations

from typing import Annotated

import typer


def run(
    action: Annotated[
        str, typer.Argument(metavar="ACTION", help="list, show or lint.", show_default=False)
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MAP...]", help="Mapping files, or built-in ones.", show_default=False
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
) -> int:
    """List the built-in mapping files, show one, or check files without a checkpoint."""
    from ckpttool.cli.mappings_action import carry_out

    return carry_out(action, tuple(names or ()), against, tuple(param or ()))
