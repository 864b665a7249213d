"""The table of formats that can be written.  Reading the table imports no writer."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple, cast

from ckpttool.formats.writing import Names, Opener


class Target(NamedTuple):
    """One format that can be written.

    ``opener`` of ``module``, a module below this package, makes the writer; its ``refusals`` tells
    what the format cannot hold.
    ``format`` is the name of its reader's row in the registry.  ``suffix`` is what a path of this
    format ends in, empty for a prefix.
    """

    name: str
    format: str
    module: str
    opener: str
    suffix: str
    title: str

    def open(self) -> Opener:
        """The function that makes a writer."""
        return cast(Opener, getattr(import_module(f"ckpttool.formats.{self.module}"), self.opener))

    def refusals(self) -> Names:
        """The function that tells, before anything is written, what the format cannot hold."""
        return cast(Names, import_module(f"ckpttool.formats.{self.module}").refusals)


TARGETS: dict[str, Target] = {
    row.name: row
    for row in (
        Target("tf1", "tf-v2", "tensorflow.bundle_target", "create", "", "TF1 name-based V2"),
        Target("tf2", "tf2", "tensorflow.object_writer", "create", "", "TF2 object-based"),
        Target(
            "keras", "keras", "keras.weights_writer", "create", ".weights.h5", "Keras 3 .weights.h5"
        ),
        Target("keras-h5", "keras-h5", "keras.legacy_writer", "create", ".h5", "legacy Keras .h5"),
        Target(
            "keras-archive",
            "keras-archive",
            "keras.archive_writer",
            "create",
            ".keras",
            ".keras archive",
        ),
        Target(
            "safetensors",
            "safetensors",
            "plain.safetensors_writer",
            "create",
            ".safetensors",
            "safetensors",
        ),
        Target("npz", "npz", "plain.npz_writer", "create", ".npz", "NumPy .npz"),
    )
}
