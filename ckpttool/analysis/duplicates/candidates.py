"""Variables that could be copies of each other, by their names and shapes.

At every scope, the children that differ by a number (``tower``, ``tower_1``) are compared as whole
sub-trees: two are alike if they hold the same variables, with the numbers inside left out.  Names
are compared without case, as TensorFlow compares them when it makes a name unique.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ckpttool.analysis.tree import VariableRow
from ckpttool.names import natural_key

_NUMBERED = re.compile(r"(.+?)_(\d{1,9})\Z", re.DOTALL)
_MAX_COMPARED = 20_000_000  # leaves that all comparisons together may look at

# What a leaf is matched by: its path below the member without numbers, dtype and shape.
LeafKey = tuple[str, str, object]


class Member(NamedTuple):
    """A sub-tree or variable that is one of several alike.

    ``path`` is its scope (or variable) name, ``number`` its suffix, None if it has none; ``zero``
    is True for a suffix that TensorFlow never makes (``_0``, ``_01``).  ``names`` are its
    variables, in an order that is the same for all members of a family.
    """

    path: str
    spelled: str  # the last component without its number
    number: int | None
    zero: bool
    names: tuple[str, ...]


class Family(NamedTuple):
    """Members that are alike.  ``complete`` is False where the first has more variables than these.

    ``bare`` is True where a sibling without a number exists, in the family or beside it.
    ``order`` are the members' places among all siblings of that base, ``siblings`` their count.
    """

    parent: str
    base: str
    members: tuple[Member, ...]
    complete: bool
    bare: bool
    order: tuple[int, ...]
    siblings: int

    @property
    def explicit(self) -> bool:
        """Whether the program numbered them itself: TensorFlow leaves the first one bare."""
        return not self.bare or any(member.zero for member in self.members)


class _Node:
    __slots__ = ("children", "row")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.row: VariableRow | None = None


def split_number(component: str) -> tuple[str, str]:
    """``("conv", "1")`` for ``conv_1``; an empty number where there is none."""
    match = _NUMBERED.match(component)
    return (match[1], match[2]) if match else (component, "")


def unnumbered(component: str) -> str:
    """A component as families compare it: without number and case."""
    return split_number(component)[0].casefold()


def families(rows: Iterable[VariableRow], scopes: frozenset[str] = frozenset()) -> list[Family]:
    """Every family among ``rows``; ``scopes`` are those of the graph's nodes, casefolded."""
    root = _tree(rows)
    found: list[Family] = []
    budget = _MAX_COMPARED
    pending = [("", root)]
    while pending:
        prefix, node = pending.pop()
        bases: dict[str, list[tuple[str, str, str]]] = {}
        for name in node.children:
            spelled, digits = split_number(name)
            bases.setdefault(spelled.casefold(), []).append((name, spelled, digits))
        # The second of fc_1 is fc_1_1: a name with a number may be the bare one of others.
        for name in node.children:
            if split_number(name)[1] and name.casefold() in bases:
                bases[name.casefold()].append((name, name, ""))
        for base, siblings in bases.items():
            if len(siblings) > 1 and budget > 0:
                siblings.sort(key=lambda item: (int(item[2] or -1), item[0]))
                made, cost = _alike(prefix, base, siblings, node, scopes)
                budget -= cost
                found += made
        pending += [
            (f"{prefix}{name}/", node.children[name])
            for name in sorted(node.children, key=natural_key, reverse=True)
            if node.children[name].children
        ]
    return found


def _tree(rows: Iterable[VariableRow]) -> _Node:
    root = _Node()
    for row in rows:
        node = root
        for component in row.name.split("/"):
            following = node.children.get(component)
            if following is None:
                following = node.children[component] = _Node()
            node = following
        node.row = row
    return root


def _leaves(node: _Node) -> list[tuple[LeafKey, str]]:
    """Each variable at or below ``node``: what it is matched by, and its name; in natural order."""
    found: list[tuple[LeafKey, str]] = []
    pending = [("", node)]
    while pending:
        path, current = pending.pop()
        if current.row is not None:
            found.append(((path, current.row.dtype, current.row.shape), current.row.name))
        for name, child in current.children.items():
            pending.append((f"{path}/{unnumbered(name)}", child))
    found.sort(key=lambda item: natural_key(item[1]))
    return found


def _alike(
    prefix: str,
    base: str,
    siblings: Sequence[tuple[str, str, str]],
    node: _Node,
    scopes: frozenset[str],
) -> tuple[list[Family], int]:
    """The families among siblings of one base, and how many leaves were looked at."""
    leaves = [_leaves(node.children[name]) for name, _, _ in siblings]
    contents = [Counter(key for key, _ in found) for found in leaves]
    classes: dict[frozenset[tuple[LeafKey, int]], list[int]] = {}
    for place, content in enumerate(contents):
        classes.setdefault(frozenset(content.items()), []).append(place)
    bare = next((at for at, (_, _, digits) in enumerate(siblings) if not digits), None)
    exists = bare is not None or prefix.casefold() + base in scopes
    found = []
    for places in classes.values():
        complete = True
        if bare is not None and bare not in places and _holds(contents[bare], contents[places[0]]):
            places = [bare, *places]
            complete = False
        if len(places) < 2:
            continue
        wanted = [key for key, _ in leaves[places[-1]]]
        members = tuple(
            _member(prefix + siblings[at][0], siblings[at], leaves[at], wanted) for at in places
        )
        found.append(
            Family(prefix[:-1], base, members, complete, exists, tuple(places), len(siblings))
        )
    return found, sum(len(item) for item in leaves)


def _holds(more: Counter[LeafKey], less: Counter[LeafKey]) -> bool:
    return all(more[key] >= count for key, count in less.items())


def _member(
    path: str,
    sibling: tuple[str, str, str],
    leaves: Sequence[tuple[LeafKey, str]],
    wanted: Sequence[LeafKey],
) -> Member:
    """A member with those of its variables that ``wanted`` asks for, in that order.

    Of several that match one key the last ones are taken: what a bare scope has beyond the others
    was made before them.
    """
    counts = Counter(wanted)
    by_key: dict[LeafKey, list[str]] = {}
    for key, name in leaves:
        by_key.setdefault(key, []).append(name)
    queues = {key: iter(by_key[key][-count:]) for key, count in counts.items()}
    _, spelled, digits = sibling
    number = int(digits) if digits else None
    names = tuple(next(queues[key]) for key in wanted)
    return Member(path, spelled, number, digits.startswith("0"), names)


def periods(found: Iterable[Family]) -> Iterator[tuple[Family, ...]]:
    """Families of one base that alternate (``a b a b``), together; the others alone.

    ``Variable … Variable_11`` made by running the same four lines three times are four families of
    three members, each in step with the others.
    """
    groups: dict[tuple[str, str], list[Family]] = {}
    for family in found:
        groups.setdefault((family.parent, family.base), []).append(family)
    for group in groups.values():
        in_step = [family for family in group if _regular(family, len(group))]
        if len(group) > 1 and len(in_step) == len(group):
            yield tuple(group)
        else:
            for family in group:
                yield (family,)


def _regular(family: Family, count: int) -> bool:
    """Whether the members stand ``count`` places apart and fill all of the siblings."""
    steps = {b - a for a, b in zip(family.order, family.order[1:], strict=False)}
    return steps == {count} and len(family.members) * count == family.siblings
