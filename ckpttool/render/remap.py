"""A remap plan, and what became of it, as lines."""

from __future__ import annotations

from collections.abc import Iterator

from ckpttool.mapping.execution.execute import RemapResult
from ckpttool.mapping.planning.plan import Plan, Step
from ckpttool.render.lines import Layout, Line, human_bytes, plural, safe

LIMIT = 40  # tensors listed before the rest is only counted
_MANY = 3  # sources of a tensor that are named


def remap_lines(result: RemapResult, layout: Layout, *, every: bool) -> Iterator[Line]:
    """Caveats, the plan (``every`` tensor, or the first few), then the output."""
    plan = result.plan
    unicode = layout.unicode
    yield [(safe(plan.source, unicode), "title")]
    for text in plan.caveats:
        yield [("  caveat ", "warn"), (safe(text, unicode), "")]
    moved = [step for step in plan.steps if step.sources != (step.target,) or step.operations]
    shown = moved if every else moved[:LIMIT]
    yield from _steps(shown, layout)
    if len(shown) < len(moved):
        yield [(f"  and {len(moved) - len(shown):,} more: --all lists them", "dim")]
    yield from _dropped(plan, layout, every=every)
    for name, value in plan.assumes.items():
        yield [("  assumes ", "warn"), (safe(f"{name}: {value}", unicode), "")]
    yield [(_counts(plan, "to write" if result.output is None else "written"), "title")]
    if result.output is None:
        yield [("dry run: nothing is written", "dim")]
        return
    state = "read back and checked" if result.verified else "not read back"
    style = "good" if result.verified else "warn"
    files = len(result.output.files)
    more = f", {files} files" if plan.target != "tf1" and files > 1 else ""
    yield [
        (safe(result.output.path, unicode), "title"),
        (f"  {human_bytes(result.output.bytes)}{more}, {state}", style),
    ]


def _counts(plan: Plan, written: str) -> str:
    renamed = sum(step.sources != (step.target,) and not step.operations for step in plan.steps)
    changed = sum(bool(step.operations) for step in plan.steps)
    tensors = plural(len(plan.steps), "tensor")
    into = "" if plan.target == "tf1" else f" to {plan.target}"
    transformed = f", {changed:,} transformed" if changed else ""
    counts = f"{tensors} {written}{into}, {renamed:,} renamed{transformed}"
    return f"{counts}, {len(plan.dropped):,} dropped"


def _steps(shown: list[Step], layout: Layout) -> Iterator[Line]:
    unicode = layout.unicode
    arrow = " → " if unicode else " -> "
    sources = [_sources(step) for step in shown]
    width = max((len(safe(source, unicode)) for source in sources), default=0)
    if layout.width is not None:
        width = min(width, max((layout.width - 6) // 2, 20))
    for step, source in zip(shown, sources, strict=True):
        line: Line = [
            ("  " + safe(source, unicode).ljust(width), "removed"),
            (arrow, "guide"),
            (safe(step.target, unicode), "added"),
        ]
        if step.operations:
            shape = "×".join(map(str, step.shape)) if unicode else "x".join(map(str, step.shape))
            words = f"  {'; '.join(step.operations)}  {shape or 'scalar'}"
            line.append((safe(words, unicode), ""))
        line.append((f"  {safe(step.rule, unicode)}", "dim"))
        yield line


def _sources(step: Step) -> str:
    if len(step.sources) > _MANY:
        more = len(step.sources) - _MANY + 1
        return f"{', '.join(step.sources[: _MANY - 1])} and {more} more"
    return ", ".join(step.sources) or "constant"


def _dropped(plan: Plan, layout: Layout, *, every: bool) -> Iterator[Line]:
    unicode = layout.unicode
    arrow = " → " if unicode else " -> "
    dropped = plan.dropped if every else plan.dropped[:LIMIT]
    width = max((len(safe(item.name, unicode)) for item in dropped), default=0)
    if layout.width is not None:
        width = min(width, max((layout.width - 6) // 2, 20))
    for item in dropped:
        yield [
            ("  " + safe(item.name, unicode).ljust(width), "removed"),
            (arrow, "guide"),
            ("dropped", "warn"),
            (f"  {safe(item.rule, unicode)}", "dim"),
        ]
    if len(dropped) < len(plan.dropped):
        yield [(f"  and {len(plan.dropped) - len(dropped):,} more dropped: --all", "dim")]
