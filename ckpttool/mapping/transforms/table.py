"""The closed set of transforms, and what is made from its table: schema and reference."""

from __future__ import annotations

from typing import Any

from ckpttool.mapping.transforms.arguments import Param
from ckpttool.mapping.transforms.blocks import Pad, PermuteBlocks, ReorderGates, SumBlocks
from ckpttool.mapping.transforms.declared import Declared
from ckpttool.mapping.transforms.each import Each
from ckpttool.mapping.transforms.joining import (
    Concat,
    Deinterleave,
    Interleave,
    Pick,
    Split,
    Stack,
    Unstack,
)
from ckpttool.mapping.transforms.layout import (
    Expand,
    Flip,
    Index,
    Reshape,
    Slice,
    Squeeze,
    Transpose,
)
from ckpttool.mapping.transforms.values import Add, Cast, Constant, Ones, Scale, Square, Zeros

TRANSFORMS: dict[str, type[Declared]] = {
    row.name: row
    for row in (
        Reshape,
        Transpose,
        Squeeze,
        Expand,
        Flip,
        Slice,
        Index,
        Pad,
        PermuteBlocks,
        ReorderGates,
        Split,
        Unstack,
        Deinterleave,
        Concat,
        Stack,
        Interleave,
        Pick,
        Each,
        Add,
        Scale,
        Square,
        SumBlocks,
        Cast,
        Zeros,
        Ones,
        Constant,
    )
}


def is_bare(transform: type[Declared]) -> bool:
    """Whether it may be written as its name alone."""
    return not any(param.required for param in transform.params)


def schema() -> dict[str, Any]:
    """JSON Schema of the value of `apply`, to stand at ``#/$defs/apply``."""
    bare = [name for name, row in TRANSFORMS.items() if is_bare(row)]
    forms: list[dict[str, Any]] = [{"enum": bare}]
    for name, row in TRANSFORMS.items():
        forms.append(
            {
                "type": "object",
                "description": row.summary,
                "properties": {name: _arguments(row)},
                "required": [name],
                "additionalProperties": False,
            }
        )
    return {"type": "array", "items": {"anyOf": forms}}


def _arguments(row: type[Declared]) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "type": "object",
        "properties": {
            param.name: {**param.kind.schema, "description": param.help} for param in row.params
        },
        "additionalProperties": False,
    }
    required = [param.name for param in row.params if param.required]
    if required:
        whole["required"] = required
    forms: list[dict[str, Any]] = [whole]
    short = next((param for param in row.params if param.name == row.short), None)
    if short is not None:
        forms.append(dict(short.kind.schema))
    if is_bare(row):
        forms.append({"type": "null"})
    return forms[0] if len(forms) == 1 else {"anyOf": forms}


def reference() -> list[tuple[str, str, tuple[Param, ...], str | None, str, str]]:
    """A row for each transform: name, summary, parameters, the short one, undoing, slots."""
    return [
        (row.name, row.summary, row.params, row.short, row.undone, row.slots)
        for row in TRANSFORMS.values()
    ]
