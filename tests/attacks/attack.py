"""One attack: a file made to break whoever reads it, and what a reader has to say of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

Make = Callable[[Path], Path]


class Attack(NamedTuple):
    """``make`` writes into a folder of its own and returns what a person would type.

    ``told`` is the code of the problem that at least one command must tell; None where the input
    is odd but sound, so that it must be read.
    """

    name: str
    make: Make
    told: str | None


ATTACKS: dict[str, Attack] = {}


def attack(told: str | None) -> Callable[[Make], Make]:
    """Register a maker under its name."""

    def register(make: Make) -> Make:
        name = make.__name__
        assert name not in ATTACKS
        ATTACKS[name] = Attack(name, make, told)
        return make

    return register
