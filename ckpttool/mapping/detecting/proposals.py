"""What detecting finds: proposals, and which of them are worth telling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ckpttool.errors import Problem
from ckpttool.mapping.detecting.fit import Fit
from ckpttool.mapping.language.document import Scalar
from ckpttool.mapping.language.guesses import Guessed

# Kinds of mapping files, as they fit a checkpoint.
MODEL, LAYERS, NAMES = "model", "layers", "names"

_PART = 0.25  # of the weights: what a file has to take that knows this model and does not fit
_MOST = 0.5  # the same of a file that goes by the last words of names


class Choice(NamedTuple):
    """Another value of a parameter, the weights that the mapping takes with it, and if it fits."""

    param: str
    value: Scalar
    taken: int
    whole: bool


class Proposal(NamedTuple):
    """A mapping file that fits, more or less.

    ``name`` is what `-m` takes.  ``params`` are those to set: ``guesses`` among them show in the
    checkpoint, ``needed`` are left to be found.  ``strip`` is a scope to take off first.
    ``status`` is what the proof of the file says.  ``like`` are the problems with the target: None
    where none was given or the mapping does not fit anyway, empty where it fits.
    """

    name: str
    description: str
    target: str
    status: str | None
    renames: bool
    fit: Fit
    params: Mapping[str, Scalar] = {}
    guesses: tuple[Guessed, ...] = ()
    needed: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    strip: str = ""
    like: tuple[Problem, ...] | None = None

    @property
    def fits(self) -> bool:
        """Whether the plan is sound, for the target too where one is given."""
        return self.fit.whole and not self.like

    @property
    def kind(self) -> str:
        """What the rules go by.

        ``model``: scopes of this model; ``layers``: the last words of names, which nearly any
        model has; ``names``: old names of some variables, all others stay as they are.
        """
        if self.renames:
            return NAMES
        return LAYERS if self.fit.generic else MODEL


class Detection(NamedTuple):
    """What fits a checkpoint, the best first.

    ``weights`` of its ``names`` are no slots, averages or steps; ``looked`` of them were looked
    at, which stand for all where there are very many.  ``files`` is the number of mapping files.
    ``problems`` are about files that could not be used.
    """

    path: str
    names: int
    weights: int
    looked: int
    files: int
    proposals: tuple[Proposal, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def found(self) -> bool:
        """Whether any mapping fits."""
        return any(item.fits for item in self.proposals)


def order(item: Proposal, rules: int) -> tuple[object, ...]:
    """The key to sort by: what fits and knows the model comes first; then score, shorter files.

    ``rules`` is the length of the file.
    """
    known = item.fits and item.kind == MODEL
    return not known, item.like != (), -item.fit.score, rules, item.name


def told(proposals: Sequence[Proposal], weights: int) -> tuple[Proposal, ...]:
    """The proposals that are worth telling: others take little, or no more than a better one."""
    settled = any(item.fits and item.kind == MODEL for item in proposals)
    found: list[Proposal] = []
    for item in proposals:
        if _is_told(item, settled, weights) and not any(_covers(best, item) for best in found):
            found.append(item)
    return tuple(found)


def _is_told(item: Proposal, settled: bool, weights: int) -> bool:
    share = item.fit.taken / weights if weights else 0.0
    if item.kind == NAMES:
        return item.fit.taken > 0
    if item.kind == LAYERS:
        return not settled and share >= _MOST
    return item.fits or (not settled and share >= _PART)


def _covers(best: Proposal, item: Proposal) -> bool:
    """Whether a better proposal takes all that this one takes, by the same rules."""
    same = best.target == item.target and best.strip == item.strip
    return same and best.fit.rules >= item.fit.rules
