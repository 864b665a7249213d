"""What to make of a path that is not there: a prefix cut short, V1 shards, a graph, a mistake."""

from __future__ import annotations

import os
from contextlib import suppress

from ckpttool.errors import InputError, Problem
from ckpttool.formats.locating.choosing import (
    STATE_NAME,
    listed,
    named,
    rank_of,
    several,
    try_command,
    with_notices,
)
from ckpttool.formats.locating.folder import Folder, split_shard
from ckpttool.formats.locating.folder_scan import Scan
from ckpttool.formats.locating.located import INDEX_SUFFIX, META_SUFFIX, Located, graph_alone
from ckpttool.names import nearest
from ckpttool.storage.files import is_url


def locate_absent(folder: Folder, base: str, path: str) -> Located:
    """What ``base`` in ``folder`` may mean though there is no file of that name."""
    found = named(folder, base)
    if found is not None:
        return found
    for suffix in (INDEX_SUFFIX, META_SUFFIX):
        if base.endswith(suffix):
            found = named(folder, base[: -len(suffix)])
    shard = split_shard(base)
    if found is None and shard is not None:
        found = named(folder, shard[0])
        if found is not None and "?" in base:  # the pattern by which V1 state files call it
            return found
    if found is not None:
        notice = Problem("INP001", "no such file, but its checkpoint is here", path, found.path)
        return with_notices(found, (notice,))
    if folder.size(base + META_SUFFIX) is not None:
        return graph_alone(folder, base + META_SUFFIX, "meta_graph")
    scan = Scan(folder.names)
    if base in scan.data:
        message = "the index is missing: nothing says which tensors are in the data"
        expected = folder.join(base + INDEX_SUFFIX)
        hint = "copy the .index file here as well: it is small"
        raise InputError(Problem("INP001", message, path, "data shards alone", expected, hint))
    return _extended(folder, scan, base, path)


def _no_file(path: str) -> Problem:
    """What is there, and is no file: a device, a pipe, a link that leads nowhere."""
    if os.path.islink(path) and not os.path.exists(path):
        with suppress(OSError):
            return Problem("INP002", "a link that leads nowhere", path, os.readlink(path))
    return Problem("INP002", "not a regular file", path)


def _extended(folder: Folder, scan: Scan, base: str, path: str) -> Located:
    """The one prefix that begins with what was typed (``model.ckpt`` for ``model.ckpt-168``)."""
    known = scan.prefixes()
    marks = ("-", ".", "_")
    longer = [name for name in known if base and name.startswith(tuple(base + m for m in marks))]
    longer.sort(key=lambda name: (-rank_of(name), name))
    if len(longer) == 1:
        found = named(folder, longer[0])
        if found is None:
            found = graph_alone(folder, longer[0] + META_SUFFIX, "meta_graph")
        message = "nothing is called exactly so; the only checkpoint that begins so was taken"
        return with_notices(found, (Problem("INP001", message, path, found.path),))
    if longer:
        raise InputError(several(folder, [folder.join(name) for name in longer], path))
    raise InputError(_no_checkpoint(folder, scan, base, path))


def _no_checkpoint(folder: Folder, scan: Scan, base: str, path: str) -> Problem:
    for there in (path, folder.join(base + INDEX_SUFFIX)):
        if not is_url(path) and os.path.lexists(there):
            return _no_file(there)
    if not folder.names and not folder.files.is_dir(folder.path or "."):
        return Problem("INP001", "no checkpoint at this path", path, "no such directory")
    known = [*scan.prefixes(), *(name for _, name in scan.weight_files())]
    message = "no checkpoint at this path"
    if not known:
        if STATE_NAME in folder.names:
            return Problem("INP001", message, path, "a state file only", hint=None)
        return Problem("INP001", message, path, "no checkpoint in its directory")
    close = nearest(base, known, 1) or sorted(known)[:1]
    known.sort(key=lambda name: (-rank_of(name), name))
    return Problem(
        "INP001", message, path, listed(known),
        hint=f"nearest: {folder.join(close[0])}; {try_command(folder.join(close[0]))}",
    )  # fmt: skip
