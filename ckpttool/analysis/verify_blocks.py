"""The parts of a table that no tensor needs to be read: every block, the metaindex, the footer."""

from __future__ import annotations

from ckpttool.analysis.verify_data import BLOCK
from ckpttool.analysis.verify_model import Span
from ckpttool.errors import CkptError, Problem
from ckpttool.formats.tensorflow.table import TRAILER_BYTES, Block, Table
from ckpttool.formats.tensorflow.table_writer import FOOTER_BYTES
from ckpttool.names import decode_name
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.files import RangedFile, files_for
from ckpttool.storage.wire import WireError, varint

_MAGIC_BYTES = 8
_MAX_TOLD = 100


class TableCheck:
    """All blocks of the table at ``path``; ``skip`` are offsets that were checked already.

    ``lost`` says in words which keys the block at an offset holds: those of a damaged one are lost.
    """

    def __init__(self, path: str, skip: frozenset[int] = frozenset()) -> None:
        self.faults: list[Problem] = []
        self.unreferenced: list[Span] = []
        self.bytes_read = 0
        self.lost: dict[int, str] = {}
        file = files_for(path).open(path)
        try:
            blocks = Table(file, preload=0).blocks
            self._name(blocks, skip)
            self._check(file, [(item.offset, item.size) for item in blocks], skip)
        except CkptError as error:
            self.faults += error.problems
        finally:
            file.close()

    def _name(self, blocks: list[Block], skip: frozenset[int]) -> None:
        before = b""
        for block in blocks:
            if block.offset in skip:
                after = f"after {decode_name(before)} and " if before else ""
                self.lost[block.offset] = f"{after}not after {decode_name(block.separator)}"
            before = block.separator

    def _check(self, file: RangedFile, blocks: list[tuple[int, int]], skip: frozenset[int]) -> None:
        start = file.size - FOOTER_BYTES
        footer = file.pread(start, FOOTER_BYTES)
        try:
            pos = 0
            numbers = []
            for _ in range(4):
                number, pos = varint(footer, pos, FOOTER_BYTES - _MAGIC_BYTES)
                numbers.append(number)
        except WireError:
            return  # the table did not open
        if any(footer[pos:-_MAGIC_BYTES]):
            what = "the footer of the table is not as it was written"
            self.faults.append(Problem("INP004", what, f"{file.path}: byte {start + pos}"))
        meta, index = (numbers[0], numbers[1]), (numbers[2], numbers[3])
        if meta[0] + meta[1] + TRAILER_BYTES > start:
            what = "a block handle points outside the file"
            found = f"{meta[1]} bytes at {meta[0]}"
            self.faults.append(Problem("INP004", what, f"{file.path}: byte {start}", found))
        else:
            blocks.append(meta)
        end = 0
        for offset, size in sorted([*blocks, index]):
            if offset > end and len(self.unreferenced) < _MAX_TOLD:
                self.unreferenced.append(Span(file.path, end, offset))
            end = max(end, offset + size + TRAILER_BYTES)
            if offset not in skip:
                self._block(file, offset, size)
        if start > end:
            self.unreferenced.append(Span(file.path, end, start))

    def _block(self, file: RangedFile, offset: int, size: int) -> None:
        crc = 0
        for position in range(0, size + 1, BLOCK):
            piece = file.pread(offset + position, min(BLOCK, size + 1 - position))
            crc = crc32c(piece, crc)
        self.bytes_read += size + TRAILER_BYTES
        stored = int.from_bytes(file.pread(offset + size + 1, 4), "little")
        if mask(crc) != stored:
            self.faults.append(
                Problem(
                    "INP005",
                    "the checksum of a table block does not match",
                    f"{file.path}: byte {offset}",
                    f"{mask(crc):08x}",
                    f"{stored:08x}",
                )
            )
