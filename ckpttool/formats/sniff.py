"""What a file is by its content: the magic numbers of what people have in a checkpoint's place."""

from __future__ import annotations

from typing import NamedTuple

from ckpttool.storage.files import RangedFile

TABLE_MAGIC = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # the last 8 bytes of a LevelDB-style table
LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_HEAD = 4096
_MAX_ZIP_MEMBERS = 100_000


class Kind(NamedTuple):
    """``format`` is what can be read (``table hdf5 zip-keras zip-npz safetensors graph text``), or
    empty for what cannot; ``title`` names it, and ``hint`` says what to do instead."""

    format: str
    title: str
    hint: str | None = None


def sniff(file: RangedFile) -> Kind | None:
    """What the open file is; None if nothing is recognized."""
    head = file.pread(0, _HEAD)
    if not head:
        return Kind("", "an empty file", "copy or download it again")
    if file.size >= 48 and file.pread(file.size - 8, 8) == TABLE_MAGIC:
        return Kind("table", "a TensorFlow table")
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return Kind("hdf5", "an HDF5 file")
    if head.startswith(b"PK\x03\x04"):
        return _zip(file)
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= file.size - 8:
        return Kind("safetensors", "a safetensors file")
    return _foreign(head, file) or _graph(head)


def _foreign(head: bytes, file: RangedFile) -> Kind | None:
    if head.startswith(LFS_POINTER):
        return Kind(
            "",
            "a Git LFS pointer, not the file itself",
            "git lfs pull, in the repository it is from",
        )
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        if head[2:14] == b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19":
            return Kind("", "a PyTorch file (legacy pickle)", "torch.load reads it")
        return Kind("", "a Python pickle", "pickles run code when loaded, so it is not opened")
    text = head.lstrip()[:64].lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return Kind("", "a web page, not a checkpoint", "the download was answered by a page")
    for magic, title, hint in _ARCHIVES:
        if head.startswith(magic):
            return Kind("", title, hint)
    if head[257:262] == b"ustar":
        return Kind("", "a tar archive", "unpack it first: tar xf FILE")
    if head[4:8] == b"TFL3":
        return Kind("", "a TensorFlow Lite model", "its weights are quantized and fused")
    if head.startswith(b"\x93NUMPY"):
        return Kind("", "a single NumPy array (.npy)", "numpy.load reads it")
    return _records(head, file)


_ARCHIVES = (
    (b"\x1f\x8b", "a gzip file", "unpack it first: tar xzf FILE, or gunzip"),
    (b"BZh", "a bzip2 file", "unpack it first: tar xjf FILE, or bunzip2"),
    (b"\xfd7zXZ\x00", "an xz file", "unpack it first: tar xJf FILE, or unxz"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it first: unzstd FILE"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
)


def _records(head: bytes, file: RangedFile) -> Kind | None:
    """TFRecord: a length, its masked CRC32C, the record."""
    if len(head) < 16:
        return None
    from ckpttool.storage.crc32c import crc32c, mask

    length = int.from_bytes(head[:8], "little")
    stored = int.from_bytes(head[8:12], "little")
    if length + 16 <= file.size and mask(crc32c(head[:8])) == stored:
        return Kind("", "a TFRecord file (events or examples)", "it holds no checkpoint")
    return None


def _graph(head: bytes) -> Kind | None:
    """A graph, in text or binary form, as far as its first bytes can tell."""
    start = head.lstrip()[:2000]
    fields = (b"model_checkpoint_path", b"all_model_checkpoint_paths")
    if any(line.strip().startswith(fields) for line in start.split(b"\n")):
        return Kind("state", "a checkpoint state file")
    if start.startswith((b"meta_info_def", b"graph_def", b"saver_def", b"node {", b"node{")):
        return Kind("graph", "a graph in text form")
    if start.startswith((b"saved_model_schema_version", b"meta_graphs")):
        return Kind("saved-model", "a SavedModel in text form")
    if head[:1] == b"\x0a" and b"\x0a" in head[1:8] and b"\x12" in head[2:256]:
        return Kind("graph", "a binary graph")
    return None


def _zip(file: RangedFile) -> Kind:
    """Which zip: by the names in it, which the central directory lists."""
    import zipfile

    from ckpttool.storage.streams import as_stream

    try:
        with zipfile.ZipFile(as_stream(file)) as archive:
            names = archive.namelist()[:_MAX_ZIP_MEMBERS]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return Kind("", "a damaged zip archive", "copy or download it again")
    if "config.json" in names and any(name.endswith("model.weights.h5") for name in names):
        return Kind("zip-keras", "a .keras archive")
    if any(name.endswith("/data.pkl") or name == "data.pkl" for name in names):
        return Kind("", "a PyTorch file (zip)", "torch.load(…, weights_only=True) reads it")
    if names and all(name.endswith(".npy") for name in names):
        return Kind("zip-npz", "an .npz file")
    return Kind("", "a zip archive", "unpack it first: unzip FILE")
