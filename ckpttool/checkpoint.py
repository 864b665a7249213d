"""An open checkpoint: its tensors, and the graph that tells what they are.

Readers know bytes and graphs know variables; this is where the two meet.  A graph variable is
joined to its checkpoint key through the Saver's own save op, not by equal names: a Saver may have
been given a dict, or have saved averages under the plain names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING

from ckpttool.analysis.roles import VARIABLE, Role, infer_roles
from ckpttool.analysis.tree import CheckpointSummary, VariableRow
from ckpttool.errors import CkptError, Problem
from ckpttool.formats.base import CheckpointInfo, Reader
from ckpttool.formats.registry import FORMATS, open_reader
from ckpttool.names import OBJECT_GRAPH_KEY
from ckpttool.tensors import Shape, TensorSpec, dtype_named

if TYPE_CHECKING:
    from ckpttool.analysis.joined import JoinedGraph
    from ckpttool.analysis.objects import ObjectView
    from ckpttool.graph.metagraph import MetaGraph


class Checkpoint:
    """A reader with its graphs.  Graphs are read when something asks for them.

    A graph that is damaged is a notice, not an error: the tensors can still be told.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._problems: list[Problem] = []
        self._damaged_entries: list[Problem] = []

    @property
    def info(self) -> CheckpointInfo:
        """Path, format, shards and files."""
        return self.reader.info

    @property
    def specs(self) -> Mapping[str, TensorSpec]:
        """Name, dtype and shape of every stored tensor, in the file's order."""
        return self.reader.specs

    @cached_property
    def graphs(self) -> list[MetaGraph]:
        """Every graph beside the tensors; empty if there is none or none can be read."""
        if not self.info.graphs:
            return []
        from ckpttool.graph.metagraph import load_graphs

        found: list[MetaGraph] = []
        for source in self.info.graphs:
            try:
                found += load_graphs(source)
            except CkptError as error:
                self._problems += error.problems
        return found

    @cached_property
    def objects(self) -> ObjectView | None:
        """The TF2 object graph; None for a name-based checkpoint."""
        if OBJECT_GRAPH_KEY not in self.specs:
            return None
        from ckpttool.analysis.objects import ObjectView

        try:
            graph = self.reader.object_graph()
        except CkptError as error:
            self._problems += error.problems
            return None
        return None if graph is None else ObjectView(graph)

    @cached_property
    def joined(self) -> JoinedGraph | None:
        """The graph that explains most of the keys, joined to them; None without a graph."""
        # In an object-based checkpoint the keys are object paths: no Saver wrote them, and names
        # of graph variables say nothing about them.
        if OBJECT_GRAPH_KEY in self.specs or not self.graphs:
            return None
        from ckpttool.analysis.joined import join_graphs

        return join_graphs(self.graphs, self.specs)

    @cached_property
    def roles(self) -> Mapping[str, Role]:
        """The role of every key that is not a plain variable."""
        if self.joined is not None:
            return self.joined.roles(self.specs)
        found = infer_roles(self.specs)
        return found if self.objects is None else self.objects.roles(found)

    def role(self, name: str) -> Role:
        """The role of one key."""
        return self.roles.get(name, VARIABLE)

    def stored_key(self, variable: str) -> str | None:
        """The checkpoint key that holds a graph variable; None if it is not saved."""
        key = None if self.joined is None else self.joined.key_of(variable)
        return key if key in self.specs or not self.specs else None

    def initializer(self, name: str) -> str | None:
        """The initializer of the variable behind a key, as the graph has it; None if unknown."""
        return None if self.joined is None else self.joined.initializer(name)

    @cached_property
    def _rows(self) -> list[VariableRow]:
        joined = self.joined
        if self.objects is not None:
            return self._object_rows(self.objects)
        if joined is None:
            return self._plain_rows()
        return [
            *joined.saved_rows(self.specs, self.roles, self.extents()),
            *joined.unsaved_rows(self.specs),
        ]

    def _plain_rows(self) -> list[VariableRow]:
        roles = self.roles
        make = tuple.__new__  # half the cost of the constructor, 100,000 times
        rows: list[VariableRow] = []
        add = rows.append
        extents: dict[tuple[str, Shape], tuple[int, int, int]] = {}  # few are different
        for name, dtype, shape in self.specs.values():
            parameters, size, parts = extents.get((dtype, shape)) or self._extent(
                name, dtype, shape, extents
            )
            role, owner, inferred = roles.get(name, VARIABLE)
            # fmt: off
            add(make(VariableRow, (
                name, dtype, shape, parameters, size, role, owner,
                None, None, True, parts, None, (), inferred, (),
            )))
            # fmt: on
        return rows

    def _object_rows(self, objects: ObjectView) -> list[VariableRow]:
        trainable: dict[str, bool] = {}
        for graph in self.graphs:
            try:
                found = graph.saved_variables()
            except CkptError as error:
                self._problems += error.problems
                continue
            trainable.update((variable.name, variable.trainable) for variable in found)
        rows = []
        for row in self._plain_rows():
            names = objects.names(row.name)
            rows.append(
                row._replace(
                    graph_names=names,
                    trainable=trainable.get(names[0]) if names else None,
                    object_paths=objects.paths(row.name),
                )
            )
        return rows

    def extents(self) -> Iterator[tuple[int, int, int]]:
        """Elements, bytes in the file and number of partitions of each key, in order."""
        known: dict[tuple[str, Shape], tuple[int, int, int]] = {}
        for name, dtype, shape in self.specs.values():
            yield known.get((dtype, shape)) or self._extent(name, dtype, shape, known)

    def _extent(
        self,
        name: str,
        dtype: str,
        shape: Shape,
        known: dict[tuple[str, Shape], tuple[int, int, int]],
    ) -> tuple[int, int, int]:
        """One key's extent; kept in ``known`` where it follows from dtype and shape alone.

        The size of most tensors does; the file is asked for strings and partitions.  With any
        partitioned variable in the file nothing is kept, for its shape may be another's too.
        """
        parameters = prod(shape)
        size = parameters * dtype_named(dtype).itemsize
        try:
            if not size and parameters:
                size = self.reader.stored_bytes(name)
            parts = len(self.reader.slices(name)) if name in self.reader.partitioned else 1
        except CkptError as error:
            # A damaged entry is still a key: list it, and say what is wrong with it.
            self._damaged_entries += error.problems
            parts = 1
        if not self.reader.partitioned and dtype_named(dtype).itemsize:
            known[dtype, shape] = (parameters, size, parts)
        return parameters, size, parts

    def rows(self) -> Sequence[VariableRow]:
        """One row per key in the file's order, then the graph's variables that are not saved."""
        return self._rows

    def checkpoint_only(self) -> tuple[str, ...]:
        """Keys that no variable of the graph explains; empty without a graph."""
        return () if self.joined is None else self.joined.checkpoint_only(self.specs)

    def collection_keys(self, words: Iterable[str]) -> frozenset[str]:
        """Collection keys for what a person calls them: a key, or its ``tf.GraphKeys`` word."""
        from ckpttool.analysis.joined import collection_keys

        return collection_keys(words, self.graphs)

    def summary(self) -> CheckpointSummary:
        """What the checkpoint is, for a result."""
        info = self.info
        return CheckpointSummary(
            info.path,
            info.format,
            info.step,
            info.shards,
            self.joined is not None,
            tuple(source.path for source in info.graphs) if self.joined is not None else (),
            FORMATS[info.format].title,
            self.objects is not None,
        )

    def notices(self) -> tuple[Problem, ...]:
        """What was odd: about the files, and about the graph as far as it has been read."""
        joined = self.__dict__.get("joined")  # as far as it was asked for
        found = self._problems if joined is None else [*self._problems, *joined.problems]
        return (*self.info.notices, *dict.fromkeys(found))

    def damage(self) -> tuple[Problem, ...]:
        """Damage that names may be missing for, and entries that could not be told whole."""
        return (*self.info.damage, *dict.fromkeys(self._damaged_entries))

    def close(self) -> None:
        """Release the reader's files."""
        self.reader.close()

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def open_checkpoint(path: str) -> Checkpoint:
    """Open whatever ``path`` means; raises :class:`ckpttool.errors.InputError`."""
    return Checkpoint(open_reader(path))
