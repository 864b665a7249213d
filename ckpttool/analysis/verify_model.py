"""What verifying found: results that renderers show and a salvage can go by."""

from __future__ import annotations

from typing import NamedTuple

from ckpttool.errors import Problem
from ckpttool.tensors import Slice

# Why a tensor is damaged, in a word, by the code of its problem where nothing else tells.
REASONS = {
    "INP004": "damaged",
    "INP005": "checksum",
    "INP006": "missing_shard",
    "INP007": "truncated",
    "INP008": "slices",
    "INP009": "cap",
    "INP012": "missing_shard",
    "INP016": "elsewhere",
}

INTACT = "intact"
DAMAGED = "damaged"
UNREADABLE = "unreadable"


class DamagedTensor(NamedTuple):
    """A tensor, or one slice of it, that is not what it should be.

    ``reason`` is one of ``checksum truncated missing_shard slices size index damaged cap
    elsewhere``.  Its stored bytes are ``path[start:end]`` where that is known; ``slice`` is the
    part of a partitioned variable that is meant, None if it is the whole.
    """

    name: str
    reason: str
    problem: Problem
    path: str | None = None
    start: int | None = None
    end: int | None = None
    slice: Slice | None = None


class Span(NamedTuple):
    """Bytes ``[start, end)`` of a file."""

    path: str
    start: int
    end: int


class Against(NamedTuple):
    """A second reading by another engine: how many tensors were compared, and what differs."""

    engine: str
    version: str
    compared: int
    differing: tuple[DamagedTensor, ...]
    faults: tuple[Problem, ...]


class VerifyResult(NamedTuple):
    """One checkpoint, verified.

    ``names`` are the tensors that are listed, ``damaged`` those that are not whole (a name may be
    there several times, once a damaged slice), and ``unchecked`` those that could be read though
    nothing vouches for their bytes: the format has no checksum, or the dtype cannot be decoded.
    ``faults`` is damage that is no single tensor's, ``unreferenced`` bytes that no tensor uses.
    ``quick``: no data was read, so that checksums of tensors were not checked.  ``opened`` is
    false if not one tensor could be listed, for the index is missing or damaged.
    """

    path: str
    format: str | None
    title: str | None
    step: int | None
    shards: int
    names: tuple[str, ...] = ()
    damaged: tuple[DamagedTensor, ...] = ()
    unchecked: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    faults: tuple[Problem, ...] = ()
    unreferenced: tuple[Span, ...] = ()
    notices: tuple[Problem, ...] = ()
    bytes_read: int = 0
    quick: bool = False
    against: Against | None = None
    opened: bool = True

    @property
    def damaged_names(self) -> frozenset[str]:
        """Names of tensors that are not whole."""
        return frozenset(item.name for item in self.damaged)

    @property
    def readable(self) -> tuple[str, ...]:
        """Tensors that can be read and are not known to be damaged, in the file's order."""
        bad = self.damaged_names
        return tuple(name for name in self.names if name not in bad)

    @property
    def intact(self) -> tuple[str, ...]:
        """Tensors that a checksum (in a quick run: the index) vouches for, in the file's order."""
        out = self.damaged_names | frozenset(self.unchecked)
        return tuple(name for name in self.names if name not in out)

    @property
    def status(self) -> str:
        """``intact``, ``damaged`` or ``unreadable`` (nothing of it can be told)."""
        if not self.opened:
            return UNREADABLE
        other = self.against is not None and (self.against.differing or self.against.faults)
        return DAMAGED if self.damaged or self.missing or self.faults or other else INTACT


class DirectoryResult(NamedTuple):
    """The checkpoints of a directory, oldest first, and what its state file says of them.

    ``newest`` is the path of the newest one without damage; ``faults`` are those of the state
    file, ``state`` is its path if there is one.
    """

    path: str
    checkpoints: tuple[VerifyResult, ...]
    newest: str | None
    state: str | None = None
    faults: tuple[Problem, ...] = ()
    notices: tuple[Problem, ...] = ()


def damaged(
    name: str, problem: Problem, reason: str | None = None, span: Span | None = None
) -> DamagedTensor:
    """A damaged tensor from what a reader said; the place is the problem's if there is no span."""
    found = span if span is not None else _place(problem)
    path, start, end = (None, None, None) if found is None else found
    if span is None and start is not None:
        end = None  # where it begins is all that the problem says
    return DamagedTensor(
        name, reason or REASONS.get(problem.code, "damaged"), problem, path, start, end
    )


def _place(problem: Problem) -> Span | None:
    path, mark, number = (problem.where or "").rpartition(": byte ")
    if mark and number.isascii() and number.isdigit():
        return Span(path, int(number), int(number))
    return None
