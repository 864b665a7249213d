"""What to open where the name of a file decides nothing: its content does."""

from __future__ import annotations

from ckpttool.errors import InputError, Problem, corrupt
from ckpttool.formats.locating.folder import Folder
from ckpttool.formats.locating.located import (
    INDEX_SUFFIX,
    META_SUFFIX,
    SAVED_MODELS,
    Located,
    bundle,
    graph_alone,
    saved_model,
    v1,
)
from ckpttool.formats.locating.sniff import Kind, refusal, sniff_path
from ckpttool.storage.files import RangedFile

_MAX_MEMBERS = 200_000


def locate_file(folder: Folder, name: str) -> Located:
    """The checkpoint in the regular file ``name``."""
    path = folder.join(name)
    kind = sniff_path(folder.files, path)
    if kind.name == "table":
        return _table(folder, name)
    if kind.name == "state":
        from ckpttool.formats.locating.choosing import locate_state

        return locate_state(folder, name)
    if kind.name == "saved_model":
        return saved_model(folder, file="" if name in SAVED_MODELS else name)
    if kind.name in ("meta_graph", "graph_def"):
        if name.endswith(META_SUFFIX) or kind.name == "meta_graph":
            return graph_alone(folder, name, "meta_graph")
        return graph_alone(folder, name, kind.name)
    row = _format_of(folder, kind, path)
    shards = () if kind.name == "json" else (path,)
    return Located(path, row, path, shards)


def _format_of(folder: Folder, kind: Kind, path: str) -> str:
    """The registry's name for files of one piece; raises for what is no checkpoint."""
    if kind.name == "safetensors" or (kind.name == "unknown" and path.endswith(".safetensors")):
        return "safetensors"  # what is wrong with its header its reader tells
    if kind.name == "hdf5":
        from ckpttool.formats.keras._h5 import is_legacy

        return "keras-h5" if is_legacy(folder.files, path) else "keras"
    if kind.name == "zip":
        file = folder.files.open(path)
        try:
            return _zip_format(file)
        finally:
            file.close()
    if kind.name == "json":
        return _json_format(folder, path)
    raise InputError(refusal(kind, path))


def _table(folder: Folder, name: str) -> Located:
    """A V1 file, or the index of a V2 bundle that lost its suffix: the header entry tells."""
    path = folder.join(name)
    file = folder.files.open(path)
    try:
        first = _header_byte(file)
    finally:
        file.close()
    if first == b"\x0a":
        return v1(folder, name, (name,), ())
    if first not in (b"\x08", b"\x1a", b""):
        problem = Problem("INP003", "this table is neither a V1 nor a V2 checkpoint", path)
        raise InputError(problem)
    expected = name + INDEX_SUFFIX
    notice = Problem(
        "INP003", "this is the index of a V2 checkpoint that lost its suffix", path, name, expected
    )
    return bundle(folder, name, index=name, notices=(notice,))


def _header_byte(file: RangedFile) -> bytes | None:
    """The first byte of the value under the empty key; None if the table has no such key."""
    head = file.pread(0, 16)
    if head[:2] == b"\x00\x00":  # an uncompressed block whose first key is empty
        pos = 2
        while pos < 12 and head[pos : pos + 1] >= b"\x80":
            pos += 1
        return head[pos + 1 : pos + 2] if head[2:3] != b"\x00" else b""
    from ckpttool.formats.tensorflow.table import Table

    value = Table(file, preload=0).get(b"")
    return (
        None if value is None else value.file.pread(value.start, min(1, value.stop - value.start))
    )


def _zip_format(file: RangedFile) -> str:
    from ckpttool.formats.zip_file import open_zip

    archive = open_zip(file)
    with archive:
        names = archive.namelist()[:_MAX_MEMBERS]
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        from ckpttool.formats.locating.sniff import TORCH_HINT

        what = "this file is a PyTorch file (zip format), not a checkpoint"
        raise InputError(Problem("INP003", what, file.path, hint=TORCH_HINT))
    if "config.json" in names and any(name.startswith("model.weights.") for name in names):
        return "keras-archive"
    if not names or any(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.rsplit("/", 1)[-1].endswith((".pb", INDEX_SUFFIX)) for name in names):
        what = "this file is a zip archive with a checkpoint inside"
    else:
        what = "this file is a zip archive, not a checkpoint"
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    raise InputError(Problem("INP003", what, file.path, shown, hint="unpack it first: unzip"))


def _json_format(folder: Folder, path: str) -> str:
    """Which weight map it is: that of safetensors shards, or of Keras shards."""
    from ckpttool.formats.weight_map import read_weight_map

    shards = read_weight_map(folder.files, path).values()
    names = [name for group in shards for name in group]
    if all(name.endswith(".safetensors") for name in names):
        return "safetensors"
    if all(name.endswith((".h5", ".hdf5")) for name in names):
        return "keras"
    raise corrupt("the weight map names files of an unknown kind", path, found=names[0])
