"""`.npz`, against NumPy, and against archives that lie."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ckpttool.errors import CkptError, InputError
from ckpttool.formats.locating.located import Located
from ckpttool.formats.plain.npz import NpzReader, open_npz, parse_npy_header

Array = np.ndarray[Any, Any]
DTYPES = [
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip


def opened(path: Path) -> NpzReader:
    return open_npz(Located(str(path), "npz", str(path), (str(path),)))


def npy(array: Array) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def header(text: str, data: bytes = b"", *, version: int = 1) -> bytes:
    raw = text.encode()
    width = 2 if version == 1 else 4
    return b"\x93NUMPY" + bytes([version, 0]) + len(raw).to_bytes(width, "little") + raw + data


def archive(path: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for name, data in members:
            out.writestr(name, data)
    return path


def joined(reader: NpzReader, name: str, max_bytes: int) -> Array:
    chunks = list(reader.chunks(name, max_bytes))
    sizes = [len(chunk.array) for chunk in chunks]
    assert [chunk.start for chunk in chunks] == [sum(sizes[:i]) for i in range(len(sizes))]
    flat = np.concatenate([chunk.array for chunk in chunks]) if chunks else np.empty(0)
    return flat.reshape(reader.specs[name].shape)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_dtype(save: Callable[..., None], order: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Array] = {
        name: rng.integers(0, 2 if name == "bool" else 100, (50, 3)).astype(
            np.dtype(name).newbyteorder(order)
        )
        for name in DTYPES
    }
    arrays |= {"scope/scalar": np.array(2.5), "scope/empty": np.zeros((0, 4))}
    save(tmp_path / "m.npz", **arrays)
    with opened(tmp_path / "m.npz") as reader:
        assert set(reader.specs) == set(arrays)
        assert reader.info.damage == reader.info.notices == ()
        for name, array in arrays.items():
            spec = reader.specs[name]
            assert (spec.dtype, spec.shape) == (array.dtype.name, array.shape)
            assert reader.stored_bytes(name) == array.nbytes
            found = reader.read(name)
            assert found.dtype == array.dtype.newbyteorder("=")
            assert found.flags.writeable
            np.testing.assert_array_equal(found, array)
            np.testing.assert_array_equal(joined(reader, name, 32), array)


@settings(max_examples=50, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from(["<f4", ">i2", "|b1", "<c8"]),
        hnp.array_shapes(min_dims=0, min_side=0, max_side=5),
        elements=st.just(1),
    ),
    st.booleans(),
    st.integers(1, 64),
)
def test_both_orders(
    tmp_path_factory: pytest.TempPathFactory, ones: Array, fortran: bool, max_bytes: int
) -> None:
    array = (np.arange(ones.size) % 2 if ones.dtype == bool else np.arange(ones.size)).astype(
        ones.dtype
    )
    array = array.reshape(ones.shape)
    path = tmp_path_factory.getbasetemp() / "orders.npz"
    np.savez(path, a=np.asfortranarray(array) if fortran else array)
    with opened(path) as reader:
        np.testing.assert_array_equal(reader.read("a"), array)
        np.testing.assert_array_equal(joined(reader, "a", max_bytes), array)


def test_a_large_fortran_array_compressed(tmp_path: Path) -> None:
    array = np.asfortranarray(np.arange(3_000_000, dtype=np.float64).reshape(1000, 3000))
    np.savez_compressed(tmp_path / "m.npz", a=array)
    with opened(tmp_path / "m.npz") as reader:
        np.testing.assert_array_equal(joined(reader, "a", 1 << 20), array)


def test_texts(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "m.npz",
        s=np.array([b"a", b"", b"ccc"]),
        u=np.array(["ä", "", "xyz"]),
        v=np.array([["a"], ["b"]]),
        none=np.array([b"", b""]),
    )
    with opened(tmp_path / "m.npz") as reader:
        assert {spec.dtype for spec in reader.specs.values()} == {"string"}
        assert reader.read("s").tolist() == [b"a", b"", b"ccc"]
        assert reader.read("u").tolist() == ["ä".encode(), b"", b"xyz"]
        assert reader.read("v").tolist() == [[b"a"], [b"b"]]
        assert reader.read("none").tolist() == [b"", b""]


class Bomb:
    """Would write a file if anything unpickled it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.write_text, (self.path, "unpickled"))


def test_pickled_objects_are_listed_and_never_loaded(tmp_path: Path) -> None:
    bomb = np.empty(2, object)
    bomb[0] = Bomb(tmp_path / "proof")
    np.savez(tmp_path / "m.npz", bad=bomb, good=np.arange(3))
    with opened(tmp_path / "m.npz") as reader:
        assert reader.specs["bad"].dtype == "object"
        assert reader.specs["bad"].shape == (2,)
        with pytest.raises(InputError) as caught:
            reader.read("bad")
        assert caught.value.problems[0].code == "INP011"
        assert reader.read("good").tolist() == [0, 1, 2]
    assert not (tmp_path / "proof").exists()


def test_what_has_no_name_in_tensorflow_is_opaque(tmp_path: Path) -> None:
    structured = np.zeros(3, [("a", "<i4"), ("b", "<f8", (2,))])
    np.savez(
        tmp_path / "m.npz",
        structured=structured,
        void=np.zeros(3, "V2"),
        time=np.zeros(3, "M8[s]"),
        long=np.zeros(3, np.longdouble),
    )
    with opened(tmp_path / "m.npz") as reader:
        assert reader.info.damage == ()
        for name, spec in reader.specs.items():
            assert spec.shape == (3,)
            with pytest.raises(InputError) as caught:
                reader.read(name)
            assert caught.value.problems[0].code == "INP011"


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", (2, 3)),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (2L, 3L), }  \n", (2, 3)),
        ("{'shape': (), 'fortran_order': True, 'descr': '<f4'}", ()),
        ("{ 'shape' : ( 7 , ) ,\t'descr':'<f4','fortran_order':False}", (7,)),
    ],
)
def test_headers(text: str, shape: tuple[int, ...]) -> None:
    found = parse_npy_header(text, 64, "x")
    assert (found.dtype, found.shape) == ("float32", shape)


@pytest.mark.parametrize(
    "text",
    [
        "", "{}", "{'descr': '<f4'}", "__import__('os')",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2 ** 60,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9" + "9" * 5000 + ",)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1L2)}",
        "{'descr': '<f4', 'fortran_order': 1, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': [1]}",
        "{'descr': f(), 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'x': 1, 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1," * 400 + ")}",
    ],
)  # fmt: skip
def test_headers_that_are_refused(text: str, tmp_path: Path) -> None:
    path = archive(
        tmp_path / "m.npz", ("bad.npy", header(text, b"\0" * 4)), ("good.npy", npy(np.arange(3)))
    )
    with opened(path) as reader:
        assert list(reader.specs) == ["good"]
        assert "bad.npy" in str(reader.info.damage[0])
        assert reader.read("good").tolist() == [0, 1, 2]


def test_a_header_beyond_the_cap(tmp_path: Path) -> None:
    raw = header("{" + " " * 100_000 + "}", version=2)
    with opened(archive(tmp_path / "m.npz", ("a.npy", raw))) as reader:
        assert reader.info.damage[0].code == "INP009"


def test_size_against_shape(tmp_path: Path) -> None:
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000,)}\n"
    with opened(archive(tmp_path / "m.npz", ("a.npy", header(text, b"\0" * 16)))) as reader:
        assert not reader.specs
        assert "another size" in reader.info.damage[0].message


def _patch_sizes(path: Path, size: int) -> None:
    """Let the archive claim ``size`` unpacked bytes for its only member."""
    data = bytearray(path.read_bytes())
    central = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, central + 24, size)
    path.write_bytes(bytes(data))


def test_a_member_that_says_more_than_it_has(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    text = "{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000,)}\n"
    raw = header(text, b"\0" * 1000)
    archive(path, ("a.npy", raw), method=zipfile.ZIP_DEFLATED)
    _patch_sizes(path, len(raw) - 1000 + 4_000_000_000)
    with opened(path) as reader:
        assert not reader.specs
        assert reader.info.damage[0].code == "INP009"


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, a=np.zeros(1000), b=np.arange(3))
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(bytes(data))
    with opened(path) as reader:
        with pytest.raises(CkptError) as caught:
            reader.read("a")
        assert caught.value.problems[0].code == "INP005"
        with pytest.raises(CkptError):
            list(reader.chunks("a", 64))
        assert reader.read("b").tolist() == [0, 1, 2]


def test_a_cut_archive(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, a=np.zeros(1000))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CkptError) as caught:
        opened(path)
    assert caught.value.problems[0].code == "INP004"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(method: int, tmp_path: Path) -> None:
    path = archive(tmp_path / "m.npz", ("a.npy", npy(np.arange(9))), method=method)
    with opened(path) as reader:
        assert not reader.specs
        assert reader.info.damage[0].code == "INP003"


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_doubled_and_odd_members(tmp_path: Path) -> None:
    path = archive(
        tmp_path / "m.npz",
        ("a.npy", npy(np.arange(2))),
        ("a.npy", npy(np.arange(3))),
        ("../up.npy", npy(np.arange(4))),
        ("notes.txt", b"x"),
        ("x.npy.npy", npy(np.arange(5))),
    )
    with opened(path) as reader:
        assert list(reader.specs) == ["a", "../up", "x.npy"]
        assert "twice" in reader.info.damage[0].message
        assert reader.info.notices[0].found == "notes.txt"
        assert reader.read("../up").tolist() == [0, 1, 2, 3]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_ends_in_an_answer(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    np.savez_compressed(path, a=np.arange(30), b=np.asfortranarray(np.ones((3, 4))))
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(raw))
    with suppress(CkptError), opened(path) as reader:
        for name in reader.specs:
            with suppress(CkptError):
                reader.read(name)
