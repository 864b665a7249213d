"""What every writer answers to: declare every tensor, stream the data, commit.

Nothing has its final name before :meth:`Writer.commit`; a writer that is left without it leaves
nothing behind.  The same tensors in the same order give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ckpttool.formats.locating.located import Located
from ckpttool.storage.atomic import Staged
from ckpttool.tensors import Shape

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

# Arrays, of any shape, that together are the tensor in C order.  Each call begins anew: writers
# of strings and of checksummed headers call it twice.
Values = Callable[[], Iterable["Array"]]


class Stored(NamedTuple):
    """Where the bytes of a tensor lie in a file: all of them, little-endian and in C order."""

    path: str
    offset: int


class Output(NamedTuple):
    """A tensor to be written.

    ``name`` is the key that the file gives it; ``dtype`` is TensorFlow's name.  ``values`` yields
    arrays of that dtype (object arrays of ``bytes`` for strings).  With ``stored`` the same bytes
    may be copied from there instead: nobody has seen them then, so they want checking.
    """

    name: str
    dtype: str
    shape: Shape
    values: Values
    stored: Stored | None = None


class Span(NamedTuple):
    """The bytes of a tensor in a temporary file.

    ``crc32c`` is the checksum that they must have, where the writer knows it; None where whoever
    streams the values does.
    """

    name: str
    offset: int
    size: int
    crc32c: int | None = None


Progress = Callable[[int], None]  # is told the bytes of each piece
Follow = Callable[[Staged, Span], None]  # is told each span that is there


def ignore(*_: object) -> None:
    """Nobody follows, and nobody wants to know how far it is."""


class WriteOptions(NamedTuple):
    """What a writer may be told.

    ``metadata`` are texts that describe the migration; a format that has a place for them keeps
    them.  ``max_shard_bytes`` splits the output of formats that have shards.  ``template`` is the
    path of the file whose model the output is for, where a format needs more of it than names.
    """

    metadata: Mapping[str, str] = {}
    max_shard_bytes: int | None = None
    template: str | None = None


class Written(NamedTuple):
    """What was written: the path a person would type, all files, their bytes, and the tensors."""

    path: str
    files: tuple[str, ...]
    bytes: int
    tensors: int


class Writer(Protocol):
    """One output.  Use it as a context; leaving it without :meth:`commit` undoes all."""

    def declare(self, output: Output) -> None:
        """Add a tensor; raises :class:`OutputError` (OUT005) where the format cannot hold it."""

    def write(self, progress: Progress = ignore, follow: Follow = ignore) -> None:
        """Stream everything into temporary files."""

    def staged(self) -> Located:
        """What a reader opens to read the temporary files back."""

    def flushing(self) -> AbstractContextManager[None]:
        """Send what is written to the disk while the body runs."""

    def commit(self) -> Written:
        """Give the files their names, all or none."""

    def __enter__(self) -> Writer: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class Opener(Protocol):
    """How a writer is made.

    ``sources`` are files that must not be replaced; ``force`` replaces an output that exists.
    Raises :class:`OutputError` where the output cannot go.
    """

    def __call__(
        self,
        path: str,
        *,
        options: WriteOptions = ...,
        force: bool = ...,
        sources: Iterable[str] = ...,
    ) -> Writer: ...


class Names(Protocol):
    """Checks of a target's names and specs before anything is written."""

    def __call__(
        self, specs: Sequence[tuple[str, str, Shape]], options: WriteOptions
    ) -> Iterable[tuple[str, str, str]]:
        """For each (name, dtype, shape) that the format cannot hold: name, why, what was found."""
