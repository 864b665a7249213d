"""Verify what a person names: a path, or all checkpoints of a directory."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from ckpttool.analysis.verify import unreadable
from ckpttool.analysis.verify import verify as verify_checkpoint
from ckpttool.analysis.verify_model import INTACT, DirectoryResult, VerifyResult
from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.errors import CkptError, ExtraMissingError, Problem, UsageError
from ckpttool.formats.locating.choosing import STATE_NAME, named, rank_of
from ckpttool.formats.locating.folder import Folder
from ckpttool.formats.locating.folder_scan import Scan
from ckpttool.formats.locating.locate import find_checkpoints, locate
from ckpttool.formats.locating.located import INDEX_SUFFIX
from ckpttool.formats.tensorflow.state_file import CheckpointState, read_state
from ckpttool.storage.files import LOCAL, files_for, split

Begin = Callable[[int], Callable[[int], None]]


def verify(
    target: Checkpoint | str,
    *,
    quick: bool = False,
    against: str | None = None,
    progress: Begin | None = None,
    fork: bool = False,
) -> VerifyResult:
    """Everything that is wrong with a checkpoint, at once.

    ``target`` is an open checkpoint or a path.  ``quick`` reads no tensor data;
    ``against="tensorflow"`` compares all tensors with what TensorFlow reads.  A path that cannot
    be opened raises :class:`ckpttool.errors.InputError`; any other damage is in the result:
    ``result.status``, ``result.damaged``, ``result.faults``, and ``result.readable`` for what is
    still there.  ``progress`` is called with a number of bytes to read, and gives what to call with
    those that were read; ``fork`` allows a second process to read half of a large checkpoint, for
    programs that are a single command.
    """
    if not isinstance(target, str):
        return verify_checkpoint(target, quick=quick, against=against, progress=progress, fork=fork)
    with open_checkpoint(target) as checkpoint:
        return verify_checkpoint(
            checkpoint, quick=quick, against=against, progress=progress, fork=fork
        )


def verify_path(
    path: str,
    *,
    quick: bool = False,
    against: str | None = None,
    progress: Begin | None = None,
    fork: bool = False,
) -> VerifyResult:
    """Like :func:`verify`, but what cannot be opened is a result too."""
    try:
        return verify(path, quick=quick, against=against, progress=progress, fork=fork)
    except (UsageError, ExtraMissingError):
        raise
    except CkptError as error:
        return unreadable(path, error)


def holds_several(path: str) -> bool:
    """Whether ``path`` is a directory whose TensorFlow checkpoints are each a prefix of it."""
    files = files_for(path)
    if not files.is_dir(path):
        return False
    scan = Scan(Folder(files, path).names)
    return bool(not scan.saved_model and (scan.indexes or scan.v1_shards or find_checkpoints(path)))


def verify_directory(
    path: str,
    *,
    quick: bool = False,
    against: str | None = None,
    progress: Begin | None = None,
    fork: bool = False,
) -> DirectoryResult:
    """Verify every checkpoint of a directory, and its state file against them."""
    folder = Folder(files_for(path), path.rstrip("/") or "/")
    results = [
        verify_path(folder.join(base), quick=quick, against=against, progress=progress, fork=fork)
        for base in _bases(folder)
    ]
    intact = [item for item in results if item.status == INTACT]
    newest = max(intact, key=lambda item: _age(folder, item.path), default=None)
    faults, notices = _state(folder, results)
    return DirectoryResult(
        path,
        tuple(results),
        None if newest is None else newest.path,
        folder.join(STATE_NAME) if folder.size(STATE_NAME) is not None else None,
        tuple(faults),
        tuple(notices),
    )


def _bases(folder: Folder) -> list[str]:
    """Every prefix that stands for a checkpoint, whole or not, the oldest first."""
    scan = Scan(folder.names)
    found = dict.fromkeys([*scan.indexes, *scan.v1_shards, *scan.data])
    found.update(dict.fromkeys(split(item.path)[1] for item in find_checkpoints(folder.path)))
    return sorted(found, key=lambda base: _age(folder, folder.join(base)))


def _age(folder: Folder, path: str) -> tuple[int, float, str]:
    """By step, then by the time at which the index was written, then by name."""
    when = 0.0
    if folder.files is LOCAL:
        for name in (path + INDEX_SUFFIX, path):
            try:
                when = os.stat(name).st_mtime
                break
            except (OSError, ValueError):
                continue
    return rank_of(split(path)[1]), when, path


def _state(folder: Folder, results: Iterable[VerifyResult]) -> tuple[list[Problem], list[Problem]]:
    """Faults and notices: what the state file names that is not here, or not whole."""
    path = folder.join(STATE_NAME)
    if folder.size(STATE_NAME) is None:
        return [], []
    try:
        state = read_state(path, folder.files)
    except CkptError as error:
        return list(error.problems), []
    by_path = {item.path: item for item in results}
    faults, notices = _latest(folder, path, state, by_path)
    gone = [entry for entry in dict.fromkeys(state.all) if not _is_here(folder, entry)]
    gone = [entry for entry in gone if entry != state.latest]
    if gone:
        what = f"{len(gone)} older checkpoints that the state file lists are not here"
        shown = ", ".join(gone[:5]) + (", …" if len(gone) > 5 else "")
        notices.append(Problem("INP015", what, path, shown))
    return faults, notices


def _latest(
    folder: Folder, path: str, state: CheckpointState, by_path: dict[str, VerifyResult]
) -> tuple[list[Problem], list[Problem]]:
    latest = state.latest or ""
    try:
        chosen = locate(folder.path)
    except CkptError as error:
        return list(error.problems), []
    told = [item for item in chosen.notices if item.code == "INP015"]
    if not _is_here(folder, latest):
        what = "the state file names a checkpoint that is not here"
        return [Problem("INP015", what, path, latest, f"for example {chosen.path}")], []
    result = by_path.get(chosen.path)
    if result is not None and result.status != INTACT:
        what = "the checkpoint that the state file names as the latest is damaged"
        return [Problem("INP015", what, path, latest)], told
    return [], told


def _is_here(folder: Folder, entry: str) -> bool:
    """Whether a state file's entry is in the directory, wherever it says that it is."""
    last = entry.replace("\\", "/") if "/" not in entry else entry
    base = last.rstrip("/").rpartition("/")[2] if not last.endswith("/") else ""
    inside = "" if entry.startswith("/") or ".." in entry.split("/") else entry
    try:
        return any(named(folder, name) is not None for name in dict.fromkeys((inside, base)))
    except CkptError:
        return True  # there, and no checkpoint: verifying it says so
