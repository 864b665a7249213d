"""What ``dups`` does once its options are known; imports no option parser."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import ExitStack

from ckpttool.analysis.duplicates import DuplicatesResult, find_duplicates
from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli import emit
from ckpttool.errors import EXIT_FINDING, EXIT_INPUT, EXIT_OK
from ckpttool.formats.locating.locate import find_checkpoints
from ckpttool.storage.files import files_for


def show_dups(
    *paths: str,
    every: bool = False,
    shared: bool = False,
    values: bool = True,
    write_mapping: str | None = None,
    force: bool = False,
) -> int:
    """Open, look, print; returns the exit code: 1 if variables are unshared."""
    with ExitStack() as stack:
        opened = [stack.enter_context(open_checkpoint(path)) for path in series_of(paths)]
        result = find_duplicates(opened, values=values, shared=shared)
        saved = opened[-1].specs.keys()
    if write_mapping is not None:
        _write_mapping(result, saved, write_mapping, force)
    code = EXIT_FINDING if result.unshared else EXIT_OK
    if result.damage:
        code = EXIT_INPUT
    if emit.SETTINGS.json:
        from ckpttool.render.dups import dups_body

        status = {EXIT_FINDING: "finding", EXIT_INPUT: "error"}.get(code, "ok")
        emit.data(
            dups_body(result, shared=shared), [*result.notices, *result.damage], status=status
        )
    else:
        from ckpttool.render.dups import dups_lines

        sink = emit.out()
        sink.write(dups_lines(result, sink.layout, every=every, shared=shared))
        emit.words(result.notices, "note")
        emit.words(result.damage, "error")
    return code


def series_of(paths: Sequence[str]) -> list[str]:
    """The checkpoints to open, the one to examine last: of a directory all that are of one run."""
    if len(paths) != 1 or not files_for(paths[0]).is_dir(paths[0]):
        return list(paths)
    with open_checkpoint(paths[0]) as chosen:
        path, step = chosen.info.path, chosen.info.step
    if step is None:
        return list(paths)
    stem = path.removesuffix(f"-{step}")
    others = [
        item.path
        for item in find_checkpoints(paths[0])
        if item.step is not None
        and item.path != path
        and item.step < step
        and item.path.removesuffix(f"-{item.step}") == stem
    ]
    return [*others, path]


def _write_mapping(
    result: DuplicatesResult, saved: Collection[str], path: str, force: bool
) -> None:
    from ckpttool.render.dups_mapping import mapping_text
    from ckpttool.storage.atomic import OutputGroup

    with OutputGroup([path], force=force) as group:
        group.stage(path).write(mapping_text(result, saved).encode())
        group.commit()
