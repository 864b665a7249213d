"""The transforms that a mapping may apply: a closed set, typed, checked before data is read.

``parse.parse_chain`` reads a list of them, ``chain.Chain`` is one, ``lazy.leaf`` begins the arrays
that it works on.
"""

from __future__ import annotations

from typing import Any


def schema() -> dict[str, Any]:
    """JSON Schema of the value of `apply`, to stand at ``#/$defs/apply``."""
    from ckpttool.mapping.transforms import table

    return table.schema()


def reference() -> list[tuple[str, str, tuple[Any, ...], str | None, str, str]]:
    """A row for each transform: name, summary, parameters, the short one, undoing, slots."""
    from ckpttool.mapping.transforms import table

    return table.reference()
