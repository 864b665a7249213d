"""Writes ``specs/*.json``: names and shapes of real sources and targets, for tests without them.

    PYTHONPATH=. python tests/proofs/make_specs.py [FAMILY...]

A family is a module of this folder, ``specs_<family>.py``, with ``write(tf, folder)``; it runs
where the libraries of its proofs are installed.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main(families: list[str]) -> None:
    """Write the specs of these families, of all without any."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    sys.path[:0] = [str(HERE), str(HERE.parent)]
    import tensorflow as tf

    known = [path.stem.removeprefix("specs_") for path in sorted(HERE.glob("specs_*.py"))]
    for family in families or known:
        with tempfile.TemporaryDirectory() as folder:
            importlib.import_module(f"specs_{family}").write(tf, Path(folder))


if __name__ == "__main__":
    main(sys.argv[1:])
