"""Load what our Keras writers make in other versions of Keras: run by hand, needs an index.

    python tests/oracle/keras_versions.py 3.0.5 3.3.3 3.8.0 3.12.0

Each version is installed alone into a folder of its own (``--folder``, else a temporary one) and
runs on the TensorFlow of this Python.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

_HERE = Path(__file__).resolve()
_CHILD = "CKPTTOOL_KERAS_CHILD"


def check(folder: Path) -> None:
    """Every model, written in every way, in the Keras that is imported here."""
    import keras
    import keras_support as support

    for name in support.MODELS:
        model = support.built(keras, name, 1)
        legacy: Path | None
        theirs, legacy = folder / f"{name}.weights.h5", folder / f"{name}.h5"
        archive, ours = folder / f"{name}.keras", folder / f"{name}_ours.keras"
        model.save_weights(str(theirs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.save(str(archive))
            try:
                model.save(str(legacy))
            except ValueError:  # 3.0 cannot save nested models in this form
                legacy = None
        support.rewrite("keras", theirs, folder / f"{name}_a.weights.h5")
        support.rewrite("keras", theirs, folder / f"{name}_b.weights.h5", theirs)
        for letter in "ab":
            found = support.built(keras, name, 2)
            support.load(found, folder / f"{name}_{letter}.weights.h5")
            support.assert_same(model, found, optimizer=True)
        if legacy is not None:
            support.rewrite("keras-h5", legacy, folder / f"{name}_ours.h5", legacy)
        for options in ({}, {"by_name": True}) if legacy is not None else ():
            found = support.built(keras, name, 2)
            support.assert_same(model, support.load(found, folder / f"{name}_ours.h5", **options))
        support.rewrite("keras-archive", theirs, ours, archive)
        try:
            keras.models.load_model(str(archive), compile=False)
        except ValueError:  # 3.0 cannot load a stack of cells that it saved
            done = "weights"
        else:
            support.assert_same(model, keras.models.load_model(str(ours), compile=False))
            done = "weights, archive"
        done += ", legacy" if legacy is not None else ""
        sharded = hasattr(keras.src.saving.saving_lib, "ShardedH5IOStore")
        if sharded and not keras.__version__.startswith("3.10."):  # that fails on its own shards
            path = folder / f"{name}_ours.weights.json"
            support.rewrite("keras", theirs, path, max_shard_bytes=300)
            found = support.load(support.built(keras, name, 2), path)
            support.assert_same(model, found, optimizer=True)
            done += ", shards"
        print(f"{keras.__version__} {name}: {done}: equal", flush=True)  # noqa: T201


def main() -> int:
    """Install the versions asked for, and run the check in each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="+")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as temporary:
        for version in given.versions:
            place = (given.folder or Path(temporary)) / version
            if not place.is_dir():
                wanted = [f"keras=={version}", "namex", "optree", "dm-tree"]
                command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target"]
                subprocess.run([*command, str(place), *wanted], check=True)  # noqa: S603
            paths = [place, _HERE.parents[2], _HERE.parents[1]]
            environment = {
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, paths)),
                "TF_CPP_MIN_LOG_LEVEL": "3",
                _CHILD: "1",
            }
            failed += subprocess.run([sys.executable, str(_HERE)], env=environment).returncode != 0  # noqa: S603
    return failed


if __name__ == "__main__":
    if os.environ.get(_CHILD):
        with tempfile.TemporaryDirectory() as scratch:
            check(Path(scratch))
    else:
        sys.exit(main())
