"""Members of a zip archive as ranges of bytes: listed, bounded and streamed, never extracted.

The central directory is parsed by the standard library; data is read here, at its offset if it is
stored, through a bounded decompressor if it is deflated.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from ckpttool.errors import CorruptError, InputError, Problem, corrupt
from ckpttool.storage.files import LocalFile, RangedFile

MAX_MEMBERS = 1_000_000
STORED, DEFLATED = 0, 8
# Deflate cannot do better than this; a member that claims more is a lie.
_MAX_RATIO = 1032
# Beyond this a member has to be plausible as data: real weights do not shrink a hundredfold.
_LARGE = 4 << 30
_LARGE_RATIO = 100
_PIECE = 1 << 20
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1


class Member(NamedTuple):
    """One member as the central directory has it.  ``offset`` is that of its local header."""

    name: str
    offset: int
    packed: int  # bytes in the archive
    size: int  # bytes when unpacked
    method: int
    crc32: int
    flags: int


class Window:
    """``size`` bytes of another file from ``start``, as a file of its own."""

    def __init__(self, file: RangedFile, start: int, size: int, path: str) -> None:
        self.path = path
        self.size = max(0, min(size, file.size - start))
        self._file = file
        self._start = start

    def pread(self, offset: int, length: int) -> bytes:
        """Bytes of the window, fewer at its end."""
        length = min(length, self.size - offset)
        return self._file.pread(self._start + offset, length) if length > 0 else b""

    def close(self) -> None:
        """Close the whole file."""
        self._file.close()


def list_members(file: RangedFile) -> list[Member]:
    """The members in the directory's order; :class:`InputError` if it is no sound archive."""
    import zipfile
    from struct import error as StructError  # noqa: N812

    from ckpttool.storage.streams import as_stream

    try:
        with as_stream(file) as stream, zipfile.ZipFile(stream) as archive:
            infos = archive.infolist()
    except (
        zipfile.BadZipFile,
        NotImplementedError,
        OSError,
        ValueError,
        OverflowError,
        StructError,
    ) as error:
        raise corrupt(f"the zip archive cannot be read: {error}", file.path) from error
    if len(infos) > MAX_MEMBERS:
        raise _too_much("the archive has too many members", file.path, len(infos), MAX_MEMBERS)
    members = [
        Member(
            info.filename,
            info.header_offset,
            info.compress_size,
            info.file_size,
            info.compress_type,
            info.CRC,
            info.flag_bits,
        )
        for info in infos
        if not info.filename.endswith("/")
    ]
    _refuse_overlap(members, file.path)
    return members


def _refuse_overlap(members: list[Member], path: str) -> None:
    order = sorted(members, key=lambda item: item.offset)
    for first, second in pairwise(order):
        if first.offset + _LOCAL_HEADER + first.packed > second.offset:
            message = f"the members {first.name} and {second.name} overlap"
            raise corrupt(message, path, second.offset)


def check_member(member: Member, path: str) -> None:
    """Raise :class:`InputError` for a member that cannot be read, or claims the impossible."""
    where = f"{path}: member {member.name}"
    if member.flags & _ENCRYPTED:
        raise InputError(Problem("INP002", "the member is encrypted", where))
    if member.method not in (STORED, DEFLATED):
        found = f"method {member.method}"
        message = "the member is compressed in a way that is not read here"
        raise InputError(Problem("INP002", message, where, found, "stored or deflated"))
    if member.method == STORED and member.packed != member.size:
        raise corrupt("a stored member with two sizes", where, member.offset)
    ratio = _LARGE_RATIO if member.size > _LARGE else _MAX_RATIO
    if member.size > ratio * member.packed + 64:
        message = "the member claims to unpack to more than is plausible"
        raise _too_much(message, where, member.size, f"≤ {ratio} × {member.packed}")


def data_offset(file: RangedFile, member: Member) -> int:
    """Where the member's bytes begin in the archive: after its local header."""
    head = file.pread(member.offset, _LOCAL_HEADER)
    if len(head) < _LOCAL_HEADER or head[:4] != b"PK\x03\x04":
        raise corrupt(f"no local header of member {member.name}", file.path, member.offset)
    name, extra = int.from_bytes(head[26:28], "little"), int.from_bytes(head[28:30], "little")
    start = member.offset + _LOCAL_HEADER + name + extra
    if start + member.packed > file.size:
        raise corrupt(
            f"the file ends inside member {member.name}",
            file.path,
            start,
            code="INP007",
            found=f"{max(0, file.size - start)} bytes",
            expected=f"{member.packed} bytes",
        )
    return start


def pieces(file: RangedFile, member: Member, size: int = _PIECE) -> Iterator[bytes]:
    """The member's bytes, at most ``size`` at a time; length and CRC-32 are checked at the end."""
    import zlib

    check_member(member, file.path)
    crc = total = 0
    for piece in _unpacked(file, member, size):
        total += len(piece)
        if total > member.size:
            break
        crc = zlib.crc32(piece, crc)
        yield piece
    if total != member.size:
        raise _bad(file, member, "another length than its directory says", total, member.size)
    if crc != member.crc32:
        raise corrupt(
            f"the checksum of member {member.name} does not match",
            file.path,
            member.offset,
            code="INP005",
            found=f"{crc:08x}",
            expected=f"{member.crc32:08x}",
        )


def _unpacked(file: RangedFile, member: Member, size: int) -> Iterator[bytes]:
    import zlib

    start = data_offset(file, member)
    unpack = zlib.decompressobj(-15) if member.method == DEFLATED else None
    for pos in range(0, member.packed, size):
        data = file.pread(start + pos, min(size, member.packed - pos))
        if unpack is None:
            yield data
            continue
        try:
            while data:
                yield unpack.decompress(data, size)
                data = unpack.unconsumed_tail
        except zlib.error as error:
            raise _bad(file, member, str(error)) from error
    while unpack is not None and not unpack.eof:
        try:
            rest = unpack.decompress(unpack.unconsumed_tail, size)
        except zlib.error as error:
            raise _bad(file, member, str(error)) from error
        if not rest:
            raise _bad(file, member, "its compressed data ends too soon")
        yield rest


class Unpacked(LocalFile):
    """A temporary file that is gone when it is closed.

    ``path`` is what messages say, ``temporary`` where the file really is.
    """

    def __init__(self, temporary: str, path: str) -> None:
        super().__init__(temporary)
        self.temporary = temporary
        self.path = path

    def close(self) -> None:
        """Close and remove."""
        super().close()
        if self.temporary:
            os.unlink(self.temporary)
            self.temporary = ""


def unpack_member(file: RangedFile, member: Member, path: str, cap: int) -> Unpacked:
    """A deflated member, unpacked into a temporary file of at most ``cap`` bytes and checked."""
    import tempfile

    check_member(member, file.path)
    if member.size > cap:
        raise _too_much("the member is too large to unpack", path, member.size, f"≤ {cap}")
    handle, name = tempfile.mkstemp(prefix="ckpttool-")
    try:
        with os.fdopen(handle, "wb") as out:
            for piece in pieces(file, member):
                out.write(piece)
        return Unpacked(name, path)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            message = f"cannot unpack: {error.strerror or error}"
            raise InputError(Problem("INP002", message, path)) from error
        raise


def _bad(
    file: RangedFile, member: Member, what: str, found: object = None, expected: object = None
) -> CorruptError:
    message = f"member {member.name} is damaged: {what}"
    return corrupt(message, file.path, member.offset, found=found, expected=expected)


def _too_much(message: str, where: str, found: object, expected: object) -> CorruptError:
    return corrupt(message, where, code="INP009", found=found, expected=expected)
