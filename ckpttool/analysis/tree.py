"""``tree``: every variable of a checkpoint, with what the graph and the names say about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis.roles import ROLES
from ckpttool.errors import Problem
from ckpttool.names import glob_matcher
from ckpttool.tensors import Shape, dtype_named

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint


class VariableRow(NamedTuple):
    """One variable: a checkpoint key, or a graph variable that the checkpoint does not hold.

    ``shape`` holds -1 for a dimension that a graph leaves open, and is None where it is not known
    at all.  ``bytes`` is the data's size in the file; of a graph without its data what the Saver
    would write; 0 of what is not saved.  ``collections`` are the graph's collection keys, None
    where no graph says.  ``op`` is the op type of the graph's variable node.  ``graph_names`` are
    the names that the graph calls it by: several for a partitioned variable.  ``inferred`` is
    True where only names and shapes speak for the role.  ``object_paths`` are the ways to a
    shared variable in a TF2 object graph.
    """

    name: str
    dtype: str
    shape: Shape | None
    parameters: int
    bytes: int
    role: str
    owner: str | None
    collections: tuple[str, ...] | None
    trainable: bool | None
    saved: bool
    partitions: int
    op: str | None
    graph_names: tuple[str, ...] = ()
    inferred: bool = True
    object_paths: tuple[str, ...] = ()


class RoleTotal(NamedTuple):
    """Number of variables of one role, their elements and bytes."""

    variables: int
    parameters: int
    bytes: int


class Totals(NamedTuple):
    """Sums over the rows that are saved; ``not_saved`` counts the others.

    Of a graph without its data: over what its Saver would save.
    """

    variables: int
    parameters: int
    bytes: int
    by_role: dict[str, RoleTotal]
    not_saved: int


class CheckpointSummary(NamedTuple):
    """What the checkpoint is; ``graphs`` are the files that the collections come from.

    ``has_objects`` is True for an object-based (TF2) checkpoint, which brings its own graph."""

    path: str
    format: str
    step: int | None
    shards: int
    has_graph: bool
    graphs: tuple[str, ...] = ()
    title: str = ""
    has_objects: bool = False


class TreeResult(NamedTuple):
    """The rows in key order, their totals, and what was odd on the way.

    ``selected`` is False where ``match`` and the like left all rows in; ``checkpoint_only`` are
    keys that no graph variable has.  ``damage`` is why names may be missing.
    """

    checkpoint: CheckpointSummary
    variables: Sequence[VariableRow]
    totals: Totals
    checkpoint_only: tuple[str, ...]
    notices: tuple[Problem, ...]
    damage: tuple[Problem, ...] = ()


SORTS = ("name", "size", "file")


def tree(
    checkpoint: Checkpoint,
    *,
    match: Sequence[str] = (),
    exclude: Sequence[str] = (),
    collections: Sequence[str] = (),
    roles: Sequence[str] = (),
    sort: str = "name",
) -> TreeResult:
    """List the variables of an open checkpoint.

    ``match`` and ``exclude`` are name globs (see :func:`ckpttool.names.glob_matcher`);
    ``collections`` are collection keys or ``tf.GraphKeys`` words, any of which a row must be in;
    ``roles`` are role names.  ``sort`` is ``name`` (natural order), ``size`` (largest first) or
    ``file`` (the file's own key order).
    """
    rows: Sequence[VariableRow] = checkpoint.rows()
    for keep in _filters(checkpoint, match, exclude, collections, roles):
        rows = [row for row in rows if keep(row)]
    if sort == "size":
        rows = sorted(rows, key=lambda row: (-row.bytes, row.name))
    names = {row.name for row in rows} if len(rows) != len(checkpoint.rows()) else None
    return TreeResult(
        checkpoint.summary(),
        rows,
        total(rows),
        tuple(name for name in checkpoint.checkpoint_only() if names is None or name in names),
        checkpoint.notices(),
        checkpoint.damage(),
    )


def total(rows: Iterable[VariableRow]) -> Totals:
    """Sum up the saved rows, in all and by role (in the order of ``ROLES``)."""
    sums: dict[str, list[int]] = {}
    not_saved = 0
    for row in rows:
        if not row.saved:
            not_saved += 1
            if not row.bytes:
                continue
        entry = sums.get(row.role)
        if entry is None:
            entry = sums[row.role] = [0, 0, 0]
        entry[0] += 1
        entry[1] += row.parameters
        entry[2] += row.bytes
    by_role = {role: RoleTotal(*sums[role]) for role in ROLES if role in sums}
    return Totals(
        sum(item.variables for item in by_role.values()),
        sum(item.parameters for item in by_role.values()),
        sum(item.bytes for item in by_role.values()),
        by_role,
        not_saved,
    )


def element_bytes(dtype: str, parameters: int) -> int:
    """Bytes of ``parameters`` decoded elements; 0 for strings and opaque dtypes."""
    return parameters * dtype_named(dtype).itemsize


def _filters(
    checkpoint: Checkpoint,
    match: Sequence[str],
    exclude: Sequence[str],
    collections: Sequence[str],
    roles: Sequence[str],
) -> Iterable[Callable[[VariableRow], bool]]:
    if match:
        wanted = glob_matcher(match)
        yield lambda row: wanted(row.name)
    if exclude:
        unwanted = glob_matcher(exclude)
        yield lambda row: not unwanted(row.name)
    if collections:
        keys = checkpoint.collection_keys(collections)
        yield lambda row: row.collections is not None and not keys.isdisjoint(row.collections)
    if roles:
        chosen = frozenset(roles)
        yield lambda row: row.role in chosen
