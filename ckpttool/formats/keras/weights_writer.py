"""Write Keras 3's ``.weights.h5``, and its sharded form, without Keras.

A tensor's name is its path: ``layers/dense_1/vars/0``.  Files load in every Keras from 3.0 on:
3.0 to 3.5 want a ``vars`` group in every object on the way, so that empty ones are written too.
A template (a ``.weights.h5`` or ``.keras`` of the same model) adds the layers without variables,
and the layers' names.

An output named ``x.weights.json`` is sharded: that map, and ``x_00000.weights.h5`` and so on
beside it.  An output named ``x.weights.h5`` is one file, unless its tensors take more than
``max_shard_bytes``; then it is ``x.weights.json`` and shards as well, as Keras does.  A tensor
larger than that has a shard of its own.  Source:
``keras-team/keras:keras/src/saving/saving_lib.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ckpttool.errors import CkptError, OutputError, Problem
from ckpttool.formats._file_writer import nbytes
from ckpttool.formats.keras._h5_skeleton import Attributes, Layout
from ckpttool.formats.keras._h5_writer import (
    FilePlan,
    H5Writer,
    Refusal,
    Spec,
    clashes,
    leaves_of,
    metadata_attributes,
    too_many,
    unfit,
)
from ckpttool.formats.locating.located import Located
from ckpttool.formats.writing import Output, WriteOptions
from ckpttool.names import printable
from ckpttool.storage.files import files_for, join, split

WHOLE = ".weights.h5"
MAP = ".weights.json"
DEFAULT_SHARD_BYTES = 5 << 30  # Keras' own
VARS = "vars"

# Lists of layers, which have no variables of their own.
_CONTAINERS = {"layers", "_layer_checkpoint_dependencies"}
_NUMBER = re.compile(r"(?:0|[1-9][0-9]{0,5})\Z")


class Template(NamedTuple):
    """What a file of the same model tells: each ``vars`` group's layer name, and all tensors."""

    groups: dict[str, str | None]
    names: frozenset[str]


NO_TEMPLATE = Template({}, frozenset())


def read_template(path: str | None) -> Template:
    """The groups of a ``.weights.h5``, its sharded form, or a ``.keras``; else empty."""
    from ckpttool.formats.keras.weights import KerasReader
    from ckpttool.formats.locating.locate import locate
    from ckpttool.formats.registry import open_located

    if path is None:
        return NO_TEMPLATE
    located = locate(path)
    if located.format not in ("keras", "keras-archive"):
        return NO_TEMPLATE
    with open_located(located) as reader:
        if not isinstance(reader, KerasReader):
            return NO_TEMPLATE
        return Template(reader.groups(), frozenset(reader.specs))


class KerasWriter(H5Writer):
    """One ``.weights.h5``, or a ``.weights.json`` and its shards."""

    format = "keras"

    def __init__(
        self, path: str, options: WriteOptions, force: bool, sources: Iterable[str]
    ) -> None:
        """Raises :class:`OutputError` where the output cannot go."""
        _check_path(path)
        super().__init__(path, options, force, sources, refusals)
        self._map: dict[str, str | list[str]] | None = None
        self._total = 0

    def plans(self, outputs: Sequence[Output]) -> list[FilePlan]:
        """One file, or shards of at most the given size."""
        template = read_template(self.options.template)
        attributes = metadata_attributes(self.options)
        self._total = sum(map(nbytes, outputs))
        limit = self.options.max_shard_bytes
        sharded = self.path.endswith(MAP)
        if not sharded and (limit is None or self._total <= limit):
            return [FilePlan(self.path, layout_of(outputs, template, attributes), outputs)]
        self._map = {}
        plans = []
        for number, shard in enumerate(_shards(outputs, limit or DEFAULT_SHARD_BYTES)):
            name = f"{_base(self.path)}_{number:05d}{WHOLE}"
            layout = Layout(_own_groups(shard, template), leaves_of(shard))
            plans.append(FilePlan(join(split(self.path)[0], name), layout, shard))
            for group in dict.fromkeys(output.name.rpartition("/")[0] for output in shard):
                known = self._map.setdefault(f"/{group}", name)
                if known != name:
                    before = known if isinstance(known, list) else [known]
                    self._map[f"/{group}"] = [*before, name]
        return plans

    def extra_files(self) -> dict[str, bytes]:
        """The map, where there are shards."""
        if self._map is None:
            return {}
        import json

        metadata = {"total_size": self._total, **metadata_attributes(self.options)}
        document = {"metadata": metadata, "weight_map": self._map}
        return {self._map_path(): json.dumps(document, indent=4).encode()}

    def stale(self) -> list[str]:
        """The single file that shards stand for, and the shards that an older map leads to."""
        if self._map is None:
            return []
        from ckpttool.formats.weight_map import read_weight_map

        older = []
        path = self._map_path()
        files = files_for(path)
        if files.is_file(path):
            try:
                names = {name for group in read_weight_map(files, path).values() for name in group}
            except CkptError:
                names = set()  # no map of ours: it alone is replaced
            shard = re.compile(re.escape(_base(path)) + r"_[0-9]{5,}\.weights\.h5\Z")
            older = [join(split(path)[0], name) for name in sorted(names) if shard.match(name)]
        return [self.path, *older]

    def staged(self) -> Located:
        """The written files before they are committed, for reading them back."""
        if self._map is None:
            return super().staged()
        shards = tuple(staged.path for staged in self.staged_files[:-1])
        last = self.staged_files[-1]
        return Located(last.final, self.format, last.path, shards)

    def _map_path(self) -> str:
        return self.path if self.path.endswith(MAP) else self.path.removesuffix(WHOLE) + MAP


def layout_of(outputs: Sequence[Output], template: Template, root: Attributes) -> Layout:
    """The groups and datasets of a whole file; ``root`` are attributes of its root."""
    groups: dict[str, Attributes] = {"": root, VARS: {}}
    for output in outputs:
        parts = output.name.split("/")[:-2]
        for depth in range(len(parts)):
            if parts[depth] not in _CONTAINERS:
                groups["/".join((*parts[: depth + 1], VARS))] = {}
    used = {name.rpartition("/")[0] for name in template.names}
    for group, label in template.groups.items():
        # A group that has variables in the template and none here is left out: Keras then says
        # which layer it misses.
        if group in groups or group not in used:
            groups[group] = {"name": label} if label is not None else {}
    return Layout(groups, leaves_of(outputs))


def _own_groups(outputs: Sequence[Output], template: Template) -> dict[str, Attributes]:
    """The groups of a shard.  What knows shards needs no empty ones."""
    groups: dict[str, Attributes] = {}
    for output in outputs:
        group = output.name.rpartition("/")[0]
        label = template.groups.get(group)
        groups[group] = {"name": label} if label is not None else {}
    return groups


def _shards(outputs: Sequence[Output], limit: int) -> list[list[Output]]:
    """Neighbours together, as many as fit; one empty shard if there is nothing."""
    shards: list[list[Output]] = [[]]
    size = 0
    for output in outputs:
        more = nbytes(output)
        if shards[-1] and size + more > limit:
            shards.append([])
            size = 0
        shards[-1].append(output)
        size += more
    return shards


def _base(path: str) -> str:
    """What shards' names begin with; Keras computes it and opens the first before the map."""
    name = split(path)[1]
    stem = name.removesuffix(MAP).removesuffix(WHOLE)
    return stem.replace(".weights", "")


def _check_path(path: str) -> None:
    name = split(path)[1]
    if name.endswith((WHOLE, MAP)) and name not in (WHOLE, MAP):
        return
    stem = name.removesuffix(MAP).removesuffix(WHOLE).removesuffix(".h5") or "model"
    raise OutputError(
        Problem(
            "OUT002", "Keras knows its weights by the end of the file's name", path,
            expected=f"*{WHOLE}, or *{MAP} for shards",
            hint=f"try {join(split(path)[0], stem + WHOLE)}",
        )
    )  # fmt: skip


def refusals(specs: Sequence[Spec], options: WriteOptions) -> Iterator[Refusal]:
    """For each tensor that Keras could not load: its name, why, and what was found."""
    known: frozenset[str] | None = None  # the template is read only if there is a question
    numbers: dict[str, set[int]] = {}
    sound: list[tuple[str, str]] = []
    for name, dtype, shape in specs:
        why = unfit(name, dtype, shape)
        if not why and (why := _misplaced(name)):
            known = _known(known, options)
            if name in known:  # a layer that stores its state in its own way
                why = None
        elif not why:
            group, _, number = name.rpartition("/")
            numbers.setdefault(group, set()).add(int(number))
        if why:
            yield (name, *why)
        else:
            sound.append((name, name))
    yield from clashes(sound)
    yield from too_many([name for name, _ in sound])
    for group, found in numbers.items():
        if len(found) <= max(found):
            known = _known(known, options)
            yield from _gap(group, found, known)


def _known(known: frozenset[str] | None, options: WriteOptions) -> frozenset[str]:
    return read_template(options.template).names if known is None else known


def _gap(group: str, found: set[int], known: frozenset[str]) -> Iterator[Refusal]:
    """The first number that a layer lacks, unless the template lacks it too."""
    last = max(found)
    same = f"{group}/{last}" in known
    for number in range(last):
        if number not in found and not (same and f"{group}/{number}" not in known):
            why = f"{group}/{number} is missing: Keras reads the numbers from 0 on"
            yield f"{group}/{last}", why, f"{len(found)} of {last + 1} variables"
            return


def _misplaced(name: str) -> tuple[str, str] | None:
    """Why Keras would not look for a variable at this path."""
    parts = name.split("/")
    if len(parts) < 2 or parts[-2] != VARS or not _NUMBER.match(parts[-1]):
        why = "Keras looks for variables at <path of the layer>/vars/<number> only"
        return why, printable("/".join(parts[-2:]))
    if VARS in parts[:-2]:
        return "there is a group `vars` inside of `vars`", printable(name)
    return None


def create(
    path: str,
    *,
    options: WriteOptions = WriteOptions(),  # noqa: B008  # immutable
    force: bool = False,
    sources: Iterable[str] = (),
) -> KerasWriter:
    """A writer of ``path``; raises :class:`OutputError` where the output cannot go."""
    return KerasWriter(path, options, force, sources)
