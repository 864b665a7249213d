"""A draft mapping as a file, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ckpttool.mapping.suggest.draft import Draft
from ckpttool.mapping.suggest.fold import FoldedRule, Table
from ckpttool.render.lines import Layout, Line, plural, safe
from ckpttool.render.mapping_file import quoted

_TARGETS = {
    "keras": "keras",
    "keras-archive": "keras",
    "keras-h5": "keras-h5",
    "tf2": "tf2",
    "safetensors": "safetensors",
    "npz": "npz",
}
_LISTED = 200  # names that a comment lists
_SHOWN = 40  # rules on a terminal


def draft_text(draft: Draft) -> str:
    """The mapping file.  What is not certain stands in comments."""
    return "\n".join(_file(draft)) + "\n"


def _file(draft: Draft) -> Iterator[str]:
    rules = plural(len(draft.rules), "rule")
    yield f"# A draft: {rules} for {draft.told} of {draft.variables} variables."
    yield "# Check every rule that is not of high confidence, and what is left open below."
    yield "# Names in `to` are the target's: give --like to remap, too."
    yield "version: 1"
    yield f"description: {quoted(f'{_base(draft.source)} -> {_base(draft.target)}')}"
    yield f"target: {_TARGETS.get(draft.format, 'tf1')}"
    if draft.forget_bias:
        yield "params: {forget_bias: 1.0}  # of the TF1 cell; it is not in the checkpoint"
    yield "slots: drop"
    if draft.averages:
        count = plural(draft.averages, "average")
        yield f"averages: ignore  # {count} there: `use` makes them the weights"
    if draft.forget_bias:
        yield "assumes:"
        yield "  forget_bias: $forget_bias"
    yield "rules:" if draft.rules or _drops(draft) else "rules: []"
    for rule in draft.rules:
        yield from _rule(rule, "  ")
    for name, role in _drops(draft):
        yield f"  # {role}"
        yield f"  - from: {quoted(name)}"
        yield "    drop: true"
    yield from _open(draft)


def _drops(draft: Draft) -> list[tuple[str, str]]:
    """Names that no policy leaves out by itself."""
    from ckpttool.mapping.language.patterns import escape

    return [(escape(name), role) for name, role in draft.dropped if role not in ("slot", "average")]


def _rule(rule: FoldedRule, indent: str) -> Iterator[str]:
    words = dict.fromkeys(word for line in rule.lines for word in line.words)
    evidence = ", ".join(rule.evidence) or "shapes"
    count = plural(len(rule.lines), "tensor") if len(rule.lines) > 1 else ""
    notes = "; ".join(text for text in (f"{rule.confidence}: {evidence}", count, *words) if text)
    yield f"{indent}# {safe(notes)}"
    yield f"{indent}- from: {_names(rule.sources)}"
    yield f"{indent}  to: {_names(rule.targets)}"
    if rule.where:
        inner = ", ".join(f"{name}: {_table(table)}" for name, table in rule.where)
        yield f"{indent}  where: {{{inner}}}"
    if rule.chain:
        yield f"{indent}  apply: [{', '.join('{' + step + '}' for step in rule.chain)}]"


def _open(draft: Draft) -> Iterator[str]:
    if draft.open_rules:
        yield "  # Open: another choice is as good. Uncomment what is right."
        for rule in draft.open_rules:
            for line in _rule(rule, ""):
                yield f"  # {line}"
    for missing in draft.missing[:_LISTED]:
        shape = list(missing.shape)
        yield f"  # Nothing for {safe(missing.name)} {shape}"
        if missing.filler:
            yield f"  # - to: {quoted(missing.name)}"
            yield f"  #   apply: [{{{missing.filler}: {{shape: {shape}}}}}]"
    if len(draft.missing) > _LISTED:
        yield f"  # and nothing for {len(draft.missing) - _LISTED} more"
    for tensor in draft.unused[:_LISTED]:
        yield f"  # No place for {safe(tensor.name)} {list(tensor.shape)}"
        yield f"  # - from: {quoted(tensor.name)}"
        yield "  #   drop: true"
    if len(draft.unused) > _LISTED:
        yield f"  # and no place for {len(draft.unused) - _LISTED} more"


def _names(names: Sequence[str]) -> str:
    texts = [quoted(name) for name in names]
    return texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"


def _table(table: Table) -> str:
    if not table.columns and all((text,) == row for text, row in table.rows):
        return f"[{', '.join(quoted(text) for text, _ in table.rows)}]"
    rows = []
    for text, row in table.rows:
        if table.columns:
            pairs = zip(table.columns, row, strict=True)
            cells = ", ".join(f"{name}: {quoted(cell)}" for name, cell in pairs)
            rows.append(f"{quoted(text)}: {{{cells}}}")
        else:
            rows.append(f"{quoted(text)}: {quoted(row[0])}")
    return f"{{{', '.join(rows)}}}"


def suggest_lines(draft: Draft, layout: Layout, output: str) -> Iterator[Line]:
    """What was found, when the file itself went elsewhere."""
    unicode = layout.unicode
    arrow = " → " if unicode else " -> "
    rules = [*draft.rules, *draft.open_rules]
    for rule in rules[:_SHOWN]:
        confidence = "open" if rule.confidence == "low" else rule.confidence
        yield [
            (f"  {confidence:<7}", {"high": "good", "medium": "warn"}.get(confidence, "bad")),
            (safe(", ".join(rule.sources), unicode), "removed"),
            (arrow, "guide"),
            (safe(", ".join(rule.targets), unicode), "added"),
            (f"  {plural(len(rule.lines), 'tensor')}", "dim"),
        ]
    if len(rules) > _SHOWN:
        yield [(f"  and {len(rules) - _SHOWN:,} more: they are in the file", "dim")]
    for missing in draft.missing[:_SHOWN]:
        yield [("  nothing for ", "warn"), (safe(missing.name, unicode), "")]
    for tensor in draft.unused[:_SHOWN]:
        yield [("  no place for ", "warn"), (safe(tensor.name, unicode), "")]
    told = f"{draft.told:,} of {draft.variables:,} variables told"
    told += f" by {plural(len(draft.rules), 'rule')}"
    left = (
        f", {len(draft.missing):,} without a source, {len(draft.unused):,} tensors without a place"
    )
    yield [(told + left, "title")]
    yield [(safe(output, unicode), "title"), ("  check it, then remap with --like", "dim")]


def suggest_body(draft: Draft, output: str | None) -> dict[str, Any]:
    """The JSON of a draft; ``output`` is the file that it was written to."""
    return {
        "source": draft.source,
        "target": draft.target,
        "rules": [_rule_data(rule) for rule in draft.rules],
        "open": [_rule_data(rule) for rule in draft.open_rules],
        "missing": [{"name": item.name, "shape": list(item.shape)} for item in draft.missing],
        "unused": [{"name": item.name, "shape": list(item.shape)} for item in draft.unused],
        "dropped": [{"name": name, "role": role} for name, role in draft.dropped],
        "totals": {
            "tensors": draft.tensors,
            "variables": draft.variables,
            "told": draft.told,
        },
        "mapping": draft_text(draft),
        "output": output,
    }


def _rule_data(rule: FoldedRule) -> dict[str, Any]:
    return {
        "from": list(rule.sources),
        "to": list(rule.targets),
        "apply": list(rule.chain),
        "confidence": rule.confidence,
        "evidence": list(rule.evidence),
        "pairs": [
            {"sources": list(line.sources), "targets": list(line.targets)} for line in rule.lines
        ],
    }


def _base(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or path
