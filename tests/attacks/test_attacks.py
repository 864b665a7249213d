"""Every attack file against every command: a clean answer, within bounds of time and memory.

``python tests/attacks/make.py FOLDER`` leaves the files for a look.
"""

from __future__ import annotations

import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import Run
from remap_support import write_bundle

sys.path.insert(0, str(Path(__file__).resolve().parent))

from make import ATTACKS, Attack, make

SECONDS = 60  # for one command: far more than any takes, so that only an endless one gets there
MOST_RESIDENT = 300 << 20  # bytes of memory above what the tests take anyway
CLEAN = {0, 1, 2, 3, 4, 5}
CODES = re.compile(r"\b(?:INP|MAP|USE|OUT)[0-9]{3}\b")
CAPS = {"INP009", "MAP007"}
# The others ask for more than a sound file need have: a graph, names that a target can hold.
READING = {"tree", "verify", "show", "diff"}
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class TooLongError(BaseException):
    """No ``Exception``, so that no command can mistake it for one of its own."""


@contextmanager
def _bounded() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TooLongError

    before = _peak(reset=True)
    old = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, old)
    assert _peak() - before <= MOST_RESIDENT


def _peak(*, reset: bool = False) -> int:
    if sys.platform != "linux":
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    words = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()
    return int(words[0]) << 10


@pytest.fixture
def type_in(capsys: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Runs a command line within bounds; whatever comes, it is a clean answer."""

    def run(*words: object) -> Run:
        with _bounded():
            done = Run(capsys, *words)
        assert done.code in CLEAN, (words, done.code, done.err[-2000:])
        assert "Traceback" not in done.err
        assert not CONTROLS.search(done.out + done.err), words
        return done

    return run


def _commands(attack: Attack, path: Path, folder: Path) -> Iterator[list[object]]:
    if path.suffix == ".yaml":
        source = folder / "sound" / "m"
        write_bundle(source, {"w": np.arange(6, dtype=np.float32), "a" * 40 + "c": np.ones(2)})
        yield ["mappings", "lint", path]
        yield ["remap", source, "-m", path, "-o", folder / "out.npz", "--dry-run"]
        yield ["remap", source, "-m", path, "-o", folder / "out" / "m.ckpt"]
        return
    yield ["tree", path]
    yield ["tree", path, "--json"]
    yield ["verify", path]
    yield ["verify", path, "--json"]
    yield ["show", path]
    yield ["collections", path]
    yield ["dups", path]
    yield ["diff", path, path]
    yield ["remap", path, "--add-prefix", "x/", "-o", folder / "out.npz"]
    yield ["remap", path, "--add-prefix", "x/", "--salvage", "-o", folder / "out" / "m.ckpt"]


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_attack(attack: Attack, tmp_path: Path, type_in: Callable[..., Run]) -> None:
    path = make(attack, tmp_path)
    made = {item for item in tmp_path.rglob("*") if item.name not in ("out", "out.npz")}
    told: set[str] = set()
    codes: list[int] = []
    refused: set[int] = set()
    for words in _commands(attack, path, tmp_path):
        done = type_in(*words)
        if words[0] in READING:
            codes.append(done.code)
        refused.add(done.code)
        told |= set(CODES.findall(done.out + done.err))
        if "--json" in words:
            _caps_have_numbers(done.body())
    if attack.told is None:
        assert codes
        assert not {3, 4} & set(codes), told
    else:
        assert attack.told in told, told
        assert {1, 3, 4} & {*codes, *refused}
    assert not list(tmp_path.rglob("RUN")), "it was run"
    outside = tmp_path.parent / "escaped"
    assert not outside.exists()
    left = {item for item in tmp_path.rglob("*") if ".tmp" in item.name or "partial" in item.name}
    assert not left - made


def _caps_have_numbers(body: dict[str, Any]) -> None:
    """A cap is told with the value that exceeds it, and with itself."""
    for problem in _problems(body):
        if problem["code"] in CAPS:
            assert problem["found"], problem
            assert problem["expected"] or re.search("[0-9]", problem["message"]), problem


def _problems(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if "code" in value and "message" in value:
            yield value
        for inner in value.values():
            yield from _problems(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _problems(inner)


def test_the_bounds_are_kept_by_the_test_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes too long, or too much, does not pass."""
    monkeypatch.setattr(sys.modules[__name__], "SECONDS", 1)
    with pytest.raises(TooLongError), _bounded():
        time.sleep(10)
    if sys.platform == "linux":
        with pytest.raises(AssertionError), _bounded():
            assert b"x" * (MOST_RESIDENT + (40 << 20))


def test_there_are_as_many_as_the_page_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text("utf-8")
    assert f"{len(ATTACKS)} attack files" in page
