"""Plan and carry out a remap of an open checkpoint: the way in for commands and programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ckpttool.errors import Problem, UsageError
from ckpttool.mapping.document import Document, Scalar, document_from, load_document
from ckpttool.mapping.library import find_mapping
from ckpttool.mapping.plan import Plan, make_plan
from ckpttool.mapping.rules import RuleSet, compile_rules, quick_rules

if TYPE_CHECKING:
    from ckpttool.formats.base import Reader
    from ckpttool.mapping.execute import RemapResult
    from ckpttool.mapping.slots import RoleLike


class OpenCheckpoint(Protocol):
    """As much of :class:`ckpttool.checkpoint.Checkpoint` as a remap needs."""

    @property
    def reader(self) -> Reader:
        """The tensors."""

    @property
    def roles(self) -> Mapping[str, RoleLike]:
        """The roles of keys that are no plain variables."""


def load_rules(
    mapping: str | Document | Mapping[str, Any] | None = None,
    *,
    add_prefix: str = "",
    strip_prefix: str = "",
    rename: Sequence[str] = (),
    drop: Sequence[str] = (),
    params: Mapping[str, Scalar] | None = None,
    slots: str | None = None,
    unmatched: str | None = None,
    target: str | None = None,
) -> RuleSet:
    """The rules of a mapping (a path, a built-in name, a document or its data) or of options.

    ``slots`` and ``unmatched`` win over what the mapping says.
    """
    quick = bool(add_prefix or strip_prefix or rename or drop)
    if mapping is None:
        if not quick and slots is None:
            hint = "give a mapping file, or --add-prefix, --strip-prefix, --rename, --drop, --slots"
            raise UsageError(Problem("USE001", "nothing says what to rename", hint=hint))
        return quick_rules(
            add_prefix=add_prefix,
            strip_prefix=strip_prefix,
            rename=rename,
            drop=drop,
            slots=slots,
            unmatched=unmatched,
        )
    if quick:
        hint = "put the renames into the mapping file, or leave the file out"
        raise UsageError(Problem("USE001", "a mapping file and quick renames together", hint=hint))
    if isinstance(mapping, str):
        document = load_document(*find_mapping(mapping))
    else:
        document = mapping if isinstance(mapping, Document) else document_from(mapping)
    return compile_rules(document, target=target, params=params, slots=slots, unmatched=unmatched)


def plan_remap(checkpoint: OpenCheckpoint, rules: RuleSet) -> Plan:
    """The plan, checked whole; nothing is written and no tensor is read."""
    reader = checkpoint.reader
    return make_plan(reader.specs, rules, checkpoint.roles, source=reader.info.path)


def remap(
    checkpoint: OpenCheckpoint,
    rules: RuleSet,
    output: str | None,
    *,
    link: bool = False,
    force: bool = False,
    verify: bool = True,
) -> RemapResult:
    """Plan and write; with ``output`` None only plan (a dry run)."""
    from ckpttool.mapping.execute import RemapResult, execute, notices

    plan = plan_remap(checkpoint, rules)
    reader = checkpoint.reader
    if output is None:
        return RemapResult(plan, None, False, tuple(notices(plan, reader)))
    return execute(plan, reader, output, link=link, force=force, verify=verify)
