"""Verify one checkpoint: everything in it that can be checked, all damage reported at once.

:func:`verify` reads every byte that a checksum covers and keeps none.  Its result says which
tensors are intact, so that a salvage can take those and leave the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ckpttool.analysis.verify_data import Checker, Stored
from ckpttool.analysis.verify_layout import BundleLayout, Part
from ckpttool.analysis.verify_model import Against, DamagedTensor, Span, VerifyResult, damaged
from ckpttool.errors import CkptError, Problem, UsageError
from ckpttool.formats.registry import FORMATS
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.formats.base import Reader
    from ckpttool.formats.tensorflow.bundle import BundleReader

ENGINES = ("tensorflow",)

# Told of the files as a whole where they are located or listed, and no mere oddity.
_FAULTS = frozenset(("INP004", "INP007", "INP008"))
_CHECKSUMS = frozenset(("tf-v1", "tf-v2", "tf2", "saved-model", "hub-module", "npz"))
_TABLES = frozenset(("tf-v1", "tf-v2", "tf2", "saved-model", "hub-module"))
_ARCHIVE_WEIGHTS = "model.weights.h5"

Begin = Callable[[int], Callable[[int], None]]


def verify(
    checkpoint: Checkpoint,
    *,
    quick: bool = False,
    against: str | None = None,
    progress: Begin | None = None,
    fork: bool = False,
) -> VerifyResult:
    """Everything that is wrong with an open checkpoint.

    ``quick`` reads no tensor data: files, sizes, places, slices and the graph are checked.
    ``against="tensorflow"`` reads all tensors with TensorFlow too and compares them
    (:class:`ckpttool.errors.ExtraMissingError` without it).  ``progress`` is called with the bytes
    to read, and gives what to call with those that were read.  ``fork`` allows a second process,
    for programs that are a single command.
    """
    if against is not None and against not in ENGINES:
        raise UsageError(
            Problem("USE003", "no such engine to compare with", None, against, ", ".join(ENGINES))
        )
    run = _Run(checkpoint, quick, progress, fork)
    run.data()
    run.files()
    return run.result(run.against() if against is not None else None)


class _Run:
    """What was found so far."""

    def __init__(
        self, checkpoint: Checkpoint, quick: bool, progress: Begin | None, fork: bool
    ) -> None:
        self._fork = fork
        self._checkpoint = checkpoint
        self._reader = checkpoint.reader
        self._quick = quick
        self._progress = progress
        self._damaged: list[DamagedTensor] = []
        self._unchecked: set[str] = set()
        self._unreferenced: list[Span] = []
        self._bytes = 0
        info = checkpoint.info
        unlisted = frozenset(getattr(self._reader, "unlisted", {}).values())
        self._faults = [item for item in info.damage if item not in unlisted]
        self._faults = [item for item in self._faults if not _of_missing(item, info.missing_files)]
        self._notices: list[Problem] = []
        for item in info.notices:
            if item.code in ("INP006", "INP012") and info.missing_files and checkpoint.specs:
                continue  # the missing files are listed by name
            (self._faults if _is_fault(item, info.format) else self._notices).append(item)

    def _begin(self, total: int) -> Callable[[int], None]:
        return _nothing if self._progress is None else self._progress(total)

    # --- tensors ---------------------------------------------------------------------------

    def data(self) -> None:
        """Every tensor's bytes: by their checksums in a bundle, through the reader elsewhere."""
        bundle = _as_bundle(self._reader)
        if bundle is not None:
            self._bundle(bundle)
        else:
            self._graph()
            self._read_through(list(self._reader.specs))
            if self._checkpoint.info.format not in _CHECKSUMS:
                self._unchecked.update(self._reader.specs)

    def _bundle(self, bundle: BundleReader) -> None:
        layout = BundleLayout(bundle)
        self._damaged += layout.damaged
        self._faults += layout.faults
        self._notices += layout.notices
        self._unreferenced += layout.unreferenced
        if self._quick:
            self._graph()
            self._tables()
            return
        plain: list[Part] = []
        told = frozenset(item.name for item in layout.damaged)
        through: dict[str, Part] = {}
        for part in layout.parts:
            dtype = dtype_named(bundle.specs[part.name].dtype)
            if dtype.kind != "string":
                plain.append(part)
            elif part.name not in told:
                through.setdefault(part.name, part)
        stored = [Stored(*part.stored[1:5]) for part in plain]
        total = sum(item.size for item in stored)
        self._bytes += total
        checker = Checker(stored)
        checker.start(fork=self._fork)
        checker.progress = self._begin(total)
        self._graph()  # meanwhile
        self._tables()
        for number, problem in sorted(checker.finish().items()):
            part = plain[number]
            if dtype_named(bundle.specs[part.name].dtype).array_type is None:
                self._unchecked.add(part.name)  # its checksum is not over the bytes as they lie
                continue
            message = f"{problem.message} in tensor {part.name}"
            if problem.code == "INP005":
                message = f"the checksum of tensor {part.name} does not match"
            self._damaged.append(part.damaged(problem._replace(message=message)))
        self._read_through(list(through), through)

    def _read_through(self, names: Sequence[str], parts: dict[str, Part] | None = None) -> None:
        """Read tensors through their reader, which checks what its format has."""
        if self._quick:
            return
        sizes = {name: self._stored_bytes(name) for name in names}
        advance = self._begin(sum(sizes.values()))
        for name in names:
            try:
                for _ in self._reader.chunks(name):
                    pass
            except CkptError as error:
                problem = error.problems[0]
                if problem.code == "INP011":
                    self._unchecked.add(name)
                elif parts and len(self._reader.slices(name)) == 0:
                    self._damaged.append(parts[name].damaged(problem))
                else:
                    self._damaged.append(damaged(name, problem))
            self._bytes += sizes[name]
            advance(sizes[name])

    def _stored_bytes(self, name: str) -> int:
        try:
            return self._reader.stored_bytes(name)
        except CkptError:
            return 0

    # --- files -----------------------------------------------------------------------------

    def files(self) -> None:
        """What is in the files beside the tensors."""
        info = self._checkpoint.info
        if info.format == "tf-v1":
            self._tables()
        elif info.format in ("npz", "keras-archive") and not self._quick:
            self._archive(info.files[0], info.format)

    def _tables(self) -> None:
        from ckpttool.analysis.verify_blocks import TableCheck

        info = self._checkpoint.info
        every = info.format == "tf-v1"
        known = frozenset(item.where for item in self._faults)
        done = frozenset(block.offset for block, _ in getattr(self._reader, "damaged_blocks", ()))
        for path in info.files if every else info.files[:1]:
            if path in info.missing_files or (every and self._quick):
                continue
            check = TableCheck(path, done)
            self._bytes += check.bytes_read
            self._faults += [item for item in check.faults if item.where not in known]
            for offset, keys in check.lost.items():
                self._lost(f"{path}: byte {offset}", keys)
            self._unreferenced += check.unreferenced

    def _lost(self, where: str, keys: str) -> None:
        """Say with the damage of an index block which names it takes along."""
        hint = f"lost are the names that sort {keys}"
        self._faults = [
            item._replace(hint=hint) if item.where == where else item for item in self._faults
        ]

    def _archive(self, path: str, kind: str) -> None:
        from ckpttool.analysis.verify_archive import damaged_members

        specs = self._reader.specs

        def wanted(name: str) -> bool:
            # Arrays that can be decoded have been read to their end.
            array = name.removesuffix(".npy")
            return kind != "npz" or array not in specs or array in self._unchecked

        bad = damaged_members(path, wanted, _nothing)
        self._faults += [item.problem for item in bad]
        if kind == "keras-archive" and all(item.name != _ARCHIVE_WEIGHTS for item in bad):
            self._unchecked.clear()
        elif kind == "npz":
            self._unchecked.intersection_update(item.name.removesuffix(".npy") for item in bad)

    # --- the rest --------------------------------------------------------------------------

    def _graph(self) -> None:
        """The graph files, and the keys against them."""
        from ckpttool.analysis.verify_graph import graph_faults

        faults, notices = graph_faults(self._checkpoint)
        self._faults += faults
        self._notices += notices

    def against(self) -> Against:
        """All tensors, read with TensorFlow as well."""
        from ckpttool.analysis.verify_against import compare_with_tensorflow

        skip = frozenset(item.name for item in self._damaged)
        return compare_with_tensorflow(self._checkpoint, skip, self._begin)

    def result(self, against: Against | None) -> VerifyResult:
        """Everything together."""
        info = self._checkpoint.info
        unlisted = list(getattr(self._reader, "unlisted", ()))
        names = dict.fromkeys([*self._reader.specs, *unlisted])
        order = {name: number for number, name in enumerate(names)}
        bad = sorted(self._damaged, key=lambda item: (order[item.name], item.start or 0))
        return VerifyResult(
            info.path,
            info.format,
            FORMATS[info.format].title,
            info.step,
            info.shards,
            tuple(names),
            tuple(bad),
            tuple(name for name in names if name in self._unchecked),
            info.missing_files,
            tuple(dict.fromkeys(self._faults)),
            tuple(self._unreferenced),
            tuple(dict.fromkeys(self._notices)),
            self._bytes,
            self._quick,
            against,
            opened=bool(names) or not info.missing_files,
        )


def unreadable(path: str, error: CkptError) -> VerifyResult:
    """The result for a checkpoint that did not open."""
    return VerifyResult(path, None, None, None, 0, faults=error.problems, opened=False)


def _is_fault(problem: Problem, kind: str) -> bool:
    """Whether what a reader only mentions on the way is damage for whoever relies on the files."""
    if problem.code == "INP003":  # a file is not what its name says
        return kind in _TABLES
    return problem.code in _FAULTS


def _of_missing(problem: Problem, missing: Sequence[str]) -> bool:
    return problem.code == "INP006" and problem.where in missing


def _as_bundle(reader: Reader) -> BundleReader | None:
    # By what it can do, and without the import: a SavedModel's reader may be a bundle's.
    if all(hasattr(reader, name) for name in ("stored_parts", "shard_paths", "endianness")):
        return reader  # type: ignore[return-value]
    return None


def _nothing(size: int) -> None:
    del size
