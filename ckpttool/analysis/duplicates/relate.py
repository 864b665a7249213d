"""From families of look-alikes to groups of copies: in series, in parallel, or not known.

With a graph, members that feed each other are layers of one network, and members that do not are
copies side by side.  Families whose members hang together one to one (a kernel and its bias, the
layers of a tower) are one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis.duplicates.candidates import Family, Member, periods
from ckpttool.names import natural_key

if TYPE_CHECKING:
    from ckpttool.graph.dataflow import Dataflow
    from ckpttool.graph.uses import VariableUse

_BATCH = 4096  # members whose reachability one pass carries
_MAX_JOINED = 400  # parallel families that are tried against each other

SERIES, PARALLEL, MIXED, UNREAD, UNKNOWN = "series", "parallel", "mixed", "unread", "unknown"


@dataclass
class Group:
    """Copies before they are judged.  ``copies`` has the members that each consists of.

    ``kind`` is how they stand to each other in the graph.  ``losses`` and ``ends`` are for each
    copy the node numbers that it feeds, ``entries`` the tensors that enter it from outside;
    ``families`` is what the group was put together from.
    """

    families: list[Family]
    copies: list[list[Member]]
    kind: str
    losses: list[frozenset[int]] = field(default_factory=list)
    ends: list[frozenset[int]] = field(default_factory=list)
    entries: list[frozenset[tuple[int, int]]] = field(default_factory=list)

    @property
    def explicit(self) -> bool:
        """Whether the program numbered the copies itself."""
        return any(family.explicit for family in self.families)

    @property
    def complete(self) -> bool:
        """Whether no copy has variables that the others have not."""
        return all(family.complete for family in self.families)

    def names(self, copy: int) -> tuple[str, ...]:
        """The variables of a copy."""
        return tuple(name for member in self.copies[copy] for name in member.names)

    def scopes(self, copy: int) -> tuple[str, ...]:
        """The scopes or names of a copy's members."""
        return tuple(sorted({member.path for member in self.copies[copy]}, key=natural_key))


class _Unit(NamedTuple):
    family: int
    member: Member
    reads: frozenset[int]


def groups_by_names(found: Iterable[Family]) -> list[Group]:
    """Groups where no graph says how the members stand to each other."""
    groups: list[Group] = []
    by_parent: dict[tuple[str, int, tuple[int | None, ...]], Group] = {}
    for step in periods(found):
        copies = [list(members) for members in zip(*(f.members for f in step), strict=True)]
        numbers = tuple(copy[0].number for copy in copies)
        key = (step[0].parent, len(step), numbers)
        known = by_parent.get(key)
        if known is not None and step[0].explicit == known.explicit:
            known.families += step
            for copy, more in zip(known.copies, copies, strict=True):
                copy += more
        else:
            by_parent[key] = Group(list(step), copies, UNKNOWN)
            groups.append(by_parent[key])
    return groups


def groups_by_dataflow(
    found: Sequence[Family], flow: Dataflow, uses: Mapping[str, VariableUse]
) -> list[Group]:
    """Groups as the graph tells them apart."""
    groups: list[Group] = []
    for batch in _batches(found):
        groups += _Batch(batch, flow, uses).groups()
    return groups


def _batches(found: Sequence[Family]) -> list[list[Family]]:
    batches: list[list[Family]] = [[]]
    size = 0
    for family in found:
        if size + len(family.members) > _BATCH and batches[-1]:
            batches.append([])
            size = 0
        batches[-1].append(family)
        size += len(family.members)
    return batches


class _Batch:
    def __init__(
        self, found: list[Family], flow: Dataflow, uses: Mapping[str, VariableUse]
    ) -> None:
        self._families = found
        self._units: list[_Unit] = []
        self._first: list[int] = []
        for number, family in enumerate(found):
            self._first.append(len(self._units))
            for member in family.members:
                reads = frozenset(
                    use.node for name in member.names if name in uses for use in uses[name].reads
                )
                self._units.append(_Unit(number, member, reads))
        marks: dict[int, int] = {}
        for bit, unit in enumerate(self._units):
            for node in unit.reads:
                marks[node] = marks.get(node, 0) | (1 << bit)
        watch = set(marks) | set(flow.losses) | set(flow.ends)
        self._inputs = {node: flow.inputs(node) for node in marks}
        watch.update(source for edges in self._inputs.values() for source, _ in edges)
        masks = flow.upstream(marks, watch)
        self._at = {node: masks.get(node, 0) | marks.get(node, 0) for node in watch}
        # The members that each member is computed from, as bits.
        self._above = [0] * len(self._units)
        for bit, unit in enumerate(self._units):
            for node in unit.reads:
                self._above[bit] |= masks.get(node, 0)
        self._losses = {number: self._at[number] for number in flow.losses}
        self._ends = {number: mask for number in flow.ends if (mask := self._at[number])}

    def groups(self) -> list[Group]:
        """Each family as groups, those that belong together joined."""
        parts = []
        for number in range(len(self._families)):
            parts += self._split(number)
        groups = []
        for kind, copies in self._joined([part for part in parts if part[0] == PARALLEL]):
            groups.append(self._group(kind, copies))
        by_names: list[Family] = []
        for kind, copies in parts:
            if kind == UNREAD:
                by_names.append(self._families[self._units[copies[0][0]].family])
            elif kind != PARALLEL:
                groups.append(self._group(kind, copies))
        for group in groups_by_names(by_names):
            group.kind = UNREAD
            empty: list[frozenset[int]] = [frozenset() for _ in group.copies]
            group.losses, group.ends = empty, empty
            groups.append(group)
        return groups

    def _split(self, number: int) -> list[tuple[str, list[list[int]]]]:
        """One family as groups of copies, a copy being the bits of its members."""
        first = self._first[number]
        bits = list(range(first, first + len(self._families[number].members)))
        if not any(self._units[bit].reads for bit in bits):
            return [(UNREAD, [[bit] for bit in bits])]
        mask = sum(1 << bit for bit in bits)
        above = {bit: self._above[bit] & mask & ~(1 << bit) for bit in bits}
        near = dict(above)
        for bit in bits:
            rest = above[bit]
            while rest:
                low = rest & -rest
                near[low.bit_length() - 1] |= 1 << bit
                rest ^= low
        parts = _components(bits, near)
        if len(parts) == 1:
            return [(SERIES, [[bit] for bit in bits])]
        for part in parts:
            part.sort(key=lambda bit: (above[bit].bit_count(), bit))
        sizes = {len(part) for part in parts}
        chains = all(
            (near[bit] | 1 << bit).bit_count() == len(part) for part in parts for bit in part
        )
        if len(sizes) == 1 and chains:
            return [(PARALLEL, parts)]
        return [(MIXED, [[bit] for bit in bits])]

    def _joined(
        self, parts: list[tuple[str, list[list[int]]]]
    ) -> list[tuple[str, list[list[int]]]]:
        """Join parallel families whose copies belong together one to one."""
        if len(parts) > _MAX_JOINED:
            return parts
        done: list[tuple[str, list[list[int]]]] = []
        for kind, copies in parts:
            for _, known in done:
                match = self._matching(known, copies)
                if match is not None:
                    for at, copy in enumerate(known):
                        copy += copies[match[at]]
                    break
            else:
                done.append((kind, [list(copy) for copy in copies]))
        return done

    def _matching(self, known: list[list[int]], copies: list[list[int]]) -> list[int] | None:
        """For each known copy the only one of ``copies`` that it feeds or is fed by."""
        if len(known) != len(copies):
            return None
        if self._nested(known, copies):
            return None
        match = []
        masks = [sum(1 << bit for bit in copy) for copy in copies]
        for copy in known:
            own = sum(1 << bit for bit in copy)
            above = 0
            for bit in copy:
                above |= self._above[bit]
            near = [
                at
                for at, mask in enumerate(masks)
                if above & mask or any(self._above[bit] & own for bit in copies[at])
            ]
            if len(near) != 1:
                return None
            match.append(near[0])
        return match if len(set(match)) == len(match) else None

    def _nested(self, known: list[list[int]], copies: list[list[int]]) -> bool:
        """Whether one holds the other's variables: a scope and a family inside it."""
        names = {name for copy in known for bit in copy for name in self._units[bit].member.names}
        return any(
            name in names
            for copy in copies
            for bit in copy
            for name in self._units[bit].member.names
        )

    def _group(self, kind: str, copies: list[list[int]]) -> Group:
        numbers = dict.fromkeys(self._units[bit].family for copy in copies for bit in copy)
        families = [self._families[number] for number in numbers]
        copies = sorted(copies, key=lambda copy: min(self._rank(bit) for bit in copy))
        members = [
            [self._units[bit].member for bit in sorted(copy, key=self._place)] for copy in copies
        ]
        masks = [sum(1 << bit for bit in copy) for copy in copies]
        return Group(
            families,
            members,
            kind,
            [frozenset(n for n, found in self._losses.items() if found & mask) for mask in masks],
            [frozenset(n for n, found in self._ends.items() if found & mask) for mask in masks]
            if kind in (PARALLEL, MIXED)
            else [frozenset() for _ in masks],
            [self._entries(copy, mask) for copy, mask in zip(copies, masks, strict=True)]
            if kind == PARALLEL
            else [],
        )

    def _entries(self, copy: list[int], mask: int) -> frozenset[tuple[int, int]]:
        """What the copy's readers take in that is not computed from the copy."""
        return frozenset(
            (source, output)
            for bit in copy
            for node in self._units[bit].reads
            for source, output in self._inputs[node]
            if not self._at[source] & mask
        )

    def _rank(self, bit: int) -> tuple[int, int]:
        number = self._units[bit].member.number
        return (-1 if number is None else number, bit)

    def _place(self, bit: int) -> tuple[int, int]:
        # Twins stand at equal places of their copies: by family, then by number.
        return (self._units[bit].family, bit)


def _components(bits: list[int], near: Mapping[int, int]) -> list[list[int]]:
    """The members that hang together, as lists in order."""
    left = set(bits)
    parts = []
    for bit in bits:
        if bit not in left:
            continue
        part, pending = [], [bit]
        left.discard(bit)
        while pending:
            current = pending.pop()
            part.append(current)
            rest = near[current]
            while rest:
                low = rest & -rest
                rest ^= low
                other = low.bit_length() - 1
                if other in left:
                    left.discard(other)
                    pending.append(other)
        parts.append(sorted(part))
    return parts
