"""A first look at an HDF5 file by a process that may die of it.

libhdf5 parses the file's structure in this process, and a damaged one can make it loop for ever,
crash, or fill gigabytes: an object of no size in a global heap, or a string said to be of 4 GiB, is
enough (HDF5 1.14 to 2.0).  So another process reads the structure first, under limits on its time
and memory.  If it dies of that the file is refused; if not, the same reading is safe here.

The process is a fork, which takes milliseconds; where there is none, or other threads run and it
is not safe, it is a new Python, which takes a second.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from ckpttool.errors import corrupt
from ckpttool.formats.keras._h5_look import look_around

CPU_SECONDS = 5  # and one more for each megabyte of the file
MEMORY_BYTES = 192 << 20  # more than the process has at its start
PATIENCE = 300  # seconds by the clock: then something other than the file is wrong
MAX_KNOWN = 10_000
LOOKED, TOO_LARGE = 40, 41  # exit codes of the process

_CRASH = "crashes the HDF5 library"
_BUSY = "keeps the HDF5 library busy without end"
_LARGE = f"makes the HDF5 library fill more than {MEMORY_BYTES >> 20} MiB of memory"
# Whoever sends these means the process, not the file.
_FROM_OUTSIDE = {"SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"}
_WINDOWS_CRASH = 0xC0000000  # exit codes from here on are exceptions of the system
_FIRST_PAUSE, _LAST_PAUSE = 0.0005, 0.01


class Place(NamedTuple):
    """Where an HDF5 file lies: ``size`` bytes of an open descriptor, from ``start``."""

    fd: int
    start: int
    size: int


class Process(NamedTuple):
    """A running process: ``ended`` is its exit code (minus a signal), None while it runs."""

    pid: int
    ended: Callable[[], int | None]
    kill: Callable[[], object]


_Key = tuple[object, ...]
_harmless: set[_Key] = set()  # files that were looked at, as they were then


def refuse_fatal(
    open_root: Callable[[], Any],
    path: str,
    label: str,
    place: Callable[[], Place] | None = None,
) -> None:
    """Raise for a local file whose structure would end this process, or keep it for ever.

    ``open_root`` opens it and returns HDF5's identifier; ``label`` names it in the message;
    ``place`` tells where it lies if that is not all of ``path``.
    """
    try:
        status = os.stat(path)
    except OSError:
        return  # opening it will tell
    whole = _key(status)
    key = (label, *whole)
    if whole in _harmless or key in _harmless or not stat.S_ISREG(status.st_mode):
        return
    seconds = CPU_SECONDS + min(120, status.st_size >> 20)
    if can_fork():
        reason = fatal(lambda: look_around(open_root()), seconds)
    else:
        reason = _fatal_apart(path, place, seconds)
    if reason:
        raise corrupt(f"the file's structure {reason}", label)
    _know(key)


def trust(path: str) -> None:
    """Take a file as harmless as it is now: we wrote it ourselves."""
    with suppress(OSError):
        _know(_key(os.stat(path)))


def can_fork() -> bool:
    """Whether a fork is safe: the system has it, and this is the only thread."""
    return hasattr(os, "fork") and threading.active_count() == 1


def fatal(work: Callable[[], object], seconds: int) -> str | None:
    """What ``work`` does to a fork of this process, in words, if it ends one before its time.

    None if it does not.  Exceptions of ``work`` are no matter here.
    """
    before = _resident(os.getpid())
    child = os.fork()
    if not child:
        _rehearse(work, seconds)

    def ended() -> int | None:
        pid, status = os.waitpid(child, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    process = Process(child, ended, lambda: os.kill(child, signal.SIGKILL))
    try:
        return watch(process, before + MEMORY_BYTES, PATIENCE)
    except ChildProcessError:  # the program ignores its children's ends
        return None


def watch(process: Process, room: int, patience: float) -> str | None:
    """Wait for the end of a process; what ended it before its time, in words.

    It is killed when it has more than ``room`` bytes, where the system tells how much it has, and
    after ``patience`` seconds, which says nothing about the file.
    """
    pause = _FIRST_PAUSE
    deadline = time.monotonic() + patience
    try:
        while (code := process.ended()) is None:
            if _resident(process.pid) > room:
                _end(process)
                return _LARGE
            if time.monotonic() > deadline:
                _end(process)
                return None
            time.sleep(pause)
            pause = min(_LAST_PAUSE, pause * 1.25)
    except BaseException:
        _end(process)
        raise
    return _meaning(code)


def _meaning(code: int) -> str | None:
    """What an exit code tells of the file."""
    if code == TOO_LARGE:
        return _LARGE
    if code >= 0:
        return _CRASH if code >= _WINDOWS_CRASH else None
    name = signal.Signals(-code).name if -code in set(signal.Signals) else ""
    if name in _FROM_OUTSIDE:
        return None
    # The system itself kills what takes the last of its memory.
    return {"SIGXCPU": _BUSY, "SIGKILL": _LARGE}.get(name, _CRASH)


def limit(seconds: int) -> int:
    """In the new process: bounds on its time; returns the bytes that it has at most so far."""
    if sys.platform == "win32":
        return 0
    import resource

    for name in ("SIGSEGV", "SIGABRT", "SIGFPE", "SIGBUS", "SIGILL", "SIGXCPU"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    # No picture of memory, and no word: the parent says what happened.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, hard))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    return _peak()


def outcome(before: int) -> int:
    """In the new process, at its end: the exit code."""
    return TOO_LARGE if _peak() - before > MEMORY_BYTES else LOOKED


def _rehearse(work: Callable[[], object], seconds: int) -> None:
    """Never returns: the parent's clean-up must not run twice."""
    before = 0
    try:
        before = limit(seconds)
        work()
    finally:
        os._exit(outcome(before))


def _fatal_apart(path: str, place: Callable[[], Place] | None, seconds: int) -> str | None:
    from ckpttool.formats.keras._h5_apart import fatal_apart

    if place is not None:
        return fatal_apart(place(), seconds)
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))
    except OSError:
        return None  # opening it will tell
    try:
        return fatal_apart(Place(fd, 0, os.fstat(fd).st_size), seconds)
    finally:
        os.close(fd)


def _end(process: Process) -> None:
    with suppress(OSError):
        process.kill()
    with suppress(OSError):
        while process.ended() is None:
            time.sleep(_FIRST_PAUSE)


def _key(status: os.stat_result) -> _Key:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _know(key: _Key) -> None:
    if len(_harmless) < MAX_KNOWN:
        _harmless.add(key)


def _resident(pid: int) -> int:
    """Bytes of memory that a process has now; 0 where the system does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as stream:
            return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError, AttributeError):
        return 0


def _peak() -> int:
    """Bytes that this process had at most; 0 where the system does not tell."""
    if sys.platform == "win32":
        return 0
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak << 10
