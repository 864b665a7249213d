"""The first look at an HDF5 file: what ends the process that takes it, and what it must see."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import pytest

import ckpttool
from ckpttool.errors import CkptError
from ckpttool.formats.keras import _h5_apart, _h5_look, _h5_rehearsal

FOUND = Path(__file__).resolve().parents[2] / "fuzz" / "found" / "keras_legacy"

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


@pytest.fixture
def other_thread() -> Iterator[None]:
    """While it lasts a fork is not safe."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    yield
    done.set()
    thread.join()


def _sound(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["d"]
        file["d/d/kernel"] = [1.0]
        file["d"].attrs["weight_names"] = ["d/kernel"]
        file["words"] = ["a", "bc"]
    return path


def _fill() -> None:
    kept = bytearray(_h5_rehearsal.MEMORY_BYTES + (64 << 20))
    kept[::4096] = b"x" * len(range(0, len(kept), 4096))
    time.sleep(60)


def _fill_for_a_moment() -> None:
    _h5_rehearsal._resident = lambda pid: 0  # in the child: the parent sees it by other means
    kept = bytearray(_h5_rehearsal.MEMORY_BYTES + (64 << 20))
    kept[::4096] = b"x" * len(range(0, len(kept), 4096))


def _spin() -> None:
    while True:
        pass


def _die(number: int) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (_fill, "192 MiB"),
        (_fill_for_a_moment, "192 MiB"),
        (_spin, "without end"),
        (_die(signal.SIGSEGV), "crashes"),
        (_die(signal.SIGILL), "crashes"),
        (_die(signal.SIGKILL), "192 MiB"),  # as the system ends what takes the last memory
        (_die(signal.SIGTERM), None),
        (lambda: None, None),
        (lambda: 1 // 0, None),
    ],
)
def test_what_ends_the_process(work: Callable[[], object], said: str | None) -> None:
    reason = _h5_rehearsal.fatal(work, 1)
    assert (said in reason) if said and reason else reason is said


def test_a_process_that_only_sleeps_is_ended() -> None:
    """Something other than the file is wrong: nothing is said of it, and no process is left."""
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    codes: list[int] = []

    def ended() -> int | None:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            codes.append(os.waitstatus_to_exitcode(status))
            return codes[0]
        return None

    process = _h5_rehearsal.Process(child, ended, lambda: os.kill(child, signal.SIGKILL))
    assert _h5_rehearsal.watch(process, 1 << 30, 0.05) is None
    assert codes == [-signal.SIGKILL]


@pytest.mark.parametrize("name", ["text-of-gigabytes", "heap-object-of-no-size"])
def test_a_fatal_file_beside_other_threads(name: str, tmp_path: Path, other_thread: None) -> None:
    path = tmp_path / "m.h5"
    shutil.copy(FOUND / name, path)
    with pytest.raises(CkptError, match="the file's structure"):
        ckpttool.open(str(path))


def test_a_sound_file_beside_other_threads(tmp_path: Path, other_thread: None) -> None:
    place = _sound(tmp_path / "a.h5")
    with ckpttool.open(str(place)) as checkpoint:
        assert set(checkpoint.specs) == {"d/d/kernel", "words"}


def test_the_new_python_looks(tmp_path: Path) -> None:
    """It is not its failing to start that lets a sound file pass."""
    codes: list[int] = []
    path = _sound(tmp_path / "a.h5")
    padded = tmp_path / "b.bin"
    padded.write_bytes(b"zip" + path.read_bytes() + b"end")

    def watched(process: _h5_rehearsal.Process, room: int, patience: float) -> None:
        while (code := process.ended()) is None:
            time.sleep(0.01)
        codes.append(code)

    with pytest.MonkeyPatch.context() as patch, open(padded, "rb") as stream:
        patch.setattr(_h5_apart, "watch", watched)
        place = _h5_rehearsal.Place(stream.fileno(), 3, path.stat().st_size)
        assert _h5_apart.fatal_apart(place, 5) is None
    assert codes == [_h5_rehearsal.LOOKED]


def test_one_damaged_member_does_not_end_the_look(tmp_path: Path) -> None:
    """What comes after it is parsed later too, so it has to be looked at."""
    path = _sound(tmp_path / "a.h5")
    looked: list[str] = []
    with pytest.MonkeyPatch.context() as patch, h5py.File(path) as file:
        first = h5py.h5o.open(file.id, b"d")
        real = h5py.h5o.open

        def failing(group: object, name: bytes) -> object:
            looked.append(name.decode())
            if name == b"d":
                raise KeyError("unable to determine object type")
            return real(group, name)

        patch.setattr(h5py.h5o, "open", failing)
        _h5_look.look_around(file.id)
        assert first
    assert looked == ["d", "words"]


def test_only_attributes_that_are_looked_at_are_read(tmp_path: Path) -> None:
    with h5py.File(_sound(tmp_path / "a.h5")) as file, pytest.raises(LookupError):
        _h5_look.attribute(file.id, "title")


def test_strings_that_share_their_text_do_not_fill_the_memory(tmp_path: Path) -> None:
    """A million elements that all name one long text: small on disk, terabytes when read."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("s", (20_000,), h5py.string_dtype())
        data[0] = "x" * 500_000
        offset = data.id.get_offset()
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 16 * 20_000] = raw[offset : offset + 16] * 20_000
    path.write_bytes(raw)
    with pytest.raises(CkptError, match="the file's structure"):
        ckpttool.open(str(path))
