"""The options of a numeric proof, for the commands that give one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ckpttool.errors import Problem, UsageError

if TYPE_CHECKING:
    from ckpttool.mapping.proving.proof import ProveOptions

GraphOption = Annotated[
    str | None,
    typer.Option("--graph", metavar="FILE", help="Another graph: a .meta file for inference."),
]
TensorOption = Annotated[
    str | None,
    typer.Option(
        "--output-tensor", "--output", metavar="TENSOR", help="The graph's output, as logits:0."
    ),
]
RemapTensorOption = Annotated[
    str | None,
    typer.Option("--output-tensor", metavar="TENSOR", help="The graph's output, as logits:0."),
]
ModelOutputOption = Annotated[
    str | None,
    typer.Option("--model-output", metavar="NAME", help="Which of several outputs of the model."),
]
FeedOption = Annotated[
    list[str] | None,
    typer.Option(
        "--feed",
        metavar="NAME=SPEC",
        help="What goes into an input of the graph: normal, normal:MEAN:STD, uniform:LOW:HIGH, "
        "int:LOW:HIGH, a number, true, false; shape:2x16; to:MODEL_INPUT, to:- for none. "
        "Commas between them.",
    ),
]
IoOption = Annotated[
    str | None,
    typer.Option(
        "--io",
        metavar="FILE.npz",
        help="Instead of a graph: arrays input (or input/NAME) and output, the expected one.",
    ),
]
Float64Option = Annotated[
    bool, typer.Option("--float64", help="Both in float64: only real differences remain.")
]
ToleranceOption = Annotated[
    float | None,
    typer.Option(
        "--tolerance",
        metavar="SHARE",
        help="Largest error, by sensitivity, that is rounding. Default: 1e-4; 1e-6 in float64.",
    ),
]
BatchOption = Annotated[int, typer.Option("--batch", metavar="N", help="Examples of an input.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Of the random inputs.")]


def options(
    wanted: bool,
    graph: str | None,
    output: str | None,
    model_output: str | None,
    feeds: Sequence[str] | None,
    io: str | None,
    float64: bool,
    tolerance: float | None,
    batch: int,
    seed: int,
) -> ProveOptions | None:
    """What a proof is asked to do; None where none is ``wanted``.

    Raises :class:`UsageError` for options of a proof without one, and for numbers that are none.
    """
    given = (graph, output, model_output, feeds, io, float64 or None, tolerance)
    if not wanted:
        if any(item not in (None, []) for item in given):
            raise UsageError(Problem("USE001", "these options are for a proof", hint="--prove"))
        return None
    if batch < 1 or seed < 0 or (tolerance is not None and not 0 <= tolerance <= 1):
        found = f"--batch {batch}, --seed {seed}, --tolerance {tolerance}"
        raise UsageError(Problem("USE003", "a number is out of range", found=found))
    from ckpttool.mapping.proving.proof import ProveOptions

    return ProveOptions(
        graph, output, model_output, tuple(feeds or ()), io, float64, tolerance, batch, seed
    )
