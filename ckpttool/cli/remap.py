"""``ckpttool remap``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.cli.options import CheckpointArgument, choice


def run(
    ckpt: CheckpointArgument,
    mapping: Annotated[
        str | None,
        typer.Option("--mapping", "-m", metavar="MAP", help="A mapping file, or a built-in one."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="OUT", help="Prefix to write.")
    ] = None,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="Target format: tf1.")] = "tf1",
    add_prefix: Annotated[
        str, typer.Option(metavar="SCOPE/", help="Put every name under a scope.")
    ] = "",
    strip_prefix: Annotated[
        str, typer.Option(metavar="SCOPE/", help="Take a scope off every name under it.")
    ] = "",
    rename: Annotated[
        list[str] | None,
        typer.Option(metavar="OLD=NEW", help="A rule without a file, e.g. 'a/**=b/**'."),
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option(metavar="PATTERN", help="Leave these names out.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the mapping."),
    ] = None,
    slots: Annotated[
        str | None, typer.Option(metavar="POLICY", help="follow their variable, or drop.")
    ] = None,
    unmatched: Annotated[
        str | None, typer.Option(metavar="POLICY", help="error, keep or drop.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Print the checked plan, write nothing.")
    ] = False,
    link: Annotated[
        bool, typer.Option("--link", help="Hard-link the data files; write only an index.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Read the output back and check it.")
    ] = True,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="List every tensor of the plan.")
    ] = False,
) -> int:
    """Rewrite names through a mapping file."""
    from ckpttool.cli.remap_action import carry_out

    choice("--to", [to], ("tf1",))
    return carry_out(
        ckpt,
        output,
        mapping=mapping,
        add_prefix=add_prefix,
        strip_prefix=strip_prefix,
        rename=rename or (),
        drop=drop or (),
        params=param or (),
        slots=slots,
        unmatched=unmatched,
        dry_run=dry_run,
        link=link,
        force=force,
        verify=verify,
        every=every,
    )
