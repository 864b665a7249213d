"""A directory as locating sees it: names, sizes, and what file names and last bytes promise."""

from __future__ import annotations

import os
import stat

from ckpttool.formats.tensorflow.table_writer import MAGIC
from ckpttool.storage.files import LOCAL, Files, join

LFS_POINTER = b"version https://git-lfs.github.com/spec/"

_MAGIC_BYTES = MAGIC.to_bytes(8, "little")
_POINTER_BYTES = 1024  # no Git LFS pointer is longer
_STEP_DIGITS = 18


class Folder:
    """A directory, listed at most once.  ``names`` come in no order."""

    __slots__ = ("_names", "files", "path")

    def __init__(self, files: Files, path: str) -> None:
        self.files = files
        self.path = path
        self._names: list[str] | None = None

    @property
    def names(self) -> list[str]:
        """Base names; empty if the directory cannot be listed."""
        if self._names is None:
            self._names = self._list()
        return self._names

    def _list(self) -> list[str]:
        if self.files is not LOCAL:
            return self.files.names(self.path)
        try:
            return os.listdir(self.path or ".")  # not sorted: it may hold very many
        except (OSError, ValueError):
            return []

    def join(self, name: str) -> str:
        """The path of a name in it."""
        return join(self.path, name)

    def size(self, name: str) -> int | None:
        """The size of a file in it; None if there is no regular file of that name."""
        return size_of(self.files, join(self.path, name))


def shard_counts(folder: Folder, base: str, mark: str) -> dict[int, set[int]]:
    """By promised count, the numbers of the shards ``base + mark + SSSSS-of-NNNNN`` here."""
    counts: dict[int, set[int]] = {}
    begin = base + mark
    length = len(begin) + 14
    for name in folder.names:
        if len(name) == length and name.startswith(begin):
            numbers = _numbers(name[-14:])
            if numbers is not None:
                counts.setdefault(numbers[1], set()).add(numbers[0])
    return counts


def best_count(counts: dict[int, set[int]]) -> tuple[int, set[int]] | None:
    """The complete set of shards, else the one with the most; None if there is no shard."""
    if not counts:
        return None
    best = max(counts, key=lambda count: (len(counts[count]) == count, len(counts[count]), count))
    return best, counts[best]


def split_shard(name: str) -> tuple[str, str] | None:
    """Base name and mark (``.data-`` or ``-``) of a shard's name, or of V1's ``-?????-of-N``."""
    tail = name[-14:]
    if name[-20:-14] == ".data-" and _numbers(tail):
        return name[:-20], ".data-"
    if name[-15:-14] == "-" and (_numbers(tail) or _numbers(tail.replace("?????", "00000", 1))):
        return name[:-15], "-"
    return None


def step_of(base: str) -> int | None:
    """The step at the end of a prefix (``model.ckpt-168``); None where there is none."""
    _, dash, digits = base.rpartition("-")
    if dash and len(digits) <= _STEP_DIGITS and digits.isascii() and digits.isdigit():
        return int(digits)
    return None


def size_of(files: Files, path: str) -> int | None:
    """The size of a regular file; None if there is none.  One look-up where files are local."""
    if files is not LOCAL:
        return files.size(path) if files.is_file(path) else None
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def ends_like_table(files: Files, path: str) -> bool:
    """Whether the file ends with the magic number of a table."""
    file = files.open(path)
    try:
        return file.pread(max(0, file.size - 8), 8) == _MAGIC_BYTES
    finally:
        file.close()


def is_pointer(files: Files, path: str, size: int) -> bool:
    """Whether a file of that size is a Git LFS pointer instead of what its name says."""
    if not len(LFS_POINTER) < size <= _POINTER_BYTES:
        return False
    file = files.open(path)
    try:
        return file.pread(0, len(LFS_POINTER)) == LFS_POINTER
    finally:
        file.close()


def _numbers(tail: str) -> tuple[int, int] | None:
    """Shard and count of ``SSSSS-of-NNNNN``; None if it is no such text."""
    if len(tail) != 14 or tail[5:9] != "-of-" or not tail.isascii():
        return None
    shard, count = tail[:5], tail[9:]
    if not (shard.isdigit() and count.isdigit()) or not int(shard) < int(count):
        return None
    return int(shard), int(count)
