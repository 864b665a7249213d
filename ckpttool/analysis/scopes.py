"""The scope tree that people see: followers under their variable, numbered repeats folded.

Works on rows alone.  Nothing is lost in folding: a fold names what it stands for, and its
parameter and byte counts are those of all its members.

Large models repeat themselves, so a scope's contents are worked out once: scopes that hold the
same names, dtypes, shapes and roles share one list of children.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import itemgetter
from typing import NamedTuple

from ckpttool.analysis.tree import VariableRow
from ckpttool.names import natural_key

_NUMBER = re.compile("[0-9]{1,18}")
# Two copies are never folded: a pair `x_1`, `x_2` may be a twin that somebody is looking for.
MIN_FOLD = 3
# A name of more scopes or characters hangs off the root whole: the prefixes of every depth would
# cost the square of a hostile name's length.
MAX_DEPTH = 128
MAX_LENGTH = 2048
# Of a component, characters and numbers that are looked at for folding; the same holds here.
MAX_FOLDED = 256
MAX_NUMBERS = 8

# Of a row: dtype, shape, bytes, role, collections, saved, partitions, op.  Of a follower, of which
# a line shows no more: role, saved.
_SHOWN: Callable[[VariableRow], tuple[object, ...]] = itemgetter(1, 2, 4, 5, 7, 9, 10, 11)
_SHOWN_OF_FOLLOWER: Callable[[VariableRow], tuple[object, ...]] = itemgetter(5, 9)


class Scope:
    """A node: a scope, a variable, or both (a variable that other keys are nested under).

    ``label`` is what to print: one component, several joined by ``/`` where a scope has a single
    child, or a fold such as ``layer_{0…11}``.  ``repeats`` is how many siblings the node stands
    for; ``row`` (of a variable) is then that of one of them, and so it is below scopes of equal
    contents, unless folding is off.  ``parameters``, ``bytes`` and ``variables`` count the node
    with all below it, for all of the repeats, but without followers: the lines shown add up.
    """

    # Class attributes, not slots: most nodes are leaves that set few of them.
    row: VariableRow | None = None
    children: Sequence[Scope] = ()
    followers: Sequence[VariableRow] = ()
    repeats = 1
    parameters = 0
    bytes = 0
    variables = 0
    signature = 0

    def __init__(self, label: str) -> None:
        self.label = label


class _Open(Scope):
    """A scope whose contents are still arriving: variables as ``(label, row)``, and scopes."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.entries: list[_Open | tuple[str, VariableRow]] = []


class _Contents(NamedTuple):
    children: Sequence[Scope]
    parameters: int
    bytes: int
    variables: int
    signature: int


class _Number(NamedTuple):
    """One number in a label, with the text before and after it."""

    before: str
    after: str
    value: int
    digits: str


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
        rows = _set_followers_apart(rows, followers)
    scopes = _grow(rows, strip_suffix)
    builder = _Builder(followers, fold=fold, sort=sort)
    # Parents were made before their children, so this goes from the leaves to the root.
    for scope in reversed(scopes):
        builder.finish(scope, is_root=scope is scopes[0])
    return scopes[0]


def _set_followers_apart(
    rows: list[VariableRow], followers: dict[str, list[VariableRow]]
) -> list[VariableRow]:
    """The rows without an owner among them; the others go to ``followers``, by owner."""
    kept = []
    for row in rows:
        owner = row[6]
        if owner is None:
            kept.append(row)
        elif owner in followers:
            followers[owner].append(row)
        else:
            followers[owner] = [row]
    absent = followers.keys() - {row[0] for row in kept}
    if absent:  # filtered out, or followers themselves: theirs stand alone, in their old places
        for owner in absent:
            del followers[owner]
        kept = [row for row in rows if row[6] is None or row[6] in absent]
    return kept


def _grow(rows: Sequence[VariableRow], strip_suffix: str) -> list[_Open]:
    """Every scope, root first, with its entries in the order of ``rows``."""
    root = _Open("")
    scopes: dict[str, _Open] = {"": root}
    shown_names: list[str] = []
    for row in rows:
        shown = row[0]
        if strip_suffix and shown.endswith(strip_suffix):
            shown = shown[: -len(strip_suffix)]
        head, _, leaf = shown.rpartition("/")
        if not head or (len(shown) > MAX_DEPTH and _too_long(shown)):
            root.entries.append((shown, row))  # keeps the slash of a name that starts with one
        else:
            scope = scopes.get(head)
            if scope is None:
                scope = _open(head, scopes)
            scope.entries.append((leaf, row))
        shown_names.append(shown)
    both = (scopes.keys() & set(shown_names)) - {""}
    if both:
        _attach(rows, shown_names, both, scopes)
    return list(scopes.values())


def _open(path: str, scopes: dict[str, _Open]) -> _Open:
    """The scope at ``path``, made with its ancestors where they are not there yet."""
    missing = []
    while path and path not in scopes:
        missing.append(path)
        path = path.rpartition("/")[0]
    scope = scopes[path]
    for full in reversed(missing):
        child = _Open(full[len(path) + 1 :] if path else full)
        scope.entries.append(child)
        scopes[full] = child
        scope = child
        path = full
    return scope


def _attach(
    rows: Sequence[VariableRow], shown_names: list[str], both: set[str], scopes: dict[str, _Open]
) -> None:
    """Move variables that are scopes as well from their parents' entries to their own scopes."""
    moved = set()
    for row, shown in zip(rows, shown_names, strict=True):
        if shown in both and scopes[shown].row is None:
            scopes[shown].row = row
            moved.add(id(row))
    parents = {shown.rpartition("/")[0] for shown in both}
    for path in parents:
        scope = scopes[path]
        scope.entries = [
            entry
            for entry in scope.entries
            if isinstance(entry, _Open) or id(entry[1]) not in moved
        ]


class _Builder:
    """Sorts, folds, joins and sums up scopes whose sub-scopes are finished.

    What is worked out of a label, and of a scope's contents, is kept: both repeat a great deal.
    """

    def __init__(self, followers: dict[str, list[VariableRow]], *, fold: bool, sort: str) -> None:
        self._followers = followers
        self._folding = fold
        self._sort = sort
        self._contents: dict[tuple[object, ...], _Contents] = {}
        self._keys: dict[str, tuple[object, ...]] = {}
        self._numbers: dict[str, list[_Number]] = {}

    def finish(self, scope: _Open, *, is_root: bool) -> None:
        """Give ``scope`` its children, sums and signature."""
        # The key holds the entries' signatures as they are, not hashed: equal keys mean equal
        # contents, for certain at this level.
        key = tuple(
            [
                (entry.label, entry.signature)
                if isinstance(entry, _Open)
                else (entry[0], self._row_key(entry[1]))
                for entry in scope.entries
            ]
        )
        contents = self._contents.get(key)
        if contents is None:
            contents = self._work_out(scope, hash(key))
            if self._folding:
                self._contents[key] = contents
        scope.entries = []
        scope.children, scope.parameters, scope.bytes, scope.variables, signature = contents
        row = scope.row
        if row is not None:
            self._own(scope, row)
            scope.signature = hash((signature, self._row_key(row)))
        else:
            scope.signature = signature
            if len(scope.children) == 1 and not is_root:
                _join_chain(scope)

    def _row_key(self, row: VariableRow) -> tuple[object, ...]:
        """What must be equal for two variables to be shown as one."""
        followers = self._followers.get(row[0])
        if followers is None:
            return _SHOWN(row)
        return (*_SHOWN(row), *map(_SHOWN_OF_FOLLOWER, followers))

    def _work_out(self, scope: _Open, signature: int) -> _Contents:
        children: list[Scope] = []
        for entry in scope.entries:
            if isinstance(entry, _Open):
                children.append(entry)
            else:
                leaf = Scope(entry[0])
                leaf.row = entry[1]
                self._own(leaf, entry[1])
                leaf.signature = hash(self._row_key(entry[1]))
                children.append(leaf)
        if self._sort == "name":
            children.sort(key=self._by_name)
        elif self._sort == "size":
            children.sort(key=lambda child: -child.bytes)
        if self._folding and len(children) >= MIN_FOLD:
            children = self._fold(children)
        return _Contents(
            children,
            sum([child.parameters for child in children]),
            sum([child.bytes for child in children]),
            sum([child.variables for child in children]),
            signature,
        )

    def _own(self, node: Scope, row: VariableRow) -> None:
        """Count the node's own variable, and give it its followers."""
        if row.saved or row.bytes:
            node.parameters += row.parameters
            node.bytes += row.bytes
            node.variables += 1
        node.followers = self._followers.get(row.name, ())

    def _by_name(self, child: Scope) -> tuple[object, ...]:
        key = self._keys.get(child.label)
        if key is None:
            key = self._keys[child.label] = natural_key(child.label)
        return key

    def _fold(self, children: list[Scope]) -> list[Scope]:
        groups: dict[tuple[str, str, int], dict[int, tuple[int, str]]] = {}
        for index, child in enumerate(children):
            numbers = self._numbers.get(child.label)
            if numbers is None:
                numbers = self._numbers[child.label] = _numbers(child.label)
            for before, after, value, digits in numbers:
                group = groups.setdefault((before, after, child.signature), {})
                group.setdefault(value, (index, digits))  # `01` beside `1` stays out
        if not any(len(group) >= MIN_FOLD for group in groups.values()):
            return children
        folded: dict[int, Scope | None] = {}
        for (before, after, _), group in sorted(groups.items(), key=lambda item: -len(item[1])):
            chosen = [group[value] for value in sorted(group) if group[value][0] not in folded]
            if len(chosen) >= MIN_FOLD:
                label = f"{before}{{{_ranges([digits for _, digits in chosen])}}}{after}"
                folded.update((index, None) for index, _ in chosen)
                first = min(index for index, _ in chosen)
                folded[first] = _folded(label, [children[index] for index, _ in chosen])
        return [
            kept
            for index, child in enumerate(children)
            if (kept := folded.get(index, child)) is not None
        ]


def _join_chain(scope: Scope) -> None:
    """Show ``a/b`` as one line where ``a`` holds nothing but ``b``."""
    child = scope.children[0]
    if child.repeats == 1:
        scope.label = f"{scope.label}/{child.label}"
        scope.row = child.row
        scope.followers = child.followers
        scope.children = child.children


def _folded(label: str, members: list[Scope]) -> Scope:
    first = members[0]
    node = Scope(label)
    node.row = first.row
    node.children = first.children
    node.followers = first.followers
    node.repeats = len(members)
    node.parameters = sum(member.parameters for member in members)
    node.bytes = sum(member.bytes for member in members)
    node.variables = sum(member.variables for member in members)
    node.signature = hash((first.signature, node.repeats))
    return node


def _too_long(shown: str) -> bool:
    return len(shown) > MAX_LENGTH or shown.count("/") > MAX_DEPTH


def _numbers(label: str) -> list[_Number]:
    if len(label) > MAX_FOLDED:
        return []
    return [
        _Number(label[: match.start()], label[match.end() :], int(match.group()), match.group())
        for match in islice(_NUMBER.finditer(label), MAX_NUMBERS)
    ]


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
