"""Renames that were found, as a mapping file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from ckpttool.analysis.renames import RenameRule
from ckpttool.mapping.patterns import escape


def mapping_text(
    rules: Sequence[RenameRule],
    *,
    source: str,
    target: str,
    removed: Iterable[str] = (),
    added: Iterable[str] = (),
) -> str:
    """The file's text.  What has no counterpart is told in comments, and kept under its name."""
    return "\n".join(_lines(rules, source, target, list(removed), list(added))) + "\n"


def _lines(
    rules: Sequence[RenameRule], source: str, target: str, removed: list[str], added: list[str]
) -> Iterator[str]:
    yield "version: 1"
    yield f"description: {_quoted(f'{source} -> {target}')}"
    yield "target: tf1"
    yield "slots: follow"
    yield "unmatched: keep"
    for name in removed:
        yield f"# only in the first, kept: {_quoted(name)}"
    for name in added:
        yield f"# only in the second: {_quoted(name)}"
    if not rules:
        yield "rules: []"
        return
    yield "rules:"
    for rule in rules:
        tail = (
            ("/**" if rule.old else "**", "/**" if rule.new else "**") if rule.scope else ("", "")
        )
        yield f"  - from: {_quoted(escape(rule.old) + tail[0])}"
        yield f"    to: {_quoted(escape(rule.new) + tail[1])}"


def _quoted(text: str) -> str:
    return json.dumps(text)  # a JSON string is a YAML string
