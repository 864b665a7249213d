"""HDF5 itself: places, names, types and attributes that the Keras layouts do not bring up."""

from __future__ import annotations

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from ckpttool.errors import CkptError
from ckpttool.formats.keras._h5 import H5File
from ckpttool.formats.keras.legacy import LegacyReader, open_legacy
from ckpttool.formats.locating.located import Located
from ckpttool.formats.plain.npz import open_npz
from ckpttool.formats.registry import open_located
from ckpttool.storage.files import LOCAL


def opened(path: Path) -> LegacyReader:
    return open_legacy(Located(str(path), "keras-h5", str(path), (str(path),)))


def test_data_behind_a_user_block(tmp_path: Path) -> None:
    """Contiguous data is read at its place in the file, which a user block moves."""
    path = tmp_path / "a.h5"
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    with h5py.File(path, "w", userblock_size=1024) as file:
        file["x"] = values
        file["big"] = values.astype(">f4")
    with opened(path) as reader:
        assert np.array_equal(reader.read("x"), values)
        assert np.array_equal(reader.read("big"), values)
        assert reader.read("big").dtype == np.float32


def test_open_beside_another_reader(tmp_path: Path) -> None:
    """HDF5 opens a file twice in one process only with equal locking; this must not matter."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["x"] = 1.0
    with h5py.File(path), opened(path) as reader:
        assert reader.read("x") == 1
    with opened(path), h5py.File(path) as file:
        assert file["x"][()] == 1


def test_names_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file[b"raw\xff/x"] = 2.0
        file["ä/ü"] = 3.0
    with opened(path) as reader:
        assert set(reader.specs) == {"raw\udcff/x", "ä/ü"}
        assert reader.read("raw\udcff/x") == 2
        assert reader.read("ä/ü") == 3


def test_numbers_of_another_layout_are_converted(tmp_path: Path) -> None:
    """A stored type that is not the array's own must not be taken byte by byte."""
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        kind = h5py.h5t.IEEE_F32LE.copy()
        kind.set_fields(31, 26, 5, 3, 23)  # a short exponent: the same numbers, other bits
        kind.set_ebias(15)
        space = h5py.h5s.create_simple((3,))
        h5py.h5d.create(file.id, b"odd", kind, space).write(
            h5py.h5s.ALL, h5py.h5s.ALL, np.array([0.5, 1, -2], np.float32)
        )
    with opened(path) as reader:
        assert reader.read("odd").tolist() == [0.5, 1, -2]


def test_a_truth_value_of_any_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", data=[False, True, True])
        offset = data.id.get_offset()
    raw = bytearray(path.read_bytes())
    raw[offset + 1] = 7
    path.write_bytes(raw)
    with opened(path) as reader:
        found = reader.read("x")
    assert found.tolist() == [False, True, True]
    assert found.view(np.uint8).tolist() == [0, 1, 1]


def test_types_that_have_no_name_are_opaque(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["pair"] = np.zeros(2, [("a", "f4"), ("b", "i4")])
        file["long"] = np.zeros(2, np.longdouble)
        file["empty"] = h5py.Empty("f4")
        file["bytes"] = np.zeros(2, "V2")
        file["place"] = np.array([file.ref], h5py.ref_dtype)
        file["kind"] = np.dtype("f4")  # a named type, no dataset
        file["x"] = 1.0
    with opened(path) as reader:
        assert set(reader.specs) == {"pair", "long", "empty", "bytes", "place", "x"}
        assert not reader.info.damage
        for name in set(reader.specs) - {"x"}:
            with pytest.raises(CkptError) as caught:
                reader.read(name)
            assert caught.value.problems[0].code == "INP011"


def test_chunks_of_storage_are_not_unpacked_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks that are read end at the edges of stored chunks."""
    path = tmp_path / "a.h5"
    values = np.arange(600_000, dtype=np.float64).reshape(600, 1000)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=(250, 400), compression="gzip")
    monkeypatch.setattr("ckpttool.formats.keras._h5.CHUNK_BYTES", 100_000)
    with opened(path) as reader:
        sizes = [len(chunk.array) for chunk in reader.chunks("x", 8 << 20)]
        assert sum(sizes) == values.size
        assert np.array_equal(reader.read("x"), values)
    file = H5File(LOCAL, str(path))
    rows = [len(block) // 1000 for block in file.blocks(reader.specs["x"], "x")]
    file.close()
    assert rows == [250, 250, 100]


def test_a_damaged_list_of_names_leaves_the_datasets(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["d"]
        file["d/d/kernel"] = [1.0]
        file["d"].attrs["weight_names"] = [1, 2]
    with opened(path) as reader:
        assert list(reader.specs) == ["d/d/kernel"]
        assert reader.read("d/d/kernel") == [1]
        assert any("weight_names" in problem.message for problem in reader.info.damage)


def test_an_empty_list_of_names_may_be_one_of_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["d", "dropout"]
        file["d/d/kernel"] = [1.0]
        file["d"].attrs["weight_names"] = ["d/kernel"]
        file.create_group("dropout").attrs["weight_names"] = []
        assert file["dropout"].attrs["weight_names"].dtype == "float64"
    with opened(path) as reader:
        assert list(reader.specs) == ["d/d/kernel"]
        assert not reader.info.damage


def test_a_group_with_two_paths_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["a/x"] = 1.0
        file["b"] = file["a"]
    with opened(path) as reader:
        assert list(reader.specs) == ["a/x"]
        assert [problem.code for problem in reader.info.damage] == ["INP004"]


def test_members_that_overlap_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.zeros(100), b=np.ones(100))
    raw = bytearray(path.read_bytes())
    second = raw.rindex(b"PK\x01\x02")
    raw[second + 42 : second + 46] = bytes(4)  # the place of its local header
    path.write_bytes(raw)
    with pytest.raises(CkptError, match="overlap"):
        open_npz(Located(str(path), "npz", str(path), (str(path),)))


def test_strings_of_no_characters_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    text = b"{'descr': '|S0', 'fortran_order': False, 'shape': (1000000000000,), }"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text)
    with pytest.raises(CkptError) as caught:
        open_located(Located(str(path), "npz", str(path), (str(path),)))
    assert caught.value.problems[0].code == "INP009"


def test_a_read_that_is_given_up(tmp_path: Path) -> None:
    """The temporary file of a transposed array goes with the iterator."""
    path = tmp_path / "a.npz"
    values = np.asfortranarray(np.arange(90_000.0).reshape(300, 300))
    np.savez(path, a=values)
    with open_npz(Located(str(path), "npz", str(path), (str(path),))) as reader:
        chunks = reader.chunks("a", 1 << 12)
        next(chunks)
        del chunks
        assert np.array_equal(reader.read("a"), values)
