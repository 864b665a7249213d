"""Read a ``.keras`` archive: the weights inside, without building the model.

A stored ``model.weights.h5``, the usual case, is read in place; a deflated one is unpacked to a
temporary file first, within limits.  Source: ``keras-team/keras:keras/src/saving/saving_lib.py``.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable
from typing import IO, Any, cast

from ckpttool.errors import CkptError, InputError, Problem, corrupt
from ckpttool.formats.keras._h5 import Inner
from ckpttool.formats.keras._h5_rehearsal import Place
from ckpttool.formats.keras.weights import KerasReader
from ckpttool.formats.locating.located import Located
from ckpttool.formats.zip_file import MemberStream, check_member, open_zip, stored_range
from ckpttool.storage.files import LocalFile, files_for
from ckpttool.storage.streams import as_stream

WEIGHTS = "model.weights.h5"
CONFIG = "config.json"
MAX_CONFIG_BYTES = 64 << 20
MAX_UNPACKED_BYTES = 64 << 30
_SPOOL_BYTES = 16 << 20  # above this the unpacked weights go to disk
_PIECE = 1 << 20


class ArchiveReader(KerasReader):
    """An open ``.keras`` archive."""

    def __init__(self, located: Located) -> None:
        """Open the weights inside the archive."""
        path = located.index or located.path
        self._archive_file = files_for(path).open(path)
        self._unpacked: IO[bytes] | None = None
        try:
            self._archive = open_zip(self._archive_file)
            member = _weights(self._archive, path)
            stream = self._stream(member)
            place = self._place(member)
            super().__init__(located, inner=Inner(stream, f"{path}: {WEIGHTS}", place))
        except CkptError:
            self._release()
            raise

    def config(self) -> bytes | None:
        """The model's ``config.json``, None if there is none; data, never to be built."""
        if CONFIG not in self._archive.NameToInfo:
            return None
        member = self._archive.NameToInfo[CONFIG]
        if member.file_size > MAX_CONFIG_BYTES:
            raise corrupt(
                "the model's configuration is too large", self.info.path, code="INP009",
                found=f"{member.file_size} bytes", expected=f"≤ {MAX_CONFIG_BYTES}",
            )  # fmt: skip
        stream = MemberStream(self._archive, member, self.info.path)
        try:
            return b"".join(stream.pieces(_PIECE))
        finally:
            stream.close()

    def close(self) -> None:
        """Close the weights and the archive."""
        super().close()
        self._release()

    def _stream(self, member: zipfile.ZipInfo) -> Any:
        """The weights as a seekable stream."""
        path = self._archive_file.path
        check_member(member, path)
        if member.compress_type == zipfile.ZIP_STORED:
            return as_stream(self._archive_file, *stored_range(self._archive_file, member))
        if member.file_size > MAX_UNPACKED_BYTES:
            raise corrupt(
                "the weights are too large to unpack", path, code="INP009",
                found=f"{member.file_size} bytes", expected=f"≤ {MAX_UNPACKED_BYTES}",
            )  # fmt: skip
        spooled: IO[bytes] = tempfile.SpooledTemporaryFile(  # noqa: SIM115  # open while we are
            _SPOOL_BYTES, prefix="ckpttool-"
        )
        self._unpacked = spooled
        source = MemberStream(self._archive, member, path)
        try:
            for piece in source.pieces(_PIECE):
                spooled.write(piece)
        finally:
            source.close()
        spooled.seek(0)
        return spooled

    def _place(self, member: zipfile.ZipInfo) -> Callable[[], Place]:
        """Where the weights lie, for another process."""

        def place() -> Place:
            if self._unpacked is not None:
                return Place(self._unpacked.fileno(), 0, member.file_size)
            fd = cast("LocalFile", self._archive_file).fileno()
            return Place(fd, *stored_range(self._archive_file, member))

        return place

    def _release(self) -> None:
        archive = getattr(self, "_archive", None)
        for item in (self._unpacked, archive, self._archive_file):
            if item is not None:
                item.close()


def _weights(archive: zipfile.ZipFile, path: str) -> zipfile.ZipInfo:
    """The member with the weights; one name twice is refused, for readers disagree which counts."""
    found = [member for member in archive.filelist if member.filename == WEIGHTS]
    if len(found) == 1:
        return found[0]
    if found:
        raise corrupt(f"the archive has {len(found)} members {WEIGHTS}", path)
    names = ", ".join(member.filename for member in archive.filelist[:6])
    if any(member.filename == "model.weights.npz" for member in archive.filelist):
        message = "the archive has pickled weights (.npz), which are not read"
        raise InputError(Problem("INP011", message, path, names, WEIGHTS))
    raise InputError(Problem("INP012", "the archive has no weights", path, names, WEIGHTS))


def open_archive(located: Located) -> ArchiveReader:
    """Open a located ``.keras`` archive."""
    return ArchiveReader(located)
