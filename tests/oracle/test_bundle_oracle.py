"""V2 bundles that TensorFlow writes, read natively and by TensorFlow: equal bit for bit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_makers import Bundle, located
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.formats.tensorflow.bundle import BundleReader, open_bundle
from ckpttool.formats.tensorflow.table import Table
from ckpttool.formats.tensorflow.table_writer import write_table
from ckpttool.storage.files import LocalFile

pytestmark = pytest.mark.oracle


def equal(ours: np.ndarray[Any, Any], theirs: Any, dtype: str) -> bool:
    theirs = np.asarray(theirs, object) if dtype == "string" else np.asarray(theirs)
    if dtype == "string":
        return ours.shape == theirs.shape and ours.tolist() == theirs.tolist()
    return (ours.dtype, ours.shape, ours.tobytes()) == (
        theirs.dtype,
        theirs.shape,
        theirs.tobytes(),
    )


def assert_all_equal(tf: Any, reader: BundleReader, prefix: str) -> None:
    """Names, dtypes, shapes and values, read whole and by chunks."""
    oracle = tf.train.load_checkpoint(prefix)
    shapes = oracle.get_variable_to_shape_map()
    dtypes = oracle.get_variable_to_dtype_map()
    assert set(reader.specs) == set(shapes)
    for name, spec in reader.specs.items():
        assert (spec.dtype, list(spec.shape)) == (dtypes[name].name, shapes[name])
        ours = reader.read(name)
        assert equal(ours, oracle.get_tensor(name), spec.dtype), name
        pieces = [chunk.array for chunk in reader.chunks(name, 64)]
        if pieces:
            whole = np.concatenate(pieces).reshape(ours.shape)
            assert equal(whole, ours, spec.dtype), name


def save(tf: Any, prefix: Path, tensors: dict[str, Any]) -> BundleReader:
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(value) for value in tensors.values()],
    )
    return open_bundle(located(prefix))


DTYPES = ["float32", "float64", "int8", "uint16", "int32", "int64", "bool", "complex64", "float16"]
NAMES = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12
)


@st.composite
def arrays(draw: st.DrawFn) -> Any:
    shape = tuple(draw(st.lists(st.integers(0, 5), max_size=3)))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    if draw(st.integers(0, 4)) == 0:
        flat = [rng.bytes(rng.integers(0, 200)) for _ in range(int(np.prod(shape)))]
        out = np.empty(len(flat), object)
        out[:] = flat
        return out.reshape(shape)
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    if dtype.name == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    count = int(np.prod(shape))
    return np.frombuffer(rng.bytes(count * dtype.itemsize), dtype).reshape(shape)


@settings(max_examples=25, deadline=None)
@given(tensors=st.dictionaries(NAMES, arrays(), min_size=1, max_size=8))
def test_random_checkpoints(
    tf: Any, tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, Any]
) -> None:
    prefix = tmp_path_factory.mktemp("v2") / "m"
    reader = save(tf, prefix, tensors)
    assert list(reader.specs) == sorted(tensors, key=str.encode)
    for name, array in tensors.items():
        assert equal(reader.read(name), array, reader.specs[name].dtype)


def test_many_blocks_and_the_same_index_bytes(tf: Any, tmp_path: Path) -> None:
    names = [f"scope_{n // 100}/layer_{n % 100}/" + "x" * (n % 90) for n in range(6000)]
    reader = save(tf, tmp_path / "m", {name: np.int32(n) for n, name in enumerate(names)})
    table = Table(LocalFile(str(tmp_path / "m.index")))
    assert len(table.blocks) > 1
    assert list(reader.specs) == sorted(names)
    for n in range(0, 6000, 500):
        assert reader.read(names[n]) == n
    entries = [
        (key, contents[start:stop])
        for _, contents, found in table.entries()
        for key, start, stop in found
    ]
    assert b"".join(write_table(entries)) == (tmp_path / "m.index").read_bytes()


def test_shards_that_tensorflow_merges(tf: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    whole = rng.standard_normal((9, 4)).astype(np.float32)
    for shard in range(3):
        tf.raw_ops.SaveV2(
            prefix=str(tmp_path / f"part{shard}"),
            tensor_names=[f"own_{shard}", "emb/w"],
            shape_and_slices=["", f"9 4 {3 * shard},3:0,4"],
            tensors=[np.float64(shard), whole[3 * shard : 3 * shard + 3]],
        )
    prefix = str(tmp_path / "m")
    parts = [str(tmp_path / f"part{shard}") for shard in range(3)]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=prefix)
    reader = open_bundle(located(tmp_path / "m"))
    assert reader.info.shards == 3
    assert len(reader.slices("emb/w")) == 3
    assert {part.shard for part in reader.stored_parts("emb/w")} == {0, 1, 2}
    assert reader.read("emb/w").tobytes() == whole.tobytes()
    oracle = tf.train.load_checkpoint(prefix)
    assert equal(reader.read("emb/w"), oracle.get_tensor("emb/w"), "float32")


@pytest.mark.parametrize("axis", [0, 1])
def test_a_saver_with_a_partitioner(tf: Any, tmp_path: Path, axis: int) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("net", partitioner=v1.fixed_size_partitioner(3, axis=axis)):
            v1.get_variable(
                "emb", [7, 5], initializer=v1.random_normal_initializer(), use_resource=False
            )
        v1.get_variable("bias", [5], use_resource=False)
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(tmp_path / "m"))
    reader = open_bundle(located(tmp_path / "m"))
    assert list(reader.specs) == ["bias", "net/emb"]
    assert len(reader.slices("net/emb")) == 3
    oracle = tf.train.load_checkpoint(str(tmp_path / "m"))
    expected = oracle.get_tensor("net/emb")
    assert equal(reader.read("net/emb"), expected, "float32")
    for index, part in enumerate(reader.slices("net/emb")):
        place = tuple(slice(a, a + n) for a, n in zip(part.start, part.shape, strict=True))
        assert (reader.read_slice("net/emb", index) == expected[place]).all()


def test_slices_of_dtypes_that_tensorflow_does_not_join(tf: Any, tmp_path: Path) -> None:
    halves = np.arange(12, dtype=np.float16).reshape(6, 2)
    words = np.array([b"w" * n for n in range(6)], object)
    tf.raw_ops.SaveV2(
        prefix=str(tmp_path / "m"),
        tensor_names=["h", "h", "w", "w"],
        shape_and_slices=["6 2 0,4:-", "6 2 4,2:-", "6 0,1", "6 1,5"],
        tensors=[halves[:4], halves[4:], tf.constant(words[:1]), tf.constant(words[1:])],
    )
    reader = open_bundle(located(tmp_path / "m"))
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.raw_ops.RestoreV2(
            prefix=str(tmp_path / "m"),
            tensor_names=["h"],
            shape_and_slices=[""],
            dtypes=[tf.float16],
        )
    assert equal(reader.read("h"), halves, "float16")
    assert equal(reader.read("w"), words, "string")


def test_tensorflow_reads_bundles_made_by_hand(tf: Any, tmp_path: Path) -> None:
    """The makers of these tests' inputs are held to the same oracle, in both byte orders."""
    for big_endian in (False, True):
        bundle = Bundle(big_endian=big_endian, shards=2)
        bundle.add(b"w", np.arange(6, dtype=np.float32).reshape(2, 3))
        bundle.add(b"c", np.array([1 + 2j], np.complex128), shard=1)
        bundle.add(b"i", np.array([-5], np.int16))
        bundle.add(b"s", np.array([b"a", b"", b"ccc"], object), shard=1)
        bundle.add_slices(b"p", np.arange(8, dtype=np.int64), [[(0, 3)], [(3, 5)]], [1, 0])
        where = bundle.write(tmp_path, f"m{int(big_endian)}", block_size=40)
        assert_all_equal(tf, open_bundle(where), where.path)


def bundles(folder: Path) -> Iterator[Path]:
    for index in sorted(folder.glob("**/*.index")):
        if index.name != ".index":  # TensorFlow's reader does not take an empty base name
            yield index.with_suffix("")


def test_real_checkpoints(tf: Any, real_ckpts: Path) -> None:
    seen = 0
    for prefix in bundles(real_ckpts):
        reader = open_bundle(located(prefix))
        if reader.info.missing_files:
            oracle = tf.train.load_checkpoint(str(prefix))
            assert set(reader.specs) == set(oracle.get_variable_to_shape_map())
            continue
        assert_all_equal(tf, reader, str(prefix))
        for name in reader.specs:
            reader.check(name)
        seen += 1
    assert seen > 10


def test_a_real_object_graph(tf: Any, real_ckpts: Path) -> None:
    prefix = real_ckpts / "tf113-object" / "cp.ckpt"
    graph = open_bundle(located(prefix)).object_graph()
    assert graph is not None
    view = tf.train.CheckpointView(str(prefix))
    for number, node in enumerate(graph.nodes):
        assert dict(view.children(number)) == {edge.name: edge.node for edge in node.children}


def test_slots_in_the_object_graph(tf: Any, tmp_path: Path) -> None:
    step = tf.Variable(3, name="step")
    shared = tf.Variable([1.0, 2.0], name="shared/kernel")
    left, right = tf.Module(), tf.Module()
    left.w = right.w = shared
    root = tf.train.Checkpoint(step=step, left=left, right=right)
    prefix = root.write(str(tmp_path / "m"))
    reader = open_bundle(located(tmp_path / "m"))
    assert reader.info.format == "tf2"
    graph = reader.object_graph()
    assert graph is not None
    key = "left/w/.ATTRIBUTES/VARIABLE_VALUE"
    assert graph.full_names()[key] == "shared/kernel"
    number = graph.nodes_by_key()[key]
    assert sorted(graph.paths(number)) == [("left", "w"), ("right", "w")]
    assert [edge.name for edge in graph.shared()[number]] == ["w", "w"]
    assert_all_equal(tf, reader, prefix)
