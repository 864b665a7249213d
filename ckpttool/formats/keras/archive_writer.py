"""Fill a ``.keras`` archive: a copy of a template with other weights, without Keras.

The template is an archive of the same model.  Its configuration, metadata and assets are copied
byte for byte; only ``model.weights.h5`` is written anew, in place in the new archive.  All members
are stored, as Keras writes them, and carry no times: the same input gives the same bytes.
Names are those of ``.weights.h5``.  Source: ``keras-team/keras:keras/src/saving/saving_lib.py``.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from ckpttool.errors import InputError, OutputError, Problem, corrupt
from ckpttool.formats._file_writer import nbytes
from ckpttool.formats._stored_zip import StoredZip
from ckpttool.formats.keras import weights_writer as keras_writer
from ckpttool.formats.keras._h5_writer import (
    FilePlan,
    H5Writer,
    Refusal,
    Spec,
    fill,
    metadata_attributes,
)
from ckpttool.formats.keras.archive import CONFIG, WEIGHTS
from ckpttool.formats.keras.weights_writer import layout_of, read_template
from ckpttool.formats.locating.locate import locate
from ckpttool.formats.writing import Follow, Output, Progress, WriteOptions
from ckpttool.formats.zip_file import MemberStream, check_member, open_zip
from ckpttool.names import printable
from ckpttool.storage.atomic import Staged
from ckpttool.storage.files import RangedFile, files_for, join, split

if TYPE_CHECKING:
    import zipfile

SUFFIX = ".keras"
MAX_MEMBERS = 10_000
MAX_COPIED_BYTES = 16 << 30  # configuration and assets together
MAX_GROWTH = 200  # times the template's size, for what it unpacks to
FREE_GROWTH = 64 << 20  # below this the growth does not matter

_PIECE = 256 << 10


class ArchiveWriter(H5Writer):
    """One ``.keras``."""

    format = "keras-archive"

    def __init__(
        self, path: str, options: WriteOptions, force: bool, sources: Iterable[str]
    ) -> None:
        """Raises :class:`OutputError` where the output cannot go, or there is no template."""
        _check_path(path, options)
        super().__init__(path, options, force, sources, refusals)

    def plans(self, outputs: Sequence[Output]) -> list[FilePlan]:
        """The archive: its weights."""
        template = read_template(self.options.template)
        layout = layout_of(outputs, template, metadata_attributes(self.options))
        return [FilePlan(self.path, layout, outputs)]

    def write_file(
        self, staged: Staged, plan: FilePlan, progress: Progress, follow: Follow
    ) -> None:
        """Copy the template's members, and write the weights in their place among them."""
        path = self.options.template or ""
        source = locate(path)
        path = source.index or source.path
        with closing(files_for(path).open(path)) as file, open_zip(file) as archive:
            members = _checked_members(archive, file)
            out = StoredZip(staged)
            for member in members:
                if member.filename == WEIGHTS:
                    _write_weights(out, staged, plan, progress, follow)
                else:
                    _copy(out, archive, member, staged, path)
            out.finish()


def _write_weights(
    out: StoredZip, staged: Staged, plan: FilePlan, progress: Progress, follow: Follow
) -> None:
    base = out.begin(WEIGHTS, sum(map(nbytes, plan.outputs)))
    size = fill(staged, base, plan, progress, follow)
    out.end(_checksum(staged, base, base + size))


def _checksum(staged: Staged, start: int, end: int) -> int:
    """CRC-32 of bytes of the file, read from it: not all of them have passed through our hands."""
    crc = 0
    os.lseek(staged.fileno(), start, os.SEEK_SET)
    while start < end:
        piece = os.read(staged.fileno(), min(_PIECE, end - start))
        if not piece:
            raise ValueError("the file ends before the data")
        crc = zlib.crc32(piece, crc)
        start += len(piece)
    return crc


def _copy(out: StoredZip, archive: zipfile.ZipFile, member: zipfile.ZipInfo, staged: Staged,
          path: str) -> None:  # fmt: skip
    out.begin(member.filename, member.file_size)
    crc = 0
    stream = MemberStream(archive, member, path)
    try:
        for piece in stream.pieces(_PIECE):
            staged.write(piece)
            crc = zlib.crc32(piece, crc)
    finally:
        stream.close()
    out.end(crc)


def _checked_members(archive: zipfile.ZipFile, file: RangedFile) -> list[zipfile.ZipInfo]:
    """The members of the template, after refusing what is no archive of a model, or a bomb."""
    members = archive.filelist
    names = [member.filename for member in members]
    if len(members) > MAX_MEMBERS:
        raise corrupt(
            "the template has too many members", file.path, code="INP009",
            found=len(members), expected=f"≤ {MAX_MEMBERS}",
        )  # fmt: skip
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise corrupt("the template has a member twice", file.path, found=printable(twice))
    for wanted in (CONFIG, WEIGHTS):
        if wanted not in names:
            found = ", ".join(map(printable, names[:6]))
            message = f"the template has no {wanted}"
            raise InputError(Problem("INP012", message, file.path, found, wanted))
    for member in members:
        check_member(member, file.path)
        if not _is_inside(member.filename):
            message = "a member of the template leads out of the archive"
            raise corrupt(message, file.path, found=printable(member.filename))
    size = sum(member.file_size for member in members if member.filename != WEIGHTS)
    most = min(MAX_COPIED_BYTES, max(FREE_GROWTH, MAX_GROWTH * file.size))
    if size > most:
        raise corrupt(
            "the template unpacks to too much", file.path, code="INP009",
            found=f"{size} bytes", expected=f"≤ {most}",
        )  # fmt: skip
    return members


def _is_inside(name: str) -> bool:
    """Whether a member stays below the folder that it is unpacked to: Keras unpacks assets."""
    return not (name.startswith("/") or ".." in name.split("/") or any(c in name for c in "\\:\0"))


def _check_path(path: str, options: WriteOptions) -> None:
    directory, name = split(path)
    if not name.endswith(SUFFIX) or name == SUFFIX:
        stem = name.removesuffix(SUFFIX).removesuffix(".h5").removesuffix(".weights") or "model"
        raise OutputError(
            Problem(
                "OUT002", "Keras knows an archive by the end of its name", path,
                expected=f"*{SUFFIX}", hint=f"try {join(directory, stem + SUFFIX)}",
            )
        )  # fmt: skip
    if options.template is None:
        raise OutputError(
            Problem(
                "OUT002", "an archive also holds the model, which a checkpoint does not have", path,
                expected="--like with a .keras of the model",
                hint="save one from Keras: model.save('template.keras')",
            )
        )  # fmt: skip
    located = locate(options.template)
    if located.format != "keras-archive":
        raise OutputError(
            Problem(
                "OUT002", "only a .keras archive can be filled", options.template, located.format,
                "a .keras of the model", hint="save one from Keras: model.save('template.keras')",
            )
        )  # fmt: skip


def refusals(specs: Sequence[Spec], options: WriteOptions) -> Iterator[Refusal]:
    """For each tensor that Keras could not load: its name, why, and what was found."""
    return keras_writer.refusals(specs, options)


def create(
    path: str,
    *,
    options: WriteOptions = WriteOptions(),  # noqa: B008  # immutable
    force: bool = False,
    sources: Iterable[str] = (),
) -> ArchiveWriter:
    """A writer of ``path``; raises :class:`OutputError` where the output cannot go."""
    return ArchiveWriter(path, options, force, sources)
