"""``tree`` as JSON; the keys are a contract (docs/reference/json.md)."""

from __future__ import annotations

from typing import Any

from ckpttool.analysis.tree import TreeResult


def tree_body(result: TreeResult) -> dict[str, Any]:
    """``checkpoint``, ``variables`` and ``totals``."""
    summary = result.checkpoint
    return {
        "checkpoint": {
            "path": summary.path,
            "format": summary.format,
            "step": summary.step,
            "shards": summary.shards,
            "has_graph": summary.has_graph,
        },
        "variables": [row._asdict() for row in result.variables],
        "totals": {
            "variables": result.totals.variables,
            "parameters": result.totals.parameters,
            "bytes": result.totals.bytes,
            "not_saved": result.totals.not_saved,
            "by_role": {role: item._asdict() for role, item in result.totals.by_role.items()},
        },
    }
