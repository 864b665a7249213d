"""``verify`` as lines and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ckpttool.analysis.verify_model import (
    DAMAGED,
    INTACT,
    UNREADABLE,
    DamagedTensor,
    DirectoryResult,
    VerifyResult,
)
from ckpttool.errors import Problem
from ckpttool.render.lines import Layout, Line, human_bytes, plural, safe
from ckpttool.render.problems import problem_lines

LIMIT = 20  # damaged tensors, and names, that are shown without --all
_STYLES = {INTACT: "good", DAMAGED: "bad", UNREADABLE: "bad"}
_WORDS = {
    "checksum": "checksum",
    "truncated": "cut short",
    "missing_shard": "no shard",
    "slices": "slices",
    "size": "wrong size",
    "index": "index entry",
    "cap": "too large",
    "elsewhere": "elsewhere",
    "differs": "differs",
}

Result = VerifyResult | DirectoryResult

# --- JSON ----------------------------------------------------------------------------------------


def verify_body(results: Sequence[Result], *, salvage: bool = False) -> dict[str, Any]:
    """The keys of ``verify --json``; see docs/reference/json.md."""
    flat = checkpoints_of(results)
    return {
        "tensors": sum(len(item.names) for item in flat),
        "damaged": [
            {"checkpoint": item.path, **_tensor_data(bad)} for item in flat for bad in item.damaged
        ],
        "missing_shards": [path for item in flat for path in item.missing],
        "checkpoints": [_checkpoint_data(item, salvage) for item in flat],
        "directories": [
            {
                "path": item.path,
                "checkpoints": [one.path for one in item.checkpoints],
                "newest_intact": item.newest,
                "state_file": item.state,
                "state_file_agrees": None if item.state is None else not item.faults,
            }
            for item in results
            if isinstance(item, DirectoryResult)
        ],
    }


def _checkpoint_data(item: VerifyResult, salvage: bool) -> dict[str, Any]:
    data: dict[str, Any] = {
        "path": item.path,
        "format": item.format,
        "step": item.step,
        "shards": item.shards,
        "status": item.status,
        "tensors": len(item.names),
        "damaged": len(item.damaged_names),
        "unchecked": list(item.unchecked),
        "missing_shards": list(item.missing),
        "faults": [fault._asdict() for fault in item.faults],
        "unreferenced": [
            {"file": span.path, "start": span.start, "end": span.end} for span in item.unreferenced
        ],
        "bytes_read": item.bytes_read,
        "quick": item.quick,
        "against": None,
    }
    if item.against is not None:
        engine, version, compared, differing, faults = item.against
        data["against"] = {
            "engine": engine,
            "version": version,
            "compared": compared,
            "differing": [_tensor_data(bad) for bad in differing],
            "faults": [fault._asdict() for fault in faults],
        }
    if salvage:
        data["readable"] = list(item.readable)
    return data


def _tensor_data(item: DamagedTensor) -> dict[str, Any]:
    part = item.slice
    return {
        "name": item.name,
        "reason": item.reason,
        "code": item.problem.code,
        "message": item.problem.message,
        "file": item.path,
        "start": item.start,
        "end": item.end,
        "slice": None if part is None else {"start": part.start, "shape": part.shape},
        "found": item.problem.found,
        "expected": item.problem.expected,
    }


def checkpoints_of(results: Sequence[Result]) -> list[VerifyResult]:
    """All checkpoints, those of directories in their place."""
    found: list[VerifyResult] = []
    for item in results:
        found += item.checkpoints if isinstance(item, DirectoryResult) else (item,)
    return found


# --- terminal ------------------------------------------------------------------------------------


def verify_lines(
    results: Sequence[Result], layout: Layout, *, salvage: bool = False, every: bool = False
) -> Iterator[Line]:
    """A block for each checkpoint; ``every`` cuts no list, ``salvage`` lists what is left."""
    for number, item in enumerate(results):
        if number:
            yield []
        if isinstance(item, DirectoryResult):
            yield from _directory(item, layout, salvage, every)
        else:
            yield from _checkpoint(item, layout, salvage, every)
    flat = checkpoints_of(results)
    if len(flat) > 1:
        yield []
        yield [(_counts(flat), "good" if all(one.status == INTACT for one in flat) else "bad")]


def _counts(flat: Sequence[VerifyResult]) -> str:
    counts = Counter(item.status for item in flat)
    words = [f"{counts[status]} {status}" for status in _STYLES if counts[status]]
    return f"{plural(len(flat), 'checkpoint')}: {', '.join(words)}"


def _directory(item: DirectoryResult, layout: Layout, salvage: bool, every: bool) -> Iterator[Line]:
    """A list of the checkpoints, then those that there is more to say of."""
    several = len(item.checkpoints) > 1
    if several:
        yield from _list(item, layout.unicode)
    for one in item.checkpoints:
        if not several or salvage or one.against is not None or one.status != INTACT:
            if several:
                yield []
            yield from _checkpoint(one, layout, salvage, every)
    yield from problem_lines(item.faults, "error", unicode=layout.unicode)


def _list(item: DirectoryResult, unicode: bool) -> Iterator[Line]:
    yield [(safe(item.path, unicode), "title")]
    width = max((len(one.path) for one in item.checkpoints), default=0)
    for one in item.checkpoints:
        line: Line = [
            (f"  {one.status:<11}", _STYLES[one.status]),
            (safe(one.path, unicode).ljust(width), "name"),
        ]
        if one.status != UNREADABLE:
            line.append((f"  {plural(len(one.names), 'tensor')}", "dim"))
        yield line
    if item.newest is not None:
        yield [("  newest intact: ", ""), (safe(item.newest, unicode), "good")]
    else:
        yield [("  none of them is intact", "bad")]


def _checkpoint(item: VerifyResult, layout: Layout, salvage: bool, every: bool) -> Iterator[Line]:
    unicode = layout.unicode
    line: Line = [(item.status, _STYLES[item.status]), ("  " + safe(item.path, unicode), "title")]
    if item.title is not None:
        words = [item.title] + ([f"step {item.step}"] if item.step is not None else [])
        words += [plural(item.shards, "shard")] if item.shards > 1 else []
        line.append(("  " + ", ".join(words), "dim"))
    yield line
    if item.opened:
        yield [("  " + _sentence(item), "")]
    yield from _damaged(item.damaged, layout, every)
    for path in item.missing:
        yield [("  missing  ", "bad"), (safe(path, unicode), "")]
    yield from _indented(problem_lines(item.faults, "error", unicode=unicode))
    if item.against is not None:
        yield from _against(item, layout, every)
    yield from _unreferenced(item, unicode, every)
    if salvage:
        yield from _readable(item, unicode)


def _sentence(item: VerifyResult) -> str:
    """How much was checked, and with what outcome."""
    count = plural(len(item.names), "tensor")
    bad = len(item.damaged_names)
    text = f"{count}, {bad:,} damaged" if bad else f"{count}, none damaged" if count else ""
    if item.quick:
        return f"{text}; no data was read (--quick)"
    text += f"; {human_bytes(item.bytes_read)} read"
    unchecked = len(item.unchecked)
    if unchecked == len(item.names) and unchecked:
        return f"{text}; this format has no checksums: all could be read, no more is known"
    if unchecked:
        return f"{text}; {unchecked:,} without a checksum that is known"
    return f"{text}, every checksum compared" if item.names else text


def _damaged(items: Sequence[DamagedTensor], layout: Layout, every: bool) -> Iterator[Line]:
    unicode = layout.unicode
    shown = items if every else items[:LIMIT]
    names = [safe(item.name, unicode) + _part(item) for item in shown]
    reasons = [_WORDS.get(item.reason, item.reason) for item in shown]
    places = [safe(_place(item), unicode) for item in shown]
    wide = max(map(len, names), default=0)
    word = max(map(len, reasons), default=0)
    longest = max(map(len, places), default=0)
    apart = layout.width is not None and 4 + wide + 2 + word + 2 + longest > layout.width
    for name, reason, place in zip(names, reasons, places, strict=True):
        if apart:
            yield [("  " + name, "name"), ("  " + reason, "bad")]
            yield [("      " + place, "dim")]
        else:
            yield [
                ("  " + name.ljust(wide), "name"),
                ("  " + reason.ljust(word), "bad"),
                ("  " + place, "dim"),
            ]
    if len(shown) < len(items):
        yield [(f"  and {len(items) - len(shown):,} more: --all shows them", "dim")]


def _part(item: DamagedTensor) -> str:
    """The slice that is meant, as Python would index it."""
    if item.slice is None:
        return ""
    pairs = zip(item.slice.start, item.slice.shape, strict=True)
    return "[" + ", ".join(f"{start}:{start + size}" for start, size in pairs) + "]"


def _place(item: DamagedTensor) -> str:
    problem = item.problem
    facts = []
    if item.reason == "truncated" and problem.found and problem.expected:
        facts = [f"{problem.found.removesuffix(' bytes')} of {problem.expected} are there"]
    elif problem.found is not None:
        facts.append(f"found {problem.found}")
    if problem.expected is not None and item.reason != "truncated":
        facts.append(f"expected {problem.expected}")
    if item.path is None:
        where = problem.message if problem.where is None else f"{problem.message}: {problem.where}"
        return ", ".join([where, *facts])
    file = item.path.replace("\\", "/").rpartition("/")[2]
    if item.reason == "missing_shard":
        return file
    end = "" if item.end is None else f" to {item.end}"
    word = "byte" if item.end is None else "bytes"
    return ", ".join([f"{file}: {word} {item.start}{end}", *facts])


def _against(item: VerifyResult, layout: Layout, every: bool) -> Iterator[Line]:
    against = item.against
    if against is None:
        return
    what = f"{against.engine} {against.version} reads "
    if against.differing or against.faults:
        count = f"{len(against.differing):,} of {plural(against.compared, 'tensor')}"
        yield [(f"  {what}{count} otherwise", "bad")]
    else:
        yield [(f"  {what}the same: {plural(against.compared, 'tensor')}", "good")]
    yield from _damaged(against.differing, layout, every)
    yield from _indented(problem_lines(against.faults, "error", unicode=layout.unicode))


def _unreferenced(item: VerifyResult, unicode: bool, every: bool) -> Iterator[Line]:
    if not item.unreferenced:
        return
    total = sum(span.end - span.start for span in item.unreferenced)
    yield [(f"  {plural(total, 'byte')} belong to no tensor (no damage):", "dim")]
    shown = item.unreferenced if every else item.unreferenced[:LIMIT]
    for span in shown:
        yield [(f"    {safe(span.path, unicode)}: bytes {span.start} to {span.end}", "dim")]
    if len(shown) < len(item.unreferenced):
        yield [(f"    and {len(item.unreferenced) - len(shown):,} more places", "dim")]


def _readable(item: VerifyResult, unicode: bool) -> Iterator[Line]:
    names = item.readable
    yield [(f"  {plural(len(names), 'tensor')} can still be read:", "good" if names else "bad")]
    unchecked = frozenset(item.unchecked)
    for name in names:
        line: Line = [("    " + safe(name, unicode), "name")]
        if name in unchecked:
            line.append(("  nothing vouches for its bytes", "warn"))
        yield line


def _indented(lines: Iterator[Line]) -> Iterator[Line]:
    for line in lines:
        yield [("  ", ""), *line]


def problems_of(results: Sequence[Result]) -> tuple[list[Problem], list[Problem]]:
    """Everything that is no tensor's: faults, then notices."""
    faults: list[Problem] = []
    notices: list[Problem] = []
    for item in results:
        if isinstance(item, DirectoryResult):
            faults += item.faults
            notices += item.notices
    for one in checkpoints_of(results):
        faults += one.faults
        faults += () if one.against is None else one.against.faults
        notices += one.notices
    return list(dict.fromkeys(faults)), list(dict.fromkeys(notices))
