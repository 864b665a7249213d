"""Read ``.npz``: a zip with one ``.npy`` member for each array.

Names, dtypes and shapes come from the members' own headers, parsed here without NumPy and without
evaluating anything.  Arrays of pickled objects are listed and never decoded.  Source:
``numpy/numpy:numpy/lib/format.py``.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import CkptError, InputError, Problem, corrupt
from ckpttool.formats.arrays import ArrayReader, BlockStream, Damage, blocks_of, checked_shape
from ckpttool.formats.base import CHUNK_BYTES, CheckpointInfo
from ckpttool.formats.locating.located import Located
from ckpttool.formats.streaming import Stream, elements
from ckpttool.formats.zip_file import MemberStream, open_zip
from ckpttool.storage.files import files_for
from ckpttool.tensors import Shape, TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

MAX_HEADER = 64 << 10  # NumPy refuses headers above 10,000 characters
PIECE_BYTES = 1 << 20
MAX_EMPTY = 16 << 20  # strings of no characters: they take no byte, so no size bounds them

_MAGIC = b"\x93NUMPY"
_SUFFIX = ".npy"
# One key of the header's dict; the dict has each of the three once, in any order.
_ITEM = (
    r"\s*(?:'descr'\s*:\s*(?:'([^'\\]*)'|(\[[^{}]*\]|\([^{}]*\)))"
    r"|'fortran_order'\s*:\s*(True|False)"
    r"|'shape'\s*:\s*\(([0-9L,\s]*)\))\s*"
)
_HEADER = r"\{" + ",".join([_ITEM] * 3) + r"(?:,\s*)?\}\s*"
_KINDS = {
    "b1": "bool", "i1": "int8", "i2": "int16", "i4": "int32", "i8": "int64",
    "u1": "uint8", "u2": "uint16", "u4": "uint32", "u8": "uint64",
    "f2": "float16", "f4": "float32", "f8": "float64", "c8": "complex64", "c16": "complex128",
}  # fmt: skip
_TEXT = re.compile(r"([SU])([0-9]{1,9})")


class Header(NamedTuple):
    """A ``.npy`` header: ``size`` is its own length, ``descr`` the dtype as written."""

    descr: str
    fortran: bool
    shape: Shape
    size: int

    @property
    def element(self) -> str:
        """The dtype without its byte order; empty where it begins with none."""
        return self.descr[1:] if self.descr.startswith(("<", ">", "|", "=")) else ""

    @property
    def itemsize(self) -> int:
        """Bytes of one stored element; 0 where they cannot be decoded."""
        text = _TEXT.fullmatch(self.element)
        if text:
            return int(text[2]) * (4 if text[1] == "U" else 1)
        return dtype_named(self.dtype).itemsize

    @property
    def dtype(self) -> str:
        """TensorFlow's name; for what it has none, NumPy's description (opaque)."""
        if _TEXT.fullmatch(self.element):
            return "string"
        if self.descr[:1] in "[(":
            return "structured"
        return _KINDS.get(self.element) or ("object" if self.descr == "|O" else self.descr)

    @property
    def in_c_order(self) -> bool:
        """Whether the bytes lie in C order; with one long axis both orders are the same.

        So they are where no byte is stored: an array without elements, or of empty strings.
        """
        long = sum(size > 1 for size in self.shape)
        return not self.fortran or long < 2 or not prod(self.shape) or not self.itemsize


class NpzReader(ArrayReader):
    """An open ``.npz``."""

    def __init__(self, located: Located) -> None:
        """Read the archive's directory and every array's header."""
        path = located.index or located.path
        self._file = files_for(path).open(path)
        self._damage = Damage(path)
        self._members: dict[str, tuple[zipfile.ZipInfo, Header]] = {}
        try:
            self._archive = open_zip(self._file)
            others = self._list()
        except CkptError:
            self._file.close()
            raise
        notices = list(located.notices)
        if others:
            message = f"{len(others)} members of the archive are no arrays"
            notices.append(Problem("INP003", message, path, ", ".join(others[:5])))
        self.specs = {
            name: TensorSpec(name, header.dtype, header.shape)
            for name, (_, header) in self._members.items()
        }
        self.info = CheckpointInfo(
            path=located.path,
            format=located.format,
            shards=1,
            files=(path,),
            notices=tuple(notices),
            damage=self._damage.all(),
        )

    def stored_bytes(self, name: str) -> int:
        """Bytes of the array's elements, before packing."""
        self.spec(name)
        member, header = self._members[name]
        return member.file_size - header.size

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()
        self._file.close()

    def _list(self) -> list[str]:
        """Read all headers; returns the names of members that are no arrays."""
        others = []
        for member in self._archive.infolist():
            name = member.filename
            if name.endswith("/"):
                continue
            if not name.endswith(_SUFFIX):
                others.append(name)
                continue
            name = name[: -len(_SUFFIX)]
            if name in self._members:
                problem = Problem("INP004", f"array {name} is there twice", self._file.path)
                self._damage.add(problem)
                continue
            try:
                self._members[name] = (member, self._header(member))
            except CkptError as error:
                self._damage.add(error.problems[0])
        return others

    def _header(self, member: zipfile.ZipInfo) -> Header:
        stream = MemberStream(self._archive, member, self._file.path)
        try:
            header = read_npy_header(stream)
        finally:
            stream.close()
        expected = header.size + prod(header.shape) * header.itemsize
        if header.dtype == "string" and not header.itemsize and prod(header.shape) > MAX_EMPTY:
            raise corrupt(
                "an array of strings without characters is too large", stream.where, code="INP009",
                found=prod(header.shape), expected=f"≤ {MAX_EMPTY}",
            )  # fmt: skip
        if header.itemsize and member.file_size != expected:
            raise corrupt(
                "an array has another size than its shape", stream.where,
                found=f"{member.file_size} bytes", expected=f"{expected} bytes",
            )  # fmt: skip
        return header

    def _whole(self, name: str) -> Stream:
        member, header = self._members[name]
        stream = MemberStream(self._archive, member, self._file.path)
        stream.read(header.size)
        blocks = _in_order(stream, header) if header.in_c_order else _reordered(stream, header)
        return BlockStream(prod(header.shape), blocks)


def read_npy_header(stream: MemberStream) -> Header:
    """Parse the header at the start of a ``.npy`` stream."""
    start = stream.read(8)
    if start[:6] != _MAGIC or start[6] not in (1, 2, 3):
        raise corrupt("the member is no .npy array", stream.where, 0, found=start[:8].hex())
    width = 2 if start[6] == 1 else 4
    length = int.from_bytes(stream.read(width), "little")
    if length > MAX_HEADER:
        found, expected = f"{length} bytes", f"≤ {MAX_HEADER}"
        raise corrupt(
            "the array's header is too large", stream.where, 8, code="INP009",
            found=found, expected=expected,
        )  # fmt: skip
    raw = stream.read(length)
    return parse_npy_header(
        raw.decode("utf-8" if start[6] == 3 else "latin-1", "replace"),
        8 + width + length,
        stream.where,
    )


def parse_npy_header(text: str, size: int, where: str) -> Header:
    """The three keys of a header's dict literal; anything else is refused, nothing is evaluated."""
    match = re.fullmatch(_HEADER, text)
    groups = match.groups() if match else ()
    plain, fields, fortran, shapes = (
        [value for value in groups[column::4] if value is not None] for column in range(4)
    )
    if len(plain) + len(fields) != 1 or len(fortran) != 1 or len(shapes) != 1:
        raise corrupt("the array's header cannot be parsed", where, 10, found=repr(text[:60]))
    try:
        sizes = [int(part.strip().rstrip("L")) for part in shapes[0].split(",") if part.strip()]
    except ValueError as error:
        raise corrupt("the array's shape cannot be parsed", where, found=shapes[0][:80]) from error
    shape = checked_shape(sizes, "the array", where)
    return Header((plain or fields)[0], fortran[0] == "True", shape, size)


def _in_order(stream: MemberStream, header: Header) -> Iterator[Array]:
    """The elements as they come."""
    if not prod(header.shape):
        return
    step = max(1, PIECE_BYTES // max(1, header.itemsize)) * header.itemsize
    if not header.itemsize:  # strings of no characters: nothing is stored
        for start in range(0, prod(header.shape), PIECE_BYTES):
            yield _decode(b"", header, min(PIECE_BYTES, prod(header.shape) - start))
        return
    for piece in stream.pieces(step):
        yield _decode(piece, header, len(piece) // header.itemsize, stream.where)


def _reordered(stream: MemberStream, header: Header) -> Iterator[Array]:
    """The elements of an array in Fortran order, in C order.

    Rows are spread over the whole array, so its bytes go to a temporary file first, which is
    mapped: it takes disk, not memory.
    """
    import tempfile

    import numpy as np

    with tempfile.TemporaryFile(prefix="ckpttool-") as file:
        try:
            for piece in stream.pieces(PIECE_BYTES):
                file.write(piece)
            file.flush()
            item = np.dtype((np.void, header.itemsize))
            whole = np.memmap(file, item, "r", shape=header.shape, order="F")
        except OSError as error:
            message = f"no room to turn the array around: {error.strerror or error}"
            raise InputError(Problem("INP002", message, stream.where)) from error
        for block in blocks_of(header.shape, max(1, CHUNK_BYTES // header.itemsize)):
            part = whole[block]
            yield _decode(part.tobytes(), header, part.size, stream.where)


def _decode(data: bytes, header: Header, count: int, where: str = "") -> Array:
    import numpy as np

    text = _TEXT.fullmatch(header.element)
    if not text:
        return elements(data, dtype_named(header.dtype), header.descr[0] == ">")
    out = np.empty(count, object)
    if not header.itemsize:
        out[:] = b""
        return out
    fixed = np.frombuffer(data, header.descr)
    if text[1] == "S":
        out[:] = fixed.tolist()
    else:
        try:
            out[:] = [item.encode("utf-8", "surrogatepass") for item in fixed.tolist()]
        # NumPy hands a code point beyond Unicode to Python, which answers SystemError.
        except (ValueError, SystemError) as error:
            raise corrupt(f"the array holds what is no text: {error}", where) from error
    return out


def open_npz(located: Located) -> NpzReader:
    """Open a located ``.npz``."""
    return NpzReader(located)
