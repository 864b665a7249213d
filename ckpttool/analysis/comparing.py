"""Compare the values of many pairs of tensors: bounded memory, both cores, checksums checked.

Work is cut into items that any thread may take: a stretch of a tensor that lies in a local file on
either side, or a whole pair that is read through its readers.  Results are merged per pair.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis import forking
from ckpttool.analysis.blocks import BLOCK, Float32Blocks, read_into
from ckpttool.analysis.metrics import EXACT, Metrics, Tally, Tolerance, whole
from ckpttool.analysis.sides import Region, Side
from ckpttool.analysis.tallying import compare
from ckpttool.analysis.widening import BYTE_INTS, SMALL_FLOATS
from ckpttool.errors import CkptError, InputError, Problem
from ckpttool.formats.streaming import Where, elements
from ckpttool.storage.crc32c import combine, mask
from ckpttool.storage.files import unreadable
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    from ckpttool.formats.streaming import Array

_READ = 4 * BLOCK  # bytes that are read at once
_STRETCH = 4 * _READ  # bytes that a thread takes at once
_STEP = BLOCK // 16  # elements at once of types that need float64: a dozen arrays in the cache
_MAX_THREADS = 4
_WORTH_A_FORK = 64 << 20  # bytes a side

Progress = Callable[[int], None]  # called with the bytes that were read since the last call


class Pair(NamedTuple):
    """One name on each side."""

    a: str
    b: str


class Outcome(NamedTuple):
    """The metrics of a pair, or why there are none."""

    metrics: Metrics | None
    problems: tuple[Problem, ...] = ()


class _Stretch(NamedTuple):
    pair: int
    a: Region
    b: Region
    start: int  # bytes into each
    size: int


class _Pending:
    """What is known of a pair so far."""

    __slots__ = ("problems", "sums", "tally")

    def __init__(self) -> None:
        self.tally = Tally()
        self.problems: list[Problem] = []
        self.sums: list[tuple[int, int, int, int]] = []  # start, size and CRC of both sides


class Comparison:
    """One run over ``pairs``; ``check`` compares stored checksums with what was read."""

    def __init__(
        self,
        a: Side,
        b: Side,
        pairs: Sequence[Pair],
        *,
        tolerance: Tolerance = EXACT,
        check: bool = True,
        progress: Progress | None = None,
    ) -> None:
        self._a, self._b, self._pairs = a, b, pairs
        self._tolerance = tolerance
        self._check = check
        self._progress = progress
        self._reported = 1.0
        self._pending = [_Pending() for _ in pairs]
        self._lock = Lock()
        self._stop = Event()
        self._failures: list[BaseException] = []
        self._regions: dict[int, tuple[Region, Region]] = {}
        self._work: deque[_Stretch | int] = deque()

    def run(self, threads: int | None = None, *, fork: bool = False) -> list[Outcome]:
        """Compare all pairs; one outcome for each, in order.

        ``fork`` allows a second process, for programs that are a single command.
        """
        for index, pair in enumerate(self._pairs):
            self._plan(index, pair)
        count = min(threads or min(os.cpu_count() or 1, _MAX_THREADS), len(self._work))
        if count <= 1:
            self._drain()
        elif fork and self._stretched() >= _WORTH_A_FORK and forking.can_fork():
            self._run_forked()
        else:
            self._run_threads(count)
        if self._failures:
            raise self._failures[0]
        return [self._outcome(index) for index in range(len(self._pairs))]

    def _stretched(self) -> int:
        """Bytes a side that can be read by offset."""
        return sum(item.size for item in self._work if isinstance(item, _Stretch))

    def _run_forked(self) -> None:
        """Half of the stretches, and everything else, here; the other half in a child."""
        import numpy  # noqa: F401  # once, before there are two

        mine: deque[_Stretch | int] = deque()
        theirs: deque[_Stretch | int] = deque()
        balance = 0
        for item in self._work:
            size = self._size(item)
            if isinstance(item, int) or balance <= 0:
                mine.append(item)
                balance += size
            else:
                theirs.append(item)
                balance -= size
        self._work = theirs
        collect = forking.start(self._share)
        self._work = mine
        self._reported = 2.0  # bytes for each that is read here: the child tells nothing
        self._drain()
        try:
            for index, tally, problems, sums in collect():
                pending = self._pending[index]
                pending.tally.merge(Tally.from_state(tally))
                pending.problems += [Problem(*item) for item in problems]
                pending.sums += [tuple(item) for item in sums]
        except RuntimeError as error:
            self._failures.append(error)

    def _size(self, item: _Stretch | int) -> int:
        pair = self._pairs[item if isinstance(item, int) else item.pair]
        dtypes = {self._a.specs[pair.a].dtype, self._b.specs[pair.b].dtype}
        slow = 1 if dtypes <= SMALL_FLOATS else 4  # other dtypes take more time for their bytes
        return slow * (self._a.specs[pair.a].nbytes if isinstance(item, int) else item.size)

    def _share(self) -> list[tuple[object, ...]]:
        """What the child does, and what of it the parent needs."""
        touched = {item.pair for item in self._work if isinstance(item, _Stretch)}
        self._progress = None
        self._drain()
        if self._failures:
            raise self._failures[0]
        return [
            (
                index,
                self._pending[index].tally.state(),
                [tuple(problem) for problem in self._pending[index].problems],
                self._pending[index].sums,
            )
            for index in sorted(touched)
        ]

    def _run_threads(self, count: int) -> None:
        workers = [Thread(target=self._drain, daemon=True) for _ in range(count - 1)]
        for worker in workers:
            worker.start()
        self._drain()
        try:
            for worker in workers:
                worker.join()
        finally:
            self._stop.set()  # also on Ctrl-C: the others end after the block that they are at
            for worker in workers:
                worker.join()

    def _plan(self, index: int, pair: Pair) -> None:
        a, b = self._a.region(pair.a), self._b.region(pair.b)
        same = self._a.specs[pair.a].dtype == self._b.specs[pair.b].dtype
        if a is None or b is None or not same or a.size != b.size:
            self._work.append(index)
            return
        self._regions[index] = (a, b)
        for start in range(0, a.size, _STRETCH):
            self._work.append(_Stretch(index, a, b, start, min(_STRETCH, a.size - start)))

    def _drain(self) -> None:
        """Do items until there are none; what goes wrong inside stops all threads."""
        import numpy as np

        try:
            blocks = Float32Blocks(self._tolerance)
            with np.errstate(all="ignore"):
                while self._work and not self._stop.is_set():
                    self._next(blocks)
        except BaseException as error:
            self._failures.append(error)
            self._stop.set()

    def _next(self, blocks: Float32Blocks) -> None:
        try:
            item = self._work.popleft()
        except IndexError:  # another thread took the last one
            return
        if isinstance(item, int):
            self._read_pair(item, blocks)
        else:
            self._read_stretch(item, blocks)

    def _report(self, size: int) -> None:
        if self._progress is not None:
            self._progress(int(size * self._reported))

    # --- what lies in local files ----------------------------------------------------------

    def _read_stretch(self, item: _Stretch, blocks: Float32Blocks) -> None:
        crc_a = crc_b = 0
        dtype = dtype_named(self._a.specs[self._pairs[item.pair].a].dtype)
        sums = _Sums(blocks, {dtype.name}, self._tolerance)
        plain = dtype.name == "float32"
        for start in range(item.start, item.start + item.size, _READ):
            size = min(_READ, item.start + item.size - start)
            a, b = blocks.stored(size, plain=plain)
            if not self._fill(item, start, a, b):
                break
            if self._check:
                crc_a, crc_b = blocks.checksum(a, crc_a), blocks.checksum(b, crc_b)
            if plain:
                blocks.add(size // 4)
            else:
                sums.add(elements(a, dtype), elements(b, dtype))
            self._report(2 * size)
            if self._stop.is_set():
                break
        total = sums.finish()
        with self._lock:
            pending = self._pending[item.pair]
            pending.tally.merge(total)
            pending.sums.append((item.start, item.size, crc_a, crc_b))

    def _fill(self, item: _Stretch, start: int, a: memoryview, b: memoryview) -> bool:
        """Read the bytes at ``start`` of both; False where that failed, which is written down."""
        got = []
        for region, memory in ((item.a, a), (item.b, b)):
            try:
                got.append(read_into(region.fd, memory, region.offset + start))
            except OSError as error:
                with self._lock:
                    self._pending[item.pair].problems += unreadable(region.path, error).problems
                return False
        if min(got) < len(a):
            self._cut(item, start, *got)
            return False
        return True

    def _cut(self, item: _Stretch, start: int, got_a: int, got_b: int) -> None:
        """A file became shorter while it was read."""
        pair = self._pairs[item.pair]
        short_a = got_a <= got_b
        region, name = (item.a, pair.a) if short_a else (item.b, pair.b)
        error = Where(name, region.path, region.offset).short(
            start + min(got_a, got_b), region.size
        )
        with self._lock:
            self._pending[item.pair].problems += error.problems

    def _check_sums(self, index: int, pending: _Pending) -> None:
        whole_a = whole_b = 0
        for start, size, crc_a, crc_b in sorted(pending.sums):
            if start:
                crc_a, crc_b = combine(whole_a, crc_a, size), combine(whole_b, crc_b, size)
            whole_a, whole_b = crc_a, crc_b
        pair = self._pairs[index]
        for region, name, crc in zip(self._regions[index], pair, (whole_a, whole_b), strict=True):
            if mask(crc) != region.crc32c:
                where = Where(name, region.path, region.offset)
                pending.problems += where.mismatch(crc, region.crc32c).problems

    # --- everything else -------------------------------------------------------------------

    def _read_pair(self, index: int, blocks: Float32Blocks) -> None:
        pair = self._pairs[index]
        dtypes = {self._a.specs[pair.a].dtype, self._b.specs[pair.b].dtype}
        sums = _Sums(blocks, dtypes, self._tolerance)
        try:
            for a, b in _lockstep(self._a.pieces(pair.a), self._b.pieces(pair.b)):
                sums.add(a, b)
                self._report(a.nbytes + b.nbytes)
                if self._stop.is_set():
                    return
        except CkptError as error:
            with self._lock:
                self._pending[index].problems += error.problems
        with self._lock:
            self._pending[index].tally.merge(sums.finish())

    def _outcome(self, index: int) -> Outcome:
        pending = self._pending[index]
        if self._check and index in self._regions and not pending.problems:
            self._check_sums(index, pending)
        if pending.problems:
            return Outcome(None, tuple(pending.problems))
        return Outcome(pending.tally.metrics())


class _Sums:
    """The sums over blocks of a pair: through float32 buffers where their dtypes allow it."""

    def __init__(self, blocks: Float32Blocks, dtypes: set[str], tolerance: Tolerance) -> None:
        self._blocks = blocks
        self._whole = dtypes <= BYTE_INTS
        self._fast = self._whole or dtypes <= SMALL_FLOATS
        self._tolerance = tolerance
        self._total = Tally()

    def add(self, a: Array, b: Array) -> None:
        """Blocks of equal length."""
        step = BLOCK if self._fast else _STEP
        for start in range(0, len(a), step):
            x, y = a[start : start + step], b[start : start + step]
            if self._fast:
                self._blocks.fill(x, y)
                self._blocks.add(len(x))
            else:
                self._total.merge(compare(x, y, self._tolerance))

    def finish(self) -> Tally:
        """All that was added, and what the buffers were given directly."""
        total = self._blocks.finish()
        if self._whole:
            total.max_abs, total.sum_abs = whole(total.max_abs), whole(total.sum_abs)
        if self._fast:
            return total
        return self._total


def _lockstep(first: Iterator[Array], second: Iterator[Array]) -> Iterator[tuple[Array, Array]]:
    """Equally long pieces of both, at most a block each, however each side is cut.

    Each side is read to its end, where a reader checks the checksum.
    """
    a = b = None
    while True:
        if a is None:
            a = next(first, None)
        if b is None:
            b = next(second, None)
        if a is None and b is None:
            return
        if a is None or b is None:
            raise InputError(Problem("INP004", "one of the two tensors ends before the other"))
        count = min(len(a), len(b), BLOCK)
        if count:
            yield a[:count], b[:count]
        a = a[count:] if len(a) > count else None
        b = b[count:] if len(b) > count else None
