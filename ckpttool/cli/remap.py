"""``ckpttool remap``."""

from __future__ import annotations

from typing import Annotated

import typer

from ckpttool.cli import prove_options as proofs
from ckpttool.cli.options import CheckpointArgument


def run(
    ckpt: CheckpointArgument,
    mapping: Annotated[
        str | None,
        typer.Option("--mapping", "-m", metavar="MAP", help="A mapping file, or a built-in one."),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="OUT", help="File or prefix to write.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="FORMAT",
            help="tf1, tf2, keras, keras-h5, keras-archive, safetensors or npz; "
            "default: the mapping's target, or by OUT's name.",
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="TARGET",
            help="A file of the target model, or module:callable: its names and shapes bind.",
        ),
    ] = None,
    cast: Annotated[bool, typer.Option("--cast", help="Turn values into --like's dtypes.")] = False,
    allow_missing: Annotated[
        list[str] | None,
        typer.Option("--allow-missing", metavar="GLOB", help="Targets that may be left out."),
    ] = None,
    allow_unused: Annotated[
        list[str] | None,
        typer.Option("--allow-unused", metavar="GLOB", help="Source names that need no rule."),
    ] = None,
    add_prefix: Annotated[
        str, typer.Option("--add-prefix", metavar="SCOPE/", help="Put every name under a scope.")
    ] = "",
    strip_prefix: Annotated[
        str,
        typer.Option("--strip-prefix", metavar="SCOPE/", help="Take a scope off the names in it."),
    ] = "",
    rename: Annotated[
        list[str] | None,
        typer.Option(
            "--rename", metavar="OLD=NEW", help="A rule without a file, e.g. 'a/**=b/**'."
        ),
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option("--drop", metavar="PATTERN", help="Leave these names out."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter of the mapping."),
    ] = None,
    slots: Annotated[
        str | None,
        typer.Option("--slots", metavar="POLICY", help="follow their variable, or drop."),
    ] = None,
    averages: Annotated[
        str | None,
        typer.Option("--averages", metavar="POLICY", help="use as the weights, or ignore."),
    ] = None,
    unmatched: Annotated[
        str | None, typer.Option("--unmatched", metavar="POLICY", help="error, keep or drop.")
    ] = None,
    inverse: Annotated[
        bool,
        typer.Option("--inverse", help="Undo the mapping; exactly with --like ORIGINAL."),
    ] = False,
    salvage: Annotated[
        bool, typer.Option("--salvage", help="Leave out what is damaged, and list it.")
    ] = False,
    optimizer: Annotated[
        str | None,
        typer.Option(
            "--optimizer",
            metavar="NAME[,learning_rate=R]",
            help="Slots become this optimizer's state in --like's Keras model: adam, momentum, …",
        ),
    ] = None,
    max_shard_size: Annotated[
        str | None,
        typer.Option("--max-shard-size", metavar="SIZE", help="Split the output, e.g. 5GB."),
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
    prove: Annotated[
        bool,
        typer.Option(
            "--prove",
            help="First fill the model of --like (module:callable, .keras), run it and the TF1 "
            "graph on random inputs, and write nothing unless the outputs are equal. "
            "The options below are for this; ckpttool prove does it alone.",
        ),
    ] = False,
    graph: proofs.GraphOption = None,
    output_tensor: proofs.RemapTensorOption = None,
    model_output: proofs.ModelOutputOption = None,
    feed: proofs.FeedOption = None,
    io: proofs.IoOption = None,
    float64: proofs.Float64Option = False,
    tolerance: proofs.ToleranceOption = None,
    batch: proofs.BatchOption = 2,
    seed: proofs.SeedOption = 0,
) -> int:
    """Rewrite names and tensors through a mapping file, to TF1, TF2, Keras, safetensors, npz."""
    from ckpttool.cli.remap_action import RemapCommand, carry_out

    proof = proofs.options(
        prove, graph, output_tensor, model_output, feed, io, float64, tolerance, batch, seed
    )
    command = RemapCommand(
        mapping, output, to, like, cast, tuple(allow_missing or ()), tuple(allow_unused or ()),
        add_prefix, strip_prefix, tuple(rename or ()), tuple(drop or ()), tuple(param or ()),
        slots, averages, unmatched, inverse, salvage, max_shard_size, dry_run, link, force,
        verify, every, optimizer, proof,
    )  # fmt: skip
    return carry_out(ckpt, command)
