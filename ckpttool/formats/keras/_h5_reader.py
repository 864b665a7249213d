"""What readers of HDF5 files share: a tensor is a dataset."""

from __future__ import annotations

from ckpttool.formats.arrays import ArrayReader
from ckpttool.formats.keras._h5 import Dataset, H5File
from ckpttool.formats.streaming import Stream
from ckpttool.tensors import TensorSpec


class H5Reader(ArrayReader):
    """Tensors that are datasets of one or more HDF5 files; subclasses list them."""

    def __init__(self) -> None:
        self._h5: dict[str, H5File] = {}  # by the path in Dataset.file
        self._datasets: dict[str, Dataset] = {}
        self.specs: dict[str, TensorSpec] = {}

    def stored_bytes(self, name: str) -> int:
        """Bytes that the dataset takes in the file."""
        self.spec(name)
        dataset = self._datasets[name]
        return self._h5[dataset.file].stored_bytes(dataset.path)

    def stored_range(self, name: str) -> tuple[str, int, int] | None:
        """File, first byte and size of a tensor; None unless all of it lies there plainly."""
        spec = self.spec(name)
        dataset = self._datasets[name]
        file = self._h5[dataset.file]
        plain = file.plain(spec, dataset.path)
        if plain is None or plain[1] == ">" or not file.is_file:
            return None
        return file.path, plain[0], spec.nbytes

    def close(self) -> None:
        """Close the files."""
        for file in self._h5.values():
            file.close()

    def _list(self, name: str, dataset: Dataset) -> None:
        """Add a tensor."""
        self._datasets[name] = dataset
        self.specs[name] = TensorSpec(name, dataset.dtype, dataset.shape)

    def _whole(self, name: str) -> Stream:
        dataset = self._datasets[name]
        return self._h5[dataset.file].stream(self.specs[name], dataset.path)
