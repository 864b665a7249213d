"""The first look at an HDF5 file by a new Python, where a fork is not safe or there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from ckpttool.formats.keras._h5_look import look_around
from ckpttool.formats.keras._h5_rehearsal import (
    MEMORY_BYTES,
    PATIENCE,
    Place,
    Process,
    limit,
    outcome,
    watch,
)
from ckpttool.storage.streams import as_stream

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from ckpttool.formats.keras._h5_apart import main; main()"
)
_PYTHON_BYTES = 128 << 20  # what Python and h5py take by themselves, generously
_START_SECONDS = 60  # to import h5py, on a busy machine


def fatal_apart(place: Place, seconds: int) -> str | None:
    """As :func:`_h5_rehearsal.fatal`, of the HDF5 file at ``place``.

    None also where no new Python can be started: in a program that is none itself.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return None
    command = [sys.executable, "-I", "-c", _START, json.dumps(sys.path)]
    command += [str(number) for number in (place.start, place.size, seconds)]
    quiet = subprocess.DEVNULL
    try:
        child = subprocess.Popen(  # noqa: S603  # our own interpreter, our own words
            command, stdin=place.fd, stdout=quiet, stderr=quiet, close_fds=True
        )
    except OSError:
        return None
    process = Process(child.pid, child.poll, child.kill)
    # Windows counts no processor time for us: there the clock has to do.
    patience = seconds + _START_SECONDS if sys.platform == "win32" else PATIENCE
    return watch(process, MEMORY_BYTES + _PYTHON_BYTES, patience)


def main() -> None:
    """The new Python: standard input is the file; the bounds are in the arguments."""
    import h5py
    import h5py.h5a  # all that a look needs is loaded before the time counts

    start, size, seconds = map(int, sys.argv[2:5])
    if sys.platform == "win32":
        import msvcrt

        msvcrt.setmode(0, os.O_BINARY)
    before = limit(seconds)
    try:
        stream = as_stream(_Input(start + size), start, size)
        look_around(h5py.File(stream, "r").id)
    finally:
        os._exit(outcome(before))


class _Input:
    """Standard input as a ranged file."""

    path = "standard input"

    def __init__(self, size: int) -> None:
        self.size = size

    def pread(self, offset: int, length: int) -> bytes:
        """Exactly ``length`` bytes from ``offset``; fewer only at the end of the file."""
        os.lseek(0, offset, os.SEEK_SET)
        pieces = []
        while length and (data := os.read(0, length)):
            pieces.append(data)
            length -= len(data)
        return b"".join(pieces)

    def close(self) -> None:
        """Nothing to close: it was open before us."""
