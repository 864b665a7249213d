"""TF1's V2 bundle as one of the formats that can be written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType

from ckpttool.errors import OutputError, Problem
from ckpttool.formats.locating.located import Located
from ckpttool.formats.tensorflow.bundle_writer import BundleWriter
from ckpttool.formats.writing import Follow, Output, Progress, WriteOptions, Written, ignore
from ckpttool.names import OBJECT_GRAPH_KEY, encode_name
from ckpttool.tensors import Shape, dtype_named

MAX_NAME_BYTES = 64 << 10

_INDEX = ".index"


class BundleTarget:
    """A :class:`BundleWriter` of tensors that are all encoded."""

    def __init__(self, prefix: str, force: bool, sources: Iterable[str]) -> None:
        """Raises :class:`OutputError` where the output cannot go."""
        self.bundle = BundleWriter(prefix.removesuffix(_INDEX), force=force, sources=sources)

    def declare(self, output: Output) -> None:
        """Add a tensor; OUT005 where a bundle has no dtype for it."""
        enum = dtype_named(output.dtype).enum
        if not enum:
            message = f"TensorFlow has no dtype for {output.name}"
            raise OutputError(Problem("OUT005", message, self.bundle.prefix, output.dtype))
        self.bundle.encode(output.name, enum, output.shape, output.values)

    def write(self, progress: Progress = ignore, follow: Follow = ignore) -> None:
        """Stream everything into temporary files."""
        self.bundle.write(progress, follow)

    def staged(self) -> Located:
        """The temporary files."""
        return self.bundle.staged()

    def flushing(self) -> AbstractContextManager[None]:
        """Flush while the body runs."""
        return self.bundle.flushing()

    def commit(self) -> Written:
        """Give the files their names."""
        return Written(*self.bundle.commit())

    def __enter__(self) -> BundleTarget:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bundle.__exit__(kind, error, trace)


def refusals(
    specs: Sequence[tuple[str, str, Shape]], options: WriteOptions
) -> Iterator[tuple[str, str, str]]:
    """For each tensor that a name-based bundle cannot hold: its name, why, and what was found."""
    for name, _, _ in specs:
        reason = invalid_name(name)
        if reason:
            yield name, f"its name {reason}", f"{len(name)} characters"


def invalid_name(name: str) -> str | None:
    """Why a V2 bundle cannot hold a name, or would become another kind of file by it."""
    if not name:
        return "is empty"
    if name.startswith("\0"):
        return "begins with a zero byte, as only the keys of slices do"
    if name == OBJECT_GRAPH_KEY:
        return "is the key of an object graph"
    try:
        size = len(encode_name(name))
    except UnicodeEncodeError:
        return "cannot be encoded"
    return f"is longer than {MAX_NAME_BYTES} bytes" if size > MAX_NAME_BYTES else None


def create(
    path: str,
    *,
    options: WriteOptions = WriteOptions(),  # noqa: B008  # immutable
    force: bool = False,
    sources: Iterable[str] = (),
) -> BundleTarget:
    """A writer of the bundle with prefix ``path``."""
    return BundleTarget(path, force, sources)
