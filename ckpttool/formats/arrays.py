"""What readers share whose tensors are plain arrays, stored whole: no slices, no object graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from ckpttool.errors import InputError, Problem, corrupt
from ckpttool.formats.parts import PartReader
from ckpttool.formats.tensorflow.slice_layout import MAX_ELEMENTS
from ckpttool.tensors import Shape, Slice

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MAX_RANK = 254
MAX_DAMAGE_LISTED = 100  # problems of one kind that a reader collects


class ArrayReader(PartReader):
    """A reader without partitioned variables; subclasses open the streams of whole tensors."""

    partitioned: frozenset[str] = frozenset()

    def slices(self, name: str) -> Sequence[Slice]:
        """Always empty: every tensor is stored whole."""
        self.spec(name)
        return ()

    def stored_bytes(self, name: str) -> int:
        """Bytes that the tensor's elements take in the file, packed or not."""
        raise NotImplementedError

    def close(self) -> None:
        """Release files; the specs stay valid."""

    def labels(self) -> dict[str, str]:
        """Names that the file gives besides its keys (layers' names), by key; mostly none."""
        return {}


class BlockStream:
    """Elements from an iterator of 1-D arrays."""

    def __init__(self, count: int, blocks: Iterator[Array]) -> None:
        self.count = count
        self._blocks = blocks
        self._rest: Array | None = None

    def take(self, count: int, max_bytes: int | None = None) -> Array:
        """The next ``count`` elements; with ``max_bytes``, at most the rest of one block."""
        import numpy as np

        pieces: list[Array] = []
        left = count
        while left:
            block = self._rest if self._rest is not None else next(self._blocks, None)
            if block is None:
                raise InputError(Problem("INP004", "the data ends before its shape does"))
            self._rest = block[left:] if len(block) > left else None
            pieces.append(block[:left])
            left -= len(pieces[-1])
            if max_bytes is not None and len(pieces[-1]):
                break
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [np.empty(0)])

    def finish(self) -> None:
        """Let the source check what it has to."""
        for _ in self._blocks:
            pass


class Damage:
    """Problems that a reader collects while it goes on; after many of them it only counts."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._problems: list[Problem] = []
        self._more = 0

    def add(self, problem: Problem) -> None:
        """Note one."""
        if len(self._problems) < MAX_DAMAGE_LISTED:
            self._problems.append(problem)
        else:
            self._more += 1

    def all(self) -> tuple[Problem, ...]:
        """What was noted, and how many more there were."""
        if not self._more:
            return tuple(self._problems)
        last = Problem("INP004", f"{self._more} more entries are damaged", self.path)
        return (*self._problems, last)


def checked_shape(shape: object, what: str, path: str) -> Shape:
    """``shape`` as a tuple if it is a list of sizes of a possible tensor; ``what`` for messages."""
    if (
        not isinstance(shape, (list, tuple))
        or len(shape) > MAX_RANK
        or any(type(size) is not int or not 0 <= size <= MAX_ELEMENTS for size in shape)
        or prod(shape) > MAX_ELEMENTS
    ):
        raise corrupt(f"{what} has an impossible shape", path, found=repr(shape)[:80])
    return tuple(shape)


def blocks_of(shape: Shape, most: int, first: int = 1) -> Iterator[tuple[slice, ...]]:
    """Slices that cut ``shape`` into consecutive C-order blocks of at most ``most`` elements.

    ``first`` is the number of rows of the first axis that are better not split (a stored chunk):
    blocks of whole rows have a multiple of it where that is not more than ``most`` elements.
    """
    if not prod(shape):
        return
    axis = 0
    inner = prod(shape[1:])
    while inner > most and axis < len(shape) - 1:
        axis += 1
        inner = prod(shape[axis + 1 :])
    step = max(1, most // max(1, inner))
    if axis == 0 and step > first:
        step -= step % first
    for outer in product(*(range(size) for size in shape[:axis])):
        fixed = tuple(slice(index, index + 1) for index in outer)
        if not shape:
            yield ()
            return
        for start in range(0, shape[axis], step):
            stop = min(start + step, shape[axis])
            yield (*fixed, slice(start, stop), *(slice(None) for _ in shape[axis + 1 :]))
