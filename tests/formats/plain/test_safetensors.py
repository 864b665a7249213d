"""`.safetensors`, against the library that defines it, and against hostile headers."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from ckpttool.errors import CkptError, InputError, TensorNotFoundError
from ckpttool.formats.locating.locate import locate
from ckpttool.formats.locating.located import Located
from ckpttool.formats.plain.safetensors import SafetensorsReader, open_safetensors
from ckpttool.formats.registry import open_located

Array = np.ndarray[Any, Any]


def opened(path: Path) -> SafetensorsReader:
    return open_safetensors(Located(str(path), "safetensors", str(path), (str(path),)))


def write(path: Path, header: object, data: bytes = b"", *, length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    size = len(raw) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + raw + data)
    return path


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def joined(reader: SafetensorsReader, name: str, max_bytes: int) -> Array:
    chunks = list(reader.chunks(name, max_bytes))
    starts = [chunk.start for chunk in chunks]
    sizes = [len(chunk.array) for chunk in chunks]
    assert starts == [sum(sizes[:index]) for index in range(len(sizes))]
    assert all(chunk.array.nbytes <= max(max_bytes, chunk.array.itemsize) for chunk in chunks)
    spec = reader.specs[name]
    flat = np.concatenate([chunk.array for chunk in chunks]) if chunks else np.empty(0)
    return flat.reshape(spec.shape)


DTYPES = [
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "bfloat16", "float32", "float64", "float8_e5m2", "float8_e4m3fn", "complex64",
]  # fmt: skip


def _numpy(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def test_every_dtype_of_the_library(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {
        name: (rng.integers(0, 2 if name == "bool" else 100, (5, 3))).astype(_numpy(name))
        for name in DTYPES
    }
    arrays |= {"scalar": np.array(2.5, np.float32), "empty": np.zeros((0, 4), np.int32)}
    path = tmp_path / "m.safetensors"
    save_file(arrays, path, metadata={"format": "np"})
    with opened(path) as reader, safe_open(path, "np") as other:
        assert set(reader.specs) == set(other.keys())
        assert reader.metadata == {"format": "np"}
        assert reader.info.damage == reader.info.notices == ()
        for name, array in arrays.items():
            spec = reader.specs[name]
            assert spec.dtype == (name if name in DTYPES else array.dtype.name)
            assert spec.shape == array.shape
            assert reader.stored_bytes(name) == array.nbytes
            found = reader.read(name)
            assert found.dtype == array.dtype
            assert found.tobytes() == array.tobytes()
            assert found.flags.writeable
            assert joined(reader, name, 8).tobytes() == array.tobytes()


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=8).filter(
            lambda name: name != "__metadata__"
        ),
        st.lists(st.integers(0, 4), max_size=4),
        max_size=5,
    )
)
def test_whatever_the_library_writes(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]]
) -> None:
    path = tmp_path_factory.mktemp("st") / "m.safetensors"
    arrays = {name: np.full(shape, len(name), np.int16) for name, shape in shapes.items()}
    save_file(arrays, path)
    with opened(path) as reader:
        assert {name: reader.read(name).tolist() for name in reader.specs} == {
            name: array.tolist() for name, array in arrays.items()
        }


def test_names_nearby(tmp_path: Path) -> None:
    save_file({"encoder.weight": np.zeros(2, np.float32)}, tmp_path / "m.safetensors")
    with opened(tmp_path / "m.safetensors") as reader, pytest.raises(TensorNotFoundError) as caught:
        reader.read("encoder.weigth")
    assert "encoder.weight" in (caught.value.problems[0].hint or "")


def test_packed_types_are_listed_not_decoded(tmp_path: Path) -> None:
    header = {
        "a": entry("F4", [4], 0, 2),
        "b": entry("F8_E8M0", [2], 2, 4),
        "c": entry("float32", [2], 4, 12),  # no name of the format's
        "d": entry("U8", [1], 12, 13),
    }
    with opened(write(tmp_path / "m", header, bytes(range(13)))) as reader:
        assert reader.info.damage == ()
        assert [spec.dtype for spec in reader.specs.values()] == [
            "F4",
            "F8_E8M0",
            "FLOAT32",
            "uint8",
        ]
        assert [reader.stored_bytes(name) for name in reader.specs] == [2, 2, 8, 1]
        assert reader.read("d").tolist() == [12]
        for name in "abc":
            with pytest.raises(InputError) as caught:
                reader.read(name)
            assert caught.value.problems[0].code == "INP011"


HOSTILE_ENTRIES: dict[str, Any] = {
    "overlap": entry("U8", [4], 1, 5),
    "inside another": entry("U8", [1], 2, 3),
    "wrong size": entry("F32", [3], 4, 8),
    "backwards": entry("U8", [4], 8, 4),
    "negative": entry("U8", [4], -4, 0),
    "negative shape": entry("U8", [-4], 4, 8),
    "huge shape": entry("U8", [1 << 62, 1 << 62], 4, 8),
    "huge number": {"dtype": "U8", "shape": [1], "data_offsets": [4, 1 << 80]},
    "float offset": {"dtype": "U8", "shape": [4], "data_offsets": [4.0, 8.0]},
    "bool shape": {"dtype": "U8", "shape": [True], "data_offsets": [4, 5]},
    "many dimensions": entry("U8", [1] * 1000, 4, 5),
    "no dtype": {"shape": [4], "data_offsets": [4, 8]},
    "no shape": {"dtype": "U8", "data_offsets": [4, 8]},
    "no object": [1, 2],
}


@pytest.mark.parametrize("bad", HOSTILE_ENTRIES)
def test_a_damaged_entry_leaves_the_others(bad: str, tmp_path: Path) -> None:
    header = {"good": entry("U8", [4], 0, 4), "bad": HOSTILE_ENTRIES[bad]}
    with opened(write(tmp_path / "m", header, bytes(range(8)))) as reader:
        assert list(reader.specs) == ["good"]
        assert reader.read("good").tolist() == [0, 1, 2, 3]
        assert reader.info.damage
        assert any("bad" in problem.message for problem in reader.info.damage)
        assert all(str(tmp_path) in (problem.where or "") for problem in reader.info.damage)


@pytest.mark.parametrize(
    ("header", "length", "code"),
    [
        (b"{}", 1 << 40, "INP009"),
        (b"{}", 100_000_001, "INP009"),
        (b"{}", 50, "INP007"),
        (b"{", None, "INP004"),
        (b"[1]", None, "INP004"),
        (b'{"a\xff": 1}', None, "INP004"),
        (b'{"a": ' + b"[" * 100_000, None, "INP004"),
        (b'{"a": ' + b"9" * 10_000 + b"}", None, "INP004"),
        (b'{"__metadata__": {"a": 1}}', None, "INP004"),
        (
            b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}',
            None,
            "INP004",
        ),
    ],
)
def test_a_damaged_header_is_refused(
    header: bytes, length: int | None, code: str, tmp_path: Path
) -> None:
    write(tmp_path / "m", header, length=length)
    with pytest.raises(CkptError) as caught:
        opened(tmp_path / "m")
    assert caught.value.problems[0].code == code
    assert str(tmp_path) in (caught.value.problems[0].where or "")


def test_a_cut_file_keeps_its_first_tensors(tmp_path: Path) -> None:
    header = {"a": entry("U8", [4], 0, 4), "b": entry("U8", [4], 4, 8)}
    with opened(write(tmp_path / "m", header, b"\1\2\3\4\5")) as reader:
        assert list(reader.specs) == ["a", "b"]
        assert [problem.code for problem in reader.info.notices] == ["INP007"]
        assert reader.read("a").tolist() == [1, 2, 3, 4]
        with pytest.raises(CkptError) as caught:
            reader.read("b")
        assert caught.value.problems[0].code == "INP007"


@pytest.mark.parametrize(("begin", "data"), [(2, b"xxaaaa"), (0, b"aaaaxx")])
def test_bytes_that_belong_to_no_tensor_are_told(begin: int, data: bytes, tmp_path: Path) -> None:
    header = {"a": entry("U8", [4], begin, begin + 4)}
    with opened(write(tmp_path / "m", header, data)) as reader:
        assert reader.read("a").tobytes() == b"aaaa"
        assert [problem.code for problem in reader.info.damage] == ["INP004"]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    header = b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
    with opened(write(tmp_path / "m", header)) as reader:
        assert not reader.specs
        assert reader.info.damage


def _shards(folder: Path, weight_map: dict[str, Any], **files: dict[str, Array]) -> Path:
    for name, arrays in files.items():
        save_file(arrays, folder / f"{name}.safetensors")
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return path


def test_shards_by_their_map(tmp_path: Path) -> None:
    one, two = {"a": np.arange(3)}, {"b": np.arange(4), "c": np.float32([1])}
    weight_map = {"a": "x.safetensors", "b": "y.safetensors", "c": "y.safetensors"}
    path = _shards(tmp_path, weight_map, x=one, y=two)
    with open_located(locate(str(path))) as reader:
        assert set(reader.specs) == {"a", "b", "c"}
        assert reader.info.shards == 2
        assert reader.info.damage == ()
        for name, array in (one | two).items():
            assert reader.read(name).tolist() == array.tolist()


def test_a_missing_shard_and_wrong_claims_of_a_map(tmp_path: Path) -> None:
    weight_map = {"a": "x.safetensors", "gone": "z.safetensors", "absent": "x.safetensors"}
    path = _shards(tmp_path, weight_map, x={"a": np.arange(3), "extra": np.arange(2)})
    with open_located(locate(str(path))) as reader:
        assert set(reader.specs) == {"a", "extra"}
        assert reader.info.missing_files == (str(tmp_path / "z.safetensors"),)
        assert sorted(problem.code for problem in reader.info.damage) == ["INP004", "INP006"]
        assert any("absent" in problem.message for problem in reader.info.damage)
        assert [problem.code for problem in reader.info.notices] == ["INP004"]


def test_a_pointer_as_shard_is_told(tmp_path: Path) -> None:
    path = _shards(tmp_path, {"a": "x.safetensors", "b": "y.safetensors"}, x={"a": np.arange(3)})
    (tmp_path / "y.safetensors").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid 0\n")
    with open_located(locate(str(path))) as reader:
        assert reader.read("a").tolist() == [0, 1, 2]
        assert "LFS" in reader.info.damage[0].message


@pytest.mark.parametrize(
    "name",
    ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x.safetensors", "", "..", 5, [],
     ["x.safetensors", "../y"], "C:x.safetensors", "x\0.safetensors"],
)  # fmt: skip
def test_a_map_leads_nowhere_else(name: Any, tmp_path: Path) -> None:
    secret = tmp_path / "x.safetensors"
    save_file({"a": np.arange(3)}, secret)
    folder = tmp_path / "here"
    folder.mkdir()
    path = _shards(folder, {"a": name})
    with pytest.raises(CkptError):
        open_located(Located(str(path), "safetensors", str(path)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_header_ends_in_an_answer(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp() / "any", b'{"a":' + raw)
    with suppress(CkptError), opened(path) as reader:
        for name in reader.specs:
            reader.read(name)
