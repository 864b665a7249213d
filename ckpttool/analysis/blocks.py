"""The fast way to tally float32: blocks in buffers that are used again and stay in the cache.

Differences are taken in float32, where they are correctly rounded, and sums of rows of 4096
products in float32, which are then added in float64: the relative error of a sum is below 1e-6,
and of the order of 1e-8 in practice.  A block whose sums show that float32 was not enough
(a value that is not finite, squares that overflow or underflow) is tallied again in float64.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ckpttool.analysis.metrics import EXACT, Tally, Tolerance, Wide
from ckpttool.analysis.tallying import compare
from ckpttool.analysis.widening import widen
from ckpttool.storage.crc32c import crc32c, unlocked_crc32c

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

ROW = 4096  # elements of one float32 sum; BLAS starts threads of its own for long ones
ROWS = 128
BLOCK = ROW * ROWS  # elements of a block: 2 MiB a side
# A sum of squares below this may have lost terms to underflow.
_SMALL = 1e-30
_INFINITE = float("inf")
_MAX_RATIO = 16.0  # of two squared norms, up to which their dot product follows from three norms


class Float32Blocks:
    """Buffers and running sums for one thread; call it with floating-point warnings silenced.

    Fill the buffers (:meth:`stored`, :meth:`fill`), then :meth:`add`.
    """

    def __init__(self, tolerance: Tolerance = EXACT) -> None:
        import numpy as np

        self._tolerance = tolerance
        self._stack = np.empty((3, ROWS, ROW), np.float32)
        self._flat = self._stack.reshape(3, BLOCK)
        self._ones = np.ones(ROW, np.float32)
        self._products = _row_products()
        self._bytes = [memoryview(side).cast("B") for side in self._flat[:2]]
        self._raw = [memoryview(bytearray(4 * BLOCK)) for _ in "ab"]  # where it is not float32
        self._extend = unlocked_crc32c()
        self._begin()

    def _begin(self) -> None:
        self._tally = Tally()
        self._elements = self._differing = self._beyond = 0
        self._largest = self._sum_abs = 0.0
        self._aa = self._bb = self._dd = self._ab = 0.0

    def fill(self, a: Array, b: Array) -> None:
        """Take a pair of blocks from elsewhere, converted to float32 (which must lose nothing)."""
        widen(a, self._flat[0, : len(a)])
        widen(b, self._flat[1, : len(b)])

    def stored(self, size: int, *, plain: bool) -> tuple[memoryview, memoryview]:
        """The first ``size`` bytes of the two buffers to read into.

        With ``plain`` they are float32 and :meth:`add` takes them as they are; else see
        :meth:`arrays`.
        """
        a, b = self._bytes if plain else self._raw
        return a[:size], b[:size]

    def checksum(self, data: memoryview, crc: int) -> int:
        """A CRC continued over bytes that :meth:`stored` gave."""
        import numpy as np

        if self._extend is None:
            return crc32c(bytes(data), crc)
        return self._extend(crc, int(np.frombuffer(data, np.uint8).ctypes.data), len(data))

    def add(self, count: int) -> None:
        """Add the first ``count`` elements that the buffers hold to the sums."""
        import numpy as np

        rows = -(-count // ROW)
        used = rows * ROW
        if used > count:  # zeros add nothing to any sum
            self._flat[:2, count:used] = 0
        a, b, distance = self._flat[:, :used]
        stack = self._stack[:, :rows]
        np.subtract(a, b, out=distance)
        np.absolute(distance, out=distance)
        products = self._products(stack, stack)
        aa, bb, dd = np.add.reduce(products, 1, np.float64).tolist()
        largest = float(np.maximum.reduce(distance))
        if not (
            (_SMALL < aa < _INFINITE or (aa == 0 and _all_zero(a)))
            and (_SMALL < bb < _INFINITE or (bb == 0 and _all_zero(b)))
            and (_SMALL < dd < _INFINITE or not largest)
        ):
            self._tally.merge(compare(a[:count], b[:count], self._tolerance))
            return
        self._elements += count
        self._aa += aa
        self._bb += bb
        if not largest:
            self._ab += aa
            return
        self._dd += dd
        self._largest = max(self._largest, largest)
        sums = self._products(stack[2], self._ones)
        self._sum_abs += float(np.add.reduce(sums, None, np.float64))
        if aa <= _MAX_RATIO * bb and bb <= _MAX_RATIO * aa:
            self._ab += (aa + bb - dd) / 2
        else:
            products = self._products(stack[0], stack[1])
            self._ab += float(np.add.reduce(products, None, np.float64))
        self._count(a[:count], b[:count], distance, largest)

    def _count(self, a: Array, b: Array, distance: Array, largest: float) -> None:
        import numpy as np

        differing = int(np.count_nonzero(distance.view(np.int32)))  # no -0: it is an absolute
        self._differing += differing
        if not self._tolerance:
            self._beyond += differing
        elif largest > self._tolerance.atol:
            self._beyond += compare(a, b, self._tolerance).beyond

    def finish(self) -> Tally:
        """The tally of what was added, and a new beginning."""
        tally = Tally()
        tally.elements = tally.finite = self._elements
        tally.differing, tally.beyond = self._differing, self._beyond
        tally.max_abs, tally.sum_abs = Wide(self._largest), Wide(self._sum_abs)
        tally.squares_a, tally.squares_b = Wide(self._aa), Wide(self._bb)
        tally.squares_d, tally.dot = Wide(self._dd), Wide(self._ab)
        tally.merge(self._tally)
        self._begin()
        return tally


def _all_zero(side: Array) -> bool:
    return not side.max() and not side.min()


def _row_products() -> Any:
    """Row by row dot products: ``vecdot`` where NumPy has it (2.0), else the slower ``einsum``."""
    import numpy as np

    found = getattr(np, "vecdot", None)
    if found is not None:
        return found
    return lambda a, b: np.einsum("...i,...i->...", a, b)


def read_into(fd: int, memory: memoryview, offset: int) -> int:
    """Fill ``memory`` from ``offset`` of an open file; fewer bytes at the end of the file."""
    done = 0
    while done < len(memory):
        got = os.preadv(fd, [memory[done:]], offset + done)
        if not got:
            break
        done += got
    return done
