"""V1 checkpoints that TensorFlow writes; its restore op is the oracle.

``CheckpointReader`` refuses partitioned V1 variables and half of the dtypes; ``RestoreV2`` reads
them all.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_makers import V1Tensor, located_v1, v1_table
from hypothesis import given, settings
from hypothesis import strategies as st

import ckpttool.formats.tensorflow.table as table_module
from ckpttool.formats.locating.located import Located
from ckpttool.formats.tensorflow.ordered_code import FULL
from ckpttool.formats.tensorflow.slices_v1 import V1Reader, open_v1

pytestmark = pytest.mark.oracle

DTYPES = [
    "float32",
    "float64",
    "int32",
    "uint8",
    "int16",
    "int8",
    "complex64",
    "int64",
    "bool",
    "uint16",
    "complex128",
    "float16",
]
QUANTIZED = [("qint8", "int8"), ("quint8", "uint8"), ("qint32", "int32")]


def restored(tf: Any, pattern: str, name: str, dtype: str) -> Any:
    tensor = tf.raw_ops.RestoreV2(
        prefix=pattern,
        tensor_names=[name],
        shape_and_slices=[""],
        dtypes=[tf.as_dtype(dtype)],
    )[0]
    array = tensor.numpy()
    return np.asarray(array, object) if dtype == "string" else array


def assert_all_equal(tf: Any, reader: V1Reader, pattern: str) -> None:
    for name, spec in reader.specs.items():
        theirs = restored(tf, pattern, name, spec.dtype)
        pieces = [chunk.array for chunk in reader.chunks(name, 40)]
        whole = np.concatenate(pieces).reshape(spec.shape) if pieces else reader.read(name)
        for ours in (reader.read(name), whole):
            assert ours.shape == theirs.shape, name
            if spec.dtype == "string":
                assert ours.tolist() == theirs.tolist(), name
            else:
                assert ours.dtype == theirs.dtype, name
                assert ours.tobytes() == theirs.tobytes(), name


def save(tf: Any, path: Path, tensors: list[tuple[str, str, Any]]) -> V1Reader:
    names, slices, data = zip(*tensors, strict=True)
    tf.raw_ops.SaveSlices(
        filename=str(path), tensor_names=names, shapes_and_slices=slices, data=data
    )
    return open_v1(located_v1(path))


def sample(dtype: str, shape: tuple[int, ...]) -> Any:
    rng = np.random.default_rng(len(dtype))
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    kind = np.dtype(dtype)
    return np.frombuffer(rng.bytes(int(np.prod(shape)) * kind.itemsize), kind).reshape(shape)


def test_all_dtypes(tf: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = [
        (f"{dtype}/{len(shape)}/{shape[-1:]}", "", sample(dtype, shape))
        for dtype in DTYPES
        for shape in ((), (0,), (3,), (20, 30))
    ]
    tensors += [
        (name, "", tf.bitcast(tf.constant(sample(plain, (4, 3))), name))
        for name, plain in QUANTIZED
    ]
    tensors.append(("strings", "", tf.constant([[b"a", b""], [b"\0\xff", b"x" * 300]])))
    tensors.append(("extremes", "", np.array([-(1 << 63), -1, 0, (1 << 63) - 1])))
    reader = save(tf, tmp_path / "m", tensors)
    assert list(reader.specs) == sorted(name for name, _, _ in tensors)
    assert_all_equal(tf, reader, str(tmp_path / "m"))
    monkeypatch.setattr(table_module, "STREAM_BYTES", 0)
    monkeypatch.setattr("ckpttool.formats.tensorflow.slices_v1._PRELOAD", 0)
    assert_all_equal(tf, open_v1(located_v1(tmp_path / "m")), str(tmp_path / "m"))


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    dtype=st.sampled_from([*DTYPES, "string"]),
    data=st.data(),
)
def test_partitioned(
    tf: Any,
    tmp_path_factory: pytest.TempPathFactory,
    shape: list[int],
    dtype: str,
    data: st.DataObject,
) -> None:
    path = tmp_path_factory.mktemp("v1") / "m"
    if dtype == "string":
        whole = np.array([b"s" * n for n in range(int(np.prod(shape)))], object).reshape(shape)
    else:
        whole = sample(dtype, tuple(shape))
    axis = data.draw(st.integers(0, len(shape) - 1))
    cuts = sorted({0, shape[axis], data.draw(st.integers(0, shape[axis]))})
    tensors = []
    for begin, end in pairwise(cuts):
        extents = [f"0,{size}" if data.draw(st.booleans()) else "-" for size in shape]
        extents[axis] = f"{begin},{end - begin}"
        place = tuple(slice(begin, end) if d == axis else slice(None) for d in range(len(shape)))
        spec = " ".join(map(str, shape)) + " " + ":".join(extents)
        tensors.append(("part/w", spec, tf.constant(whole[place])))
    reader = save(tf, path, [("other", "", np.float32(1)), *tensors])
    assert len(reader.slices("part/w")) == (len(tensors) if len(tensors) > 1 else 0)
    assert reader.read("part/w").tolist() == whole.tolist() or dtype.startswith(("fl", "co"))
    assert_all_equal(tf, reader, str(path))


def test_the_reader_of_tensorflow_refuses_what_we_read(tf: Any, tmp_path: Path) -> None:
    tensors = [
        ("emb", "4 2 0,2:-", np.float32([[1, 2], [3, 4]])),
        ("emb", "4 2 2,2:-", np.float32([[5, 6], [7, 8]])),
        ("half", "", np.float16([1, 2])),
    ]
    reader = save(tf, tmp_path / "m", tensors)
    theirs = tf.train.load_checkpoint(str(tmp_path / "m"))
    for name in ("emb", "half"):
        with pytest.raises(Exception, match="not supported"):
            theirs.get_tensor(name)
    assert reader.read("emb").tolist() == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert reader.read("half").tolist() == [1, 2]


def test_shards(tf: Any, tmp_path: Path) -> None:
    paths = [tmp_path / f"m-{n:05d}-of-00002" for n in range(2)]
    for n, path in enumerate(paths):
        save(
            tf,
            path,
            [(f"own{n}", "", np.float32(n)), ("w", f"4 {2 * n},2", np.float32([n, n + 1]))],
        )
    reader = open_v1(located_v1(*paths))
    assert list(reader.specs) == ["own0", "own1", "w"]
    assert_all_equal(tf, reader, str(tmp_path / "m-?????-of-00002"))


def test_a_v1_saver(tf: Any, tmp_path: Path) -> None:
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        with v1.variable_scope("net", partitioner=v1.fixed_size_partitioner(2)):
            v1.get_variable("emb", [5, 3], use_resource=False)
        v1.get_variable("bias", [300, 900], use_resource=False)
        session.run(v1.global_variables_initializer())
        v1.train.Saver(write_version=v1.train.SaverDef.V1).save(session, str(tmp_path / "m"))
    reader = open_v1(located_v1(tmp_path / "m"))
    assert len(reader.slices("net/emb")) == 2
    assert_all_equal(tf, reader, str(tmp_path / "m"))


def test_tensorflow_reads_files_made_by_hand(tf: Any, tmp_path: Path) -> None:
    path = tmp_path / "m"
    floats = bytes.fromhex("2a080000803f00000040")
    parts = [([(2, 2)], floats), ([(0, 2)], floats)]
    tensors = [V1Tensor(b"x", 1, (2,), [([(0, FULL)], floats)]), V1Tensor(b"p", 1, (4,), parts)]
    path.write_bytes(v1_table(tensors, block_size=30))
    assert_all_equal(tf, open_v1(located_v1(path)), str(path))


@pytest.mark.parametrize(
    "name",
    [
        "v1-dnc-copy/model.ckpt",
        "v1-deepq-karpathy/karpathy_game.ckpt",
        "v1-linux-char-rnn/model.ckpt-6000",
        "v1-bad-half-plus-two/export",
        "v1-sharded-half-plus-two/export-00000-of-00001",
    ],
)
def test_real_checkpoints(tf: Any, real_ckpts: Path, name: str) -> None:
    path = str(real_ckpts / name)
    reader = open_v1(Located(path, "tf-v1", path))
    assert reader.specs
    assert_all_equal(tf, reader, path)
