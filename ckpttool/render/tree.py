"""The scope tree as lines: columns where the width allows, fewer on a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckpttool.analysis.roles import VALUE_SUFFIX
from ckpttool.analysis.scopes import Scope, build
from ckpttool.analysis.tree import TreeResult, VariableRow
from ckpttool.render.lines import Layout, Line, human_bytes, plural, safe

# Collection keys to the words that people know from tf.GraphKeys, and to one letter each.
_WORDS = {
    "variables": ("GLOBAL", "G"),
    "trainable_variables": ("TRAINABLE", "T"),
    "local_variables": ("LOCAL", "L"),
    "model_variables": ("MODEL", "M"),
    "moving_average_variables": ("MOVING_AVERAGE", "A"),
    "metric_variables": ("METRIC", "m"),
}
_NARROW = 110  # columns below which collections become letters


class TreeOptions(NamedTuple):
    """How to show a tree: depth limit (None: all), slots expanded, folding, order."""

    depth: int | None = None
    slots: bool = False
    fold: bool = True
    sort: str = "name"


class _Entry(NamedTuple):
    guide: str
    node: Scope
    cut: bool


def tree_lines(result: TreeResult, options: TreeOptions, layout: Layout) -> Iterator[Line]:
    """The header, the tree and the totals."""
    yield from _header(result, layout)
    suffix = VALUE_SUFFIX if any(r.name.endswith(VALUE_SUFFIX) for r in result.variables) else ""
    root = build(
        result.variables,
        expand_slots=options.slots,
        fold=options.fold,
        strip_suffix=suffix,
        sort=options.sort,
    )
    entries = list(_walk(root, options.depth, layout.unicode))
    painter = _Painter(entries, layout, result)
    for entry in entries:
        yield painter.line(entry)
    yield from _footer(result, options, painter, suffix, layout, any(e.cut for e in entries))


def _header(result: TreeResult, layout: Layout) -> Iterator[Line]:
    summary = result.checkpoint
    dot = " · " if layout.unicode else " - "
    words = [summary.title or summary.format]
    if summary.shards > 1:
        words.append(plural(summary.shards, "shard"))
    if summary.step is not None:
        words.append(f"step {summary.step}")
    names = [path.rstrip("/").replace("\\", "/").rsplit("/", 1)[-1] for path in summary.graphs]
    if summary.has_graph:
        words.append(f"graph {', '.join(names)}")
    else:
        words.append("object graph" if summary.has_objects else "no graph")
    yield [
        (safe(summary.path, layout.unicode), "title"),
        ("  " + safe(dot.join(words), layout.unicode), "dim"),
    ]


def _walk(root: Scope, depth: int | None, unicode: bool) -> Iterator[_Entry]:
    tee, last, bar, blank = (
        ("├── ", "└── ", "│   ", "    ") if unicode else ("|-- ", "`-- ", "|   ", "    ")
    )
    stack: list[tuple[Scope, str, bool, int]] = []

    def push(node: Scope, prefix: str, level: int) -> None:
        children = node.children
        for index in range(len(children) - 1, -1, -1):
            stack.append((children[index], prefix, index == len(children) - 1, level))

    push(root, "", 1)
    while stack:
        node, prefix, is_last, level = stack.pop()
        deep = bool(node.children) and depth is not None and level >= depth
        yield _Entry(prefix + (last if is_last else tee), node, deep)
        if not deep:
            push(node, prefix + (blank if is_last else bar), level + 1)


class _Painter:
    """Lays one tree out in columns: the widths are known once all entries are."""

    def __init__(self, entries: list[_Entry], layout: Layout, result: TreeResult) -> None:
        self._unicode = layout.unicode
        self._has_graph = result.checkpoint.has_graph
        # Where only a graph is here nothing is saved, and saying so on each line tells nothing.
        self._graph_alone = result.checkpoint.format == "meta-graph"
        self.letters = layout.width is not None and layout.width < _NARROW
        self.used: set[str] = set()
        self._labels = max((_label_width(entry, layout.unicode) for entry in entries), default=0)
        rows = [entry.node.row for entry in entries if entry.node.row is not None]
        self._dtype = max((len(row.dtype) for row in rows), default=0)
        self._shape = max((len(_shape(row)) for row in rows), default=0)
        numbers = [f"{entry.node.parameters:,}" for entry in entries]
        self._number = max(map(len, numbers), default=0)
        self._bytes = max((len(human_bytes(entry.node.bytes)) for entry in entries), default=0)
        if layout.width is not None:
            # A long name must not push every other line's columns off the screen.
            fixed = self._dtype + self._shape + self._number + self._bytes + 8
            room = layout.width - fixed - (12 if self.letters else 20)
            self._labels = min(self._labels, max(room, 24))

    def line(self, entry: _Entry) -> Line:
        node, row = entry.node, entry.node.row
        label = _label(node, self._unicode)
        used = len(entry.guide) + len(label)
        line: Line = [(entry.guide, "guide"), (label, "name" if row is not None else "scope")]
        if node.repeats > 1:
            times = f" {'×' if self._unicode else 'x'}{node.repeats}"
            line.append((times, "flag"))
            used += len(times)
        line.append((" " * max(self._labels - used, 0) + "  ", ""))
        if row is None:
            line.append((" " * (self._dtype + self._shape + 4), ""))
        else:
            line.append((f"{safe(row.dtype):<{self._dtype}}  ", "dtype"))
            line.append((f"{_shape(row):<{self._shape}}  ", "shape"))
        style = "number" if row is not None else "dim"
        line.append((f"{node.parameters:>{self._number},}  ", style))
        line.append((f"{human_bytes(node.bytes):>{self._bytes}}", style))
        if row is not None:
            line.extend(self._remarks(node, row))
        if entry.cut:
            line.append((f"  {node.variables:,} below", "dim"))
        return line

    def _remarks(self, node: Scope, row: VariableRow) -> Line:
        remarks: Line = []
        if row.role != "variable":
            remarks.append((f"  {row.role}", "role"))
        if row.partitions > 1:
            remarks.append((f"  {row.partitions} partitions", "flag"))
        words = self._collections(row)
        if words:
            remarks.append((f"  {words}", "flag"))
        if not row.saved and not (self._graph_alone and row.bytes):
            remarks.append(("  not saved", "warn"))
        elif self._has_graph and not row.graph_names and row.collections is None:
            remarks.append(("  not in graph", "warn"))
        if len(row.graph_names) == 1 and not _same_name(row.graph_names[0], row.name):
            # A Saver over a dict, averages under plain names, or TF2's own name of the variable.
            remarks.append((f"  = {safe(row.graph_names[0], self._unicode)}", "dim"))
        if len(row.object_paths) > 1:
            remarks.append((f"  shared by {len(row.object_paths)} paths", "flag"))
        if node.followers:
            remarks.append((f"  +{_followers(node.followers, self._graph_alone)}", "dim"))
        return remarks

    def _collections(self, row: VariableRow) -> str:
        words = []
        for key in _WORDS:
            if row.collections and key in row.collections:
                word, letter = _WORDS[key]
                self.used.add(key)
                words.append(letter if self.letters else word)
        for key in row.collections or ():
            if key not in _WORDS:
                words.append(safe(key, self._unicode))
        return " ".join(words)


def _same_name(name: str, key: str) -> bool:
    """Whether a variable's own name tells no more than its key does."""
    path = key.removesuffix(VALUE_SUFFIX)
    return path == name or (path is not key and path.endswith("/" + name))


def _label(node: Scope, unicode: bool) -> str:
    label = safe(node.label, True)
    if not unicode:
        label = safe(label.replace("…", ".."), False)
    if node.row is None or node.children:
        return label + "/"
    return label


def _label_width(entry: _Entry, unicode: bool) -> int:
    width = len(entry.guide) + len(_label(entry.node, unicode))
    return width + (2 + len(str(entry.node.repeats)) if entry.node.repeats > 1 else 0)


def _shape(row: VariableRow) -> str:
    if row.shape is None:
        return "?"
    return "[" + ", ".join("?" if size < 0 else str(size) for size in row.shape) + "]"


def _followers(rows: Sequence[VariableRow], graph_alone: bool) -> str:
    """``2 slots, 1 average``."""
    counts: dict[tuple[str, bool], int] = {}
    for row in rows:
        saved = row.saved or (graph_alone and row.bytes > 0)
        counts[row.role, saved] = counts.get((row.role, saved), 0) + 1
    return ", ".join(
        plural(count, role) + ("" if saved else " not saved")
        for (role, saved), count in counts.items()
    )


def _footer(
    result: TreeResult,
    options: TreeOptions,
    painter: _Painter,
    suffix: str,
    layout: Layout,
    cut: bool,
) -> Iterator[Line]:
    totals = result.totals
    dot = " · " if layout.unicode else " - "
    yield []
    yield [
        (
            (
                f"{plural(totals.variables, 'tensor')}{dot}{plural(totals.parameters, 'parameter')}"
                f"{dot}{human_bytes(totals.bytes)}"
            ),
            "title",
        )
    ]
    if len(totals.by_role) > 1 or "variable" not in totals.by_role:
        width = max((len(role) for role in totals.by_role), default=0)
        for role, item in totals.by_role.items():
            yield [
                (f"  {role:<{width}}", "role"),
                (
                    (
                        f"  {item.variables:>7,}  {item.parameters:>15,}  "
                        f"{human_bytes(item.bytes):>10}"
                    ),
                    "",
                ),
            ]
    yield from _remark_lines(result, options, painter, suffix, cut)


def _remark_lines(
    result: TreeResult, options: TreeOptions, painter: _Painter, suffix: str, cut: bool
) -> Iterator[Line]:
    if result.checkpoint.format == "meta-graph":
        yield [("a graph alone: this is what its Saver would save; no values are here", "warn")]
    elif result.totals.not_saved:
        yield [(f"{plural(result.totals.not_saved, 'graph variable')} not saved", "warn")]
    if result.checkpoint_only:
        yield [
            (f"{plural(len(result.checkpoint_only), 'checkpoint key')} not in the graph", "warn")
        ]
    inferred = {row.role for row in result.variables if row.inferred and row.role != "variable"}
    if inferred:
        yield [(f"roles inferred from names and shapes: {', '.join(sorted(inferred))}", "dim")]
    if painter.letters and painter.used:
        legend = "  ".join(
            f"{_WORDS[key][1]} {_WORDS[key][0]}" for key in _WORDS if key in painter.used
        )
        yield [(legend, "dim")]
    if suffix:
        yield [(f"keys end in {suffix}", "dim")]
    if not options.slots and any(row.owner is not None for row in result.variables):
        yield [("slots and averages are folded under their variables: --slots lists them", "dim")]
    if cut:
        yield [("deeper scopes are not shown: --depth shows more", "dim")]
