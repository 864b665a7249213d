"""The mean of several open readers, as a reader."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ckpttool.analysis.means import mean_blocks
from ckpttool.errors import Problem, TensorNotFoundError
from ckpttool.formats.base import CHUNK_BYTES, CheckpointInfo, Chunk, Reader
from ckpttool.tensors import Slice, TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.formats.tensorflow.object_graph import ObjectGraph

_HELD_BYTES = 32 << 20  # of all readers together, what is read at once


class MeanReader:
    """The mean of open readers, computed when it is read; they stay open.

    ``means`` are the names that have one; others are those of the last reader.
    """

    def __init__(
        self,
        readers: Sequence[Reader],
        specs: Mapping[str, TensorSpec],
        means: Collection[str],
        weights: Sequence[float] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self._readers = tuple(readers)
        self._means = frozenset(means)
        self._weights = weights
        self._progress = progress
        self.specs: Mapping[str, TensorSpec] = specs
        last = readers[-1].info
        files = tuple(dict.fromkeys(file for one in readers for file in one.info.files))
        graphs = tuple(dict.fromkeys(graph for one in readers for graph in one.info.graphs))
        self.info: CheckpointInfo = last._replace(files=files, graphs=graphs)

    @property
    def partitioned(self) -> Collection[str]:
        """None: what is computed is whole."""
        return ()

    def stored_bytes(self, name: str) -> int:
        """As the last checkpoint has it."""
        return self._readers[-1].stored_bytes(name)

    def slices(self, name: str) -> Sequence[Slice]:
        """None."""
        return ()

    def chunks(self, name: str, max_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
        """The tensor in C order, piece by piece; all checksums are checked."""
        if name not in self.specs:
            raise TensorNotFoundError(Problem("INP010", "no tensor of this name", None, name))
        if name not in self._means:
            yield from self._readers[-1].chunks(name, max_bytes)
            return
        size = max(1, min(max_bytes, _HELD_BYTES // len(self._readers)))
        streams = [self._arrays(reader, name, size) for reader in self._readers]
        start = 0
        for block in mean_blocks(streams, self._weights, self.specs[name].dtype):
            yield Chunk(start, block)
            start += len(block)

    def _arrays(self, reader: Reader, name: str, size: int) -> Iterator[np.ndarray[Any, Any]]:
        for chunk in reader.chunks(name, size):
            if self._progress is not None:
                self._progress(chunk.array.nbytes)
            yield chunk.array

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """The whole tensor."""
        import numpy as np

        if name in self.specs and name not in self._means:
            return self._readers[-1].read(name)
        pieces = [chunk.array for chunk in self.chunks(name)]
        dtype, shape = self.specs[name][1:]
        return np.concatenate([np.empty(0, dtype_named(dtype).numpy), *pieces]).reshape(shape)

    def read_slice(self, name: str, index: int) -> np.ndarray[Any, Any]:
        """Nothing is in slices."""
        raise IndexError(index)

    def object_graph(self) -> ObjectGraph | None:
        """As the last checkpoint has it."""
        return self._readers[-1].object_graph()

    def close(self) -> None:
        """The readers beneath stay open."""

    def __enter__(self) -> MeanReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
