"""Carry out a plan: write the output, read it back, and only then give it its name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import MappingError, OutputError, Problem
from ckpttool.formats.base import Reader
from ckpttool.formats.targets import TARGETS
from ckpttool.formats.tensorflow.bundle import BundleReader, StoredPart
from ckpttool.formats.tensorflow.bundle_writer import BundleWriter, PartSource
from ckpttool.formats.writing import Progress, Written, ignore
from ckpttool.mapping.execution.converting import values_of
from ckpttool.mapping.execution.following import Follower
from ckpttool.mapping.execution.readback import StoredReader, read_back
from ckpttool.mapping.planning.expressions import Evaluator
from ckpttool.mapping.planning.plan import Plan, Step, fingerprint, plan_data
from ckpttool.storage.files import files_for
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    from ckpttool.mapping.execution.checksums import Checksums

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
        body["target"] = self.plan.target
        body["assumes"] = dict(self.plan.assumes)
        body["caveats"] = list(self.plan.caveats)
        body["output"] = None
        if self.output is not None:
            body["output"] = {
                "path": self.output.path,
                "format": TARGETS[self.plan.target].format,
                "bytes": self.output.bytes,
                "tensors": self.output.tensors,
                "files": list(self.output.files),
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
    progress: Progress = ignore,
) -> RemapResult:
    """Write the plan's tensors from ``reader`` to ``output``, in the plan's format.

    ``link`` shares the source's data files by hard links and writes an index alone.  With
    ``verify`` the output is read back before it gets its name: a failed run leaves nothing.
    Raises :class:`OutputError`, and :class:`InputError` where the source turns out damaged.
    """
    if fingerprint(reader.specs) != plan.fingerprint:
        problem = Problem("MAP003", "the plan was made for another checkpoint", plan.source)
        raise MappingError(problem)
    if link and not plan.only_renames:
        step = next(step for step in plan.steps if step.expression is not None)
        raise _not_linked(step.rule, f"{step.target}: {', '.join(step.operations)}")
    if plan.target == "tf1":
        written = _to_bundle(plan, reader, output, link, force, verify, progress)
    elif link:
        raise _not_linked(output, plan.target)
    else:
        from ckpttool.mapping.execution.converting import convert

        written = convert(plan, reader, output, force=force, verify=verify, progress=progress)
    return RemapResult(plan, written, verify, tuple(notices(plan, reader, output)))


def _not_linked(where: str, found: str) -> OutputError:
    return OutputError(
        Problem(
            "OUT002",
            "only the data of a V2 checkpoint can be linked, and only as it is",
            where,
            found,
            hint="leave out --link to convert it",
        )
    )


def _to_bundle(
    plan: Plan,
    reader: Reader,
    output: str,
    link: bool,
    force: bool,
    verify: bool,
    progress: Progress,
) -> Written:
    """A V2 bundle: bytes that are a bundle's already are copied, or linked, as they are."""
    from ckpttool.mapping.execution.checksums import Checksums
    from ckpttool.mapping.transforms.workspace import Workspace

    stored = _stored_reader(reader)
    if stored is not None and stored.endianness == "big" and not plan.only_renames:
        stored = None  # one file has one byte order
    if link and stored is None:
        raise _not_linked(reader.info.path, reader.info.format)
    prefix = output.removesuffix(_INDEX)
    sources = [*reader.info.files, *(graph.path for graph in reader.info.graphs)]
    sums = Checksums()
    with (
        Workspace(os.path.dirname(os.path.abspath(prefix))) as workspace,
        BundleWriter(
            prefix,
            endianness=stored.endianness if stored else "little",
            link=stored.shard_paths if link and stored else (),
            force=force,
            sources=sources,
        ) as writer,
    ):
        declarer = _Declarer(writer, reader, stored, Evaluator(reader, workspace), sums)
        for step in plan.steps:
            declarer.declare(step)
        with writer.flushing():
            if verify:
                with Follower(sums) as follower:
                    writer.write(progress, follower.follow)
                workspace.clear()
                sound = follower.sound
                read_back(writer, plan, reader, stored, data=not link, sound=sound, sums=sums)
            else:
                writer.write(progress)
        return Written(*writer.commit())


def notices(plan: Plan, reader: Reader, output: str | None = None) -> Iterator[Problem]:
    """What a person must know beside the plan: warnings, and that graphs are not copied.

    Only a bundle is restored by a graph, so other targets are told nothing of it.
    """
    yield from plan.warnings
    if plan.target != "tf1":
        return
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


class _Declarer:
    """Declares steps to a bundle's writer."""

    def __init__(
        self,
        writer: BundleWriter,
        reader: Reader,
        stored: StoredReader | None,
        evaluator: Evaluator,
        sums: Checksums,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._stored = stored
        self._evaluator = evaluator
        self._sums = sums

    def declare(self, step: Step) -> None:
        """Copy where the bytes are there as they shall be, else encode."""
        if self._stored is not None and step.expression is None:
            name = step.sources[0]
            enum = self._stored.entry_dtype_enum(name)
            parts = _part_sources(self._stored.stored_parts(name))
            self._writer.copy(step.target, enum, step.shape, parts)
            return
        enum = dtype_named(step.dtype).enum
        if not enum:
            message = f"TensorFlow has no dtype for {step.target}"
            raise OutputError(Problem("OUT005", message, step.rule, step.dtype))
        values = values_of(step, self._reader, self._evaluator)
        self._writer.encode(step.target, enum, step.shape, self._sums.followed(step.target, values))


def _part_sources(parts: Sequence[StoredPart]) -> list[PartSource]:
    return [
        PartSource(part.path, part.offset, part.size, part.crc32c, part.extents, part.shard)
        for part in parts
    ]
