"""What the writers of plain files share: checks, streaming, committing.

A writer says which files its tensors make, and how each is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from math import prod
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import OutputError, Problem
from ckpttool.formats.copying import Run, copy_runs
from ckpttool.formats.locating.located import Located
from ckpttool.formats.writing import (
    Follow,
    Names,
    Output,
    Progress,
    Span,
    WriteOptions,
    Written,
    ignore,
)
from ckpttool.names import printable
from ckpttool.storage.atomic import OutputGroup, Staged
from ckpttool.storage.files import join, split
from ckpttool.tensors import Shape, dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Spec = tuple[str, str, Shape]
Refusal = tuple[str, str, str]


class FilePlan(NamedTuple):
    """One file of the output: its final path, and what writes it into the staged file."""

    final: str
    write: Callable[[Staged, Progress, Follow], None]


class FileWriter:
    """One output of plain files.  Use it as a context; leaving it without commit undoes all."""

    format = ""
    suffix = ""

    def __init__(
        self, path: str, options: WriteOptions, force: bool, sources: Iterable[str], check: Names
    ) -> None:
        """``check`` is the target's ``refusals``.

        Raises :class:`OutputError` where the output cannot go; nothing is created yet.
        """
        check_suffix(path, self.suffix)
        self.path = path
        self.options = options
        self._check = check
        self._force = force
        self._sources = list(sources)
        self._outputs: dict[str, Output] = {}
        self._group: OutputGroup | None = None
        self._plans: list[FilePlan] = []
        self._files: list[Staged] = []
        self._sizes: list[int] = []
        OutputGroup([path], stale=self.stale(), force=force, sources=self._sources)

    def declare(self, output: Output) -> None:
        """Add a tensor; OUT005 where the format cannot hold it, whatever the others are."""
        if self._group is not None:
            raise ValueError("writing has begun")
        if output.name in self._outputs:
            raise ValueError(f"{output.name} is declared twice")
        self._refuse([output])
        self._outputs[output.name] = output

    def write(self, progress: Progress = ignore, follow: Follow = ignore) -> None:
        """Write everything into temporary files; OUT005 where the tensors do not fit together."""
        group = self._begin()
        for plan in self._plans:
            staged = group.stage(plan.final)
            self._files.append(staged)
            plan.write(staged, progress, follow)
            self._sizes.append(os.fstat(staged.fileno()).st_size)

    def staged(self) -> Located:
        """The written files before they are committed, for reading them back."""
        last = self._files[-1]
        shards = tuple(staged.path for staged in self._files[:-1])
        return Located(last.final, self.format, last.path, shards or (last.path,))

    def flushing(self) -> AbstractContextManager[None]:
        """A context in which the disk takes what is written meanwhile; all is declared before."""
        return self._begin().flushing()

    def commit(self) -> Written:
        """Give the files their names, the one that leads to the others last."""
        self._begin().commit()
        files = tuple(staged.final for staged in self._files)
        return Written(files[-1], files, sum(self._sizes), len(self._outputs))

    def __enter__(self) -> FileWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._group is not None:
            self._group.abort()

    # What a subclass says.

    def plans(self, outputs: Sequence[Output]) -> list[FilePlan]:
        """The files to write, in the order of their renaming."""
        raise NotImplementedError

    def stale(self) -> list[str]:
        """Files of an older output that must not stay beside this one."""
        return []

    def _begin(self) -> OutputGroup:
        if self._group is None:
            outputs = list(self._outputs.values())
            self._refuse(outputs)
            self._plans = self.plans(outputs)
            members = [plan.final for plan in self._plans]
            stale = [path for path in (self.path, *self.stale()) if path not in members]
            self._group = OutputGroup(
                members, stale=stale, force=self._force, sources=self._sources
            )
        return self._group

    def _refuse(self, outputs: Sequence[Output]) -> None:
        specs = [(output.name, output.dtype, output.shape) for output in outputs]
        problems = [problem(item, self.path) for item in self._check(specs, self.options)]
        if problems:
            raise OutputError(*problems)


def problem(refusal: Refusal, path: str) -> Problem:
    """The OUT005 of a tensor that an output cannot hold."""
    name, why, found = refusal
    return Problem("OUT005", f"{printable(name)}: {why}", path, found)


def check_suffix(path: str, suffix: str) -> None:
    """OUT002 for a path that does not end in ``suffix``."""
    directory, name = split(path)
    if name.endswith(suffix) and name != suffix:
        return
    stem = name.removesuffix(suffix) or "model"
    raise OutputError(
        Problem(
            "OUT002", "readers know this format by the end of the name", path,
            expected=f"*{suffix}", hint=f"try {join(directory, stem + suffix)}",
        )
    )  # fmt: skip


def nbytes(output: Output) -> int:
    """Bytes of a tensor's elements."""
    return prod(output.shape) * dtype_named(output.dtype).itemsize


def write_tensor(staged: Staged, output: Output, progress: Progress, follow: Follow) -> None:
    """A tensor's bytes from the place on where the file is, copied or streamed."""
    start = os.lseek(staged.fileno(), 0, os.SEEK_CUR)
    size = nbytes(output)
    if output.stored is not None and output.dtype != "bool":  # which may be of any bits elsewhere
        path, offset = output.stored
        copy_runs({path: [Run(offset, size, start)]}, staged, progress)
    else:
        for piece in pieces(output):
            staged.write(piece)
            progress(len(piece))
    follow(staged, Span(output.name, start, size))


def pieces(output: Output) -> Iterator[memoryview]:
    """A tensor's bytes as stored, piece by piece: as many as its shape says, or an error."""
    left = nbytes(output)
    for array in output.values():
        data = _element_bytes(array, output.dtype)
        left -= len(data)
        if left < 0:
            raise ValueError(f"too many values for {output.name} of shape {output.shape}")
        yield data
    if left:
        raise ValueError(f"too few values for {output.name} of shape {output.shape}")


def _element_bytes(array: Array, dtype: str) -> memoryview:
    """Elements in C order, little-endian; no copy where they are so already."""
    import numpy as np

    wanted = dtype_named(dtype).numpy
    if array.dtype != wanted and array.dtype.newbyteorder("=") != wanted:
        raise ValueError(f"values of {array.dtype} for a tensor of {dtype}")
    flat = np.ascontiguousarray(array).reshape(-1)
    if dtype == "bool":  # a byte other than 1 is true as well
        flat = (flat.view(np.uint8) != 0).view(np.uint8)
    elif wanted.isbuiltin == 1:
        flat = flat.astype(wanted.newbyteorder("<"), copy=False)
    raw: memoryview = flat.view(np.uint8).data
    return raw
