"""Write ``.npz`` that ``numpy.load`` reads without pickle.

A tensor's name is its key.  Members are stored, not compressed, and dated 1980; each is what
``numpy.save`` writes.  There is no place for metadata.  A dtype that NumPy does not have
(bfloat16, float8, quantized types) would come back as bytes of unknown meaning, and a string
loses zero bytes at its end: both are refused.  Source: ``numpy/numpy:numpy/lib/format.py``.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from ckpttool.formats._file_writer import (
    FilePlan,
    FileWriter,
    Refusal,
    Spec,
    nbytes,
    pieces,
)
from ckpttool.formats._stored_zip import StoredZip
from ckpttool.formats.writing import Follow, Output, Progress, WriteOptions
from ckpttool.names import printable
from ckpttool.storage.atomic import Staged
from ckpttool.tensors import Shape, dtype_named

SUFFIX = ".npz"
MAX_RANK = 32  # of NumPy before 2.0
MAX_NAME_BYTES = 65_531  # with `.npy` what a zip's directory can hold

_MEMBER = ".npy"
_ALIGNMENT = 64
_GROWTH_DIGITS = 21  # NumPy leaves room for the first size to grow in place
_MAGIC: Final = b"\x93NUMPY\1\0"
_DRIVE = re.compile("[A-Za-z]:")


class NpzWriter(FileWriter):
    """One ``.npz``."""

    format = "npz"
    suffix = SUFFIX

    def plans(self, outputs: Sequence[Output]) -> list[FilePlan]:
        """The one file."""

        def write(staged: Staged, progress: Progress, _: Follow) -> None:
            # Nobody follows: the archive has checksums of its own, which its reader checks.
            staged.reserve(sum(map(nbytes, outputs)))
            archive = StoredZip(staged)
            for output in outputs:
                _member(archive, staged, output, progress)
            archive.finish()

        return [FilePlan(self.path, write)]


def _member(archive: StoredZip, staged: Staged, output: Output, progress: Progress) -> None:
    header = npy_header(output.dtype, output.shape)
    archive.begin(output.name + _MEMBER, len(header) + nbytes(output))
    staged.write(header)
    crc = zlib.crc32(header)
    for piece in pieces(output):
        staged.write(piece)
        crc = zlib.crc32(piece, crc)
        progress(len(piece))
    archive.end(crc)


def npy_header(dtype: str, shape: Shape) -> bytes:
    """The start of a ``.npy`` in C order, as ``numpy.save`` writes it."""
    descr = dtype_named(dtype).numpy.newbyteorder("<").str
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    if shape:
        text += " " * (_GROWTH_DIGITS - len(str(shape[0])))
    size = len(_MAGIC) + 2 + len(text) + 1
    # Where it fits already, NumPy adds a whole line of blanks.
    text += " " * (_ALIGNMENT - size % _ALIGNMENT) + "\n"
    return _MAGIC + len(text).to_bytes(2, "little") + text.encode("ascii")


def refusals(specs: Sequence[Spec], options: WriteOptions) -> Iterator[Refusal]:
    """For each tensor that NumPy could not load as it is: its name, why, and what was found."""
    names = {name for name, _, _ in specs}
    for name, dtype, shape in specs:
        why = _bad_dtype(dtype)
        if why:
            yield name, why, dtype
            continue
        if len(shape) > MAX_RANK:
            why = f"NumPy before 2.0 has at most {MAX_RANK} dimensions"
            yield name, why, f"{len(shape)} dimensions"
            continue
        why = _bad_name(name)
        if not why and name.endswith(_MEMBER) and name.removesuffix(_MEMBER) in names:
            why = f"numpy.load would give another array for this name: the one without {_MEMBER}"
        if why:
            yield name, why, printable(name)


def _bad_dtype(dtype: str) -> str | None:
    known = dtype_named(dtype)
    if known.kind == "string":
        return "NumPy drops zero bytes at the end of a string"
    if known.kind == "quantized":
        return f"NumPy has no {dtype}; cast it to {known.array_type}"
    if known.array_type is None:
        return f"NumPy has no {dtype}"
    if known.numpy.isbuiltin != 1:
        wider = "float32, say" if known.kind == "float" else f"{known.kind}8"
        return f"NumPy has no {dtype}; cast it to {wider}"
    return None


def _bad_name(name: str) -> str | None:
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "the name is not UTF-8"
    if size > MAX_NAME_BYTES:
        return f"the name is longer than {MAX_NAME_BYTES} bytes"
    if "\0" in name:
        return "the name has a zero byte, where zip readers would end it"
    if "\\" in name:
        return "the name has a backslash, which is a separator elsewhere"
    if name.startswith("/") or _DRIVE.match(name):
        return "the name is an absolute path: unpacked, it would leave its folder"
    if ".." in name.split("/"):
        return "the name has `..`: unpacked, it would leave its folder"
    return None


def create(
    path: str,
    *,
    options: WriteOptions = WriteOptions(),  # noqa: B008  # immutable
    force: bool = False,
    sources: Iterable[str] = (),
) -> NpzWriter:
    """A writer of ``path``; raises :class:`OutputError` where the output cannot go."""
    return NpzWriter(path, options, force, sources, refusals)
