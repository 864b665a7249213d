"""``ckpttool dups``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.cli.dups_action import show_dups


def run(
    ckpts: Annotated[
        list[str],
        typer.Argument(
            metavar="CKPT...",
            help="A checkpoint; several of one run, oldest first, or their directory: which "
            "variables ever move is evidence too.",
            show_default=False,
        ),
    ],
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Look-alikes that are no findings, too.")
    ] = False,
    shared: Annotated[
        bool, typer.Option("--shared", help="List variables that several towers really share.")
    ] = False,
    values: Annotated[
        bool, typer.Option("--values/--no-values", help="Look at values; without, names and graph.")
    ] = True,
    write_mapping: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A mapping for remap that keeps the live copies."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing FILE.")] = False,
) -> int:
    """Find variables that should have been shared and were not."""
    return show_dups(
        *ckpts, every=every, shared=shared, values=values, write_mapping=write_mapping, force=force
    )
