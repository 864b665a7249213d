"""Which mapping files fit a checkpoint, and how well: the way in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.analysis.roles import Role
from ckpttool.errors import Problem
from ckpttool.mapping.detecting.fit import Fit, Tensors, fit, plan_problems, quick_fit
from ckpttool.mapping.detecting.scopes import common_scopes, scopes_before, without
from ckpttool.mapping.detecting.shelf import Shelved, shelve
from ckpttool.mapping.language.document import Scalar
from ckpttool.mapping.language.guesses import Guessed, guess_values
from ckpttool.tensors import TensorSpec

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.mapping.like.template import Template

_SAMPLE = 1000  # names of a first look
_LOOKED = 16  # files that are looked at closely
_MANY = 20_000  # names: of more than these some stand for all, and then
_CLOSELY = 3  # files are tried on all of them
_BLOCKS = 20  # runs of names that a sample has
_DIGITS = re.compile("[0-9]+")


class Choice(NamedTuple):
    """Another value of a parameter, and the weights that the mapping takes with it."""

    param: str
    value: Scalar
    taken: int
    whole: bool


class Proposal(NamedTuple):
    """A mapping file that fits, more or less.

    ``name`` is what `-m` takes.  ``params`` are those to set: ``guesses`` among them show in the
    checkpoint, ``needed`` are left to be found.  ``strip`` is a scope to take off first.
    ``status`` is what the proof of the file says.  ``like`` are the problems with the target: None
    where none was given, empty where it fits.
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


class Detection(NamedTuple):
    """What fits a checkpoint, the best first.

    ``weights`` of its ``names`` are no slots, averages or steps.  ``looked`` is the number of
    mapping files.  ``problems`` are about files that could not be used.
    """

    path: str
    names: int
    weights: int
    looked: int
    proposals: tuple[Proposal, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def likely(self) -> tuple[Proposal, ...]:
        """The proposals that are worth telling: others take little, or would take anything."""
        fitting = any(item.fits and not item.fit.generic for item in self.proposals)
        told: list[Proposal] = []
        for item in self.proposals:
            if self._is_likely(item, fitting) and not any(_covers(best, item) for best in told):
                told.append(item)
        return tuple(told)

    def _is_likely(self, item: Proposal, fitting: bool) -> bool:
        share = item.fit.taken / self.weights
        if item.renames:
            return item.fit.taken > 0
        if item.fit.generic:
            return not fitting and share >= 0.5
        return item.fits or (not fitting and share >= 0.25)


def _covers(best: Proposal, item: Proposal) -> bool:
    """Whether another proposal takes all that this one takes, by the same rules."""
    same = best.target == item.target and best.strip == item.strip
    return same and best.fit.rules >= item.fit.rules


def detect_mappings(
    checkpoint: Checkpoint | str,
    *,
    also: Sequence[str] = (),
    like: str | Template | None = None,
) -> Detection:
    """The mapping files that fit a checkpoint (open, or a path), by names and shapes alone.

    ``also`` are mapping files, or folders of them, beside the built-in ones.  ``like`` is a
    template, a file or a ``module:callable``: proposals that fit this target come first.
    Raises :class:`ckpttool.errors.InputError` and :class:`MappingError`.
    """
    if isinstance(checkpoint, str):
        from ckpttool.checkpoint import open_checkpoint

        with open_checkpoint(checkpoint) as opened:
            return detect_mappings(opened, also=also, like=like)
    if isinstance(like, str):
        from ckpttool.mapping.like.template import load_template

        with load_template(like) as template:
            return detect_mappings(checkpoint, also=also, like=template)
    return detect(checkpoint.info.path, checkpoint.specs, checkpoint.roles, also=also, like=like)


def detect(
    path: str,
    specs: Mapping[str, TensorSpec],
    roles: Mapping[str, Role],
    *,
    also: Sequence[str] = (),
    like: Template | None = None,
) -> Detection:
    """The same for names and shapes; ``path`` is for messages."""
    problems: list[Problem] = []
    shelf = list(shelve(also, problems))
    tensors = Tensors.of(specs, roles)
    few = _fewer(tensors)
    looking = _Looking(few, like)
    found = [
        (proposal, item)
        for item, scope in looking.promising(shelf)
        if (proposal := looking.closely(item, scope)) is not None
    ]
    found.sort(key=_order)

    def result(weights: Sequence[str]) -> Detection:
        proposals = tuple(proposal for proposal, _ in found)
        sizes = len(specs), len(weights), len(shelf)
        return Detection(path, *sizes, proposals, tuple(problems))

    if few is not tensors:
        whole = _Looking(tensors, like)
        best = result(few.weights).likely[:_CLOSELY]
        found = [(whole.again(item, old), item) for old, item in found if old in best]
        found.sort(key=_order)
    return result(tensors.weights)


def _order(pair: tuple[Proposal, Shelved]) -> tuple[object, ...]:
    """What fits a target, then what fits and knows the model, by score; shorter files first."""
    item, file = pair
    known = item.fits and not item.fit.generic and not item.renames
    return item.like != (), not known, -item.fit.score, len(file.rules.rules), item.name


class _Looking:
    """Looks at mapping files against one checkpoint."""

    def __init__(self, tensors: Tensors, like: Template | None) -> None:
        self._tensors = tensors
        self._like = like
        self._sample = _sample(tensors.weights)
        self._common = common_scopes(self._sample)
        self._stripped: dict[str, Tensors | None] = {}

    def promising(self, shelf: Sequence[Shelved]) -> list[tuple[Shelved, str]]:
        """The files that take something, with the scope that they need: the best of them."""
        looks = []
        for item in shelf:
            value, scope = self._first_look(item)
            if value > 0:
                looks.append((value, item, scope))
        looks.sort(key=lambda look: -look[0])
        return [(item, scope) for _, item, scope in looks[:_LOOKED]]

    def _first_look(self, item: Shelved) -> tuple[float, str]:
        """What the sample counts, and the scope with which it counts most."""
        best = quick_fit(item.rules, self._sample), ""
        if best[0] > 0.99 * len(self._sample):
            return best
        bare = item.compiled({"scope": ""}) if item.scoped else item.rules
        scopes = dict.fromkeys(scopes_before(bare, self._sample))
        if item.scoped:
            scopes.update(dict.fromkeys(self._common))
        for scope in scopes:
            if item.scoped:
                value = quick_fit(item.compiled({"scope": scope}), self._sample, len(scope))
            else:
                names = [name.removeprefix(scope) or name for name in self._sample]
                value = quick_fit(item.rules, names)
            if value > best[0]:
                best = value, scope
        return best

    def closely(self, item: Shelved, scope: str) -> Proposal | None:
        """A proposal; None where the file takes nothing after all."""
        tensors: Tensors | None = self._tensors
        params: dict[str, Scalar] = {}
        strip = ""
        if scope and item.scoped:
            params["scope"] = scope
        elif scope:
            strip, tensors = scope, self._without(scope)
        if tensors is None:
            return None
        length = len(scope) if item.scoped else 0
        guesses = self._guess(item, params, tensors)
        best = fit(item.compiled(params), tensors, length)
        choices = []
        for name, values in item.choices.items():
            for value in values:
                other = fit(item.compiled({**params, name: value}), tensors, length)
                if other.rules != best.rules:
                    choices.append(Choice(name, value, other.taken, other.whole))
                if not best.whole and (other.whole, other.score) > (best.whole, best.score):
                    default = item.document.params[name]
                    choices[-1:] = [Choice(name, default, best.taken, best.whole)]
                    params[name] = value
                    guesses = self._guess(item, params, tensors)
                    best = other
        if not best.taken:
            return None
        needed = tuple(name for name in item.required if name not in params)
        target = item.rules.target.text if item.rules.target else "tf1"
        proposal = Proposal(
            item.name, item.document.description, target, item.status, item.renames,
            best, params, tuple(guesses), needed, tuple(choices), strip,
        )  # fmt: skip
        return self._against(item, proposal, tensors)

    def again(self, item: Shelved, old: Proposal) -> Proposal:
        """A proposal that was made of fewer names, with those of this checkpoint."""
        tensors = (self._without(old.strip) if old.strip else None) or self._tensors
        scope = str(old.params.get("scope", "")) if item.scoped else ""
        best = fit(item.compiled(old.params), tensors, len(scope))
        proposal = old._replace(fit=best, choices=())
        return self._against(item, proposal, tensors)

    def _guess(
        self, item: Shelved, params: dict[str, Scalar], tensors: Tensors
    ) -> tuple[Guessed, ...]:
        """What shows of the parameters; it is set where it is not the default."""
        found = guess_values(item.document, tensors.specs, {**item.params, **params})
        for guess in found:
            if guess.value != item.document.params.get(guess.param):
                params[guess.param] = guess.value
        return tuple(guess for guess in found if guess.param in params)

    def _without(self, scope: str) -> Tensors | None:
        if scope not in self._stripped:
            self._stripped[scope] = without(scope, self._tensors)
        return self._stripped[scope]

    def _against(self, item: Shelved, proposal: Proposal, tensors: Tensors) -> Proposal:
        """The proposal with what the target says, if there is one, and the choice that it wants."""
        if self._like is None:
            return proposal
        told = plan_problems(item.compiled(proposal.params), tensors, self._like)
        if not told:
            return proposal._replace(like=())
        for choice in proposal.choices:
            params = {**proposal.params, choice.param: choice.value}
            rules = item.compiled(params)
            if not plan_problems(rules, tensors, self._like):
                best = fit(rules, tensors)
                return proposal._replace(params=params, fit=best, like=(), choices=())
        return proposal._replace(like=told)


def _sample(names: Sequence[str], most: int = _SAMPLE) -> list[str]:
    """Names that stand for all: one of those that differ in digits alone, and not too many.

    What stands together stays together, for a rule may take names of one layer together.
    """
    kinds: dict[str, str] = {}
    for name in names:
        kinds.setdefault(_DIGITS.sub("0", name), name)
    found = list(kinds.values())
    if len(found) <= most:
        return found
    blocks = range(0, len(found), len(found) // _BLOCKS)
    return [name for at in blocks for name in found[at : at + most // _BLOCKS]]


def _fewer(tensors: Tensors) -> Tensors:
    """The same, or some that stand for all where there are many."""
    if len(tensors.specs) <= _MANY:
        return tensors
    weights = _sample(tensors.weights, _MANY // 4)
    return Tensors({name: tensors.specs[name] for name in weights}, {}, weights)
