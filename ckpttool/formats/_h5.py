"""HDF5 files from strangers: what is in them, and their datasets in bounded pieces.

No link is followed out of a group: soft and external links are told, not opened, and so are
virtual datasets and external storage.  h5py is imported when the first file is opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import CkptError, InputError, Problem, corrupt
from ckpttool.formats.arrays import ArrayReader, BlockStream, Damage, blocks_of, checked_shape
from ckpttool.formats.base import CHUNK_BYTES
from ckpttool.formats.streaming import Stream
from ckpttool.names import decode_name, natural_key
from ckpttool.storage.files import LOCAL, Files, RangedFile
from ckpttool.storage.streams import as_stream
from ckpttool.tensors import BY_NAME, Shape, TensorSpec, dtype_named

if TYPE_CHECKING:
    import h5py
    import numpy as np

    Array = np.ndarray[Any, Any]

MAX_DEPTH = 64
MAX_OBJECTS = 2_000_000
MAX_RATIO = 1100  # deflate shrinks to 1/1032 at best
SUSPECT_BYTES = 64 << 20  # nothing smaller is refused for its ratio
MAX_CHUNK_BYTES = 256 << 20  # a stored chunk is unpacked whole

_FILTERS = {1, 2, 3, 4, 5, 6, 32000}  # deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf
_VLEN_BYTES = 64  # guess for one string where a count of elements is needed


class Dataset(NamedTuple):
    """One dataset: its path in the file, and what its type and shape say."""

    path: str
    dtype: str
    shape: Shape
    file: str


class H5File:
    """An open HDF5 file and all datasets that are reached by hard links alone."""

    def __init__(
        self, files: Files, path: str, *, inner: tuple[RangedFile | Any, str] | None = None
    ) -> None:
        """Open ``path``; ``inner`` is a stream to read instead, and its name for messages."""
        import h5py

        self.path = path if inner is None else inner[1]
        self.damage = Damage(self.path)
        self._ranged: RangedFile | None = None
        try:
            if inner is not None:
                self.file = h5py.File(inner[0], "r")
            elif files is LOCAL:
                LOCAL.open(path).close()  # no FIFO, no directory; and our words where it is absent
                self.file = h5py.File(path, "r", locking=False)
            else:
                self._ranged = files.open(path)
                self.file = h5py.File(as_stream(self._ranged), "r")
        except (OSError, ValueError, RuntimeError) as error:
            raise corrupt(
                f"the HDF5 file cannot be read: {_first_line(error)}", self.path
            ) from error

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        if self._ranged is not None:
            self._ranged.close()

    def names(self, group: str = "/") -> list[str]:
        """Names of the hard links of a group; empty if there is no such group."""
        found = self._get(group)
        return [name for name, _ in self._links(found, group)] if found is not None else []

    def datasets(self, group: str = "/") -> Iterator[Dataset]:
        """All datasets under a group, by natural order of their names; each group once."""
        start = self._get(group)
        if start is not None:
            yield from self._walk(start, group.strip("/"), 0, set())

    def text_list(self, group: str, name: str) -> list[str] | None:
        """A list-of-strings attribute of a group, also one in pieces; None if it is absent.

        Keras splits a list above 64512 bytes into ``name0``, ``name1``, …
        """
        found = self._get(group)
        if found is None:
            return None
        if name in found.attrs:
            return self._texts(found, name)
        texts: list[str] = []
        piece = 0
        while f"{name}{piece}" in found.attrs:
            texts += self._texts(found, f"{name}{piece}")
            piece += 1
        return texts if piece else None

    def text(self, group: str, name: str) -> str | None:
        """A string attribute of a group; None if it is absent or of another type."""
        found = self._get(group)
        if found is None or name not in found.attrs:
            return None
        try:
            value = found.attrs[name]
        except (OSError, ValueError, TypeError, RuntimeError):
            return None
        return _text(value)

    def open_dataset(self, path: str) -> Any:
        """The h5py dataset, after refusing what lies elsewhere or grows without bound."""
        try:
            dataset = self.file[path]
            self._refuse(dataset, path)
        except (KeyError, OSError, ValueError, RuntimeError) as error:
            raise self._damaged(path, error) from error
        return dataset

    def stored_bytes(self, path: str) -> int:
        """Bytes that the dataset takes in the file."""
        try:
            return int(self.file[path].id.get_storage_size())
        except (KeyError, OSError, ValueError, RuntimeError) as error:
            raise self._damaged(path, error) from error

    def blocks(self, spec: TensorSpec, path: str) -> Iterator[Array]:
        """The elements in C order as flat arrays of the spec's dtype, about 8 MiB each."""
        dataset = self.open_dataset(path)
        itemsize = dataset.dtype.itemsize if spec.dtype != "string" else _VLEN_BYTES
        first = dataset.chunks[0] if dataset.chunks else 1
        try:
            for block in blocks_of(spec.shape, max(1, CHUNK_BYTES // itemsize), first):
                yield _decode(dataset[block if spec.shape else ()], spec.dtype)
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise self._damaged(path, error) from error

    def _get(self, group: str) -> h5py.Group | None:
        """The group of that path, through hard links only."""
        import h5py

        found: Any = self.file
        try:
            for part in group.strip("/").split("/"):
                if not part:
                    continue
                if not isinstance(found.get(part, getlink=True), h5py.HardLink):
                    return None
                found = found[part]
                if not isinstance(found, h5py.Group):
                    return None
        except (KeyError, OSError, ValueError, RuntimeError) as error:
            raise self._damaged(group, error) from error
        return found

    def _links(self, group: h5py.Group, path: str) -> list[tuple[str, Any]]:
        """Names and targets of the hard links of a group; the others are told."""
        import h5py

        found = []
        try:
            names = [decode_name(name) for name in group.id]
        except (OSError, ValueError, RuntimeError) as error:
            raise self._damaged(path, error) from error
        for name in sorted(names, key=natural_key):
            where = f"{path.rstrip('/')}/{name}".strip("/")
            try:
                link = group.get(name, getlink=True)
                if isinstance(link, h5py.HardLink):
                    found.append((name, group[name]))
                    continue
            except (KeyError, OSError, ValueError, RuntimeError) as error:
                self.damage.add(self._damaged(where, error).problems[0])
                continue
            external = isinstance(link, h5py.ExternalLink)
            target = f"{link.filename}: {link.path}" if external else getattr(link, "path", "")
            message = f"{where} is {'an external' if external else 'a soft'} link: not followed"
            self.damage.add(Problem("INP016", message, self.path, target))
        return found

    def _walk(
        self, group: h5py.Group, path: str, depth: int, seen: set[tuple[int, int]]
    ) -> Iterator[Dataset]:
        import h5py

        info = h5py.h5o.get_info(group.id)
        if (info.fileno, info.addr) in seen:
            return
        seen.add((info.fileno, info.addr))
        if depth > MAX_DEPTH or len(seen) > MAX_OBJECTS:
            raise corrupt("the groups are nested too deep", self.path, code="INP009", found=path)
        for name, target in self._links(group, path):
            below = f"{path}/{name}".lstrip("/")
            if isinstance(target, h5py.Group):
                yield from self._walk(target, below, depth + 1, seen)
            elif isinstance(target, h5py.Dataset):
                try:
                    yield self._describe(target, below)
                except CkptError as error:
                    self.damage.add(error.problems[0])
                except (OSError, ValueError, TypeError, RuntimeError) as error:
                    self.damage.add(self._damaged(below, error).problems[0])

    def _describe(self, dataset: Any, path: str) -> Dataset:
        where = f"{self.path}: {path}"
        if dataset.shape is None:
            raise corrupt(f"dataset {path} is empty of any shape", self.path)
        shape = checked_shape(tuple(map(int, dataset.shape)), f"dataset {path}", where)
        return Dataset(path, _dtype_name(dataset), shape, self.path)

    def _refuse(self, dataset: Any, path: str) -> None:
        """Raise for data in other files, unknown filters, and datasets larger than they can be."""
        import h5py

        plist = dataset.id.get_create_plist()
        if plist.get_layout() == h5py.h5d.VIRTUAL or plist.get_external_count():
            message = f"the data of {path} is in another file: not followed"
            raise InputError(Problem("INP016", message, self.path))
        filters = {plist.get_filter(index)[0] for index in range(plist.get_nfilters())}
        if filters - _FILTERS:
            message = f"{path} is packed with a filter that is not read"
            raise InputError(Problem("INP011", message, self.path, str(sorted(filters - _FILTERS))))
        if not dataset.dtype.itemsize or dataset.shape is None:
            return
        size = prod(dataset.shape) * dataset.dtype.itemsize
        stored = dataset.id.get_storage_size()
        chunk = prod(dataset.chunks or ()) * dataset.dtype.itemsize if dataset.chunks else 0
        if (size > SUSPECT_BYTES and size > MAX_RATIO * stored) or chunk > MAX_CHUNK_BYTES:
            raise corrupt(
                f"{path} says it is much larger than its bytes", self.path, code="INP009",
                found=f"{size} bytes from {stored}",
            )  # fmt: skip

    def _texts(self, group: h5py.Group, name: str) -> list[str]:
        try:
            value = group.attrs[name]
            texts = [_text(item) for item in value] if getattr(value, "ndim", 1) else []
        except (OSError, ValueError, TypeError, RuntimeError) as error:
            raise self._damaged(f"attribute {name}", error) from error
        if any(text is None for text in texts):
            raise corrupt(
                f"attribute {name} is no list of names", self.path, found=repr(value)[:80]
            )
        return [text for text in texts if text is not None]

    def _damaged(self, path: str, error: Exception) -> CkptError:
        return corrupt(f"{path} cannot be read: {_first_line(error)}", self.path)


class H5Reader(ArrayReader):
    """Tensors that are datasets of one or more HDF5 files; subclasses list them."""

    def __init__(self) -> None:
        self._h5: dict[str, H5File] = {}  # by the path in Dataset.file
        self._datasets: dict[str, Dataset] = {}
        self.specs: dict[str, TensorSpec] = {}

    def stored_bytes(self, name: str) -> int:
        """Bytes that the dataset takes in the file."""
        self.spec(name)
        dataset = self._datasets[name]
        return self._h5[dataset.file].stored_bytes(dataset.path)

    def close(self) -> None:
        """Close the files."""
        for file in self._h5.values():
            file.close()

    def _list(self, name: str, dataset: Dataset) -> None:
        """Add a tensor."""
        self._datasets[name] = dataset
        self.specs[name] = TensorSpec(name, dataset.dtype, dataset.shape)

    def _whole(self, name: str) -> Stream:
        spec, dataset = self.specs[name], self._datasets[name]
        file = self._h5[dataset.file]
        file.open_dataset(dataset.path)
        return BlockStream(spec.parameters, file.blocks(spec, dataset.path))


def is_legacy(files: Files, path: str) -> bool:
    """Whether an HDF5 file is of the legacy layout (or of none), not of Keras 3's."""
    file = H5File(files, path)
    try:
        for group in ("/", "/model_weights"):
            if file.text_list(group, "layer_names") is not None:
                return True
        names = set(file.names())
        return not names & {"layers", "_layer_checkpoint_dependencies", "vars"}
    finally:
        file.close()


def _dtype_name(dataset: Any) -> str:
    """TensorFlow's name of a dataset's type; for what it has none, NumPy's words (opaque)."""
    import h5py

    dtype = dataset.dtype
    if dtype.kind == "V" and dtype.names is None:
        # Keras stores what HDF5 has no type for as opaque bytes, and says in an attribute what.
        stated = _text(dataset.attrs.get("dtype")) or ""
        row = BY_NAME.get(stated)
        return stated if row is not None and row.itemsize == dtype.itemsize else dtype.str
    if dtype.kind == "S" or h5py.check_string_dtype(dtype) is not None:
        return "string"
    return dtype.name if dtype.name in BY_NAME else str(dtype)


def _decode(array: Any, dtype: str) -> Array:
    """A block as a flat array of the decoded type, in this machine's byte order."""
    import numpy as np

    flat = np.asarray(array).reshape(-1)
    if dtype == "string":
        out = np.empty(flat.size, object)
        out[:] = [item.encode() if isinstance(item, str) else bytes(item) for item in flat.tolist()]
        return out
    target = dtype_named(dtype).numpy
    if flat.dtype.kind == "V":
        return flat.view(target)
    return flat.astype(target, copy=False)


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return str(value)
    return decode_name(bytes(value)) if isinstance(value, bytes) else None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
