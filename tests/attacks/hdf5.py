"""Attacks by HDF5 and by the archives of Keras."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from attack import attack
from plain import bomb

SMALL = np.arange(6, dtype=np.float32)


def _weights(folder: Path) -> tuple[Path, Any]:
    path = folder / "m.weights.h5"
    file = h5py.File(path, "w")
    file["layers/dense/vars/0"] = SMALL
    return path, file


@attack("INP016")
def hdf5_external_link(folder: Path) -> Path:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["w"] = SMALL
    path, file = _weights(folder)
    file["layers/out/vars/0"] = h5py.ExternalLink(str(folder / "secret.h5"), "/w")
    file.close()
    return path


@attack("INP016")
def hdf5_soft_links_in_a_circle(folder: Path) -> Path:
    path, file = _weights(folder)
    file["layers/a"] = h5py.SoftLink("/layers/b")
    file["layers/b"] = h5py.SoftLink("/layers/a")
    file.close()
    return path


@attack("INP004")
def hdf5_hard_links_in_a_circle(folder: Path) -> Path:
    path, file = _weights(folder)
    file["layers/dense/again"] = file["layers"]
    file.close()
    return path


@attack("INP016")
def hdf5_data_of_another_file(folder: Path) -> Path:
    path, file = _weights(folder)
    file.create_dataset("layers/out/vars/0", (16,), "u1", external=[("/etc/passwd", 0, 16)])
    file.close()
    return path


@attack("INP016")
def hdf5_virtual_dataset(folder: Path) -> Path:
    with h5py.File(folder / "secret.h5", "w") as secret:
        secret["w"] = SMALL
    path, file = _weights(folder)
    layout = h5py.VirtualLayout((6,), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret.h5"), "w", (6,))
    file.create_virtual_dataset("layers/out/vars/0", layout)
    file.close()
    return path


@attack("INP009")
def hdf5_zip_bomb(folder: Path) -> Path:
    """4 GiB of zeros; only one chunk of them is stored, and that packed."""
    path, file = _weights(folder)
    data = file.create_dataset(
        "layers/out/vars/0", (1 << 30,), "f4", chunks=(1 << 20,), compression="gzip"
    )
    data[:10] = 0
    file.close()
    return path


@attack("INP009")
def hdf5_chunk_of_gigabytes(folder: Path) -> Path:
    path, file = _weights(folder)
    shape = (300 << 20,)
    data = file.create_dataset("layers/out/vars/0", shape, "u1", chunks=shape, compression="gzip")
    space = h5py.h5p.create(h5py.h5p.DATASET_XFER)
    packed = __import__("zlib").compress(bytes(1 << 20), 9)
    data.id.write_direct_chunk((0,), packed, dxpl=space)
    file.close()
    return path


@attack("INP009")
def hdf5_groups_in_depth(folder: Path) -> Path:
    path, file = _weights(folder)
    group = file
    for _ in range(3000):
        group = group.create_group("g")
    group["w"] = SMALL
    file.close()
    return path


@attack("INP004")
def hdf5_attribute_of_many_megabytes(folder: Path) -> Path:
    path = folder / "m.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file["d/kernel"] = SMALL
        file.attrs.create("layer_names", np.zeros(1 << 20, "S100"))
        file["d"].attrs["weight_names"] = [b"kernel"]
    return path


@attack("INP011")
def hdf5_odd_types(folder: Path) -> Path:
    path, file = _weights(folder)
    file["layers/a/vars/0"] = np.zeros(3, [("x", "f4"), ("y", "i8")])
    file.create_dataset("layers/b/vars/0", (2,), h5py.vlen_dtype("f4"))
    file.create_dataset("layers/c/vars/0", (2,), h5py.ref_dtype)
    file.close()
    return path


@attack("INP004")
def hdf5_names_that_leave(folder: Path) -> Path:
    path = folder / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [b"../..", b"/etc/passwd", b"d"]
        file["d/kernel"] = SMALL
        file["d"].attrs["weight_names"] = [b"../../secret", b"kernel"]
    return path


def _bytes_of(**datasets: Any) -> bytes:
    stored = io.BytesIO()
    with h5py.File(stored, "w") as file:
        for name, value in datasets.items():
            file[f"layers/{name}/vars/0"] = value
    return stored.getvalue()


def _archive(folder: Path, weights: bytes, config: Any, kind: int = zipfile.ZIP_STORED) -> Path:
    path = folder / "m.keras"
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("config.json", config if isinstance(config, str) else json.dumps(config))
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.writestr("model.weights.h5", weights)
    return path


@attack(None)
def archive_with_code(folder: Path) -> Path:
    """A Lambda layer and a class of another module: both are text to us."""
    code = {"class_name": "__lambda__", "config": {"code": "4wAAAA==", "defaults": None}}
    layer = {"module": "os", "class_name": "system", "config": {"function": code}}
    config = {"class_name": "Sequential", "config": {"layers": [layer]}}
    return _archive(folder, _bytes_of(dense=SMALL), config)


@attack("INP009")
def archive_zip_bomb(folder: Path) -> Path:
    path = folder / "m.keras"
    bomb(path, "model.weights.h5", b"\x89HDF\r\n\x1a\n", 6 << 10)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    return path


@attack(None)
def archive_config_nested_in_depth(folder: Path) -> Path:
    return _archive(folder, _bytes_of(dense=SMALL), "[" * 200_000)


@attack("INP003")
def archive_without_weights(folder: Path) -> Path:
    path = folder / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../model.weights.h5", _bytes_of(dense=SMALL))
        archive.writestr("config.json", "{}")
    return path


@attack("INP004")
def archive_weights_twice(folder: Path) -> Path:
    path = _archive(folder, _bytes_of(dense=SMALL), {})
    with zipfile.ZipFile(path, "a") as archive:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            archive.writestr("model.weights.h5", _bytes_of(dense=SMALL + 1))
    return path
