"""Plan and carry out a remap of an open checkpoint: the way in for commands and programs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from ckpttool._version import __version__
from ckpttool.errors import Problem, UsageError
from ckpttool.formats.writing import WriteOptions, ignore
from ckpttool.mapping.language.document import Document, Scalar, document_from, load_document
from ckpttool.mapping.language.library import find_mapping
from ckpttool.mapping.language.rules import RuleSet, compile_rules, quick_rules
from ckpttool.mapping.planning.plan import Plan, Wanted, make_plan
from ckpttool.mapping.planning.targeting import target_of

if TYPE_CHECKING:
    from ckpttool.formats.base import Reader
    from ckpttool.mapping.execution.execute import RemapResult
    from ckpttool.mapping.planning.fitting import Template
    from ckpttool.mapping.planning.optimizer import Optimizer
    from ckpttool.mapping.planning.slots import RoleLike


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
    averages: str | None = None,
    unmatched: str | None = None,
    target: str | None = None,
) -> RuleSet:
    """The rules of a mapping (a path, a built-in name, a document or its data) or of options.

    ``slots``, ``averages``, ``unmatched`` and ``target`` win over what the mapping says.  Without
    a mapping and options, every name stays: the checkpoint is converted.
    """
    quick = bool(add_prefix or strip_prefix or rename or drop)
    if mapping is None:
        if not quick and slots is None and averages is None and target in (None, "tf1"):
            hint = "give a mapping file, or --add-prefix, --strip-prefix, --rename, --drop, --slots"
            raise UsageError(Problem("USE001", "nothing says what to rename", hint=hint))
        return quick_rules(
            add_prefix=add_prefix,
            strip_prefix=strip_prefix,
            rename=rename,
            drop=drop,
            slots=slots,
            averages=averages,
            unmatched=unmatched,
        )
    if quick:
        hint = "put the renames into the mapping file, or leave the file out"
        raise UsageError(Problem("USE001", "a mapping file and quick renames together", hint=hint))
    return compile_rules(
        load_mapping(mapping),
        target=target,
        params=params,
        slots=slots,
        averages=averages,
        unmatched=unmatched,
    )


def load_mapping(mapping: str | Document | Mapping[str, Any]) -> Document:
    """The document of a path, a built-in name, or plain data."""
    if isinstance(mapping, str):
        return load_document(*find_mapping(mapping))
    return mapping if isinstance(mapping, Document) else document_from(mapping)


def plan_remap(
    checkpoint: OpenCheckpoint,
    rules: RuleSet,
    output: str | None = None,
    *,
    to: str | None = None,
    like: str | Template | None = None,
    cast: bool = False,
    allow_missing: Sequence[str] = (),
    allow_unused: Sequence[str] = (),
    max_shard_bytes: int | None = None,
    inverse: bool = False,
    salvage: Mapping[str, str] | None = None,
    optimizer: str | None = None,
) -> Plan:
    """The plan, checked whole; nothing is written and no tensor is read.

    ``to`` is the format, else that of the mapping, else that of the name of ``output``.  ``like``
    is a file, a ``module:callable`` or a template whose names, shapes and dtypes are binding; with
    ``cast`` values are turned into its dtypes.  ``inverse`` undoes the rules, on a checkpoint that
    they have made (exactly, with the original as ``like``).  ``salvage`` has the tensors that the
    source cannot give intact, with reasons.  ``optimizer`` (``adam,learning_rate=0.001``) has the
    slots become the variables of that optimizer of the Keras model of ``like``.
    """
    reader = checkpoint.reader
    if inverse:
        from ckpttool.mapping.planning.inverse import inverse_plan

        return inverse_plan(checkpoint, rules, output, to=to, like=like)
    target = target_of(to, rules.target, output)
    template = _template(like)
    options = WriteOptions(
        _metadata(rules, reader), max_shard_bytes, template.file if template else None
    )
    fitting = None
    if template is not None:
        from ckpttool.mapping.planning.fitting import Like

        fitting = Like(template, cast=cast, allow_missing=allow_missing)
    elif cast or allow_missing:
        option = "--cast" if cast else "--allow-missing"
        message = f"{option} is about the target of --like"
        raise UsageError(Problem("USE001", message, hint="give --like TARGET"))
    asked = optimizer or (rules.optimizer.text if rules.optimizer else None)
    state = None if asked is None else _optimizer(asked, target, template)
    wanted = Wanted(
        target, options, fitting, allow_unused, salvage or {}, optimizer=state, template=template
    )
    specs, roles, source = reader.specs, checkpoint.roles, reader.info.path
    return make_plan(specs, rules, roles, source=source, wanted=wanted)


def remap(
    checkpoint: OpenCheckpoint,
    rules: RuleSet | str | Mapping[str, Any],
    output: str | None,
    *,
    dry_run: bool = False,
    link: bool = False,
    force: bool = False,
    verify: bool = True,
    progress: Callable[[int], Callable[[int], None]] | None = None,
    **asked: Any,
) -> RemapResult:
    """Plan and write; with ``dry_run``, or without an ``output``, only plan.

    ``rules`` are compiled ones, a mapping file or its data; ``asked`` are the options of
    :func:`plan_remap`.  ``progress`` is called with the bytes to write, and gives what to call
    with those that were written.
    """
    from ckpttool.mapping.execution.execute import RemapResult, execute, notices

    if not isinstance(rules, RuleSet):
        rules = load_rules(rules)
    plan = plan_remap(checkpoint, rules, output, **asked)
    reader = checkpoint.reader
    if output is None or dry_run:
        return RemapResult(plan, None, False, tuple(notices(plan, reader)))
    tell = ignore if progress is None else progress(_bytes(plan))
    return execute(plan, reader, output, link=link, force=force, verify=verify, progress=tell)


def damaged_names(checkpoint: Any) -> dict[str, str]:
    """The tensors that a checkpoint cannot give intact, with reasons; reads everything."""
    from ckpttool.analysis.verify import verify

    return {item.name: item.reason for item in verify(checkpoint).damaged}


def _template(like: str | Template | None) -> Template | None:
    if not isinstance(like, str):
        return like
    from ckpttool.mapping.like.template import load_template

    template: Template = load_template(like)
    return template


def _optimizer(text: str, target: str, template: Template | None) -> Optimizer:
    from ckpttool.mapping.planning.optimizer import parse_optimizer

    if template is None or target not in ("keras", "keras-archive", "tf2"):
        message = "optimizer state goes to Keras and TF2 files, for a model given as --like"
        raise UsageError(Problem("USE001", message, None, target, "keras, keras-archive or tf2"))
    return parse_optimizer(text)


def _metadata(rules: RuleSet, reader: Reader) -> dict[str, str]:
    """What an output tells of where it comes from: no paths, no times."""
    words = {
        "ckpttool": __version__,
        "mapping": os.path.basename(rules.label),
        "source": os.path.basename(reader.info.path.rstrip("/")),
    }
    assumes = {f"assumes.{name}": _word(value) for name, value in rules.assumes.items()}
    return {**words, **assumes}


def _word(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bytes(plan: Plan) -> int:
    from math import prod

    from ckpttool.tensors import dtype_named

    return sum(prod(step.shape) * dtype_named(step.dtype).itemsize for step in plan.steps)
