"""Which checkpoint a directory stands for, and what to say of a path that is not there.

The state file decides; a directory without one, or whose state file names what is gone, stands for
its newest complete checkpoint.  No path of a state file is followed out of its directory.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from ckpttool.errors import CkptError, InputError, Problem
from ckpttool.formats.locating.folder import Folder, ends_like_table, size_of, split_shard, step_of
from ckpttool.formats.locating.folder_scan import Scan
from ckpttool.formats.locating.located import (
    INDEX_SUFFIX,
    META_SUFFIX,
    SAVED_MODELS,
    Located,
    bundle,
    graph_alone,
    saved_model,
    v1_sharded,
)
from ckpttool.storage.files import LOCAL, split

STATE_NAME = "checkpoint"
_USUAL = "model.safetensors"  # beside it, other files are parts of it or additions

NAMED = 8  # names that a message lists
_MAX_DEPTH = 3
_MAX_FOLDERS = 300  # directories looked into for a checkpoint further down
_MAX_SNIFFED = 500  # files whose content is looked at for a V1 checkpoint

Notices = tuple[Problem, ...]


class _Choice(NamedTuple):
    """A checkpoint of a directory.  ``complete``: all of its data is there."""

    complete: bool
    step: int
    base: str
    kind: str  # v2, v1, shards


def locate_folder(folder: Folder, depth: int = 0) -> Located:
    """The checkpoint that a directory stands for."""
    notices: Notices = ()
    if folder.size(STATE_NAME) is not None:
        found, notices = _by_state_file(folder, STATE_NAME, strict=False)
        if found is not None:
            return with_notices(found, notices)
    if any(name in folder.names for name in SAVED_MODELS):
        return saved_model(folder, notices)
    scan = Scan(folder.names)
    found = _newest(folder, scan) or _single_file(folder, scan) or _graph_file(folder, scan)
    if found is None and depth < _MAX_DEPTH:
        found = _further_down(folder, depth)
    if found is not None:
        return with_notices(found, _instead(notices, found))
    gone = [problem for problem in notices if problem.code == "INP015"]
    raise InputError(*(gone or notices or [_nothing(folder, scan)]))


def locate_state(folder: Folder, name: str) -> Located:
    """The checkpoint that the state file ``name`` stands for."""
    found, notices = _by_state_file(folder, name, strict=True)
    if found is not None:
        return with_notices(found, notices)
    scan = Scan(folder.names)
    found = _newest(folder, scan) or _graph_file(folder, scan)
    if found is None:
        raise InputError(*notices)
    return with_notices(found, _instead(notices, found))


def complete_checkpoints(folder: Folder) -> list[Located]:
    """Every complete V2 and V1 checkpoint of a directory, by step, then by name."""
    found = [
        choice for choice in _choices(folder, Scan(folder.names), every=True) if choice.complete
    ]
    found.sort(key=lambda choice: (choice.step < 0, choice.step, choice.base))
    return [located for choice in found if (located := named(folder, choice.base)) is not None]


def _by_state_file(folder: Folder, name: str, *, strict: bool) -> tuple[Located | None, Notices]:
    """What a state file names, or None and why not."""
    from ckpttool.formats.tensorflow.state_file import read_state

    path = folder.join(name)
    try:
        state = read_state(path, folder.files)
    except CkptError as error:
        if strict:
            raise
        return None, error.problems
    latest = state.latest or ""
    for base in _places(folder, latest):
        found = named(folder, base)
        if found is None:
            continue
        if _inside(folder, latest) is None or latest[1:3] == ":\\":
            message = "the state file names another place; the checkpoint beside it was taken"
            return found, (Problem("INP015", message, path, latest, found.path),)
        return found, ()
    hint = None if folder.path == "" else "the files may have been left behind when it was copied"
    message = "the state file names a checkpoint that is not here"
    return None, (Problem("INP015", message, path, latest, hint=hint),)


def _instead(notices: Notices, found: Located) -> Notices:
    """Say which checkpoint was taken in place of one that is gone."""
    return tuple(
        problem._replace(message=f"{problem.message}; {found.path} was taken", hint=None)
        if problem.code == "INP015"
        else problem
        for problem in notices
    )


def _places(folder: Folder, entry: str) -> list[str]:
    """Where a state file's entry may lie: names relative to the directory, inside of it."""
    shard = split_shard(entry)
    if shard is not None and shard[1] == "-":
        entry = shard[0]  # V1: a pattern of shards
    places = []
    inside = _inside(folder, entry)
    if inside is not None:
        places.append(inside)
    for separators in ("/", "/\\"):
        last = entry
        for separator in separators:
            last = last.rsplit(separator, 1)[-1]
        if last not in places and last not in (".", ".."):
            places.append(last)
    return [place for place in places if "\0" not in place]


def _inside(folder: Folder, entry: str) -> str | None:
    """An entry relative to the directory; None if it leads out of it."""
    home = (folder.path if folder.files is not LOCAL else os.path.abspath(folder.path)) + "/"
    if entry.startswith(home):
        entry = entry[len(home) :]
    elif entry.startswith("/") or "://" in entry:
        return None
    parts = [part for part in entry.split("/") if part not in ("", ".")]
    if ".." in parts:
        return None
    return "/".join(parts) + ("/" if entry.endswith("/") and parts else "")


def named(folder: Folder, base: str) -> Located | None:
    """The TensorFlow checkpoint of that prefix; None if it has neither index nor V1 file."""
    head, slash, tail = base.rpartition("/")
    if slash:
        folder, base = Folder(folder.files, folder.join(head)), tail
    if folder.size(base + INDEX_SUFFIX) is not None:
        return bundle(folder, base)
    if base and folder.size(base) is not None:
        from ckpttool.formats.locating.content import locate_file

        if ends_like_table(folder.files, folder.join(base)):
            return locate_file(folder, base)
    return v1_sharded(folder, base)


def _newest(folder: Folder, scan: Scan) -> Located | None:
    """The newest complete TensorFlow checkpoint, else the newest that has its index."""
    choices = _choices(folder, scan)
    if not choices:
        return None
    best = max(choices)[:2]
    tied = [choice for choice in choices if choice[:2] == best]
    chosen = tied[0] if len(tied) == 1 else max(tied, key=lambda item: _age_key(folder, item))
    found = named(folder, chosen.base)
    if found is None or len(choices) == 1:
        return found
    others = [folder.join(choice.base) for choice in sorted(choices, reverse=True)]
    others.remove(folder.join(chosen.base))
    count = f"{len(choices)} checkpoints are here; the newest complete one was taken"
    return with_notices(found, (Problem("INP013", count, folder.path or ".", listed(others)),))


def _choices(folder: Folder, scan: Scan, *, every: bool = False) -> list[_Choice]:
    """The TensorFlow checkpoints here; V1 files, told by their content, if asked or alone."""
    found = [_Choice(scan.is_complete(base), rank_of(base), base, "v2") for base in scan.indexes]
    for base, counts in scan.v1_shards.items():
        complete = any(len(here) == count for count, here in counts.items())
        found.append(_Choice(complete, rank_of(base), base, "shards"))
    if every or not any(choice.complete for choice in found):
        found += [_Choice(True, rank_of(base), base, "v1") for base in _v1_files(folder, scan)]
    return found


def _age_key(folder: Folder, choice: _Choice) -> tuple[float, str]:
    """Of equal steps the file that was written last, where files have times; else by name."""
    suffix = {"v2": INDEX_SUFFIX, "v1": "", "shards": META_SUFFIX}[choice.kind]
    if folder.files is not LOCAL:
        return 0.0, choice.base
    try:
        return os.stat(folder.join(choice.base + suffix)).st_mtime, choice.base
    except OSError:
        return 0.0, choice.base


def rank_of(base: str) -> int:
    """The step of a prefix for sorting; -1 where it has none."""
    step = step_of(base)
    return -1 if step is None else step


def _v1_files(folder: Folder, scan: Scan) -> list[str]:
    """Files that are tables, among those whose names do not say that they are something else."""
    found = []
    for name in scan.unknown[:_MAX_SNIFFED]:
        path = folder.join(name)
        if (size_of(folder.files, path) or 0) > 48 and ends_like_table(folder.files, path):
            found.append(name)
    return found


def _single_file(folder: Folder, scan: Scan) -> Located | None:
    """A weights file of another format, if it is clear which one."""
    from ckpttool.formats.locating.content import locate_file

    ranked = scan.weight_files()
    if not ranked:
        return _safetensors_shards(folder, scan)
    best = [name for rank, name in ranked if rank == ranked[0][0]]
    if _USUAL in best:
        best = [_USUAL]
    if len(best) > 1:
        raise InputError(several(folder, [folder.join(name) for name in best]))
    found = locate_file(folder, best[0])
    if len(ranked) == 1:
        return found
    others = [folder.join(name) for _, name in ranked if name != best[0]]
    message = f"{len(ranked)} checkpoints are here; one was taken"
    return with_notices(found, (Problem("INP013", message, folder.path or ".", listed(others)),))


def _safetensors_shards(folder: Folder, scan: Scan) -> Located | None:
    """Shards of safetensors whose weight map is not here."""
    if len(scan.others.safetensors_shards) != 1:
        return None
    ((base, count), here) = next(iter(scan.others.safetensors_shards.items()))
    names = [f"{base}-{shard:05d}-of-{count:05d}.safetensors" for shard in range(1, count + 1)]
    paths = tuple(folder.join(name) for name in names)
    missing = tuple(path for path, name in zip(paths, names, strict=True) if name not in here)
    notice = Problem(
        "INP006", "the weight map of these shards is missing; their own headers were read",
        folder.path or ".", expected=f"{base}.safetensors.index.json",
    )  # fmt: skip
    return Located(folder.path or ".", "safetensors", paths[0], paths, (), missing, (notice,))


def _graph_file(folder: Folder, scan: Scan) -> Located | None:
    """A graph without tensors: the newest ``.meta``, or the one graph file."""
    if scan.metas:
        bases = sorted(scan.metas, key=lambda base: (-rank_of(base), base))
        notices: Notices = ()
        if len(bases) > 1:
            message = f"{len(bases)} graphs are here, without tensors; the newest was taken"
            others = listed([folder.join(base + META_SUFFIX) for base in bases[1:]])
            notices = (Problem("INP013", message, folder.path or ".", others),)
        return graph_alone(folder, bases[0] + META_SUFFIX, "meta_graph", notices=notices)
    from ckpttool.formats.locating.sniff import sniff_path

    graphs = {}
    for name in scan.others.protos[:_MAX_SNIFFED]:
        kind = sniff_path(folder.files, folder.join(name)).name
        if kind in ("graph_def", "meta_graph", "saved_model"):
            graphs[name] = kind
    if len(graphs) > 1:
        raise InputError(several(folder, [folder.join(name) for name in graphs]))
    for name, kind in graphs.items():
        if kind == "saved_model":
            return saved_model(folder, file=name)
        return graph_alone(folder, name, kind)
    return None


def _further_down(folder: Folder, depth: int) -> Located | None:
    """The only checkpoint in the directories below, as in ``export/<time>``."""
    found = _folders_with_checkpoints(folder, depth, [_MAX_FOLDERS])
    if not found:
        return None
    if len(found) > 1:
        found.sort(key=lambda item: (-_number(item.path), item.path))
        raise InputError(several(folder, [item.path for item in found]))
    located = locate_folder(found[0], _MAX_DEPTH)
    message = "the only checkpoint is further down"
    return with_notices(located, (Problem("INP013", message, folder.path or ".", located.path),))


def _folders_with_checkpoints(folder: Folder, depth: int, budget: list[int]) -> list[Folder]:
    found: list[Folder] = []
    for name in sorted(folder.names):
        if name.startswith(".") or budget[0] <= 0:
            continue
        below = Folder(folder.files, folder.join(name))
        if not folder.files.is_dir(below.path):
            continue
        budget[0] -= 1
        if STATE_NAME in below.names or Scan(below.names).holds_checkpoint:
            found.append(below)
        elif depth + 1 < _MAX_DEPTH:
            found += _folders_with_checkpoints(below, depth + 1, budget)
    return found


def _number(path: str) -> int:
    name = split(path)[1]
    return int(name) if name.isascii() and name.isdigit() and len(name) < 20 else -1


def several(folder: Folder, paths: Sequence[str], typed: str | None = None) -> Problem:
    """An INP013 that lists ``paths``, best first."""
    return Problem(
        "INP013", f"{len(paths)} checkpoints are meant by this path: name one of them",
        typed or folder.path or ".", listed(paths), hint=try_command(paths[0]),
    )  # fmt: skip


def _nothing(folder: Folder, scan: Scan) -> Problem:
    """Why a directory stands for no checkpoint; what is in it may be something else's."""
    from ckpttool.formats.locating.sniff import refusal, sniff_path

    where = folder.path or "."
    if scan.data:
        base = next(iter(scan.data))
        message = "the index is missing: nothing says which tensors are in the data"
        expected = folder.join(base + INDEX_SUFFIX)
        return Problem("INP001", message, where, "data shards alone", expected)
    for name in [*scan.unknown, *scan.others.torch][:NAMED]:
        path = folder.join(name)
        if size_of(folder.files, path) is None:
            continue
        kind = sniff_path(folder.files, path)
        if kind.name in ("foreign", "cut"):
            return refusal(kind, path)
        if kind.name == "zip":
            from ckpttool.formats.locating.content import locate_file

            try:
                locate_file(folder, name)
            except CkptError as error:
                return error.problems[0]
    shown = listed(sorted(folder.names)) if folder.names else "nothing"
    return Problem("INP001", "no checkpoint in this directory", where, shown)


def with_notices(found: Located, notices: Notices) -> Located:
    """``found`` with more notices before its own."""
    return found._replace(notices=(*notices, *found.notices)) if notices else found


def listed(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    shown = ", ".join(name or "(empty name)" for name in names[:NAMED])
    return shown if len(names) <= NAMED else f"{shown} and {len(names) - NAMED} more"


def try_command(path: str) -> str:
    """A command to try on ``path``, quoted for a shell."""
    from shlex import quote

    return f"try: ckpttool tree {quote(path)}"
