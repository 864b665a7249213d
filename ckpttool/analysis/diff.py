"""``diff``: what two checkpoints have in common and what not, by names, specs and values.

Tensors whose index entries carry equal checksums are told to be identical without being read;
everything else is streamed through :mod:`ckpttool.analysis.comparing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis.metrics import Metrics, Tolerance
from ckpttool.analysis.roles import VARIABLE, Role
from ckpttool.analysis.selecting import DiffOptions as DiffOptions
from ckpttool.analysis.selecting import (
    check_tolerance,
    comparison_keys,
    roles_of,
    selected,
    summary_of,
)
from ckpttool.analysis.sides import Side
from ckpttool.analysis.tree import CheckpointSummary
from ckpttool.errors import Problem
from ckpttool.tensors import TensorSpec, dtype_named

if TYPE_CHECKING:
    from ckpttool.analysis.comparing import Outcome, Progress
    from ckpttool.analysis.renames import Match
    from ckpttool.checkpoint import Checkpoint

VALUE, SHAPE, DTYPE = "value", "shape", "dtype"

# Field 6 (crc32c, fixed32) at the end of a BundleEntryProto: an entry without it tells nothing.
_CHECKSUM_TAG = b"\x35"


class Change(NamedTuple):
    """A tensor that both checkpoints have and that is not the same in both.

    ``kind`` is ``shape``, ``dtype`` (of one shape: the values are compared all the same) or
    ``value``.  ``metrics`` is None where no values can be compared.  ``owner`` is the variable of
    a slot or average.
    """

    name: str
    kind: str
    a: TensorSpec
    b: TensorSpec
    metrics: Metrics | None
    role: str = "variable"
    owner: str | None = None


class Listed(NamedTuple):
    """A tensor that only one of the checkpoints has."""

    name: str
    spec: TensorSpec
    role: str = "variable"
    owner: str | None = None


class Rename(NamedTuple):
    """A tensor of the first checkpoint under another name in the second.

    ``evidence`` says why the two belong together.  ``change`` is None if they are identical;
    one without metrics is of tensors that could not be read.
    """

    a: str
    b: str
    evidence: str
    change: Change | None
    role: str = "variable"
    owner: str | None = None


class Unreadable(NamedTuple):
    """A tensor whose values could not be compared, and why."""

    name: str
    problems: tuple[Problem, ...]


class DiffResult(NamedTuple):
    """Everything that differs, in the order of the first checkpoint, then of the second.

    ``close`` differ within the tolerances.  ``identical`` are names; ``by_index`` of them were
    not read.  ``dropped`` are names of the first checkpoint that a mapping file leaves out.
    """

    checkpoints: tuple[CheckpointSummary, CheckpointSummary]
    added: tuple[Listed, ...]
    removed: tuple[Listed, ...]
    changed: tuple[Change, ...]
    close: tuple[Change, ...]
    renamed: tuple[Rename, ...]
    identical: tuple[str, ...]
    by_index: int
    unreadable: tuple[Unreadable, ...]
    tolerance: Tolerance
    dropped: tuple[str, ...]
    notices: tuple[Problem, ...]

    @property
    def same(self) -> bool:
        """Whether nothing differs, but for what is close."""
        return not (self.added or self.removed or self.changed or self.renamed or self.unreadable)


def diff(
    a: Checkpoint,
    b: Checkpoint,
    options: DiffOptions | None = None,
    *,
    progress: Callable[[int], Progress] | None = None,
) -> DiffResult:
    """Compare two open checkpoints of any formats.

    ``progress`` is called once with the number of bytes to read, and returns what is told of the
    bytes that were.  A tensor that cannot be read is listed in ``unreadable``; the others are
    compared.
    """
    options = options or DiffOptions()
    check_tolerance(options.tolerance)
    run = _Run(a, b, options, progress)
    try:
        return run.result()
    finally:
        run.close()


class _Run:
    """One comparison: selects, pairs, compares, sorts out."""

    def __init__(
        self,
        a: Checkpoint,
        b: Checkpoint,
        options: DiffOptions,
        progress: Callable[[int], Progress] | None,
    ) -> None:
        self.a, self.b, self.options = a, b, options
        self._progress = progress
        self.side_a = Side(options.reader_a or a.reader, comparison_keys(a, options))
        self.side_b = Side(b.reader, comparison_keys(b, options, first=False))
        self._roles_a = roles_of(a, options)
        self._roles_b = roles_of(b, options)
        self._identical: list[str] = []
        self._by_index = 0
        self._changed: list[Change] = []
        self._unreadable: list[Unreadable] = []

    def close(self) -> None:
        self.side_a.close()
        self.side_b.close()

    def result(self) -> DiffResult:
        names_a = selected(self.side_a.specs, self.options, self._role)
        names_b = selected(self.side_b.specs, self.options, self._role)
        names = len(names_a) + len(names_b)
        to_read = self._common(name for name in names_a if name in self.side_b.specs)
        removed = [name for name in names_a if name not in self.side_b.specs]
        added = [name for name in names_b if name not in self.side_a.specs]
        matches = self._renames(removed, added)
        moved = [
            (match.a, match.b) for match in matches if not self._equal_by_index(match.a, match.b)
        ]
        outcomes = self._compare([*((name, name) for name in to_read), *moved])
        for name in to_read:
            self._sort_in(name, outcomes[name, name])
        renamed = tuple(self._rename(match, outcomes) for match in matches)
        if to_read:
            order = {name: index for index, name in enumerate(names_a)}
            self._changed.sort(key=lambda item: order[item.name])
            self._identical.sort(key=order.__getitem__)
        gone, come = {match.a for match in matches}, {match.b for match in matches}
        return DiffResult(
            (summary_of(self.a, self.options), summary_of(self.b, self.options)),
            tuple(self._listed(name, self.side_b) for name in added if name not in come),
            tuple(self._listed(name, self.side_a) for name in removed if name not in gone),
            tuple(item for item in self._changed if not self._is_close(item)),
            tuple(item for item in self._changed if self._is_close(item)),
            renamed,
            tuple(self._identical),
            self._by_index,
            tuple(self._unreadable),
            self.options.tolerance,
            self.options.dropped,
            tuple(dict.fromkeys((*self.a.notices(), *self.b.notices(), *_nothing(self, names)))),
        )

    # --- selection -------------------------------------------------------------------------

    def _role(self, name: str) -> Role:
        """The role as the second checkpoint has it, or else the first."""
        if name in self.side_b.keys:
            side, roles = self.side_b, self._roles_b
        else:
            side, roles = self.side_a, self._roles_a
        role = roles().get(side.keys[name], VARIABLE)
        return role if role.owner is None else role._replace(owner=side.name_of(role.owner))

    # --- pairs -----------------------------------------------------------------------------

    def _common(self, names: Iterable[str]) -> list[str]:
        """Sort out what the specs and checksums tell; the names that have to be read."""
        to_read = []
        equal = self._equal_entries()
        for name in names:
            if name in equal:
                self._identical.append(name)
                self._by_index += 1
                continue
            a, b = self.side_a.specs[name], self.side_b.specs[name]
            if a.shape != b.shape:
                self._changed.append(self._change(name, SHAPE, a, b, None))
            elif a.dtype != b.dtype and not _comparable(a, b):
                self._changed.append(self._change(name, DTYPE, a, b, None))
            elif self._equal_by_index(name, name):
                self._identical.append(name)
                self._by_index += 1
            elif dtype_named(a.dtype).array_type is None and self._has_content(name):
                self._changed.append(self._change(name, VALUE, a, b, None))
            else:
                to_read.append(name)
        return to_read

    def _equal_entries(self) -> frozenset[str]:
        """Names whose index entries are the same byte for byte: most of them, at no cost."""
        side_a, side_b = self.side_a, self.side_b
        if self.options.full or side_a.endianness != side_b.endianness:
            return frozenset()
        entries_a, entries_b = side_a.entries(), side_b.entries()
        keys_b = side_b.keys
        return frozenset(
            name
            for name, key in side_a.keys.items()
            if key in entries_a
            and name in keys_b
            and entries_a[key] == entries_b.get(keys_b[name])
            and entries_a[key][-5:-4] == _CHECKSUM_TAG
        )

    def _equal_by_index(self, name_a: str, name_b: str) -> bool:
        """Whether the two indexes alone tell that the tensors are the same."""
        side_a, side_b = self.side_a, self.side_b
        if side_a.endianness is None or side_a.endianness != side_b.endianness:
            return False
        a, b = side_a.specs[name_a], side_b.specs[name_b]
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            return False
        if self.options.full and dtype_named(a.dtype).array_type is not None:
            return False
        content = side_a.content(name_a)
        return content is not None and content == side_b.content(name_b)

    def _has_content(self, name: str) -> bool:
        """Whether both indexes tell what stands for the bytes."""
        contents = self.side_a.content(name), self.side_b.content(name)
        return None not in contents and self.side_a.endianness == self.side_b.endianness

    def _renames(self, removed: list[str], added: list[str]) -> list[Match]:
        if not (removed and added and self.options.renames):
            return []
        from ckpttool.analysis.content import contents
        from ckpttool.analysis.renames import find_renames

        content_a, content_b = contents(self.side_a, self.side_b)
        return find_renames(
            {name: self.side_a.specs[name] for name in removed},
            {name: self.side_b.specs[name] for name in added},
            content_a,
            content_b,
        )

    def _rename(self, match: Match, outcomes: Mapping[tuple[str, str], Outcome]) -> Rename:
        role = self._role(match.b)
        change = None
        outcome = outcomes.get((match.a, match.b))
        if outcome is None:
            self._by_index += 1
        elif outcome.metrics is None:
            self._unreadable.append(Unreadable(match.b, outcome.problems))
        if outcome is not None and (outcome.metrics is None or outcome.metrics.differing):
            a, b = self.side_a.specs[match.a], self.side_b.specs[match.b]
            change = self._change(match.b, VALUE, a, b, outcome.metrics)
        return Rename(match.a, match.b, match.evidence, change, role.role, role.owner)

    # --- values ----------------------------------------------------------------------------

    def _compare(self, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], Outcome]:
        if not pairs:
            return {}
        from ckpttool.analysis.comparing import Comparison, Pair

        progress = None
        if self._progress is not None:
            sizes = ((self.side_a.specs[a].nbytes, self.side_b.specs[b].nbytes) for a, b in pairs)
            progress = self._progress(sum(map(sum, sizes)))
        run = Comparison(
            self.side_a,
            self.side_b,
            [Pair(*pair) for pair in pairs],
            tolerance=self.options.tolerance,
            check=self.options.check,
            progress=progress,
        )
        return dict(zip(pairs, run.run(self.options.threads, fork=self.options.fork), strict=True))

    def _sort_in(self, name: str, outcome: Outcome) -> None:
        a, b = self.side_a.specs[name], self.side_b.specs[name]
        if outcome.metrics is None:
            self._unreadable.append(Unreadable(name, outcome.problems))
        elif a.dtype != b.dtype:
            self._changed.append(self._change(name, DTYPE, a, b, outcome.metrics))
        elif outcome.metrics.differing:
            self._changed.append(self._change(name, VALUE, a, b, outcome.metrics))
        else:
            self._identical.append(name)

    def _change(
        self, name: str, kind: str, a: TensorSpec, b: TensorSpec, metrics: Metrics | None
    ) -> Change:
        role = self._role(name)
        return Change(name, kind, a, b, metrics, role.role, role.owner)

    def _listed(self, name: str, side: Side) -> Listed:
        role = self._role(name)
        return Listed(name, side.specs[name], role.role, role.owner)

    def _is_close(self, change: Change) -> bool:
        if not self.options.tolerance or change.kind != VALUE or change.metrics is None:
            return False
        return not change.metrics.beyond


def _nothing(run: _Run, names: int) -> Iterator[Problem]:
    """A notice where the options leave nothing to compare: that is no proof of anything."""
    if not names and (run.side_a.specs or run.side_b.specs):
        wanted = [*run.options.match, *run.options.roles]
        message = "the options select no tensor of either checkpoint"
        yield Problem("INP010", message, found=", ".join(wanted) or None)


def _comparable(a: TensorSpec, b: TensorSpec) -> bool:
    """Whether values of two dtypes can be subtracted: both are numbers."""
    kinds = {dtype_named(a.dtype).kind, dtype_named(b.dtype).kind}
    return not kinds & {"string", "opaque"}
