"""The members of a zip archive (``.npz``, ``.keras``) against their CRC-32."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.errors import CkptError, Problem
from ckpttool.formats.zip_file import MemberStream, open_zip
from ckpttool.storage.files import files_for

if TYPE_CHECKING:
    import zipfile

_PIECE = 1 << 20


class Member(NamedTuple):
    """A member whose bytes are damaged."""

    name: str
    problem: Problem


def damaged_members(
    path: str, wanted: Callable[[str], bool], progress: Callable[[int], None]
) -> list[Member]:
    """Unpack the members whose names are ``wanted``, keeping nothing; those that are damaged."""
    found = []
    file = files_for(path).open(path)
    try:
        with open_zip(file) as archive:
            for member in archive.filelist:
                if wanted(member.filename):
                    problem = _fault(archive, member, path, progress)
                    if problem is not None:
                        found.append(Member(member.filename, problem))
    finally:
        file.close()
    return found


def _fault(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str, progress: Callable[[int], None]
) -> Problem | None:
    try:
        stream = MemberStream(archive, member, path)
        try:
            for piece in stream.pieces(_PIECE):
                progress(len(piece))
            stream.finish()
        finally:
            stream.close()
    except CkptError as error:
        return error.problems[0]
    return None
