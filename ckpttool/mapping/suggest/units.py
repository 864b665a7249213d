"""Layers: tensors that stand under one scope and have the roles of one layer's variables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ckpttool.mapping.like.template import TargetVariable, Template
from ckpttool.mapping.suggest.words import role_of
from ckpttool.names import natural_key
from ckpttool.tensors import Shape

_GATES = ("gates", "candidate")
_NORMS = frozenset(("gamma", "beta", "moving_mean", "moving_variance"))


class SourceTensor(NamedTuple):
    """A tensor to be mapped; ``order`` is its place in the graph, None where no graph says."""

    name: str
    dtype: str
    shape: Shape
    order: int | None = None


class Leaf(NamedTuple):
    """One tensor of a layer: its full name, what role it has ("" unknown), its shape."""

    name: str
    role: str
    shape: Shape


class Unit(NamedTuple):
    """A layer of one side.  ``family`` is a word for its kind of variables."""

    scope: str
    leaves: tuple[Leaf, ...]
    order: tuple[object, ...]
    family: str

    def leaf(self, role: str) -> Leaf | None:
        """The one leaf of a role."""
        found = [leaf for leaf in self.leaves if leaf.role == role]
        return found[0] if len(found) == 1 else None

    @property
    def roles(self) -> frozenset[str]:
        """The roles of its leaves."""
        return frozenset(leaf.role for leaf in self.leaves)


def source_units(tensors: Sequence[SourceTensor]) -> list[Unit]:
    """Layers of the checkpoint, in the order of the graph or else of their names."""
    items = [(tensor.name, tensor.name, tensor.shape, _source_order(tensor)) for tensor in tensors]
    return _units(_with_cells(_grouped(items)))


def target_units(template: Template) -> list[Unit]:
    """Layers of the target, in the model's order or else in that of their names."""
    items: list[_Item] = []
    auto = _creation_numbers(template)
    for place, variable in enumerate(template.variables):
        if not variable.required:
            continue
        name = _scoped(variable, template)
        order: tuple[object, ...] = (0, place) if template.ordered else (1, *natural_key(name))
        items.append((variable.name, name, variable.shape, auto.get(variable.key, order)))
    return _units(_grouped(items))


_Item = tuple[str, str, Shape, tuple[object, ...]]  # name, name by scopes, shape, place in order
_Groups = dict[str, list[tuple[Leaf, tuple[object, ...]]]]


def _source_order(tensor: SourceTensor) -> tuple[object, ...]:
    if tensor.order is not None:
        return (0, tensor.order)
    return (1, *natural_key(tensor.name))


def _scoped(variable: TargetVariable, template: Template) -> str:
    """The name with ``/`` between scopes, whatever the format has."""
    name = variable.name
    if template.kind == "safetensors" and "/" not in name:
        return name.replace(".", "/")
    return name


def _creation_numbers(template: Template) -> Mapping[str, tuple[object, ...]]:
    """Places by the numbers that Keras gave to layers as they were made.

    Branching models store layers by depth; where nobody named the layers, their numbers say more.
    """
    from ckpttool.mapping.like.layers import snake, unnumbered

    found: dict[str, tuple[object, ...]] = {}
    known = [item for item in template.variables if item.kind and item.required]
    for item in known:
        label = item.name.partition("/")[0]
        if unnumbered(label) != snake(item.kind):
            continue
        number = label[len(snake(item.kind)) + 1 :]
        found[item.key] = (0, int(number or 0))
    # Only if they all say so: one order cannot be half of the other kind.
    return found if len(found) * 10 >= len(known) * 9 and template.ordered else {}


def _grouped(items: Iterable[_Item]) -> _Groups:
    groups: _Groups = {}
    alone: list[tuple[str, Leaf, tuple[object, ...]]] = []
    for name, scoped, shape, order in items:
        scope, _, last = scoped.rpartition("/")
        role, number = role_of(last)
        leaf = Leaf(name, role, shape)
        if not role or role == "table":
            alone.append((scoped, leaf, order))
            continue
        groups.setdefault(f"{scope}\0{number}" if number else scope, []).append((leaf, order))
    for scoped, leaf, order in alone:
        groups.setdefault(scoped + "\0", []).append((leaf, order))
    return _without_doubles(groups)


def _without_doubles(groups: _Groups) -> _Groups:
    """A scope that has a role twice is no layer: its tensors stand alone."""
    out: _Groups = {}
    for scope, members in groups.items():
        roles = [leaf.role for leaf, _ in members]
        if len(set(roles)) == len(roles):
            out[scope] = _norms(members)
            continue
        for leaf, order in members:
            out.setdefault(f"{leaf.name}\0", []).append((leaf, order))
    return out


def _norms(members: list[tuple[Leaf, tuple[object, ...]]]) -> list[tuple[Leaf, tuple[object, ...]]]:
    """In GPT-2's way of writing ``g`` and ``b`` are a norm's gamma and beta."""
    roles = {leaf.role for leaf, _ in members}
    if roles != {"gamma", "bias"}:
        return members
    return [
        (leaf._replace(role="beta") if leaf.role == "bias" else leaf, order)
        for leaf, order in members
    ]


def _with_cells(groups: _Groups) -> _Groups:
    """A GRU cell of TF1 has two scopes, ``gates`` and ``candidate``: they are one layer."""
    for scope in [name for name in groups if name.rpartition("/")[2] == "gates"]:
        cell = scope.rpartition("/")[0]
        parts = [f"{cell}/{part}" if cell else part for part in _GATES]
        if not all(part in groups for part in parts):
            continue
        groups[cell + "\0cell"] = [
            (leaf._replace(role=f"{word}_{leaf.role}"), order)
            for part, word in zip(parts, _GATES, strict=True)
            for leaf, order in groups.pop(part)
        ]
    return groups


def _units(groups: _Groups) -> list[Unit]:
    units = []
    for scope, members in groups.items():
        leaves = tuple(leaf for leaf, _ in members)
        first: tuple[object, ...] = min((order for _, order in members), key=sortable)
        units.append(Unit(_readable(scope), leaves, first, _family(leaves)))
    units.sort(key=lambda unit: sortable(unit.order))
    return units


def sortable(order: tuple[object, ...]) -> tuple[tuple[int, object], ...]:
    """Numbers before texts, so that any two places can be compared."""
    return tuple((0, part) if isinstance(part, int) else (1, part) for part in order)


def _readable(scope: str) -> str:
    scope, _, number = scope.partition("\0")
    return f"{scope}/{number}" if number.isdecimal() else scope


def _family(leaves: Sequence[Leaf]) -> str:
    roles = {leaf.role for leaf in leaves}
    if "recurrent_kernel" in roles or "gates_kernel" in roles:
        return "cell"
    if roles & {"moving_mean", "moving_variance"}:
        return "batch norm"
    if roles and roles <= _NORMS:
        return "norm"
    if roles & {"kernel", "depthwise"}:
        return "kernel"
    return "table" if "table" in roles else "other"
