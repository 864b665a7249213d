"""What a file is, by its bytes: the kinds that can be opened, and those met in their place.

The name is never asked.  Magic numbers are those of the formats' own documents; the two protobufs
without one (MetaGraphDef, GraphDef) are told apart by their first fields, see
``docs/formats/README.md``.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from ckpttool.errors import Problem
from ckpttool.formats.locating.folder import LFS_POINTER
from ckpttool.formats.tensorflow.state_file import STATE_START
from ckpttool.formats.tensorflow.table_writer import MAGIC
from ckpttool.storage.files import Files, RangedFile
from ckpttool.storage.wire import BYTES, FIXED64, VARINT, WireError, varint

HEAD_BYTES = 4096
SAFETENSORS_HEADER_CAP = 100_000_000  # the format's own limit
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_MAGIC_BYTES = MAGIC.to_bytes(8, "little")
_MASK_DELTA = 0xA282EAD8
_UNPACK = "unpack it first: {}"

# Beginnings that are no checkpoint: what it is, and what to do about it.
_FOREIGN: tuple[tuple[bytes, str, str | None], ...] = (
    (LFS_POINTER, "a Git LFS pointer", "git lfs pull"),
    (b"/annex/objects/", "a git-annex pointer", "git annex get"),
    (b"\x1f\x8b", "a gzip archive", _UNPACK.format("tar xzf, or gunzip")),
    (b"BZh", "a bzip2 archive", _UNPACK.format("tar xjf, or bunzip2")),
    (b"\xfd7zXZ\x00", "an xz archive", _UNPACK.format("tar xJf, or unxz")),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", _UNPACK.format("tar --zstd -xf, or unzstd")),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK.format("7z x")),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK.format("unrar x")),
    (b"\x93NUMPY", "a single NumPy array (.npy)", "put it into an .npz with a name of its own"),
    (b"GGUF", "a GGUF model", None),
    (b"\x89PNG", "a PNG image", None),
    (b"%PDF", "a PDF document", None),
    (b"\x7fELF", "a program", None),
)
_TORCH_LEGACY = b"\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19"  # PyTorch's magic, pickled
TORCH_HINT = "this tool reads TensorFlow, Keras, safetensors and npz; convert it with PyTorch"
_PICKLE_HINT = "a pickle runs code when it is loaded, so it is not opened"

# No part of these can take the same bytes in two ways: a few dozen of them would last for ever.
_HTML = rb"(?:\xef\xbb\xbf)?(?:\s|<!--(?:(?!-->).)*-->)*<(?:!doctype\s+html|html|head|body)\b"
_XML = rb"(?:\xef\xbb\xbf)?\s*<\?xml\b"
_PREFACE = rb"(?:\xef\xbb\xbf)?(?:\s|#[^\n]*\n)*"
_TEXT_GRAPH = (
    ("saved_model", rb"saved_model_schema_version\s*:|meta_graphs\s*:?\s*\{"),
    (
        "meta_graph",
        rb"(?:meta_info_def|graph_def|saver_def|collection_def|signature_def)\s*:?\s*\{",
    ),
    ("graph_def", rb"(?:node|versions|library)\s*:?\s*\{"),
)


class Kind(NamedTuple):
    """What a file is.

    ``name`` is ``table hdf5 zip safetensors json state saved_model meta_graph graph_def``, or
    ``empty``, ``cut`` (the beginning of a table), ``foreign`` or ``unknown``; ``what`` says it in
    words where it is no checkpoint, and ``hint`` what to do.
    """

    name: str
    what: str = ""
    hint: str | None = None


def sniff(file: RangedFile) -> Kind:
    """The kind of an open file."""
    head = file.pread(0, HEAD_BYTES)
    if not head:
        return Kind("empty", "an empty file", "was it copied whole?")
    if file.pread(max(0, file.size - 8), 8) == _MAGIC_BYTES:
        return Kind("table")
    return _magic(head, file) or _text(head) or _binary(head, file)


def sniff_path(files: Files, path: str) -> Kind:
    """:func:`sniff` for a path."""
    file = files.open(path)
    try:
        return sniff(file)
    finally:
        file.close()


def foreign(files: Files, path: str) -> Problem | None:
    """An INP003 if the file is plainly of another kind than any checkpoint; None if not."""
    kind = sniff_path(files, path)
    return refusal(kind, path) if kind.name == "foreign" else None


def refusal(kind: Kind, path: str) -> Problem:
    """Why a file of that kind cannot be opened."""
    if kind.name == "cut":
        return Problem("INP004", f"this file is cut short: it is {kind.what}", path, hint=kind.hint)
    if kind.name == "unknown":
        return Problem(
            "INP003", "this file is no checkpoint of a known kind", path, kind.what,
            hint="if it was one, it is cut short or damaged",
        )  # fmt: skip
    return Problem("INP003", f"this file is {kind.what}, not a checkpoint", path, hint=kind.hint)


def text_graph_kind(head: bytes) -> str | None:
    """``graph_def``, ``meta_graph`` or ``saved_model`` if a text begins like one; else None."""
    start = re.match(_PREFACE, head)
    rest = head[start.end() :] if start else head
    return next((name for name, pattern in _TEXT_GRAPH if re.match(pattern, rest)), None)


def _magic(head: bytes, file: RangedFile) -> Kind | None:
    for magic, what, hint in _FOREIGN:
        if head.startswith(magic):
            return Kind("foreign", what, hint)
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
        return Kind("zip")
    if _is_hdf5(head, file):
        return Kind("hdf5")
    if head[257:262] == b"ustar":
        return Kind("foreign", "a tar archive", _UNPACK.format("tar xf"))
    if head[4:8] == b"TFL3":
        return Kind("foreign", "a TensorFlow Lite model", None)
    length = int.from_bytes(head[:8], "little")
    if length <= SAFETENSORS_HEADER_CAP and head[8:].lstrip(b" ")[:1] == b"{":
        return Kind("safetensors")
    return _pickle(head)


def _is_hdf5(head: bytes, file: RangedFile) -> bool:
    """HDF5 begins at byte 0, 512, 1024, 2048, … behind a user block."""
    if head.startswith(HDF5_MAGIC):
        return True
    start = 512
    while start < min(file.size, 1 << 20):
        if file.pread(start, 8) == HDF5_MAGIC:
            return True
        start *= 2
    return False


def _pickle(head: bytes) -> Kind | None:
    if head[:1] != b"\x80" or head[1:2] not in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return None
    if _TORCH_LEGACY in head[:32]:
        return Kind("foreign", "a PyTorch file (old pickle format)", TORCH_HINT)
    return Kind("foreign", "a Python pickle", _PICKLE_HINT)


def _text(head: bytes) -> Kind | None:
    if re.match(_HTML, head, re.IGNORECASE | re.DOTALL):
        hint = "a download gave a web page: fetch the raw file"
        return Kind("foreign", "an HTML page", hint)
    if re.match(_XML, head):
        hint = "a download gave an error message or a page: fetch the raw file"
        return Kind("foreign", "an XML document", hint)
    if re.match(STATE_START, head):
        return Kind("state")
    kind = text_graph_kind(head)
    if kind:
        return Kind(kind)
    if re.match(rb"(?:\xef\xbb\xbf)?\s*\{", head):
        return Kind("json")
    return None


def _binary(head: bytes, file: RangedFile) -> Kind:
    if head[:2] == b"\x00\x00" and len(head) > 4:
        # A table's first entry: no shared bytes, the empty key, then its value.
        try:
            _, at = varint(head, 2, min(len(head), 12))
        except WireError:
            at = len(head)
        first = head[at : at + 1]
        if first in (b"\x0a", b"\x08", b"\x1a"):
            what = "a V1 checkpoint" if first == b"\x0a" else "the index of a V2 checkpoint"
            return Kind("cut", f"{what} without its end", "copy or download it again")
    records = _records(head, file)
    if records:
        return records
    graph = _graph(head, file)
    if graph:
        return graph
    return Kind("unknown", f"first bytes {head[:8].hex()}")


def _records(head: bytes, file: RangedFile) -> Kind | None:
    """A TFRecord: u64 length, the masked CRC-32C of these eight bytes, the record."""
    length = int.from_bytes(head[:8], "little")
    if len(head) < 16 or length > file.size - 16:
        return None
    from ckpttool.storage.crc32c import crc32c, mask

    if mask(crc32c(head[:8])) != int.from_bytes(head[8:12], "little"):
        return None
    if b"brain.Event:" in head[12:64]:
        return Kind("foreign", "a TensorBoard event file", "tensorboard --logdir")
    return Kind("foreign", "a TFRecord file", None)


def _graph(head: bytes, file: RangedFile) -> Kind | None:
    """A SavedModel, MetaGraphDef or GraphDef, or an ONNX model."""
    if head[0] == 0x08:
        version = head[1] if len(head) > 1 else 0
        if version == 1 and (len(head) == 2 or head[2:3] == b"\x12"):
            return Kind("saved_model")
        if 2 <= version <= 32 and head[2:3] in (b"\x12", b"\x1a", b"\x3a", b"\x42"):
            return Kind("foreign", "an ONNX model", None)
        return None
    if head[0] not in (0x0A, 0x12, 0x22):
        return None
    span = _field(head, 0, file.size)
    if span is None:
        return None
    start, end = span
    after = file.pread(end, 1)
    if after not in (b"", b"\x0a", b"\x12", b"\x1a", b"\x22", b"\x2a"):
        return None
    if head[0] == 0x0A:
        name = _field(head, start, end) if head[start : start + 1] == b"\x0a" else None
        # NodeDef: its name, then its op.  MetaInfoDef has neither two strings in that order.
        node = name is not None and head[name[1] : name[1] + 1] == b"\x12"
        if node and after != b"\x12":
            return Kind("graph_def")
        return Kind("meta_graph") if after in (b"\x12", b"") and _plausible(head, start) else None
    return (
        Kind("meta_graph" if head[0] == 0x12 else "graph_def") if _plausible(head, start) else None
    )


def _field(head: bytes, pos: int, end: int) -> tuple[int, int] | None:
    """Payload span of the length-delimited field at ``pos``; None if it does not fit."""
    try:
        length, start = varint(head, pos + 1, min(len(head), pos + 11))
    except WireError:
        return None
    return (start, start + length) if start + length <= end else None


def _plausible(head: bytes, pos: int) -> bool:
    """Whether a message with a small field number could begin at ``pos``."""
    tag = head[pos : pos + 1]
    return tag == b"" or (tag[0] >> 3 in range(1, 12) and tag[0] & 7 in (VARINT, FIXED64, BYTES))
