"""``collections``: every collection of the graph, its members, and what is saved of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis.tree import CheckpointSummary
from ckpttool.errors import InputError, Problem

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint

Member = str | int | float


class CollectionRow(NamedTuple):
    """One collection.

    ``kind`` is ``variable node bytes int64 float any queue_runner context saver`` or ``empty``.
    ``keys`` gives, for each member of a variable collection, the checkpoint key that holds it,
    or None if it is not saved.  ``constant`` is its name in ``tf.GraphKeys``, if it has one.
    """

    name: str
    kind: str
    members: tuple[Member, ...]
    keys: dict[str, str | None]
    constant: str | None
    meaning: str | None


class GraphCollections(NamedTuple):
    """The collections of one MetaGraph; ``tags`` are those of a SavedModel's."""

    path: str
    tags: tuple[str, ...]
    tf_version: str
    collections: tuple[CollectionRow, ...]


class CollectionsResult(NamedTuple):
    """All graphs' collections; ``graphs[0]`` is the one that explains the checkpoint best.

    ``graph_only`` are graph variables that the checkpoint does not hold; ``checkpoint_only`` are
    keys that no graph variable has.
    """

    checkpoint: CheckpointSummary
    graphs: tuple[GraphCollections, ...]
    graph_only: tuple[str, ...]
    checkpoint_only: tuple[str, ...]
    notices: tuple[Problem, ...]
    damage: tuple[Problem, ...] = ()


def collections(checkpoint: Checkpoint) -> CollectionsResult:
    """The collections of an open checkpoint's graphs; :class:`InputError` if it has no graph."""
    joined = checkpoint.joined
    if joined is None:
        raise InputError(
            *checkpoint.notices(),
            Problem(
                "INP012",
                "no graph is beside this checkpoint, and collections are kept in the graph",
                checkpoint.info.path,
                expected="a .meta, saved_model.pb or graph.pbtxt with it",
                hint=f"ckpttool tree {checkpoint.info.path}",
            ),
        )
    from ckpttool.graph.graphkeys import GRAPH_KEYS

    graphs = sorted(checkpoint.graphs, key=lambda graph: graph is not joined.graph)
    found = []
    for graph in graphs:
        rows = []
        for collection in graph.collections.values():
            key = GRAPH_KEYS.get(collection.name)
            members = collection.members
            keys = {}
            if collection.kind == "variable":
                keys = {str(name): checkpoint.stored_key(str(name)) for name in members}
            rows.append(
                CollectionRow(
                    collection.name,
                    collection.kind,
                    members,
                    keys,
                    None if key is None else key.constant,
                    None if key is None else key.meaning,
                )
            )
        found.append(GraphCollections(graph.path, graph.tags, graph.tf_version, tuple(rows)))
    return CollectionsResult(
        checkpoint.summary(),
        tuple(found),
        tuple(row.name for row in checkpoint.rows() if not row.saved),
        checkpoint.checkpoint_only(),
        checkpoint.notices(),
        checkpoint.damage(),
    )
