"""A graph joined to the keys of a checkpoint: membership, roles, what is saved and what is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple

from ckpttool.analysis.roles import VARIABLE, Role, infer_roles
from ckpttool.analysis.tree import VariableRow, element_bytes
from ckpttool.errors import CkptError, Problem
from ckpttool.graph.graphkeys import CONSTANTS
from ckpttool.graph.metagraph import MetaGraph
from ckpttool.graph.nodes import base_name
from ckpttool.graph.savers import SaverJoin, join
from ckpttool.graph.variables import GraphVariable, variables
from ckpttool.names import OBJECT_GRAPH_KEY, decode_name
from ckpttool.tensors import Shape, TensorSpec

# The dense and sparse update ops of every TF1 optimizer: variable first, then its slots.
_APPLY = (b"Apply", b"ResourceApply", b"SparseApply", b"ResourceSparseApply")
_STEP = Role("step", None, False)
_TABLE = Role("table", None, False)


class _Member(NamedTuple):
    """What the graph says of one key: the variables behind it, and their collections together."""

    variables: tuple[GraphVariable, ...]
    collections: tuple[str, ...] | None
    trainable: bool | None


class JoinedGraph:
    """One graph and a checkpoint's keys.

    ``by_key`` has the keys that the Saver (or an equal name) explains.
    """

    def __init__(self, graph: MetaGraph, keys: Mapping[str, TensorSpec]) -> None:
        self.graph = graph
        self._problems: list[Problem] = []
        self._variables: dict[str, GraphVariable] = {}
        self.join = SaverJoin("", "name", {}, {})
        try:
            self._variables = {item.name: item for item in variables(graph)}
            self.join = join(graph, keys if keys else None)
        except CkptError as error:
            self._problems += error.problems
        # Collections are known at all only if the graph has any that hold variables.
        self._has_collections = any(item.trainable is not None for item in self._variables.values())
        self._saved_under = self.join.keys_of()
        self.by_key = {key: self._member(key) for key in self.join.keys}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was found damaged so far; more may follow, as nodes are read when asked for."""
        return tuple(dict.fromkeys((*self._problems, *self.graph.problems)))

    def _member(self, key: str) -> _Member:
        found = [
            self._variables[part.variable]
            for part in self.join.keys[key]
            if part.variable in self._variables
        ]
        if len(found) == 1:
            only = found[0]
            collections = only.collections if self._has_collections else None
            return _Member((only,), collections, only.trainable)
        names = sorted({name for item in found for name in item.collections})
        return _Member(
            tuple(found),
            tuple(names) if self._has_collections else None,
            any(item.trainable for item in found) if self._has_collections else None,
        )

    def initializer(self, key: str) -> str | None:
        """The initializer's text of the (first) variable behind ``key``."""
        member = self.by_key.get(key)
        if member is None or not member.variables:
            return None
        from ckpttool.graph.initializers import describe

        try:
            found = describe(self.graph, member.variables[0])
        except CkptError as error:
            self._problems += error.problems
            return None
        return None if found is None else found.text

    def checkpoint_only(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Keys that no variable explains; the object graph is no variable's."""
        return tuple(key for key in keys if key not in self.by_key and key != OBJECT_GRAPH_KEY)

    # --- roles -----------------------------------------------------------------------------

    def roles(self, specs: Mapping[str, TensorSpec]) -> dict[str, Role]:
        """The role of each key that is not a plain variable; certain where the graph says so."""
        trainable = [key for key, member in self.by_key.items() if member.trainable]
        specs = specs or self.specs_of_saver()
        found = infer_roles(specs, trainable)
        self._by_variable_name(found, specs)
        for key, member in self.by_key.items():
            if any(item.is_table for item in member.variables):
                found[key] = _TABLE
            elif member.collections and "global_step" in member.collections:
                found[key] = _STEP
        averaged = {
            key
            for key, member in self.by_key.items()
            if member.collections and "moving_average_variables" in member.collections
        }
        for key, role in found.items():
            if role.role == "average" and role.owner in averaged:
                found[key] = role._replace(inferred=False)
        for slot, owner in self._applied_slots():
            if slot in specs:
                found[slot] = Role("slot", owner if owner in specs else None, False)
        return found

    def specs_of_saver(self) -> dict[str, TensorSpec]:
        """Specs of what the Saver would save, from the graph: for a graph without its data."""
        specs = {}
        for key, member in self.by_key.items():
            if member.variables:
                dtype, shape = self._declared(key, member)
                specs[key] = TensorSpec(key, dtype, shape or ())
        return specs

    def _by_variable_name(self, found: dict[str, Role], specs: Mapping[str, TensorSpec]) -> None:
        """Tell the role of a key that is named unlike its variable by the variable's name.

        A Saver over ``ema.variables_to_restore()`` stores ``w/ExponentialMovingAverage`` as ``w``.
        """
        renamed = {
            key: member.variables[0].name
            for key, member in self.by_key.items()
            if len(member.variables) == 1
            and member.variables[0].name != key
            and key in specs
            and self.join.keys[key][0].spec is None
        }
        if not renamed:
            return
        by_name = {
            item.name: TensorSpec(item.name, item.dtype or "", _known(item.shape) or ())
            for item in self._variables.values()
        }
        trainable = [item.name for item in self._variables.values() if item.trainable]
        told = infer_roles(by_name, trainable)
        for key, name in renamed.items():
            role = told.get(name, VARIABLE)
            if role.role == "variable":
                found.pop(key, None)
            else:
                owner = self.key_of(role.owner) if role.owner else None
                found[key] = role._replace(owner=None if owner == key else owner)

    def _applied_slots(self) -> Iterator[tuple[str, str]]:
        """``(slot key, owner key)`` for every saved slot that an optimizer's update op takes."""
        for name, variable in self._applied_names():
            slot, owner = self.key_of(name), self.key_of(variable)
            if slot is not None and owner is not None and slot != owner:
                yield slot, owner

    def _applied_names(self) -> Iterator[tuple[str, str]]:
        """``(slot, variable)``, by their names in the graph."""
        table = self.graph.table
        ops = frozenset(op for op in set(table.ops) if op.startswith(_APPLY))
        if not ops:
            return
        for number in table.with_ops(ops):
            try:
                inputs = [decode_name(base_name(name)) for name in table.data_inputs(number)]
            except CkptError as error:
                self._problems += error.problems
                continue
            if inputs and inputs[0] in self._variables:
                for name in inputs[1:]:
                    if name in self._variables and name != inputs[0]:
                        yield name, inputs[0]

    def key_of(self, variable: str) -> str | None:
        """The key that the Saver stores a graph variable under; None if it does not."""
        keys = self._saved_under.get(variable)
        return keys[0] if keys else None

    # --- rows ------------------------------------------------------------------------------

    def saved_rows(
        self,
        specs: Mapping[str, TensorSpec],
        roles: Mapping[str, Role],
        extents: Iterable[tuple[int, int, int]],
    ) -> Iterator[VariableRow]:
        """One row per key; per key that the Saver would write, where only the graph is here.

        ``extents`` are elements, bytes and number of partitions, key by key.
        """
        if not specs:
            yield from self._rows_of_saver(roles)
            return
        by_key = self.by_key
        for (name, spec), (parameters, size, partitions) in zip(
            specs.items(), extents, strict=True
        ):
            role = roles.get(name, VARIABLE)
            member = by_key.get(name)
            collections = trainable = op = None
            graph_names: tuple[str, ...] = ()
            if member is not None:
                _, collections, trainable = member
                op = member.variables[0].op if member.variables else None
                graph_names = tuple([item.name for item in member.variables])
            yield VariableRow(
                name,
                spec.dtype,
                spec.shape,
                parameters,
                size,
                role.role,
                role.owner,
                collections,
                trainable,
                True,
                partitions,
                op,
                graph_names,
                role.inferred,
            )

    def _rows_of_saver(self, roles: Mapping[str, Role]) -> Iterator[VariableRow]:
        for key in sorted(self.by_key):
            member = self.by_key[key]
            if not member.variables:
                continue
            dtype, shape = self._declared(key, member)
            row = self._row(key, dtype, shape, member, roles.get(key, VARIABLE))
            yield row._replace(bytes=element_bytes(dtype, row.parameters))

    def unsaved_rows(self, specs: Mapping[str, TensorSpec]) -> Iterator[VariableRow]:
        """Variables of the graph that no stored key holds: local ones, or left out by the Saver."""
        saved = {
            part.variable
            for key, parts in self.join.keys.items()
            if key in specs or not specs
            for part in parts
        }
        groups: dict[str, list[GraphVariable]] = {}
        for item in self._variables.values():
            # A lookup table that is not saved is filled by its initializer: no variable.
            if item.name not in saved and not item.is_table:
                info = item.slice_info
                groups.setdefault(info.full_name if info else item.name, []).append(item)
        told = infer_roles(
            {
                item.name: TensorSpec(item.name, item.dtype or "", _known(item.shape) or ())
                for item in self._variables.values()
            }
        )
        applied = dict(self._applied_names())
        for name, group in groups.items():
            info = group[0].slice_info
            shape = info.full_shape if info else _known(group[0].shape)
            role = told.get(name, VARIABLE)
            collections = sorted({key for item in group for key in item.collections})
            member = _Member(
                tuple(group),
                tuple(collections) if self._has_collections else None,
                any(item.trainable for item in group) if self._has_collections else None,
            )
            if name in applied:
                role = Role("slot", applied[name], False)
            owner = role.owner
            if owner is not None and owner not in groups:
                owner = self.key_of(owner) or owner
            row = self._row(name, group[0].dtype or "", shape, member, role)
            yield row._replace(owner=owner)

    def _declared(self, key: str, member: _Member) -> tuple[str, Shape | None]:
        """Dtype and whole shape of a key, as the graph declares them."""
        first = member.variables[0]
        info = first.slice_info
        spec = self.join.keys[key][0].spec
        if info is not None:
            return first.dtype or "", info.full_shape
        if spec is not None:
            return first.dtype or "", spec.full_shape
        return first.dtype or "", _known(first.shape)

    @staticmethod
    def _row(
        name: str, dtype: str, shape: Shape | None, member: _Member, role: Role
    ) -> VariableRow:
        """A row for what only the graph has."""
        known = shape is not None and all(size >= 0 for size in shape)
        return VariableRow(
            name,
            dtype,
            shape,
            prod(shape) if known and shape is not None else 0,
            0,
            role.role,
            role.owner,
            member.collections,
            member.trainable,
            False,
            max(len(member.variables), 1),
            member.variables[0].op,
            tuple(item.name for item in member.variables),
            role.inferred,
        )


def join_graphs(graphs: Sequence[MetaGraph], keys: Mapping[str, TensorSpec]) -> JoinedGraph:
    """The graph that explains most of ``keys``; of equals the one with most variables."""
    joined = [JoinedGraph(graph, keys) for graph in graphs]
    return max(
        joined,
        key=lambda item: (
            sum(1 for key in item.by_key if key in keys),
            len(item._variables),
        ),
    )


def collection_keys(words: Iterable[str], graphs: Iterable[MetaGraph]) -> frozenset[str]:
    """Collection keys for ``TRAINABLE``, ``TRAINABLE_VARIABLES``, ``GraphKeys.LOSSES`` or a key."""
    present = {name for graph in graphs for name in graph.collections}
    found = set()
    for word in words:
        upper = word.upper().removeprefix("TF.").removeprefix("GRAPHKEYS.")
        if word in present:
            found.add(word)
        elif upper in CONSTANTS:
            found.add(CONSTANTS[upper])
        elif upper + "_VARIABLES" in CONSTANTS:
            found.add(CONSTANTS[upper + "_VARIABLES"])
        elif upper == "MOVING_AVERAGE":
            found.add("moving_average_variables")
        else:
            found.add(word)
    return frozenset(found)


def _known(shape: Sequence[int | None] | None) -> Shape | None:
    """A graph's shape with -1 for what is open."""
    return None if shape is None else tuple(-1 if size is None else size for size in shape)
