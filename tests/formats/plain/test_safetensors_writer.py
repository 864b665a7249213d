"""``.safetensors`` as written here, against the library that defines it."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from writer_support import FLOATS, PLAIN, full_disk, noise, outputs, same, write

from ckpttool.errors import CorruptError, OutputError
from ckpttool.formats.locating.locate import locate
from ckpttool.formats.plain import safetensors_writer
from ckpttool.formats.plain.safetensors_writer import create, refusals
from ckpttool.formats.registry import open_reader
from ckpttool.formats.writing import Output, Span, Stored, WriteOptions

Array = np.ndarray[Any, Any]
PT = {"format": "pt"}


def every() -> dict[str, Array]:
    """A tensor of each dtype, scalars, empty ones, and odd names."""
    arrays = {f"{dtype}.w": noise(dtype, (3, 5), n) for n, dtype in enumerate((*PLAIN, *FLOATS))}
    arrays |= {f"scalar.{dtype}": noise(dtype, ()) for dtype in ("bool", "float32", "bfloat16")}
    arrays |= {"empty": noise("float32", (0, 4)), "empty.0": noise("int64", (0,))}
    arrays |= {
        "a/b": noise("int8", (7,)),
        "": noise("float16", (2,)),
        'é"\n\x7f\u2028': noise("uint8", ()),
    }
    return arrays


def test_same_bytes_as_the_library(tmp_path: Path) -> None:
    arrays = every()
    path = tmp_path / "ours.safetensors"
    write(create, path, arrays, options=WriteOptions(metadata=PT))
    theirs = tmp_path / "theirs.safetensors"
    safetensors.numpy.save_file(arrays, theirs, metadata=PT)
    assert path.read_bytes() == theirs.read_bytes()


def test_the_library_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    arrays = {name: array for name, array in every().items() if array.dtype.isbuiltin == 1}
    write(create, path, arrays)
    found = safetensors.numpy.load_file(path)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        same(found[name], array)


def test_metadata(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    metadata = {"z": "1", "assumes": "gelu: tanh\nepsilon: 1e-12", "path": "bad \udcff byte"}
    write(create, path, {"a": noise("float32", (2,))}, options=WriteOptions(metadata=metadata))
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {**metadata, "format": "pt", "path": "bad \\udcff byte"}
    write(create, path, {}, options=WriteOptions(metadata={"format": "tf"}), force=True)
    with safetensors.safe_open(path, "np") as file:
        assert file.metadata() == {"format": "tf"}
        assert not file.keys()


def test_shards(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    arrays = {
        "b": noise("float32", (10,)),
        "a": noise("float32", (10,)),
        "large": noise("float32", (50,)),
        "c": noise("int8", (20,)),
        "none": noise("float32", (0,)),
        "d": noise("float64", (3,)),
    }
    options = WriteOptions(metadata={"by": "me"}, max_shard_bytes=100)
    written = write(create, path, arrays, options=options)
    index = tmp_path / "model.safetensors.index.json"
    assert written.path == str(index)
    names = [f"model-{number:05d}-of-00003.safetensors" for number in (1, 2, 3)]
    assert [Path(file).name for file in written.files] == [*names, index.name]
    assert sorted(item.name for item in tmp_path.iterdir()) == sorted([*names, index.name])
    document = json.loads(index.read_text())
    assert document["metadata"] == {"total_size": 324, "by": "me", "format": "pt"}
    second = dict.fromkeys(("b", "a", "c", "none"), names[1])
    assert document["weight_map"] == {**second, "large": names[0], "d": names[2]}
    for name, file in document["weight_map"].items():
        with safetensors.safe_open(tmp_path / file, "np") as shard:
            assert shard.metadata() == {"by": "me", "format": "pt"}
            same(shard.get_tensor(name), arrays[name])
    with open_reader(str(index)) as reader:
        assert set(reader.specs) == set(arrays)
        assert not reader.info.damage
        assert not reader.info.notices
    assert locate(str(tmp_path)).index == str(index)


def test_shards_as_hugging_face_splits(tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed")
    rng = np.random.default_rng(7)
    arrays = {f"t{n}": noise("int8", (int(rng.integers(1, 90)),), n) for n in range(60)}
    split = hub.split_state_dict_into_shards_factory(
        arrays, get_storage_size=lambda array: array.nbytes, max_shard_size=64,
        filename_pattern="m{suffix}.safetensors",
    )  # fmt: skip
    write(create, tmp_path / "m.safetensors", arrays, options=WriteOptions(max_shard_bytes=64))
    document = json.loads((tmp_path / "m.safetensors.index.json").read_text())
    assert document["weight_map"] == split.tensor_to_filename
    assert document["metadata"]["total_size"] == split.metadata["total_size"]


def test_one_file_replaces_shards_and_back(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    other = tmp_path / "m2-00001-of-00002.safetensors"
    other.write_bytes(b"not ours")
    arrays = {"a": noise("int8", (20,)), "b": noise("int8", (20,))}
    write(create, path, arrays, options=WriteOptions(max_shard_bytes=20))
    with pytest.raises(OutputError) as caught:
        create(str(path))
    assert caught.value.problems[0].code == "OUT001"
    write(create, path, arrays, force=True)
    assert set(tmp_path.iterdir()) == {path, other}
    write(create, path, arrays, options=WriteOptions(max_shard_bytes=39), force=True)
    assert path not in tmp_path.iterdir()
    assert len(list(tmp_path.iterdir())) == 4


def test_the_source_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    written = write(create, path, {"a": noise("int8", (4,)), "b": noise("int8", (4,))},
                    options=WriteOptions(max_shard_bytes=4))  # fmt: skip
    with pytest.raises(OutputError) as caught:
        create(str(path), force=True, sources=written.files[:1])
    assert caught.value.problems[0].code == "OUT003"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.text(max_size=6), st.sampled_from((*PLAIN, *FLOATS)),
            st.lists(st.integers(0, 4), max_size=3).map(tuple),
        ),
        max_size=8, unique_by=lambda item: item[0],
    ),
    st.none() | st.integers(1, 64),
)  # fmt: skip
def test_round_trip(tensors: list[tuple[str, str, tuple[int, ...]]], limit: int | None) -> None:
    arrays = {name: noise(dtype, shape, n) for n, (name, dtype, shape) in enumerate(tensors)}
    options = WriteOptions(max_shard_bytes=limit)
    with tempfile.TemporaryDirectory() as folder:
        first = write(create, Path(folder) / "x.safetensors", arrays, options=options)
        before = [Path(file).read_bytes() for file in first.files]
        second = write(create, Path(folder) / "x.safetensors", arrays, options=options, force=True)
        assert before == [Path(file).read_bytes() for file in second.files]
        found: dict[str, bytes] = {}
        for data in before:
            if not data.startswith(b"{\n"):
                items = safetensors.deserialize(data)  # type: ignore[no-untyped-call]
                found |= {name: bytes(item["data"]) for name, item in items}
        assert found == {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize(
    ("name", "dtype", "words"),
    [
        ("a", "string", "no strings"),
        ("a", "complex128", "complex64"),
        ("a", "int4", "no type for int4"),
        ("a", "qint8", "no type for qint8"),
        ("a", "float8_e4m3b11fnuz", "float16"),
        ("a", "variant", "no type for variant"),
        ("__metadata__", "float32", "metadata's"),
        ("a\udcff", "float32", "not UTF-8"),
    ],
)
def test_refusals(tmp_path: Path, name: str, dtype: str, words: str) -> None:
    good = ("fine", "float32", (2,))
    ((found, why, _),) = refusals([good, (name, dtype, (2,))], WriteOptions())
    assert found == name
    assert words in why
    with create(str(tmp_path / "x.safetensors")) as writer, pytest.raises(OutputError) as caught:
        writer.declare(Output(name, dtype, (2,), list))
    assert caught.value.problems[0].code == "OUT005"
    assert not list(tmp_path.iterdir())


def test_a_header_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safetensors_writer, "SAFETENSORS_HEADER_CAP", 300)
    arrays = {f"name {n}": noise("int8", (2,)) for n in range(6)}
    with pytest.raises(OutputError, match="header"):
        write(create, tmp_path / "x.safetensors", arrays)
    assert not list(tmp_path.iterdir())
    write(create, tmp_path / "x.safetensors", arrays, options=WriteOptions(max_shard_bytes=4))


def test_the_suffix(tmp_path: Path) -> None:
    for name in ("x.bin", "x", ".safetensors"):
        with pytest.raises(OutputError) as caught:
            create(str(tmp_path / name))
        assert caught.value.problems[0].code == "OUT002"
        assert ".safetensors" in (caught.value.problems[0].hint or "")


@pytest.mark.parametrize(("count", "words"), [(5, "too few"), (7, "too many")])
def test_a_wrong_number_of_values(tmp_path: Path, count: int, words: str) -> None:
    with create(str(tmp_path / "x.safetensors")) as writer:
        writer.declare(Output("a", "int8", (6,), lambda: [np.zeros(count, np.int8)]))
        with pytest.raises(ValueError, match=f"{words} values for a"):
            writer.write()
    assert not list(tmp_path.iterdir())


def test_a_wrong_dtype(tmp_path: Path) -> None:
    with create(str(tmp_path / "x.safetensors")) as writer:
        writer.declare(Output("a", "int8", (6,), lambda: [np.zeros(6, np.uint8)]))
        with pytest.raises(ValueError, match="uint8"):
            writer.write()


def test_arrays_in_any_layout(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    whole = noise("float32", (4, 6))
    with create(str(path)) as writer:
        writer.declare(Output("t", "float32", (6, 4), lambda: [whole.T[:2], whole.T[2:]]))
        big = whole.view(np.int32).astype(">i4")
        writer.declare(Output("big", "int32", (4, 6), lambda: [big]))
        truth = np.array([0, 2, 255], np.uint8).view(bool)
        writer.declare(Output("truth", "bool", (3,), lambda: [truth]))
        with pytest.raises(ValueError, match="twice"):
            writer.declare(Output("t", "int8", (), list))
        writer.write()
        with pytest.raises(ValueError, match="begun"):
            writer.declare(outputs({"late": np.zeros(1)})[0])
        writer.commit()
    found = safetensors.numpy.load_file(path)
    same(found["t"], np.ascontiguousarray(whole.T))
    same(found["big"], whole.view(np.int32))
    assert found["truth"].view(np.uint8).tolist() == [0, 1, 1]


def test_bytes_that_lie_in_a_file(tmp_path: Path) -> None:
    path, source = tmp_path / "x.safetensors", tmp_path / "source"
    arrays = {"a": noise("float32", (5, 3)), "b": noise("bfloat16", (7,)), "c": noise("int8", (0,))}
    arrays["d"] = np.array([True, False])
    source.write_bytes(b"12345" + b"".join(array.tobytes() for array in arrays.values()))
    told: list[int] = []
    spans: list[tuple[str, Span]] = []
    with create(str(path)) as writer:
        at = 5
        for output in outputs(arrays):
            # Whoever would stream them fails; bools may be of any bits elsewhere.
            values = output.values if output.dtype == "bool" else pytest.fail
            writer.declare(output._replace(values=values, stored=Stored(str(source), at)))
            at += arrays[output.name].nbytes
        writer.write(told.append, lambda staged, span: spans.append((staged.path, span)))
        staged = writer.staged().shards[0]
        assert writer.commit().tensors == 4
    assert sum(told) == at - 5
    with open_reader(str(path)) as reader:
        assert [(shard, span.name, span.offset, span.size) for shard, span in spans] == [
            (staged, name, *reader.stored_range(name)[1:]) for name in reader.specs
        ]
    streamed = tmp_path / "y.safetensors"
    write(create, streamed, arrays)
    assert path.read_bytes() == streamed.read_bytes()


def test_a_source_that_is_cut(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(10))
    with create(str(tmp_path / "x.safetensors")) as writer:
        output = outputs({"a": noise("int8", (20,))})[0]
        writer.declare(output._replace(stored=Stored(str(tmp_path / "source"), 0)))
        with pytest.raises(CorruptError, match="cut"):
            writer.write()
    assert [item.name for item in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize("shard", [0, 50_000])
def test_a_full_disk(tmp_path: Path, shard: int) -> None:
    said = full_disk("ckpttool.formats.plain.safetensors_writer", tmp_path / "x.safetensors", shard)
    assert said == "OUT002 free some space, or write elsewhere"
    assert not list(tmp_path.iterdir())
