"""The names of a directory, sorted into checkpoints, in one pass and without opening a file."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from ckpttool.formats.locating.folder import split_shard
from ckpttool.formats.locating.located import INDEX_SUFFIX, META_SUFFIX, SAVED_MODELS

_SHARD_OF = re.compile(r"(.*)-([0-9]{5})-of-([0-9]{5})\.safetensors", re.DOTALL)
_KERAS_SHARD = re.compile(r"(.*)_[0-9]{5}\.weights\.h5", re.DOTALL)

# What stands for a directory, best first: the map of all shards, then the usual names.
_WEIGHTS = (
    (".safetensors.index.json", ".weights.json"),
    (".safetensors",),
    (".keras", ".weights.h5"),
    (".h5", ".hdf5"),
    (".npz",),
)
_TORCH = (".bin", ".pt", ".pth", ".pkl", ".onnx", ".tflite", ".gguf", ".zip", ".tar", ".gz", ".tgz")
# Endings that no V1 checkpoint has: files of such names are not opened to see what they are.
_KNOWN = (
    ".py", ".pyc", ".ipynb", ".txt", ".md", ".json", ".yaml", ".yml", ".csv", ".tsv", ".log",
    ".png", ".jpg", ".jpeg", ".gif", ".pdf", ".html", ".xml", ".npy", ".tfrecord", ".tfrecords",
    ".config", ".sh", ".c", ".h", ".cc", ".cpp", ".so", ".toml", ".cfg", ".ini",
)  # fmt: skip


class Scan:
    """What the names of a directory promise.

    ``indexes`` and ``metas`` are bases of ``.index`` and ``.meta`` files, ``data`` and
    ``v1_shards`` map a base to the shards here by their promised count.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.indexes: list[str] = []
        self.metas: list[str] = []
        self.data: dict[str, dict[int, set[int]]] = {}
        self.v1_shards: dict[str, dict[int, set[int]]] = {}
        self.saved_model = False
        self._rest: list[str] = []
        for name in names:
            if name.endswith(INDEX_SUFFIX):
                self.indexes.append(name[: -len(INDEX_SUFFIX)])
            elif "-of-" in name and (shard := split_shard(name)) is not None:
                self._add_shard(name, *shard)
            elif name.endswith(META_SUFFIX):
                self.metas.append(name[: -len(META_SUFFIX)])
            elif name in SAVED_MODELS:
                self.saved_model = True
            else:
                self._rest.append(name)

    @cached_property
    def others(self) -> _Others:
        """What is no TensorFlow checkpoint by its name; sorted out when it is asked for."""
        return _Others(self._rest, frozenset(self.metas))

    @property
    def unknown(self) -> list[str]:
        """Names that may be V1 checkpoints, those with a graph or a telling name first."""
        return self.others.unknown

    @property
    def holds_checkpoint(self) -> bool:
        """Whether some name is that of a checkpoint."""
        if self.indexes or self.v1_shards or self.metas or self.saved_model:
            return True
        return bool(self.others.weights or self.others.safetensors_shards)

    def is_complete(self, base: str) -> bool:
        """Whether the index ``base`` has all the shards of some count beside it."""
        return any(len(here) == count for count, here in self.data.get(base, {}).items())

    def prefixes(self) -> list[str]:
        """Everything that can be named as a prefix."""
        return list(dict.fromkeys([*self.indexes, *self.v1_shards, *self.metas]))

    def weight_files(self) -> list[tuple[int, str]]:
        """Weights of other formats as ``(rank, name)``, best first; shards of a map left out."""
        weights, shards = self.others.weights, self.others.safetensors_shards
        maps = {
            name[: -len(suffix)]
            for _, name in weights
            for suffix in _WEIGHTS[0]
            if name.endswith(suffix)
        }
        found = []
        for rank, name in weights:
            keras = _KERAS_SHARD.fullmatch(name)
            if keras is None or keras[1] not in maps:
                found.append((rank, name))
        if shards and not maps:
            if not found and len(shards) == 1:
                return []  # nothing but the shards of one model
            found += [(1, name) for names in shards.values() for name in names]
        return sorted(found)

    def _add_shard(self, name: str, base: str, mark: str) -> None:
        if "?" in name:
            return
        counts = (self.data if mark == ".data-" else self.v1_shards).setdefault(base, {})
        counts.setdefault(int(name[-5:]), set()).add(int(name[-14:-9]))


class _Others:
    """The names of other kinds of files.

    ``weights`` are those of other formats, ranked; ``safetensors_shards`` by base and count.
    """

    def __init__(self, names: list[str], with_graph: frozenset[str]) -> None:
        self.protos: list[str] = []
        self.torch: list[str] = []
        self.weights: list[tuple[int, str]] = []
        self.safetensors_shards: dict[tuple[str, int], set[str]] = {}
        unknown: list[str] = []
        for name in names:
            self._add(name, unknown)
        self.unknown = _likely_first(unknown, with_graph)

    def _add(self, name: str, unknown: list[str]) -> None:
        shard = _SHARD_OF.fullmatch(name) if name.endswith(".safetensors") else None
        if shard is not None:
            self.safetensors_shards.setdefault((shard[1], int(shard[3])), set()).add(name)
            return
        for rank, suffixes in enumerate(_WEIGHTS):
            if name.endswith(suffixes):
                self.weights.append((rank, name))
                return
        if name.endswith((".pb", ".pbtxt")):
            self.protos.append(name)
        elif name.endswith(_TORCH):
            self.torch.append(name)
        elif not name.endswith(_KNOWN) and not name.startswith(("events.out.", ".")):
            unknown.append(name)


def _likely_first(names: list[str], with_graph: frozenset[str]) -> list[str]:
    return sorted(
        (name for name in names if name != "checkpoint"),
        key=lambda name: (name not in with_graph, "ckpt" not in name and "model" not in name),
    )
