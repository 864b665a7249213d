"""What a comparison is asked to do: its options, and what they select and call the tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis.metrics import EXACT, Tolerance
from ckpttool.analysis.roles import Role, infer_roles
from ckpttool.analysis.sides import renamed_keys
from ckpttool.analysis.tree import CheckpointSummary
from ckpttool.errors import Problem, UsageError
from ckpttool.formats.registry import FORMATS
from ckpttool.names import OBJECT_GRAPH_KEY, glob_matcher

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.formats.base import Reader


class DiffOptions(NamedTuple):
    """How to compare.

    ``match``, ``exclude`` and ``roles`` select by the names of the comparison.  ``full`` reads
    what the checksums already tell.  ``check`` compares stored checksums with what was read.
    ``keys_a`` gives the key of each name of the first checkpoint, where a mapping file renames
    them (``dropped`` are those that it leaves out); a prefix is taken off after that.  Of a
    series, ``strip_prefix_b`` is for all checkpoints but the first.  Without
    ``graph_roles`` the roles are told by names and shapes alone, and no graph is read.  ``fork``
    lets a second process do half of the work: not for programs that have threads.
    ``reader_a`` computes the first checkpoint's tensors as a mapping file transforms them.
    """

    match: Sequence[str] = ()
    exclude: Sequence[str] = ()
    roles: Sequence[str] = ()
    tolerance: Tolerance = EXACT
    full: bool = False
    check: bool = True
    renames: bool = True
    strip_prefix_a: str = ""
    strip_prefix_b: str = ""
    keys_a: Mapping[str, str] | None = None
    dropped: tuple[str, ...] = ()
    graph_roles: bool = True
    threads: int | None = None
    fork: bool = False
    reader_a: Reader | None = None


def check_tolerance(tolerance: Tolerance) -> None:
    """Raise :class:`UsageError` for a tolerance that is negative or NaN."""
    if not (tolerance.rtol >= 0 and tolerance.atol >= 0):
        raise UsageError(
            Problem(
                "USE003",
                "a tolerance is a number from 0 up",
                found=f"rtol {tolerance.rtol}, atol {tolerance.atol}",
            )
        )


def roles_of(checkpoint: Checkpoint, options: DiffOptions) -> Callable[[], Mapping[str, Role]]:
    """The roles of a checkpoint's keys, found when they are first asked for."""
    found: list[Mapping[str, Role]] = []

    def roles() -> Mapping[str, Role]:
        if not found:
            known = options.graph_roles or OBJECT_GRAPH_KEY in checkpoint.specs
            found.append(checkpoint.roles if known else infer_roles(checkpoint.specs))
        return found[0]

    return roles


def summary_of(checkpoint: Checkpoint, options: DiffOptions) -> CheckpointSummary:
    """What the checkpoint is; its graph is only looked into if the options want its roles."""
    if options.graph_roles:
        return checkpoint.summary()
    info = checkpoint.info
    title = FORMATS[info.format].title
    return CheckpointSummary(
        info.path, info.format, info.step, info.shards, bool(info.graphs), (), title
    )


def selected(names: Iterable[str], options: DiffOptions, role: Callable[[str], Role]) -> list[str]:
    """The names that the options select, in order; ``role`` is asked only if they speak of it."""
    tests: list[Callable[[str], bool]] = []
    if options.match:
        tests.append(glob_matcher(options.match))
    if options.exclude:
        unwanted = glob_matcher(options.exclude)
        tests.append(lambda name: not unwanted(name))
    if options.roles:
        wanted = frozenset(options.roles)
        tests.append(lambda name: role(name).role in wanted)
    return [name for name in names if all(test(name) for test in tests)] if tests else list(names)


def comparison_keys(
    checkpoint: Checkpoint, options: DiffOptions, *, first: bool = True
) -> Mapping[str, str]:
    """The reader's key of each name of one side: of the first checkpoint, or of another."""
    keys = options.keys_a if first else None
    strip_prefix = options.strip_prefix_a if first else options.strip_prefix_b
    if keys is None and not strip_prefix:
        return {name: name for name in checkpoint.specs}
    found = renamed_keys(keys if keys is not None else checkpoint.specs, strip_prefix)
    return found if keys is None else {name: keys[key] for name, key in found.items()}
