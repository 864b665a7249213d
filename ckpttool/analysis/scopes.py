"""The scope tree that people see: followers under their variable, numbered repeats folded.

Works on rows alone.  Nothing is lost in folding: a fold names what it stands for, and its
parameter and byte counts are those of all its members.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ckpttool.analysis.tree import VariableRow
from ckpttool.names import natural_key

_NUMBER = re.compile("[0-9]{1,18}")
# Two copies are never folded: a pair `x_1`, `x_2` may be a twin that somebody is looking for.
MIN_FOLD = 3
# A name with more scopes than this hangs off the root whole: prefixes of every depth would cost
# the square of a hostile name's length.
MAX_DEPTH = 128


class Scope:
    """A node: a scope, a variable, or both (a variable that other keys are nested under).

    ``label`` is what to print: one component, several joined by ``/`` where a scope has a single
    child, or a fold such as ``layer_{0…11}``.  ``repeats`` is how many siblings the node stands
    for; ``parameters``, ``bytes`` and ``variables`` count the node with all below it, for all of
    the repeats, but without followers: the lines that are shown add up.
    """

    __slots__ = (
        "bytes",
        "children",
        "followers",
        "label",
        "parameters",
        "path",
        "repeats",
        "row",
        "signature",
        "variables",
    )

    def __init__(self, label: str, path: str, row: VariableRow | None = None) -> None:
        self.label = label
        self.path = path
        self.row = row
        self.children: list[Scope] = []
        self.followers: list[VariableRow] = []
        self.repeats = 1
        self.parameters = 0
        self.bytes = 0
        self.variables = 0
        self.signature = 0


class _Fold(NamedTuple):
    label: str
    members: list[Scope]


def build(
    rows: Iterable[VariableRow],
    *,
    expand_slots: bool = False,
    fold: bool = True,
    strip_suffix: str = "",
    sort: str = "name",
) -> Scope:
    """The root scope of ``rows``.

    With ``expand_slots`` slots and averages stand where their names put them; otherwise they are
    the followers of their owner.  ``strip_suffix`` is left out of labels (TF2's
    ``/.ATTRIBUTES/VARIABLE_VALUE``).  ``sort`` orders siblings: ``name`` (natural order), ``size``
    (largest first) or ``file`` (as the rows come).
    """
    rows = list(rows)
    followers: dict[str, list[VariableRow]] = {}
    if not expand_slots:
        present = {row.name for row in rows}
        kept = []
        for row in rows:
            if row.owner is not None and row.owner in present:
                followers.setdefault(row.owner, []).append(row)
            else:
                kept.append(row)
        rows = kept
    root = _grow(rows, followers, len(strip_suffix), strip_suffix)
    _finish(root, fold=fold, sort=sort)
    return root


def _grow(
    rows: Sequence[VariableRow],
    followers: dict[str, list[VariableRow]],
    cut: int,
    strip_suffix: str,
) -> Scope:
    root = Scope("", "")
    scopes: dict[str, Scope] = {"": root}
    for row in rows:
        name = row.name
        shown = name[:-cut] if cut and name.endswith(strip_suffix) else name
        if shown.count("/") > MAX_DEPTH:
            node = Scope(shown, name)
            root.children.append(node)
        else:
            node = _place(shown, scopes)
        if node.row is not None:  # the same shown name twice: keep both
            twin = Scope(node.label, name)
            _parent(shown, scopes).children.append(twin)
            node = twin
        node.row = row
        if name in followers:
            node.followers = followers[name]
    return root


def _place(path: str, scopes: dict[str, Scope]) -> Scope:
    """The node at ``path``, made with its ancestors where they are not there yet."""
    node = scopes.get(path)
    if node is not None and path:
        return node
    missing = []
    at = path
    while True:
        head, slash, leaf = at.rpartition("/")
        missing.append((at, leaf))
        if not slash:
            parent = scopes[""]
            break
        # A leading slash makes an empty component; "" is the root's key, so mark it apart.
        at = head or "\0/"
        found = scopes.get(at)
        if found is not None:
            parent = found
            break
        if at == "\0/":
            missing.append((at, ""))
            parent = scopes[""]
            break
    for full, leaf in reversed(missing):
        child = Scope(leaf, full)
        if full:
            scopes[full] = child
        parent.children.append(child)
        parent = child
    return parent


def _parent(path: str, scopes: dict[str, Scope]) -> Scope:
    return scopes.get(path.rpartition("/")[0]) or scopes[""]


def _finish(root: Scope, *, fold: bool, sort: str) -> None:
    """Sum up, sort, join single-child chains and fold, bottom up.

    Written with an explicit stack: a hostile name may nest ten thousand scopes deep.  Labels
    repeat a great deal in large models, so what is worked out of a label is kept.
    """
    keys: dict[str, tuple[object, ...]] = {}
    splits: dict[str, list[tuple[str, str, int, str]]] = {}

    def by_name(child: Scope) -> tuple[object, ...]:
        key = keys.get(child.label)
        if key is None:
            key = keys[child.label] = natural_key(child.label)
        return key

    order = [root]
    for item in order:
        if item.children:
            order.extend(item.children)
    for item in reversed(order):
        children = item.children
        if children:
            if len(children) > 1:
                if sort == "name":
                    children.sort(key=by_name)
                elif sort == "size":
                    children.sort(key=_by_size)
                if fold and len(children) >= MIN_FOLD:
                    item.children = _fold(children, splits)
            _sum_children(item)
        _sum_own(item)
        if item is not root:
            if item.row is None and len(item.children) == 1:
                _join_chain(item)
            item.signature = _signature(item)


def _by_size(child: Scope) -> int:
    return -child.bytes


def _sum_own(node: Scope) -> None:
    row = node.row
    if row is not None and row.saved:
        node.parameters += row.parameters
        node.bytes += row.bytes
        node.variables += 1


def _sum_children(node: Scope) -> None:
    for child in node.children:
        node.parameters += child.parameters
        node.bytes += child.bytes
        node.variables += child.variables


def _join_chain(node: Scope) -> None:
    """Show ``a/b`` as one line where ``a`` holds nothing but ``b``."""
    child = node.children[0]
    if child.repeats == 1:
        node.label = f"{node.label}/{child.label}"
        node.path = child.path
        node.row = child.row
        node.followers = child.followers
        node.children = child.children


def _signature(node: Scope) -> int:
    """A hash that stands for the structure, so that a deep tree does not make deep tuples."""
    row = node.row
    own: object = None
    if row is not None:
        own = (row.dtype, row.shape, row.role, row.collections, row.saved, row.partitions, row.op)
    if node.followers:
        own = (
            own,
            tuple([(item.name.rpartition("/")[2], item.shape) for item in node.followers]),
        )
    if not node.children:
        return hash((own, node.repeats))
    below = tuple([(child.label, child.signature) for child in node.children])
    return hash((own, below, node.repeats))


def _numbers(label: str) -> list[tuple[str, str, int, str]]:
    """Each number in a label: the text before and after it, its value and its digits."""
    return [
        (label[: match.start()], label[match.end() :], int(match.group()), match.group())
        for match in _NUMBER.finditer(label)
    ]


def _fold(children: list[Scope], splits: dict[str, list[tuple[str, str, int, str]]]) -> list[Scope]:
    groups: dict[tuple[str, str, int], dict[int, tuple[int, str]]] = {}
    for index, child in enumerate(children):
        label = child.label
        numbers = splits.get(label)
        if numbers is None:
            numbers = splits[label] = _numbers(label)
        for before, after, number, digits in numbers:
            group = groups.setdefault((before, after, child.signature), {})
            group.setdefault(number, (index, digits))  # `01` beside `1` stays out of the fold
    folds: dict[int, _Fold | None] = {}
    for (before, after, _), group in sorted(groups.items(), key=lambda item: -len(item[1])):
        chosen = [group[number] for number in sorted(group) if group[number][0] not in folds]
        if len(chosen) < MIN_FOLD:
            continue
        label = f"{before}{{{_ranges([digits for _, digits in chosen])}}}{after}"
        folds.update((index, None) for index, _ in chosen)
        first = min(index for index, _ in chosen)
        folds[first] = _Fold(label, [children[index] for index, _ in chosen])
    if not folds:
        return children
    folded = []
    for index, child in enumerate(children):
        fold = folds.get(index) if index in folds else _Fold(child.label, [child])
        if fold is not None:
            folded.append(_folded(fold) if len(fold.members) > 1 else child)
    return folded


def _folded(fold: _Fold) -> Scope:
    first = fold.members[0]
    node = Scope(fold.label, first.path, first.row)
    node.children = first.children
    node.followers = first.followers
    node.repeats = len(fold.members)
    node.parameters = sum(member.parameters for member in fold.members)
    node.bytes = sum(member.bytes for member in fold.members)
    node.variables = sum(member.variables for member in fold.members)
    node.signature = hash((first.signature, node.repeats))
    return node


def _ranges(digits: list[str]) -> str:
    """``0…3,5`` for 0, 1, 2, 3, 5; zero padding stays."""
    parts = []
    run = [digits[0]]
    for text in [*digits[1:], ""]:
        if text and int(text) == int(run[-1]) + 1:
            run.append(text)
            continue
        parts.append(f"{run[0]}…{run[-1]}" if len(run) > 2 else ",".join(run))
        run = [text]
    return ",".join(parts)
