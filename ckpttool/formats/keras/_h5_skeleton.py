"""An HDF5 file without its data: groups, attributes, and datasets whose places are known.

The places are given out when the datasets are made, so that the data can be written there without
HDF5: as it streams, at the speed of the disk.  h5py writes the rest through a window on the staged
file.  It never meets an error of the disk, which could leave it with a file that it cannot close:
the window keeps the first one, and it is raised at the end.

Old-style groups and headers (``libver="earliest"``) are what Keras itself writes, and they hold no
times: the same layout always gives the same bytes.
"""

from __future__ import annotations

import io
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from ckpttool.errors import OutputError, Problem
from ckpttool.formats.keras._h5 import H5_ERRORS, first_line
from ckpttool.names import encode_name
from ckpttool.storage.atomic import Staged, cannot_write
from ckpttool.tensors import Shape, dtype_named

# One string of any length; bytes of a fixed length; a list of such.
Attribute = str | bytes | tuple[bytes, ...]
Attributes = Mapping[str, Attribute]

BFLOAT16 = "bfloat16"
# What HDF5 has a type for, and bfloat16, which Keras stores as two opaque bytes.
DTYPES = frozenset(
    {
        "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
        "float16", "float32", "float64", "complex64", "complex128", BFLOAT16,
    }
)  # fmt: skip
MAX_RANK = 32  # H5S_MAX_RANK


class Leaf(NamedTuple):
    """One dataset: its path, TensorFlow's name of its dtype, and its shape."""

    path: str
    dtype: str
    shape: Shape


class Layout(NamedTuple):
    """What is in a file: its groups by path (``""`` is the root), and its datasets.

    Groups that are only on the way to others need not be named.
    """

    groups: Mapping[str, Attributes]
    leaves: Sequence[Leaf]


class Skeleton(NamedTuple):
    """Where the data of each leaf belongs (None for one of no elements), and the file's size.

    Both are in bytes from the start of the HDF5 file.
    """

    offsets: tuple[int | None, ...]
    size: int


def lay_out(staged: Staged, base: int, layout: Layout) -> Skeleton:
    """Write the HDF5 file of ``layout`` from byte ``base`` of a staged file on, without its data.

    Nothing may be there behind ``base`` yet.  Raises OUT002 where the disk refuses.
    """
    import h5py

    window = _Window(staged.fileno(), base)
    try:
        # Nothing is mapped, and no lock is taken: the bytes go through the window alone.
        with _interrupts_held(), h5py.File(window, "w", libver=("earliest", "latest")) as file:
            _make_groups(file, layout)
            makers = _Makers()
            offsets = tuple(makers.make(file, leaf) for leaf in layout.leaves)
        size = window.end()
    except H5_ERRORS as error:
        if window.failure is None:
            message = f"HDF5 cannot make the file: {first_line(error)}"
            raise OutputError(Problem("OUT002", message, staged.final)) from error
    if window.failure is not None:
        raise cannot_write(staged.final, window.failure) from window.failure
    return Skeleton(offsets, size)


def _make_groups(file: Any, layout: Layout) -> None:
    import h5py

    made = {""}
    for path in (*layout.groups, *(leaf.path.rpartition("/")[0] for leaf in layout.leaves)):
        missing = []
        while path not in made:
            made.add(path)
            missing.append(path)
            path = path.rpartition("/")[0]
        for part in reversed(missing):
            h5py.h5g.create(file.id, encode_name(part))
    for path, attributes in layout.groups.items():
        if attributes:
            group = file if not path else file[encode_name(path)]
            for name, value in attributes.items():
                set_attribute(group, name, value)


def set_attribute(node: Any, name: str, value: Attribute) -> None:
    """Give a group or dataset an attribute, in the spelling that all readers of Keras know."""
    import h5py
    import numpy as np

    if isinstance(value, str):
        # HDF5's strings end at a zero byte.
        text = value.replace("\0", "\\x00").encode("utf-8", "backslashreplace")
        node.attrs.create(name, text, dtype=h5py.string_dtype())
    elif isinstance(value, bytes):
        node.attrs.create(name, np.bytes_(value))
    else:
        node.attrs.create(name, np.array(value, f"S{max(map(len, value), default=1)}"))


class _Makers:
    """HDF5's types and creation properties, made once."""

    def __init__(self) -> None:
        import h5py

        self._types: dict[str, Any] = {}
        self._plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        self._plist.set_layout(h5py.h5d.CONTIGUOUS)
        self._plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        self._plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        self._plist.set_obj_track_times(False)

    def make(self, file: Any, leaf: Leaf) -> int | None:
        """Create a dataset; where its data belongs."""
        import h5py

        if leaf.shape:
            space = h5py.h5s.create_simple(leaf.shape)
        else:
            space = h5py.h5s.create(h5py.h5s.SCALAR)
        path = encode_name(leaf.path)
        node = h5py.h5d.create(file.id, path, self._type(leaf.dtype), space, self._plist)
        if leaf.dtype == BFLOAT16:
            set_attribute(h5py.Dataset(node), "dtype", BFLOAT16)
        offset = node.get_offset()
        return None if offset is None else int(offset)

    def _type(self, dtype: str) -> Any:
        import h5py
        import numpy as np

        if dtype not in self._types:
            stored = dtype_named(dtype).numpy.newbyteorder("<")
            if dtype == BFLOAT16:
                stored = np.dtype("V2")
            self._types[dtype] = h5py.h5t.py_create(stored, logical=True)
        return self._types[dtype]


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C only takes effect when the context ends: HDF5 would lose it in the middle of a call.

    An exception that Python code raises under HDF5 comes out as another one, or not at all.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came = False

    def remember(*_: object) -> None:
        nonlocal came
        came = True

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)
        if came:
            signal.raise_signal(signal.SIGINT)


class _Window(io.RawIOBase):
    """The part of a file behind ``base`` as a file of its own, in which no write ever fails."""

    def __init__(self, fd: int, base: int) -> None:
        super().__init__()
        self.failure: OSError | None = None
        self._fd = fd
        self._base = base
        self._pos = 0

    def end(self) -> int:
        """The size in bytes."""
        return os.fstat(self._fd).st_size - self._base

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._pos, io.SEEK_END: self.end()}[whence]
        self._pos = start + offset
        return self._pos

    def tell(self) -> int:
        return self._pos

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        os.lseek(self._fd, self._base + self._pos, os.SEEK_SET)
        done = 0
        while done < len(view) and (piece := os.read(self._fd, len(view) - done)):
            view[done : done + len(piece)] = piece
            done += len(piece)
        self._pos += done
        return done

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            os.lseek(self._fd, self._base + self._pos, os.SEEK_SET)
            while view and self.failure is None:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            self.failure = error
        self._pos += size
        return size

    def truncate(self, size: int | None = None) -> int:
        size = self._pos if size is None else size
        try:
            os.ftruncate(self._fd, self._base + size)
        except OSError as error:
            self.failure = self.failure or error
        return size
