"""The writers of Keras' files without Keras: bytes, names, places, and what they refuse."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import struct
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.errors import CkptError, OutputError
from ckpttool.formats._stored_zip import StoredZip
from ckpttool.formats.keras import _h5_writer
from ckpttool.formats.keras import archive_writer as keras_archive_writer
from ckpttool.formats.keras import weights_writer as keras_writer
from ckpttool.formats.keras._h5_skeleton import DTYPES
from ckpttool.formats.keras.weights import KerasReader
from ckpttool.formats.registry import open_located, open_reader
from ckpttool.formats.targets import TARGETS
from ckpttool.formats.writing import Output, WriteOptions, Written
from ckpttool.storage.atomic import OutputGroup
from ckpttool.tensors import dtype_named

Array = np.ndarray[Any, Any]
SUFFIX = {"keras": "m.weights.h5", "keras-h5": "m.h5", "keras-archive": "m.keras"}


def output(name: str, array: Array, pieces: int = 3) -> Output:
    flat = array.reshape(-1)
    step = max(1, len(flat) // pieces)
    return Output(
        name,
        array.dtype.name,
        array.shape,
        lambda: (flat[start : start + step] for start in range(0, len(flat), step)),
    )


def write(
    kind: str, path: Path, arrays: Mapping[str, Array], *, force: bool = False, **options: Any
) -> Written:
    told = WriteOptions(**options)
    with TARGETS[kind].open()(str(path), options=told, force=force) as writer:
        for name, array in arrays.items():
            writer.declare(output(name, array))
        with writer.flushing():
            writer.write()
        with contextlib.closing(open_located(writer.staged())) as back:
            assert back.info.damage == ()
            assert sorted(back.specs) == sorted(arrays)
            for name, array in arrays.items():
                assert back.specs[name][1:] == (array.dtype.name, array.shape)
                assert back.read(name).tobytes() == array.tobytes()
        return writer.commit()


def sample(dtype: str, shape: tuple[int, ...]) -> Array:
    numpy = dtype_named(dtype).numpy
    raw = np.random.default_rng(0).integers(0, 255, (*shape, numpy.itemsize), np.uint8)
    if dtype == "bool":
        raw &= 1
    return raw.view(numpy).reshape(shape)


def template_archive(path: Path, *more: tuple[str, bytes], method: int = 0) -> Path:
    weights = path.with_suffix(".weights.h5")
    with h5py.File(weights, "w") as file:
        file["layers/dense/vars/0"] = np.zeros(3)
        file["layers/dense/vars"].attrs["name"] = "d1"
        file.create_group("layers/dropout/vars").attrs["name"] = "drop"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("metadata.json", b'{"keras_version": "3.9.0"}')
        archive.writestr("config.json", b'{"class_name": "Functional"}')
        archive.write(weights, "model.weights.h5")
        for name, data in more:
            archive.writestr(name, data)
    weights.unlink()
    return path


@pytest.fixture(params=SUFFIX)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def options(kind: str, tmp_path: Path) -> dict[str, Any]:
    if kind != "keras-archive":
        return {}
    folder = tmp_path.parent / f"{tmp_path.name}_template"
    folder.mkdir(exist_ok=True)
    return {"template": str(template_archive(folder / "t.keras"))}


def test_every_dtype_and_shape(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    dtypes = sorted(DTYPES - ({"bfloat16"} if kind == "keras-h5" else set()))
    shapes: list[tuple[int, ...]] = [(), (0,), (0, 4), (5,), (2, 3, 4), (1,) * 32]
    arrays = {
        f"layers/{dtype}_{len(shape)}_{number}/vars/0": sample(dtype, shape)
        for dtype in dtypes
        for number, shape in enumerate(shapes)
    }
    written = write(kind, tmp_path / SUFFIX[kind], arrays, **options)
    assert written.tensors == len(arrays)
    assert written.bytes == os.path.getsize(written.path)
    assert os.listdir(tmp_path) == [SUFFIX[kind]]


def test_what_h5py_finds(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    halves = sample("bfloat16", (4,))
    write(
        "keras", path,
        {"layers/a/vars/0": halves, "layers/a/vars/1": sample("bool", (3,)), "vars/0": np.ones(())},
        metadata={"source": "a\0ä", "mapping": "x" * 100_000},
    )  # fmt: skip
    with h5py.File(path) as file:
        assert file["layers/a/vars/0"].dtype == "V2"
        assert file["layers/a/vars/0"].attrs["dtype"] == "bfloat16"
        assert np.array(file["layers/a/vars/0"], ml_dtypes.bfloat16).tobytes() == halves.tobytes()
        assert file["layers/a/vars/1"].dtype == bool
        assert file["vars/0"][()] == 1.0
        assert dict(file.attrs) == {
            "ckpttool.source": "a\\x00ä", "ckpttool.mapping": "x" * 100_000
        }  # fmt: skip


_PART = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=5)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_any_tree_comes_back_and_twice_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    part = _PART.filter(lambda text: text not in (".", "vars"))
    layers = data.draw(
        st.lists(st.lists(part, min_size=1, max_size=3), unique_by=tuple, max_size=4)
    )
    arrays = {}
    for layer in layers:
        for number in range(data.draw(st.integers(1, 3))):
            dtype = data.draw(st.sampled_from(sorted(DTYPES)))
            shape = tuple(data.draw(st.lists(st.integers(0, 4), max_size=3)))
            arrays["/".join((*layer, "vars", str(number)))] = sample(dtype, shape)
    told = {"max_shard_bytes": data.draw(st.sampled_from([None, 1, 100]))}
    found = [write("keras", folder / name / "m.weights.h5", arrays, **told).files for name in "ab"]
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        assert Path(one).read_bytes() == Path(other).read_bytes()
    with contextlib.closing(open_reader(found[0][-1])) as reader:
        assert sorted(reader.specs) == sorted(arrays)
        for name, array in arrays.items():
            assert reader.read(name).tobytes() == array.tobytes()


def test_the_same_bytes_at_another_time(
    kind: str, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {f"layers/d_{i}/vars/0": np.full((i, 3), i) for i in range(40)}
    first = write(kind, tmp_path / f"a_{SUFFIX[kind]}", arrays, **options)
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 0, 0, 0, 0, 0, 0))
    with h5py.File(tmp_path.parent / "other.h5", "w") as file:  # HDF5's state has moved on
        file["x"] = 1
    second = write(kind, tmp_path / f"b_{SUFFIX[kind]}", arrays, **options)
    assert Path(first.path).read_bytes() == Path(second.path).read_bytes()


def groups(path: Path) -> dict[str, str | None]:
    with contextlib.closing(open_reader(str(path))) as reader:
        assert isinstance(reader, KerasReader)
        return reader.groups()


def test_an_empty_group_in_every_object(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    write("keras", path, {"layers/bi/forward_layer/cell/vars/0": np.ones(1)})
    assert groups(path) == dict.fromkeys(
        ["vars", "layers/bi/vars", "layers/bi/forward_layer/vars",
         "layers/bi/forward_layer/cell/vars"]
    )  # fmt: skip


def test_a_template_gives_names_and_layers_without_variables(tmp_path: Path) -> None:
    template = tmp_path / "t.weights.h5"
    with h5py.File(template, "w") as file:
        for layer, names in {"dense": "01", "dropout": "", "conv": "0"}.items():
            file.create_group(f"layers/{layer}/vars").attrs["name"] = f"my_{layer}"
            for name in names:
                file[f"layers/{layer}/vars/{name}"] = 1.0
    path = tmp_path / "m.weights.h5"
    arrays = {"layers/dense/vars/0": np.ones(1), "layers/other/vars/0": np.ones(1)}
    write("keras", path, arrays, template=str(template))
    assert groups(path) == {
        "vars": None, "layers/dense/vars": "my_dense", "layers/dropout/vars": "my_dropout",
        "layers/other/vars": None,
    }  # fmt: skip


# Shards.


def test_shards(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    arrays = {f"layers/d/vars/{i}": np.full(10, i, np.int8) for i in range(3)}
    arrays["layers/big/vars/0"] = np.zeros(100, np.int8)
    arrays["vars/0"] = np.zeros(0, np.int8)
    written = write("keras", path, arrays, max_shard_bytes=20, metadata={"a": "b"})
    assert written.path == str(tmp_path / "m.weights.json")
    assert [os.path.basename(file) for file in written.files] == [
        *(f"m_{i:05d}.weights.h5" for i in range(4)), "m.weights.json",
    ]  # fmt: skip
    document = json.loads(Path(written.path).read_text())
    assert document == {
        "metadata": {"total_size": 130, "ckpttool.a": "b"},
        "weight_map": {
            "/layers/d/vars": ["m_00000.weights.h5", "m_00001.weights.h5"],
            "/layers/big/vars": "m_00002.weights.h5",
            "/vars": "m_00003.weights.h5",
        },
    }
    assert written.bytes == sum(os.path.getsize(file) for file in written.files)


def test_when_there_are_shards(tmp_path: Path) -> None:
    arrays = {"layers/d/vars/0": np.zeros(10, np.int8), "layers/e/vars/0": np.zeros(10, np.int8)}

    def files(name: str, limit: int | None) -> list[str]:
        found = write("keras", tmp_path / name, arrays, max_shard_bytes=limit).files
        return [os.path.basename(file) for file in found]

    assert files("a.weights.h5", None) == ["a.weights.h5"]
    assert files("b.weights.h5", 20) == ["b.weights.h5"]
    assert files("c.weights.h5", 19)[-1] == "c.weights.json"
    assert files("d.weights.json", None) == ["d_00000.weights.h5", "d.weights.json"]
    # Keras computes the first shard's name in this odd way.
    assert files("e.weights.1.weights.json", None)[0] == "e.1_00000.weights.h5"
    write("keras", tmp_path / "none.weights.json", {})
    assert json.loads((tmp_path / "none.weights.json").read_text())["weight_map"] == {}


def test_shards_take_the_place_of_older_ones(tmp_path: Path) -> None:
    arrays = {f"layers/d/vars/{i}": np.zeros(10, np.int8) for i in range(5)}
    write("keras", tmp_path / "m.weights.json", arrays, max_shard_bytes=10)
    other = tmp_path / "m_00077.weights.h5"  # a file of another run, that no map leads to
    other.write_bytes(b"x")
    with pytest.raises(OutputError, match="OUT001"):
        write("keras", tmp_path / "m.weights.json", arrays)
    write("keras", tmp_path / "m.weights.json", arrays, max_shard_bytes=30, force=True)
    assert sorted(os.listdir(tmp_path)) == [
        "m.weights.json", "m_00000.weights.h5", "m_00001.weights.h5", other.name,
    ]  # fmt: skip
    (tmp_path / "m.weights.h5").write_bytes(b"x")
    with pytest.raises(OutputError, match="OUT001"):
        write("keras", tmp_path / "m.weights.h5", arrays, max_shard_bytes=30)
    (tmp_path / "m.weights.json").unlink()
    with pytest.raises(OutputError, match="OUT001") as caught:  # a shard's name is taken
        write("keras", tmp_path / "m.weights.json", arrays, max_shard_bytes=30)
    assert "m_00000" in (caught.value.problems[0].where or "")


# Legacy files.


def legacy_template(path: Path, whole: bool) -> Path:
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        if whole:
            file.attrs["model_config"] = '{"class_name": "Sequential"}' + " " * 100_000
            file.attrs["keras_version"] = "3.9.0"
            file.create_group("optimizer_weights").attrs["weight_names"] = [b"sgd/b", b"sgd/a"]
            file["optimizer_weights/sgd/a"] = file["optimizer_weights/sgd/b"] = 1.0
        layers = {"z": ["z/k:0", "z/b:0"], "drop": [], "gone": ["k"], "a/b": ["c"], "a": ["b/d"]}
        root.attrs["layer_names"] = [layer.encode() for layer in layers]
        root.attrs["backend"] = b"jax"
        root.attrs["keras_version"] = b"3.9.0"
        for layer, weights in layers.items():
            group = root.require_group(layer)
            group.attrs["weight_names"] = np.array([w.encode() for w in weights], "S9")
            for weight in weights:
                group[weight] = 1.0
        root.create_group("top_level_model_weights").attrs["weight_names"] = np.array([], "S1")
    return path


def texts(group: Any, name: str) -> list[str]:
    return [item.decode() for item in group.attrs[name].tolist()]


def test_legacy_in_the_order_of_declaration(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    names = ["z/z/k:0", "a/k:0", "z/b", "optimizer_weights/sgd/m", "top_level_model_weights/w"]
    write("keras-h5", path, {name: np.ones(2) for name in names})
    with h5py.File(path) as file:
        assert texts(file, "layer_names") == ["z", "a"]
        assert texts(file["z"], "weight_names") == ["z/k:0", "b"]
        assert texts(file["optimizer_weights"], "weight_names") == ["sgd/m"]
        assert texts(file["top_level_model_weights"], "weight_names") == ["w"]
        assert file.attrs["keras_version"] == b"2.15.0"
        assert file.attrs["backend"] == b"tensorflow"


@pytest.mark.parametrize("whole", [False, True])
def test_legacy_in_the_order_of_a_template(whole: bool, tmp_path: Path) -> None:
    template = legacy_template(tmp_path / "t.h5", whole)
    path = tmp_path / "m.h5"
    names = ["new/x", "a/b/d", "a/b/c", "z/z/b:0", "z/extra", "z/z/k:0"]
    if whole:
        names += ["optimizer_weights/sgd/a", "optimizer_weights/sgd/b"]
    write("keras-h5", path, {name: np.ones(2) for name in names}, template=str(template))
    with h5py.File(path) as file:
        root = file["model_weights"] if whole else file
        assert texts(root, "layer_names") == ["z", "drop", "a/b", "a", "new"]
        assert texts(root["z"], "weight_names") == ["z/k:0", "z/b:0", "extra"]
        assert texts(root["drop"], "weight_names") == []
        assert texts(root["a/b"], "weight_names") == ["c"]
        assert texts(root["a"], "weight_names") == ["b/d"]
        assert "top_level_model_weights" not in root
        assert root.attrs["backend"] == b"jax"
        assert ("model_config" in file.attrs) == whole
        if whole:
            assert len(file.attrs["model_config"]) > 100_000
            assert texts(file["optimizer_weights"], "weight_names") == ["sgd/b", "sgd/a"]


def test_legacy_lists_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    names = [f"{'x' * 1000}{i}/k" for i in range(200)] + [f"l/{'y' * 1000}{i}" for i in range(200)]
    write("keras-h5", path, {name: np.ones(()) for name in names})
    with h5py.File(path) as file:
        assert "layer_names" not in file.attrs
        pieces = [file.attrs[f"layer_names{i}"] for i in range(4)]
        assert all(piece.nbytes <= 64512 for piece in pieces)
        assert "weight_names3" in file["l"].attrs
    with contextlib.closing(open_reader(str(path))) as reader:
        assert list(reader.specs) == names


# Archives.


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_archive(method: int, tmp_path: Path) -> None:
    assets = [("assets/", b""), ("assets/layers/ä/v.txt", b"a\nb\n" * 9000)]
    template = template_archive(tmp_path / "t.keras", *assets, method=method)
    path = tmp_path / "m.keras"
    arrays = {f"layers/d{i}/vars/0": np.full(i * 100, i) for i in range(30)}
    write(
        "keras-archive", path, {"layers/dense/vars/0": np.ones(3), **arrays}, template=str(template)
    )
    with zipfile.ZipFile(path) as ours, zipfile.ZipFile(template) as theirs:
        assert ours.testzip() is None
        assert ours.namelist() == theirs.namelist()
        for member in ours.infolist():
            assert member.compress_type == zipfile.ZIP_STORED
            assert member.date_time == (1980, 1, 1, 0, 0, 0)
            if member.filename != "model.weights.h5":
                assert ours.read(member) == theirs.read(member.filename)
    assert groups(path)["layers/dropout/vars"] == "drop"
    assert groups(path)["layers/dense/vars"] == "d1"


@pytest.mark.parametrize("size", [100, (1 << 30) + 1, 5 << 30])
def test_large_members(size: int, tmp_path: Path) -> None:
    """Sizes and places beyond 32 bits, in a sparse file."""
    path = str(tmp_path / "x.zip")
    with OutputGroup([path]) as group:
        staged = group.stage(path)
        out = StoredZip(staged)
        start = out.begin("big", size)
        os.ftruncate(staged.fileno(), start + size)
        out.end(7)
        out.begin("ä", 3)
        staged.write(b"abc")
        out.end(0x352441C2)
        out.finish()
        group.commit()
    with zipfile.ZipFile(path) as archive:
        big, small = archive.infolist()
        assert (big.file_size, big.compress_size, big.CRC) == (size, size, 7)
        with archive.open(small) as member:
            assert member.read() == b"abc"
        if size > 100:
            with archive.open(big) as member:
                assert member.read(10) == bytes(10)
        with open(path, "rb") as file:
            head = file.read(30)
        assert (struct.unpack_from("<H", head, 4)[0] == 45) == (size > 1 << 30)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("more", "caps", "code"),
    [
        ([("config.json", b"{}")], {}, "INP004"),
        ([("assets/../../x", b"1")], {}, "INP004"),
        ([("/etc/x", b"1")], {}, "INP004"),
        ([("assets\\x", b"1")], {}, "INP004"),
        ([("assets/x", bytes(90_000))], {"FREE_GROWTH": 1000, "MAX_GROWTH": 2}, "INP009"),
        ([("assets/x", bytes(90_000))], {"MAX_COPIED_BYTES": 80_000}, "INP009"),
        ([("assets/x", b"1")], {"MAX_MEMBERS": 3}, "INP009"),
    ],
)
def test_templates_that_are_refused(
    more: list[tuple[str, bytes]],
    caps: dict[str, int],
    code: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    template = template_archive(tmp_path / "t.keras", *more, method=zipfile.ZIP_DEFLATED)
    for name, value in caps.items():
        monkeypatch.setattr(keras_archive_writer, name, value)
    with pytest.raises(CkptError) as caught:
        write(
            "keras-archive", tmp_path / "m.keras", {"layers/dense/vars/0": np.ones(3)},
            template=str(template),
        )  # fmt: skip
    assert caught.value.problems[0].code == code
    assert os.listdir(tmp_path) == ["t.keras"]


def test_a_template_with_a_bomb_or_damage(tmp_path: Path) -> None:
    template = template_archive(
        tmp_path / "t.keras", ("assets/x", bytes(10_000)), method=zipfile.ZIP_DEFLATED
    )
    whole = template.read_bytes()
    at = whole.rindex(b"PK\x01\x02")
    bomb = bytearray(whole)
    struct.pack_into("<I", bomb, at + 24, 4_000_000_000)
    broken = bytearray(whole)
    struct.pack_into("<I", broken, at + 16, 1)  # its checksum
    for data, code in ((bomb, "INP009"), (broken, "INP005")):
        template.write_bytes(bytes(data))
        with pytest.raises(CkptError) as caught:
            write(
                "keras-archive", tmp_path / "m.keras", {"layers/dense/vars/0": np.ones(3)},
                template=str(template),
            )  # fmt: skip
        assert caught.value.problems[0].code == code
        assert os.listdir(tmp_path) == ["t.keras"]


# What is refused.

_F = "float32"


@pytest.mark.parametrize(
    ("kind", "specs", "refused"),
    [
        ("keras", [("a/vars/0", "string", ())], ["a/vars/0"]),
        ("keras", [("a/vars/0", "float8_e5m2", (2,))], ["a/vars/0"]),
        ("keras", [("a/vars/0", "qint8", ())], ["a/vars/0"]),
        ("keras", [("a/vars/0", "int4", ())], ["a/vars/0"]),
        ("keras", [("a/vars/0", "variant", ())], ["a/vars/0"]),
        ("keras", [("a/vars/0", _F, (1,) * 33)], ["a/vars/0"]),
        ("keras", [("a//vars/0", _F, ())], ["a//vars/0"]),
        ("keras", [("/vars/0", _F, ())], ["/vars/0"]),
        ("keras", [("a/./vars/0", _F, ())], ["a/./vars/0"]),
        ("keras", [("a\0/vars/0", _F, ())], ["a\0/vars/0"]),
        ("keras", [("a\udcff/vars/0", _F, ())], ["a\udcff/vars/0"]),
        ("keras", [("x" * 64_000 + "/vars/0", _F, ())], ["x" * 64_000 + "/vars/0"]),
        ("keras", [("a/" * 70 + "vars/0", _F, ())], ["a/" * 70 + "vars/0"]),
        ("keras", [("a/kernel", _F, ()), ("vars/0", _F, ()), ("b", _F, ())], ["a/kernel", "b"]),
        ("keras", [("a/vars/00", _F, ()), ("a/vars/x", _F, ())], ["a/vars/00", "a/vars/x"]),
        ("keras", [("a/vars/-1", _F, ()), ("a/vars/٣", _F, ())], ["a/vars/-1", "a/vars/٣"]),
        ("keras", [("a/vars/0/vars/0", _F, ())], ["a/vars/0/vars/0"]),
        ("keras", [("a/vars/0", _F, ()), ("a/vars/2", _F, ())], ["a/vars/2"]),
        ("keras", [("a/vars/999999", _F, ())], ["a/vars/999999"]),
        ("keras", [("a/vars/1", _F, ()), ("a/vars/0", _F, ())], []),
        ("keras-archive", [("a/kernel", _F, ())], ["a/kernel"]),
        ("keras-h5", [("kernel", _F, ())], ["kernel"]),
        ("keras-h5", [("a/k", "bfloat16", ()), ("a/s", "string", ())], ["a/k", "a/s"]),
        ("keras-h5", [("a/b", _F, ()), ("a/b/c", _F, ())], ["a/b"]),
        ("keras-h5", [("a/b/c", _F, ()), ("a/b", _F, ())], ["a/b"]),
        ("keras-h5", [("a//b", _F, ()), ("a/.", _F, ()), ("a/", _F, ())], ["a//b", "a/.", "a/"]),
        ("keras-h5", [("a/k:0", _F, ()), ("a/..", _F, ())], []),
    ],
)  # fmt: skip
def test_refusals(
    kind: str, specs: list[tuple[str, str, tuple[int, ...]]], refused: list[str], tmp_path: Path
) -> None:
    template = str(template_archive(tmp_path / "t.keras")) if kind == "keras-archive" else None
    told = WriteOptions(template=template)
    found = list(TARGETS[kind].refusals()(specs, told))
    assert [name for name, _, _ in found] == refused
    assert all(why and text for _, why, text in found)
    # The writer refuses them too, and leaves nothing.
    with (
        pytest.raises(OutputError, match="OUT005") if refused else contextlib.nullcontext(),
        TARGETS[kind].open()(str(tmp_path / SUFFIX[kind]), options=told) as writer,
    ):
        for name, dtype, shape in specs:
            writer.declare(Output(name, dtype, shape, lambda: [np.ones(1, np.float32)]))
        writer.write()
    assert set(os.listdir(tmp_path)) <= {"t.keras"}


def test_a_template_allows_what_is_in_it(tmp_path: Path) -> None:
    template = tmp_path / "t.weights.h5"
    with h5py.File(template, "w") as file:
        for name in ("a/vars/mean", "b/vars/0", "b/vars/2", "c/vars/0", "c/vars/1", "c/vars/2"):
            file[f"layers/{name}"] = 1.0
    told = WriteOptions(template=str(template))

    def refused(*names: str) -> list[str]:
        specs = [(f"layers/{name}", _F, ()) for name in names]
        return [name for name, _, _ in keras_writer.refusals(specs, told)]

    assert refused("a/vars/mean", "b/vars/0", "b/vars/2") == []
    assert refused("a/vars/variance") == ["layers/a/vars/variance"]
    assert refused("c/vars/0", "c/vars/2") == ["layers/c/vars/2"]
    assert refused("b/vars/2") == ["layers/b/vars/2"]
    write(
        "keras", tmp_path / "m.weights.h5", {"layers/a/vars/mean": np.ones(2)},
        template=str(template),
    )  # fmt: skip


def test_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_h5_writer, "MAX_OBJECTS", 50)
    specs = [(f"layers/d{i}/vars/0", _F, ()) for i in range(30)]
    found = list(keras_writer.refusals(specs, WriteOptions()))
    assert len(found) == 1
    assert "50" in found[0][1]
    assert not list(keras_writer.refusals(specs[:9], WriteOptions()))


@pytest.mark.parametrize(
    ("kind", "name"),
    [("keras", "m.h5"), ("keras", ".weights.h5"), ("keras", "m"), ("keras-h5", "m.weights.h5"),
     ("keras-h5", "m.keras"), ("keras-archive", "m.zip"), ("keras-archive", "m.keras")],
)  # fmt: skip
def test_names_that_keras_would_not_know(kind: str, name: str, tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught:
        TARGETS[kind].open()(str(tmp_path / name))
    assert caught.value.problems[0].code == "OUT002"
    assert caught.value.problems[0].hint


def test_an_archive_is_filled_from_an_archive_only(tmp_path: Path) -> None:
    template = tmp_path / "t.weights.h5"
    write("keras", template, {"layers/a/vars/0": np.ones(1)})
    with pytest.raises(OutputError, match="OUT002"):
        write("keras-archive", tmp_path / "m.keras", {}, template=str(template))


def test_sources_and_templates_stay(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / SUFFIX[kind]
    write(kind, path, {"l/vars/0": np.ones(1)}, **options)
    before = path.read_bytes()
    opener = TARGETS[kind].open()
    with pytest.raises(OutputError, match="OUT003"):
        opener(str(path), options=WriteOptions(**options), force=True, sources=[str(path)])
    with pytest.raises(OutputError, match="OUT003"):
        opener(str(path), options=WriteOptions(template=str(path)), force=True)
    with pytest.raises(OutputError, match="OUT001"):
        opener(str(path), options=WriteOptions(**options))
    assert path.read_bytes() == before


def test_hostile_legacy_templates(tmp_path: Path) -> None:
    """Names that a file claims for its layers, and that no group can have."""
    for number, layer in enumerate([b"", b".", b"a//b", b"/", b"x/k"]):
        template = tmp_path / f"{number}.h5"
        with h5py.File(template, "w") as file:
            file.attrs["layer_names"] = [layer, b"x"]
            file["x/k"] = 1.0
            file["x"].attrs["weight_names"] = [b"k"]
        path = tmp_path / "m.h5"
        with contextlib.suppress(CkptError):
            write("keras-h5", path, {"x/k": np.ones(1)}, template=str(template))
            path.unlink()
        assert not path.exists()


# Failures.


def some(kind: str) -> dict[str, Array]:
    return {f"layers/d{i}/vars/0": np.ones(4000) for i in range(3)}


@pytest.mark.parametrize("limit", [10, 500, 3000, 20_000, 90_000])
def test_a_full_disk(kind: str, options: dict[str, Any], limit: int, tmp_path: Path) -> None:
    """The system refuses to let the file grow beyond a limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(OutputError) as caught:
            write(kind, tmp_path / SUFFIX[kind], some(kind), **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.problems[0].code == "OUT002"
    assert "space" in (caught.value.problems[0].hint or "")
    assert os.listdir(tmp_path) == []
    write(kind, tmp_path / SUFFIX[kind], some(kind), **options)


@pytest.mark.parametrize("allowed", [0, 1, 5, 20])
def test_a_disk_that_fills_while_hdf5_writes(
    kind: str, options: dict[str, Any], allowed: int, tmp_path: Path, monkeypatch: Any
) -> None:
    real, count = os.write, 0

    def fail(fd: int, data: Any) -> int:
        nonlocal count
        count += 1
        if count > allowed:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail)
        with pytest.raises(OutputError) as caught:
            write(kind, tmp_path / SUFFIX[kind], some(kind), **options)
    assert caught.value.problems[0].code == "OUT002"
    assert os.listdir(tmp_path) == []


def _wrong(count: int, dtype: str) -> Callable[[], Iterator[Array]]:
    return lambda: iter([np.ones(count, dtype)])


def _interrupted() -> Iterator[Array]:
    yield np.ones(1, np.float32)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("values", "error"),
    [(_wrong(2, "f4"), ValueError), (_wrong(4, "f4"), ValueError), (_wrong(3, "f8"), ValueError),
     (_interrupted, KeyboardInterrupt)],
    ids=["few", "many", "dtype", "interrupted"],
)  # fmt: skip
def test_a_run_that_breaks_leaves_nothing(
    kind: str,
    options: dict[str, Any],
    values: Callable[[], Iterator[Array]],
    error: type[BaseException],
    tmp_path: Path,
) -> None:
    told = WriteOptions(**options)
    with (  # noqa: PT012
        pytest.raises(error),
        TARGETS[kind].open()(str(tmp_path / "new" / SUFFIX[kind]), options=told) as writer,
    ):
        writer.declare(Output("l/vars/0", "float32", (3,), values))
        with writer.flushing():
            writer.write()
    assert os.listdir(tmp_path) == []


def test_declaring_twice_or_late(tmp_path: Path) -> None:
    with TARGETS["keras"].open()(str(tmp_path / "m.weights.h5")) as writer:
        writer.declare(output("a/vars/0", np.ones(1)))
        with pytest.raises(ValueError, match="twice"):
            writer.declare(output("a/vars/0", np.ones(1)))
        writer.write()
        with pytest.raises(ValueError, match="begun"):
            writer.declare(output("a/vars/1", np.ones(1)))


def test_a_large_tensor_in_little_memory(
    kind: str, options: dict[str, Any], tmp_path: Path
) -> None:
    piece = np.arange(1 << 20, dtype=np.int64)  # 8 MiB
    seen = 0

    def progress(size: int) -> None:
        nonlocal seen
        seen += size

    path = str(tmp_path / SUFFIX[kind])
    with TARGETS[kind].open()(path, options=WriteOptions(**options)) as writer:
        writer.declare(
            Output("l/vars/0", "int64", (30, 1 << 20), lambda: (piece for _ in range(30)))
        )
        tracemalloc.start()
        writer.write(progress)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        writer.commit()
    assert seen == 30 << 23
    assert peak < 16 << 20
    with contextlib.closing(open_reader(path)) as reader:
        last = list(reader.chunks("l/vars/0", 8 << 20))[-1]
        assert np.array_equal(last.array, piece)


@pytest.mark.parametrize("order", ["<", ">"])
def test_arrays_of_either_byte_order_and_any_stride(order: str, tmp_path: Path) -> None:
    values = np.arange(12, dtype=f"{order}f4").reshape(3, 4).T
    path = tmp_path / "m.weights.h5"
    with TARGETS["keras"].open()(str(path)) as writer:
        writer.declare(Output("l/vars/0", "float32", (4, 3), lambda: [values]))
        writer.write()
        writer.commit()
    with h5py.File(path) as file:
        assert file["l/vars/0"].dtype == "<f4"
        assert np.array_equal(file["l/vars/0"], values)
