"""``diff`` summed up by scope."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from ckpttool.analysis.diff import Change, DiffResult
from ckpttool.render.diff_texts import number
from ckpttool.render.lines import Layout, Line, safe

_SCOPES = 12  # rows at most


class _Scope:
    __slots__ = ("added", "changed", "identical", "removed", "renamed", "squares_a", "squares_d")

    def __init__(self) -> None:
        self.added = self.removed = self.changed = self.renamed = self.identical = 0
        self.squares_a = self.squares_d = 0.0

    def relative(self) -> float:
        if not self.squares_d:
            return 0.0
        return math.sqrt(self.squares_d / self.squares_a) if self.squares_a else math.inf


def scope_table(result: DiffResult, layout: Layout) -> Iterator[Line]:
    """One row for each scope, most changed first; nothing where there is one scope only."""
    names = [
        *(item.name for item in (*result.added, *result.removed)),
        *(item.name for item in (*result.changed, *result.close)),
        *(item.b for item in result.renamed),
        *result.identical,
    ]
    scope_of = _scopes(names)
    scopes: dict[str, _Scope] = {}

    def scope(name: str) -> _Scope:
        return scopes.setdefault(scope_of[name], _Scope())

    for item in (*result.changed, *result.close):
        entry = scope(item.name)
        entry.changed += 1
        _add_squares(entry, item)
    for listed in result.added:
        scope(listed.name).added += 1
    for listed in result.removed:
        scope(listed.name).removed += 1
    for rename in result.renamed:
        scope(rename.b).renamed += 1
    for name in result.identical:
        scope(name).identical += 1
    if len(scopes) < 2 or result.same:
        return
    width = max(len(safe(name, layout.unicode)) for name in scopes)
    heads = ("changed", "same", "added", "removed", "renamed", "rel L2")
    yield [(f"{'scope':<{width}}  " + "  ".join(f"{head:>7}" for head in heads), "dim")]
    for name, entry in sorted(scopes.items(), key=lambda pair: _scope_order(*pair)):
        numbers = (entry.changed, entry.identical, entry.added, entry.removed, entry.renamed)
        cells = [f"{value:>7,}" if value else f"{'':>7}" for value in numbers]
        relative = number(entry.relative()) if entry.changed else ""
        yield [
            (f"{safe(name, layout.unicode):<{width}}  ", "scope"),
            ("  ".join([*cells, f"{relative:>7}"]), "number"),
        ]


def _add_squares(entry: _Scope, item: Change) -> None:
    metrics = item.metrics
    # A step counter's thousands would drown every weight beside it.
    if metrics is None or item.role != "variable" or metrics.norm_a is None:
        return
    if metrics.rel_l2 is None or metrics.norm_b is None or not math.isfinite(metrics.norm_a):
        return
    distance = metrics.rel_l2 * metrics.norm_a if metrics.norm_a else metrics.norm_b
    if math.isfinite(distance) and distance < 1e150 and metrics.norm_a < 1e150:
        entry.squares_d += distance * distance
        entry.squares_a += metrics.norm_a * metrics.norm_a


def _scope_order(name: str, entry: _Scope) -> tuple[float, int, str]:
    touched = entry.added + entry.removed + entry.changed + entry.renamed
    relative = entry.relative()
    return (-(relative if math.isfinite(relative) else 0.0), -touched, name)


def _scopes(names: Sequence[str]) -> dict[str, str]:
    """The scope to sum each name up under: as deep as still gives few scopes.

    What lies under another tensor's name (a slot) is summed up with that.
    """
    known = frozenset(names)
    heads: dict[str, tuple[str, ...]] = {}
    for name in names:
        head = name.rpartition("/")[0]
        while head in known:
            head = head.rpartition("/")[0]
        heads[name] = tuple(head.split("/")) if head else ()
    depth = 1
    while depth < 3 and len({head[: depth + 1] for head in heads.values()}) <= _SCOPES:
        depth += 1
    return {name: "/".join(head[:depth]) or "." for name, head in heads.items()}
