"""``ckpttool prove``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.cli import prove_options as options
from ckpttool.cli.options import CheckpointArgument


def run(
    ckpt: CheckpointArgument,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="module:callable that returns a Keras model, or a .keras archive, which Keras "
            "loads in safe mode.",
            show_default=False,
        ),
    ],
    mapping: Annotated[
        str | None,
        typer.Option("--mapping", "-m", metavar="MAP", help="Fill the model through this mapping."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FILE", help="Or have the model load this file."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the mapping."),
    ] = None,
    averages: Annotated[
        str | None,
        typer.Option("--averages", metavar="POLICY", help="use as the weights, or ignore."),
    ] = None,
    graph: options.GraphOption = None,
    output: options.TensorOption = None,
    model_output: options.ModelOutputOption = None,
    feed: options.FeedOption = None,
    io: options.IoOption = None,
    float64: options.Float64Option = False,
    tolerance: options.ToleranceOption = None,
    batch: options.BatchOption = 2,
    seed: options.SeedOption = 0,
) -> int:
    """Run the TF1 graph and the converted model on random inputs, and compare their outputs."""
    from ckpttool.cli.prove_action import ProveCommand, carry_out

    how = options.options(
        True, graph, output, model_output, feed, io, float64, tolerance, batch, seed
    )
    command = ProveCommand(model, mapping, weights, tuple(param or ()), averages, how)
    return carry_out(ckpt, command)
