"""Read Keras 3's ``.weights.h5``, whole or in shards with a ``.weights.json``.

Names are the datasets' own paths (``layers/dense/vars/0``): Keras builds them from class names
and counters.  What a person called a layer is in :meth:`KerasReader.labels`.  Source:
``keras-team/keras:keras/src/saving/saving_lib.py``.
"""

from __future__ import annotations

from ckpttool.errors import CkptError, Problem
from ckpttool.formats.arrays import Damage
from ckpttool.formats.base import CheckpointInfo
from ckpttool.formats.keras._h5 import Dataset, H5File, Inner
from ckpttool.formats.keras._h5_look import MAX_DEPTH
from ckpttool.formats.keras._h5_reader import H5Reader
from ckpttool.formats.locating.located import Located
from ckpttool.formats.locating.sniff import foreign
from ckpttool.names import natural_key
from ckpttool.storage.files import Files, files_for, join, split


class KerasReader(H5Reader):
    """An open ``.weights.h5``."""

    def __init__(self, located: Located, *, inner: Inner | None = None) -> None:
        """``inner`` is what to read instead of the file."""
        super().__init__()
        path = located.index or located.path
        files = files_for(path)
        self._damage = Damage(path)
        shards, missing = located.shards, located.missing
        if inner is None and shards and path not in shards:
            for shard in shards:  # their names are not those that the map has
                self._open(files, shard)
        elif shards or inner is not None or not path.endswith(".json"):
            self._open(files, path, inner)
        else:
            shards, missing = self._open_shards(files, path)
        self.specs = dict(sorted(self.specs.items(), key=lambda item: natural_key(item[0])))
        for file in self._h5.values():
            for problem in file.damage.all():
                self._damage.add(problem)
        self.info = CheckpointInfo(
            path=located.path,
            format=located.format,
            shards=max(1, len(shards)),
            files=tuple(dict.fromkeys((path, *shards))),
            missing_files=missing,
            notices=located.notices,
            damage=self._damage.all(),
        )

    def labels(self) -> dict[str, str]:
        """The ``name`` attribute of each variable's group (the layer's name), by tensor name.

        Keras writes them since 3.8; without them the answer is empty.
        """
        found: dict[str, str] = {}
        by_group: dict[tuple[str, str], str | None] = {}
        for name, dataset in self._datasets.items():
            group = dataset.path.rpartition("/")[0]
            key = (dataset.file, group)
            if key not in by_group:
                by_group[key] = self._h5[dataset.file].text(group, "name")
            label = by_group[key]
            if label:
                found[name] = label
        # Of a group that goes on in the next shard only the first part has the name.
        groups = {name.rpartition("/")[0]: label for name, label in found.items()}
        for name in self.specs:
            label = groups.get(name.rpartition("/")[0])
            if label:
                found.setdefault(name, label)
        return found

    def groups(self) -> dict[str, str | None]:
        """Every ``vars`` group, also one without variables, and its ``name`` (the layer's)."""
        datasets = {(dataset.file, dataset.path) for dataset in self._datasets.values()}
        found: dict[str, str | None] = {}
        for file in self._h5.values():
            todo = [("", 0)]
            while todo:
                group, depth = todo.pop()
                if group.rpartition("/")[2] == "vars":
                    found.setdefault(group, file.text(group, "name"))
                for name in file.names(group) if depth < MAX_DEPTH else ():
                    below = f"{group}/{name}".lstrip("/")
                    if (file.path, below) not in datasets:
                        todo.append((below, depth + 1))
        return dict(sorted(found.items(), key=lambda item: natural_key(item[0])))

    def _open(self, files: Files, path: str, inner: Inner | None = None) -> list[Dataset]:
        file = H5File(files, path, inner=inner)
        self._h5[file.path] = file
        try:
            datasets = list(file.datasets())
        except CkptError:
            if len(self._h5) == 1:
                self.close()
            raise
        for dataset in datasets:
            if dataset.path in self.specs:
                problem = Problem("INP004", f"{dataset.path} is in two shards", file.path)
                self._damage.add(problem)
                continue
            self._list(dataset.path, dataset)
        return datasets

    def _open_shards(self, files: Files, path: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Open all shards that the map names: their paths, and those that are not there."""
        from ckpttool.formats.weight_map import read_weight_map

        weight_map = read_weight_map(files, path)
        directory = split(path)[0]
        names = sorted({name for group in weight_map.values() for name in group})
        paths = {name: join(directory, name) for name in names}
        missing = []
        groups: dict[str, set[str]] = {}
        for name, shard in paths.items():
            if not files.is_file(shard):
                missing.append(shard)
                self._damage.add(Problem("INP006", "a shard is missing", shard, "no such file"))
                continue
            try:
                found = self._open(files, shard)
            except CkptError as error:
                reason = foreign(files, shard)
                for problem in (reason,) if reason else error.problems:
                    self._damage.add(problem)
                continue
            groups[name] = {dataset.path.rpartition("/")[0] for dataset in found}
        for group, shards in weight_map.items():
            for name in shards:
                if name in groups and group.strip("/") not in groups[name]:
                    message = f"{group} is not in its shard"
                    self._damage.add(Problem("INP004", message, paths[name]))
        return tuple(paths.values()), tuple(missing)


def open_keras(located: Located) -> KerasReader:
    """Open a located ``.weights.h5`` or ``.weights.json``."""
    return KerasReader(located)
