"""``collections`` as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ckpttool.analysis.collections import CollectionRow, CollectionsResult
from ckpttool.render.lines import Layout, Line, plural, safe

LIMIT = 12  # members shown of a long collection


def collections_body(result: CollectionsResult) -> dict[str, Any]:
    """``collections`` of the main graph, all graphs, ``graph_only`` and ``checkpoint_only``."""
    graphs = [
        {
            "path": graph.path,
            "tags": list(graph.tags),
            "tf_version": graph.tf_version,
            "collections": {
                row.name: {"kind": row.kind, "members": list(row.members), "keys": row.keys}
                for row in graph.collections
            },
        }
        for graph in result.graphs
    ]
    return {
        "checkpoint": {"path": result.checkpoint.path, "format": result.checkpoint.format},
        "collections": graphs[0]["collections"],
        "graph_only": list(result.graph_only),
        "checkpoint_only": list(result.checkpoint_only),
        "graphs": graphs,
    }


def collections_lines(result: CollectionsResult, layout: Layout, *, every: bool) -> Iterator[Line]:
    """Each collection with its meaning and members; ``every`` lists all members."""
    unicode = layout.unicode
    cut = False
    for graph in result.graphs:
        words = [f"TensorFlow {graph.tf_version}"] if graph.tf_version else []
        if graph.tags:
            words.append("tags " + ", ".join(graph.tags))
        words.append(plural(len(graph.collections), "collection"))
        yield [
            (safe(graph.path, unicode), "title"),
            ("  " + safe(", ".join(words), unicode), "dim"),
        ]
        for row in graph.collections:
            yield from _collection(row, unicode, every)
            cut = cut or (not every and len(row.members) > LIMIT)
        yield []
    if result.graph_only:
        yield [(f"{plural(len(result.graph_only), 'graph variable')} not saved", "warn")]
        yield from _names(list(result.graph_only), unicode, every)
    if result.checkpoint_only:
        count = plural(len(result.checkpoint_only), "checkpoint key")
        yield [(f"{count} that no graph variable has", "warn")]
        yield from _names(list(result.checkpoint_only), unicode, every)
    if cut or (not every and max(len(result.graph_only), len(result.checkpoint_only)) > LIMIT):
        yield [("long lists are cut: --all shows every member", "dim")]


def _collection(row: CollectionRow, unicode: bool, every: bool) -> Iterator[Line]:
    line: Line = [(safe(row.name, unicode), "scope")]
    if row.constant is not None:
        line.append((f"  GraphKeys.{row.constant}", "flag"))
    line.append((f"  {plural(len(row.members), row.kind.replace('_', ' '))}", "dim"))
    if row.meaning is not None:
        line.append((f"  {safe(row.meaning, unicode)}", "dim"))
    yield line
    shown = row.members if every else row.members[:LIMIT]
    for member in shown:
        text = safe(str(member), unicode)
        if not row.keys:
            yield [(f"  {text}", "")]
            continue
        key = row.keys.get(str(member))
        note: Line = []
        if key is None:
            note = [("  not saved", "warn")]
        elif key != member:
            note = [("  saved as ", "dim"), (safe(key, unicode), "name")]
        yield [(f"  {text}", ""), *note]
    if len(shown) < len(row.members):
        yield [(f"  and {len(row.members) - len(shown):,} more", "dim")]


def _names(names: list[str], unicode: bool, every: bool) -> Iterator[Line]:
    shown = names if every else names[:LIMIT]
    for name in shown:
        yield [(f"  {safe(name, unicode)}", "")]
    if len(shown) < len(names):
        yield [(f"  and {len(names) - len(shown):,} more", "dim")]
