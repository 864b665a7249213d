"""Read a V1 checkpoint: one table, or several, of ``SavedTensorSlices``.

The entry under the empty key lists the tensors of its file; every other entry holds one slice.  A
tensor that is not partitioned is one slice that is everything.  Source:
``tensorflow:core/util/saved_tensor_slice.proto``, ``tensor_slice_reader.cc``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import prod

from ckpttool.errors import CorruptError, InputError, Problem, corrupt
from ckpttool.formats.base import CheckpointInfo
from ckpttool.formats.locating.located import Located
from ckpttool.formats.parts import PartReader
from ckpttool.formats.streaming import Stream, Where
from ckpttool.formats.tensorflow.ordered_code import Extent, encode_slice_key
from ckpttool.formats.tensorflow.slice_layout import parse_extents, parse_shape, to_slice
from ckpttool.formats.tensorflow.table import Table, Value
from ckpttool.formats.tensorflow.versions import refuse_newer
from ckpttool.names import decode_name, encode_name
from ckpttool.storage.files import files_for
from ckpttool.storage.wire import BYTES, VARINT, WireError, fields
from ckpttool.tensors import Shape, Slice, TensorSpec, dtype_from_enum, dtype_named

META_CAP = 256 << 20  # bytes of one file's list of tensors
MAX_LISTED = 4_000_000  # tensors and slices that the lists name in all
_PRELOAD = 1 << 20


class _Stored:
    """One slice: the file that has it, and its extents as they are in its key."""

    __slots__ = ("extents", "part", "table")

    def __init__(self, table: Table, extents: tuple[Extent, ...], part: Slice) -> None:
        self.table = table
        self.extents = extents
        self.part = part


class V1Reader(PartReader):
    """An open V1 checkpoint."""

    def __init__(self, located: Located, *, salvage: bool = False) -> None:
        """Open every file and read its list.  ``salvage`` skips files whose list is damaged."""
        self.unlisted: dict[str, Problem] = {}  # tensors that the lists contradict, and why
        self._files = files_for(located.index or located.path)
        paths = located.shards or ((located.index,) if located.index else ())
        missing = tuple(path for path in paths if not self._files.is_file(path))
        if not paths or len(missing) == len(paths):
            raise InputError(Problem("INP001", "no such file", located.path))
        self._tables: list[Table] = []
        self._slices: dict[str, list[_Stored]] = {}
        self._listed = 0
        specs: dict[str, TensorSpec] = {}
        damage: list[Problem] = []
        for path in paths:
            if path in missing:
                damage.append(Problem("INP006", "a shard is missing", path, "no such file"))
                continue
            try:
                self._read_list(path, specs)
            except InputError as error:
                if not salvage or not isinstance(error, CorruptError):
                    self.close()
                    raise
                damage += error.problems
        for stored in self._slices.values():
            stored.sort(key=_start)
        self.specs = {name: specs[name] for name in sorted(specs, key=encode_name)}
        self.info = CheckpointInfo(
            path=located.path,
            format=located.format,
            shards=len(paths),
            files=tuple(paths),
            graphs=located.graphs,
            missing_files=missing,
            notices=located.notices,
            step=located.step,
            damage=(*damage, *self.unlisted.values()),
        )

    @cached_property
    def partitioned(self) -> frozenset[str]:
        """Names of the variables that are stored in slices."""
        return frozenset(
            name
            for name, stored in self._slices.items()
            if len(stored) != 1 or stored[0].part.shape != self.specs[name].shape
        )

    def stored_bytes(self, name: str) -> int:
        """Bytes of the tensor's values: of its elements, or of the stored message for strings."""
        spec = self.spec(name)
        if dtype_named(spec.dtype).itemsize:
            return spec.nbytes
        values = [self._value(name, stored) for stored in self._slices[name]]
        return sum(value.stop - value.start for value in values)

    def slices(self, name: str) -> Sequence[Slice]:
        """The parts of a partitioned variable, in C order of their starts; empty if whole."""
        spec = self.spec(name)
        stored = self._slices[name]
        if len(stored) == 1 and stored[0].part.shape == spec.shape:
            return ()
        return [item.part for item in stored]

    def check_slices(self, name: str) -> None:
        """Raise INP008 if the parts of ``name`` do not cover it exactly."""
        self.spec(name)
        if name in self.unlisted:
            raise CorruptError(self.unlisted[name])
        if not self._slices[name]:
            raise corrupt(f"no slice of {name} is stored", self.info.path, code="INP008")
        try:
            super().check_slices(name)
        except CorruptError as error:
            if not self.info.missing_files:
                raise
            problem = error.problems[0]._replace(
                code="INP006", hint=f"missing: {', '.join(self.info.missing_files)}"
            )
            raise CorruptError(problem) from error

    def close(self) -> None:
        """Close the files."""
        for table in self._tables:
            table.close()

    def _whole(self, name: str) -> Stream:
        if name in self.unlisted or not self._slices[name]:
            self.check_slices(name)
        return self._part(name, 0)

    def _part(self, name: str, index: int) -> Stream:
        stored = self._slices[name][index]
        dtype = dtype_named(self.specs[name].dtype)
        value = self._value(name, stored)
        where = Where(name, stored.table.path, value.offset)
        from ckpttool.formats.tensorflow.tensor_proto import file_fields, value_stream

        try:
            span = (value.start, value.stop)
            for field in (2, 3):  # SavedTensorSlices.data, SavedSlice.data
                found = (value.stop, value.stop)  # absent: an empty message
                for number, wire_type, a, b in file_fields(value.file, *span):
                    if number == field and wire_type == BYTES:
                        found = (a, b)
                span = found
            count = prod(stored.part.shape)
            return value_stream(value.file, *span, dtype, count, where)
        except WireError as error:
            raise where.damaged(f"{error.message}") from error

    def _value(self, name: str, stored: _Stored) -> Value:
        value = stored.table.get(encode_slice_key(encode_name(name), stored.extents))
        if value is None:
            raise corrupt(
                f"a slice of {name} is listed but not there",
                stored.table.path,
                code="INP008",
                found=f"no part at {list(stored.part.start)}",
            )
        return value

    def _read_list(self, path: str, specs: dict[str, TensorSpec]) -> None:
        """Open one file and add what it lists to ``specs``."""
        table = Table(self._files.open(path), preload=_PRELOAD)
        self._tables.append(table)
        value = table.get(b"")
        if value is None:
            raise InputError(Problem("INP003", "the table does not list tensors", path))
        if value.stop - value.start > META_CAP:
            raise corrupt(
                "the list of tensors is too large", path, code="INP009",
                found=f"{value.stop - value.start} bytes", expected=f"≤ {META_CAP}",
            )  # fmt: skip
        meta = value.file.pread(value.start, value.stop - value.start)
        listed = False
        try:
            for number, wire_type, a, b in fields(meta):
                if number == 1 and wire_type == BYTES:
                    listed = True
                    self._read_meta(meta, a, b, table, specs)
        except WireError as error:
            what = f"the list of tensors is damaged: {error.message}"
            raise corrupt(what, path, value.offset + error.offset) from error
        if not listed:
            raise InputError(Problem("INP003", "the table does not list tensors", path))

    def _read_meta(
        self, meta: bytes, start: int, end: int, table: Table, specs: dict[str, TensorSpec]
    ) -> None:
        for number, wire_type, a, b in fields(meta, start, end):
            if number == 2 and wire_type == BYTES:
                refuse_newer(meta, a, b, table.path)
            elif number == 1 and wire_type == BYTES:
                self._add_tensor(meta, a, b, table, specs)

    def _add_tensor(
        self, meta: bytes, start: int, end: int, table: Table, specs: dict[str, TensorSpec]
    ) -> None:
        """Add one ``SavedSliceMeta``."""
        name, enum = "", 0
        shape: Shape = ()
        slices = []
        for number, wire_type, a, b in fields(meta, start, end):
            if number == 1 and wire_type == BYTES:
                name = decode_name(meta[a:b])
            elif number == 2 and wire_type == BYTES:
                shape = parse_shape(meta, a, b)
            elif number == 3 and wire_type == VARINT:
                enum = a
            elif number == 4 and wire_type == BYTES:
                slices.append(parse_extents(meta, a, b))
        spec = TensorSpec(name, dtype_from_enum(enum).name, shape)
        known = specs.setdefault(name, spec)
        stored = self._slices.setdefault(name, [])
        self._listed += 1 + len(slices)
        if self._listed > MAX_LISTED:
            raise corrupt(
                "too many tensors and slices are listed", table.path, code="INP009",
                found=f"{self._listed} or more", expected=f"≤ {MAX_LISTED}",
            )  # fmt: skip
        if known != spec:
            self.unlisted[name] = _disagreement(known, spec, table.path)
            return
        for extents in slices:
            part = to_slice(extents, shape)
            if part is None:
                what = f"a slice lies outside tensor {name}"
                found, inside = str(list(extents)), f"inside {list(shape)}"
                self.unlisted[name] = Problem("INP008", what, table.path, found, inside)
                continue
            stored.append(_Stored(table, extents, part))


def _start(stored: _Stored) -> Shape:
    return stored.part.start


def _disagreement(known: TensorSpec, spec: TensorSpec, path: str) -> Problem:
    if known.shape != spec.shape:
        what = f"shards disagree on the shape of {known.name}"
        return Problem("INP008", what, path, str(list(spec.shape)), str(list(known.shape)))
    what = f"shards disagree on the dtype of {known.name}"
    return Problem("INP008", what, path, spec.dtype, known.dtype)


def open_v1(located: Located, *, salvage: bool = False) -> V1Reader:
    """Open a located V1 checkpoint, of one file or several."""
    return V1Reader(located, salvage=salvage)
