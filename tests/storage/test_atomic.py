"""Output that is there whole or not at all, wherever the work stops."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpttool.errors import OutputError
from ckpttool.storage import atomic
from ckpttool.storage.atomic import OutputGroup


def group(folder: Path, **options: Any) -> OutputGroup:
    return OutputGroup([str(folder / "m.data"), str(folder / "m.index")], **options)


def fill(outputs: OutputGroup, folder: Path, text: bytes = b"new") -> None:
    outputs.stage(str(folder / "m.data")).write(text + b" data")
    outputs.stage(str(folder / "m.index")).write(text + b" index")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


OLD = {"m.data": b"old data", "m.index": b"old index"}
NEW = {"m.data": b"new data", "m.index": b"new index"}


def put_old(folder: Path) -> None:
    for name, data in OLD.items():
        (folder / name).write_bytes(data)


def code(raised: pytest.ExceptionInfo[OutputError]) -> str:
    assert raised.value.exit_code == 5
    return raised.value.problems[0].code


def test_commit_puts_everything_in_its_place(tmp_path: Path) -> None:
    with group(tmp_path) as outputs:
        fill(outputs, tmp_path)
        assert not {*contents(tmp_path)} & {*NEW}
        outputs.commit()
    assert contents(tmp_path) == NEW


def test_leaving_without_commit_leaves_nothing(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    with group(deep) as outputs:
        fill(outputs, deep)
    assert contents(tmp_path) == {}

    def interrupted() -> None:
        with group(deep) as outputs:
            fill(outputs, deep)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(tmp_path) == {}


def test_parents_are_made_and_others_work_in_them_is_kept(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b"
    with group(deep) as outputs:
        fill(outputs, deep)
        (deep / "other").write_bytes(b"")
    assert contents(deep) == {"other": b""}


@pytest.mark.parametrize("there", ["m.data", "m.index"])
def test_existing_output_is_refused(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_bytes(b"old")
    with pytest.raises(OutputError) as raised:
        group(tmp_path)
    assert code(raised) == "OUT001"
    assert contents(tmp_path) == {there: b"old"}


def test_a_dangling_link_is_existing_output(tmp_path: Path) -> None:
    (tmp_path / "m.index").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OutputError) as raised:
        group(tmp_path)
    assert code(raised) == "OUT001"


def test_force_replaces_and_clears_what_is_stale(tmp_path: Path) -> None:
    put_old(tmp_path)
    (tmp_path / "m.data2").write_bytes(b"old")
    with group(tmp_path, force=True, stale=[str(tmp_path / "m.data2")]) as outputs:
        fill(outputs, tmp_path)
        outputs.commit()
    assert contents(tmp_path) == NEW


def test_output_that_appears_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    with group(tmp_path) as outputs:
        fill(outputs, tmp_path)
        (tmp_path / "m.index").write_bytes(b"theirs")
        with pytest.raises(OutputError) as raised:
            outputs.commit()
    assert code(raised) == "OUT001"
    assert contents(tmp_path) == {"m.index": b"theirs"}


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("fail", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [False, True])
def test_a_failure_at_any_rename_leaves_the_old_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    old: bool,
    fail: BaseException,
    after: bool,
) -> None:
    rename = os.rename
    for stop in range(4 if old else 2):
        if old:
            put_old(tmp_path)
        calls = 0

        def failing(source: str, target: str, stop: int = stop) -> None:
            nonlocal calls
            calls += 1
            if calls == stop + 1:
                if after:
                    rename(source, target)
                raise fail
            rename(source, target)

        with group(tmp_path, force=True) as outputs:
            fill(outputs, tmp_path)
            monkeypatch.setattr(os, "rename", failing)
            with pytest.raises((OutputError, KeyboardInterrupt)):
                outputs.commit()
            monkeypatch.setattr(os, "rename", rename)
        assert calls > stop
        assert contents(tmp_path) == (OLD if old else {})


def snapshots(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, bytes]]:
    """What is under the final names after each rename of a forced commit."""
    seen: list[dict[str, bytes]] = []
    rename = os.rename

    def watching(source: str, target: str) -> None:
        rename(source, target)
        seen.append({name: data for name, data in contents(folder).items() if name in OLD})

    with group(folder, force=True) as outputs:
        fill(outputs, folder)
        monkeypatch.setattr(os, "rename", watching)
        outputs.commit()
    monkeypatch.setattr(os, "rename", rename)
    return seen


def test_no_moment_mixes_old_and_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_old(tmp_path)
    seen = snapshots(tmp_path, monkeypatch)
    assert len(seen) == 4
    for moment in seen:
        if "m.index" in moment:
            assert moment in (OLD, NEW)


def flushed_before_rename(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    events: list[str] = []
    rename, fsync = os.rename, os.fsync

    def renaming(source: str, target: str) -> None:
        events.append(f"rename {os.path.basename(target)}")
        rename(source, target)

    def flushing(fd: int) -> None:
        target = os.readlink(f"/proc/self/fd/{fd}") if os.path.isdir("/proc/self/fd") else ""
        events.append("fsync folder" if os.path.isdir(target) else "fsync file")
        fsync(fd)

    monkeypatch.setattr(os, "rename", renaming)
    monkeypatch.setattr(os, "fsync", flushing)
    with group(folder) as outputs:
        fill(outputs, folder)
        outputs.commit()
    return events


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_files_are_flushed_before_their_renames_and_the_index_is_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert flushed_before_rename(tmp_path, monkeypatch) == [
        "fsync file",
        "fsync file",
        "rename m.data",
        "fsync folder",
        "rename m.index",
        "fsync folder",
    ]


def sources(folder: Path) -> list[str]:
    return [str(folder / "m.data"), str(folder / "m.index")]


@pytest.mark.parametrize("force", [False, True])
def test_the_source_is_never_replaced(tmp_path: Path, force: bool) -> None:
    put_old(tmp_path)
    with pytest.raises(OutputError) as raised:
        group(tmp_path, force=force, sources=sources(tmp_path))
    assert code(raised) == "OUT003"


def test_the_source_is_known_by_any_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tmp_path / "real"
    real.mkdir()
    put_old(real)
    (tmp_path / "link").symlink_to(real)
    for folder in (tmp_path / "link", real / ".." / "real"):
        with pytest.raises(OutputError) as raised:
            group(folder, force=True, sources=sources(real))
        assert code(raised) == "OUT003"
    monkeypatch.chdir(real)
    with pytest.raises(OutputError) as raised:
        OutputGroup(["m.data", "m.index"], force=True, sources=sources(real))
    assert code(raised) == "OUT003"
    (tmp_path / "m.index").symlink_to(real / "m.index")
    with pytest.raises(OutputError) as raised:
        group(tmp_path, force=True, sources=sources(real))
    assert code(raised) == "OUT003"


def test_another_name_of_the_sources_bytes_may_be_replaced(tmp_path: Path) -> None:
    real, other = tmp_path / "real", tmp_path / "other"
    real.mkdir()
    other.mkdir()
    put_old(real)
    os.link(real / "m.data", other / "m.data")
    with group(other, force=True, sources=sources(real)) as outputs:
        fill(outputs, other)
        outputs.commit()
    assert contents(other) == NEW
    assert contents(real) == OLD


def test_links(tmp_path: Path) -> None:
    real, other = tmp_path / "real", tmp_path / "other"
    real.mkdir()
    put_old(real)
    (real / "alias").symlink_to("m.data")
    for source in ("m.data", "alias", "m.data"):
        with group(other, force=True, sources=sources(real)) as outputs:
            outputs.stage_link(str(real / source), str(other / "m.data"))
            outputs.stage(str(other / "m.index")).write(b"new index")
            outputs.commit()
        assert contents(other) == {"m.data": b"old data", "m.index": b"new index"}
        assert (other / "m.data").samefile(real / "m.data")
        assert not (other / "m.data").is_symlink()


def test_a_link_across_file_systems_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OutputError) as raised, group(tmp_path) as outputs:
        outputs.stage_link("x", str(tmp_path / "m.data"))
    assert code(raised) == "OUT002"
    assert "--link" in (raised.value.problems[0].hint or "")


@pytest.mark.parametrize(
    "prepare",
    [
        lambda folder: (folder / "sub").write_bytes(b""),  # a file where a folder should be
        lambda folder: (folder / "sub").symlink_to(folder / "nowhere"),
        lambda folder: (folder / "sub" / "m.data").mkdir(parents=True),
    ],
)
def test_places_that_cannot_be_written_to(
    tmp_path: Path, prepare: Callable[[Path], object]
) -> None:
    prepare(tmp_path)
    with pytest.raises(OutputError) as raised, group(tmp_path / "sub", force=True) as outputs:
        fill(outputs, tmp_path / "sub")
    assert code(raised) == "OUT002"


def test_urls_are_refused() -> None:
    with pytest.raises(OutputError) as raised:
        OutputGroup(["gs://bucket/m.index"])
    assert code(raised) == "OUT002"


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError) as raised, group(tmp_path) as outputs:
        fill(outputs, tmp_path)
    assert code(raised) == "OUT002"
    assert "space" in (raised.value.problems[0].hint or "")
    assert contents(tmp_path) == {}


def test_a_failed_flush_in_the_background_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(atomic, "_FLUSH_SECONDS", 0.001)
    monkeypatch.setattr(atomic, "start_writing", lambda _: False)  # as elsewhere than on Linux
    with group(tmp_path) as outputs:
        fill(outputs, tmp_path)
        monkeypatch.setattr(os, "fsync", broken)
        with pytest.raises(OutputError) as raised, outputs.flushing():
            time.sleep(0.2)
    assert code(raised) == "OUT002"


KILLED = """
import os, sys
from ckpttool.storage.atomic import OutputGroup
folder = sys.argv[1]
outputs = OutputGroup([folder + "/m.data", folder + "/m.index"], force=True)
outputs.stage(folder + "/m.data").write(b"new data")
outputs.stage(folder + "/m.index").write(b"new index")
stop = int(sys.argv[2])
rename = os.rename
calls = 0
def dying(source, target):
    global calls
    if calls == stop:
        os.kill(os.getpid(), 9)
    calls += 1
    rename(source, target)
os.rename = dying
outputs.commit()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_run_leaves_nothing_that_reads_as_complete(tmp_path: Path) -> None:
    for stop in range(4):
        folder = tmp_path / str(stop)
        folder.mkdir()
        put_old(folder)
        command = [sys.executable, "-c", KILLED, str(folder), str(stop)]
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(command, cwd=root, check=False)  # noqa: S603
        assert done.returncode == -signal.SIGKILL
        left = {name: data for name, data in contents(folder).items() if name in OLD}
        assert left == OLD or "m.index" not in left
        assert [path.name for path in folder.glob("*.index") if path.name != "m.index"] == []
