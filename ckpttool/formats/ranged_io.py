"""A window of a ranged file as the seekable binary stream that zipfile and h5py ask for."""

from __future__ import annotations

import io
from typing import Any

from ckpttool.storage.files import RangedFile


class RangeIO(io.RawIOBase):
    """Bytes ``[start, start + size)`` of ``file``, read only.  Closing it leaves ``file`` open."""

    def __init__(self, file: RangedFile, start: int = 0, size: int | None = None) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = file.size - start if size is None else size
        self._pos = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position in the window."""
        return self._pos

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; beyond the end is allowed and reads nothing."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._pos, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("negative seek position")
        self._pos = base + offset
        return self._pos

    def readinto(self, buffer: Any) -> int:
        """Fill ``buffer`` as far as the window goes."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._pos))
        data = self._file.pread(self._start + self._pos, count)
        view[: len(data)] = data
        self._pos += len(data)
        return len(data)
