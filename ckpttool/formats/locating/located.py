"""A checkpoint that was found: its index, shards and graphs, as the names in a folder have them."""

from __future__ import annotations

from typing import NamedTuple

from ckpttool.errors import InputError, Problem
from ckpttool.formats.base import GraphSource
from ckpttool.formats.locating.folder import (
    Folder,
    best_count,
    ends_like_table,
    is_pointer,
    shard_counts,
    size_of,
    step_of,
)
from ckpttool.storage.files import Files, split

INDEX_SUFFIX = ".index"
META_SUFFIX = ".meta"
SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")

_FIRST_OF_ONE = ".data-00000-of-00001"
_POINTERS_CHECKED = 16  # shards that are looked at for being pointers
_NAMED = 5  # names that a message lists


class Located(NamedTuple):
    """A checkpoint that was found, before it is opened.

    ``path`` is the prefix, file or directory to show and to type again.  ``index`` is the file
    that lists the tensors (``.index``, the V1 file or first shard, the ``.h5``, …; None for a
    graph alone).  ``shards`` are the data files in shard order: paths that the names promise,
    whether or not they are there (``missing`` has those that are not).
    """

    path: str
    format: str
    index: str | None  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    shards: tuple[str, ...] = ()
    graphs: tuple[GraphSource, ...] = ()
    missing: tuple[str, ...] = ()
    notices: tuple[Problem, ...] = ()
    step: int | None = None


def bundle(
    folder: Folder, base: str, *, index: str | None = None, notices: tuple[Problem, ...] = ()
) -> Located:
    """The V2 bundle ``base`` in ``folder``, whose index is there (as ``index``, if not usual)."""
    index_path = folder.join(index if index is not None else base + INDEX_SUFFIX)
    refuse_foreign(folder.files, index_path)
    prefix = folder.join(base)
    if base == "variables":
        root = _saved_model_root(folder)
        if root is not None:
            return saved_model(root, notices)
    shards, missing, told = find_shards(folder, base)
    graphs, about = find_graphs(folder, base)
    return Located(
        prefix, "tf-v2", index_path, shards, graphs, missing, (*notices, *told, *about),
        step_of(base),
    )  # fmt: skip


def saved_model(folder: Folder, notices: tuple[Problem, ...] = (), file: str = "") -> Located:
    """The SavedModel or Hub module whose directory is ``folder``; ``file`` is an unusual name."""
    names = (file,) if file else SAVED_MODELS
    file = next((name for name in names if folder.size(name) is not None), names[0])
    refuse_pointer(folder.files, folder.join(file))
    graphs = (GraphSource(folder.join(file), "saved_model"),)
    hub = folder.size("tfhub_module.pb") is not None
    kind = "hub-module" if hub else "saved-model"
    path = folder.path or "."
    variables = Folder(folder.files, folder.join("variables"))
    index = variables.join("variables" + INDEX_SUFFIX)
    if variables.size("variables" + INDEX_SUFFIX) is None:
        missing: tuple[str, ...] = ()
        if folder.files.is_dir(variables.path) and variables.names:
            missing = (index,)
            message = "the variables of this SavedModel have no index: only its graph can be told"
            notices += (Problem("INP012", message, path, expected=index),)
        return Located(path, kind, None, (), graphs, missing, notices)
    refuse_foreign(folder.files, index)
    shards, missing, told = find_shards(variables, "variables")
    return Located(path, kind, index, shards, graphs, missing, (*notices, *told))


def v1(folder: Folder, base: str, shards: tuple[str, ...], missing: tuple[str, ...]) -> Located:
    """The V1 checkpoint ``base``: one file of that name, or ``shards`` (base names)."""
    graphs, notices = find_graphs(folder, base)
    paths = tuple(folder.join(name) for name in shards)
    first = next((path for path in paths if path not in missing), paths[0])
    return Located(
        folder.join(base), "tf-v1", first, paths, graphs, missing, notices, step_of(base)
    )


def v1_sharded(folder: Folder, base: str) -> Located | None:
    """The V1 checkpoint in shards ``base-SSSSS-of-NNNNN``; None if there is none."""
    chosen = best_count(shard_counts(folder, base, "-"))
    if chosen is None:
        return None
    count, here = chosen
    names = tuple(f"{base}-{shard:05d}-of-{count:05d}" for shard in range(count))
    missing = tuple(folder.join(names[shard]) for shard in range(count) if shard not in here)
    found = v1(folder, base, names, missing)
    if found.index is not None and not ends_like_table(folder.files, found.index):
        refuse_foreign(folder.files, found.index)
    return found


def graph_alone(
    folder: Folder, name: str, kind: str, *, notices: tuple[Problem, ...] = ()
) -> Located:
    """A graph file without its tensors."""
    base = name[: -len(META_SUFFIX)] if name.endswith(META_SUFFIX) else ""
    missing = (folder.join(base + INDEX_SUFFIX),) if name.endswith(META_SUFFIX) else ()
    path = folder.join(name)
    return Located(
        path, "meta-graph", None, (), (GraphSource(path, kind),), missing, notices, step_of(base)
    )


def find_shards(
    folder: Folder, base: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[Problem, ...]]:
    """The data files of a V2 prefix: all, those that are missing, and what to say about them."""
    prefix = folder.join(base)
    only = prefix + _FIRST_OF_ONE
    size = folder.size(base + _FIRST_OF_ONE)
    if size is not None:
        return (only,), (), _pointer_notices(folder.files, [(only, size)])
    counts = shard_counts(folder, base, ".data-")
    chosen = best_count(counts)
    if chosen is None:
        message = "the data files are not here: names and shapes can be told, values cannot"
        return (only,), (only,), (Problem("INP012", message, prefix, expected=only),)
    count, here = chosen
    shards = tuple(f"{prefix}.data-{shard:05d}-of-{count:05d}" for shard in range(count))
    missing = tuple(shards[shard] for shard in range(count) if shard not in here)
    notices: list[Problem] = []
    if len(counts) > 1:
        found = ", ".join(f"of {each}" for each in sorted(counts))
        message = "there are data files of several counts; the index says which ones belong to it"
        notices.append(Problem("INP006", message, prefix, found))
    if missing:
        what = f"{len(missing)} of {count} data shards are missing"
        notices.append(Problem("INP006", what, prefix, expected=_some(missing)))
    present = [shards[shard] for shard in sorted(here)[:_POINTERS_CHECKED]]
    sizes = [(path, size_of(folder.files, path) or 0) for path in present]
    return shards, missing, (*notices, *_pointer_notices(folder.files, sizes))


def find_graphs(folder: Folder, base: str) -> tuple[tuple[GraphSource, ...], tuple[Problem, ...]]:
    """The graph of a prefix: its ``.meta``, else a text graph in the directory."""
    size = folder.size(base + META_SUFFIX)
    if size is not None:
        path = folder.join(base + META_SUFFIX)
        if is_pointer(folder.files, path, size):
            return (), (pointer_problem(path),)
        return (GraphSource(path, "meta_graph"),), ()
    texts = [name for name in folder.names if name.endswith(".pbtxt")]
    if not texts:
        return (), ()
    from ckpttool.formats.locating.text_graphs import text_graph

    return text_graph(folder, base, texts)


def refuse_foreign(files: Files, path: str, *, graph: bool = False) -> None:
    """Raise if a file that should be a table (or a graph) is plainly something else."""
    if not graph and ends_like_table(files, path):
        return
    from ckpttool.formats.locating.sniff import foreign

    problem = foreign(files, path)
    if problem is not None:
        raise InputError(problem)


def refuse_pointer(files: Files, path: str) -> None:
    size = size_of(files, path)
    if size is not None and is_pointer(files, path, size):
        raise InputError(pointer_problem(path))


def _pointer_notices(files: Files, sizes: list[tuple[str, int]]) -> tuple[Problem, ...]:
    return tuple(pointer_problem(path) for path, size in sizes if is_pointer(files, path, size))


def pointer_problem(path: str) -> Problem:
    return Problem(
        "INP003", "this file is a Git LFS pointer, not the data itself", path, hint="git lfs pull"
    )


def _saved_model_root(folder: Folder) -> Folder | None:
    """The SavedModel directory, if ``folder`` is its ``variables``."""
    parent, name = split(folder.path.rstrip("/"))
    if name != "variables":
        return None
    root = Folder(folder.files, parent)
    return root if any(root.size(file) is not None for file in SAVED_MODELS) else None


def _some(paths: tuple[str, ...]) -> str:
    shown = ", ".join(paths[:_NAMED])
    return shown if len(paths) <= _NAMED else f"{shown} and {len(paths) - _NAMED} more"
