"""Zip archives from strangers: ``.npz`` and ``.keras``.

Only stored and deflated members are read, only as streams, and never more of one than its
directory entry says; an entry that says more than deflate can make of its bytes is refused.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from itertools import pairwise
from typing import IO, TYPE_CHECKING

from ckpttool.errors import CorruptError, InputError, Problem, corrupt
from ckpttool.storage.files import RangedFile
from ckpttool.storage.streams import as_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RATIO = 1100  # deflate shrinks to 1/1032 at best
SUSPECT_RATIO = 100  # no weights shrink that much; below SUSPECT_BYTES it does no harm
SUSPECT_BYTES = 4 << 30
MAX_MEMBERS = 1_000_000

_LOCAL_HEADER = 30
_ENCRYPTED = 0x1
# What zipfile and zlib raise on damage: there is no one class.
DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    ValueError,
    OverflowError,
    OSError,  # a seek to nowhere; errors of reading are ours already
    RuntimeError,
    KeyError,
    IndexError,
)


def open_zip(file: RangedFile) -> zipfile.ZipFile:
    """The archive in an open file; :class:`CorruptError` if its directory cannot be read."""
    try:
        archive = zipfile.ZipFile(as_stream(file))
    except DAMAGE as error:
        raise corrupt(f"the zip archive cannot be read: {error}", file.path) from error
    _refuse_overlap(archive, file.path)
    if len(archive.filelist) > MAX_MEMBERS:
        raise corrupt(
            "the zip archive has too many members", file.path, code="INP009",
            found=len(archive.filelist), expected=f"≤ {MAX_MEMBERS}",
        )  # fmt: skip
    return archive


def _refuse_overlap(archive: zipfile.ZipFile, path: str) -> None:
    """Members that share their bytes would make a small archive unpack to any size."""
    members = sorted(archive.filelist, key=lambda member: member.header_offset)
    for first, second in pairwise(members):
        end = first.header_offset + _LOCAL_HEADER + first.compress_size
        if end > second.header_offset:
            message = f"the members {first.filename} and {second.filename} overlap"
            raise corrupt(message, path, second.header_offset)


def check_member(member: zipfile.ZipInfo, path: str) -> None:
    """Raise if a member is encrypted, packed in another way, or larger than it can be."""
    where = f"{path}: {member.filename}"
    if member.flag_bits & _ENCRYPTED:
        raise InputError(Problem("INP003", "the member of the archive is encrypted", where))
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found = f"method {member.compress_type}"
        message = "the member is packed in a way that is not read"
        raise InputError(Problem("INP003", message, where, found, "stored or deflated"))
    packed, size = member.compress_size, member.file_size
    if member.compress_type == zipfile.ZIP_STORED and packed != size:
        raise corrupt("a stored member of two sizes", where, found=packed, expected=size)
    ratio = size / max(1, packed)
    if ratio > MAX_RATIO or (ratio > SUSPECT_RATIO and size > SUSPECT_BYTES):
        raise corrupt(
            "the member says it is much larger than its bytes", where, code="INP009",
            found=f"{size} bytes from {packed}",
            expected=f"≤ {SUSPECT_RATIO if ratio <= MAX_RATIO else MAX_RATIO} times its bytes",
        )  # fmt: skip


def stored_range(file: RangedFile, member: zipfile.ZipInfo) -> tuple[int, int]:
    """Where the bytes of a stored member lie in the archive: first byte, and size."""
    header = file.pread(member.header_offset, _LOCAL_HEADER)
    if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
        raise corrupt("a member has no local header", file.path, member.header_offset)
    names = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
    start = member.header_offset + _LOCAL_HEADER + names
    if start + member.file_size > file.size:
        raise corrupt(
            "the archive ends inside a member", file.path, start, code="INP007",
            found=f"{max(0, file.size - start)} bytes", expected=f"{member.file_size} bytes",
        )  # fmt: skip
    return start, member.file_size


class MemberStream:
    """The bytes of a member, in order; its checksum is checked where they end."""

    def __init__(self, archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str) -> None:
        check_member(member, path)
        self.where = f"{path}: {member.filename}"
        self._left = member.file_size
        try:
            self._stream: IO[bytes] = archive.open(member)
        except DAMAGE as error:
            raise self._damaged(error) from error

    def read(self, size: int) -> bytes:
        """Exactly ``size`` bytes."""
        pieces = []
        wanted = size
        try:
            while size > 0:
                piece = self._stream.read(size)
                if not piece:
                    raise corrupt(
                        "the member ends too early", self.where, code="INP007",
                        found=f"{wanted - size} bytes", expected=f"{wanted} bytes",
                    )  # fmt: skip
                pieces.append(piece)
                size -= len(piece)
        except DAMAGE as error:
            raise self._damaged(error) from error
        self._left -= wanted
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def finish(self) -> None:
        """Check that all was taken, and the checksum."""
        try:
            if self._left or self._stream.read(1):
                raise corrupt("the member is longer than its array", self.where)
        except DAMAGE as error:
            raise self._damaged(error) from error

    def pieces(self, size: int) -> Iterator[bytes]:
        """All that is left, ``size`` bytes at a time, then :meth:`finish`."""
        while self._left:
            yield self.read(min(size, self._left))
        self.finish()

    def close(self) -> None:
        """Release the stream."""
        self._stream.close()

    def _damaged(self, error: Exception) -> CorruptError:
        code = "INP005" if "CRC" in str(error) else "INP004"
        return corrupt(f"the member of the archive is damaged: {error}", self.where, code=code)
