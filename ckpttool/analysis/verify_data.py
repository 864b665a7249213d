"""Checksums of stored bytes, read once in file order.

Bytes are read into one small buffer, which stays in the processor's cache from reading to checking.
A block takes a few microseconds, so threads would only wait for each other's interpreter lock: a
second process shares the work instead.  Parts of a tensor that both have read are put together
with :func:`ckpttool.storage.crc32c.combine`.  NumPy is not needed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import zip_longest
from struct import Struct
from typing import Any, NamedTuple

from ckpttool.analysis import forking
from ckpttool.errors import CkptError, InputError, Problem
from ckpttool.storage.crc32c import combine, crc32c, mask, unlocked_crc32c
from ckpttool.storage.files import RangedFile, files_for, is_url, unreadable

BLOCK = 128 << 10
_REMOTE_BLOCK = 4 << 20  # a request takes longer than the bytes it brings
_STRETCH = 8 << 20  # bytes that are taken at once
_MOST = 2048  # tensors that are taken at once
_WORTH_A_FORK = 64 << 20  # bytes in all
_PIPE = 32 << 10  # bytes that a pipe holds on every system
_NUMBER = Struct("<I")

Progress = Callable[[int], None]  # called with the bytes that were read since the last call


class Stored(NamedTuple):
    """Bytes ``[offset, offset + size)`` of a file and their masked CRC."""

    path: str
    offset: int
    size: int
    crc32c: int


class _Segment(NamedTuple):
    number: int  # of the stored bytes that it is part of
    offset: int
    size: int


class _Stretch(NamedTuple):
    path: str
    end: int
    total: int  # bytes of this one and all before it
    segments: list[_Segment]


class _Window:
    """A piece of a file in memory; moves on as it is asked for later bytes."""

    def __init__(self) -> None:
        # Held for as long as its address is used.
        self._memory = bytearray(BLOCK)
        self._view = memoryview(self._memory)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._extend = unlocked_crc32c()
        self._data = b""
        self._local = False
        self._low = self._high = 0

    def forget(self) -> None:
        """What is in memory is of another file."""
        self._low = self._high = 0

    def fill(self, file: RangedFile, offset: int, end: int) -> int:
        """Make bytes from ``offset`` on available, none beyond ``end``; returns how many are."""
        if not self._low <= offset < self._high:
            fileno = getattr(file, "fileno", None)
            self._local = fileno is not None and hasattr(os, "preadv") and self._extend is not None
            if self._local and fileno is not None:
                wanted = min(BLOCK, end - offset)
                got = os.preadv(fileno(), [self._view[:wanted]], offset)
            else:
                self._data = file.pread(offset, min(_REMOTE_BLOCK, end - offset))
                got = len(self._data)
            self._low, self._high = offset, offset + got
        return self._high - offset

    def checksum(self, crc: int, offset: int, size: int) -> int:
        """The CRC continued over ``size`` bytes from ``offset``, which are available."""
        at = offset - self._low
        if self._local and self._extend is not None:
            return self._extend(crc, self._address + at, size)
        return crc32c(self._data[at : at + size], crc)


class Checker:
    """One run over stored bytes: :meth:`start`, then :meth:`finish`.  ``progress`` may be set."""

    def __init__(self, stored: Sequence[Stored]) -> None:
        self._stored = stored
        self.progress: Progress | None = None
        self._work = list(_stretches(stored))
        self._sums: list[list[tuple[int, int, int]]] = [[] for _ in stored]
        self._problems: dict[int, Problem] = {}
        self._files: dict[str, RangedFile | Problem] = {}
        self._done = bytearray(len(self._work))
        self._told = 0  # bytes that were reported as read
        self._queue = -1  # a pipe with the numbers of the stretches that nobody has taken yet
        self._collect: Callable[[], Any] | None = None

    def start(self, *, fork: bool = False) -> None:
        """With ``fork``, let a second process begin, where there is enough to do for two.

        Only for programs that are a single command, for memory is duplicated as it is.
        """
        total = sum(item.size for item in self._stored)
        local = not any(is_url(path) for path in {item.path for item in self._stored})
        cores = os.cpu_count() or 1
        # The numbers are written before anybody reads them: all must fit into the pipe.
        few = len(self._work) * _NUMBER.size <= _PIPE
        if not (fork and local and few and total >= _WORTH_A_FORK and cores > 1):
            return
        if not forking.can_fork():
            return
        self._queue, entry = os.pipe()
        with os.fdopen(entry, "wb") as stream:
            stream.write(b"".join(_NUMBER.pack(number) for number in range(len(self._work))))
        self._collect = forking.start(self._share)

    def finish(self) -> dict[int, Problem]:
        """Read everything; what is wrong, by number.

        INP005 with both masked checksums, INP007 for bytes that are not there, INP002 for those
        that cannot be read.
        """
        try:
            self._drain(self._queued() if self._collect is not None else range(len(self._work)))
            if self._collect is not None:
                self._merge(self._collect)
        finally:
            if self._queue >= 0:
                os.close(self._queue)
            for file in self._files.values():
                if not isinstance(file, Problem):
                    file.close()
        for number, item in enumerate(self._stored):
            self._compare(number, item)
        return self._problems

    def _queued(self) -> Iterator[int]:
        """Numbers of stretches that the other process has not taken."""
        while len(raw := os.read(self._queue, _NUMBER.size)) == _NUMBER.size:
            yield _NUMBER.unpack(raw)[0]

    def _share(self) -> tuple[bytes, list[object], list[object]]:
        """What the second process does, and what the first needs of it."""
        self.progress = None
        self._drain(self._queued())
        sums = [(number, found) for number, found in enumerate(self._sums) if found]
        problems = [(number, tuple(problem)) for number, problem in self._problems.items()]
        return bytes(self._done), list(sums), list(problems)

    def _merge(self, collect: Callable[[], Any]) -> None:
        try:
            done, sums, problems = collect()
        except RuntimeError:  # it was ended: what it had taken is read here
            done, sums, problems = b"", [], []
        for number, found in sums:
            self._sums[number] += found
        for number, problem in problems:
            self._problems.setdefault(number, Problem(*problem))
        both = (any(pair) for pair in zip_longest(self._done, done, fillvalue=0))
        self._drain([number for number, there in enumerate(both) if not there])

    def _drain(self, numbers: Iterable[int]) -> None:
        window = _Window()
        for number in numbers:
            stretch = self._work[number]
            file = self._open(stretch.path)
            window.forget()
            if isinstance(file, Problem):
                for piece, _, _ in stretch.segments:
                    self._problems.setdefault(piece, file)
            else:
                self._read(stretch, file, window)
            self._done[number] = 1
            if self.progress is not None:
                # Stretches are taken in order: those before this one are done, or nearly so.
                self.progress(max(0, stretch.total - self._told))
                self._told = max(self._told, stretch.total)

    def _open(self, path: str) -> RangedFile | Problem:
        if path not in self._files:
            try:
                self._files[path] = files_for(path).open(path)
            except CkptError as error:
                self._files[path] = error.problems[0]
        return self._files[path]

    def _read(self, stretch: _Stretch, file: RangedFile, window: _Window) -> None:
        for number, offset, size in stretch.segments:
            crc = done = 0
            while done < size:
                at = offset + done
                problem = None
                try:
                    ready = min(size - done, window.fill(file, at, stretch.end))
                    if ready <= 0:
                        found, expected = f"{file.size} bytes", f"≥ {offset + size} bytes"
                        what = "the file was cut while it was read"
                        problem = Problem("INP007", what, file.path, found, expected)
                except OSError as error:
                    problem = unreadable(file.path, error).problems[0]
                except InputError as error:
                    problem = error.problems[0]
                if problem is not None:
                    window.forget()
                    self._problems.setdefault(number, problem)
                    break
                crc = window.checksum(crc, at, ready)
                done += ready
            self._sums[number].append((offset, size, crc))

    def _compare(self, number: int, item: Stored) -> None:
        if number in self._problems:
            return
        whole = 0
        for offset, size, crc in sorted(self._sums[number]):
            whole = crc if offset == item.offset else combine(whole, crc, size)
        if mask(whole) != item.crc32c:
            self._problems[number] = Problem(
                "INP005",
                "the checksum does not match",
                f"{item.path}: byte {item.offset}",
                f"{mask(whole):08x}",
                f"{item.crc32c:08x}",
            )


def _stretches(stored: Sequence[Stored]) -> Iterator[_Stretch]:
    """The stored bytes in file order, cut and put together into shares of about one size."""
    segments: list[_Segment] = []
    path, end, room, total = "", 0, _STRETCH, 0
    for number, offset, size in _cut(stored):
        other = stored[number].path != path
        # After a wide gap, and where bytes overlap, reading begins anew.
        apart = not other and bool(segments) and not 0 <= offset - end <= BLOCK
        if segments and (other or apart or room < size or len(segments) >= _MOST):
            yield _Stretch(path, end, total, segments)
            segments, room = [], _STRETCH
        path, end = stored[number].path, offset + size
        room -= size
        total += size
        segments.append(_Segment(number, offset, size))
    if segments:
        yield _Stretch(path, end, total, segments)


def _cut(stored: Sequence[Stored]) -> Iterable[_Segment]:
    order = sorted(range(len(stored)), key=lambda number: stored[number][:2])
    for number in order:
        _, offset, size, _ = stored[number]
        for start in range(0, size, _STRETCH):
            yield _Segment(number, offset + start, min(_STRETCH, size - start))
