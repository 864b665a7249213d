"""The protocols that every format answers to, and what they hand over.

Opening costs O(index): a reader lists names, dtypes and shapes without touching tensor data and
without NumPy.  Data is read when it is asked for, in bounded chunks, and checked against the
stored checksum where the format has one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ckpttool.errors import Problem
from ckpttool.tensors import Slice, TensorSpec

if TYPE_CHECKING:
    from typing import Any

    import numpy as np

    from ckpttool.formats.tensorflow.object_graph import ObjectGraph

# What a chunked read holds at most at once, unless a single row is larger.
CHUNK_BYTES = 8 << 20


class GraphSource(NamedTuple):
    """Where a graph of this checkpoint can be read: a file, and what it holds.

    ``kind`` is ``meta_graph`` (a MetaGraphDef, binary or text), ``graph_def`` (a GraphDef, binary
    or text) or ``saved_model`` (a SavedModel, binary or text).
    """

    path: str
    kind: str


class CheckpointInfo(NamedTuple):
    """What is known of a checkpoint as a whole.

    ``path`` is the prefix, file or directory that a person would type again; ``format`` is a
    registry name; ``shards`` is the number of data files; ``notices`` say what was odd on the way
    (a state file that names another machine's path, a shard that is missing).
    """

    path: str
    format: str
    shards: int
    files: tuple[str, ...]
    graphs: tuple[GraphSource, ...] = ()
    missing_files: tuple[str, ...] = ()
    notices: tuple[Problem, ...] = ()
    step: int | None = None  # as the file name says it (model.ckpt-168); not read from data
    damage: tuple[Problem, ...] = ()  # names may be missing from ``specs`` because of these


class Chunk(NamedTuple):
    """Consecutive elements of a tensor in C order: the first one's flat index, and a 1-D array."""

    start: int
    array: np.ndarray[Any, Any]


class Reader(Protocol):
    """An open checkpoint of any format.  Not tied to a graph: see ``ckpttool.checkpoint``."""

    info: CheckpointInfo
    specs: Mapping[str, TensorSpec]  # in the file's own order (sorted by key bytes in TF files)

    @property
    def partitioned(self) -> Collection[str]:
        """Names of the variables that are stored in slices."""

    def stored_bytes(self, name: str) -> int:
        """Bytes that the tensor's data takes in the file (all its slices)."""

    def slices(self, name: str) -> Sequence[Slice]:
        """The parts of a partitioned variable, in C order of their starts; empty if whole."""

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """The whole tensor (joined if partitioned), checked; a fresh writable array.

        Strings come as an object array of ``bytes``.  Raises :class:`TensorNotFoundError`, and
        :class:`InputError` or :class:`CorruptError` for damage.
        """

    def read_slice(self, name: str, index: int) -> np.ndarray[Any, Any]:
        """One part of a partitioned variable, checked."""

    def chunks(self, name: str, max_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
        """The whole tensor in C order, piece by piece; the checksum is checked at the end."""

    def object_graph(self) -> ObjectGraph | None:
        """The TF2 object graph, decoded without NumPy; None where there is none."""

    def close(self) -> None:
        """Release files; the specs stay valid."""

    def __enter__(self) -> Reader: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
