"""Hints to the kernel about files that are being written.

Python has neither call: its own ``posix_fallocate`` writes to every block where a file system
cannot reserve, and makes the file longer.  There is neither on other systems than Linux.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import lru_cache

_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE
_WRITE = 2  # SYNC_FILE_RANGE_WRITE
_ALL = 0  # bytes: to the end of the file


def reserve(fd: int, size: int) -> None:
    """``size`` bytes are going to be written: find room for them at once, which is faster."""
    call = _function("fallocate", "int", "int", "int64", "int64")
    if call is not None and size:
        call(fd, _KEEP_SIZE, 0, size)


def start_writing(fd: int) -> bool:
    """Have the disk begin with what it does not have yet, and do not wait for it.

    False where the system has no such call, or not for this file.
    """
    call = _function("sync_file_range", "int", "int64", "int64", "uint")
    return call is not None and call(fd, 0, _ALL, _WRITE) == 0


@lru_cache(maxsize=2)
def _function(name: str, *kinds: str) -> Callable[..., int] | None:
    """A function of the C library; None where there is none of this name."""
    if sys.platform != "linux":
        return None
    import ctypes

    types = {"int": ctypes.c_int, "uint": ctypes.c_uint, "int64": ctypes.c_int64}
    try:
        found = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError):
        return None
    found.argtypes = [types[kind] for kind in kinds]
    call: Callable[..., int] = found
    return call
