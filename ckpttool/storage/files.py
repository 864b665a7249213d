"""Where bytes come from: local files, and any fsspec URL with the ``remote`` extra.

Only what reading checkpoints needs: size, ranged reads and directory listings.  A path that holds
``://`` is a URL; everything else is local, whatever characters it has in it.
"""

from __future__ import annotations

import os
import re
import stat
from typing import Any, Protocol

from ckpttool.errors import ExtraMissingError, InputError, Problem

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
CHUNK = 4 << 20  # bytes a streaming read takes at once


class RangedFile(Protocol):
    """An open file that is read by ranges; ``size`` is its length in bytes."""

    path: str
    size: int

    def pread(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; fewer only at the end of the file."""

    def close(self) -> None:
        """Release the file; further reads are errors."""


class Files(Protocol):
    """A file system, as far as a reader needs one."""

    def is_file(self, path: str) -> bool:
        """Whether ``path`` is a regular file."""

    def is_dir(self, path: str) -> bool:
        """Whether ``path`` is a directory."""

    def size(self, path: str) -> int:
        """Length in bytes."""

    def names(self, directory: str) -> list[str]:
        """Sorted base names in ``directory``; empty if it cannot be listed."""

    def open(self, path: str) -> RangedFile:
        """Open for ranged reading; :class:`InputError` if that fails."""


def is_url(path: str) -> bool:
    """Whether ``path`` names a remote file system."""
    return _URL.match(path) is not None


def files_for(path: str) -> Files:
    """The file system that ``path`` lives on."""
    return _RemoteFiles(path) if is_url(path) else LOCAL


def join(directory: str, name: str) -> str:
    """``directory/name``, for local paths and URLs."""
    if is_url(directory):
        return directory.rstrip("/") + "/" + name
    return os.path.join(directory, name)


def split(path: str) -> tuple[str, str]:
    """Directory and base name; the directory of a bare name is ``""`` locally."""
    if is_url(path):
        head, _, tail = path.rpartition("/")
        return head, tail
    return os.path.split(path)


def read_all(path: str, cap: int, files: Files | None = None) -> bytes:
    """The whole file, refused if it is larger than ``cap`` bytes."""
    source = (files or files_for(path)).open(path)
    try:
        if source.size > cap:
            raise InputError(
                Problem("INP009", "the file is too large", path, f"{source.size} bytes", f"≤ {cap}")
            )
        return source.pread(0, source.size)
    finally:
        source.close()


def unreadable(path: str, error: OSError) -> InputError:
    """An :class:`InputError` for an operating-system error on ``path``."""
    if isinstance(error, FileNotFoundError):
        return InputError(Problem("INP001", "no such file", path))
    return InputError(Problem("INP002", f"cannot read: {error.strerror or error}", path))


class LocalFile:
    """A local file, read with ``pread`` so that several threads may share it."""

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            # O_NONBLOCK: a FIFO in a checkpoint's place must not hang the tool.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            self._fd = os.open(path, flags | getattr(os, "O_CLOEXEC", 0))
        except OSError as error:
            raise unreadable(path, error) from error
        except ValueError as error:  # a NUL in the path
            raise InputError(Problem("INP001", "this is no path", path)) from error
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            self.close()
            raise InputError(Problem("INP002", "not a regular file", path))
        self.size = status.st_size

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes ``[offset, offset + length)``, fewer at the end of the file."""
        try:
            data = _pread(self._fd, length, offset)
            if len(data) == length or not data:
                return data
            pieces = [data]
            got = len(data)
            while got < length and (data := _pread(self._fd, length - got, offset + got)):
                pieces.append(data)
                got += len(data)
        except OSError as error:
            raise unreadable(self.path, error) from error
        return b"".join(pieces)

    def fileno(self) -> int:
        """The descriptor, for memory maps and kernel-side copies."""
        return self._fd

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()


def _pread(fd: int, length: int, offset: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, length, offset)
    os.lseek(fd, offset, os.SEEK_SET)  # Windows
    return os.read(fd, length)


class LocalFiles:
    """The local file system."""

    def is_file(self, path: str) -> bool:
        """Whether ``path`` is a regular file (after links)."""
        return os.path.isfile(path)

    def is_dir(self, path: str) -> bool:
        """Whether ``path`` is a directory (after links)."""
        return os.path.isdir(path)

    def size(self, path: str) -> int:
        """Length in bytes."""
        try:
            return os.stat(path).st_size
        except OSError as error:
            raise unreadable(path, error) from error

    def names(self, directory: str) -> list[str]:
        """Sorted base names; empty if the directory cannot be listed."""
        try:
            return sorted(os.listdir(directory or "."))
        except OSError:
            return []

    def open(self, path: str) -> LocalFile:
        """Open for ranged reading."""
        return LocalFile(path)


LOCAL = LocalFiles()


class _RemoteFile:
    """A file of an fsspec file system."""

    def __init__(self, fs: Any, path: str) -> None:
        self.path = path
        self._fs = fs
        try:
            self.size = int(fs.size(path))
        except (OSError, TypeError, ValueError) as error:
            raise _remote_error(path, error) from error

    def pread(self, offset: int, length: int) -> bytes:
        """A ranged request."""
        if length <= 0 or offset >= self.size:
            return b""
        try:
            data = self._fs.cat_file(self.path, start=offset, end=min(offset + length, self.size))
        except (OSError, ValueError) as error:
            raise _remote_error(self.path, error) from error
        return bytes(data)

    def close(self) -> None:
        """Nothing is held open between requests."""


class _RemoteFiles:
    """An fsspec file system, chosen by the URL's protocol."""

    def __init__(self, url: str) -> None:
        try:
            import fsspec
        except ImportError as error:
            raise ExtraMissingError(
                Problem(
                    "EXT001",
                    "reading a URL needs the `remote` extra",
                    url,
                    hint="pip install 'ckpttool[remote]'",
                )
            ) from error
        try:
            self._fs = fsspec.core.url_to_fs(url)[0]
        except ImportError as error:
            raise ExtraMissingError(
                Problem("EXT001", f"this protocol needs another package: {error}", url)
            ) from error
        except (OSError, ValueError) as error:
            raise _remote_error(url, error) from error

    def is_file(self, path: str) -> bool:
        """Whether ``path`` is an object."""
        return bool(self._fs.isfile(path))

    def is_dir(self, path: str) -> bool:
        """Whether ``path`` is a directory or a prefix of objects."""
        return bool(self._fs.isdir(path))

    def size(self, path: str) -> int:
        """Length in bytes."""
        return _RemoteFile(self._fs, path).size

    def names(self, directory: str) -> list[str]:
        """Sorted base names; empty if the directory cannot be listed."""
        try:
            entries = self._fs.ls(directory, detail=False)
        except OSError:
            return []
        return sorted(str(entry).rstrip("/").rsplit("/", 1)[-1] for entry in entries)

    def open(self, path: str) -> _RemoteFile:
        """Open for ranged reading."""
        return _RemoteFile(self._fs, path)


def _remote_error(path: str, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(Problem("INP001", "no such file", path))
    return InputError(Problem("INP002", f"cannot read: {error}", path))
