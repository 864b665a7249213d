"""Carry out a plan: write the output, read it back, and only then give it its name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import MappingError, OutputError, Problem
from ckpttool.formats.base import Reader
from ckpttool.formats.bundle import BundleReader, StoredPart
from ckpttool.formats.bundle_writer import BundleWriter, PartSource, Written
from ckpttool.mapping.plan import Plan, Step, fingerprint, plan_data
from ckpttool.mapping.readback import Follower, StoredReader, read_back
from ckpttool.storage.files import files_for
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    from ckpttool.formats.bundle_writer import Values

_INDEX = ".index"


class RemapResult(NamedTuple):
    """What a remap did.  ``output`` is None for a dry run; ``verified`` says it was read back."""

    plan: Plan
    output: Written | None
    verified: bool
    notices: tuple[Problem, ...]

    def data(self) -> dict[str, Any]:
        """The result as plain data, the keys of the JSON output."""
        body = plan_data(self.plan)
        body["output"] = None
        if self.output is not None:
            body["output"] = {
                "path": self.output.path,
                "format": "tf-v2",
                "bytes": self.output.bytes,
                "tensors": self.output.tensors,
            }
        body["verified"] = self.verified
        return body


def execute(
    plan: Plan,
    reader: Reader,
    output: str,
    *,
    link: bool = False,
    force: bool = False,
    verify: bool = True,
) -> RemapResult:
    """Write the plan's tensors from ``reader`` to the bundle of prefix ``output``.

    ``link`` shares the source's data files by hard links and writes an index alone.  With
    ``verify`` the output is read back, every checksum of copied data included, before it gets its
    name: a failed run leaves nothing.  Raises :class:`OutputError`, and :class:`InputError` where
    the source turns out damaged.
    """
    if fingerprint(reader.specs) != plan.fingerprint:
        problem = Problem("MAP003", "the plan was made for another checkpoint", plan.source)
        raise MappingError(problem)
    stored = _stored_reader(reader)
    if link and stored is None:
        problem = Problem(
            "OUT002",
            "only the data of a V2 checkpoint can be linked",
            reader.info.path,
            reader.info.format,
            hint="leave out --link to convert it",
        )
        raise OutputError(problem)
    prefix = output.removesuffix(_INDEX)
    sources = [*reader.info.files, *(graph.path for graph in reader.info.graphs)]
    links = stored.shard_paths if link and stored else ()
    endianness = stored.endianness if stored else "little"
    with BundleWriter(
        prefix, endianness=endianness, link=links, force=force, sources=sources
    ) as writer:
        for step in plan.steps:
            _declare(writer, step, reader, stored)
        with writer.flushing():
            if not verify:
                writer.write()
            else:
                with Follower() as follower:
                    writer.write(follower.follow)
                sound = follower.sound
                read_back(writer, plan, reader, stored, data=not link, sound=sound)
        written = writer.commit()
    return RemapResult(plan, written, verify, tuple(notices(plan, reader, prefix)))


def notices(plan: Plan, reader: Reader, output: str | None = None) -> Iterator[Problem]:
    """What a person must know beside the plan: warnings, and that graphs are not copied."""
    yield from plan.warnings
    stale = ": it is stale, it has the old names" if plan.renamed else ""
    for graph in reader.info.graphs:
        yield Problem(
            "OUT006",
            f"the graph file is not copied{stale}",
            graph.path,
            hint="build the graph with the new names, and restore the output into it"
            if stale
            else None,
        )
    if output is not None and files_for(output).is_file(f"{output}.meta"):
        yield Problem(
            "OUT006",
            "a graph file is there from before: it may not fit the new names",
            f"{output}.meta",
        )


def _stored_reader(reader: Reader) -> StoredReader | None:
    """The reader that knows where bytes are stored, if ``reader`` is or has one."""
    inner = getattr(reader, "bundle", reader)
    return inner if isinstance(inner, BundleReader) else None


def _declare(writer: BundleWriter, step: Step, reader: Reader, stored: StoredReader | None) -> None:
    source = step.sources[0]
    if stored is not None:
        enum = stored.entry_dtype_enum(source)
        writer.copy(step.target, enum, step.shape, _part_sources(stored.stored_parts(source)))
        return
    enum = dtype_named(step.dtype).enum
    if not enum:
        problem = Problem("OUT005", f"TensorFlow has no dtype for {source}", None, step.dtype)
        raise OutputError(problem)
    writer.encode(step.target, enum, step.shape, _values(reader, source))


def _part_sources(parts: Sequence[StoredPart]) -> list[PartSource]:
    return [
        PartSource(part.path, part.offset, part.size, part.crc32c, part.extents, part.shard)
        for part in parts
    ]


def _values(reader: Reader, name: str) -> Values:
    return lambda: (chunk.array for chunk in reader.chunks(name))
