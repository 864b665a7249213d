"""Load what we write in older and newer versions of Keras: ``python tests/keras_versions.py``.

Models of each kind are saved by the Keras that is installed, copied by our writers, and loaded by
each of the versions; every weight has to have the same bits.  A version is installed into a
temporary folder, and runs with the TensorFlow and NumPy that are there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
VERSIONS = ("3.0.5", "3.3.3", "3.5.0", "3.8.0", "3.10.0", "3.12.0")
FILES = ("ours.weights.h5", "ours.h5")


def write(folder: Path) -> None:
    """Our files of every model, and the weights that are in them."""
    import keras
    import keras_support as support

    for name in support.MODELS:
        own = folder / name
        own.mkdir()
        model = support.built(keras, name, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save_weights(own / "theirs.weights.h5")
            model.save(own / "theirs.h5")
        support.rewrite("keras", own / "theirs.weights.h5", own / FILES[0])
        support.rewrite("keras-h5", own / "theirs.h5", own / FILES[1])
        np.savez(own / "expected.npz", *[np.asarray(item) for item in model.weights])


def load(folder: Path) -> int:
    """In a process with another Keras: load all, and compare; returns the number of weights."""
    import keras
    import keras_support as support

    count = 0
    for name in support.MODELS:
        with np.load(folder / name / "expected.npz") as expected:
            values = [expected[key] for key in expected.files]
        for file in FILES:
            model = support.built(keras, name, 2)
            model.load_weights(str(folder / name / file))
            for variable, value in zip(model.weights, values, strict=True):
                found = np.asarray(variable)
                if found.tobytes() != value.tobytes():
                    raise SystemExit(f"{keras.__version__}: {name}/{file}: {variable.path} differs")
                count += 1
    sys.stdout.write(f"{keras.__version__}: {count} weights\n")
    return count


def _in_version(version: str, folder: Path) -> bool:
    with tempfile.TemporaryDirectory() as place:
        wanted = [f"keras=={version}", *(["dm-tree"] if version.startswith("3.0.") else [])]
        install = ("pip", "install", "--quiet", "--no-deps", "--target", place, *wanted)
        subprocess.run([sys.executable, "-m", *install], check=True)  # noqa: S603
        path = os.pathsep.join((place, str(ROOT), str(ROOT / "tests")))
        done = subprocess.run(  # noqa: S603
            [sys.executable, __file__, "--load", str(folder)],
            env={**os.environ, "PYTHONPATH": path, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
    told = done.stdout if done.returncode == 0 else f"{version}: {done.stderr.strip()[-800:]}\n"
    sys.stdout.write(told)
    return done.returncode == 0 and done.stdout.startswith(version)


def main() -> int:
    """Write once, load in each version; 1 if one of them fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", default=VERSIONS)
    parser.add_argument("--load", type=Path, help="only load the files of this folder, and compare")
    options: Any = parser.parse_args()
    if options.load:
        return 0 if load(options.load) else 1
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        done = [_in_version(version, Path(folder)) for version in options.versions]
        return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main())
