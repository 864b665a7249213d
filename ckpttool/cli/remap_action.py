"""What ``remap`` does once its options are known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.cli import emit
from ckpttool.cli.options import choice
from ckpttool.cli.progress import bar
from ckpttool.errors import EXIT_OK, InputError, MappingError, Problem, UsageError
from ckpttool.mapping.execution.execute import RemapResult
from ckpttool.mapping.language.document import AVERAGES, SLOTS, UNMATCHED, Scalar
from ckpttool.mapping.language.ruleset import RuleSet
from ckpttool.mapping.planning.targeting import parse_size, target_of
from ckpttool.mapping.remap import damaged_names, load_rules, remap
from ckpttool.render.remap import remap_lines

if TYPE_CHECKING:
    from ckpttool.mapping.proving.agreement import Proof
    from ckpttool.mapping.proving.proof import ProveOptions


class RemapCommand(NamedTuple):
    """The options of the command."""

    mapping: str | None = None
    output: str | None = None
    to: str | None = None
    like: str | None = None
    cast: bool = False
    allow_missing: tuple[str, ...] = ()
    allow_unused: tuple[str, ...] = ()
    add_prefix: str = ""
    strip_prefix: str = ""
    rename: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    slots: str | None = None
    averages: str | None = None
    unmatched: str | None = None
    inverse: bool = False
    salvage: bool = False
    max_shard_size: str | None = None
    dry_run: bool = False
    link: bool = False
    force: bool = False
    verify: bool = True
    every: bool = False
    optimizer: str | None = None
    proof: ProveOptions | None = None

    @property
    def says(self) -> bool:
        """Whether anything says what becomes of names."""
        quick = (self.add_prefix, self.strip_prefix, self.rename, self.drop)
        return any((self.mapping, self.slots, self.averages, *quick))


def carry_out(path: str, command: RemapCommand) -> int:
    """Load the rules, plan, write unless it is a dry run, print; returns the exit code."""
    _check(command)
    rules = _rules(path, command)
    with open_checkpoint(path) as checkpoint:
        if checkpoint.damage() and not command.salvage:
            # A name that is missing from the output because it could not be read is lost in
            # silence for whoever gets the output.
            raise InputError(*checkpoint.damage())
        try:
            proof = _proof(checkpoint, rules, command)
            result = _remap(checkpoint, rules, command)
        except MappingError as error:
            if command.says:
                raise
            from ckpttool.cli.proposing import proposing

            raise proposing(error, checkpoint, path, command.like, command.output) from error
        notices = (*result.notices, *(checkpoint.damage() if command.salvage else ()))
    _show(result, proof, notices, command.every)
    return EXIT_OK


def _show(
    result: RemapResult, proof: Proof | None, notices: Iterable[Problem], every: bool
) -> None:
    if emit.SETTINGS.json:
        body = result.data()
        if proof is not None:
            from ckpttool.render.prove import proof_body

            body["proof"] = proof_body(proof)
        emit.data(body, notices)
        return
    sink = emit.out()
    sink.write(remap_lines(result, sink.layout, every=every))
    if proof is not None:
        from ckpttool.render.prove import proof_lines

        sink.write(proof_lines(proof, sink.layout))
    emit.words(notices, "note")


def _proof(checkpoint: Checkpoint, rules: RuleSet, command: RemapCommand) -> Proof | None:
    """The numeric proof, where one is asked for: nothing is written if it fails."""
    if command.proof is None:
        return None
    if command.inverse or command.salvage:
        option = "--inverse" if command.inverse else "--salvage"
        message = f"--prove and {option} exclude each other"
        raise UsageError(Problem("USE001", message))
    from ckpttool.mapping.proving.proof import prove_remap

    return prove_remap(
        checkpoint,
        rules,
        command.like,
        command.proof,
        cast=command.cast,
        allow_missing=command.allow_missing,
        allow_unused=command.allow_unused,
    )


def _check(command: RemapCommand) -> None:
    """Refuse unknown values, and a command without a place to write to."""
    for option, value, known in (
        ("--slots", command.slots, SLOTS),
        ("--averages", command.averages, AVERAGES),
        ("--unmatched", command.unmatched, UNMATCHED),
    ):
        if value is not None:
            choice(option, [value], known)
    if command.output is None and not command.dry_run:
        raise UsageError(
            Problem(
                "USE001",
                "where should the output go?",
                expected="-o OUT, or --dry-run",
                hint="ckpttool remap CKPT -m MAP -o OUT",
            )
        )


def _rules(path: str, command: RemapCommand) -> RuleSet:
    target = command.to
    if command.mapping is None:
        target = target_of(command.to, None, command.output)
    if not command.says and target == "tf1":
        from ckpttool.cli.proposing import nothing_to_rename

        raise nothing_to_rename(path, command.like, command.output)
    return load_rules(
        command.mapping,
        add_prefix=command.add_prefix,
        strip_prefix=command.strip_prefix,
        rename=command.rename,
        drop=command.drop,
        params=dict(parameter(item) for item in command.params),
        slots=command.slots,
        averages=command.averages,
        unmatched=command.unmatched,
        target=target,
    )


def _remap(checkpoint: Checkpoint, rules: RuleSet, command: RemapCommand) -> RemapResult:
    size = None if command.max_shard_size is None else parse_size(command.max_shard_size)
    salvage = damaged_names(checkpoint) if command.salvage else None
    progress = None if command.dry_run else bar("writing")
    try:
        return remap(
            checkpoint,
            rules,
            command.output,
            dry_run=command.dry_run,
            link=command.link,
            force=command.force,
            verify=command.verify,
            progress=None if progress is None else progress.begin,
            to=command.to,
            like=command.like,
            cast=command.cast,
            allow_missing=command.allow_missing,
            allow_unused=command.allow_unused,
            max_shard_bytes=size,
            inverse=command.inverse,
            salvage=salvage,
            optimizer=command.optimizer,
        )
    finally:
        if progress is not None:
            progress.end()


def parameter(text: str) -> tuple[str, Scalar]:
    """Name and value of ``NAME=VALUE``."""
    from ckpttool.mapping.language.nodes import resolve_scalar

    name, mark, value = text.partition("=")
    if not mark or not name:
        raise UsageError(
            Problem("USE003", "a parameter is NAME=VALUE", found=text, hint="--set heads=16")
        )
    return name, resolve_scalar(value)
