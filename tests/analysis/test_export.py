"""Exports read back by NumPy itself; refusals leave nothing behind."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from support import memory_checkpoint, strings

from ckpttool.analysis.export import export
from ckpttool.analysis.slicing import Selection
from ckpttool.errors import CkptError, InputError, OutputError, UsageError

Array = np.ndarray[Any, Any]

ARRAYS: dict[str, Array] = {
    "scope/w": np.arange(12, dtype=np.float32).reshape(4, 3),
    "half": np.array([0.5, np.nan], np.float16),
    "step": np.array(3, np.int64),
    "flag": np.array([True, False]),
    "z": np.array([1 + 2j], np.complex64),
    "none": np.empty((0, 4), np.float64),
    "text": strings(b"a", b"", b"\xff\x00b", b"long one", shape=(2, 2)),
    "big": np.arange(3_000_000, dtype=np.float64),
}


def read_npz(path: Path) -> dict[str, Array]:
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def test_an_archive_holds_every_tensor_under_its_name(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    written = export(memory_checkpoint(ARRAYS), [Selection(name) for name in ARRAYS], str(path))
    found = read_npz(path)
    assert list(found) == list(ARRAYS) == list(written.labels)
    assert written.bytes == path.stat().st_size
    for name, array in ARRAYS.items():
        assert found[name].shape == array.shape
        if name == "text":
            assert found[name].tolist() == array.tolist()
        else:
            assert found[name].dtype == array.dtype
            assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("name", ARRAYS)
def test_one_tensor_in_an_npy(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out.npy"
    export(memory_checkpoint(ARRAYS), [Selection(name)], str(path))
    found = np.load(path, allow_pickle=False)
    assert found.shape == ARRAYS[name].shape
    np.testing.assert_array_equal(found, ARRAYS[name])


def test_a_slice_keeps_its_label(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    chosen = [Selection("scope/w", "0:2,::-1"), Selection("text", "0")]
    export(memory_checkpoint(ARRAYS), chosen, str(path))
    found = read_npz(path)
    assert list(found) == ["scope/w[0:2,::-1]", "text[0]"]
    assert found["scope/w[0:2,::-1]"].tolist() == ARRAYS["scope/w"][0:2, ::-1].tolist()


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    chosen = [Selection(name) for name in ARRAYS]
    for name in ("a.npz", "b.npz"):
        export(memory_checkpoint(ARRAYS), chosen, str(tmp_path / name))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.npz") as archive:  # no time of day in it
        assert {item.date_time for item in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


@pytest.mark.parametrize("dtype", ["bfloat16", "float8_e5m2", "float8_e4m3fn", "int4", "uint2"])
def test_dtypes_that_numpy_files_lack(tmp_path: Path, dtype: str) -> None:
    array = np.array([0, 1, 1]).astype(getattr(ml_dtypes, dtype))
    checkpoint = memory_checkpoint({"w": array})
    path = tmp_path / "w.npy"
    with pytest.raises(OutputError) as caught:
        export(checkpoint, [Selection("w")], str(path))
    problem = caught.value.problems[0]
    assert problem.code == "OUT005"
    assert "--as-float32" in (problem.hint or "")
    assert os.listdir(tmp_path) == []
    export(checkpoint, [Selection("w")], str(path), as_float32=True)
    found = np.load(path, allow_pickle=False)
    assert found.dtype == np.float32
    assert found.tolist() == [0, 1, 1]


def test_as_float32_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    chosen = [Selection("half"), Selection("step"), Selection("z")]
    export(memory_checkpoint(ARRAYS), chosen, str(path), as_float32=True)
    dtypes = [array.dtype.name for array in read_npz(path).values()]
    assert dtypes == ["float16", "int64", "complex64"]


@pytest.mark.parametrize("text", [b"a\0", b"\0"])
def test_strings_that_would_change_are_refused(tmp_path: Path, text: bytes) -> None:
    with pytest.raises(OutputError) as caught:
        export(
            memory_checkpoint({"s": strings(b"x", text)}),
            [Selection("s")],
            str(tmp_path / "s.npy"),
        )
    assert caught.value.problems[0].code == "OUT005"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["../up", "/abs", "a/../../b", "nul\0", "\udcff"])
def test_names_that_an_archive_should_not_hold(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError) as caught:
        export(memory_checkpoint({name: np.zeros(1)}), [Selection(name)], str(tmp_path / "o.npz"))
    assert caught.value.problems[0].code == "OUT005"


def test_what_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    checkpoint = memory_checkpoint({"v": np.zeros(1)}, dtypes={"v": "variant"})
    with pytest.raises(OutputError):
        export(checkpoint, [Selection("v")], str(tmp_path / "o.npz"), as_float32=True)


def test_an_existing_file_is_kept_unless_forced(tmp_path: Path) -> None:
    path = tmp_path / "w.npy"
    path.write_bytes(b"mine")
    checkpoint = memory_checkpoint(ARRAYS)
    with pytest.raises(OutputError) as caught:
        export(checkpoint, [Selection("step")], str(path))
    assert caught.value.problems[0].code == "OUT001"
    assert path.read_bytes() == b"mine"
    export(checkpoint, [Selection("step")], str(path), force=True)
    assert np.load(path) == 3


def test_a_damaged_tensor_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "w.npz"
    path.write_bytes(b"mine")
    checkpoint = memory_checkpoint({"a": np.ones(3), "b": np.ones(3)}, damaged=["b"])
    with pytest.raises(InputError):
        export(checkpoint, [Selection("a"), Selection("b")], str(path), force=True)
    assert path.read_bytes() == b"mine"
    assert os.listdir(tmp_path) == ["w.npz"]


@pytest.mark.parametrize("name", ["w.txt", "w", "w.npy"])
def test_the_ending_says_what_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        export(memory_checkpoint(ARRAYS), [Selection("step"), Selection("z")], str(tmp_path / name))
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CkptError) as caught:
        export(memory_checkpoint(ARRAYS), [Selection("step")], str(tmp_path / "file" / "w.npy"))
    assert caught.value.problems[0].code == "OUT002"


def test_no_tensor_is_no_archive(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        export(memory_checkpoint(ARRAYS), [], str(tmp_path / "o.npz"))
    assert os.listdir(tmp_path) == []


def test_names_that_numpy_confuses(tmp_path: Path) -> None:
    checkpoint = memory_checkpoint({"x": np.zeros(2), "x.npy": np.ones(2)})
    with pytest.raises(OutputError) as caught:
        export(checkpoint, [Selection("x"), Selection("x.npy")], str(tmp_path / "o.npz"))
    assert caught.value.problems[0].code == "OUT005"
    export(checkpoint, [Selection("x.npy")], str(tmp_path / "o.npz"))
    assert read_npz(tmp_path / "o.npz")["x.npy"].tolist() == [1, 1]
