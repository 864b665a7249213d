"""Files of Keras, safetensors, NumPy, and mapping files, cut short and with bits flipped.

Most of these formats store no checksums, so a flipped value is read as it is.  What must hold: an
error of ours or tensors of the listed shapes, no more memory than for a sound file and a bit, and
no value from somewhere else where there is a checksum.  The places are the same each time.
"""

from __future__ import annotations

import json
import random
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from zlib import crc32

import h5py
import numpy as np
import pytest
from test_hostile_sweep import _bounded_memory  # noqa: F401  # a fixture for every test here

from ckpttool.checkpoint import open_checkpoint
from ckpttool.errors import CkptError
from ckpttool.mapping.language.document import load_document
from ckpttool.mapping.language.rules import compile_rules

MAPPINGS = sorted((Path(__file__).resolve().parent.parent / "mappings").glob("*.yaml"))
MUTATIONS = 80  # of each file
MAPPING_MUTATIONS = 40
ARRAYS = {
    "dense/0": np.arange(600, dtype=np.float32).reshape(20, 30),
    "dense/1": np.ones(30, np.float32),
    "norm/0": np.linspace(0, 1, 7),
    "step": np.array(3, np.int64),
}


def _keras(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for name, value in ARRAYS.items():
            layer, _, index = name.partition("/")
            options = {"compression": "gzip", "chunks": (5, 30)} if value.ndim == 2 else {}
            group = file.require_group(f"layers/{layer}/vars")
            group.attrs["name"] = layer
            group.create_dataset(index or "0", data=value, **options)
    return path


def _legacy(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["dense", "norm"]
        for name, value in ARRAYS.items():
            layer, _, index = name.partition("/")
            group = file.require_group(layer)
            group.create_dataset(f"{layer}/w{index}:0", data=value)
            known = [*group.attrs.get("weight_names", ()), f"{layer}/w{index}:0".encode()]
            group.attrs["weight_names"] = np.array(known, "S20")
    return path


def _archive(path: Path) -> Path:
    weights = _keras(path.with_suffix(".h5"))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", '{"class_name": "Sequential", "config": {"layers": []}}')
        archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
        archive.write(weights, "model.weights.h5")
    return path


def _safetensors(path: Path) -> Path:
    header, at = {}, 0
    kinds = {"f4": "F32", "f8": "F64", "i8": "I64"}
    for name, value in ARRAYS.items():
        kind = kinds[f"{value.dtype.kind}{value.dtype.itemsize}"]
        row = {"dtype": kind, "shape": value.shape, "data_offsets": [at, at + value.nbytes]}
        header[name], at = row, at + value.nbytes
    text = json.dumps(header).encode()
    data = b"".join(value.tobytes() for value in ARRAYS.values())
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)
    return path


def _weight_map(path: Path) -> Path:
    shard = _safetensors(path.with_name("m-00001-of-00001.safetensors"))
    path.write_text(json.dumps({"metadata": {}, "weight_map": dict.fromkeys(ARRAYS, shard.name)}))
    return path


def _npz(path: Path) -> Path:
    np.savez(path, **{name.replace("/", "_"): value for name, value in ARRAYS.items()})
    return path


def _packed_npz(path: Path) -> Path:
    saved = {name.replace("/", "_"): value for name, value in ARRAYS.items()}
    np.savez_compressed(path, **saved)
    return path


FILES: dict[str, tuple[Callable[[Path], Path], bool]] = {  # maker, and whether it has checksums
    "m.weights.h5": (_keras, False),
    "m.h5": (_legacy, False),
    "m.keras": (_archive, False),
    "m.safetensors": (_safetensors, False),
    "m.safetensors.index.json": (_weight_map, False),
    "m.npz": (_npz, True),
    "packed.npz": (_packed_npz, True),
}


def _mutations(data: bytes, seed: str, count: int) -> Iterator[bytes]:
    """Cuts, flipped bits and bytes of all ones; a third of them at either end of the file."""
    chosen = random.Random(crc32(seed.encode()))  # noqa: S311
    for number in range(count):
        place = chosen.randrange(len(data))
        if number % 3 == 1:
            place = chosen.randrange(min(len(data), 1024))
        elif number % 3 == 2:
            place = len(data) - 1 - chosen.randrange(min(len(data), 256))
        if number % 4 == 0:
            yield data[:place]
        elif number % 4 == 3:
            yield data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :]
        else:
            flipped = data[place] ^ 1 << chosen.randrange(8)
            yield data[:place] + bytes((flipped,)) + data[place + 1 :]


def _read(path: Path) -> dict[str, bytes] | None:
    """All tensors that can be read, each of its listed shape; None if the file is refused."""
    try:
        checkpoint = open_checkpoint(str(path))
    except CkptError:
        return None
    found = {}
    with checkpoint:
        for name, spec in checkpoint.specs.items():
            try:
                array = checkpoint.reader.read(name)
            except CkptError:
                continue
            assert array.shape == spec.shape
            assert spec.dtype == "string" or array.dtype.name == spec.dtype
            found[name] = array.tobytes()
    return found


@pytest.mark.parametrize("name", FILES)
def test_damage_is_refused_or_has_its_shape(name: str, tmp_path: Path) -> None:
    make, has_checksums = FILES[name]
    path = make(tmp_path / name)
    sound = _read(path)
    assert sound is not None
    assert len(sound) == len(ARRAYS)
    data = path.read_bytes()
    refused = less = 0
    for damaged in _mutations(data, name, MUTATIONS):
        path.write_bytes(damaged)
        found = _read(path)
        refused += found is None
        less += found is not None and len(found) < len(sound)
        if has_checksums and found is not None:
            assert set(found.values()) <= set(sound.values())
    # The sweep meets all of it, or it would show nothing.
    assert refused
    assert refused + less > MUTATIONS // 10


@pytest.mark.parametrize("path", MAPPINGS, ids=[path.stem for path in MAPPINGS])
def test_a_damaged_mapping_is_refused_or_compiles(path: Path, tmp_path: Path) -> None:
    data = path.read_bytes()
    copy = tmp_path / path.name
    refused, nowhere = 0, []
    for damaged in _mutations(data, path.name, MAPPING_MUTATIONS):
        copy.write_bytes(damaged)
        try:
            document = load_document(str(copy))
            params = {key: 1 for key, value in document.params.items() if value is None}
            compile_rules(document, params=params)
        except CkptError as error:
            refused += 1
            nowhere += [problem for problem in error.problems if not problem.where]
    assert refused
    assert not nowhere
