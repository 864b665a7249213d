"""``ckpttool show``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.analysis.statistics import BINS
from ckpttool.cli.options import CheckpointArgument, ExcludeOption
from ckpttool.cli.show_action import ShowOptions, show_tensors


def run(
    ckpt: CheckpointArgument,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Names, slices such as 'dense/kernel[0:2,:]', globs or scopes; "
            "none: statistics of every variable.",
            show_default=False,
        ),
    ] = None,
    values: Annotated[
        bool | None,
        typer.Option(
            "--values/--no-values",
            help="Values; default: those of named tensors (in JSON: only slices).",
            show_default=False,
        ),
    ] = None,
    stats: Annotated[
        bool, typer.Option("--stats/--no-stats", help="Statistics of the whole tensor.")
    ] = True,
    histogram: Annotated[
        bool, typer.Option("--histogram", "-H", help="A histogram of the finite values.")
    ] = False,
    bins: Annotated[int, typer.Option(metavar="N", help="Bins of the histogram.")] = BINS,
    slices: Annotated[
        bool, typer.Option("--slices", help="The parts of partitioned variables.")
    ] = False,
    every: Annotated[
        bool, typer.Option("--all", "-a", help="Every tensor with its values, of any role.")
    ] = False,
    names_only: Annotated[
        bool, typer.Option("--names", help="Every tensor's name, dtype and shape; reads no data.")
    ] = False,
    exclude: ExcludeOption = None,
    count_exclude: Annotated[
        str | None,
        typer.Option(metavar="REGEX", help="Names not to count as parameters (re.search)."),
    ] = None,
    printoptions: Annotated[
        list[str] | None,
        typer.Option(metavar="K=V", help="NumPy print options, e.g. precision=3 threshold=50."),
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Shorten no values.")] = False,
    inspect_format: Annotated[
        str | None,
        typer.Option(
            metavar="STYLE",
            help="inspect_checkpoint's exact lines: current, old (before TF 1.13) or debug.",
        ),
    ] = None,
    out: Annotated[
        str | None,
        typer.Option("--out", "-o", metavar="FILE", help="Write to .npy (one) or .npz (several)."),
    ] = None,
    as_float32: Annotated[
        bool, typer.Option("--as-float32", help="With --out: bfloat16, float8, int4 as float32.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing FILE.")] = False,
) -> int:
    """Show values, statistics and initializers; export them."""
    options = ShowOptions(
        values=values,
        statistics=stats,
        histogram=histogram,
        bins=bins,
        slices=slices,
        every=every,
        names_only=names_only,
        exclude=exclude or (),
        count_exclude=count_exclude,
        printoptions=printoptions or (),
        full=full,
        inspect=inspect_format,
        out=out,
        as_float32=as_float32,
        force=force,
    )
    return show_tensors(ckpt, names or (), options)
