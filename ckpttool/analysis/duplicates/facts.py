"""The facts about a group's copies that a verdict rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckpttool.analysis.duplicates.candidates import unnumbered
from ckpttool.analysis.duplicates.context import Context
from ckpttool.analysis.duplicates.relate import Group
from ckpttool.analysis.duplicates.values import INITIAL, MOVED, UNKNOWN, Values, moved_between
from ckpttool.names import encode_name

if TYPE_CHECKING:
    from ckpttool.graph.variables import GraphVariable

TF_VARIABLE, GET_VARIABLE, NOT_KNOWN = "tf.Variable", "get_variable", "unknown"
_STATISTICS = frozenset(("moving_mean", "moving_variance"))


@dataclass
class Copy:
    """One copy.  Fields that only a graph can fill stay at their defaults without one."""

    names: tuple[str, ...]
    scopes: tuple[str, ...]
    slots: int = 0
    reads: int = 0
    gradients: int = 0
    trained: bool = False
    updated: bool = False
    fed: bool = False
    frozen: bool = False
    made_by: str = NOT_KNOWN
    entered: bool = False
    losses: frozenset[int] = frozenset()
    ends: frozenset[int] = frozenset()
    roots: frozenset[int] = frozenset()
    entries: frozenset[tuple[int, int]] = frozenset()
    state: str = UNKNOWN
    exact: bool = False
    flat: bool | None = None
    moved: bool | None = None


@dataclass
class Facts:
    """All that is known of a group."""

    group: Group
    copies: list[Copy]
    has_graph: bool
    trains: bool = False  # whether the graph trains anything
    synced: list[tuple[int, int]] = field(default_factory=list)  # (from, to) copies
    shared: tuple[str, ...] = ()  # neighbours of the first copy that the other's scope reads too
    equal: bool | None = None
    nonflat: bool = False
    same_initializers: bool | None = None
    losses: dict[int, str] = field(default_factory=dict)
    twin_roots: bool = False
    objects: bool = False  # whether names are paths of objects, which programs choose

    @property
    def leaves(self) -> set[str]:
        """Last components of the first copy's variables."""
        return {name.rpartition("/")[2] for name in self.copies[0].names}

    @property
    def is_batch_norm(self) -> bool:
        """Whether the copies are the variables of a batch normalization."""
        return bool(self.leaves & _STATISTICS)


def gather(context: Context, group: Group) -> Facts:
    """The facts about one group; its values are left for :func:`look_closer`."""
    copies = []
    for at in range(len(group.copies)):
        copy = Copy(group.names(at), group.scopes(at))
        copy.slots = sum(context.slots.get(name, 0) for name in copy.names)
        if context.flow is not None:
            _from_graph(context, group, at, copy)
        copies.append(copy)
    facts = Facts(group, copies, context.flow is not None, context.trains)
    facts.objects = context.objects
    if context.flow is not None:
        owner = {name: at for at, copy in enumerate(copies) for name in copy.names}
        for at, copy in enumerate(copies):
            for name in copy.names:
                for node in context.uses[name].copied_from if name in context.uses else ():
                    source = owner.get(context.key_at(node) or "")
                    if source is not None and source != at and (source, at) not in facts.synced:
                        facts.synced.append((source, at))
        facts.losses = {n: context.flow.name(n) for copy in copies for n in copy.losses}
        facts.shared = _shared_neighbours(context, copies)
        facts.twin_roots = _twin_roots(context, copies)
    return facts


def _from_graph(context: Context, group: Group, at: int, copy: Copy) -> None:
    uses = [context.uses[name] for name in copy.names if name in context.uses]
    copy.reads = sum(len(use.reads) for use in uses)
    copy.gradients = sum(use.gradients for use in uses)
    copy.trained = any(use.trained for use in uses)
    # Moving statistics are updated by ops that every batch normalization has, run or not.
    told = [name for name in copy.names if name.rpartition("/")[2] not in _STATISTICS]
    copy.updated = any(context.uses[n].updated for n in told if n in context.uses)
    copy.fed = any(use.fed for use in uses)
    if at < len(group.losses):
        copy.losses, copy.ends = group.losses[at], group.ends[at]
    copy.roots = frozenset().union(*[context.roots_of(name) for name in copy.names])
    if at < len(group.entries):
        found = (context.entry(*edge) for edge in group.entries[at])
        copy.entries = frozenset(item for item in found if item is not None)
    variables = [item for name in copy.names for item in context.variables_of(name)]
    made = {made_by(item) for item in variables}
    copy.made_by = made.pop() if len(made) == 1 else NOT_KNOWN
    trainable = [item for item in variables if item.name.rpartition("/")[2] not in _STATISTICS]
    copy.frozen = bool(trainable) and all(item.trainable is False for item in trainable)
    own = {item.name for item in variables}
    copy.entered = any(_has_ops(context, scope, own) for scope in copy.scopes)


def made_by(variable: GraphVariable) -> str:
    """``tf.Variable`` or ``get_variable``, by where the initial value was made.

    ``get_variable``, ``tf.layers`` and Keras make it under ``<name>/Initializer/``; a value that
    was handed to ``tf.Variable`` lies outside of the variable's own name.
    """
    told = variable.made_by
    if told is not None:
        return told
    value = variable.initial_value_name
    if value is None:
        return NOT_KNOWN
    return NOT_KNOWN if value.startswith(variable.name + "/") else TF_VARIABLE


def _has_ops(context: Context, scope: str, variables: set[str]) -> bool:
    """Whether the scope holds ops of its own, beside those of its variables.

    A scope that was entered does; a name with slashes that was given to ``tf.Variable`` does not.
    """
    if scope in variables:
        return False
    own = {encode_name(name) for name in variables}
    inner = tuple(name + b"/" for name in own)
    return any(name not in own and not name.startswith(inner) for name in context.ops_under(scope))


def _shared_neighbours(context: Context, copies: list[Copy]) -> tuple[str, ...]:
    """Variables beside the first copy's that the other copies' scopes read as their own.

    They show that the other scope is the first one entered again, and that reuse worked there.
    """
    if any(len(copy.scopes) != 1 for copy in copies):
        return ()
    first = copies[0].scopes[0] + "/"
    own = {name for copy in copies for name in copy.names}
    prefixes = tuple(encode_name(copy.scopes[0]) + b"/" for copy in copies[1:])
    if context.flow is None:
        return ()
    names = context.flow.names
    return tuple(
        name
        for name, use in context.uses.items()
        if name.startswith(first)
        and name not in own
        and any(names[read.node].startswith(prefixes) for read in use.reads)
    )


def _twin_roots(context: Context, copies: list[Copy]) -> bool:
    """Whether each copy has placeholders of its own that are numbered like the copies."""
    if context.flow is None:
        return False
    roots = context.flow.roots
    named = [
        sorted(unnumbered(context.flow.name(roots[number].node)) for number in copy.roots)
        for copy in copies
    ]
    apart = sum(len(copy.roots) for copy in copies) == len(
        frozenset().union(*[copy.roots for copy in copies])
    )
    return apart and bool(named[0]) and all(item == named[0] for item in named)


def _same_initializers(context: Context, copies: list[Copy]) -> bool | None:
    """Whether twins start alike; None if the graph does not say."""
    told = False
    for names in zip(*(copy.names for copy in copies), strict=False):
        texts = {context.checkpoint.initializer(name) for name in names}
        if len(texts) > 1:
            return False
        told = told or texts != {None}
    return True if told else None


def look_closer(context: Context, facts: Facts) -> None:
    """Add what takes time to see: initializers, and values of all the checkpoints."""
    facts.same_initializers = _same_initializers(context, facts.copies)
    values = context.values
    if values is None:
        return
    copies = facts.copies
    for copy in copies:
        copy.state, copy.exact = _state(values, copy.names)
        flat = [values.flat(name) for name in copy.names]
        copy.flat = None if all(item is None for item in flat) else True in flat
        if len(context.series) > 1:
            moved = [moved_between(context.series, name) for name in copy.names]
            copy.moved = True if True in moved else (False if False in moved else None)
    same = [
        values.same(name, twin)
        for copy in copies[1:]
        for name, twin in zip(copies[0].names, copy.names, strict=False)
    ]
    facts.equal = False if False in same else (True if same and None not in same else None)
    # Zeros that both copies still have are equal without anyone having copied them.
    facts.nonflat = any(values.flat(name) is False for name in copies[0].names)


def _state(values: Values, names: tuple[str, ...]) -> tuple[str, bool]:
    starts = [values.start(name) for name in names]
    if any(start.state == MOVED for start in starts):
        return MOVED, True
    known = [start for start in starts if start.state == INITIAL]
    if not known:
        return UNKNOWN, False
    return INITIAL, any(start.exact for start in known)
