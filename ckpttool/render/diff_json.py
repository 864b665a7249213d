"""``diff`` of two checkpoints as JSON; the keys are a contract (docs/reference/json.md)."""

from __future__ import annotations

from typing import Any

from ckpttool.analysis.diff import Change, DiffResult, Rename
from ckpttool.analysis.metrics import Metrics
from ckpttool.analysis.tree import CheckpointSummary


def diff_body(result: DiffResult) -> dict[str, Any]:
    """The keys of ``diff --json`` for two checkpoints; see docs/reference/json.md."""
    return {
        "checkpoints": [checkpoint_data(item) for item in result.checkpoints],
        "added": [item.name for item in result.added],
        "removed": [item.name for item in result.removed],
        "changed": [change_data(item) for item in result.changed],
        "close": [change_data(item) for item in result.close],
        "renamed": [_rename_data(item) for item in result.renamed],
        "identical": len(result.identical),
        "identical_by_checksum": result.by_index,
        "unreadable": [item.name for item in result.unreadable],
        "dropped": list(result.dropped),
    }


def checkpoint_data(summary: CheckpointSummary) -> dict[str, Any]:
    """One checkpoint's path and kind."""
    return {
        "path": summary.path,
        "format": summary.format,
        "step": summary.step,
        "shards": summary.shards,
        "has_graph": summary.has_graph,
    }


def change_data(item: Change) -> dict[str, Any]:
    """One tensor that changed."""
    return {
        "name": item.name,
        "kind": item.kind,
        "a": {"dtype": item.a.dtype, "shape": list(item.a.shape)},
        "b": {"dtype": item.b.dtype, "shape": list(item.b.shape)},
        **_metrics_data(item.metrics),
        "role": item.role,
        "owner": item.owner,
    }


def _metrics_data(metrics: Metrics | None) -> dict[str, Any]:
    if metrics is None:
        keys = ("max_abs", "mean_abs", "rel_l2", "cosine", "changed_fraction")
        counts = ("nan_a", "nan_b", "inf_a", "inf_b", "elements", "differing")
        return dict.fromkeys((*keys, *counts))
    return {
        "max_abs": metrics.max_abs,
        "mean_abs": metrics.mean_abs,
        "rel_l2": metrics.rel_l2,
        "cosine": metrics.cosine,
        "changed_fraction": metrics.changed_fraction,
        "nan_a": metrics.nan_a,
        "nan_b": metrics.nan_b,
        "inf_a": metrics.inf_a,
        "inf_b": metrics.inf_b,
        "elements": metrics.elements,
        "differing": metrics.differing,
    }


def _rename_data(item: Rename) -> dict[str, Any]:
    change = item.change
    return {
        "a": item.a,
        "b": item.b,
        "evidence": item.evidence,
        "identical": change is None,
        **({} if change is None else _metrics_data(change.metrics)),
        "role": item.role,
        "owner": item.owner,
    }
