"""``ckpttool tree``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.analysis.roles import ROLES
from ckpttool.analysis.tree import SORTS
from ckpttool.cli.actions import show_tree
from ckpttool.cli.options import CheckpointArgument, ExcludeOption, MatchOption, choice


def run(
    ckpt: CheckpointArgument,
    match: MatchOption = None,
    exclude: ExcludeOption = None,
    collection: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only members, e.g. TRAINABLE or a custom name."),
    ] = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role",
            metavar="ROLE",
            help="variable, slot, average, step, table, object_graph or other.",
        ),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Scopes below this level are summed up.")
    ] = None,
    slots: Annotated[
        bool, typer.Option("--slots", help="List slots and averages, not fold them.")
    ] = False,
    fold: Annotated[bool, typer.Option(help="Fold numbered repeats such as layer_{0…11}.")] = True,
    sort: Annotated[
        str, typer.Option(metavar="ORDER", help="name, size or file (key order).")
    ] = "name",
) -> int:
    """Show variables as a scope tree."""
    choice("--role", role or (), ROLES)
    choice("--sort", [sort], SORTS)
    return show_tree(
        ckpt,
        match=match or (),
        exclude=exclude or (),
        collections=collection or (),
        roles=role or (),
        depth=depth,
        slots=slots,
        fold=fold,
        sort=sort,
    )
