"""The checkpoints of one directory, told from its file names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable

_DATA = re.compile(r"(.*)\.data-([0-9]{5,9})-of-([0-9]{5,9})", re.DOTALL)
_V1_SHARD = re.compile(r"(.*)-([0-9]{5,9})-of-([0-9]{5,9})", re.DOTALL)
_STEP = re.compile(r".*-([0-9]{1,18})", re.DOTALL)
MAX_SHARDS = 100_000


class Member:
    """One checkpoint of a directory: the parts that are there, by name.

    ``data`` maps a shard count to the shard numbers that are there; ``v1`` likewise for V1
    shards.  A directory may hold data files of several counts under one prefix.
    """

    __slots__ = ("data", "has_index", "has_meta", "prefix", "v1")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.has_index = False
        self.has_meta = False
        self.data: dict[int, set[int]] = {}
        self.v1: dict[int, set[int]] = {}

    @property
    def step(self) -> int | None:
        """The number after the last dash: ``model.ckpt-168`` is step 168."""
        return step_of(self.prefix)

    @property
    def complete(self) -> bool:
        """Whether an index and all data files of one count, or all V1 shards, are there."""
        return (self.has_index and _full(self.data) is not None) or _full(self.v1) is not None

    def shard_names(self) -> list[str]:
        """Names of the data files that belong together, in shard order, there or not."""
        count = _full(self.data) or max(self.data, default=0)
        return [f"{self.prefix}.data-{i:05}-of-{count:05}" for i in range(count)]

    def v1_names(self) -> list[str]:
        """Names of the V1 shards that belong together, in shard order, there or not."""
        count = _full(self.v1) or max(self.v1, default=0)
        return [f"{self.prefix}-{i:05}-of-{count:05}" for i in range(count)]


def list_members(names: Iterable[str]) -> dict[str, Member]:
    """Every prefix that ``names`` (base names of one directory) have files of."""
    members: dict[str, Member] = {}

    def member(prefix: str) -> Member:
        found = members.get(prefix)
        if found is None:
            found = members[prefix] = Member(prefix)
        return found

    for name in names:
        if name.endswith(".index"):
            member(name[:-6]).has_index = True
        elif name.endswith(".meta"):
            member(name[:-5]).has_meta = True
        elif "-of-" in name:
            match = _DATA.fullmatch(name)
            shards = member(match[1]).data if match else None
            if match is None:
                match = _V1_SHARD.fullmatch(name)
                if match is None or not match[1]:
                    continue
                shards = member(match[1]).v1
            number, count = int(match[2]), int(match[3])
            if shards is not None and number < count <= MAX_SHARDS:
                shards.setdefault(count, set()).add(number)
    return members


def step_of(prefix: str) -> int | None:
    """The number after the last dash of a prefix, None if it has none."""
    match = _STEP.fullmatch(prefix)
    return int(match[1]) if match else None


def split_shard(name: str) -> tuple[str, bool] | None:
    """The prefix of a shard's name, and whether it is a V2 data file; None for other names."""
    match = _DATA.fullmatch(name)
    if match:
        return match[1], True
    match = _V1_SHARD.fullmatch(name)
    return (match[1], False) if match and match[1] else None


def _full(shards: dict[int, set[int]]) -> int | None:
    """The (largest) count whose shards are all there."""
    return max((count for count, found in shards.items() if len(found) == count), default=None)
