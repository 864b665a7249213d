"""The mean of checkpoints, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ckpttool.formats.targets import TARGETS
from ckpttool.mapping.averaging import AverageResult
from ckpttool.render.lines import Layout, Line, human_bytes, plural, safe

LIMIT = 20  # names listed before the rest is only counted


def average_body(result: AverageResult) -> dict[str, Any]:
    """The keys of the JSON output."""
    return {
        "checkpoints": [item._asdict() for item in result.checkpoints],
        "tensors": [item._asdict() for item in result.tensors],
        "dropped": list(result.dropped),
        "output": {
            "path": result.output.path,
            "format": TARGETS[result.target].format,
            "bytes": result.output.bytes,
            "tensors": result.output.tensors,
            "files": list(result.output.files),
        },
        "verified": result.verified,
    }


def average_lines(result: AverageResult, layout: Layout, *, every: bool) -> Iterator[Line]:
    """The checkpoints with their shares, what is not a mean, and the output."""
    for item in result.checkpoints:
        step = "" if item.step is None else f"  step {item.step}"
        share = f"  {item.share:.4g}"
        yield [(safe(item.path, layout.unicode), "title"), (step, "number"), (share, "dim")]
    means = [item.name for item in result.tensors if item.how == "mean"]
    last = [item.name for item in result.tensors if item.how == "last"]
    if every:
        yield from _names("mean", means, len(means), layout)
    limit = None if every else LIMIT
    yield from _names("from the last", last, limit, layout)
    yield from _names("dropped", result.dropped, limit, layout)
    counts = f"{plural(len(means), 'tensor')} averaged, {len(last):,} from the last checkpoint"
    yield [(f"{counts}, {len(result.dropped):,} dropped", "title")]
    state = "read back and checked" if result.verified else "not read back"
    yield [
        (safe(result.output.path, layout.unicode), "title"),
        (f"  {human_bytes(result.output.bytes)}, {state}", "good" if result.verified else "warn"),
    ]


def _names(
    what: str, names: list[str] | tuple[str, ...], limit: int | None, layout: Layout
) -> Iterator[Line]:
    for name in names[:limit]:
        yield [(f"  {what}  ", "dim"), (safe(name, layout.unicode), "name")]
    if limit is not None and len(names) > limit:
        yield [(f"  and {len(names) - limit:,} more {what}: --all lists them", "dim")]
