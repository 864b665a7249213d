"""What the writers of Keras' HDF5 files share: checks, streaming to the right places, committing.

A writer says which files it makes, each a layout and the tensors that fill it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import OutputError, Problem
from ckpttool.formats._file_writer import write_tensor
from ckpttool.formats.keras._h5_look import MAX_DEPTH, MAX_OBJECTS
from ckpttool.formats.keras._h5_rehearsal import trust
from ckpttool.formats.keras._h5_skeleton import DTYPES, MAX_RANK, Layout, Leaf, lay_out
from ckpttool.formats.locating.located import Located
from ckpttool.formats.writing import (
    Follow,
    Names,
    Output,
    Progress,
    WriteOptions,
    Written,
    ignore,
)
from ckpttool.names import printable
from ckpttool.storage.atomic import OutputGroup, Staged
from ckpttool.tensors import Shape

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Spec = tuple[str, str, Shape]
Refusal = tuple[str, str, str]

_MAX_NAME_BYTES = 64_000  # of a whole path: an attribute of the old form holds no more


class FilePlan(NamedTuple):
    """One HDF5 file: its final path, what is in it, and the tensor behind each leaf."""

    final: str
    layout: Layout
    outputs: Sequence[Output]


class H5Writer:
    """One output of HDF5 files.  Use it as a context; leaving it without commit undoes all."""

    format = ""

    def __init__(
        self, path: str, options: WriteOptions, force: bool, sources: Iterable[str], check: Names
    ) -> None:
        """``check`` is the target's ``refusals``.

        Raises :class:`OutputError` where the output cannot go; nothing is created yet.
        """
        self.path = path
        self.options = options
        self._check = check
        self._force = force
        self._sources = [*sources, *([options.template] if options.template else ())]
        self._outputs: dict[str, Output] = {}
        self._group: OutputGroup | None = None
        self._plans: list[FilePlan] = []
        self.staged_files: list[Staged] = []
        self._sizes: dict[str, int] = {}
        OutputGroup([path], force=force, sources=self._sources)

    def declare(self, output: Output) -> None:
        """Add a tensor; OUT005 where the format cannot hold it, whatever the others are."""
        if self._group is not None:
            raise ValueError("writing has begun")
        if output.name in self._outputs:
            raise ValueError(f"{output.name} is declared twice")
        why = unfit(output.name, output.dtype, output.shape)
        if why:
            raise OutputError(self._refused((output.name, *why)))
        self._outputs[output.name] = output

    def write(self, progress: Progress = ignore, follow: Follow = ignore) -> None:
        """Write everything into temporary files; OUT005 where the tensors do not fit together."""
        group = self._begin()
        for plan in self._plans:
            staged = group.stage(plan.final)
            self.staged_files.append(staged)
            self.write_file(staged, plan, progress, follow)
        for final, data in self.extra_files().items():
            staged = group.stage(final)
            self.staged_files.append(staged)
            staged.write(data)
        for staged in self.staged_files:
            self._sizes[staged.final] = os.fstat(staged.fileno()).st_size
            trust(staged.path)

    def staged(self) -> Located:
        """The written files before they are committed, for reading them back."""
        path = self.staged_files[-1].path
        return Located(self.staged_files[-1].final, self.format, path, (path,))

    def flushing(self) -> AbstractContextManager[None]:
        """A context in which the disk takes what is written meanwhile; all is declared before."""
        return self._begin().flushing()

    def commit(self) -> Written:
        """Give the files their names, the one that leads to the others last."""
        self._begin().commit()
        files = tuple(self._sizes)
        return Written(files[-1], files, sum(self._sizes.values()), len(self._outputs))

    def __enter__(self) -> H5Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._group is not None:
            self._group.abort()

    # What a subclass may say otherwise.

    def plans(self, outputs: Sequence[Output]) -> list[FilePlan]:
        """The HDF5 files to write, in the order of their renaming."""
        raise NotImplementedError

    def extra_files(self) -> dict[str, bytes]:
        """Small files that come after the others."""
        return {}

    def stale(self) -> list[str]:
        """Files of an older output that must not stay beside this one."""
        return []

    def write_file(
        self, staged: Staged, plan: FilePlan, progress: Progress, follow: Follow
    ) -> None:
        """Write one staged file."""
        fill(staged, 0, plan, progress, follow)

    def _begin(self) -> OutputGroup:
        if self._group is None:
            outputs = list(self._outputs.values())
            specs = [(output.name, output.dtype, output.shape) for output in outputs]
            problems = [self._refused(refusal) for refusal in self._check(specs, self.options)]
            if problems:
                raise OutputError(*problems)
            self._plans = self.plans(outputs)
            members = [*(plan.final for plan in self._plans), *self.extra_files()]
            stale = [path for path in self.stale() if path not in members]
            self._group = OutputGroup(
                members, stale=stale, force=self._force, sources=self._sources
            )
        return self._group

    def _refused(self, refusal: Refusal) -> Problem:
        name, why, found = refusal
        return Problem("OUT005", f"{printable(name)}: {why}", self.path, found)


def metadata_attributes(options: WriteOptions) -> dict[str, str]:
    """The texts about the migration as attributes of the root, in a space of their own."""
    return {f"ckpttool.{name}": text for name, text in sorted(options.metadata.items())}


def leaves_of(outputs: Iterable[Output], path: Callable[[str], str] = str) -> list[Leaf]:
    """The datasets of tensors; ``path`` gives a name's path in the file."""
    return [Leaf(path(output.name), output.dtype, output.shape) for output in outputs]


def fill(staged: Staged, base: int, plan: FilePlan, progress: Progress, follow: Follow) -> int:
    """Write an HDF5 file from byte ``base`` of a staged file on; its size in bytes.

    ``follow`` is told of places that only grow.
    """
    skeleton = lay_out(staged, base, plan.layout)
    staged.reserve(base + skeleton.size)
    pairs = zip(skeleton.offsets, plan.outputs, strict=True)
    placed = [(offset, output) for offset, output in pairs if offset is not None]
    for offset, output in sorted(placed, key=lambda pair: pair[0]):
        os.lseek(staged.fileno(), base + offset, os.SEEK_SET)
        write_tensor(staged, output, progress, follow)
    return skeleton.size


# What no HDF5 file of Keras can hold.


def unfit(name: str, dtype: str, shape: Shape) -> tuple[str, str] | None:
    """Why a tensor cannot be stored by this name, and what was found; None if it can."""
    if dtype not in DTYPES:
        what = "strings are" if dtype == "string" else f"{dtype} is"
        return f"{what} nothing that Keras can load from HDF5", dtype
    if len(shape) > MAX_RANK:
        return f"HDF5 has at most {MAX_RANK} dimensions", f"{len(shape)} dimensions"
    parts = name.split("/")
    if "" in parts:
        return "a part of the path is empty", printable(name)
    if "." in parts:
        return "a part of the path is `.`, which HDF5 takes for the group itself", printable(name)
    if "\0" in name:
        return "the name has a zero byte, where HDF5 would end it", printable(name)
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "the name is not UTF-8, which Keras expects", printable(name)
    if size > _MAX_NAME_BYTES:
        return f"the name is longer than {_MAX_NAME_BYTES} bytes", f"{size} bytes"
    if len(parts) > MAX_DEPTH:
        return f"more than {MAX_DEPTH} groups deep", f"{len(parts) - 1} groups"
    return None


def clashes(paths: Iterable[tuple[str, str]], groups: Iterable[str] = ()) -> Iterator[Refusal]:
    """Datasets that would be where a group has to be.

    ``paths`` are names and their paths; ``groups`` are further groups that there will be.
    """
    listed = list(paths)
    needed: dict[str, str] = {group: group for group in groups}
    for name, path in listed:
        parent = path.rpartition("/")[0]
        while parent and parent not in needed:
            needed[parent] = name
            parent = parent.rpartition("/")[0]
    for name, path in listed:
        if path in needed:
            why = "the path is a group of other tensors as well"
            yield name, why, printable(needed[path])


def too_many(paths: Sequence[str]) -> Iterator[Refusal]:
    """The first path with which there are more objects in the file than readers take."""
    groups: set[str] = set()
    for number, path in enumerate(paths, 1):
        parent = path.rpartition("/")[0]
        while parent and parent not in groups:
            groups.add(parent)
            parent = parent.rpartition("/")[0]
        # Each group may get an empty `vars` beside what is in it.
        count = number + 2 * len(groups)
        if count > MAX_OBJECTS:
            why = f"too many tensors for one output: with it over {MAX_OBJECTS} groups and datasets"
            yield path, why, str(count)
            return
