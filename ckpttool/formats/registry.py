"""The table of formats: name, reader, what it looks like.  Reading the table imports no reader."""

from __future__ import annotations

from importlib import import_module
from typing import NamedTuple

from ckpttool.errors import InputError
from ckpttool.formats.base import Reader
from ckpttool.formats.locating.locate import locate
from ckpttool.formats.locating.located import Located


class Format(NamedTuple):
    """One readable format.

    ``opener`` of ``module``, a module below this package, is called with a :class:`Located`.

    ``salvages``: the opener takes ``salvage=True`` and then lists what a damaged file still holds.
    """

    name: str
    module: str
    opener: str
    title: str
    salvages: bool = False


FORMATS: dict[str, Format] = {
    row.name: row
    for row in (
        Format("tf-v2", "tensorflow.bundle", "open_bundle", "TensorFlow V2 TensorBundle", True),
        Format("tf-v1", "tensorflow.slices_v1", "open_v1", "TensorFlow V1 slices", True),
        Format("tf2", "tensorflow.bundle", "open_bundle", "TF2 object-based bundle", True),
        Format("saved-model", "tensorflow.saved_model", "open_saved_model", "SavedModel", True),
        Format("hub-module", "tensorflow.saved_model", "open_saved_model", "TF1 Hub module", True),
        Format("meta-graph", "tensorflow.meta_graph", "open_meta_graph", "a graph alone"),
        Format("keras", "keras.weights", "open_keras", "Keras 3 .weights.h5"),
        Format("keras-h5", "keras.legacy", "open_legacy", "legacy Keras .h5"),
        Format("keras-archive", "keras.archive", "open_archive", ".keras archive"),
        Format("safetensors", "plain.safetensors", "open_safetensors", "safetensors"),
        Format("npz", "plain.npz", "open_npz", "NumPy .npz"),
    )
}


def open_reader(path: str) -> Reader:
    """Open whatever a person typed; raises :class:`InputError` with what to try next."""
    located = locate(path)
    return open_located(located)


def open_located(located: Located) -> Reader:
    """Open a checkpoint that :func:`locate` found.

    Of a damaged index what is intact is listed, and ``info.damage`` says what is not; it is an
    error only if nothing is left.
    """
    row = FORMATS[located.format]
    opener = getattr(import_module(f"ckpttool.formats.{row.module}"), row.opener)
    reader: Reader = opener(located, salvage=True) if row.salvages else opener(located)
    if reader.info.damage and not reader.specs:
        reader.close()
        raise InputError(*reader.info.damage)
    return reader
