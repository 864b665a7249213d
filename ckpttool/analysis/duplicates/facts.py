"""The facts about a group's copies that a verdict rests on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ckpttool.analysis.duplicates.candidates import unnumbered
from ckpttool.analysis.duplicates.context import Context
from ckpttool.analysis.duplicates.meeting import put_together
from ckpttool.analysis.duplicates.relate import PARALLEL, Group
from ckpttool.analysis.duplicates.shared import shared_variables
from ckpttool.analysis.duplicates.values import (
    INITIAL,
    MOVED,
    UNKNOWN,
    Values,
    is_constant,
    moved_between,
)
from ckpttool.names import encode_name

if TYPE_CHECKING:
    from ckpttool.graph.dataflow import Dataflow
    from ckpttool.graph.variables import GraphVariable

TF_VARIABLE, GET_VARIABLE, NOT_KNOWN = "tf.Variable", "get_variable", "unknown"
_MAX_PURPOSES = 1000
_MAX_OTHERS = 32
_MAX_SYNCED = 1000
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
    decayed: bool = False  # trained, but a loss sees its size alone (weight decay)
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
    constant: bool = False  # whether every initializer is a constant
    purposes: tuple[str, ...] = ()  # what the copy alone is joined to: its data, its outputs
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
    fused: bool | None = None  # whether the copies' outputs are joined or added up
    reused: bool = False  # whether each copy is read from several towers by itself
    from_data: bool = False  # whether what enters the copies is the data itself
    one_storage: bool = False  # whether twins are handles of one variable
    imported: bool = False  # whether each copy's scope holds a Saver of its own
    objects: bool = False  # whether names are paths of objects, which programs choose

    @property
    def leaves(self) -> set[str]:
        """Last components of the first copy's variables."""
        return {name.rpartition("/")[2] for name in self.copies[0].names}

    @property
    def ends_apart(self) -> bool:
        """Whether no output is computed from two copies."""
        ends = [copy.ends for copy in self.copies]
        return all(ends) and sum(map(len, ends)) == len(frozenset().union(*ends))

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
        _compare(context, facts, context.flow)
    return facts


def _compare(context: Context, facts: Facts, flow: Dataflow) -> None:
    """What the graph says of the copies together."""
    copies = facts.copies
    facts.synced = _synced(context, copies)
    facts.losses = {n: flow.name(n) for copy in copies for n in copy.losses}
    facts.shared = _shared_neighbours(context, copies)
    for copy in copies:
        copy.purposes = _purposes(context, copies, copy)
    facts.twin_roots = _twin_roots(context, copies)
    facts.from_data = all(
        copy.entries and all(node in context.root_nodes for node, _ in copy.entries)
        for copy in copies
    )
    facts.one_storage = _one_storage(context, copies)
    facts.imported = facts.twin_roots and all(
        len(copy.scopes) == 1 and _holds_saver(context, copy.scopes[0]) for copy in copies
    )


def _synced(context: Context, copies: list[Copy]) -> list[tuple[int, int]]:
    """Which copies are set from which others, also by way of other variables."""
    owner = {name: at for at, copy in enumerate(copies) for name in copy.names}
    found: dict[tuple[int, int], None] = {}
    for at, copy in enumerate(copies):
        for name in copy.names:
            for node in context.set_from(name):
                source = owner.get(context.key_at(node) or "")
                if source is not None and source != at:
                    found[source, at] = None
        if len(found) > _MAX_SYNCED:
            break
    return list(found)


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
    copy.decayed = (
        copy.trained and not copy.losses and any(context.to_loss[n] for u in uses for n in u.nodes)
    )
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


def _one_storage(context: Context, copies: list[Copy]) -> bool:
    """Whether all twins are handles of one shared name, as after importing one graph twice."""
    stored = [
        [item.shared_name for name in copy.names for item in context.variables_of(name)]
        for copy in copies
    ]
    return bool(stored[0]) and all(names == stored[0] for names in stored)


def _holds_saver(context: Context, scope: str) -> bool:
    """Whether a whole graph lies in the scope, as after ``import_meta_graph(import_scope=…)``."""
    prefix = encode_name(scope) + b"/save"
    return any(
        name.startswith(prefix) and name.rpartition(b"/")[2].startswith(b"restore_all")
        for name in context.ops_under(scope)
    )


def _shared_neighbours(context: Context, copies: list[Copy]) -> tuple[str, ...]:
    """Variables beside the first copy's that the other copies' scopes read as their own.

    They show that the other scope is the first one entered again, and that reuse worked there.
    """
    if len(copies) > _MAX_OTHERS or any(len(copy.scopes) != 1 for copy in copies):
        return ()
    first = copies[0].scopes[0]
    own = {name for copy in copies for name in copy.names}
    prefixes = tuple(encode_name(copy.scopes[0]) + b"/" for copy in copies[1:])
    if context.flow is None:
        return ()
    names = context.flow.names
    return tuple(
        name
        for name in context.variables_under(first)
        if name not in own
        and any(names[read.node].startswith(prefixes) for read in context.uses[name].reads)
    )


def _twin_roots(context: Context, copies: list[Copy]) -> bool:
    """Whether each copy has placeholders of its own that are numbered like the copies."""
    if context.flow is None:
        return False
    roots = context.flow.roots
    named = [
        sorted(_without_numbers(context.flow.name(roots[number].node)) for number in copy.roots)
        for copy in copies
    ]
    apart = sum(len(copy.roots) for copy in copies) == len(
        frozenset().union(*[copy.roots for copy in copies])
    )
    return apart and bool(named[0]) and all(item == named[0] for item in named)


def _without_numbers(name: str) -> str:
    return "/".join(unnumbered(component) for component in name.split("/"))


def _purposes(context: Context, copies: list[Copy], copy: Copy) -> tuple[str, ...]:
    """Names of the data and of the outputs that only this copy is joined to, and its scopes."""
    flow = context.flow
    if flow is None:
        return copy.scopes
    if len(copies) > _MAX_OTHERS:
        return copy.scopes
    others = [other for other in copies if other is not copy]
    roots = copy.roots.difference(*(other.roots for other in others))
    ends = copy.ends.difference(*(other.ends for other in others))
    nodes = sorted({flow.roots[number].node for number in roots} | ends)[:_MAX_PURPOSES]
    return (*copy.scopes, *(flow.name(node) for node in nodes))


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
    for copy in facts.copies:
        texts = {context.checkpoint.initializer(name) for name in copy.names}
        copy.constant = all(text is not None and is_constant(text) for text in texts)
    if facts.group.kind == PARALLEL and facts.copies[0].losses and context.may_search():
        _look_around(context, facts)
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


def _look_around(context: Context, facts: Facts) -> None:
    """How copies that losses see are put to use: together, or each in several places."""
    flow = context.flow
    if flow is None:
        return
    reads = [
        [
            use.node
            for name in copy.names
            if name in context.uses
            for use in context.uses[name].reads
        ]
        for copy in facts.copies
    ]
    facts.fused = put_together(flow, reads[0], reads[1])
    if all(
        len(nodes) >= 2 * len(copy.names) for nodes, copy in zip(reads, facts.copies, strict=True)
    ):
        several = shared_variables(
            flow,
            {n: context.uses[n] for c in facts.copies for n in c.names if n in context.uses},
        )
        names = {item.name for item in several}
        facts.reused = all(not names.isdisjoint(copy.names) for copy in facts.copies)


def _state(values: Values, names: tuple[str, ...]) -> tuple[str, bool]:
    starts = [values.start(name) for name in names]
    if any(start.state == MOVED for start in starts):
        return MOVED, True
    known = [start for start in starts if start.state == INITIAL]
    if not known:
        return UNKNOWN, False
    return INITIAL, any(start.exact for start in known)
