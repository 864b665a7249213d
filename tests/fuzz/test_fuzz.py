"""Every fuzz target over its seeds, cut and changed in ways that are the same each time."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from zlib import crc32

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

from targets import TARGETS, run

FOUND = Path(__file__).resolve().parent / "found"
SEEDS = 12  # of each target, spread over all it has
CHANGED = 25  # inputs made of each seed


def _changed(seed: bytes, others: list[bytes], count: int) -> Iterator[bytes]:
    """Flips, cuts, repeats, and pieces of other seeds."""
    chosen = random.Random(crc32(seed))  # noqa: S311
    for _ in range(count):
        data = bytearray(seed)
        for _ in range(chosen.choice((1, 1, 2, 4))):
            at = chosen.randrange(len(data) + 1)
            kind = chosen.randrange(5)
            if kind == 0 and at < len(data):
                data[at] ^= 1 << chosen.randrange(8)
            elif kind == 1 and at < len(data):
                data[at] = chosen.choice((0, 1, 0x7F, 0x80, 0xFF))
            elif kind == 2:
                del data[at : at + chosen.choice((1, 2, 9, len(data)))]
            elif kind == 3:
                data[at:at] = data[at : at + chosen.choice((1, 4, 64))]
            else:
                other = chosen.choice(others)
                data[at : at + 8] = other[at : at + chosen.choice((8, 32))]
        yield bytes(data)


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_seeds_and_what_is_made_of_them(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    seeds = list(target.seeds())
    assert seeds, "a target without seeds tests little"
    some = seeds[:: max(1, len(seeds) // SEEDS)][:SEEDS]
    for seed in some:
        run(target, seed, tmp_path)
        for data in _changed(seed, some, CHANGED):
            run(target, data, tmp_path)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: path.name)
def test_what_fuzzing_found_once(path: Path, tmp_path: Path) -> None:
    run(TARGETS[path.parent.name], path.read_bytes(), tmp_path)


def test_a_seed_is_read_to_its_end(tmp_path: Path) -> None:
    """The targets are not empty: untouched, most seeds are checkpoints that open."""
    from ckpttool.errors import CkptError

    for name in ("v2_bundle", "v1_entries", "npz", "npz_member", "safetensors", "keras",
                 "keras_legacy", "keras_archive", "meta_graph", "mapping"):  # fmt: skip
        target = TARGETS[name]
        opened = 0
        for seed in islice(target.seeds(), 6):
            try:
                target.run(seed, tmp_path)
                opened += 1
            except CkptError:
                continue
        assert opened, name
