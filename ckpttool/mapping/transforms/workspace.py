"""Where whole tensors are kept while parts of them are taken in another order than they come in.

Small ones stay in memory, within a budget for all of them together.  A larger one goes to a file
in the folder of the output, which has no name and so is gone with the process, and is mapped from
there: the source itself is never mapped, since another program may cut it short.
"""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ckpttool.errors import InputError, Problem
from ckpttool.formats.base import CHUNK_BYTES
from ckpttool.formats.streaming import STRING_OVERHEAD, allocate
from ckpttool.mapping.transforms.base import Lazy
from ckpttool.storage.atomic import AT_ONCE, cannot_write
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

KEPT_BYTES = 32 << 20  # of one tensor that is kept in memory
KEPT_TOTAL = 64 << 20  # of all of them at once
MAX_STRING_BYTES = 64 << 20  # strings are kept in memory, whatever their size


class _Kept:
    """A tensor that is kept, when it was last used, and what it takes of the memory budget."""

    __slots__ = ("array", "bytes", "source", "used")

    def __init__(self, source: Lazy, array: Array, in_memory: int, used: int) -> None:
        self.source = source  # keeps the key of this entry from being given to another object
        self.array = array
        self.bytes = in_memory
        self.used = used


class Workspace:
    """Tensors that are kept while outputs are computed.  Use it as a context.

    ``folder`` is that of the output; None keeps everything in memory.  What one output needed is
    there for the next one and goes when something else is needed: see :meth:`activity`.  Not for
    several threads at once.
    """

    def __init__(self, folder: str | None) -> None:
        self._folder = folder
        self._kept: dict[object, _Kept] = {}
        self._depth = 0
        self._turn = 0

    def array(self, key: object, source: Lazy) -> Array:
        """The whole of ``source``, read-only, checked to its end; ``key`` tells it from others."""
        kept = self._kept.get(key)
        if kept is None:
            self._drop_old()
            array, in_memory = self._load(source)
            kept = self._kept[key] = _Kept(source, array, in_memory, self._turn)
        kept.used = self._turn
        return kept.array

    def holds(self, key: object) -> bool:
        """Whether this tensor is here already."""
        return key in self._kept

    @contextlib.contextmanager
    def activity(self) -> Iterator[None]:
        """One output is computed: nothing that it uses is dropped meanwhile."""
        if not self._depth:
            self._turn += 1
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def clear(self) -> None:
        """Let go of everything; what is needed again is read again."""
        self._kept.clear()

    def __enter__(self) -> Workspace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.clear()

    def _drop_old(self) -> None:
        for key in [key for key, kept in self._kept.items() if kept.used < self._turn]:
            del self._kept[key]

    def _load(self, source: Lazy) -> tuple[Array, int]:
        dtype, shape = source.spec
        row = dtype_named(dtype)
        if row.kind == "string":
            return in_memory(source, MAX_STRING_BYTES), 0
        size = prod(shape) * row.itemsize
        total = sum(kept.bytes for kept in self._kept.values())
        if self._folder is None or (size <= KEPT_BYTES and size + total <= KEPT_TOTAL):
            return in_memory(source), size
        return self._spill(source, self._folder), 0

    def _spill(self, source: Lazy, folder: str) -> Array:
        import numpy as np

        dtype, shape = source.spec
        numpy_dtype = dtype_named(dtype).numpy
        size = prod(shape) * numpy_dtype.itemsize
        fd = _unnamed_file(folder)
        try:
            written = 0
            for piece in source.stream(CHUNK_BYTES):
                view = memoryview(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data)
                written += len(view)
                while view:
                    try:
                        view = view[os.write(fd, view[:AT_ONCE]) :]
                    except OSError as error:
                        raise cannot_write(folder, error, "cannot write working space") from error
            if written != size:
                raise _wrong_length()
            mapped = mmap.mmap(fd, size, access=mmap.ACCESS_READ)
        finally:
            os.close(fd)
        return np.frombuffer(mapped, numpy_dtype).reshape(shape)


def in_memory(source: Lazy, cap: int | None = None) -> Array:
    """All of ``source`` as an array that is not to be written to.

    ``cap`` bounds the bytes of strings: INP009 where they are more.
    """
    dtype, shape = source.spec
    row = dtype_named(dtype)
    out = allocate((prod(shape),), row, "")
    position = used = 0
    if cap is not None:
        _within(len(out) * STRING_OVERHEAD, cap)
    for piece in source.stream(CHUNK_BYTES):
        if position + len(piece) > len(out):
            raise _wrong_length()
        out[position : position + len(piece)] = piece
        position += len(piece)
        if cap is not None:
            used += sum(map(len, piece)) + len(piece) * STRING_OVERHEAD
            _within(used, cap)
    if position != len(out):
        raise _wrong_length()
    out.flags.writeable = False
    array: Array = out.reshape(shape)
    return array


def _within(used: int, cap: int) -> None:
    if used > cap:
        message = "strings of this size are copied, but not transformed"
        raise InputError(Problem("INP009", message, None, f"{used} bytes", f"≤ {cap}"))


def _wrong_length() -> InputError:
    return InputError(Problem("INP004", "the data is not as long as its shape says"))


def _unnamed_file(folder: str) -> int:
    """A new file without a name, on the disk that the output goes to."""
    while folder and not os.path.isdir(folder):
        folder = os.path.dirname(folder.rstrip(os.sep))
    folder = folder or "."
    anonymous = getattr(os, "O_TMPFILE", 0)
    try:
        if anonymous:
            with contextlib.suppress(OSError):  # not every file system has this
                return os.open(folder, anonymous | os.O_RDWR | os.O_CLOEXEC, 0o600)
        path = os.path.join(folder, f".tempstate{os.getpid()}{os.urandom(8).hex()}")
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
        for name in ("O_CLOEXEC", "O_BINARY", "O_TEMPORARY", "O_NOINHERIT"):
            flags |= getattr(os, name, 0)
        fd = os.open(path, flags, 0o600)
        with contextlib.suppress(OSError):  # gone with its last descriptor, where names stay
            os.unlink(path)
        return fd
    except OSError as error:
        raise cannot_write(folder, error, "cannot make working space") from error
