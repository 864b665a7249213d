"""Read an output back while it is being written."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from queue import SimpleQueue
from typing import Any, NamedTuple

from ckpttool.formats.base import Reader
from ckpttool.formats.writing import Span
from ckpttool.mapping.execution.checksums import Checksums
from ckpttool.storage.atomic import Staged
from ckpttool.storage.crc32c import crc32c, unlocked_crc32c

_WINDOW = 256 << 10  # stays in the processor's cache between reading and the checksum


class Sound(NamedTuple):
    """Bytes of a file that were read back, and the checksum that they had."""

    path: str
    offset: int
    size: int
    crc32c: int


class Follower:
    """Reads what was written in a thread of its own.  Use it as a context.

    Only what has its checksum is remembered, in ``sound``; all else is left for a second look.
    """

    def __init__(self, sums: Checksums) -> None:
        """``sums`` has the checksums that the writer does not know."""
        self.sound: set[Sound] = set()
        self._sums = sums
        self._spans: SimpleQueue[tuple[int, Sound] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._given_up = not hasattr(os, "preadv")

    def follow(self, staged: Staged, span: Span) -> None:
        """All of ``span`` is there."""
        crc = self._sums[span.name] if span.crc32c is None else span.crc32c
        if crc is None or self._given_up:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="read back", daemon=True)
            self._thread.start()
        self._spans.put((staged.fileno(), Sound(staged.path, span.offset, span.size, crc)))

    def _run(self) -> None:
        summer = _Summer()
        while (item := self._spans.get()) is not None and not self._given_up:
            fd, expected = item
            try:
                found = summer.checksum(fd, expected.offset, expected.size)
            except OSError:
                return  # the second look will meet it too
            if found == expected.crc32c:
                self.sound.add(expected)

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._given_up |= kind is not None
        self._spans.put(None)
        if self._thread is not None:
            self._thread.join()


def is_sound(back: Reader, name: str, crc: int | None, sound: Collection[Sound]) -> bool:
    """Whether a tensor lies, by what its file says, where the right bytes were read already."""
    stored_range: Any = getattr(back, "stored_range", None)
    if crc is None or not sound or stored_range is None:
        return False
    place = stored_range(name)
    return place is not None and (*place, crc) in sound


class _Summer:
    """Checksums of a file's bytes, with the interpreter lock left alone where that can be done.

    One buffer is read into again and again: no memory is asked for, and it stays in the cache.
    """

    def __init__(self) -> None:
        import ctypes

        self._buffer = bytearray(_WINDOW)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._buffer))
        self._extend = unlocked_crc32c()

    def checksum(self, fd: int, offset: int, size: int) -> int:
        """CRC32C of ``size`` bytes; of fewer where the file ends before."""
        crc = 0
        end = offset + size
        while offset < end:
            view = memoryview(self._buffer)[: min(_WINDOW, end - offset)]
            count = os.preadv(fd, [view], offset)
            if not count:
                break
            if self._extend is not None:
                crc = self._extend(crc, self._address, count)
            else:
                crc = crc32c(bytes(view[:count]), crc)
            offset += count
        return crc
