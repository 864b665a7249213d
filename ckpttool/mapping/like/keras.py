"""Templates of Keras 3's files: what people call ``layers/conv2d_12/vars/0``.

The number in a path counts layers of one class in the order of ``model.layers``; the number in a
layer's name counts them in the order in which they were made.  The two differ in branching models,
so names are taken from what the file says (the ``name`` of each group, Keras 3.8 and later) or
from the configuration beside it, never from the path's number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from ckpttool.mapping.like.config import Layer, layer_tree, parse_config
from ckpttool.mapping.like.layers import BY_SNAKE, KINDS, unnumbered, variable_names
from ckpttool.mapping.like.template import TargetVariable
from ckpttool.names import natural_key
from ckpttool.tensors import Shape, TensorSpec

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.formats.keras.archive import ArchiveReader
    from ckpttool.formats.keras.weights import KerasReader

_CONTAINERS = frozenset(("layers", "cells", "_layer_checkpoint_dependencies"))
_STATE = frozenset(("optimizer", "metrics", "seed_generator"))


class Group(NamedTuple):
    """An object in the file: its path's pieces, and its own tensors by number.

    A piece is an attribute (``cell``) or a place in a list of layers (``layers/lstm_1``).
    """

    pieces: tuple[str, ...]
    tensors: tuple[TensorSpec, ...]

    @property
    def path(self) -> str:
        """Path in the file, without ``vars``."""
        return "/".join(self.pieces)


class Known(NamedTuple):
    """What is known of an object: its name, its class, its configuration, its place in order."""

    label: str | None
    kind: str
    layer: Layer | None
    order: tuple[int, ...]


def keras_variables(
    checkpoint: Checkpoint, config: Mapping[str, Any] | None
) -> tuple[list[TargetVariable], bool]:
    """The variables of a ``.weights.h5``, its shards, or the one in a ``.keras`` archive.

    In the model's order where a configuration tells it; the second value says so.
    """
    reader = cast("KerasReader", checkpoint.reader)
    if config is None and checkpoint.info.format == "keras-archive":
        raw = cast("ArchiveReader", reader).config()
        config = None if raw is None else parse_config(raw, checkpoint.info.path)
    tree = layer_tree(config)
    labels = {name.removesuffix("vars").rstrip("/"): text for name, text in reader.groups().items()}
    groups = _groups(checkpoint.specs)
    search = _Search(labels, tree, {group.pieces for group in groups})
    ordered = tree is not None and bool(tree.layers)
    found = [(search.known(group.pieces), group) for group in groups]
    if ordered:
        found.sort(key=lambda item: (item[0].order, natural_key(item[1].path)))
    return [item for known, group in found for item in _variables(search, known, group)], ordered


def _groups(specs: Mapping[str, TensorSpec]) -> list[Group]:
    tensors: dict[str, list[TensorSpec]] = {}
    for name, spec in specs.items():
        tensors.setdefault(name.rpartition("/")[0], []).append(spec)
    return [Group(_pieces(path), tuple(items)) for path, items in tensors.items()]


def _pieces(path: str) -> tuple[str, ...]:
    parts = path.split("/")
    if parts[-1] == "vars":
        parts.pop()
    pieces: list[str] = []
    for part in parts:
        if pieces and pieces[-1] in _CONTAINERS:
            pieces[-1] += "/" + part
        else:
            pieces.append(part)
    return tuple(pieces)


class _Search:
    """Names and classes of objects, by their paths' pieces."""

    def __init__(
        self, labels: Mapping[str, str | None], tree: Layer | None, groups: set[tuple[str, ...]]
    ) -> None:
        self._labels = labels
        # Keras before 3.8 wrote no names: then the configuration's order is what numbers layers.
        self._labelled = any(labels.values())
        self._known: dict[tuple[str, ...], Known] = {(): Known("", "", None, ())}
        self._numbered: dict[tuple[str, ...], dict[str, tuple[int, Layer]]] = {}
        self._children: dict[tuple[str, ...], set[str]] = {}
        for pieces in groups:
            for size in range(len(pieces)):
                self._children.setdefault(pieces[:size], set()).add(pieces[size])
        if tree is not None:
            self._known[()] = Known("", tree.kind, tree, ())
        self.model = labels.get("") or (tree.name if tree is not None else "")

    def known(self, pieces: tuple[str, ...]) -> Known:
        """What is known of the object at a path."""
        if pieces not in self._known:
            self._known[pieces] = self._find(pieces)
        return self._known[pieces]

    def _find(self, pieces: tuple[str, ...]) -> Known:
        parent, piece = self.known(pieces[:-1]), pieces[-1]
        label = self._labels.get("/".join(pieces))
        container, _, last = piece.rpartition("/")
        layer: Layer | None = None
        place = 0
        if parent.layer is not None:
            if container:
                place, layer = self._in_list(pieces[:-1], parent.layer, last, label)
            else:
                layer = parent.layer.child(piece, label)
        if not container and parent.kind in KINDS:
            attributes = [*KINDS[parent.kind].children]
            place = attributes.index(piece) if piece in attributes else len(attributes)
        if label is None and layer is not None and not self._labelled:
            label = layer.name or None
        if label is None and not self._labelled and not container and parent.label:
            label = piece  # an attribute is its own name where no configuration has another
        kind = layer.kind if layer is not None else ""
        if kind not in KINDS:
            kind = self._kind(pieces, parent, label) or kind
        return Known(label, kind, layer, (*parent.order, place))

    def _in_list(
        self, pieces: tuple[str, ...], parent: Layer, last: str, label: str | None
    ) -> tuple[int, Layer | None]:
        """Place and configuration of a member of a list of layers."""
        if pieces not in self._numbered:
            self._numbered[pieces] = {
                name: (place, layer) for place, (name, layer) in enumerate(parent.numbered())
            }
        found = self._numbered[pieces].get(last)
        if label is not None and (found is None or found[1].name != label):
            # What the file says itself counts; the configuration may be of another version.
            named = [
                (place, layer) for place, layer in enumerate(parent.layers) if layer.name == label
            ]
            found = named[0] if len(named) == 1 else None
        return found if found is not None else (len(parent.layers), None)

    def _kind(self, pieces: tuple[str, ...], parent: Known, label: str | None) -> str:
        """The class as the path tells it, "" where it does not."""
        container, _, last = pieces[-1].rpartition("/")
        if container:
            return BY_SNAKE.get(unnumbered(last), "")
        by_parent = KINDS[parent.kind].children.get(last) if parent.kind in KINDS else None
        if by_parent:
            return by_parent
        below = self._children.get(pieces, set())
        if {"query_dense", "key_dense", "value_dense", "output_dense"} <= below:
            return "MultiHeadAttention"
        if last == "cell":
            return "LSTMCell"  # all cells have the same variables; their shapes are checked
        # A name that Keras itself gave says the class.
        return BY_SNAKE.get(unnumbered(label or ""), "")

    def labels(self, pieces: tuple[str, ...]) -> list[str] | None:
        """The names of all objects on a path; None where one has none."""
        found = [self.known(pieces[: size + 1]).label for size in range(len(pieces))]
        return None if None in found else [text for text in found if text]


def _variables(search: _Search, known: Known, group: Group) -> Iterator[TargetVariable]:
    shapes = [spec.shape for spec in group.tensors]
    names = _own_names(known, shapes)
    labels = search.labels(group.pieces)
    parts = group.path.split("/")
    required = not any(part in _STATE for part in parts)
    for number, spec in enumerate(group.tensors):
        index = spec.name.rpartition("/")[2]
        own = (names[number] if names else "") or f"vars/{index}"
        every = list(_spellings(group, labels, own))
        every += _spellings(group, labels, f"vars/{index}")
        if search.model and labels:
            # A Sequential model puts its own name before its layers'.
            every.append("/".join((search.model, *labels, own)))
        unique = tuple(dict.fromkeys(name for name in every if name != spec.name))
        yield TargetVariable(spec.name, unique, spec.dtype, spec.shape, required, known.kind)


def _own_names(known: Known, shapes: list[Shape]) -> tuple[str, ...] | None:
    layer = known.layer
    if layer is not None and layer.variables is not None:
        told = layer.variables
        return told if len(told) == len(shapes) and len(set(told)) == len(told) else None
    options = layer.options if layer is not None and layer.options else None
    if options is not None and known.kind.endswith("Cell") and "use_bias" not in options:
        options = None
    return variable_names(known.kind, shapes, options)


def _spellings(group: Group, labels: list[str] | None, own: str) -> Iterator[str]:
    """What one variable may be called, the best first."""
    pieces = group.pieces
    if labels:
        yield "/".join((*labels, own))
        if len(labels) > 1:
            yield "/".join((labels[0], own))  # lstm/kernel
            yield "/".join((*labels[:-1], own))  # bidirectional/forward_lstm/kernel
            yield "/".join((*labels[1:], own))  # without the outer model's name
            yield "/".join((labels[-1], own))
            # Not with the number of a layer; a list of cells keeps its order.
            if not any("/" in piece and "cells/" not in piece for piece in pieces[1:]):
                yield "/".join((labels[0], *pieces[1:], own))  # gru/cell/kernel
    yield "/".join((*pieces, own))
