"""What ``show`` does once its options are known; imports no option parser."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ckpttool.analysis.export import export
from ckpttool.analysis.inspect_listing import STYLES, count_parameters
from ckpttool.analysis.show import Edges, ShownTensor, ShowResult, choose, show
from ckpttool.analysis.statistics import BINS
from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.cli import emit
from ckpttool.errors import EXIT_INPUT, EXIT_OK, Problem, TensorNotFoundError, UsageError
from ckpttool.render.lines import Sink, human_bytes
from ckpttool.render.values import full_options, parse_printoptions

_PATIENCE = 1.0  # seconds of work before progress is shown
_MOST_ERRORS = 10


class ShowOptions(NamedTuple):
    """The options of ``show``, as the command line has them."""

    values: bool | None = None
    statistics: bool = True
    histogram: bool = False
    bins: int = BINS
    slices: bool = False
    every: bool = False
    names_only: bool = False
    exclude: Sequence[str] = ()
    count_exclude: str | None = None
    printoptions: Sequence[str] = ()
    full: bool = False
    inspect: str | None = None
    out: str | None = None
    as_float32: bool = False
    force: bool = False


def show_tensors(path: str, names: Sequence[str] = (), options: ShowOptions | None = None) -> int:
    """Open, read, print; returns the exit code."""
    options = options or ShowOptions()
    _check(options)
    with open_checkpoint(path) as checkpoint:
        words, printing = _print_options(checkpoint, names, options)
        if options.out is not None:
            return _export(checkpoint, words, options, options.out)
        if emit.SETTINGS.json:
            result = _json(checkpoint, words, options)
        elif options.inspect is not None or options.names_only or options.every:
            result = _listing(checkpoint, words, options, printing)
        elif words or options.values or options.histogram or options.slices:
            result = _blocks(checkpoint, words, options, printing)
        else:
            result = _table(checkpoint, options)
    if not emit.SETTINGS.json:
        emit.words(result.notices, "note")
        # Every tensor of an index without its data has the same to say, beside its name above.
        emit.words(result.damage[:_MOST_ERRORS], "error")
        if len(result.damage) > _MOST_ERRORS:
            more = f"{len(result.damage) - _MOST_ERRORS:,} more like these: --json has them all"
            emit.words([Problem(result.damage[-1].code, more)], "error")
    return EXIT_INPUT if result.damage else EXIT_OK


def _check(options: ShowOptions) -> None:
    if options.inspect is not None and options.inspect not in STYLES:
        expected = ", ".join(STYLES)
        message = "--inspect-format does not know this value"
        raise UsageError(Problem("USE003", message, found=options.inspect, expected=expected))
    if options.bins < 1 or options.bins > 10_000:
        message = "--bins is out of range"
        raise UsageError(Problem("USE003", message, found=str(options.bins), expected="1 to 10000"))


def _print_options(
    checkpoint: Checkpoint, names: Sequence[str], options: ShowOptions
) -> tuple[list[str], dict[str, Any]]:
    """The names, and NumPy's print options.

    ``--printoptions a=1 b=2`` is how ``inspect_checkpoint`` takes them: the second one looks like
    a name here, and is none.
    """
    words = list(names)
    pairs = list(options.printoptions)
    if pairs:
        more = [
            word
            for word in words
            if word not in checkpoint.specs
            and word.partition("=")[0].isidentifier()
            and "=" in word
        ]
        words = [word for word in words if word not in more]
        pairs += more
    printing = parse_printoptions(pairs)
    return words, full_options(printing) if options.full else printing


def _edges(printing: dict[str, Any]) -> Edges:
    import numpy as np

    merged = {**np.get_printoptions(), **printing}
    return Edges(max(0, int(merged["edgeitems"])), int(merged["threshold"]))


def _json(checkpoint: Checkpoint, words: Sequence[str], options: ShowOptions) -> ShowResult:
    from ckpttool.render.show import show_body

    wants_values = bool(options.values) and not options.names_only
    result = show(
        checkpoint,
        words,
        values=wants_values,
        statistics=options.statistics and not options.names_only,
        histogram=options.histogram,
        slices=options.slices,
        every=options.every or options.names_only or options.inspect is not None,
        exclude=options.exclude,
        bins=options.bins,
    )
    body = show_body(
        result, values=wants_values, count=count_parameters(checkpoint, options.count_exclude)
    )
    emit.listing(body, result.notices, result.damage)
    return result


def _table(checkpoint: Checkpoint, options: ShowOptions) -> ShowResult:
    from ckpttool.render.show import count_summary, table_lines

    result = show(checkpoint, exclude=options.exclude, progress=_progress())
    sink = emit.out()
    sink.write(table_lines(result, sink.layout))
    sink.write(count_summary(count_parameters(checkpoint, options.count_exclude)))
    return result


def _blocks(
    checkpoint: Checkpoint, words: Sequence[str], options: ShowOptions, printing: dict[str, Any]
) -> ShowResult:
    """A few lines for each tensor; named ones come with their values."""
    from ckpttool.render.show import ValueOptions, count_summary, tensor_lines

    wanted = bool(words) and not options.slices if options.values is None else options.values
    sink = emit.out()
    view = ValueOptions(options.values is not False, _wide(sink, printing))
    result = show(
        checkpoint,
        words,
        values=wanted,
        statistics=options.statistics,
        histogram=options.histogram,
        slices=options.slices,
        exclude=options.exclude,
        bins=options.bins,
        edges=_edges(printing),
        each=lambda tensor: sink.write(tensor_lines(tensor, sink.layout, view)),
    )
    if options.count_exclude is not None:
        sink.write(count_summary(count_parameters(checkpoint, options.count_exclude)))
    return result


def _listing(
    checkpoint: Checkpoint, words: Sequence[str], options: ShowOptions, printing: dict[str, Any]
) -> ShowResult:
    """The listings of ``inspect_checkpoint``, exact where a format was named."""
    from ckpttool.render.show import ValueOptions, count_summary, inspect_count, inspect_tensor

    style = options.inspect or "current"
    asked = options.every or bool(words)
    values = asked and not options.names_only and options.values is not False
    sink = emit.out()
    view = ValueOptions(values, printing)

    def each(tensor: ShownTensor) -> None:
        sink.write(inspect_tensor(tensor, style, view, sink.layout.unicode))

    result = show(
        checkpoint,
        words,
        values=values and style != "debug",
        statistics=False,
        every=True,
        exclude=options.exclude,
        edges=_edges(printing) if values else None,
        each=each,
    )
    count = count_parameters(checkpoint, options.count_exclude)
    if options.inspect is None:
        sink.write(count_summary(count))
    else:
        sink.write(inspect_count(count, style, sink.layout.unicode))
    return result


def _wide(sink: Sink, printing: dict[str, Any]) -> dict[str, Any]:
    """Print options with the terminal's width, unless one was given."""
    if sink.layout.width is None or "linewidth" in printing:
        return printing
    return {**printing, "linewidth": max(20, sink.layout.width)}


def _export(checkpoint: Checkpoint, words: Sequence[str], options: ShowOptions, path: str) -> int:
    chosen, unsaved, _ = choose(checkpoint, words, every=options.every, exclude=options.exclude)
    if unsaved and words:
        raise TensorNotFoundError(
            *(Problem("INP010", f"{item.name} is {item.note}") for item in unsaved)
        )
    written = export(checkpoint, chosen, path, as_float32=options.as_float32, force=options.force)
    damage = checkpoint.damage()  # what was asked for by name is whole, but names may be missing
    if emit.SETTINGS.json:
        output = {"path": written.path, "tensors": list(written.labels), "bytes": written.bytes}
        emit.listing({"tensors": [], "output": output}, checkpoint.notices(), damage)
    else:
        from ckpttool.render.show import exported_lines

        sink = emit.out()
        sink.write(exported_lines(written.path, written.labels, written.bytes, sink.layout.unicode))
        emit.words(checkpoint.notices(), "note")
        emit.words(damage, "error")
    return EXIT_INPUT if damage else EXIT_OK


def _progress() -> Callable[[int, int], None] | None:
    """A line on a terminal's stderr that says how far reading has come; None where none is seen."""
    if emit.SETTINGS.quiet or not sys.stderr.isatty():
        return None
    begun = time.monotonic()
    shown = False

    def told(done: int, whole: int) -> None:
        nonlocal shown
        if done >= whole:
            if shown:
                sys.stderr.write("\r\x1b[K")
        elif time.monotonic() - begun > _PATIENCE:
            shown = True
            sys.stderr.write(f"\r\x1b[K{human_bytes(done)} of {human_bytes(whole)}")
        sys.stderr.flush()

    return told
