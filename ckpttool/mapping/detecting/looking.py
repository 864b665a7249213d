"""Looks at mapping files against one checkpoint: a first look at all, a closer one at some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.detecting.fit import Fit, Tensors, fit, plan_problems, quick_fit
from ckpttool.mapping.detecting.proposals import Choice, Proposal
from ckpttool.mapping.detecting.scopes import common_scopes, sample, scopes_before, without
from ckpttool.mapping.detecting.shelf import Shelved
from ckpttool.mapping.language.document import Scalar
from ckpttool.mapping.language.guesses import Guessed, guess_values

if TYPE_CHECKING:
    from ckpttool.mapping.like.template import Template

_SAMPLE = 400  # names of a first look
_LOOKED = 16  # files that are looked at closely
_CHOICES = 8  # values of parameters that are tried for one file
_SIZES = 16  # sizes of the target that are tried for a parameter
_LARGEST = 256
_SHAPES = ("MAP018", "MAP032")  # problems that another value of a parameter may solve

Params = dict[str, Scalar]


class Looking:
    """One checkpoint, and what was worked out about it; ``problems`` are about mapping files."""

    def __init__(
        self, tensors: Tensors, like: Template | None = None, problems: list[Problem] | None = None
    ) -> None:
        self.problems: list[Problem] = [] if problems is None else problems
        self._tensors = tensors
        self._like = like
        self._names = sample(tensors.weights, _SAMPLE)
        self._common = common_scopes(self._names)
        self._stripped: dict[str, Tensors | None] = {}

    def proposals(self, shelf: Sequence[Shelved]) -> Iterator[tuple[Proposal, Shelved]]:
        """What the most promising files make of the checkpoint; not sorted."""
        looks = []
        for item in shelf:
            value, scope = self._first_look(item)
            if value > 0:
                looks.append((value, item, scope))
        looks.sort(key=lambda look: -look[0])
        for _, item, scope in looks[:_LOOKED]:
            try:
                proposal = self._closely(item, scope)
            except MappingError as error:  # a pattern that gives up on these names
                self.problems += error.problems
                continue
            if proposal is not None:
                yield proposal, item

    def _first_look(self, item: Shelved) -> tuple[float, str]:
        """How much of the names the rules know, and the scope with which they know most."""
        try:
            return self._best_scope(item)
        except MappingError as error:
            self.problems += error.problems
            return 0.0, ""

    def _best_scope(self, item: Shelved) -> tuple[float, str]:
        best = quick_fit(item.rules, self._names), ""
        if best[0] > 0.99 * len(self._names):
            return best
        bare = item.compiled({"scope": ""}) if item.scoped else item.rules
        scopes = dict.fromkeys(scopes_before(bare, self._names))
        if item.scoped:
            scopes.update(dict.fromkeys(self._common))
        for scope in scopes:
            names = [name.removeprefix(scope) or name for name in self._names]
            if item.scoped:  # the scope goes into its rules: names outside are not for it
                names = [name for name, old in zip(names, self._names, strict=True) if name != old]
            value = quick_fit(bare, names)
            if value > best[0]:
                best = value, scope
        return best

    def _closely(self, item: Shelved, scope: str) -> Proposal | None:
        """A proposal; None where the file takes nothing after all."""
        tensors: Tensors | None = self._tensors
        params: Params = {}
        strip = ""
        if scope and item.scoped:
            params["scope"] = scope
        elif scope:
            strip, tensors = scope, self._without(scope)
        if tensors is None:
            return None
        best, choices = _chosen(item, params, tensors)
        if not best.fit.taken:
            return None
        needed = tuple(name for name in item.required if name not in best.params)
        target = item.rules.target.text if item.rules.target else "tf1"
        proposal = Proposal(
            item.name, item.document.description, target, item.status, item.renames,
            best.fit, best.params, best.guesses, needed, choices, strip,
        )  # fmt: skip
        if tensors.some or not best.fit.whole:  # some names alone fill no target
            return proposal
        return self._planned(item, proposal, tensors)

    def _without(self, scope: str) -> Tensors | None:
        if scope not in self._stripped:
            self._stripped[scope] = without(scope, self._tensors)
        return self._stripped[scope]

    def _planned(self, item: Shelved, proposal: Proposal, tensors: Tensors) -> Proposal:
        """The proposal with what the whole plan says, for the target if there is one.

        Where the target wants another choice, or the names without a scope, that is taken.
        """
        like = self._like
        problems = plan_problems(item.compiled(proposal.params), tensors, like)
        if like is None:
            whole = proposal.fit._replace(whole=not problems, problems=problems)
            return proposal._replace(fit=whole)
        told = _told_by_target(item, proposal, tensors, like, problems)
        if told is not None:
            return told
        others: list[Params] = [{one.param: one.value} for one in proposal.choices if one.whole]
        if item.scoped and "scope" not in proposal.params:
            others += [{"scope": scope} for scope in self._common]
        for chosen in others:
            params = {**proposal.params, **chosen}
            rules = item.compiled(params)
            other = proposal._replace(params=params, choices=(), fit=fit(rules, tensors))
            problems_then = plan_problems(rules, tensors, like)
            told = _told_by_target(item, other, tensors, like, problems_then)
            if told is not None:
                return told
        return proposal._replace(like=problems)


def _told_by_target(
    item: Shelved,
    proposal: Proposal,
    tensors: Tensors,
    like: Template,
    problems: Sequence[Problem],
) -> Proposal | None:
    """The proposal, if it fits the target; with a parameter, if need be, that only that knows.

    ``problems`` are those without.  The parameter is a size of the target, and no other may fit
    as well.
    """
    if not problems:  # and so the target's shapes say what only a convention said
        settled = tuple(guess._replace(convention="") for guess in proposal.guesses)
        return proposal._replace(guesses=settled, like=())
    names = [*proposal.needed, *(guess.param for guess in proposal.guesses if guess.convention)]
    if len(names) != 1 or not all(problem.code in _SHAPES for problem in problems):
        return None
    (name,) = names
    sizes = _sizes(like)
    fitting = [
        size
        for size in sizes
        if not plan_problems(item.compiled({**proposal.params, name: size}), tensors, like)
    ]
    if len(fitting) != 1:
        return None
    (size,) = fitting
    guesses = (
        *(one for one in proposal.guesses if one.param != name),
        Guessed(name, size, *sizes[size]),
    )
    params = {**proposal.params, name: size}
    return proposal._replace(params=params, guesses=guesses, needed=(), like=())


def _sizes(like: Template) -> dict[int, tuple[str, tuple[int, ...]]]:
    """The small sizes of a target's variables, with the first variable that has each."""
    found: dict[int, tuple[str, tuple[int, ...]]] = {}
    for item in like.variables:
        for size in item.shape:
            if 0 < size <= _LARGEST:
                found.setdefault(size, (item.name, tuple(item.shape)))
    return dict(sorted(found.items())[:_SIZES])


class _Tried(NamedTuple):
    """A file with some parameters given and others guessed, and how it fits."""

    given: tuple[str, Scalar] | None  # the choice, None for the defaults
    params: Params
    guesses: tuple[Guessed, ...]
    fit: Fit


def _try(
    item: Shelved, params: Params, tensors: Tensors, given: tuple[str, Scalar] | None = None
) -> _Tried:
    """Fit a file; a guess that is the default is not told."""
    if given is not None:
        params = {**params, given[0]: given[1]}
    found = guess_values(item.document, tensors.specs, {**item.params, **params})
    guesses = tuple(
        guess
        for guess in found
        if guess.param not in params and guess.value != item.document.params.get(guess.param)
    )
    params = {**params, **{guess.param: guess.value for guess in guesses}}
    best = fit(item.compiled(params), tensors, _length(item, params))
    return _Tried(given, params, guesses, best)


def _chosen(item: Shelved, params: Params, tensors: Tensors) -> tuple[_Tried, tuple[Choice, ...]]:
    """The parameters with which the file fits best, and what it takes with others.

    The defaults stay if they fit.
    """
    default = best = _try(item, params, tensors)
    pairs = [(name, value) for name, values in item.choices.items() for value in values]
    tried = [_try(item, params, tensors, pair) for pair in pairs[:_CHOICES]]
    for other in tried:
        if not default.fit.whole and _value(other) > _value(best):
            best = other
    choices = [
        Choice(*other.given, other.fit.taken, other.fit.whole)
        for other in tried
        if other.given and other is not best and other.fit.rules != best.fit.rules
    ]
    if best.given is not None:
        name = best.given[0]
        value = item.document.params[name]
        choices.insert(0, Choice(name, value, default.fit.taken, default.fit.whole))
    return best, tuple(choices)


def _value(tried: _Tried) -> tuple[bool, float]:
    return tried.fit.whole, tried.fit.score


def _length(item: Shelved, params: Mapping[str, Scalar]) -> int:
    """Characters of the scope that is put into the rules."""
    return len(str(params.get("scope", ""))) if item.scoped else 0
