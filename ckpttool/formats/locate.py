"""From what a person typed to the files of one checkpoint.

Imports nothing heavy: the magic numbers and siblings decide, not the extension alone.
"""

from __future__ import annotations

from typing import NamedTuple

from ckpttool.errors import Problem
from ckpttool.formats.base import GraphSource


class Located(NamedTuple):
    """A checkpoint that was found, before it is opened.

    ``path`` is the prefix, file or directory to show and to type again.  ``index`` is the file
    that lists the tensors (``.index``, the V1 file or first shard, the ``.h5``, …; None for a
    graph alone).  ``shards`` are the data files in shard order: paths that the names promise,
    whether or not they are there (``missing`` has those that are not).
    """

    path: str
    format: str
    index: str | None  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    shards: tuple[str, ...] = ()
    graphs: tuple[GraphSource, ...] = ()
    missing: tuple[str, ...] = ()
    notices: tuple[Problem, ...] = ()
    step: int | None = None


def locate(path: str) -> Located:
    """Find the checkpoint that ``path`` means; raises :class:`InputError` saying what to try."""
    raise NotImplementedError
