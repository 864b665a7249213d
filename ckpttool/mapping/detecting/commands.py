"""The command lines that carry out a proposal, ready to be typed."""

from __future__ import annotations

import shlex

from ckpttool.formats.targets import TARGETS
from ckpttool.mapping.detecting.proposals import Proposal
from ckpttool.mapping.language.document import Scalar
from ckpttool.mapping.planning.targeting import SUFFIXES

# What a command has where the checkpoint does not tell: to be filled in.
TARGET, VALUE = "TARGET", "VALUE"

_BARE = "out/bare/model.ckpt"  # where names go whose scope is taken off


def commands(
    proposal: Proposal, path: str, *, like: str | None = None, output: str | None = None
) -> tuple[str, ...]:
    """The command lines, two where a scope has to go first; none where the mapping does not fit.

    ``output`` is taken where it suits the mapping's target.  Rules to Keras name layers, so they
    need ``like``: without it the line has TARGET in its place.
    """
    if not proposal.fits:
        return ()
    first: tuple[str, ...] = ()
    if proposal.strip:
        words = ["remap", path, "--strip-prefix", proposal.strip, "-o", _BARE]
        first, path = (_line(words),), _BARE
    words = ["remap", path, "-m", proposal.name]
    for name, value in settings(proposal):
        words += ["--set", f"{name}={value}"]
    if like is not None or proposal.target.startswith("keras"):
        words += ["--like", like or TARGET]
    words += ["-o", _output(proposal.target, output)]
    return (*first, _line(words))


def settings(proposal: Proposal) -> list[tuple[str, str]]:
    """The parameters to set: those that are known, then those to be found."""
    known = [(name, scalar_text(value)) for name, value in proposal.params.items()]
    return [*known, *((name, VALUE) for name in proposal.needed)]


def scalar_text(value: Scalar) -> str:
    """A value as `--set` takes it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _output(target: str, wanted: str | None) -> str:
    suffix = TARGETS[target].suffix
    usual = f"out/model{suffix}" if suffix else "out/model.ckpt"
    if wanted is None or (suffix and wanted.endswith(suffix)):
        return wanted or usual
    another = any(wanted.endswith(end) for end, _ in SUFFIXES)
    return usual if another else wanted + suffix


def _line(words: list[str]) -> str:
    return shlex.join(["ckpttool", *words])
