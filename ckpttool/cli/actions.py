"""What ``tree`` and ``collections`` do once their options are known; imports no option parser."""

from __future__ import annotations

from collections.abc import Sequence

from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli import emit
from ckpttool.errors import EXIT_INPUT, EXIT_OK


def show_tree(
    path: str,
    *,
    match: Sequence[str] = (),
    exclude: Sequence[str] = (),
    collections: Sequence[str] = (),
    roles: Sequence[str] = (),
    depth: int | None = None,
    slots: bool = False,
    fold: bool = True,
    sort: str = "name",
) -> int:
    """Open, list, print; returns the exit code."""
    from ckpttool.analysis.tree import tree

    with open_checkpoint(path) as checkpoint:
        result = tree(
            checkpoint,
            match=match,
            exclude=exclude,
            collections=collections,
            roles=roles,
            sort=sort,
        )
    if emit.SETTINGS.json:
        from ckpttool.render.tree_json import tree_body

        emit.listing(tree_body(result), result.notices, result.damage)
    else:
        from ckpttool.render.tree import TreeOptions, tree_lines

        sink = emit.out()
        sink.write(tree_lines(result, TreeOptions(depth, slots, fold, sort), sink.layout))
        emit.words(result.notices, "note")
        emit.words(result.damage, "error")
    return EXIT_INPUT if result.damage else EXIT_OK


def show_collections(path: str, *, every: bool = False) -> int:
    """Open, list, print; returns the exit code."""
    from ckpttool.analysis.collections import collections
    from ckpttool.render.collections import collections_body, collections_lines

    with open_checkpoint(path) as checkpoint:
        result = collections(checkpoint)
    if emit.SETTINGS.json:
        emit.listing(collections_body(result), result.notices, result.damage)
    else:
        sink = emit.out()
        sink.write(collections_lines(result, sink.layout, every=every))
        emit.words(result.notices, "note")
        emit.words(result.damage, "error")
    return EXIT_INPUT if result.damage else EXIT_OK
