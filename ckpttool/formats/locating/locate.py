"""From what a person typed to the files of one checkpoint.

Imports nothing heavy: the magic numbers and siblings decide, not the extension alone.  A prefix
whose index is there costs three look-ups; a directory is listed only where that is not enough.
"""

from __future__ import annotations

import os
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
    split_shard,
    step_of,
)
from ckpttool.storage.files import Files, files_for, is_url, split

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


def locate(path: str) -> Located:
    """Find the checkpoint that ``path`` means; raises :class:`InputError` saying what to try."""
    path = _plain(path)
    files = files_for(path)
    if not path.endswith("/"):
        found = at_prefix(files, path)
        if found is not None:
            return found
    bare = path.rstrip("/") or "/"
    if is_url(path) and bare.endswith(":"):
        bare = path
    if files.is_dir(bare):
        from ckpttool.formats.locating.choosing import locate_folder

        return locate_folder(Folder(files, bare))
    if path.endswith("/"):
        return locate(bare)
    from ckpttool.formats.locating.absent import locate_absent

    directory, base = split(path)
    return locate_absent(Folder(files, directory), base, path)


def find_checkpoints(directory: str) -> list[Located]:
    """Every complete V2 and V1 checkpoint of a directory, by step, then by name."""
    from ckpttool.formats.locating.choosing import complete_checkpoints

    path = _plain(directory)
    return complete_checkpoints(Folder(files_for(path), path.rstrip("/") or "/"))


def at_prefix(files: Files, path: str) -> Located | None:
    """The checkpoint whose prefix, file or member file is ``path``; None if nothing is there."""
    directory, base = split(path)
    folder = Folder(files, directory)
    if folder.size(base + INDEX_SUFFIX) is not None:
        return bundle(folder, base)
    size = folder.size(base)
    if size is None:
        return None
    return _member(folder, base, size) or _by_content(folder, base)


def bundle(
    folder: Folder, base: str, *, index: str | None = None, notices: tuple[Problem, ...] = ()
) -> Located:
    """The V2 bundle ``base`` in ``folder``, whose index is there (as ``index``, if not usual)."""
    index_path = folder.join(index if index is not None else base + INDEX_SUFFIX)
    _refuse_foreign(folder.files, index_path)
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
    _refuse_pointer(folder.files, folder.join(file))
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
    _refuse_foreign(folder.files, index)
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
        _refuse_foreign(folder.files, found.index)
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
            return (), (_pointer_problem(path),)
        return (GraphSource(path, "meta_graph"),), ()
    texts = [name for name in folder.names if name.endswith(".pbtxt")]
    if not texts:
        return (), ()
    from ckpttool.formats.locating.choosing import text_graph

    return text_graph(folder, base, texts)


def _plain(path: str) -> str:
    """``path`` with ``~`` and ``file://`` resolved; backslashes and globs are left alone."""
    if not path:
        raise InputError(Problem("INP001", "the path is empty", hint="name a checkpoint"))
    if path[:7].lower() == "file://":
        from urllib.parse import unquote

        return "/" + unquote(path[7:].partition("/")[2])  # a host may stand before the slash
    if path.startswith("~") and not os.path.lexists(path):
        return os.path.expanduser(path)
    return path


def _member(folder: Folder, base: str, size: int) -> Located | None:
    """The checkpoint that ``base`` is a member file of, by its name; None if it is none."""
    if base.endswith(INDEX_SUFFIX):
        # A table by that name is an index; anything else is told by its content.
        if ends_like_table(folder.files, folder.join(base)):
            return bundle(folder, base[: -len(INDEX_SUFFIX)])
        _refuse_foreign(folder.files, folder.join(base))
        return bundle(folder, base[: -len(INDEX_SUFFIX)])
    if base.endswith(META_SUFFIX):
        return _of_meta(folder, base, size)
    shard = split_shard(base)
    if shard is None:
        return None
    if shard[1] == "-":
        if ends_like_table(folder.files, folder.join(base)):
            return v1_sharded(folder, shard[0])
        return None
    return _of_data(folder, base, shard[0])


def _of_meta(folder: Folder, name: str, size: int) -> Located:
    base = name[: -len(META_SUFFIX)]
    if folder.size(base + INDEX_SUFFIX) is not None:
        return bundle(folder, base)
    if folder.size(base) is not None and ends_like_table(folder.files, folder.join(base)):
        return _by_content(folder, base)
    found = v1_sharded(folder, base)
    if found is not None:
        return found
    if is_pointer(folder.files, folder.join(name), size):
        _refuse_pointer(folder.files, folder.join(name))
    _refuse_foreign(folder.files, folder.join(name), graph=True)
    return graph_alone(folder, name, "meta_graph")


def _of_data(folder: Folder, name: str, base: str) -> Located:
    """A data shard was typed: its index, an index without suffix, or the graph alone."""
    if folder.size(base + INDEX_SUFFIX) is not None:
        return bundle(folder, base)
    path = folder.join(base)
    if base and folder.size(base) is not None and ends_like_table(folder.files, path):
        return _by_content(folder, base)
    index = folder.join(base + INDEX_SUFFIX)
    message = "the index is missing: nothing says which tensors are in the data"
    problem = Problem(
        "INP001", message, folder.join(name), "a data shard alone", index,
        "copy the .index file here as well: it is small",
    )  # fmt: skip
    if folder.size(base + META_SUFFIX) is not None:
        return graph_alone(folder, base + META_SUFFIX, "meta_graph", notices=(problem,))
    raise InputError(problem)


def _by_content(folder: Folder, base: str) -> Located:
    from ckpttool.formats.locating.content import locate_file

    return locate_file(folder, base)


def _refuse_foreign(files: Files, path: str, *, graph: bool = False) -> None:
    """Raise if a file that should be a table (or a graph) is plainly something else."""
    if not graph and ends_like_table(files, path):
        return
    from ckpttool.formats.locating.sniff import foreign

    problem = foreign(files, path)
    if problem is not None:
        raise InputError(problem)


def _refuse_pointer(files: Files, path: str) -> None:
    size = size_of(files, path)
    if size is not None and is_pointer(files, path, size):
        raise InputError(_pointer_problem(path))


def _pointer_notices(files: Files, sizes: list[tuple[str, int]]) -> tuple[Problem, ...]:
    return tuple(_pointer_problem(path) for path, size in sizes if is_pointer(files, path, size))


def _pointer_problem(path: str) -> Problem:
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
