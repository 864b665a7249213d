"""A checkpoint as a plan would make it, read without writing it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ckpttool.errors import Problem, TensorNotFoundError
from ckpttool.formats.base import CHUNK_BYTES, CheckpointInfo, Chunk, Reader
from ckpttool.mapping.planning.expressions import Evaluator
from ckpttool.mapping.planning.plan import Plan, Step
from ckpttool.mapping.transforms.workspace import Workspace, in_memory
from ckpttool.tensors import Slice, TensorSpec

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.formats.tensorflow.object_graph import ObjectGraph


class PlannedReader:
    """The tensors of a plan, computed from a reader when they are read; that stays open.

    ``folder`` is where a tensor goes that is too large to be kept in memory while its parts are
    taken in another order; None keeps all in memory.
    """

    def __init__(self, plan: Plan, reader: Reader, folder: str | None = None) -> None:
        self._reader = reader
        self._steps: dict[str, Step] = {step.target: step for step in plan.steps}
        self._workspace = Workspace(folder)
        self._evaluator = Evaluator(reader, self._workspace)
        info = reader.info
        self.info: CheckpointInfo = info._replace(graphs=(), step=None)
        self.specs: Mapping[str, TensorSpec] = {
            step.target: TensorSpec(step.target, step.dtype, step.shape) for step in plan.steps
        }

    @property
    def partitioned(self) -> Collection[str]:
        """None: what is computed is whole."""
        return ()

    def stored_bytes(self, name: str) -> int:
        """Bytes of the elements; of a string tensor, those of its source."""
        step = self._step(name)
        if step.expression is None:
            return self._reader.stored_bytes(step.sources[0])
        return self.specs[name].nbytes

    def slices(self, name: str) -> Sequence[Slice]:
        """None."""
        return ()

    def chunks(self, name: str, max_bytes: int = CHUNK_BYTES) -> Iterator[Chunk]:
        """The tensor in C order, piece by piece; sources are checked as far as they are read."""
        step = self._step(name)
        if step.expression is None:
            yield from self._reader.chunks(step.sources[0], max_bytes)
            return
        start = 0
        for array in self._evaluator.lazy(step.expression).stream(max_bytes):
            yield Chunk(start, array)
            start += len(array)

    def read(self, name: str) -> np.ndarray[Any, Any]:
        """The whole tensor; a fresh writable array."""
        step = self._step(name)
        if step.expression is None:
            return self._reader.read(step.sources[0])
        array: np.ndarray[Any, Any] = in_memory(self._evaluator.lazy(step.expression)).copy()
        return array

    def read_slice(self, name: str, index: int) -> np.ndarray[Any, Any]:
        """Nothing is in slices."""
        raise IndexError(index)

    def object_graph(self) -> ObjectGraph | None:
        """None: names are the plan's."""
        return None

    def close(self) -> None:
        """Let go of what is kept; the reader beneath stays open."""
        self._workspace.clear()

    def _step(self, name: str) -> Step:
        if name not in self._steps:
            raise TensorNotFoundError(Problem("INP010", "no tensor of this name", None, name))
        return self._steps[name]

    def __enter__(self) -> PlannedReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
