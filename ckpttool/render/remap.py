"""A remap plan, and what became of it, as lines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ckpttool.mapping.execution.execute import RemapResult
from ckpttool.mapping.planning.plan import Plan, Step
from ckpttool.mapping.planning.slots import AVERAGES_IGNORE, AVERAGES_USE, SLOTS_DROP
from ckpttool.render.lines import Layout, Line, human_bytes, plural, safe, wrapped

LIMIT = 40  # tensors listed before the rest is only counted
_MANY = 3  # sources of a tensor that are named
# What is left out by one of these is counted: there are two slots to a variable.
_POLICIES = frozenset((SLOTS_DROP, AVERAGES_IGNORE, AVERAGES_USE))


def remap_lines(result: RemapResult, layout: Layout, *, every: bool) -> Iterator[Line]:
    """Caveats, the plan (``every`` tensor, or the first few), then the output."""
    plan = result.plan
    unicode = layout.unicode
    through = f"  through {safe(plan.label, unicode)}" if plan.label else ""
    yield [(safe(plan.source, unicode), "title"), (through, "dim")]
    for text in plan.caveats:
        yield from wrapped("  caveat ", safe(text, unicode), layout.width, "warn")
    moved = [step for step in plan.steps if step.sources != (step.target,) or step.operations]
    shown = moved if every else moved[:LIMIT]
    yield from _listed([_moved(step, plan, unicode) for step in shown], layout)
    if len(shown) < len(moved):
        yield [(f"  and {len(moved) - len(shown):,} more: --all lists them", "dim")]
    yield from _dropped(plan, layout, every=every)
    for name, value in plan.assumes.items():
        words = safe(f"{name}: {value}", unicode)
        yield from wrapped("  assumes ", words, layout.width, "warn")
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


class _Row(NamedTuple):
    """A tensor's line: what it was, what it becomes, and why."""

    source: str
    target: Line


def _listed(rows: Sequence[_Row], layout: Layout) -> Iterator[Line]:
    """Rows with their arrows below each other; one that is too long for the terminal in two."""
    arrow = " → " if layout.unicode else " -> "
    width = max((len(row.source) for row in rows), default=0)
    if layout.width is not None:
        width = min(width, max((layout.width - 6) // 2, 20))
    for row in rows:
        head: Line = [("  " + row.source.ljust(width), "removed"), (arrow, "guide")]
        line = head + row.target
        if layout.width is None or sum(len(text) for text, _ in line) <= layout.width:
            yield line
        else:
            yield [("  " + row.source, "removed")]
            yield [("     " + arrow, "guide"), *row.target]


def _moved(step: Step, plan: Plan, unicode: bool) -> _Row:
    target: Line = [(safe(step.target, unicode), "added")]
    if step.operations:
        shape = ("×" if unicode else "x").join(map(str, step.shape))
        words = f"  {'; '.join(step.operations)}  {shape or 'scalar'}"
        target.append((safe(words, unicode), ""))
    target.append((f"  {_rule(step.rule, plan, unicode)}", "dim"))
    return _Row(safe(_sources(step), unicode), target)


def _rule(rule: str, plan: Plan, unicode: bool) -> str:
    """Where a rule stands; the line alone where it is of the mapping that the plan is headed by."""
    if plan.label and rule.startswith(f"{plan.label}:"):
        rule = f"line {rule[len(plan.label) + 1 :].partition(':')[0]}"
    return safe(rule, unicode)


def _sources(step: Step) -> str:
    if len(step.sources) > _MANY:
        more = len(step.sources) - _MANY + 1
        return f"{', '.join(step.sources[: _MANY - 1])} and {more} more"
    return ", ".join(step.sources) or "constant"


def _dropped(plan: Plan, layout: Layout, *, every: bool) -> Iterator[Line]:
    """What is left out: by rules of the mapping one by one, by a policy counted."""
    unicode = layout.unicode
    counts = Counter(item.rule for item in plan.dropped)
    counted = {rule for rule in counts if not every and rule in _POLICIES}
    dropped = [item for item in plan.dropped if item.rule not in counted]
    shown = dropped if every else dropped[:LIMIT]
    rows = [
        _Row(
            safe(item.name, unicode),
            [("dropped", "warn"), (f"  {_rule(item.rule, plan, unicode)}", "dim")],
        )
        for item in shown
    ]
    rows += [
        _Row(plural(counts[rule], "tensor"), [("dropped", "warn"), (f"  {rule}", "dim")])
        for rule in sorted(counted)
    ]
    yield from _listed(rows, layout)
    if len(shown) < len(dropped):
        yield [(f"  and {len(dropped) - len(shown):,} more dropped: --all lists them", "dim")]
