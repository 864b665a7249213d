"""``.npz`` as written here, against NumPy."""

from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from writer_support import PLAIN, full_disk, noise, same, write

from ckpttool.errors import OutputError
from ckpttool.formats import _stored_zip
from ckpttool.formats.plain.npz_writer import create, npy_header, refusals
from ckpttool.formats.writing import Output, WriteOptions

Array = np.ndarray[Any, Any]
DTYPES = (*PLAIN, "complex128")


def every() -> dict[str, Array]:
    """An array of each dtype, scalars, empty ones, and odd names."""
    arrays = {f"{dtype}/w": noise(dtype, (3, 5), n) for n, dtype in enumerate(DTYPES)}
    arrays |= {f"scalar.{dtype}": noise(dtype, ()) for dtype in DTYPES}
    arrays |= {
        "empty": noise("float32", (0, 4)),
        "one": noise("int64", (1,)),
        "file": noise("int8", (2,)),
    }
    return arrays | {"é/..a/b..": noise("int8", (2, 3, 4)), "x.npy": noise("int8", (3,))}


def run(path: Path, outputs: list[Output]) -> None:
    with create(str(path)) as writer:
        for output in outputs:
            writer.declare(output)
        writer.write()


def test_numpy_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    arrays = every()
    write(create, path, arrays)
    with np.load(path, allow_pickle=False) as found:
        assert found.files == list(arrays)
        for name, array in arrays.items():
            same(found[name], array)


def test_members_are_what_numpy_saves(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    arrays = every()
    write(create, path, arrays)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        for name, array in arrays.items():
            expected = io.BytesIO()
            np.save(expected, array)
            member = archive.getinfo(f"{name}.npy")
            assert archive.read(member) == expected.getvalue()
            assert member.compress_type == zipfile.ZIP_STORED
            assert member.date_time == (1980, 1, 1, 0, 0, 0)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(DTYPES), st.lists(st.integers(0, 10**9), max_size=32).map(tuple))
@example("bool", (0, 10, 10, 100, 100, 100, 100, 100, 100000))  # fits without padding
def test_headers(dtype: str, shape: tuple[int, ...]) -> None:
    expected = io.BytesIO()
    facts = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(expected, facts)
    assert npy_header(dtype, shape) == expected.getvalue()
    assert len(expected.getvalue()) % 64 == 0


_NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\\:"), max_size=8)


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        _NAMES.filter(lambda name: not name.startswith("/") and ".." not in name.split("/")),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3).map(tuple)),
        max_size=6,
    )
)
def test_round_trip(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    arrays = {name: noise(*spec, n) for n, (name, spec) in enumerate(tensors.items())}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npz"
        write(create, path, arrays)
        before = path.read_bytes()
        write(create, path, arrays, force=True)
        assert path.read_bytes() == before
        with np.load(path) as found:
            for name, array in arrays.items():
                same(found[name], array)


@pytest.mark.parametrize(
    ("name", "dtype", "words"),
    [
        ("a", "string", "zero bytes"),
        ("a", "bfloat16", "float32"),
        ("a", "float8_e4m3fn", "float32"),
        ("a", "int4", "cast it to int8"),
        ("a", "uint2", "cast it to uint8"),
        ("a", "quint16", "cast it to uint16"),
        ("a", "resource", "NumPy has no resource"),
        ("a/../b", "int8", "`..`"),
        ("..", "int8", "`..`"),
        ("/a", "int8", "absolute"),
        ("c:a", "int8", "absolute"),
        ("a\\b", "int8", "backslash"),
        ("a\0b", "int8", "zero byte"),
        ("a\udcff", "int8", "not UTF-8"),
        ("x" * 70_000, "int8", "longer"),
        ("fine.npy", "int8", "another array"),
    ],
)
def test_refusals(tmp_path: Path, name: str, dtype: str, words: str) -> None:
    good = ("fine", "float32", (2,))
    ((found, why, _),) = refusals([good, (name, dtype, (2,))], WriteOptions())
    assert found == name
    assert words in why
    outputs = [Output(*good, lambda: [np.zeros(2, np.float32)]), Output(name, dtype, (2,), list)]
    with pytest.raises(OutputError) as caught:
        run(tmp_path / "x.npz", outputs)
    assert caught.value.problems[0].code == "OUT005"
    assert not list(tmp_path.iterdir())


def test_members_with_wide_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of large arrays are."""
    monkeypatch.setattr(_stored_zip, "_WIDE_FROM", 100)
    arrays = {name: noise("int32", (n,)) for n, name in enumerate(("none", "é", "b" * 300))}
    write(create, tmp_path / "x.npz", arrays)
    with np.load(tmp_path / "x.npz") as found:
        for name, array in arrays.items():
            same(found[name], array)


def test_too_many_dimensions() -> None:
    assert not list(refusals([("a", "int8", (1,) * 32)], WriteOptions()))
    assert "32" in next(iter(refusals([("a", "int8", (1,) * 33)], WriteOptions())))[1]


def test_the_suffix(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        create(str(tmp_path / "x.zip"))
    assert caught.value.problems[0].code == "OUT002"


def test_a_full_disk(tmp_path: Path) -> None:
    said = full_disk("ckpttool.formats.plain.npz_writer", tmp_path / "x.npz")
    assert said == "OUT002 free some space, or write elsewhere"
    assert not list(tmp_path.iterdir())
