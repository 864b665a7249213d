"""Read an output back before it gets its name, and compare it with the plan and the source."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from typing import Protocol

from ckpttool.errors import CorruptError, OutputError, Problem
from ckpttool.formats.base import Reader
from ckpttool.formats.streaming import Where
from ckpttool.formats.tensorflow.bundle import BundleReader, StoredPart, open_bundle
from ckpttool.formats.tensorflow.bundle_writer import BundleWriter
from ckpttool.mapping.execution.checksums import Checksums, checksum
from ckpttool.mapping.execution.following import Sound, is_sound
from ckpttool.mapping.planning.plan import Plan, Step
from ckpttool.storage.crc32c import crc32c, mask, unmask
from ckpttool.storage.files import RangedFile, files_for
from ckpttool.tensors import dtype_from_enum

_WINDOW = 256 << 10  # stays in the processor's cache between reading and the checksum


class StoredReader(Protocol):
    """A reader whose tensors can be copied without decoding: an open V2 bundle."""

    endianness: str

    @property
    def shard_paths(self) -> tuple[str, ...]:
        """The data files, by shard number."""

    def entry_dtype_enum(self, name: str) -> int:
        """The dtype's number."""

    def stored_parts(self, name: str) -> list[StoredPart]:
        """Where the bytes are."""


def read_back(
    writer: BundleWriter,
    plan: Plan,
    reader: Reader,
    stored: StoredReader | None,
    *,
    data: bool,
    sound: Collection[Sound],
    sums: Checksums,
) -> None:
    """Check what ``writer`` staged.

    Names, dtypes, shapes, slices and stored checksums are compared; with ``data`` the bytes are
    read too, but for those that are ``sound`` already.  ``sums`` are the checksums of what was
    encoded.  Raises OUT004 for the first thing that differs, and :class:`CorruptError` where the
    source itself is damaged.
    """
    with open_bundle(writer.staged()) as back:
        _Check(plan, back, reader, stored, writer.prefix, sound, sums).run(data=data)


class _Check:
    """One reading back."""

    def __init__(
        self,
        plan: Plan,
        back: BundleReader,
        reader: Reader,
        stored: StoredReader | None,
        prefix: str,
        sound: Collection[Sound],
        sums: Checksums,
    ) -> None:
        self._sums = sums
        self._plan = plan
        self._back = back
        self._reader = reader
        self._stored = stored
        self._prefix = prefix
        self._sound = sound
        self._files: dict[str, RangedFile] = {}

    def run(self, *, data: bool) -> None:
        """Everything, one tensor after the other."""
        try:
            self._specs()
            for step in self._plan.steps:
                if self._stored is None or step.expression is not None:
                    self._encoded(step)
                else:
                    self._compare(step, self._stored, data=data)
        finally:
            for file in self._files.values():
                file.close()

    def _encoded(self, step: Step) -> None:
        """The values are those that were streamed."""
        expected = self._sums[step.target]
        if is_sound(self._back, step.target, expected, self._sound):
            return
        try:
            found = checksum(chunk.array for chunk in self._back.chunks(step.target))
        except CorruptError as error:
            raise self._differs(step.target, error.problems[0].message, "as written") from error
        if found != expected:
            raise self._differs(step.target, "other values", "those that were written")

    def _specs(self) -> None:
        found = {spec.name: (spec.dtype, spec.shape) for spec in self._back.specs.values()}
        expected = {step.target: (step.dtype, step.shape) for step in self._plan.steps}
        if found == expected:
            return
        odd = min(name for name in {*found, *expected} if found.get(name) != expected.get(name))
        raise self._differs(odd, found.get(odd), expected.get(odd))

    def _compare(self, step: Step, stored: StoredReader, *, data: bool) -> None:
        """The parts are those of the source, and their bytes have the stored checksums."""
        parts = self._back.stored_parts(step.target)
        sources = stored.stored_parts(step.sources[0])
        # A single slice that is everything is written as the whole tensor that it is.
        single = len(sources) == 1
        found = [(None if single else part.slice, part.size, part.crc32c) for part in parts]
        expected = [(None if single else part.slice, part.size, part.crc32c) for part in sources]
        if found != expected:
            raise self._differs(step.target, found, expected)
        if not data:
            return
        if sources[0].slice:
            self._reader_check_slices(step)
        dtype = dtype_from_enum(stored.entry_dtype_enum(step.sources[0]))
        if dtype.kind == "string":
            self._strings(step)
            return
        for part, source in zip(parts, sources, strict=True):
            count = prod(source.slice.shape if source.slice else step.shape)
            if dtype.kind == "opaque":
                self._same_bytes(step, part, source)
            elif source.size != count * dtype.itemsize:
                where = Where(step.sources[0], source.path, source.offset)
                raise where.damaged("wrong size", source.size, count * dtype.itemsize)
            else:
                self._checksum(step, part, source)

    def _reader_check_slices(self, step: Step) -> None:
        check = getattr(self._reader, "check_slices", None)
        if check is not None:
            check(step.sources[0])

    def _strings(self, step: Step) -> None:
        """String checksums cover something else than the bytes: decode them."""
        try:
            self._back.check(step.target)
        except CorruptError as error:
            for _ in self._reader.chunks(step.sources[0]):  # raises if the source is no better
                pass
            raise self._differs(step.target, error.problems[0].message, "as stored") from error

    def _checksum(self, step: Step, part: StoredPart, source: StoredPart) -> None:
        if Sound(part.path, part.offset, part.size, unmask(part.crc32c)) in self._sound:
            return
        if mask(self._crc(part)) == part.crc32c:
            return
        crc = self._crc(source)
        if mask(crc) != source.crc32c:
            raise Where(step.sources[0], source.path, source.offset).mismatch(crc, source.crc32c)
        raise self._differs(step.target, "other bytes", "those of its checksum")

    def _same_bytes(self, step: Step, part: StoredPart, source: StoredPart) -> None:
        for start in range(0, part.size, _WINDOW):
            size = min(_WINDOW, part.size - start)
            if self._read(part, start, size) != self._read(source, start, size):
                raise self._differs(step.target, "other bytes", "those of the source")

    def _crc(self, part: StoredPart) -> int:
        # No piece is kept while the next is read: the allocator then hands out the same memory
        # again, and the kernel need not map new pages; five times as fast.
        crc = 0
        for start in range(0, part.size, _WINDOW):
            crc = crc32c(self._read(part, start, min(_WINDOW, part.size - start)), crc)
        return crc

    def _read(self, part: StoredPart, start: int, size: int) -> bytes:
        file = self._files.get(part.path)
        if file is None:
            file = self._files[part.path] = files_for(part.path).open(part.path)
        return file.pread(part.offset + start, size)

    def _differs(self, name: str, found: object, expected: object) -> OutputError:
        return OutputError(
            Problem(
                "OUT004",
                f"{name} does not read back as planned; nothing was kept",
                self._prefix,
                str(found),
                str(expected),
            )
        )
