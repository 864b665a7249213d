"""From ``name[0:2,:]`` to a tensor and the part of it that is wanted, read in bounded memory.

Indexing is NumPy's: integers (negative ones count from the end), ``start:stop:step`` and ``...``;
axes that are left out are whole.  A name that exists wins over a reading as a slice, for names may
hold brackets themselves.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.analysis.roles import VALUE_SUFFIX
from ckpttool.errors import InputError, Problem, TensorNotFoundError, UsageError
from ckpttool.formats.base import CHUNK_BYTES, Reader
from ckpttool.names import glob_matcher, nearest
from ckpttool.tensors import Shape, TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Axis = int | slice
_INTEGER = re.compile(r"\s*([+-]?[0-9]{1,18})\s*", re.ASCII)
_MAX_AXES = 64
_WILD = "*?["


class Selection(NamedTuple):
    """One tensor, and the index as it was written; ``index`` is None for the whole tensor."""

    name: str
    index: str | None = None  # type: ignore[assignment]  # hides tuple.index, which nobody calls

    @property
    def label(self) -> str:
        """The selection as a person types it."""
        return self.name if self.index is None else f"{self.name}[{self.index}]"


def select(
    words: Sequence[str],
    specs: Mapping[str, TensorSpec],
    *,
    alias: Callable[[str], str | None] = lambda name: None,
    where: str | None = None,
) -> list[Selection]:
    """The selections that ``words`` mean, each once, in the order of the words.

    A word is a name, a name with a slice, or a glob over names (also with a slice); ``:0`` behind
    a name, and a TF2 key's ``/.ATTRIBUTES/VARIABLE_VALUE``, may be there or not.  ``alias`` gives
    the key of a name that the checkpoint does not have.  Every problem is reported at once:
    :class:`TensorNotFoundError` for names, :class:`UsageError` (USE002) for slices.
    """
    found: dict[Selection, None] = {}
    unknown: list[Problem] = []
    misfits: list[Problem] = []
    for word in words:
        hits = _hits(word, specs, alias)
        if not hits:
            unknown.append(_unknown(word, specs, where))
        for item in hits:
            found[item] = None
            if item.index is not None:
                try:
                    resolve(item.index, specs[item.name].shape, item.name)
                except UsageError as error:
                    misfits += error.problems
    if unknown:
        raise TensorNotFoundError(*unknown, *misfits)
    if misfits:
        raise UsageError(*misfits)
    return list(found)


def _hits(
    word: str, specs: Mapping[str, TensorSpec], alias: Callable[[str], str | None]
) -> list[Selection]:
    key = _key(word, specs)
    if key is not None:
        return [Selection(key)]
    base, index = _split(word)
    if index is not None:
        key = _key(base, specs) or _known(alias(_bare(base)), specs)
        if key is not None:
            return [Selection(key, index)]
    matches = glob_matcher([word])
    hits = [Selection(name) for name in specs if matches(name)]
    if not hits and index is not None and any(mark in base for mark in _WILD):
        matches = glob_matcher([base])
        hits = [Selection(name, index) for name in specs if matches(name)]
    if hits:
        return hits
    key = _known(alias(_bare(word)), specs)
    return [] if key is None else [Selection(key)]


def _key(name: str, specs: Mapping[str, TensorSpec]) -> str | None:
    """The key that ``name`` stands for, as it is or with the usual endings off or on."""
    for form in (name, _bare(name)):
        for key in (form, form + VALUE_SUFFIX):
            if key in specs:
                return key
    return None


def _bare(name: str) -> str:
    return name[:-2] if name.endswith(":0") else name


def _known(name: str | None, specs: Mapping[str, TensorSpec]) -> str | None:
    return name if name in specs else None


def _split(word: str) -> tuple[str, str | None]:
    """``name[index]`` in two; the index is None where there is none."""
    if not word.endswith("]"):
        return word, None
    base, bracket, index = word[:-1].rpartition("[")
    return (base, index) if bracket and base else (word, None)


def _unknown(word: str, specs: Mapping[str, TensorSpec], where: str | None) -> Problem:
    base, _ = _split(word)
    if base not in specs and any(mark in word for mark in "*?"):
        return Problem("INP010", f"no tensor matches {word}", where)
    close = nearest(_bare(base), specs)
    return Problem(
        "INP010",
        f"no tensor named {base}",
        where,
        hint=f"nearest: {', '.join(close)}" if close else None,
    )


def resolve(index: str, shape: Shape, name: str = "the tensor") -> tuple[Axis, ...]:
    """An index for every axis of ``shape``; slices have non-negative starts and explicit stops.

    Raises :class:`UsageError` (USE002) with the shape if the index is no index or does not fit.
    """
    items = [item.strip() for item in index.split(",")]
    if items and items[-1] == "" and len(items) > 1:
        items.pop()  # a trailing comma, as in Python
    if items.count("...") > 1:
        raise _misfit("only one ... can stand in a slice", index, shape, name)
    given = len(items) - items.count("...")
    if given > len(shape) or given > _MAX_AXES:
        raise _misfit("too many axes", index, shape, name)
    whole = ["..."] if "..." not in items else []
    axes: list[Axis] = []
    for item in (*items, *whole):
        if item == "...":
            axes += [
                slice(0, size, 1) for size in shape[len(axes) : len(axes) + len(shape) - given]
            ]
        else:
            try:
                axes.append(_axis(item, shape[len(axes)]))
            except ValueError as error:
                raise _misfit(str(error), index, shape, name) from error
    return tuple(axes)


def _axis(item: str, size: int) -> Axis:
    """One axis' index; :class:`ValueError` with the reason if it is none."""
    parts = item.split(":")
    if len(parts) == 1:
        number = _integer(item)
        if number is None:
            raise ValueError("an axis is empty")
        if not -size <= number < size:
            raise ValueError(f"{number} is outside an axis of {size}")
        return number % size
    if len(parts) > 3:
        raise ValueError(f"{item} is no slice")
    start, stop, step = (_integer(part) for part in (*parts, "")[:3])
    if step == 0:
        raise ValueError("a step cannot be 0")
    return slice(start, stop, step)


def _integer(text: str) -> int | None:
    if not text.strip():
        return None
    match = _INTEGER.fullmatch(text)
    if match is None:
        raise ValueError(f"{text.strip()} is no number")
    return int(match.group(1))


def _misfit(message: str, index: str, shape: Shape, name: str) -> UsageError:
    return UsageError(
        Problem(
            "USE002",
            f"the slice does not fit {name}: {message}",
            found=f"[{index}]",
            expected=f"a slice of shape {list(shape)}, like [{_example(shape)}]",
        )
    )


def _example(shape: Shape) -> str:
    return ",".join(["0:2", *([":"] * (len(shape) - 1))]) if shape else "..."


def sliced_shape(axes: Sequence[Axis], shape: Shape) -> Shape:
    """The shape of what ``axes`` (see :func:`resolve`) leave of ``shape``."""
    return tuple(
        len(range(*axis.indices(size)))
        for axis, size in zip(axes, shape, strict=True)
        if isinstance(axis, slice)
    )


def read_selected(reader: Reader, spec: TensorSpec, axes: Sequence[Axis]) -> Array:
    """The part of a tensor that ``axes`` leave, read row block by row block.

    Memory is what the result takes and one block.  All of the tensor is read, so that its
    checksum is checked; raises what :meth:`Reader.chunks` raises.
    """
    if not axes:
        return reader.read(spec.name)
    out = _allocate(sliced_shape(axes, spec.shape), spec)
    first, rest = axes[0], tuple(axes[1:])
    if isinstance(first, int):
        for start, block in row_blocks(reader, spec):
            if start <= first < start + len(block):
                at = (first - start, *rest)
                out[...] = block[at]
        return out
    rows = range(*first.indices(spec.shape[0]))
    rising = rows if rows.step > 0 else rows[::-1]
    target = out if rows.step > 0 else out[::-1]
    for start, block in row_blocks(reader, spec):
        low = max(0, -((rising.start - start) // rising.step))
        high = min(len(rising), -((rising.start - start - len(block)) // rising.step))
        if low < high:
            here = slice(rising[low] - start, rising[high - 1] - start + 1, rising.step)
            at_rows = (here, *rest)
            target[low:high] = block[at_rows]
    return out


def read_edges(reader: Reader, spec: TensorSpec, items: int) -> Array:
    """What a shortened print of a tensor shows: ``items`` at both ends of every longer axis.

    A longer axis keeps one more element between its ends, so that it still prints as shortened.
    """
    picks = [
        list(range(size))
        if size <= 2 * items + 1
        else [*range(items + 1), *range(size - items, size)]
        for size in spec.shape
    ]
    if not picks:
        return reader.read(spec.name)
    import numpy as np

    out = _allocate(tuple(len(pick) for pick in picks), spec)
    for start, block in row_blocks(reader, spec):
        here = [at for at, row in enumerate(picks[0]) if start <= row < start + len(block)]
        if here:
            rows = [picks[0][at] - start for at in here]
            out[here] = block[np.ix_(rows, *picks[1:])]
    return out


def row_blocks(reader: Reader, spec: TensorSpec) -> Iterator[tuple[int, Array]]:
    """Whole rows (along the first axis) in order: the first one's number, and the rows."""
    import numpy as np

    row = spec.parameters // spec.shape[0] if spec.shape[0] else 0
    if not row:
        for _ in reader.chunks(spec.name):
            pass  # nothing to give, but the checksum is still checked
        return
    held: list[Array] = []
    size = 0
    start = 0
    for chunk in reader.chunks(spec.name, max(CHUNK_BYTES, row)):
        held.append(chunk.array)
        size += len(chunk.array)
        rows = size // row
        if rows:
            joined = held[0] if len(held) == 1 else np.concatenate(held)
            yield start, joined[: rows * row].reshape(rows, *spec.shape[1:])
            held = [joined[rows * row :]] if size > rows * row else []
            size -= rows * row
            start += rows


def _allocate(shape: Shape, spec: TensorSpec) -> Array:
    import numpy as np

    dtype = dtype_named(spec.dtype)
    if dtype.array_type is None:
        raise InputError(
            Problem("INP011", f"tensor {spec.name} of dtype {spec.dtype} cannot be decoded")
        )
    try:
        return np.empty(shape, dtype.numpy)
    except (MemoryError, ValueError) as error:
        raise InputError(
            Problem("INP009", f"{spec.name} does not fit in memory", found=str(list(shape)))
        ) from error
