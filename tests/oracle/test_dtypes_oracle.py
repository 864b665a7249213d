"""Every dtype that TensorFlow can save: written by it, read natively, equal bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_makers import located

from ckpttool.formats.tensorflow.bundle import open_bundle
from ckpttool.formats.tensorflow.tensor_proto import decode_tensor
from ckpttool.tensors import BY_ENUM, BY_NAME, dtype_from_enum

pytestmark = pytest.mark.oracle

QUANTIZED = {
    "qint8": "int8",
    "quint8": "uint8",
    "qint16": "int16",
    "quint16": "uint16",
    "qint32": "int32",
}
PLAIN = [name for name, dtype in BY_NAME.items() if dtype.itemsize and name not in QUANTIZED]


def sample(name: str) -> Any:
    values = np.array([[0, 1, 2, 3], [1, 1, 0, 2]])
    if BY_NAME[name].kind in ("int", "float") and name not in ("int2",):
        values = values * np.array([1, -1, 1, -1])
    if name == "int2":
        values = values - 2
    return values.astype(BY_NAME[name].numpy)


def save(tf: Any, prefix: Path, tensor: Any) -> Any:
    tf.raw_ops.SaveV2(
        prefix=str(prefix), tensor_names=["w"], shape_and_slices=[""], tensors=[tensor]
    )
    return open_bundle(located(prefix))


@pytest.mark.parametrize("name", PLAIN)
def test_plain_dtypes(tf: Any, tmp_path: Path, name: str) -> None:
    if not hasattr(tf.dtypes, name) and not hasattr(tf.dtypes.experimental, name):
        try:
            tf.as_dtype(name)
        except TypeError:
            pytest.skip(f"this TensorFlow has no {name}")
    array = sample(name)
    reader = save(tf, tmp_path / "m", tf.constant(array))
    assert reader.specs["w"].dtype == tf.as_dtype(array.dtype).name == name
    ours = reader.read("w")
    assert (ours.dtype, ours.tobytes()) == (array.dtype, array.tobytes())
    theirs = tf.raw_ops.RestoreV2(
        prefix=str(tmp_path / "m"), tensor_names=["w"], shape_and_slices=[""], dtypes=[array.dtype]
    )[0].numpy()
    assert (ours.dtype, ours.tobytes()) == (theirs.dtype, theirs.tobytes())


@pytest.mark.parametrize("name", QUANTIZED)
def test_quantized_dtypes(tf: Any, tmp_path: Path, name: str) -> None:
    plain = np.array([[-1, 0, 5], [1, 2, 3]]).astype(QUANTIZED[name])
    reader = save(tf, tmp_path / "m", tf.bitcast(tf.constant(plain), name))
    assert reader.specs["w"].dtype == name
    assert reader.read("w").tobytes() == plain.tobytes()
    assert reader.read("w").dtype == plain.dtype


def test_variants_are_listed_and_not_decoded(tf: Any, tmp_path: Path) -> None:
    from ckpttool.errors import InputError

    handle = tf.raw_ops.TensorListFromTensor(
        tensor=np.float32([[1], [2]]), element_shape=np.int32([1])
    )
    reader = save(tf, tmp_path / "m", handle)
    assert reader.specs["w"].dtype == "variant"
    assert reader.stored_bytes("w") > 0
    with pytest.raises(InputError) as raised:
        reader.read("w")
    assert raised.value.problems[0].code == "INP011"


def test_the_table_of_dtypes(tf: Any) -> None:
    for enum in range(1, 34):
        try:
            theirs = tf.as_dtype(enum)
        except TypeError:
            continue
        ours = BY_ENUM[enum]
        assert ours.name == theirs.name
        assert dtype_from_enum(enum + 100) == ours
        if ours.itemsize and theirs.size:
            assert ours.itemsize == theirs.size


@pytest.mark.parametrize("name", [*PLAIN, "string"])
def test_constants_of_graphs(tf: Any, name: str) -> None:
    """``make_tensor_proto`` and the splat rule, against ``make_ndarray``."""
    array = np.array([[b"a", b"bc"]], object) if name == "string" else sample(name)
    for values, shape in ((array, None), (array.reshape(-1)[:1], [2, 3]), (array[:0], None)):
        try:
            proto = tf.make_tensor_proto(values, shape=shape)
            theirs = tf.make_ndarray(proto)
        except (TypeError, ValueError, AttributeError):
            pytest.skip(f"make_tensor_proto does not take {name} here")
        ours = decode_tensor(proto.SerializeToString())
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert ours.tolist() == theirs.tolist()
