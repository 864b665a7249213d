"""What ``find_duplicates`` hands over."""

from __future__ import annotations

from dataclasses import dataclass, field

from ckpttool.errors import Problem

VERDICTS = ("unshared", "stacked", "numbered", "slot", "undecided")
CONFIRMED, INFERRED = "confirmed", "inferred"


@dataclass(frozen=True)
class Evidence:
    """One reason, in plain words.

    ``kind`` is ``names construction dataflow training sync slots values checkpoints`` or
    ``unknown`` (what could not be looked at).  ``certainty`` is ``confirmed`` where the graph or
    the values show it, ``inferred`` where names and shapes suggest it.
    """

    kind: str
    text: str
    certainty: str = CONFIRMED


@dataclass(frozen=True)
class DuplicateGroup:
    """Variables that are alike: ``copies`` has one tuple of names per copy, twins at equal places.

    ``scopes`` are the scopes (or names) that tell the copies apart, per copy.  ``keep`` is the
    number of the copy that is alive, None where none is more so than another.  ``cause`` names what
    made them (a key of :data:`ckpttool.analysis.duplicates.mend.FIXES`) for an ``unshared`` group.
    """

    copies: tuple[tuple[str, ...], ...]
    scopes: tuple[tuple[str, ...], ...]
    verdict: str
    confidence: float
    evidence: tuple[Evidence, ...]
    keep: int | None = None
    cause: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class SharedVariable:
    """A variable that several towers read; ``towers`` are the scopes that read it."""

    name: str
    towers: tuple[str, ...]


@dataclass(frozen=True)
class DuplicatesResult:
    """Every group, the surest findings first, and the variables that are really shared.

    ``checkpoints`` are the paths, the examined one last.  ``shared`` is None without a graph.
    """

    checkpoints: tuple[str, ...]
    has_graph: bool
    groups: tuple[DuplicateGroup, ...]
    shared: tuple[SharedVariable, ...] | None
    notices: tuple[Problem, ...] = field(default=())
    damage: tuple[Problem, ...] = field(default=())

    @property
    def unshared(self) -> tuple[DuplicateGroup, ...]:
        """The findings."""
        return tuple(group for group in self.groups if group.verdict == "unshared")
