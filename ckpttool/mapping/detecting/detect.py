"""Which mapping files fit a checkpoint, and how well: the way in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ckpttool.errors import Problem
from ckpttool.mapping.detecting.fit import Tensors
from ckpttool.mapping.detecting.looking import Looking
from ckpttool.mapping.detecting.proposals import Detection, order, told
from ckpttool.mapping.detecting.scopes import sample
from ckpttool.mapping.detecting.shelf import shelve

if TYPE_CHECKING:
    from ckpttool.analysis.roles import Role
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.mapping.like.template import Template
    from ckpttool.tensors import TensorSpec

_MANY = 4000  # names: of more than these
_FEW = 2000  # weights stand for all
_FOLLOWERS = ("variable", "slot", "average")


def detect_mappings(
    checkpoint: Checkpoint | str,
    *,
    also: Sequence[str] = (),
    like: str | Template | None = None,
) -> Detection:
    """The mapping files that fit a checkpoint (open, or a path), by names and shapes alone.

    ``also`` are mapping files, or folders of them, beside the built-in ones.  ``like`` is a
    template, a file or a ``module:callable``: proposals that fit this target come first.  Of a
    checkpoint of more than 4000 names no more than some 2000 weights are looked at; where that is
    not all of them, no target is tried.
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
    found = list(Looking(few, like, problems).proposals(shelf))
    found.sort(key=lambda pair: order(pair[0], len(pair[1].rules.rules)))
    proposals = told([proposal for proposal, _ in found], len(few.weights))
    sizes = len(specs), len(tensors.weights), len(few.weights), len(shelf)
    return Detection(path, *sizes, proposals, tuple(dict.fromkeys(problems)))


def _fewer(tensors: Tensors) -> Tensors:
    """The same; where there are many names, weights that stand for all, without their slots."""
    if len(tensors.specs) <= _MANY:
        return tensors
    weights = sample(tensors.weights, _FEW)
    odd = [name for name, role in tensors.roles.items() if role.role not in _FOLLOWERS][:_FEW]
    names = dict.fromkeys([*weights, *(name for name in odd if name in tensors.specs)])
    roles = {name: tensors.roles[name] for name in odd}
    some = len(weights) < len(tensors.weights)
    return Tensors({name: tensors.specs[name] for name in names}, roles, weights, some)
