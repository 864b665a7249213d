"""Which of Keras's two HDF5 layouts a file has."""

from __future__ import annotations

from ckpttool.storage.files import Files
from ckpttool.storage.streams import as_stream


def hdf5_kind(path: str, files: Files, default: str) -> str:
    """``keras`` (Keras 3: weights under ``layers``) or ``keras-h5`` (``layer_names``).

    ``default`` where the content does not tell; a file that cannot be opened is left for its
    reader to report.
    """
    import h5py

    file = files.open(path)
    try:
        with h5py.File(as_stream(file), "r") as root:
            if "layer_names" in root.attrs or "layer_names0" in root.attrs:
                return "keras-h5"
            if "model_weights" in root:
                return "keras-h5"
            if any(name in root for name in ("layers", "_layer_checkpoint_dependencies")):
                return "keras"
    except (OSError, RuntimeError, ValueError, KeyError):
        return default
    finally:
        file.close()
    return default
