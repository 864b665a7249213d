"""What the index of a V2 bundle promises: where every tensor lies, and what contradicts itself."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis.verify_model import DamagedTensor, Span, damaged
from ckpttool.errors import CkptError, Problem
from ckpttool.storage.files import files_for
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    from ckpttool.formats.tensorflow.bundle import BundleReader, StoredPart

MAX_SHARED = 8  # times a shard's size: what its tensors may add up to, if they overlap
_MAX_TOLD = 100  # overlaps, and stretches that no tensor uses


class Part(NamedTuple):
    """A tensor or one slice of it, in its place."""

    name: str
    stored: StoredPart

    def damaged(self, problem: Problem, reason: str | None = None) -> DamagedTensor:
        """This part as a damaged tensor."""
        _, path, offset, size, _, part, _ = self.stored
        found = damaged(self.name, problem, reason, Span(path, offset, offset + size))
        return found._replace(slice=part)


class BundleLayout:
    """The parts of all tensors, and what is wrong before a byte of data is read.

    ``parts`` have all their bytes, ``damaged`` those parts and tensors that do not.
    """

    def __init__(self, reader: BundleReader) -> None:
        self.parts: list[Part] = []
        self.damaged: list[DamagedTensor] = [
            damaged(name, problem, "index") for name, problem in reader.unlisted.items()
        ]
        self.faults: list[Problem] = []
        self.notices: list[Problem] = []
        self.unreferenced: list[Span] = []
        self._reader = reader
        self._refused: list[Part] = []
        self._sizes: dict[str, int | None] = {}  # None: not there
        for name in reader.specs:
            self._place(name)
        self._neighbours()

    def _place(self, name: str) -> None:
        reader = self._reader
        try:
            stored = reader.stored_parts(name)
        except CkptError as error:
            reason = "slices" if error.problems[0].code == "INP008" else "index"
            self.damaged += [damaged(name, problem, reason) for problem in error.problems]
            return
        if name in reader.partitioned:
            try:
                reader.check_slices(name)
            except CkptError as error:
                # Bytes that are not there are told of each slice.
                wrong = [problem for problem in error.problems if problem.code != "INP007"]
                self.damaged += [damaged(name, problem) for problem in wrong]
        itemsize = dtype_named(reader.specs[name].dtype).itemsize
        for item in stored:
            part = Part(name, item)
            fault = self._fault(part, itemsize)
            if fault is None:
                self.parts.append(part)
            else:
                self.damaged.append(fault)

    def _fault(self, part: Part, itemsize: int) -> DamagedTensor | None:
        """Why the bytes of a part cannot be what the index says."""
        _, path, offset, size, _, piece, _ = part.stored
        where = f"{path}: byte {offset}"
        shape = self._reader.specs[part.name].shape if piece is None else piece.shape
        if itemsize and size != prod(shape) * itemsize:
            expected = f"{prod(shape) * itemsize} bytes"
            what = f"tensor {part.name} has another size than its shape"
            problem = Problem("INP004", what, where, f"{size} bytes", expected)
            return part.damaged(problem, "size")
        there = self._size(path)
        if there is None:
            what = f"the shard that holds {part.name} is missing"
            return part.damaged(Problem("INP006", what, path, "no such file"))
        if offset + size > there:
            what = f"the file ends inside tensor {part.name}"
            found = f"{max(0, there - offset)} bytes"
            return part.damaged(Problem("INP007", what, where, found, f"{size} bytes"))
        return None

    def _size(self, path: str) -> int | None:
        if path not in self._sizes:
            files = files_for(path)
            try:
                self._sizes[path] = files.size(path) if files.is_file(path) else None
            except CkptError:
                self._sizes[path] = None
        return self._sizes[path]

    def _neighbours(self) -> None:
        """Bytes that two tensors share, and bytes that are no tensor's."""
        by_path: dict[str, list[Part]] = {}
        for part in self.parts:
            by_path.setdefault(part.stored.path, []).append(part)
        for path in self._reader.shard_paths:
            size = self._size(path) if path in by_path or len(by_path) < _MAX_TOLD else None
            if size is not None:
                self._shard(path, size, by_path.get(path, ()))
        if self._refused:
            refused = frozenset(map(id, self._refused))
            self.parts = [part for part in self.parts if id(part) not in refused]
            self.damaged += [part.damaged(_crowded(part)) for part in self._refused]
        complete = not self._reader.info.damage and not self.damaged
        if not complete:
            self.unreferenced.clear()  # of a part that cannot be placed nothing tells its bytes

    def _shard(self, path: str, size: int, parts: Sequence[Part]) -> None:
        order = sorted(parts, key=_begin)
        end, last = 0, None
        room = MAX_SHARED * size
        for part in order:
            offset, length = part.stored.offset, part.stored.size
            if not length:
                continue
            room -= length
            if room < 0:  # or a small file would stand for any amount of work
                self._refused.append(part)
                continue
            if offset > end:
                self._unused(path, end, offset)
            if offset < end and last is not None:
                self._overlap(last, part)
            if offset + length > end:
                end, last = offset + length, part
        if size > end:
            self._unused(path, end, size)

    def _unused(self, path: str, start: int, end: int) -> None:
        if len(self.unreferenced) < _MAX_TOLD:
            self.unreferenced.append(Span(path, start, end))

    def _overlap(self, first: Part, second: Part) -> None:
        where = f"{second.stored.path}: byte {second.stored.offset}"
        if _extent(first) == _extent(second):
            what = f"{second.name} has the same bytes as {first.name}"
            into = self.notices
        else:
            what = f"the bytes of {second.name} overlap those of {first.name}"
            into = self.faults
        if len(into) < _MAX_TOLD:
            into.append(Problem("INP004", what, where, _text(second), f"apart from {_text(first)}"))


def _crowded(part: Part) -> Problem:
    what = f"tensor {part.name} lies on too many others to be read"
    where = f"{part.stored.path}: byte {part.stored.offset}"
    found = f"tensors of more than {MAX_SHARED} times their shard"
    return Problem("INP009", what, where, found, f"≤ {MAX_SHARED} times")


def _begin(part: Part) -> tuple[int, int]:
    return part.stored.offset, -part.stored.size


def _extent(part: Part) -> tuple[int, int]:
    return part.stored.offset, part.stored.size


def _text(part: Part) -> str:
    return f"{part.stored.offset} to {part.stored.offset + part.stored.size}"
