"""Run whole processes and measure them.

Time is wall time from before the process is made until it has been waited for. Peak RSS is what the
kernel reports on exit (`wait4`); it counts mapped files too, and never less than this runner itself
had resident when it made the process, so the runner imports nothing large. Peak anonymous memory,
which leaves mapped files and the page cache out, is `RssAnon` of `/proc/PID/status`, sampled by a
thread every 10 ms: a peak shorter than that can be missed, and where there is no `/proc` it is not
known. Memory of the process's own children is not in it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

SAMPLE_SECONDS = 0.01
ERROR_CHARACTERS = 2000
MIB = 1 << 20
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class RunFailedError(Exception):
    """A measured command ended with an exit code that its job does not expect."""


@dataclass(frozen=True)
class Run:
    """One finished process; memory in MiB."""

    seconds: float
    peak: float
    anonymous: float | None


@dataclass(frozen=True)
class Pairs:
    """Runs of two commands, taken in turn: `ours[i]` was followed at once by `theirs[i]`."""

    ours: tuple[Run, ...]
    theirs: tuple[Run, ...]


def measure_pairs(ours: Callable[[], Run], theirs: Callable[[], Run], count: int) -> Pairs:
    """Run each once to warm the caches, then `count` times in turn."""
    ours()
    theirs()
    taken = [(ours(), theirs()) for _ in range(count)]
    return Pairs(tuple(a for a, _ in taken), tuple(b for _, b in taken))


def measure(command: Sequence[str], directory: Path, exits: Collection[int] = (0,)) -> Run:
    """Run `command` in `directory`, its output thrown away."""
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            cwd=directory,
        )
        with _AnonymousPeak(process.pid) as anonymous:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in exits:
            raise RunFailedError(_failure(command, process.returncode, errors))
    return Run(seconds, usage.ru_maxrss * RSS_UNIT / MIB, anonymous.mebibytes)


def _failure(command: Sequence[str], code: int, errors: IO[bytes]) -> str:
    errors.seek(0)
    text = errors.read().decode(errors="replace").strip()
    return f"exit {code}: {' '.join(command)}\n{text[-ERROR_CHARACTERS:]}"


class _AnonymousPeak:
    """Samples a process's anonymous resident memory until the `with` block ends."""

    _field = re.compile(r"^RssAnon:\s+(\d+) kB$", re.MULTILINE)

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self.mebibytes: float | None = None

    def __enter__(self) -> _AnonymousPeak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.is_set():
            self._read()
            self._done.wait(SAMPLE_SECONDS)

    def _read(self) -> None:
        try:
            found = self._field.search(self._status.read_text())
        except OSError:  # no /proc here, or the process has just been reaped
            return
        if found:
            self.mebibytes = max(self.mebibytes or 0.0, int(found[1]) * 1024 / MIB)
