"""A zip archive of stored members, written into a staged file: the same members, the same bytes.

Members carry no time but the earliest there is, and the rights that Keras gives them.  A member
may be written in place, its checksum later.  Source: PKWARE's ``APPNOTE.TXT``, sections 4.3 and
4.5.3.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from ckpttool.storage.atomic import Staged

_FULL32 = 0xFFFFFFFF
_FULL16 = 0xFFFF
_DATE = 1 << 5 | 1  # 1 January 1980
_UTF8 = 1 << 11
_VERSION = 20
_VERSION64 = 45
_UNIX = 3 << 8
_RIGHTS = 0o600 << 16
_WIDE_FROM = 1 << 30  # room enough for what is more than was said


class _Entry(NamedTuple):
    name: bytes
    offset: int
    start: int  # of its bytes, behind the header
    wide: bool
    size: int = 0
    crc: int = 0

    @property
    def flags(self) -> int:
        return 0 if self.name.isascii() else _UTF8


class StoredZip:
    """One archive.  Sizes and places are in bytes, checksums are CRC-32."""

    def __init__(self, staged: Staged) -> None:
        self._staged = staged
        self._entries: list[_Entry] = []

    def begin(self, name: str, size: int) -> int:
        """Begin a member of about ``size`` bytes; where they, which the caller writes, go."""
        raw = name.encode()
        offset = self._seek_end()
        wide = size >= _WIDE_FROM
        entry = _Entry(raw, offset, 0, wide)
        head = _local_header(entry)
        self._entries.append(entry._replace(start=offset + len(head)))
        self._staged.write(head)
        return offset + len(head)

    def end(self, crc: int) -> None:
        """End the member at the end of the file; ``crc`` is of all its bytes."""
        entry = self._entries[-1]
        entry = entry._replace(size=self._seek_end() - entry.start, crc=crc)
        if not entry.wide and entry.size >= _FULL32:
            raise ValueError("the member is larger than it was said to be")
        os.lseek(self._staged.fileno(), entry.offset, os.SEEK_SET)
        self._staged.write(_local_header(entry))
        self._entries[-1] = entry

    def finish(self) -> None:
        """Write the directory."""
        start = self._seek_end()
        for entry in self._entries:
            self._staged.write(_directory_entry(entry))
        end = self._seek_end()
        count, size = len(self._entries), end - start
        if count >= _FULL16 or size >= _FULL32 or start >= _FULL32:
            self._staged.write(
                struct.pack(
                    "<4sQHHIIQQQQ", b"PK\6\6", 44, _UNIX | _VERSION64, _VERSION64, 0, 0, count,
                    count, size, start,
                )
                + struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
            )  # fmt: skip
        short = min(count, _FULL16)
        self._staged.write(
            struct.pack(
                "<4sHHHHIIH", b"PK\5\6", 0, 0, short, short, min(size, _FULL32),
                min(start, _FULL32), 0,
            )
        )  # fmt: skip

    def _seek_end(self) -> int:
        return os.lseek(self._staged.fileno(), 0, os.SEEK_END)


def _local_header(entry: _Entry) -> bytes:
    extra = struct.pack("<HHQQ", 1, 16, entry.size, entry.size) if entry.wide else b""
    size = _FULL32 if entry.wide else entry.size
    return (
        struct.pack(
            "<4sHHHHHIIIHH", b"PK\3\4", _VERSION64 if entry.wide else _VERSION, entry.flags, 0, 0,
            _DATE, entry.crc, size, size, len(entry.name), len(extra),
        )
        + entry.name
        + extra
    )  # fmt: skip


def _directory_entry(entry: _Entry) -> bytes:
    wide = [value for value in (entry.size, entry.size, entry.offset) if value >= _FULL32]
    extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
    size = min(entry.size, _FULL32)
    version = _VERSION64 if wide or entry.wide else _VERSION
    return (
        struct.pack(
            "<4sHHHHHHIIIHHHHHII", b"PK\1\2", _UNIX | version, version, entry.flags, 0, 0, _DATE,
            entry.crc, size, size, len(entry.name), len(extra), 0, 0, 0, _RIGHTS,
            min(entry.offset, _FULL32),
        )
        + entry.name
        + extra
    )  # fmt: skip
