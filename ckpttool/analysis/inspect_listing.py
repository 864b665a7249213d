"""The lines of TensorFlow's ``inspect_checkpoint``, and its parameter count with a breakdown.

Source of the formats: ``tensorflow:python/tools/inspect_checkpoint.py`` and, for ``debug``,
``tensorflow:c/checkpoint_reader.cc``; ``old`` is what releases before 1.13 print.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from ckpttool.errors import Problem, UsageError
from ckpttool.tensors import Shape, dtype_named

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint

STYLES = ("current", "old", "debug")
NOT_CONVERTIBLE = "<not convertible to a numpy dtype>"


@dataclass(frozen=True)
class ParameterCount:
    """Elements of all tensors but the excluded ones, and what they are for.

    Every tensor counts, strings and steps too; a partitioned variable counts once.  ``trainable``
    is None where no graph says which variables are; it is a part of ``variables``.
    """

    total: int
    variables: int
    trainable: int | None
    slots: int
    averages: int
    other: int
    pattern: str | None = None
    excluded_tensors: int = 0
    excluded_parameters: int = 0


def count_parameters(checkpoint: Checkpoint, exclude: str | None = None) -> ParameterCount:
    """Count the elements; names in which the regular expression ``exclude`` is found are left out.

    Raises :class:`UsageError` if it is no regular expression.
    """
    try:
        pattern = re.compile(exclude) if exclude else None
    except re.error as error:
        problem = Problem("USE003", f"not a regular expression: {error}", found=exclude)
        raise UsageError(problem) from error
    sums = {"variable": 0, "slot": 0, "average": 0}
    trainable, known = 0, False
    other = excluded = excluded_parameters = 0
    for row in checkpoint.rows():
        if not row.saved:
            continue
        if pattern is not None and pattern.search(row.name):
            excluded += 1
            excluded_parameters += row.parameters
            continue
        if row.role in sums:
            sums[row.role] += row.parameters
        else:
            other += row.parameters
        if row.role == "variable" and row.trainable is not None:
            known = True
            trainable += row.parameters if row.trainable else 0
    return ParameterCount(
        sum(sums.values()) + other,
        sums["variable"],
        trainable if known else None,
        sums["slot"],
        sums["average"],
        other,
        exclude or None,
        excluded,
        excluded_parameters,
    )


def tensor_line(name: str, dtype: str, shape: Shape | None, style: str) -> str:
    """The line that announces a tensor, in one of ``STYLES``."""
    sizes = [str(size) for size in shape or ()]
    if style == "old":
        return f"tensor_name:  {name}"
    if style == "debug":
        return f"{name} ({dtype_named(dtype).enum_name}) [{','.join(sizes)}]"
    return f"tensor: {name} ({dtype}) [{', '.join(sizes)}]"


def count_lines(count: ParameterCount, style: str) -> Iterator[str]:
    """The closing lines; the old style has none."""
    if style == "old":
        return
    if style == "debug":
        yield ""
    if count.pattern is not None:
        yield (
            f"# Excluding {count.excluded_tensors} tensors ({count.excluded_parameters} params) "
            f"that match {count.pattern} when counting."
        )
    yield f"# Total number of params: {count.total}"


def elements(shape: Shape | None) -> int:
    """Number of elements; 0 where the shape is not known or has an open dimension."""
    return max(0, prod(shape)) if shape is not None else 0
