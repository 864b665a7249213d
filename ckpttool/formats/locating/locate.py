"""From what a person typed to the files of one checkpoint.

Imports nothing heavy: the magic numbers and siblings decide, not the extension alone.  A prefix
whose index is there costs three look-ups; a directory is listed only where that is not enough.
"""

from __future__ import annotations

import os

from ckpttool.errors import InputError, Problem
from ckpttool.formats.locating.folder import (
    Folder,
    ends_like_table,
    is_pointer,
    split_shard,
)
from ckpttool.formats.locating.located import (
    INDEX_SUFFIX,
    META_SUFFIX,
    Located,
    bundle,
    graph_alone,
    refuse_foreign,
    refuse_pointer,
    v1_sharded,
)
from ckpttool.storage.files import Files, files_for, is_url, split


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
        refuse_foreign(folder.files, folder.join(base))
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
        refuse_pointer(folder.files, folder.join(name))
    refuse_foreign(folder.files, folder.join(name), graph=True)
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
