"""Renames that were found, as a mapping file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ckpttool.analysis.renames import RenameRule
from ckpttool.mapping.comparing import rule_texts


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
    yield f"description: {quoted(f'{source} -> {target}')}"
    yield "target: tf1"
    yield "slots: follow"
    yield "unmatched: keep"
    for name in removed:
        yield f"# only in the first, kept: {quoted(name)}"
    for name in added:
        yield f"# only in the second: {quoted(name)}"
    if not rules:
        yield "rules: []"
        return
    yield "rules:"
    for rule in rules:
        source_text, target_text = rule_texts(rule)
        yield f"  - from: {quoted(source_text)}"
        yield f"    to: {quoted(target_text)}"


def quoted(text: str) -> str:
    """A double-quoted YAML scalar: whatever is not fit to print is written by its number."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
