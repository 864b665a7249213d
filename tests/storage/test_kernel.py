"""Hints to the kernel: files stay as they are, and systems without them are no trouble."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from ckpttool.storage import kernel
from ckpttool.storage.atomic import OutputGroup


@pytest.fixture(autouse=True)
def _forget() -> None:
    kernel._function.cache_clear()


def test_room_that_is_reserved_is_no_content(tmp_path: Path) -> None:
    with OutputGroup([str(tmp_path / "m")]) as group:
        staged = group.stage(str(tmp_path / "m"))
        staged.reserve(1 << 20)
        assert os.fstat(staged.fileno()).st_size == 0
        staged.write(b"abc")
        staged.begin_flush()
        group.commit()
    assert (tmp_path / "m").read_bytes() == b"abc"


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone has them")
def test_the_kernel_hears_them(tmp_path: Path) -> None:
    with open(tmp_path / "m", "wb") as file:
        kernel.reserve(file.fileno(), 1 << 20)
        allocated = os.fstat(file.fileno()).st_blocks * 512
        if not allocated:
            pytest.skip("this file system reserves nothing")
        assert allocated >= 1 << 20
        assert kernel.start_writing(file.fileno())
    left, right = os.pipe()
    assert not kernel.start_writing(right)  # no file that could be written to a disk
    os.close(left)
    os.close(right)


def test_another_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with open(tmp_path / "m", "wb") as file:
        kernel.reserve(file.fileno(), 1 << 20)
        assert not os.fstat(file.fileno()).st_blocks
        assert not kernel.start_writing(file.fileno())


def test_a_library_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    assert kernel._function("no_such_function", "int") is None
