"""``show``: values, statistics and initializers of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ckpttool.analysis.roles import Role
from ckpttool.analysis.slicing import Selection, read_edges, read_selected, resolve, select
from ckpttool.analysis.statistics import BINS, Counter, Histogram, Partial, Statistics
from ckpttool.analysis.tree import CheckpointSummary, VariableRow
from ckpttool.errors import CkptError, Problem, TensorNotFoundError
from ckpttool.names import glob_matcher
from ckpttool.tensors import Shape, Slice, TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.checkpoint import Checkpoint

    Array = np.ndarray[Any, Any]


NOT_SAVED = "not saved: only the graph has it"


@dataclass(frozen=True)
class ShownTensor:
    """One tensor, with what was asked for and could be read.

    ``index`` is the slice as it was written; ``values`` are then that part, in the checkpoint's
    own dtype (strings as an object array of ``bytes``).  ``shortened`` says that ``values`` hold
    only what a shortened print shows (see :func:`ckpttool.analysis.slicing.read_edges`).
    ``statistics`` and ``histogram`` are of the whole tensor.  ``slices`` are the parts of a
    partitioned variable.  ``problem`` is why it could not be read; ``note`` is why there is
    nothing to read.
    """

    name: str
    dtype: str
    shape: Shape | None
    role: str = "variable"
    owner: str | None = None
    initializer: str | None = None
    index: str | None = None
    statistics: Statistics | None = None
    histogram: Histogram | None = None
    values: Array | None = None
    shortened: bool = False
    slices: tuple[Slice, ...] | None = None
    problem: Problem | None = None
    note: str | None = None


@dataclass(frozen=True)
class ShowResult:
    """The tensors in the order asked for.

    ``others`` counts the tensors that are not shown because no name asked for them, by role.
    ``damage`` has every tensor's problem, and why names may be missing.
    """

    checkpoint: CheckpointSummary
    tensors: tuple[ShownTensor, ...]
    others: Mapping[str, int]
    notices: tuple[Problem, ...] = ()
    damage: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Edges:
    """Shorten values of more than ``threshold`` elements to ``items`` at both ends of an axis."""

    items: int = 3
    threshold: int = 1000


def show(
    checkpoint: Checkpoint,
    names: Sequence[str] = (),
    *,
    values: bool = False,
    statistics: bool = True,
    histogram: bool = False,
    slices: bool = False,
    every: bool = False,
    exclude: Sequence[str] = (),
    bins: int = BINS,
    edges: Edges | None = None,
    progress: Callable[[int, int], None] | None = None,
    each: Callable[[ShownTensor], None] | None = None,
) -> ShowResult:
    """Read tensors of an open checkpoint.

    ``names`` are names, names with a slice (``dense/kernel[0:2,:]``, whose values are always
    read) or globs; without any, every variable is shown, and with ``every`` every tensor.
    ``exclude`` are globs of names to leave out.  ``edges`` shortens large values.  ``progress``
    is told the bytes that are done, and in all.  ``each`` is handed every tensor once it is read;
    the result then keeps no values, so that memory holds one tensor's at a time.

    A tensor that cannot be read keeps its ``problem`` and does not stop the others.  Raises
    :class:`TensorNotFoundError` for a name that is not there, and :class:`UsageError` for a slice
    that does not fit.
    """
    chosen, unsaved, others = choose(checkpoint, names, every=every, exclude=exclude)
    sizes = [max(1, checkpoint.specs[item.name].nbytes) for item in chosen]
    done = 0
    shown: list[ShownTensor] = []
    reading = _Reading(checkpoint, values, statistics, bins if histogram else 0, slices, edges)
    whole = sum(sizes)
    for item, size in zip(chosen, sizes, strict=True):
        tensor = reading.tensor(item)
        if each is not None:
            each(tensor)
            tensor = replace(tensor, values=None)
        shown.append(tensor)
        done += size
        if progress is not None:
            progress(done, whole)
    for tensor in unsaved:
        if each is not None:
            each(tensor)
        shown.append(tensor)
    broken = dict.fromkeys(item.problem for item in shown if item.problem is not None)
    return ShowResult(
        checkpoint.summary(),
        tuple(shown),
        others,
        checkpoint.notices(),
        tuple(dict.fromkeys((*checkpoint.damage(), *broken))),
    )


def choose(
    checkpoint: Checkpoint, names: Sequence[str], *, every: bool, exclude: Sequence[str] = ()
) -> tuple[list[Selection], list[ShownTensor], dict[str, int]]:
    """The stored tensors that are meant, those that only the graph has, and the others by role."""
    specs = checkpoint.specs
    unsaved: list[ShownTensor] = []
    if names:
        saved_words, unsaved = _split_unsaved(checkpoint, names)
        chosen = select(saved_words, specs, alias=checkpoint.stored_key, where=checkpoint.info.path)
    else:
        chosen = [Selection(name) for name in specs]
        if not specs and not every:  # a graph alone: its variables are all there is to show
            unsaved = [_graph_only(checkpoint, row) for row in checkpoint.rows()]
    if exclude:
        unwanted = glob_matcher(exclude)
        chosen = [item for item in chosen if not unwanted(item.name)]
        unsaved = [tensor for tensor in unsaved if not unwanted(tensor.name)]
    others: dict[str, int] = {}
    if not names and not every:
        variables = [item for item in chosen if checkpoint.role(item.name).role == "variable"]
        if variables:  # else nothing is a variable: show what there is
            for item in chosen:
                role = checkpoint.role(item.name).role
                if role != "variable":
                    others[role] = others.get(role, 0) + 1
            chosen = variables
    return chosen, unsaved, others


def _split_unsaved(
    checkpoint: Checkpoint, names: Sequence[str]
) -> tuple[list[str], list[ShownTensor]]:
    """The words for stored tensors, and what the others are: variables of the graph alone."""
    specs = checkpoint.specs
    kept: list[str] = []
    unsaved: list[ShownTensor] = []
    rows: dict[str, VariableRow] | None = None
    for word in names:
        try:
            select([word], specs, alias=checkpoint.stored_key)
        except TensorNotFoundError:
            if rows is None:
                rows = {row.name: row for row in checkpoint.rows() if not row.saved}
            found = _rows_named(word, rows)
            if found:
                unsaved += [_graph_only(checkpoint, row) for row in found]
                continue
        except CkptError:
            pass  # told with all the others
        kept.append(word)
    return kept, unsaved


def _rows_named(word: str, rows: Mapping[str, VariableRow]) -> list[VariableRow]:
    """The graph's variables that a name, a scope or a glob means."""
    row = rows.get(word.removesuffix(":0"))
    if row is not None:
        return [row]
    matches = glob_matcher([word])
    return [row for name, row in rows.items() if matches(name)]


def _graph_only(checkpoint: Checkpoint, row: VariableRow) -> ShownTensor:
    return ShownTensor(
        row.name,
        row.dtype,
        row.shape,
        row.role,
        row.owner,
        checkpoint.initializer(row.name),
        note=NOT_SAVED,
    )


class _Reading:
    """Reads one tensor after the other as the call wants them."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        values: bool,
        statistics: bool,
        bins: int,
        slices: bool,
        edges: Edges | None,
    ) -> None:
        self._checkpoint = checkpoint
        self._reader = checkpoint.reader
        self._values = values
        self._statistics = statistics
        self._bins = bins
        self._slices = slices
        self._edges = edges

    def tensor(self, item: Selection) -> ShownTensor:
        """One tensor; a problem with its data is kept in it."""
        spec = self._checkpoint.specs[item.name]
        role: Role = self._checkpoint.role(item.name)
        shown = ShownTensor(
            spec.name,
            spec.dtype,
            spec.shape,
            role.role,
            role.owner,
            self._checkpoint.initializer(spec.name),
            item.index,
        )
        try:
            if self._slices:
                shown = replace(shown, slices=tuple(self._reader.slices(spec.name)))
            if dtype_named(spec.dtype).array_type is None:
                empty = Statistics() if self._statistics else None
                note = f"values of dtype {spec.dtype} cannot be decoded"
                return replace(shown, statistics=empty, note=note)
            return self._read(shown, spec)
        except CkptError as error:
            return replace(shown, problem=error.problems[0])

    def _read(self, shown: ShownTensor, spec: TensorSpec) -> ShownTensor:
        values, shortened = self._values_of(shown, spec)
        whole = values if shown.index is None and not shortened else None
        if not (self._statistics or self._bins):
            return replace(shown, values=values, shortened=shortened)
        partial = Partial(spec.dtype)
        for array in self._arrays(whole, spec.name):
            partial.add(array)
        histogram = None
        if self._bins and dtype_named(spec.dtype).kind not in ("string", "complex"):
            counter = Counter(partial, self._bins)
            if counter.usable:
                for array in self._arrays(whole, spec.name):
                    counter.add(array)
            histogram = counter.result()
        return replace(
            shown,
            values=values,
            shortened=shortened,
            statistics=partial.result() if self._statistics else None,
            histogram=histogram,
        )

    def _values_of(self, shown: ShownTensor, spec: TensorSpec) -> tuple[Array | None, bool]:
        if shown.index is not None:
            axes = resolve(shown.index, spec.shape, spec.name)
            return read_selected(self._reader, spec, axes), False
        if not self._values:
            return None, False
        edges = self._edges
        # NumPy shows all of an axis where it is told to keep no items of it.
        if edges is not None and edges.items and spec.parameters > edges.threshold:
            return read_edges(self._reader, spec, edges.items), True
        return self._reader.read(spec.name), False

    def _arrays(self, whole: Array | None, name: str) -> Iterable[Array]:
        """The tensor's elements: at hand already, or chunk by chunk."""
        if whole is not None:
            return [whole]
        return (chunk.array for chunk in self._reader.chunks(name))
