"""What ``remap`` does once its options are known."""

from __future__ import annotations

from collections.abc import Sequence

from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli import emit
from ckpttool.cli.options import choice
from ckpttool.errors import EXIT_OK, InputError, Problem, UsageError
from ckpttool.mapping.remap import load_rules, remap
from ckpttool.render.remap import remap_lines

POLICIES = ("error", "keep", "drop")


def carry_out(
    path: str,
    output: str | None,
    *,
    mapping: str | None,
    add_prefix: str,
    strip_prefix: str,
    rename: Sequence[str],
    drop: Sequence[str],
    params: Sequence[str],
    slots: str | None,
    unmatched: str | None,
    dry_run: bool,
    link: bool,
    force: bool,
    verify: bool,
    every: bool,
) -> int:
    """Load the rules, plan, write unless it is a dry run, print; returns the exit code."""
    if slots is not None:
        choice("--slots", [slots], ("follow", "drop"))
    if unmatched is not None:
        choice("--unmatched", [unmatched], POLICIES)
    if output is None and not dry_run:
        raise UsageError(
            Problem(
                "USE001",
                "where should the output go?",
                expected="-o OUT, or --dry-run",
                hint="ckpttool remap CKPT -m MAP -o OUT",
            )
        )
    rules = load_rules(
        mapping,
        add_prefix=add_prefix,
        strip_prefix=strip_prefix,
        rename=rename,
        drop=drop,
        params=dict(_parameter(item) for item in params),
        slots=slots,
        unmatched=unmatched,
    )
    with open_checkpoint(path) as checkpoint:
        if checkpoint.damage():
            # A name that is missing from the output because it could not be read is lost in
            # silence for whoever gets the output.
            raise InputError(*checkpoint.damage())
        result = remap(
            checkpoint,
            rules,
            None if dry_run else output,
            link=link,
            force=force,
            verify=verify,
        )
    if emit.SETTINGS.json:
        emit.data(result.data(), result.notices)
    else:
        sink = emit.out()
        sink.write(remap_lines(result, sink.layout, every=every))
        emit.words(result.notices, "note")
    return EXIT_OK


def _parameter(text: str) -> tuple[str, str | int | float | bool]:
    from ckpttool.mapping.nodes import resolve_scalar

    name, mark, value = text.partition("=")
    if not mark or not name:
        raise UsageError(
            Problem("USE003", "a parameter is NAME=VALUE", found=text, hint="--set heads=16")
        )
    return name, resolve_scalar(value)
