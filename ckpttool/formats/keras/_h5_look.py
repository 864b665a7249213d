"""Everything of an HDF5 file that reading may ask the library to parse, but plain data.

This is run by a process that may die of it (:mod:`ckpttool.formats.keras._h5_rehearsal`), so it
must ask what :class:`ckpttool.formats.keras._h5.H5File` asks, and go on after every error as that
does: what is left out here is parsed unguarded there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from math import prod
from typing import Any

from ckpttool.formats.arrays import blocks_of
from ckpttool.formats.base import CHUNK_BYTES
from ckpttool.formats.keras import _h5_types

# All attributes that are ever read, but for the numbers that Keras puts behind long lists.
ATTRIBUTES = (
    "layer_names", "weight_names", "name", "dtype", "model_config", "training_config",
    "keras_version", "backend",
)  # fmt: skip
MAX_DEPTH = 64
MAX_OBJECTS = 1_000_000
MAX_TEXT_BYTES = 64 << 20  # of one attribute
MAX_PIECES = 100_000  # of one list
MAX_TRIED = 64 << 20  # bytes of a stored chunk that is unpacked here
_TEXT_BYTES = 64  # guess for one string, at the least


def look_around(root: Any) -> None:
    """Parse what lies below a file's identifier; errors of the library are let be."""
    import h5py

    seen: set[int] = set()
    todo: list[tuple[Any, Iterator[bytes]]] = []
    left = MAX_OBJECTS

    def enter(node: Any) -> None:
        nonlocal left
        address = None
        with suppress(Exception):  # attributes are read also of what has no place
            address = h5py.h5o.get_info(node).addr
        if address in seen:
            return
        _attributes(node)
        if address is None:
            return
        seen.add(address)
        if isinstance(node, h5py.h5d.DatasetID):
            _dataset(node, root.get_filesize())
        elif isinstance(node, h5py.h5g.GroupID) and len(todo) <= MAX_DEPTH:
            left -= node.get_num_objs()
            if left >= 0:
                todo.append((node, iter(list(node))))

    with suppress(Exception):
        enter(h5py.h5g.open(root, b"/"))
    while todo:
        group, names = todo[-1]
        name = next(names, None)
        if name is None:
            todo.pop()
            continue
        with suppress(Exception):
            if group.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                group.links.get_val(name)
            elif group.links.exists(name):
                enter(h5py.h5o.open(group, name))


def strings_at_once(count: int, file_size: int) -> int:
    """How many of ``count`` strings of a file may be read together: about 8 MiB of text."""
    return max(1, CHUNK_BYTES // max(_TEXT_BYTES, file_size // max(1, count)))


def attribute(node: Any, name: str) -> Any:
    """The text of an attribute as h5py gives it; None if there is none, :class:`NoText` for others.

    Raises :class:`TooLarge` for one above ``MAX_TEXT_BYTES``.
    """
    import h5py

    if name.rstrip("0123456789") not in ATTRIBUTES:
        raise LookupError(f"{name} is no attribute that is looked at first")
    raw = name.encode()
    if not h5py.h5a.exists(node, raw):
        return None
    found = h5py.h5a.open(node, raw)
    count = found.get_space().get_simple_extent_npoints()
    if not count:
        return ()  # h5py stores an empty list as one of numbers
    if found.get_type().get_class() != h5py.h5t.STRING:
        return NoText(found.get_type().get_class())
    size = count * found.get_type().get_size()
    if size > MAX_TEXT_BYTES:
        raise TooLarge(size)
    return h5py.AttributeManager(_Holder(node))[name]


class TooLarge(Exception):  # noqa: N818  # no error of the program's
    """An attribute of so many bytes."""


class NoText:
    """An attribute that is not read: its HDF5 type is none of text."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def __repr__(self) -> str:
        return f"a value of HDF5's class {self.kind}"


class _Holder:
    """What ``h5py.AttributeManager`` wants of an object: its identifier."""

    def __init__(self, node: Any) -> None:
        self.id = node


def _attributes(node: Any) -> None:
    for name in ATTRIBUTES:
        with suppress(Exception):
            if attribute(node, name) is None:
                for piece in range(MAX_PIECES):
                    if attribute(node, f"{name}{piece}") is None:
                        break


def _dataset(node: Any, file_size: int) -> None:
    """What tells a dataset's shape and place; of strings all, of what is packed a chunk."""
    import h5py

    plist = node.get_create_plist()
    layout = plist.get_layout()
    if layout == h5py.h5d.VIRTUAL:  # or the files would be opened that it is of
        return
    with suppress(Exception):
        _h5_types.dtype_name(node, attribute)
    if layout == h5py.h5d.CONTIGUOUS and plist.get_external_count():
        return
    filters = [plist.get_filter(index)[0] for index in range(plist.get_nfilters())]
    node.get_storage_size()
    if layout == h5py.h5d.CHUNKED:
        node.get_num_chunks()
    kind = node.get_type()
    dataset = h5py.Dataset(node)
    if not prod(dataset.shape or ()) and dataset.shape != ():
        return
    if kind.get_class() == h5py.h5t.STRING and kind.is_variable_str():
        for block in blocks_of(dataset.shape, strings_at_once(dataset.size, file_size)):
            with suppress(Exception):
                dataset[block if dataset.shape else ()]
    elif filters or _h5_types.plain_order(node) is None:
        chunk = prod(dataset.chunks or (1,)) * kind.get_size()
        if chunk <= MAX_TRIED:
            dataset[(slice(0, 1),) * len(dataset.shape)]
