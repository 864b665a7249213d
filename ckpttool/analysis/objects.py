"""What a TF2 object graph adds to a checkpoint's keys: names, slot owners, shared variables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ckpttool.analysis.roles import VALUE_SUFFIX, Role

if TYPE_CHECKING:
    from ckpttool.formats.tensorflow.object_graph import ObjectGraph

# Paths told of one shared variable; Keras reaches each weight by a handful.
MAX_PATHS = 8
_MAX_WORDS = 16  # of a slot's name, which follow its variable's


class ObjectView:
    """An object graph seen from the checkpoint's keys."""

    def __init__(self, graph: ObjectGraph) -> None:
        self.graph = graph
        self.full_names: Mapping[str, str] = graph.full_names()
        self._slots = graph.slot_keys()
        self._nodes = graph.nodes_by_key()
        self._shared = graph.shared()
        self._by_flat_name = {
            name.replace("/", "_"): key
            for key, name in self.full_names.items()
            if "/_trainable_variables/" in key or "/optimizer/" not in f"/{key}"
        }
        self._shortest = graph.shortest_paths() if self._shared else []

    def roles(self, inferred: dict[str, Role]) -> dict[str, Role]:
        """``inferred`` with the slots that the graph knows made certain."""
        for key, slot in self._slots.items():
            inferred[key] = Role("slot", slot.owner, False)
        for key, role in inferred.items():
            if role.role == "slot" and role.owner is None:
                inferred[key] = role._replace(owner=self._owner(key))
        return inferred

    def _owner(self, key: str) -> str | None:
        """The variable of a Keras 3 slot: ``adam/dense_kernel_momentum`` is of ``dense/kernel``.

        Keras 3 records no slot owners; it names a slot by its variable's path, with ``_`` for
        ``/``, and the slot's name.
        """
        _, _, stem = self.full_names.get(key, "").partition("/")
        for _ in range(_MAX_WORDS):
            stem = stem.rpartition("_")[0]
            if not stem:
                break
            if stem in self._by_flat_name:
                return self._by_flat_name[stem]
        return None

    def names(self, key: str) -> tuple[str, ...]:
        """The variable's own name (``full_name``), where it is recorded."""
        name = self.full_names.get(key)
        return (name,) if name else ()

    def paths(self, key: str) -> tuple[str, ...]:
        """The object paths that lead to a variable, if there is more than one; key's own first.

        One path for each reference: the shortest to its owner, and its name there.
        """
        node = self._nodes.get(key)
        if node is None or node not in self._shared:
            return ()
        own = key.removesuffix(VALUE_SUFFIX)
        found = set()
        for name, parent in self._shared[node]:
            path = self._shortest[parent]
            if path is not None:
                found.add("/".join((*path, name)))
        # An optimizer lists the weights that it trains: that is no sharing between layers.
        model_paths = {path for path in found if "optimizer" not in path.split("/")}
        ordered = sorted(model_paths, key=lambda path: (path != own, path.count("/"), path))
        return tuple(ordered[:MAX_PATHS]) if len(ordered) > 1 else ()
