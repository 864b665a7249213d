"""Keras' files: `.weights.h5`, legacy `.h5` and `.keras`, against h5py, and files that lie."""

from __future__ import annotations

import io
import json
import os
import random
import struct
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import ml_dtypes
import numpy as np
import pytest

from ckpttool.errors import CkptError, InputError
from ckpttool.formats import zip_file
from ckpttool.formats.arrays import ArrayReader
from ckpttool.formats.keras import _h5
from ckpttool.formats.keras import archive as keras_archive
from ckpttool.formats.keras.archive import ArchiveReader, open_archive
from ckpttool.formats.keras.legacy import LegacyReader, open_legacy
from ckpttool.formats.keras.weights import KerasReader, open_keras
from ckpttool.formats.locating.locate import locate
from ckpttool.formats.locating.located import Located
from ckpttool.formats.registry import open_located

Array = np.ndarray[Any, Any]


def keras(path: Path) -> KerasReader:
    return open_keras(Located(str(path), "keras", str(path), (str(path),)))


def legacy(path: Path) -> LegacyReader:
    return open_legacy(Located(str(path), "keras-h5", str(path), (str(path),)))


def archive(path: Path) -> ArchiveReader:
    return open_archive(Located(str(path), "keras-archive", str(path), (str(path),)))


def joined(reader: ArrayReader, name: str, max_bytes: int) -> Array:
    chunks = list(reader.chunks(name, max_bytes))
    sizes = [len(chunk.array) for chunk in chunks]
    assert [chunk.start for chunk in chunks] == [sum(sizes[:i]) for i in range(len(sizes))]
    assert all(size * chunks[0].array.itemsize <= max(max_bytes, 16) for size in sizes)
    flat = np.concatenate([chunk.array for chunk in chunks]) if chunks else np.empty(0)
    return flat.reshape(reader.specs[name].shape)


DTYPES = [
    "bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64",
    "float16", "float32", "float64", "complex64", "complex128",
]  # fmt: skip


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "storage",
    [{}, {"chunks": (7, 2)}, {"chunks": (7, 2), "compression": "gzip", "shuffle": True},
     {"chunks": (7, 2), "compression": "lzf", "fletcher32": True}],
    ids=["contiguous", "chunked", "gzip", "lzf"],
)  # fmt: skip
def test_every_dtype(storage: dict[str, Any], order: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays: dict[str, Array] = {
        name: rng.integers(0, 2 if name == "bool" else 100, (50, 3)).astype(
            np.dtype(name).newbyteorder(order)
        )
        for name in DTYPES
    }
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(f"layers/{name}/vars/0", data=array, **storage)
    with keras(path) as reader:
        assert reader.info.damage == reader.info.notices == ()
        assert len(reader.specs) == len(arrays)
        for name, array in arrays.items():
            key = f"layers/{name}/vars/0"
            spec = reader.specs[key]
            assert (spec.dtype, spec.shape) == (name, array.shape)
            found = reader.read(key)
            assert found.dtype == array.dtype.newbyteorder("=")
            assert found.flags.writeable
            np.testing.assert_array_equal(found, array)
            np.testing.assert_array_equal(joined(reader, key, 64), array)


def test_shapes_texts_and_bfloat16(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    halves = np.arange(6).reshape(2, 3).astype(ml_dtypes.bfloat16)
    with h5py.File(path, "w") as file:
        file["vars/0"] = np.float32(2.5)
        file["vars/1"] = np.zeros((0, 4), np.int32)
        file["vars/2"] = ["ä", "", "xyz"]
        file["vars/3"] = np.array([[b"a", b"bc"]])
        file["vars/4"] = halves.view("V2")
        file["vars/4"].attrs["dtype"] = "bfloat16"
        file["vars/5"] = halves.view("V2")  # nothing says what it is
        file["vars/6"] = h5py.Empty("f4")
        file["vars/7"] = np.zeros(2, [("a", "i4"), ("b", "f4")])
        file["vars/8"] = np.ones((3, 1, 2, 2))
        file["vars/9"] = halves.view("V2")
        file["vars/9"].attrs["dtype"] = "float32"  # which it cannot be
    with keras(path) as reader:
        assert reader.read("vars/0").tolist() == 2.5
        assert reader.read("vars/1").shape == (0, 4)
        assert reader.read("vars/2").tolist() == ["ä".encode(), b"", b"xyz"]
        assert reader.read("vars/3").tolist() == [[b"a", b"bc"]]
        assert reader.specs["vars/4"].dtype == "bfloat16"
        np.testing.assert_array_equal(reader.read("vars/4"), halves)
        np.testing.assert_array_equal(joined(reader, "vars/8", 16), np.ones((3, 1, 2, 2)))
        for name in ("vars/5", "vars/6", "vars/7", "vars/9"):
            with pytest.raises(InputError) as caught:
                reader.read(name)
            assert caught.value.problems[0].code == "INP011"


def test_numbers_in_order_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        for index in range(12):
            file[f"layers/dense/vars/{index}"] = np.full(1, index)
        file["layers/dense/vars"].attrs["name"] = "my_dense"
        file.create_group("layers/dropout/vars")
    with keras(path) as reader:
        assert list(reader.specs) == [f"layers/dense/vars/{index}" for index in range(12)]
        assert set(reader.labels().values()) == {"my_dense"}
        assert set(reader.labels()) == set(reader.specs)


def test_shards(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x_00000.weights.h5", "w") as file:
        file["layers/dense/vars/0"] = np.arange(3)
        file["layers/dense/vars"].attrs["name"] = "d1"
    with h5py.File(tmp_path / "x_00001.weights.h5", "w") as file:
        file["layers/dense/vars/1"] = np.arange(4)
        file["layers/out/vars/0"] = np.arange(5)
    weight_map = {
        "/layers/dense/vars": ["x_00000.weights.h5", "x_00001.weights.h5"],
        "/layers/out/vars": "x_00001.weights.h5",
    }
    path = tmp_path / "x.weights.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1.0}, "weight_map": weight_map}))
    with open_located(locate(str(path))) as reader:
        assert [spec.shape for spec in reader.specs.values()] == [(3,), (4,), (5,)]
        assert reader.info.shards == 2
        assert reader.info.damage == ()
        assert reader.read("layers/dense/vars/1").tolist() == [0, 1, 2, 3]
        labels = reader.labels()  # type: ignore[attr-defined]
        assert labels == {"layers/dense/vars/0": "d1", "layers/dense/vars/1": "d1"}
    (tmp_path / "x_00001.weights.h5").unlink()
    with open_located(locate(str(path))) as reader:
        assert list(reader.specs) == ["layers/dense/vars/0"]
        assert reader.info.missing_files == (str(tmp_path / "x_00001.weights.h5"),)
        assert "INP006" in [problem.code for problem in reader.info.damage]


def _legacy_tree(group: h5py.Group, **layers: dict[str, Array]) -> None:
    group.attrs["layer_names"] = [name.encode() for name in layers]
    for layer, weights in layers.items():
        below = group.create_group(layer)
        below.attrs["weight_names"] = np.array([name.encode() for name in weights], "S20")
        for name, array in weights.items():
            below[name] = array


def test_legacy_weights_keep_the_order_of_the_attributes(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        _legacy_tree(
            file,
            z_first={
                "z_first/kernel:0": np.arange(6.0).reshape(2, 3),
                "z_first/bias:0": np.ones(3),
            },
            dropout={},
            a_last={"a_last/kernel:0": np.ones((3, 1))},
        )  # fmt: skip
    with legacy(path) as reader:
        assert list(reader.specs) == [
            "z_first/z_first/kernel:0", "z_first/z_first/bias:0", "a_last/a_last/kernel:0",
        ]  # fmt: skip
        assert reader.layer_names() == ["z_first", "dropout", "a_last"]
        assert reader.model_config() is None
        assert reader.read("z_first/z_first/kernel:0").tolist() == [[0, 1, 2], [3, 4, 5]]


def test_legacy_whole_model_with_optimizer(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = '{"class_name": "Sequential"}'
        weights = file.create_group("model_weights")
        _legacy_tree(weights, d={"d/kernel:0": np.arange(2)})
        weights.create_group("top_level_model_weights").attrs["weight_names"] = np.array([], "S1")
        optimizer = file.create_group("optimizer_weights")
        optimizer.attrs["weight_names"] = [b"Adam/iter:0"]
        optimizer["Adam/iter:0"] = np.int64(7)
    assert locate(str(path)).format == "keras-h5"
    with legacy(path) as reader:
        assert reader.info.damage == ()  # nor from the empty list of names
        assert list(reader.specs) == ["d/d/kernel:0", "optimizer_weights/Adam/iter:0"]
        assert reader.layer_names() == ["d"]
        assert reader.model_config() == '{"class_name": "Sequential"}'
        assert reader.read("optimizer_weights/Adam/iter:0").tolist() == 7


def test_legacy_names_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    layers = [f"layer_{index}" for index in reversed(range(6))]
    with h5py.File(path, "w") as file:
        for piece in range(3):
            names = layers[2 * piece : 2 * piece + 2]
            file.attrs[f"layer_names{piece}"] = [name.encode() for name in names]
        for layer in layers:
            group = file.create_group(layer)
            group.attrs["weight_names0"] = [b"b:0"]
            group.attrs["weight_names1"] = [b"a:0"]
            group["a:0"], group["b:0"] = np.zeros(1), np.ones(1)
    assert locate(str(path)).format == "keras-h5"
    with legacy(path) as reader:
        assert list(reader.specs) == [f"{layer}/{name}:0" for layer in layers for name in "ba"]


def test_legacy_claims_and_surplus(tmp_path: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        _legacy_tree(file, d={"kernel": np.zeros(2)})
        file["d"].attrs["weight_names"] = [b"kernel", b"gone", b"../secret", b"/etc"]
        file["d/unlisted"] = np.ones(1)
        file["secret"] = np.ones(1)
    with legacy(path) as reader:
        assert list(reader.specs) == ["d/kernel", "d/unlisted", "secret"]
        told = " ".join(problem.message for problem in reader.info.damage)
        assert "d/gone" in told
        assert len(reader.info.damage) == 3


def test_plain_hdf5_is_listed_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "m.hdf5"
    with h5py.File(path, "w") as file:
        file["b/10"], file["b/9"], file["a"] = np.zeros(2), np.zeros(1), np.ones(3)
    with open_located(locate(str(path))) as reader:
        assert list(reader.specs) == ["a", "b/9", "b/10"]
        assert reader.info.format == "keras-h5"


# Files that lie.


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file beside the checkpoint that must not be read through it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    path = folder / "secret.h5"
    with h5py.File(path, "w") as file:
        file["hidden"] = np.full(4, 42.0)
    (folder / "secret.bin").write_bytes(b"SECRET!!" * 4)
    return path


@pytest.mark.parametrize("opener", [keras, legacy])
def test_links_are_told_not_followed(opener: Any, tmp_path: Path, secret: Path) -> None:
    path = tmp_path / "m.h5"
    with h5py.File(path, "w") as file:
        file["layers/good/vars/0"] = np.arange(3)
        file["layers/bad"] = h5py.ExternalLink(str(secret), "/")
        file["layers/bad0"] = h5py.ExternalLink(str(secret), "/hidden")
        file["layers/soft"] = h5py.SoftLink("/layers/good")
        file["model_weights"] = h5py.ExternalLink(str(secret), "/")
    with opener(path) as reader:
        assert list(reader.specs) == ["layers/good/vars/0"]
        assert reader.read("layers/good/vars/0").tolist() == [0, 1, 2]
        assert {problem.code for problem in reader.info.damage} == {"INP016"}
        told = " ".join(problem.message for problem in reader.info.damage)
        for name in ("layers/bad", "layers/bad0", "layers/soft", "model_weights"):
            assert name in told


def test_other_files_are_not_read_as_data(tmp_path: Path, secret: Path) -> None:
    path = tmp_path / "m.weights.h5"
    layout = h5py.VirtualLayout((4,), "f8")
    layout[:] = h5py.VirtualSource(str(secret), "hidden", (4,))
    with h5py.File(path, "w") as file:
        file["layers/good/vars/0"] = np.arange(3)
        file.create_virtual_dataset("layers/virtual", layout)
        binary = str(secret.with_suffix(".bin"))
        file.create_dataset("layers/external", (4,), "f8", external=[(binary, 0, 32)])
    with keras(path) as reader:
        assert reader.read("layers/good/vars/0").tolist() == [0, 1, 2]
        told = [problem.code for problem in reader.info.damage]
        for name in ("layers/virtual", "layers/external"):
            if name in reader.specs:
                with pytest.raises(InputError) as caught:
                    reader.read(name)
                told.append(caught.value.problems[0].code)
        assert told == ["INP016", "INP016"]


def test_group_cycles_end(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.arange(3)
        file["layers/dense/up"] = file["layers"]
        file["layers/twin"] = file["layers/dense"]
    with keras(path) as reader:
        assert list(reader.specs) == ["layers/dense/vars/0"]
        assert reader.info.damage


def test_deep_groups_are_refused_or_told(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file["/".join(["g"] * 500) + "/x"] = np.zeros(1)
        file["layers/dense/vars/0"] = np.arange(3)
    with keras(path) as reader:
        assert list(reader.specs) == ["layers/dense/vars/0"]
        assert reader.info.damage[0].code == "INP009"


def test_a_dataset_of_nothing_but_fill_is_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/bomb", (1 << 40,), "f4", chunks=(1 << 20,), compression="gzip")
        file.create_dataset("layers/chunk", (1 << 28,), "f4", chunks=(1 << 27,))
        file["layers/good"] = np.arange(3)
    with keras(path) as reader:
        assert reader.specs["layers/bomb"].shape == (1 << 40,)
        for name in ("layers/bomb", "layers/chunk"):
            for use in (reader.read, lambda name: next(iter(reader.chunks(name)))):
                with pytest.raises(CkptError) as caught:
                    use(name)
                assert caught.value.problems[0].code == "INP009"
        assert reader.read("layers/good").tolist() == [0, 1, 2]


def test_stored_chunks_that_are_too_large_and_unknown_filters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("layers/x", data=np.arange(1000), chunks=(1000,), compression="gzip")
    for cap, code in (("MAX_CHUNK_BYTES", "INP009"), ("_FILTERS", "INP011")):
        with monkeypatch.context() as patch, keras(path) as reader:
            patch.setattr(_h5, cap, 7999 if cap == "MAX_CHUNK_BYTES" else {2})
            with pytest.raises(CkptError) as caught:
                reader.read("layers/x")
            assert caught.value.problems[0].code == code
            patch.undo()
            assert reader.read("layers/x").tolist() == list(range(1000))


def test_damage_in_one_dataset_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        bad = file.create_dataset(
            "layers/bad", data=np.arange(1000.0), chunks=(1000,), compression="gzip"
        )
        offset = bad.id.get_chunk_info(0).byte_offset
        file["layers/good"] = np.arange(3)
    data = bytearray(path.read_bytes())
    data[offset + 2 : offset + 30] = b"\xff" * 28
    path.write_bytes(bytes(data))
    with keras(path) as reader:
        with pytest.raises(CkptError) as caught:
            reader.read("layers/bad")
        assert str(path) in (caught.value.problems[0].where or "")
        assert reader.read("layers/good").tolist() == [0, 1, 2]


def test_a_cut_file(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.arange(1000)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CkptError) as caught:
        keras(path)
    assert caught.value.problems[0].code == "INP004"


# Archives.


def weights() -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["layers/dense/vars/0"] = np.arange(5000, dtype=np.float32)
        file["layers/dense/vars"].attrs["name"] = "d1"
    return out.getvalue()


def pack(path: Path, *members: tuple[str, bytes], method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as out:
        for name, data in members:
            out.writestr(name, data)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("spool", [1 << 20, 1])
def test_archive(method: int, spool: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_archive, "_SPOOL_BYTES", spool)
    members = (("config.json", b'{"a": 1}'), ("model.weights.h5", weights()))
    path = pack(tmp_path / "m.keras", *members, method=method)
    assert locate(str(path)).format == "keras-archive"
    with archive(path) as reader:
        assert list(reader.specs) == ["layers/dense/vars/0"]
        assert reader.read("layers/dense/vars/0").tolist() == list(range(5000))
        assert joined(reader, "layers/dense/vars/0", 1000).tolist() == list(range(5000))
        assert reader.config() == b'{"a": 1}'
        assert reader.labels() == {"layers/dense/vars/0": "d1"}
        assert reader.info.path == str(path)


def test_a_stored_archive_is_read_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tempfile

    monkeypatch.setattr(
        tempfile, "SpooledTemporaryFile", lambda *_, **__: pytest.fail("it was unpacked")
    )
    with archive(pack(tmp_path / "m.keras", ("model.weights.h5", weights()))) as reader:
        assert reader.config() is None
        assert len(reader.read("layers/dense/vars/0")) == 5000


def _claim(path: Path, size: int) -> None:
    """Let the archive claim ``size`` unpacked bytes for its last member."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\x01\x02") + 24, size)
    path.write_bytes(bytes(data))


def test_archive_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    member = ("model.weights.h5", weights())
    path = pack(tmp_path / "m.keras", member, method=zipfile.ZIP_DEFLATED)
    _claim(path, 4_000_000_000)
    with pytest.raises(CkptError) as caught:
        archive(path)
    assert caught.value.problems[0].code == "INP009"
    # Zeros that do shrink so far: too much of it is refused before anything is unpacked.
    path = pack(tmp_path / "z.keras", ("model.weights.h5", bytes(1 << 22)), method=8)
    monkeypatch.setattr(zip_file, "SUSPECT_BYTES", 1 << 20)
    with pytest.raises(CkptError) as caught:
        archive(path)
    assert caught.value.problems[0].code == "INP009"
    monkeypatch.setattr(zip_file, "SUSPECT_BYTES", 1 << 30)
    monkeypatch.setattr(keras_archive, "MAX_UNPACKED_BYTES", 1 << 20)
    with pytest.raises(CkptError) as caught:
        archive(path)
    assert caught.value.problems[0].code == "INP009"


def test_a_huge_config_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = (("config.json", b" " * 100), ("model.weights.h5", weights()))
    monkeypatch.setattr(keras_archive, "MAX_CONFIG_BYTES", 99)
    with archive(pack(tmp_path / "m.keras", *members)) as reader:
        with pytest.raises(CkptError) as caught:
            reader.config()
        assert caught.value.problems[0].code == "INP009"


def test_deflated_weights_with_a_flipped_byte(tmp_path: Path) -> None:
    path = pack(tmp_path / "m.keras", ("model.weights.h5", weights()), method=8)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(bytes(data))
    with pytest.raises(CkptError) as caught:
        archive(path)
    assert caught.value.problems[0].code in ("INP004", "INP005", "INP007")


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(
    ("members", "code"),
    [
        ([("config.json", b"{}"), ("model.weights.npz", b"x")], "INP011"),
        ([("config.json", b"{}")], "INP012"),
        ([("model.weights.h5", weights()), ("model.weights.h5", weights())], "INP004"),
        ([("model.weights.h5", b"no HDF5")], "INP004"),
        ([("../model.weights.h5", b"1")], "INP012"),
    ],
)
def test_archives_that_are_refused(
    members: list[tuple[str, bytes]], code: str, tmp_path: Path
) -> None:
    path = pack(tmp_path / "m.keras", *members)
    with pytest.raises(CkptError) as caught:
        archive(path)
    assert caught.value.problems[0].code == code
    assert os.listdir(tmp_path) == ["m.keras"]


def test_any_damage_ends_in_an_answer(tmp_path: Path) -> None:
    whole = weights()
    legacy_bytes = io.BytesIO()
    with h5py.File(legacy_bytes, "w") as file:
        _legacy_tree(file, d={"d/kernel:0": np.arange(20.0)})
    packed = pack(tmp_path / "x", ("config.json", b"{}"), ("model.weights.h5", whole)).read_bytes()
    rng = random.Random(3)  # noqa: S311  # not for secrets: the same bytes each time
    for number in range(300):
        name, source = rng.choice(
            [("m.weights.h5", whole), ("m.h5", legacy_bytes.getvalue()), ("m.keras", packed)]
        )
        data = bytearray(source)
        for _ in range(rng.choice((1, 2, 5))):
            place = rng.randrange(min(len(data), rng.choice((200, 2000, 9000))))
            data[place] = rng.choice((0, 255, rng.randrange(256)))
        path = tmp_path / f"{number}{name}"
        path.write_bytes(bytes(data[: rng.randrange(len(data))] if number % 5 == 0 else data))
        with suppress(CkptError), open_located(locate(str(path))) as reader:
            for key in reader.specs:
                with suppress(CkptError):
                    reader.read(key)
