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

_BATCH = 2048  # members whose reachability one pass carries
_MOST = 1024  # members of one family that are told apart by the graph
_MAX_RELATIONS = 1 << 16  # pairs of members of one family that are compared one by one
_MAX_MATCHED = 20_000  # pairs of parallel families that are tried against each other
_BROAD = 256  # members behind a node from which on it is asked for its members, not they for it
_MAX_BROAD = 500
_MAX_REACHED = 2_000_000  # pairs of a member and an output

SERIES, PARALLEL, MIXED = "series", "parallel", "mixed"
UNREAD, UNKNOWN, MANY = "unread", "unknown", "many"


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
    partial: bool = False  # whether a copy goes on where another one has ended

    @property
    def explicit(self) -> bool:
        """Whether the program numbered the copies itself."""
        return any(family.explicit for family in self.families)

    @property
    def complete(self) -> bool:
        """Whether no copy has variables that the others have not."""
        return not self.partial and all(family.complete for family in self.families)

    def of(self, places: Sequence[int]) -> Group:
        """The group of some of the copies."""
        return Group(
            self.families,
            [self.copies[at] for at in places],
            self.kind,
            [self.losses[at] for at in places if at < len(self.losses)],
            [self.ends[at] for at in places if at < len(self.ends)],
            [self.entries[at] for at in places if at < len(self.entries)],
            self.partial,
        )

    def names(self, copy: int) -> tuple[str, ...]:
        """The variables of a copy."""
        return tuple(name for member in self.copies[copy] for name in member.names)

    def scopes(self, copy: int) -> tuple[str, ...]:
        """The scopes or names of a copy's members."""
        return tuple(sorted({member.path for member in self.copies[copy]}, key=natural_key))


class Reached:
    """Which of some nodes (losses, outputs) are computed from which members."""

    def __init__(self, masks: Mapping[int, int], nodes: Iterable[int], members: int) -> None:
        self._broad: list[tuple[int, int]] = []  # many members' node, and their bits
        self._by_bit: list[list[int]] = [[] for _ in range(members)]
        left = _MAX_REACHED
        for number in nodes:
            mask = masks.get(number, 0)
            count = mask.bit_count()
            if count > _BROAD:
                self._broad.append((number, mask))
                continue
            left -= count
            while mask and left > 0:
                low = mask & -mask
                self._by_bit[low.bit_length() - 1].append(number)
                mask ^= low
        self.too_many = left <= 0 or len(self._broad) > _MAX_BROAD

    def of(self, bits: Iterable[int]) -> frozenset[int]:
        """The nodes that are computed from one of some members."""
        own = set()
        mask = 0
        for bit in bits:
            own.update(self._by_bit[bit])
            mask |= 1 << bit
        own.update(number for number, found in self._broad if found & mask)
        return frozenset(own)


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
    for batch in _batches([family for family in found if len(family.members) <= _MOST]):
        groups += _Batch(batch, flow, uses).groups()
    for family in found:
        if len(family.members) > _MOST:
            groups.append(_unplaced([family], [[member] for member in family.members], MANY))
    return groups


def _unplaced(found: list[Family], copies: list[list[Member]], kind: str) -> Group:
    """A group that the graph has not been asked about."""
    empty: list[frozenset[int]] = [frozenset() for _ in copies]
    return Group(found, copies, kind, empty, empty)


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
        self._partial: set[int] = set()
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
        self._losses = Reached(self._at, flow.losses, len(self._units))
        self._ends = Reached(self._at, flow.ends, len(self._units))

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
            groups.append(_unplaced(group.families, group.copies, UNREAD))
        return groups

    def _split(self, number: int) -> list[tuple[str, list[list[int]]]]:
        """One family as groups of copies, a copy being the bits of its members."""
        first = self._first[number]
        bits = list(range(first, first + len(self._families[number].members)))
        if not any(self._units[bit].reads for bit in bits):
            return [(UNREAD, [[bit] for bit in bits])]
        mask = sum(1 << bit for bit in bits)
        above = {bit: self._above[bit] & mask & ~(1 << bit) for bit in bits}
        parts = _components(bits, above)
        if len(parts) == 1:
            return [(SERIES, [[bit] for bit in bits])]
        for part in parts:
            part.sort(key=lambda bit: (above[bit].bit_count(), bit))
        size = min(len(part) for part in parts)
        if size == max(len(part) for part in parts):
            if size == 1 or self._alike(parts, above):
                return [(PARALLEL, parts)]
        elif size > 1:  # one goes on where another has ended
            shorter = [part[:size] for part in parts]
            if self._alike(shorter, above):
                self._partial.update(bit for part in shorter for bit in part)
                return [(PARALLEL, shorter)]
        return [(MIXED, [[bit] for bit in bits])]

    @staticmethod
    def _alike(parts: list[list[int]], above: Mapping[int, int]) -> bool:
        """Whether the members of each part feed each other as those of the first part do."""
        size = len(parts[0])
        if size * size * len(parts) > _MAX_RELATIONS:
            # Chains, where each member is above or below all others, are alike in any case.
            masks = [sum(1 << bit for bit in part) for part in parts]
            return all(
                sum((above[bit] & mask).bit_count() for bit in part) == size * (size - 1) // 2
                for part, mask in zip(parts, masks, strict=True)
            )
        shapes = ([above[below] >> bit & 1 for below in part for bit in part] for part in parts)
        first = next(shapes)
        return all(shape == first for shape in shapes)

    def _joined(
        self, parts: list[tuple[str, list[list[int]]]]
    ) -> list[tuple[str, list[list[int]]]]:
        """Join parallel families whose copies belong together one to one."""
        done: list[tuple[str, list[list[int]]]] = []
        own: list[int] = []  # of each of them, its members and those that they are computed from
        above: list[int] = []
        tries = _MAX_MATCHED
        for kind, copies in parts:
            mask = sum(1 << bit for copy in copies for bit in copy)
            before = 0
            for copy in copies:
                for bit in copy:
                    before |= self._above[bit]
            for number, (_, known) in enumerate(done):
                if tries < 0 or not (before & own[number] or above[number] & mask):
                    continue
                tries -= 1
                match = self._matching(known, copies)
                if match is not None:
                    own[number] |= mask
                    above[number] |= before
                    for at, copy in enumerate(known):
                        copy += copies[match[at]]
                    break
            else:
                done.append((kind, [list(copy) for copy in copies]))
                own.append(mask)
                above.append(before)
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
        if self._losses.too_many or self._ends.too_many:
            return _unplaced(families, members, MANY)
        masks = [sum(1 << bit for bit in copy) for copy in copies]
        return Group(
            families,
            members,
            kind,
            [self._losses.of(copy) for copy in copies],
            [self._ends.of(copy) for copy in copies]
            if kind in (PARALLEL, MIXED)
            else [frozenset() for _ in masks],
            [self._entries(copy, mask) for copy, mask in zip(copies, masks, strict=True)]
            if kind == PARALLEL
            else [],
            any(bit in self._partial for copy in copies for bit in copy),
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


def _components(bits: list[int], above: Mapping[int, int]) -> list[list[int]]:
    """The members that hang together, as lists in order."""
    touched = 0
    for bit in bits:
        touched |= above[bit]
    alone = [bit for bit in bits if not above[bit] and not touched >> bit & 1]
    masks: list[int] = []
    apart = set(alone)
    for bit in bits:
        if bit in apart:
            continue
        joined = above[bit] | 1 << bit
        rest = []
        for mask in masks:
            if mask & joined:
                joined |= mask
            else:
                rest.append(mask)
        masks = [*rest, joined]
    parts = [[bit] for bit in alone]
    parts += [[bit for bit in bits if mask >> bit & 1] for mask in masks]
    return sorted(parts)
