"""A ranged file as a seekable binary stream, for libraries that want one (zipfile, h5py)."""

from __future__ import annotations

import io
from typing import Any

from ckpttool.storage.files import RangedFile


class _Stream(io.RawIOBase):
    def __init__(self, file: RangedFile, start: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = size
        self._pos = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._pos, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(22, "seek before the start")  # what zipfile expects of a file
        self._pos = base + offset
        return self._pos

    def tell(self) -> int:
        return self._pos

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        wanted = max(0, min(len(view), self._size - self._pos))
        data = self._file.pread(self._start + self._pos, wanted)
        view[: len(data)] = data
        self._pos += len(data)
        return len(data)


def as_stream(file: RangedFile, start: int = 0, size: int | None = None) -> io.BufferedReader:
    """``size`` bytes of ``file`` from ``start`` (all to its end by default), buffered.

    Closing the stream leaves ``file`` open.
    """
    extent = file.size - start if size is None else size
    return io.BufferedReader(_Stream(file, start, extent), 1 << 16)
