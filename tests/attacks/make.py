"""Write every attack into a folder of its own: ``python tests/attacks/make.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import bundles  # noqa: E402, F401  # each registers its attacks
import graphs  # noqa: E402, F401
import hdf5  # noqa: E402, F401
import plain  # noqa: E402, F401
import rules  # noqa: E402, F401
from attack import ATTACKS, Attack  # noqa: E402

__all__ = ["ATTACKS", "Attack", "make"]


def make(attack: Attack, folder: Path) -> Path:
    """Make one below ``folder``; returns what a person would type."""
    own = folder / attack.name
    own.mkdir(parents=True)
    return attack.make(own)


def main(folder: str) -> None:
    """Make all of them."""
    for attack in ATTACKS.values():
        path = make(attack, Path(folder))
        sys.stdout.write(f"{attack.told or 'sound':8}{path}\n")


if __name__ == "__main__":
    main(sys.argv[1])
