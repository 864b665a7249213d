"""A mapping that mends unshared variables in the checkpoint: one copy stays, the others go."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator

from ckpttool.analysis.duplicates import DuplicateGroup, DuplicatesResult
from ckpttool.mapping.language.patterns import escape
from ckpttool.names import printable


def mapping_text(result: DuplicatesResult, saved: Collection[str]) -> str:
    """The file's text: for each finding the live copy gets the first one's names.

    The other copies are dropped, and slots go where their variables go.  Where no copy is more
    alive than another, each choice is written as a comment: that one is for a person to make.
    ``saved`` are the checkpoint's names: there are no rules for variables that only the graph has.
    """
    rules = [line for group in result.unshared for line in _rules(group, saved)]
    active = any(line.startswith("  - ") for line in rules)
    lines = [
        "version: 1",
        f"description: {json.dumps('one copy of variables that were not shared')}",
        "target: tf1",
        "slots: follow",
        "unmatched: keep",
        "rules:" if active else "rules: []",
        *rules,
    ]
    return "\n".join(lines) + "\n"


def _rules(group: DuplicateGroup, saved: Collection[str]) -> Iterator[str]:
    names = [" ".join(printable(scope) for scope in scopes) for scopes in group.scopes]
    if group.keep is not None:
        yield f"  # of {'; '.join(names)}: keep {names[group.keep]}"
        yield from _choice(group, group.keep, "", saved)
        return
    yield f"  # of {'; '.join(names)}: none is more alive than the others. Take one block and"
    yield "  # remove its comment marks (and the brackets after rules:, if they are there)."
    for keep, name in enumerate(names):
        yield f"  # to keep {name}:"
        yield from _choice(group, keep, "# ", saved)


def _choice(group: DuplicateGroup, keep: int, mark: str, saved: Collection[str]) -> Iterator[str]:
    """Rules that drop all copies but one, and give that one the first copy's names."""
    for at, copy in enumerate(group.copies):
        for name, plain in zip(copy, group.copies[0], strict=True):
            if name not in saved:
                continue
            if at != keep:
                yield f"  {mark}- from: {_quoted(name)}"
                yield f"  {mark}  drop: true"
            elif name != plain:
                yield f"  {mark}- from: {_quoted(name)}"
                yield f"  {mark}  to: {_quoted(plain)}"


def _quoted(name: str) -> str:
    """A name as a pattern that matches nothing else, as a YAML (and JSON) string."""
    return json.dumps(escape(name))
