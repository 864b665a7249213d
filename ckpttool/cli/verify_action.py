"""What ``verify`` does once its options are known; imports no option parser."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ckpttool.analysis.verify_model import INTACT, UNREADABLE, DirectoryResult, VerifyResult
from ckpttool.cli import emit
from ckpttool.cli.progress import bar
from ckpttool.errors import EXIT_FINDING, EXIT_INPUT, EXIT_OK
from ckpttool.verification import holds_several, verify_directory, verify_path


def show_verify(
    *paths: str,
    quick: bool = False,
    salvage: bool = False,
    against: str | None = None,
    every: bool = False,
) -> int:
    """Verify all, print; returns the exit code: 1 for damage, 3 for what cannot be read at all."""
    progress = bar("verifying")

    def begin(total: int) -> Callable[[int], None]:
        import ckpttool.render.verify  # noqa: F401  # a second process is reading data by now

        return _nothing if progress is None else progress.begin(total)

    results: list[VerifyResult | DirectoryResult] = []
    try:
        for path in paths:
            work = verify_directory if holds_several(path) else verify_path
            results.append(
                work(
                    path,
                    quick=quick,
                    against=against,
                    progress=begin,
                    fork=True,
                )
            )
    finally:
        if progress is not None:
            progress.end()
    code = _exit_code(results)
    _show(results, code, salvage, every)
    return code


def _exit_code(results: Sequence[VerifyResult | DirectoryResult]) -> int:
    code = EXIT_OK
    for item in results:
        here = item.checkpoints if isinstance(item, DirectoryResult) else (item,)
        if all(one.status == UNREADABLE for one in here):
            return EXIT_INPUT
        faults = isinstance(item, DirectoryResult) and item.faults
        if faults or any(one.status != INTACT for one in here):
            code = EXIT_FINDING
    return code


def _show(
    results: Sequence[VerifyResult | DirectoryResult], code: int, salvage: bool, every: bool
) -> None:
    from ckpttool.render.verify import problems_of, verify_body, verify_lines

    faults, notices = problems_of(results)
    if emit.SETTINGS.json:
        status = {EXIT_OK: "ok", EXIT_FINDING: "finding"}.get(code, "error")
        emit.data(verify_body(results, salvage=salvage), [*faults, *notices], status=status)
        return
    sink = emit.out()
    sink.write(verify_lines(results, sink.layout, salvage=salvage, every=every))
    emit.words(notices, "note")


def _nothing(size: int) -> None:
    del size
