"""Read legacy Keras ``.h5``: weights, or a whole model with its weights under ``model_weights``.

Names are ``<layer>/<weight name>``, in the order that the file's attributes give; the optimizer's
are under ``optimizer_weights/``.  A plain HDF5 file is listed as it is.  Source:
``keras-team/keras:keras/src/legacy/saving/legacy_h5_format.py``.
"""

from __future__ import annotations

from collections.abc import Iterator

from ckpttool.errors import CkptError, Problem
from ckpttool.formats.base import CheckpointInfo
from ckpttool.formats.keras._h5 import Dataset, H5File
from ckpttool.formats.keras._h5_reader import H5Reader
from ckpttool.formats.locating.located import Located
from ckpttool.storage.files import files_for

_MODEL = "model_weights"
_OPTIMIZER = "optimizer_weights"
_LAYERS = "layer_names"
_WEIGHTS = "weight_names"


class LegacyReader(H5Reader):
    """An open legacy ``.h5``."""

    def __init__(self, located: Located) -> None:
        """List the weights."""
        super().__init__()
        path = located.index or located.path
        self._file = H5File(files_for(path), path)
        self._h5[path] = self._file
        try:
            self._list_all()
        except CkptError:
            self.close()
            raise
        self.info = CheckpointInfo(
            path=located.path,
            format=located.format,
            shards=1,
            files=(path,),
            notices=located.notices,
            damage=self._file.damage.all(),
        )

    def layer_names(self) -> list[str]:
        """All layers in model order, those without weights too; empty for a plain HDF5 file."""
        return self._file.text_list(self._root(), _LAYERS) or []

    def model_config(self) -> str | None:
        """The model as JSON text, where the file has it; it is data, never to be built."""
        return self._file.text("/", "model_config")

    def _root(self) -> str:
        whole = self._file.text_list("/" + _MODEL, _LAYERS) is not None
        return "/" + _MODEL if whole else "/"

    def _list_all(self) -> None:
        """Listed weights first, in their order; then what no attribute lists."""
        root = self._root()
        begin = len(root.strip("/"))
        found: dict[str, Dataset] = {}
        for dataset in self._file.datasets():
            path = dataset.path
            if begin and path.startswith(_MODEL + "/"):
                path = path[begin + 1 :]
            if path in found:
                message = f"two datasets are called {path}; one is left out"
                self._file.damage.add(Problem("INP004", message, self._file.path))
                continue
            found[path] = dataset
        for name in self._promised(root):
            promised = found.pop(name, None)
            if promised is not None:
                self._list(name, promised)
            elif name not in self.specs:
                message = f"weight {name} is listed but not there"
                self._file.damage.add(Problem("INP004", message, self._file.path))
        for name, dataset in found.items():
            self._list(name, dataset)

    def _promised(self, root: str) -> Iterator[str]:
        """The names that the attributes list, in order."""
        for layer in self._names(root, _LAYERS):
            for weight in self._names(f"{root}/{layer}", _WEIGHTS):
                yield f"{layer}/{weight}"
        extra = "top_level_model_weights"
        for group, prefix in ((f"{root}/{extra}", extra), ("/" + _OPTIMIZER, _OPTIMIZER)):
            for weight in self._names(group, _WEIGHTS):
                yield f"{prefix}/{weight}"

    def _names(self, group: str, attribute: str) -> list[str]:
        """A list of names; of a damaged one nothing, for the datasets are there all the same."""
        try:
            return self._file.text_list(group, attribute) or []
        except CkptError as error:
            self._file.damage.add(error.problems[0])
            return []


def open_legacy(located: Located) -> LegacyReader:
    """Open a located legacy ``.h5``."""
    return LegacyReader(located)
