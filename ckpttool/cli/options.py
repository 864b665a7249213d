"""Options that several commands share, declared once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ckpttool.errors import Problem, UsageError

CheckpointArgument = Annotated[
    str,
    typer.Argument(
        metavar="CKPT",
        help="Prefix, directory, member file, SavedModel, .h5, .keras, .safetensors, .npz or URL.",
        show_default=False,
    ),
]
MatchOption = Annotated[
    list[str] | None,
    typer.Option("--match", metavar="GLOB", help="Only names that match; * ** ? [abc]."),
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option("--exclude", metavar="GLOB", help="Not these names.")
]


def choice(option: str, values: Sequence[str], allowed: Sequence[str]) -> None:
    """Refuse a value that is not one of ``allowed``, naming them all."""
    for value in values:
        if value not in allowed:
            raise UsageError(
                Problem(
                    "USE003",
                    f"{option} does not know this value",
                    found=value,
                    expected=", ".join(allowed),
                )
            )
