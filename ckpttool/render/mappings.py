"""Mapping files, and what `lint` says of them, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ckpttool.mapping.language.catalog import Linted, MappingInfo
from ckpttool.mapping.planning.plan import plan_data
from ckpttool.render.lines import Layout, Line, plural, safe, wrapped

# What the status of a proof means, in a word or two.
STATUS_WORDS = {
    "equal": "equal",
    "equal_after_change": "equal after a change",
    "weights_only": "weights only",
    "unproven": "unproven",
}


def list_lines(found: Sequence[MappingInfo], layout: Layout) -> Iterator[Line]:
    """Name, target, status of the proof, description: in one line, or in as many as it takes."""
    unicode = layout.unicode
    width = max((len(item.name) for item in found), default=0)
    rows = [(item, STATUS_WORDS.get(item.status or "", item.status or "")) for item in found]
    status_width = max((len(status) for _, status in rows), default=0)
    longest = max((len(item.description) for item in found), default=0)
    whole = width + status_width + longest + 19
    short = layout.width is not None and whole > layout.width
    for item, status in rows:
        head: Line = [
            (safe(item.name.ljust(width), unicode), "title"),
            (f"  {(item.target or '').ljust(13)}", "dim"),
            (f"  {safe(status, unicode).ljust(status_width)}", "good" if status == "equal" else ""),
        ]
        description = safe(item.description, unicode)
        if short:
            yield head
            yield from wrapped("    ", description, layout.width, "")
        else:
            yield [*head, (f"  {description}", "")]


def show_lines(found: Sequence[MappingInfo], layout: Layout) -> Iterator[Line]:
    """Where it is, what it needs and assumes, and the file itself."""
    unicode = layout.unicode
    for item in found:
        yield [(f"# {safe(item.path, unicode)}", "title")]
        for line in item.text.splitlines():
            yield [(safe(line, unicode), "")]


def lint_lines(done: Sequence[Linted], layout: Layout) -> Iterator[Line]:
    """One line for each file."""
    for item in done:
        text = f"  {plural(item.rules, 'rule')}"
        if item.plan is not None:
            text += f", {plural(len(item.plan.steps), 'tensor')} planned"
        yield [("ok", "good"), (f"  {safe(item.path, layout.unicode)}", ""), (text, "dim")]


def lint_data(done: Sequence[Linted]) -> dict[str, Any]:
    """The keys of the JSON output."""
    rows: list[dict[str, Any]] = []
    for item in done:
        row: dict[str, Any] = {"path": item.path, "rules": item.rules}
        if item.plan is not None:
            row.update(plan_data(item.plan))
        rows.append(row)
    return {"linted": rows}
