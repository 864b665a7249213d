"""A graph without its tensors: a ``.meta``, a frozen GraphDef, a SavedModel without variables."""

from __future__ import annotations

from typing import NoReturn

from ckpttool.errors import InputError, Problem
from ckpttool.formats.arrays import ArrayReader
from ckpttool.formats.base import CheckpointInfo
from ckpttool.formats.locating.located import Located
from ckpttool.formats.streaming import Stream
from ckpttool.storage.files import files_for
from ckpttool.tensors import TensorSpec


class GraphReader(ArrayReader):
    """No tensors, only graphs; a notice says what is missing."""

    def __init__(self, located: Located, notice: Problem | None = None) -> None:
        """``notice`` is what to say about the absence of tensors."""
        files = files_for(located.path)
        for source in located.graphs:
            files.open(source.path).close()  # a path that cannot be read is an error, not a notice
        self.specs: dict[str, TensorSpec] = {}
        self.info = CheckpointInfo(
            path=located.path,
            format=located.format,
            shards=0,
            files=tuple(source.path for source in located.graphs),
            graphs=located.graphs,
            missing_files=located.missing,
            notices=(*located.notices, *((notice,) if notice else ())),
            step=located.step,
        )

    def stored_bytes(self, name: str) -> int:
        """There are no tensors: always :class:`TensorNotFoundError`."""
        self._refuse(name)

    def _whole(self, name: str) -> Stream:
        self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        self.spec(name)
        raise InputError(Problem("INP012", "only the graph is here", self.info.path))


def open_meta_graph(located: Located) -> GraphReader:
    """Open a located graph file."""
    missing = ", ".join(located.missing)
    return GraphReader(
        located,
        Problem(
            "INP012",
            "only the graph is here, without its tensors: names and collections, no values",
            located.path,
            expected=f"{missing} and its data files" if missing else None,
        ),
    )
