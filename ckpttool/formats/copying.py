"""Copy byte ranges between files as runs: neighbours, and ranges that overlap, go in one piece.

Ranges that share bytes share them in the copy too, so a copy is never larger than its source.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from typing import NamedTuple, Protocol

from ckpttool.errors import corrupt
from ckpttool.formats.writing import Follow, Progress, Span, ignore
from ckpttool.storage.atomic import AT_ONCE, Staged, cannot_write
from ckpttool.storage.files import CHUNK, RangedFile, files_for

# For the kernel to copy in a call.  Whoever follows is no further behind, and an interrupt waits no
# longer; with less, threads that wait for each other's interpreter lock take more time than it.
_KERNEL_AT_ONCE = 16 << 20
_PAGE = 4096
# What a kernel or file system says that cannot do this kind of copy; the plain way is tried then.
_CANNOT = frozenset(
    number
    for number in (
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.EPERM,
        errno.EBADF,
        errno.ETXTBSY,
        errno.EIO,
    )
)


class Range(Protocol):
    """A piece of a file."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def offset(self) -> int:
        """Its first byte."""

    @property
    def size(self) -> int:
        """Its length in bytes."""


class Run(NamedTuple):
    """Bytes ``[offset, offset + size)`` of a file, and where they begin in the copy."""

    offset: int
    size: int
    target: int


def merge_runs(ranges: Iterable[Range], start: int = 0) -> dict[str, list[Run]]:
    """Runs for each file, in the order of files and offsets, one after the other from ``start``."""
    by_path: dict[str, list[tuple[int, int]]] = {}
    for item in ranges:
        if item.size:
            by_path.setdefault(item.path, []).append((item.offset, item.offset + item.size))
    runs: dict[str, list[Run]] = {}
    target = start
    for path in sorted(by_path):
        merged: list[list[int]] = []
        for begin, end in sorted(by_path[path]):
            if merged and begin <= merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([begin, end])
        runs[path] = []
        for begin, end in merged:
            runs[path].append(Run(begin, end - begin, target))
            target += end - begin
    return runs


def copy_runs(runs: dict[str, list[Run]], out: Staged, progress: Progress = ignore) -> int:
    """Append all runs to ``out``; returns the bytes written.

    ``progress`` is told the bytes of each piece.
    Raises :class:`InputError` for a source that cannot be read or is too short.
    """
    total = 0
    for path, pieces in runs.items():
        source = files_for(path).open(path)
        try:
            for run in pieces:
                _copy(source, run, out, progress)
                total += run.size
        finally:
            source.close()
    return total


class Announcer:
    """Tells a follower of spans, each as soon as all of it has been copied."""

    def __init__(self, out: Staged, spans: Iterable[Span], follow: Follow) -> None:
        self._out = out
        self._follow = follow
        self._there = 0
        self._spans = sorted(spans, key=lambda span: -(span.offset + span.size))

    def advance(self, size: int) -> None:
        """``size`` more bytes are there."""
        self._there += size
        while self._spans and self._spans[-1].offset + self._spans[-1].size <= self._there:
            self._follow(self._out, self._spans.pop())


def _copy(source: RangedFile, run: Run, out: Staged, progress: Progress) -> None:
    done = 0
    local = hasattr(source, "fileno")
    # Where pages do not lie alike, the kernel's own copy takes half as long again as ours.
    if local and hasattr(os, "copy_file_range") and (run.target - run.offset) % _PAGE == 0:
        done = _kernel_copy(source, run, out, progress)
    while done < run.size:
        most = AT_ONCE - (run.target + done) % AT_ONCE if local else CHUNK
        data = source.pread(run.offset + done, min(most, run.size - done))
        if not data:
            raise corrupt("the file was cut while it was read", source.path, code="INP007")
        out.write(data)
        done += len(data)
        progress(len(data))


def _kernel_copy(source: RangedFile, run: Run, out: Staged, progress: Progress) -> int:
    """Bytes that the kernel copied by itself: all of them, or as far as it could."""
    fileno = source.fileno  # type: ignore[attr-defined]
    done = 0
    while done < run.size:
        size = min(_KERNEL_AT_ONCE, run.size - done)
        try:
            copied = os.copy_file_range(fileno(), out.fileno(), size, run.offset + done)
        except OSError as error:
            if error.errno in _CANNOT:
                return done
            raise cannot_write(out.final, error) from error
        if not copied:
            return done
        done += copied
        progress(copied)
    return done
