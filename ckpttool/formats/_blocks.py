"""What readers of plain array files share: blocks of elements, and a located file's info."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any

from ckpttool.errors import InputError, Problem
from ckpttool.formats.base import CheckpointInfo
from ckpttool.formats.locate import Located
from ckpttool.formats.streaming import STRING_OVERHEAD, Where

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MAX_TENSORS = 1_000_000  # names listed from one checkpoint
BLOCK_BYTES = 4 << 20  # what a stream of blocks decodes at once


class BlockStream:
    """Elements that come in blocks, such as decompressed pieces.

    ``blocks`` yields 1-D arrays in C order, and checks what there is to check when it is
    exhausted.
    """

    def __init__(self, count: int, blocks: Iterator[Array], where: Where) -> None:
        self.count = count
        self._blocks = blocks
        self._where = where
        self._pending: Array | None = None

    def take(self, count: int, max_bytes: int | None = None) -> Array:
        """The next ``count`` elements; of strings fewer (at least one) if they exceed the limit."""
        import numpy as np

        pieces: list[Array] = []
        have = 0
        while have < count:
            block = self._next()
            if block.dtype == object and max_bytes is not None:
                fits = min(_fitting(block, max_bytes), count)
                self._pending = block[fits:]
                return block[:fits]
            pieces.append(block[: count - have])
            self._pending = block[count - have :]
            have += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [np.empty(0)])

    def finish(self) -> None:
        """Check that nothing is left, and let the blocks check themselves."""
        left = 0 if self._pending is None else len(self._pending)
        for block in self._blocks:
            left += len(block)
        if left:
            raise self._where.damaged("more elements than the shape has", left)

    def _next(self) -> Array:
        """The next block that is not empty."""
        block = self._pending
        while block is None or not len(block):
            block = next(self._blocks, None)
            if block is None:
                raise self._where.damaged("fewer elements than the shape has")
        return block


def _fitting(strings: Array, max_bytes: int) -> int:
    """How many of the first strings fit into ``max_bytes``; at least one."""
    total = 0
    for index, item in enumerate(strings):
        total += STRING_OVERHEAD + len(item)
        if total > max_bytes:
            return max(1, index)
    return len(strings)


def selections(
    shape: Sequence[int], itemsize: int, steps: Sequence[int] = (), budget: int = BLOCK_BYTES
) -> Iterator[tuple[int | slice, ...]]:
    """Index expressions that cover an array in C order, each a run of at most ``budget`` bytes.

    ``steps`` are the storage's own blocks: runs end at their edges where the budget allows.
    """
    axis, row = len(shape), max(1, itemsize)  # bytes of one item along the axis before `axis`
    while axis and row * shape[axis - 1] <= budget:
        axis -= 1
        row *= shape[axis]
    if not axis:
        yield ()
        return
    length = shape[axis - 1]
    step = max(1, budget // row)
    if steps and step > steps[axis - 1] > 0:
        step -= step % steps[axis - 1]
    for outer in product(*map(range, shape[: axis - 1])):
        for start in range(0, length, step):
            yield (*outer, slice(start, min(start + step, length)))


def describe(
    located: Located,
    files: Sequence[str],
    *,
    shards: int | None = None,
    missing: Sequence[str] = (),
    notices: Sequence[Problem] = (),
    damage: Sequence[Problem] = (),
) -> CheckpointInfo:
    """The info of a located checkpoint: ``files`` hold the tensors, and are the shards."""
    return CheckpointInfo(
        path=located.path,
        format=located.format,
        shards=len(files) if shards is None else shards,
        files=tuple(files),
        graphs=located.graphs,
        missing_files=tuple(missing),
        notices=(*located.notices, *notices),
        step=located.step,
        damage=tuple(damage),
    )


def main_file(located: Located) -> str:
    """The file that lists the tensors; :class:`InputError` where there is none."""
    if located.index is None:
        raise InputError(Problem("INP001", "no file that lists the tensors", located.path))
    return located.index
