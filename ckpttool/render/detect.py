"""Mapping files that fit a checkpoint, as lines and as JSON."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from ckpttool.errors import Problem
from ckpttool.mapping.detecting.commands import TARGET, VALUE, commands, scalar_text
from ckpttool.mapping.detecting.proposals import LAYERS, NAMES, Detection, Proposal
from ckpttool.render.lines import Layout, Line, plural, safe, wrapped
from ckpttool.render.mappings import STATUS_WORDS

_NAMED = 3  # names, and problems, that are shown of many
_LABEL = 13  # columns
_TARGET_NOTE = (
    f"{TARGET} is a file of the target model, or module:callable that makes it. With --like "
    f"{TARGET} here too, mappings that fit it come first."
)
_VALUE_NOTE = f"{VALUE} is not in the checkpoint: ckpttool mappings show has what the file says."


def detect_lines(found: Detection, path: str, like: str | None, layout: Layout) -> Iterator[Line]:
    """Each proposal with what speaks for it and what to type; ``path`` is as it was typed."""
    unicode, width = layout.unicode, layout.width
    yield [
        (safe(path, unicode), "title"),
        (f"  {plural(found.weights, 'weight')} of {plural(found.names, 'name')}", ""),
        (f"  {plural(found.files, 'mapping file')}", "dim"),
    ]
    if found.looked < found.weights:
        text = f"{found.looked:,} weights were looked at, which stand for all"
        if like is not None:
            text += f"; whether they fit {safe(like, unicode)} was not tried"
        yield from wrapped("  ", text, width, "")
    lines: list[str] = []
    for item in found.proposals:
        typed = commands(item, path, like=like)
        lines += typed
        yield []
        yield from _proposal(item, found.looked, typed, layout)
    yield from _end(found, path, like, lines, layout)


def _end(
    found: Detection, path: str, like: str | None, typed: Sequence[str], layout: Layout
) -> Iterator[Line]:
    """What has to be filled in, or what to try where nothing fits."""
    words = {word for line in typed for word in shlex.split(line)}
    notes = [_TARGET_NOTE] if TARGET in words else []
    if any(word.endswith(f"={VALUE}") for word in words):
        notes.append(_VALUE_NOTE)
    for note in notes:
        yield []
        yield from wrapped("", note, layout.width, "")
    if found.found:
        return
    yield []
    if not found.weights:
        yield [("there are no weights here to be mapped", "warn")]
        return
    yield [("no mapping file fits as it is", "warn"), ("; a draft of one:", "")]
    line = shlex.join(["ckpttool", "suggest", path, "--like", like or TARGET])
    yield [(f"  {safe(line, layout.unicode)}", "title")]


def _proposal(item: Proposal, looked: int, typed: Sequence[str], layout: Layout) -> Iterator[Line]:
    unicode, width = layout.unicode, layout.width
    yield [(safe(item.name, unicode), "title"), _verdict(item)]
    if item.description:
        yield from wrapped("  ", safe(item.description, unicode), width, "")
    for label, text in _facts(item, looked):
        mark = f"  {safe(label, unicode)}".ljust(_LABEL) + "  "
        yield from wrapped(mark, safe(text, unicode), width, "dim")
    for line in typed:
        yield [(f"  {safe(line, unicode)}", "name")]


def _verdict(item: Proposal) -> tuple[str, str]:
    if not item.fits:
        return "  does not fit", "warn"
    if item.kind == LAYERS:
        return "  fits layer by layer, as it does nearly any net", ""
    return "  fits", "good"


def _facts(item: Proposal, looked: int) -> Iterator[tuple[str, str]]:
    yield "target", item.target
    if item.status:
        yield "proof", STATUS_WORDS.get(item.status, item.status)
    yield "weights", _coverage(item, looked)
    if item.fit.lacking:
        yield "no rule", _listed(item.fit.unmatched, item.fit.lacking)
    if item.fit.idle:
        yield "no match", _listed(item.fit.unused, item.fit.idle)
    if item.strip:
        yield "scope", f"{item.strip} goes first"
    guessed = {guess.param: guess for guess in item.guesses}
    for name, value in item.params.items():
        yield "set", f"{name}={scalar_text(value)}{_reason(guessed.get(name))}"
    for name in item.needed:
        yield "set", f"{name}={VALUE}: it has to be given, and does not show"
    for choice in item.choices:
        text = f"--set {choice.param}={scalar_text(choice.value)} takes {choice.taken:,}"
        yield "or", text if choice.whole == item.fit.whole else f"{text}, and does not fit"
    yield from _problems("problem", item.fit.problems)
    yield from _problems("not this", item.like or ())


def _coverage(item: Proposal, looked: int) -> str:
    fit = item.fit
    text = f"{fit.taken:,} of {looked:,} taken"
    if fit.left_out:
        text += f", {fit.left_out:,} left out by its rules"
    if fit.kept:
        text += f", {fit.kept:,} keep their names" if item.kind == NAMES else f", {fit.kept:,} kept"
    return text


def _reason(guess: Any) -> str:
    if guess is None:
        return ""
    text = f": {guess.source} is {list(guess.shape)}"
    return f"{text}. A convention, check it: {guess.convention}" if guess.convention else text


def _listed(names: Sequence[str], count: int) -> str:
    shown = ", ".join(names[:_NAMED])
    more = count - min(count, _NAMED)
    return f"{count:,}: {shown}" + (f" and {more:,} more" if more else "")


def _problems(label: str, problems: Sequence[Problem]) -> Iterator[tuple[str, str]]:
    for problem in problems[:_NAMED]:
        yield label, problem.message + (f": {problem.found}" if problem.found else "")
    if len(problems) > _NAMED:
        yield "", f"and {len(problems) - _NAMED:,} more"


def detect_body(found: Detection, path: str, like: str | None) -> dict[str, Any]:
    """The keys of the JSON output."""
    return {
        "checkpoint": {
            "path": found.path,
            "names": found.names,
            "weights": found.weights,
            "looked_at": found.looked,
        },
        "files": found.files,
        "proposals": [_data(item, path, like) for item in found.proposals],
    }


def _data(item: Proposal, path: str, like: str | None) -> dict[str, Any]:
    fit = item.fit
    return {
        "mapping": item.name,
        "description": item.description,
        "target": item.target,
        "status": item.status,
        "fits": item.fits,
        "kind": item.kind,
        "weights": {"taken": fit.taken, "left_out": fit.left_out, "kept": fit.kept},
        "unmatched": {"count": fit.lacking, "names": list(fit.unmatched)},
        "unused": {"count": fit.idle, "rules": list(fit.unused)},
        "strip": item.strip or None,
        "params": dict(item.params),
        "guesses": [{**guess._asdict(), "shape": list(guess.shape)} for guess in item.guesses],
        "needed": list(item.needed),
        "choices": [
            {"param": one.param, "value": one.value, "taken": one.taken, "fits": one.whole}
            for one in item.choices
        ],
        "faults": [problem._asdict() for problem in fit.problems],
        "like": None if item.like is None else [problem._asdict() for problem in item.like],
        "commands": list(commands(item, path, like=like)),
    }
