"""A remap plan, and what became of it, as lines."""

from __future__ import annotations

from collections.abc import Iterator

from ckpttool.mapping.execute import RemapResult
from ckpttool.render.lines import Layout, Line, human_bytes, plural, safe

LIMIT = 40  # tensors listed before the rest is only counted


def remap_lines(result: RemapResult, layout: Layout, *, every: bool) -> Iterator[Line]:
    """The plan (``every`` tensor, or the first few), then the output."""
    plan = result.plan
    unicode = layout.unicode
    arrow = " → " if unicode else " -> "
    yield [(safe(plan.source, unicode), "title")]
    moved = [step for step in plan.steps if step.sources != (step.target,)]
    shown = moved if every else moved[:LIMIT]
    width = max((len(safe(step.sources[0], unicode)) for step in shown), default=0)
    if layout.width is not None:
        width = min(width, max((layout.width - 6) // 2, 20))
    for step in shown:
        source = safe(", ".join(step.sources), unicode)
        yield [
            ("  " + source.ljust(width), "removed"),
            (arrow, "guide"),
            (safe(step.target, unicode), "added"),
            (f"  {safe(step.rule, unicode)}", "dim"),
        ]
    if len(shown) < len(moved):
        yield [(f"  and {len(moved) - len(shown):,} more: --all lists them", "dim")]
    dropped = plan.dropped if every else plan.dropped[:LIMIT]
    for item in dropped:
        yield [
            ("  " + safe(item.name, unicode).ljust(width), "removed"),
            (arrow, "guide"),
            ("dropped", "warn"),
            (f"  {safe(item.rule, unicode)}", "dim"),
        ]
    if len(dropped) < len(plan.dropped):
        yield [(f"  and {len(plan.dropped) - len(dropped):,} more dropped: --all", "dim")]
    for name, value in plan.assumes.items():
        yield [("  assumes ", "warn"), (safe(f"{name}: {value}", unicode), "")]
    written = plural(len(plan.steps), "tensor")
    counts = f"{written} written, {len(moved):,} renamed, {len(plan.dropped):,} dropped"
    yield [(counts, "title")]
    if result.output is None:
        yield [("dry run: nothing is written", "dim")]
        return
    state = "read back and checked" if result.verified else "not read back"
    yield [
        (safe(result.output.path, unicode), "title"),
        (f"  {human_bytes(result.output.bytes)}, {state}", "good" if result.verified else "warn"),
    ]
