"""The graph of a checkpoint among the text protos of its directory."""

from __future__ import annotations

from collections.abc import Iterable

from ckpttool.errors import Problem
from ckpttool.formats.base import GraphSource
from ckpttool.formats.locating.folder import Folder

_TEXT_HEAD = 4096


def text_graph(
    folder: Folder, base: str, texts: Iterable[str]
) -> tuple[tuple[GraphSource, ...], tuple[Problem, ...]]:
    """The graph among the text protos of a directory: ``graph.pbtxt``, the prefix's, or the one."""
    graphs = {name: kind for name in texts if (kind := _text_kind(folder, name))}
    for name in (base + ".pbtxt", "graph.pbtxt"):
        if name in graphs:
            return (GraphSource(folder.join(name), graphs[name]),), ()
    if len(graphs) == 1:
        name, kind = graphs.popitem()
        return (GraphSource(folder.join(name), kind),), ()
    return (), ()


def _text_kind(folder: Folder, name: str) -> str | None:
    from ckpttool.formats.locating.sniff import text_graph_kind

    file = folder.files.open(folder.join(name))
    try:
        kind = text_graph_kind(file.pread(0, _TEXT_HEAD))
    finally:
        file.close()
    return kind if kind in ("graph_def", "meta_graph") else None
