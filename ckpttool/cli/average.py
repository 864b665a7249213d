"""``ckpttool average``."""

from __future__ import annotations

from typing import Annotated

import typer


def run(
    ckpts: Annotated[
        list[str],
        typer.Argument(
            metavar="CKPT...",
            help="Checkpoints, the last one last; of a directory all that are in it, by step.",
            show_default=False,
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="OUT", help="File or prefix to write.")
    ],
    last: Annotated[
        int | None,
        typer.Option("--last", metavar="N", help="Of a directory only the N newest, by step."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="W,W,...", help="What each counts; default: the same."),
    ] = None,
    slots: Annotated[
        str | None,
        typer.Option(
            "--slots",
            metavar="POLICY",
            help="Optimizer's variables: drop, average, or last (of the last checkpoint). "
            "Default: drop; last where an object graph lists them.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="FORMAT", help="As of remap; default: by OUT's name, or tf1."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify/--no-verify", help="Read the output back and check it.")
    ] = True,
    every: Annotated[bool, typer.Option("--all", "-a", help="List every tensor.")] = False,
) -> int:
    """Write the mean of checkpoints: dtypes kept, integers and steps from the last."""
    from ckpttool.cli.average_action import AverageCommand, carry_out

    command = AverageCommand(output, last, weights, slots, to, force, verify, every)
    return carry_out(ckpts, command)
