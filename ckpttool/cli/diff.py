"""``ckpttool diff``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.analysis.diff import DiffOptions
from ckpttool.analysis.metrics import Tolerance
from ckpttool.analysis.roles import ROLES
from ckpttool.cli.diff_action import FAIL_ON, TOP, DiffCommand, compare
from ckpttool.cli.options import ExcludeOption, MatchOption, choice


def run(
    ckpts: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C]...",
            help="Checkpoints of any formats, in order; with --all-steps a directory.",
            show_default=False,
        ),
    ],
    match: MatchOption = None,
    exclude: ExcludeOption = None,
    role: Annotated[
        list[str] | None,
        typer.Option(
            "--role", metavar="ROLE", help="Only this role: variable, slot, average, step, …"
        ),
    ] = None,
    rtol: Annotated[float, typer.Option(min=0, help="Close if |a-b| <= atol + rtol*|b|.")] = 0.0,
    atol: Annotated[float, typer.Option(min=0, help="See --rtol.")] = 0.0,
    full: Annotated[
        bool, typer.Option("--full", help="Read also what equal checksums call identical.")
    ] = False,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Verify stored checksums of what is read.")
    ] = True,
    mapping: Annotated[
        str | None,
        typer.Option("-m", "--mapping", metavar="MAP", help="Rename A's tensors by this first."),
    ] = None,
    write_mapping: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the renames found as a mapping file."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it is there.")] = False,
    renames: Annotated[bool, typer.Option(help="Look for renamed tensors.")] = True,
    strip_prefix_a: Annotated[
        str, typer.Option(metavar="TEXT", help="Take TEXT off A's names.")
    ] = "",
    strip_prefix_b: Annotated[
        str, typer.Option(metavar="TEXT", help="Take TEXT off B's (and C's) names.")
    ] = "",
    all_steps: Annotated[
        bool, typer.Option("--all-steps", help="Every checkpoint of a directory, by step.")
    ] = False,
    watch_values: Annotated[
        int, typer.Option(metavar="N", min=0, help="Print the first N values at each step.")
    ] = 0,
    fail_on: Annotated[
        str | None,
        typer.Option(
            metavar="KINDS",
            help=f"Exit 1 for these only: {','.join(FAIL_ON)}; of a series its classes.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=0, help="Rows of a section; 0: all.")] = TOP,
    slots: Annotated[
        bool, typer.Option("--slots", help="List slots and averages, not fold them.")
    ] = False,
) -> int:
    """Compare checkpoints: names, shapes, dtypes, values; two of them, or a whole run.

    Exit code 0: the same; 1: they differ.
    """
    choice("--role", role or (), ROLES)
    options = DiffOptions(
        match=match or (),
        exclude=exclude or (),
        roles=role or (),
        tolerance=Tolerance(rtol, atol),
        full=full,
        check=check,
        renames=renames,
        strip_prefix_a=strip_prefix_a,
        strip_prefix_b=strip_prefix_b,
    )
    kinds = tuple(word.strip() for word in (fail_on or "").split(",") if word.strip())
    command = DiffCommand(mapping, write_mapping, force, all_steps, watch_values, kinds, top, slots)
    return compare(ckpts, options, command)
