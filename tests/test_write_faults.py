"""What is left when writing goes wrong: the command itself, killed, starved and disturbed.

The command runs in a forked child whose calls to the system are counted; at one of them something
happens.  Every call is tried.  Afterwards the source must be as it was, and what lies at the output
path must be whole or must not read as a checkpoint at all.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import io
import os
import signal
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from remap_support import write_bundle

import ckpttool
from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli.main import main
from ckpttool.errors import CkptError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

# Where something can happen: everything that changes the file system, and the copying itself.
CALLS = (
    "write", "pwrite", "copy_file_range", "sendfile", "ftruncate", "fsync", "rename", "link",
    "mkdir", "unlink",
)  # fmt: skip
OUTPUTS = {
    "tf1": "out/model.ckpt",
    "tf2": "out/model",
    "keras": "out/m.weights.h5",
    "keras-h5": "out/m.h5",
    "safetensors": "out/m.safetensors",
    "npz": "out/m.npz",
    "keras-archive": "out/m.keras",
    # Not targets, but other ways to an output.
    "like": "out/like.weights.h5",
    "salvage": "out/salvaged.npz",
    "average": "out/mean.npz",
}
MORE = {
    "keras-archive": ("--to", "keras-archive", "--like", "template.keras"),
    "like": ("--to", "keras", "--like", "template.keras"),
    "salvage": ("--to", "npz", "--salvage"),
}
ARRAYS = {
    "layer/0": np.arange(3000, dtype=np.float32).reshape(30, 100),
    "layer/1": np.ones(7, np.float32),
    "step": np.int64(12),
}
RULES = """
version: 1
rules:
- from: step
  drop: true
- from: layer/{i}
  to: layers/dense/vars/{i}
"""


def digest_tree(folder: Path) -> dict[str, str]:
    """Digests of all files of a folder."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A folder with a checkpoint and a mapping, and as the current one."""
    (tmp_path / "in").mkdir()
    write_bundle(tmp_path / "in" / "model.ckpt", ARRAYS)
    _beside(tmp_path)
    return tmp_path


def _beside(work: Path) -> None:
    """A second checkpoint, the mapping, and an archive to be filled."""
    write_bundle(work / "in" / "again.ckpt", ARRAYS)
    (work / "map.yaml").write_text(RULES)
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for number in range(2):
            values = ARRAYS[f"layer/{number}"]
            file[f"layers/dense/vars/{number}"] = np.zeros_like(values)
    with zipfile.ZipFile(work / "template.keras", "w") as archive:
        archive.writestr("config.json", '{"class_name": "Sequential", "config": {"layers": []}}')
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("model.weights.h5", weights.getvalue())


@pytest.fixture(scope="module", autouse=True)
def _loaded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Every module that the children need, so that none of them has to import it."""
    work = tmp_path_factory.mktemp("loaded")
    write_bundle(work / "in" / "model.ckpt", ARRAYS)
    _beside(work)
    rules = ckpttool.load_rules(str(work / "map.yaml"))
    for target, output in OUTPUTS.items():
        if target not in MORE and target != "average":
            with open_checkpoint(str(work / "in" / "model.ckpt")) as checkpoint:
                ckpttool.remap(checkpoint, rules, str(work / output), to=target)


def _command(work: Path, target: str, *more: str) -> list[str]:
    source, output = str(work / "in" / "model.ckpt"), str(work / OUTPUTS[target])
    if target == "average":
        # Of two that are the same the mean is what they are.
        again = str(work / "in" / "again.ckpt")
        return ["average", source, again, "--to", "npz", "-o", output, *more]
    options = MORE.get(target, ("--to", target))
    options = tuple(str(work / item) if item == "template.keras" else item for item in options)
    return ["remap", source, "-m", str(work / "map.yaml"), "-o", output, *options, *more]


def _in_child(command: list[str], prepare: Callable[[], object]) -> int:
    """Run the command in a child; its exit code, or minus the signal that ended it."""
    child = os.fork()
    if not child:
        code = 70
        try:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, 1)
            os.dup2(null, 2)
            prepare()
            try:
                code = main(command) or 0
            except SystemExit as end:
                code = int(end.code or 0)
        finally:
            os._exit(code)
    status = os.waitpid(child, 0)[1]
    return os.waitstatus_to_exitcode(status)


def _at_call(number: int, act: Callable[[], object]) -> Callable[[], None]:
    """In the child: ``act`` before the call with this number, counted over all of ``CALLS``."""

    def prepare() -> None:
        count = 0

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*arguments: Any, **named: Any) -> Any:
                nonlocal count
                count += 1
                if count == number:
                    act()
                return real(*arguments, **named)

            return call

        for name in CALLS:
            if hasattr(os, name):
                setattr(os, name, counted(getattr(os, name)))

    return prepare


def _state(work: Path, target: str) -> str:
    """``whole`` or ``absent``: anything between is the failure that this file looks for."""
    path = work / OUTPUTS[target]
    try:
        checkpoint = open_checkpoint(str(path))
    except CkptError:
        return "absent"
    with checkpoint:
        names = {
            "tf2": "layers/dense/vars/{}/.ATTRIBUTES/VARIABLE_VALUE",
            "average": "layer/{}",
        }.get(target)
        for number in range(2):
            name = (names or "layers/dense/vars/{}").format(number)
            found = checkpoint.reader.read(name)
            assert found.tobytes() == ARRAYS[f"layer/{number}"].tobytes()
    return "whole"


def _left(work: Path) -> list[str]:
    folder = work / "out"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _every_call(work: Path, target: str, act: Callable[[], object]) -> Iterator[int]:
    """Exit codes of the command as ``act`` happens at its first call, its second, and so on."""
    source = digest_tree(work / "in")
    for number in range(1, 1000):
        code = _in_child(_command(work, target), _at_call(number, act))
        assert digest_tree(work / "in") == source
        yield code
        if code == 0:
            return
        for path in sorted((work / "out").glob("*")):
            path.unlink()
    raise AssertionError("the command never came to its end")


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_killed_at_every_call(work: Path, target: str) -> None:
    points = 0
    for code in _every_call(work, target, lambda: os.kill(os.getpid(), signal.SIGKILL)):
        state = _state(work, target)
        assert code in (0, -signal.SIGKILL)
        assert state == "whole" or code
        points += 1
    assert points > 5
    # A run after the killed ones is not disturbed by what they left.
    assert _in_child(_command(work, target, "--force"), lambda: None) == 0
    assert _state(work, target) == "whole"


def _no_space() -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_a_full_disk_at_every_call(work: Path, target: str) -> None:
    """Not every failing call is the end (a flush of a folder is not): but nothing is between."""
    failures = 0
    for code in _every_call_until_done(work, target, _no_space):
        assert code in (0, 5)
        assert _state(work, target) == ("absent" if code else "whole")
        if code:
            assert _left(work) == []
            failures += 1
    assert failures > 3


def _every_call_until_done(work: Path, target: str, act: Callable[[], object]) -> Iterator[int]:
    """As :func:`_every_call`, for acts that need not end the command; ends after the last call."""
    source = digest_tree(work / "in")
    flag = work / "acted"

    def marked() -> None:
        flag.touch()
        act()

    for number in range(1, 1000):
        code = _in_child(_command(work, target), _at_call(number, marked))
        assert digest_tree(work / "in") == source
        yield code
        for path in sorted((work / "out").glob("*")):
            path.unlink()
        if not flag.exists():
            return
        flag.unlink()
    raise AssertionError("the command never came to its end")


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_interrupted_at_every_call(work: Path, target: str) -> None:
    """Ctrl-C: 130 and nothing left; or it came too late, and all is there."""
    interrupted = 0
    for code in _every_call_until_done(work, target, lambda: os.kill(os.getpid(), signal.SIGINT)):
        assert code in (0, 130)
        assert _state(work, target) == ("absent" if code else "whole")
        if code:
            assert _left(work) == []
            interrupted += 1
    assert interrupted > 3


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_no_room_for_large_files(work: Path, target: str) -> None:
    """A limit of the system on file sizes, which no counted call can miss."""
    import resource

    def small() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))

    source = digest_tree(work / "in")
    assert _in_child(_command(work, target), small) == 5
    assert _left(work) == []
    assert digest_tree(work / "in") == source


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_output_that_exists_is_kept_and_force_replaces_it(work: Path, target: str) -> None:
    assert _in_child(_command(work, target), lambda: None) == 0
    before = digest_tree(work / "out")
    assert _in_child(_command(work, target), lambda: None) == 5
    assert digest_tree(work / "out") == before
    assert _in_child(_command(work, target, "--force"), lambda: None) == 0
    assert digest_tree(work / "out") == before  # the same input gives the same bytes


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_killed_while_it_replaces_an_older_output(work: Path, target: str) -> None:
    """The old output, the new one, or none: at no call a mixture of both."""
    assert _in_child(_command(work, target), lambda: None) == 0
    for number in range(1, 1000):
        kill = _at_call(number, lambda: os.kill(os.getpid(), signal.SIGKILL))
        code = _in_child(_command(work, target, "--force"), kill)
        assert code in (0, -signal.SIGKILL)
        state = _state(work, target)
        if not code:
            assert state == "whole"
            break
    else:
        raise AssertionError("the command never came to its end")


def test_output_that_is_the_source(work: Path) -> None:
    source = digest_tree(work / "in")
    command = _command(work, "tf1", "--force")
    command[command.index("-o") + 1] = str(work / "in" / "model.ckpt")
    assert _in_child(command, lambda: None) == 5
    assert digest_tree(work / "in") == source


def _like_others() -> None:
    """In the child: give up root's right to write anywhere (Linux's capabilities, all of them)."""
    if os.geteuid() != 0:
        return
    version, none = 0x20080522, (0,) * 6  # _LINUX_CAPABILITY_VERSION_3, and three sets of 64 bits
    header, sets = (ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * 6)(*none)
    if ctypes.CDLL(None, use_errno=True).capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


@pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0 and sys.platform != "linux",
    reason="root may write anywhere",
)
@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_a_folder_that_is_read_only(work: Path, target: str) -> None:
    (work / "out").mkdir()
    (work / "out").chmod(0o555)
    try:
        assert _in_child(_command(work, target), _like_others) == 5
        assert _left(work) == []
        (work / "out").chmod(0o777)  # it is that which was refused, and nothing else
        assert _in_child(_command(work, target), _like_others) == 0
    finally:
        (work / "out").chmod(0o755)


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_a_file_where_a_folder_should_be(work: Path, target: str) -> None:
    (work / "out").write_bytes(b"not a folder")
    assert _in_child(_command(work, target), lambda: None) == 5
    assert (work / "out").read_bytes() == b"not a folder"


@pytest.mark.parametrize("change", ["cut", "changed", "gone"])
@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_a_source_that_changes_while_it_is_read(work: Path, target: str, change: str) -> None:
    """An error, or the values that were there: never others, never half of them."""
    data = work / "in" / "model.ckpt.data-00000-of-00001"
    good = data.read_bytes()

    def disturb() -> None:
        if change == "gone":
            data.unlink()
            return
        with open(data, "r+b") as stream:
            if change == "cut":
                stream.truncate(100)
            else:
                stream.write(b"\xff" * len(good))

    seen = set()
    flag = work / "acted"

    def once() -> None:
        flag.touch()
        disturb()

    for number in range(1, 1000):
        code = _in_child(_command(work, target), _at_call(number, once))
        assert code in (0, 3, 5), code
        seen.add(code)
        assert _state(work, target) == ("absent" if code else "whole")
        if code:
            assert _left(work) == []
        data.write_bytes(good)
        for path in sorted((work / "out").glob("*")):
            path.unlink()
        if not flag.exists():
            break
        flag.unlink()
    else:
        raise AssertionError("the command never came to its end")
    assert 0 in seen


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_two_runs_into_one_output(work: Path, target: str) -> None:
    """A second run starts at each call of the first: one of them has the place, whole."""
    command = _command(work, target)
    flag = work / "acted"

    def other() -> None:
        flag.write_text(str(_in_child(command, lambda: None)))

    for number in range(1, 1000):
        first = _in_child(command, _at_call(number, other))
        assert _state(work, target) == "whole"
        if not flag.exists():
            assert first == 0
            break
        codes = sorted((first, int(flag.read_text())))
        assert codes[0] == 0
        assert codes[1] in (0, 5)
        assert not [name for name in _left(work) if "tempstate" in name]
        flag.unlink()
        for path in sorted((work / "out").glob("*")):
            path.unlink()
    else:
        raise AssertionError("the command never came to its end")


def test_the_counting_sees_what_python_calls(work: Path) -> None:
    """The tests above are not empty: a call that is never made leaves the command alone."""
    assert sys.platform != "win32"
    called = work / "called"
    assert _in_child(_command(work, "npz"), _at_call(1, called.touch)) == 0
    assert called.exists()
