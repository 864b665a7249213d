"""``dups`` as lines and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from ckpttool.analysis.duplicates import (
    DuplicateGroup,
    DuplicatesResult,
    Evidence,
    SharedVariable,
)
from ckpttool.render.lines import Layout, Line, plural, safe, wrapped

LIMIT = 6  # variables and copies shown of a group
_WIDTH = 100
_STYLES = {"unshared": "bad", "undecided": "warn"}
_WHAT_ELSE = {
    "stacked": "stacked layers",
    "numbered": "meant to be several",
    "slot": "optimizer slots",
    "undecided": "undecided",
}

# --- JSON ----------------------------------------------------------------------------------------


def dups_body(result: DuplicatesResult, *, shared: bool = False) -> dict[str, Any]:
    """The keys of ``dups --json``; see docs/reference/json.md."""
    body: dict[str, Any] = {
        "checkpoints": list(result.checkpoints),
        "has_graph": result.has_graph,
        "groups": [_group_data(group) for group in result.groups],
    }
    if shared:
        body["shared"] = None
    if result.shared is not None:
        body["shared"] = [
            {"name": item.name, "towers": list(item.towers)} for item in result.shared
        ]
    return body


def _group_data(group: DuplicateGroup) -> dict[str, Any]:
    return {
        "variables": [list(copy) for copy in group.copies],
        "scopes": [list(scopes) for scopes in group.scopes],
        "keep": group.keep,
        "verdict": group.verdict,
        "confidence": group.confidence,
        "evidence": [
            {"kind": item.kind, "text": item.text, "certainty": item.certainty}
            for item in group.evidence
        ],
        "cause": group.cause,
        "fix": group.fix,
    }


# --- terminal ------------------------------------------------------------------------------------


def dups_lines(
    result: DuplicatesResult, layout: Layout, *, every: bool = False, shared: bool = False
) -> Iterator[Line]:
    """A block for each finding; ``every`` shows the other verdicts too, ``shared`` the reverse."""
    unicode = layout.unicode
    width = layout.width or _WIDTH
    groups = result.groups if every else result.unshared
    for group in groups:
        yield from _block(group, unicode, width, every)
        yield []
    if shared:
        yield from _shared(result, unicode)
    yield from _summary(result, every)


def _block(group: DuplicateGroup, unicode: bool, width: int, every: bool) -> Iterator[Line]:
    style = _STYLES.get(group.verdict, "dim")
    yield [
        (group.verdict, style),
        (f"  {plural(len(group.copies), 'copy').replace('copys', 'copies')}", ""),
        (f"  {plural(len(group.copies[0]), 'variable')} each", "dim"),
        (f"  confidence {group.confidence:.2f}", "dim"),
    ]
    limit = len(group.copies) if group.verdict == "unshared" or every else LIMIT
    for at, copy in enumerate(group.copies[:limit]):
        scopes = group.scopes[at]
        shown = ", ".join(safe(scope, unicode) for scope in scopes[:LIMIT])
        more = f", and {len(scopes) - LIMIT} more" if len(scopes) > LIMIT else ""
        line: Line = [("  ", ""), (shown + more, "name")]
        if at == group.keep:
            line.append(("  the live copy", "good"))
        yield line
        if group.verdict == "unshared":
            yield from _variables(copy, scopes, unicode)
    if group.verdict == "unshared" and group.keep is None:
        yield [("  none is more alive than the others: choose the one to keep", "warn")]
    if limit < len(group.copies):
        yield [(f"  and {len(group.copies) - limit} more", "dim")]
    for item in group.evidence:
        yield from _reason(item, unicode, width)
    if group.fix is not None:
        yield from wrapped("  fix: ", safe(group.fix, unicode), width, "flag")


def _variables(copy: tuple[str, ...], scopes: tuple[str, ...], unicode: bool) -> Iterator[Line]:
    """What a copy holds, if its scopes do not say it already."""
    inside = [name for name in copy if name not in scopes]
    for name in inside[:LIMIT]:
        yield [("    " + safe(name, unicode), "dim")]
    if len(inside) > LIMIT:
        yield [(f"    and {len(inside) - LIMIT:,} more", "dim")]


def _reason(item: Evidence, unicode: bool, width: int) -> Iterator[Line]:
    mark = "  · " if unicode else "  - "
    text = safe(item.text, unicode)
    if item.certainty != "confirmed":
        text += f" ({item.certainty})"
    yield from wrapped(mark, text, width, "")


def _shared(result: DuplicatesResult, unicode: bool) -> Iterator[Line]:
    if result.shared is None:
        yield [("without a graph nothing tells which variables are read twice", "warn")]
        yield []
        return
    by_towers: dict[tuple[str, ...], list[SharedVariable]] = {}
    for item in result.shared:
        by_towers.setdefault(item.towers, []).append(item)
    if not by_towers:
        yield [("no variable is read from two towers", "")]
        yield []
    for towers, items in by_towers.items():
        yield [
            ("shared", "good"),
            (f"  {plural(len(items), 'variable')} read from ", ""),
            (", ".join(safe(tower, unicode) for tower in towers), "scope"),
        ]
        for item in items:
            yield [("  " + safe(item.name, unicode), "name")]
        yield []


def _summary(result: DuplicatesResult, every: bool) -> Iterator[Line]:
    found = len(result.unshared)
    counts = Counter(group.verdict for group in result.groups)
    line: Line = [(f"{plural(found, 'unshared group')}", "bad" if found else "good")]
    others = [
        f"{words} {counts[verdict]}" for verdict, words in _WHAT_ELSE.items() if counts[verdict]
    ]
    if others:
        line.append((f"; other look-alikes: {', '.join(others)}", "dim"))
    if others and not every:
        line.append((" (--all shows them)", "dim"))
    yield line
    if not result.has_graph:
        yield [
            (
                "no graph (.meta) here: names, slots and values hardly tell layers from copies",
                "warn",
            )
        ]
