"""Problems as text: the code, the place, found against expected, and what to try."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ckpttool.errors import Problem
from ckpttool.render.lines import Line, safe

# What a hint that can be typed as it is begins with.
_COMMANDS = ("ckpttool ", "pip ", "git ")


def problem_lines(
    problems: Iterable[Problem], severity: str = "error", *, unicode: bool = True
) -> Iterator[Line]:
    """A few lines for each problem; ``severity`` is ``error``, ``warning`` or ``note``."""
    style = {"error": "bad", "warning": "warn"}.get(severity, "dim")
    for problem in problems:
        yield [
            (f"{severity}[{problem.code}]", style),
            (" " + safe(problem.message, unicode), "title" if severity == "error" else ""),
        ]
        if problem.where:
            yield [("  --> ", "guide"), (safe(problem.where, unicode), "")]
        facts = []
        if problem.found is not None:
            facts.append(f"found {problem.found}")
        if problem.expected is not None:
            facts.append(f"expected {problem.expected}")
        if facts:
            yield [("  " + safe(", ".join(facts), unicode), "")]
        if problem.hint:
            label = "  try: " if problem.hint.startswith(_COMMANDS) else "  hint: "
            yield [(label, "guide"), (safe(problem.hint, unicode), "")]
