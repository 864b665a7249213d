"""HDF5 files from strangers: what is in them, and their datasets in bounded pieces.

No link is followed out of a group: soft and external links are told, not opened, and so are
virtual datasets and external storage.  h5py is imported when the first file is opened; listing
goes by its low-level calls, which take a fifth of the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import CkptError, InputError, Problem, corrupt
from ckpttool.formats.arrays import BlockStream, Damage, blocks_of, checked_shape
from ckpttool.formats.base import CHUNK_BYTES
from ckpttool.formats.keras import _h5_look, _h5_types
from ckpttool.formats.keras._h5_look import MAX_DEPTH, MAX_OBJECTS, MAX_TEXT_BYTES
from ckpttool.formats.keras._h5_rehearsal import Place, refuse_fatal
from ckpttool.formats.streaming import RawStream, Stream, Where
from ckpttool.names import decode_name, encode_name, natural_key
from ckpttool.storage.files import Files, RangedFile, is_url
from ckpttool.storage.streams import as_stream
from ckpttool.tensors import Shape, TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MAX_RATIO = 1100  # deflate shrinks to 1/1032 at best
SUSPECT_BYTES = 64 << 20  # nothing smaller is refused for its ratio
MAX_CHUNK_BYTES = 256 << 20  # a stored chunk is unpacked whole

_FILTERS = {1, 2, 3, 4, 5, 6, 32000}  # deflate, shuffle, fletcher32, szip, nbit, scaleoffset, lzf
_MAX_SLAB = 64 << 20  # rows of stored chunks that are read at once rather than unpacked again
_CACHE = {"rdcc_nbytes": 32 << 20, "rdcc_nslots": 20011}
# What h5py raises for damage: there is no one class.
H5_ERRORS = (
    OSError, RuntimeError, KeyError, ValueError, TypeError, NotImplementedError, AttributeError,
    OverflowError, MemoryError,
)  # fmt: skip


class Dataset(NamedTuple):
    """One dataset: its path in the file, and what its type and shape say."""

    path: str
    dtype: str
    shape: Shape
    file: str


class Inner(NamedTuple):
    """An HDF5 file inside of another: a stream of it, its name for messages, and where it lies."""

    stream: RangedFile | Any
    label: str
    place: Callable[[], Place]


class H5File:
    """An open HDF5 file and all datasets that are reached by hard links alone."""

    def __init__(
        self,
        files: Files,
        path: str,
        *,
        inner: Inner | None = None,
        rehearse: bool = True,
    ) -> None:
        """Open ``path``; ``inner`` is what to read instead.

        With ``rehearse``, another process first reads all there is but plain data.
        """
        import h5py

        self.file: Any
        if rehearse and not is_url(path):
            again = lambda: H5File(files, path, inner=inner, rehearse=False).file.id  # noqa: E731
            if inner is None:
                refuse_fatal(again, path, path)
            else:
                refuse_fatal(again, path, inner.label, inner.place)
        self.path = path if inner is None else inner.label
        self.damage = Damage(self.path)
        self._ranged: RangedFile | None = None
        self._objects = 0
        try:
            if inner is not None:
                self.file = h5py.File(inner.stream, "r", **_CACHE)
            else:
                self._ranged = files.open(path)
                self.file = h5py.File(as_stream(self._ranged), "r", **_CACHE)
        except H5_ERRORS as error:
            if self._ranged is not None:
                self._ranged.close()
            raise corrupt(
                f"the HDF5 file cannot be read: {first_line(error)}", self.path
            ) from error

    def close(self) -> None:
        """Close the file."""
        self.file.close()
        if self._ranged is not None:
            self._ranged.close()

    @property
    def is_file(self) -> bool:
        """Whether it is a file of its own, and not in another one."""
        return self._ranged is not None

    def names(self, group: str = "/") -> list[str]:
        """Names of the groups and datasets of a group; empty if there is no such group."""
        found = self._get(group)
        return [name for name, _ in self._members(found, group)] if found is not None else []

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
        whole = self._attribute(found, name)
        if whole is not None:
            return self._texts(whole, name)
        texts: list[str] = []
        piece = 0
        while (value := self._attribute(found, f"{name}{piece}")) is not None:
            texts += self._texts(value, f"{name}{piece}")
            piece += 1
        return texts if piece else None

    def text(self, group: str, name: str) -> str | None:
        """A string attribute of a group; None if it is absent or of another type."""
        found = self._get(group)
        try:
            return None if found is None else _h5_types.text(self._attribute(found, name))
        except CkptError:
            return None

    def open_dataset(self, path: str) -> Any:
        """The h5py dataset, after refusing what lies elsewhere or grows without bound."""
        import h5py

        try:
            dataset = h5py.Dataset(h5py.h5o.open(self.file.id, encode_name(path)))
            self._refuse(dataset, path)
        except H5_ERRORS as error:
            raise self._damaged(path, error) from error
        return dataset

    def stored_bytes(self, path: str) -> int:
        """Bytes that the dataset takes in the file."""
        import h5py

        try:
            return int(h5py.h5o.open(self.file.id, encode_name(path)).get_storage_size())
        except H5_ERRORS as error:
            raise self._damaged(path, error) from error

    def stream(self, spec: TensorSpec, path: str) -> Stream:
        """The elements: from their place in the file where they lie there plainly, or h5py."""
        count, dtype = spec.parameters, dtype_named(spec.dtype)
        plain = self.plain(spec, path)
        if self._ranged is None or plain is None:
            return BlockStream(count, self.blocks(spec, path))
        offset, order = plain
        where = Where(spec.name, self.path, offset)
        return RawStream(self._ranged, offset, count, dtype, where, big_endian=order == ">")

    def plain(self, spec: TensorSpec, path: str) -> tuple[int, str] | None:
        """First byte and byte order of a dataset whose elements lie in one piece as they are."""
        node = self.open_dataset(path).id
        try:
            offset = node.get_offset()  # None unless all of it lies in one place
            order = _h5_types.plain_order(node) if offset is not None else None
            whole = node.get_storage_size() == spec.nbytes
            if order is None or not whole or node.get_create_plist().get_nfilters():
                return None
        except H5_ERRORS as error:
            raise self._damaged(path, error) from error
        return int(offset), str(order)

    def blocks(self, spec: TensorSpec, path: str) -> Iterator[Array]:
        """The elements in C order as flat arrays of the spec's dtype, about 8 MiB each."""
        dataset = self.open_dataset(path)
        itemsize = max(1, dataset.dtype.itemsize)
        first, most = 1, CHUNK_BYTES // itemsize
        if spec.dtype == "string":
            most = min(most, _h5_look.strings_at_once(spec.parameters, self.file.id.get_filesize()))
        if dataset.chunks:
            first = dataset.chunks[0]
            slab = first * prod(spec.shape[1:])
            if slab * itemsize <= _MAX_SLAB:
                most = max(most, slab)
        try:
            for block in blocks_of(spec.shape, max(1, most), first):
                yield _h5_types.decode(dataset[block if spec.shape else ()], spec.dtype)
        except H5_ERRORS as error:
            raise self._damaged(path, error) from error

    def _get(self, path: str) -> Any:
        """The identifier of the group at ``path``, through hard links only; None if none."""
        import h5py

        try:
            found = h5py.h5g.open(self.file.id, b"/")
            for part in path.strip("/").split("/"):
                name = encode_name(part)
                if not part:
                    continue
                if not found.links.exists(name):
                    return None
                if found.links.get_info(name).type != h5py.h5l.TYPE_HARD:
                    return None
                found = h5py.h5o.open(found, name)
                if not isinstance(found, h5py.h5g.GroupID):
                    return None
        except H5_ERRORS as error:
            raise self._damaged(path, error) from error
        return found

    def _members(self, group: Any, path: str) -> list[tuple[str, Any]]:
        """Names and identifiers behind the hard links of a group; the others are told."""
        try:
            self._objects += group.get_num_objs()
            names = list(group) if self._objects <= MAX_OBJECTS else []
        except H5_ERRORS as error:
            self.damage.add(self._damaged(path or "/", error).problems[0])
            return []
        if self._objects > MAX_OBJECTS:
            raise corrupt(
                "too many objects", self.path, code="INP009", found=self._objects,
                expected=f"≤ {MAX_OBJECTS}",
            )  # fmt: skip
        found = []
        for name, raw in sorted(((decode_name(raw), raw) for raw in names), key=_by_name):
            target = self._follow(group, raw, f"{path}/{name}".strip("/"))
            if target is not None:
                found.append((name, target))
        return found

    def _follow(self, group: Any, raw: bytes, where: str) -> Any:
        """The identifier of a hard link's group or dataset; None for anything else."""
        import h5py

        try:
            kind = group.links.get_info(raw).type
            if kind == h5py.h5l.TYPE_HARD:
                target = h5py.h5o.open(group, raw)
                known = isinstance(target, (h5py.h5g.GroupID, h5py.h5d.DatasetID))
                return target if known else None  # a named type is no tensor
            value = group.links.get_val(raw)
        except H5_ERRORS as error:
            self.damage.add(self._damaged(where, error).problems[0])
            return None
        parts = value if isinstance(value, tuple) else (value,)
        target = ": ".join(decode_name(bytes(part)) for part in parts)
        what = "a soft" if kind == h5py.h5l.TYPE_SOFT else "an external"
        self.damage.add(
            Problem("INP016", f"{where} is {what} link: not followed", self.path, target)
        )
        return None

    def _walk(self, group: Any, path: str, depth: int, seen: set[int]) -> Iterator[Dataset]:
        import h5py

        seen.add(self._address(group, path))
        for name, target in self._members(group, path):
            below = f"{path}/{name}".lstrip("/")
            if isinstance(target, h5py.h5d.DatasetID):
                try:
                    yield self._describe(target, below)
                except CkptError as error:
                    self.damage.add(error.problems[0])
                except H5_ERRORS as error:
                    self.damage.add(self._damaged(below, error).problems[0])
                continue
            try:
                address = self._address(target, below)
            except CkptError as error:
                self.damage.add(error.problems[0])
                continue
            if address in seen:  # or links could multiply without end
                message = f"group {below} has a second path, and is listed by its first"
                self.damage.add(Problem("INP004", message, self.path))
            elif depth >= MAX_DEPTH:
                message = f"group {below} is nested too deep, and left out"
                found, expected = f"more than {MAX_DEPTH} groups", f"≤ {MAX_DEPTH}"
                self.damage.add(Problem("INP009", message, self.path, found, expected))
            else:
                yield from self._walk(target, below, depth + 1, seen)

    def _address(self, node: Any, where: str) -> int:
        """Where an object lies in the file, which tells it from all others."""
        import h5py

        try:
            return int(h5py.h5o.get_info(node).addr)
        except H5_ERRORS as error:
            raise self._damaged(where or "/", error) from error

    def _describe(self, node: Any, path: str) -> Dataset:
        import h5py

        # Asked first: to tell the shape of a virtual dataset, HDF5 may open the files it is of.
        if node.get_create_plist().get_layout() == h5py.h5d.VIRTUAL:
            raise InputError(_elsewhere(path, self.path))
        shape = node.shape
        if shape is None:
            return Dataset(path, _h5_types.EMPTY, (0,), self.path)
        checked = checked_shape(tuple(map(int, shape)), f"dataset {path}", f"{self.path}: {path}")
        return Dataset(path, _h5_types.dtype_name(node, self._attribute), checked, self.path)

    def _refuse(self, dataset: Any, path: str) -> None:
        """Raise for data in other files, unknown filters, and datasets larger than they can be."""
        import h5py

        plist = dataset.id.get_create_plist()
        layout = plist.get_layout()
        if layout == h5py.h5d.VIRTUAL or (
            layout == h5py.h5d.CONTIGUOUS and plist.get_external_count()
        ):
            raise InputError(_elsewhere(path, self.path))
        filters = {plist.get_filter(index)[0] for index in range(plist.get_nfilters())}
        if filters - _FILTERS:
            message = f"{path} is packed with a filter that is not read"
            raise InputError(Problem("INP011", message, self.path, str(sorted(filters - _FILTERS))))
        if dataset.shape is None:
            return
        itemsize = dataset.id.get_type().get_size()
        size = prod(dataset.shape) * itemsize
        stored = dataset.id.get_storage_size()
        if size > SUSPECT_BYTES and size > MAX_RATIO * stored:
            raise corrupt(
                f"{path} says it is much larger than its bytes", self.path, code="INP009",
                found=f"{size} bytes from {stored}", expected=f"≤ {MAX_RATIO} times what is stored",
            )  # fmt: skip
        chunk = prod(dataset.chunks) * itemsize if dataset.chunks else 0
        if chunk > MAX_CHUNK_BYTES:
            raise corrupt(
                f"a stored chunk of {path} is too large", self.path, code="INP009",
                found=f"{chunk} bytes", expected=f"≤ {MAX_CHUNK_BYTES}",
            )  # fmt: skip

    def _attribute(self, node: Any, name: str) -> Any:
        """The value of a text attribute as h5py gives it; None if there is none."""
        try:
            return _h5_look.attribute(node, name)
        except _h5_look.TooLarge as error:
            raise corrupt(
                f"attribute {name} is too large", self.path, code="INP009",
                found=f"{error} bytes", expected=f"≤ {MAX_TEXT_BYTES}",
            ) from error  # fmt: skip
        except H5_ERRORS as error:
            raise self._damaged(f"attribute {name}", error) from error

    def _texts(self, value: Any, name: str) -> list[str]:
        import numpy as np

        items = np.asarray(value, object).reshape(-1).tolist()
        texts = [_h5_types.text(item) for item in items]
        if any(text is None for text in texts):
            raise corrupt(
                f"attribute {name} is no list of names", self.path, found=repr(value)[:80]
            )
        return [text for text in texts if text is not None]

    def _damaged(self, path: str, error: Exception) -> CkptError:
        return corrupt(f"{path} cannot be read: {first_line(error)}", self.path)


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


def _elsewhere(path: str, file: str) -> Problem:
    return Problem("INP016", f"the data of {path} is in another file: not followed", file)


def _by_name(item: tuple[str, bytes]) -> tuple[tuple[object, ...], bytes]:
    return natural_key(item[0]), item[1]


def first_line(error: Exception) -> str:
    return (str(error).strip("'\"").splitlines() or [type(error).__name__])[0][:200]
