"""``diff`` against plain NumPy over TensorFlow's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool
from ckpttool.analysis.diff import DiffOptions, DiffResult, diff

pytestmark = pytest.mark.oracle

SAMPLES = (
    ("embedding_run/model.ckpt-0", "embedding_run/model.ckpt-168"),
    ("embedding_run/model.ckpt-168", "embedding_run/model.ckpt-315"),
    ("two_towers_shared", "two_towers_variable"),
    ("siamese_shared", "siamese_unshared"),
    ("v1_single", "numbered_layers"),
    ("partitioned", "v1_partitioned"),
    ("optimizers", "optimizer_custom_name"),
)


def plain(reader_a: Any, reader_b: Any) -> dict[str, dict[str, float]]:
    """What differs in tensors that both have, with nothing but NumPy in float64."""
    shapes = reader_b.get_variable_to_shape_map()
    found = {}
    for name, shape in reader_a.get_variable_to_shape_map().items():
        if shapes.get(name) != shape:
            continue
        a, b = np.asarray(reader_a.get_tensor(name)), np.asarray(reader_b.get_tensor(name))
        if a.dtype != b.dtype or a.dtype == object or np.array_equal(a, b):
            continue
        x = a.astype(np.complex128 if a.dtype.kind == "c" else np.float64).reshape(-1)
        y = b.astype(x.dtype).reshape(-1)
        with np.errstate(all="ignore"):
            norms = np.linalg.norm(x), np.linalg.norm(y)
            found[name] = {
                "max_abs": np.abs(x - y).max(),
                "mean_abs": np.abs(x - y).mean(),
                "rel_l2": np.linalg.norm(x - y) / norms[0],
                "cosine": np.vdot(x, y).real / norms[0] / norms[1],
                "changed_fraction": np.count_nonzero(a != b) / a.size,
            }
    return found


def agree(result: DiffResult, expected: dict[str, dict[str, float]]) -> None:
    changed = {
        item.name: item.metrics
        for item in result.changed
        if item.kind == "value" and item.a.dtype != "string"
    }
    assert set(changed) == set(expected)
    for name, numbers in expected.items():
        metrics = changed[name]
        assert metrics is not None
        for key, value in numbers.items():
            ours = getattr(metrics, key)
            if key == "cosine" and not np.isfinite(value):
                assert ours is None, name  # one of the two is a zero vector
            else:
                assert ours == pytest.approx(value, rel=2e-6, abs=1e-6 * (key == "cosine")), (
                    name,
                    key,
                )


def compare(a: str, b: str, **options: Any) -> DiffResult:
    with ckpttool.open(a) as first, ckpttool.open(b) as second:
        return diff(first, second, DiffOptions(renames=False, **options))


def prefix(path: Path) -> str:
    """The prefix that TensorFlow wants."""
    with ckpttool.open(str(path)) as found:
        return found.info.path


@pytest.mark.parametrize(("a", "b"), SAMPLES)
def test_samples(tf: Any, samples: Path, a: str, b: str) -> None:
    first, second = prefix(samples / a), prefix(samples / b)
    try:
        readers = [tf.train.load_checkpoint(path) for path in (first, second)]
        expected = plain(*readers)
    except (tf.errors.OpError, tf.errors.UnimplementedError) as error:
        if "liced" in str(error):
            pytest.skip("TensorFlow's reader does not read partitioned V1 variables")
        raise
    agree(compare(first, second), expected)


def random_variables(seed: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)

    def some(dtype: Any, *shape: int) -> np.ndarray:
        if dtype is bool:
            return random.random(shape) < 0.5
        if np.dtype(dtype).kind in "iu":
            info = np.iinfo(dtype)
            return random.integers(info.min, info.max, shape, dtype, endpoint=True)
        values = random.normal(size=shape) * 10.0 ** random.integers(-6, 6)
        if np.dtype(dtype).kind == "c":
            return (values + 1j * random.normal(size=shape)).astype(dtype)
        return values.astype(dtype)

    arrays = {
        f"{np.dtype(dtype).name}/v": some(dtype, 40, 9)
        for dtype in (
            np.float32, np.float64, np.float16, np.complex64, np.complex128, bool,
            np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64,
        )
    }  # fmt: skip
    arrays["large"] = some(np.float32, 700, 1100)
    arrays["scalar"] = some(np.float32)
    arrays["empty"] = np.zeros((0, 4), np.float32)
    arrays["half_changed"] = some(np.float32, 5000)
    return arrays


def save(tf: Any, path: Path, arrays: dict[str, np.ndarray]) -> str:
    names = sorted(arrays)
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(arrays[name]) for name in names],
    )
    return str(path)


@pytest.mark.parametrize("seed", range(3))
def test_random_checkpoints(tf: Any, tmp_path: Path, seed: int) -> None:
    first, second = random_variables(seed), random_variables(seed + 100)
    second["half_changed"] = first["half_changed"].copy()
    second["half_changed"][::2] *= np.float32(1.001)
    paths = [save(tf, tmp_path / "a", first), save(tf, tmp_path / "b", second)]
    expected = plain(*(tf.train.load_checkpoint(path) for path in paths))
    result = compare(*paths)
    # Differences of 64-bit integers do not fit float64's 53 bits: the plain way is off by that.
    assert set(result.identical) == {"empty"}
    agree(result, expected)
    assert compare(paths[0], paths[0], full=True).same


def test_bfloat16(tf: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(8)
    dtype = tf.bfloat16.as_numpy_dtype
    arrays = [{"w": random.normal(size=(30, 30)).astype(dtype)} for _ in range(2)]
    paths = [save(tf, tmp_path / str(index), item) for index, item in enumerate(arrays)]
    expected = plain(*(tf.train.load_checkpoint(path) for path in paths))
    agree(compare(*paths), expected)


def test_real_checkpoints(tf: Any, real_ckpts: Path, tmp_path: Path) -> None:
    """Real checkpoints against themselves, and against copies whose values were changed."""
    prefixes = [str(index)[: -len(".index")] for index in sorted(real_ckpts.rglob("*.index"))]
    datas = {path: Path(f"{path}.data-00000-of-00001") for path in prefixes}
    small = [p for p, data in datas.items() if data.is_file() and data.stat().st_size < 30 << 20]
    if not small:
        pytest.skip("no complete V2 checkpoint there")
    for number, path in enumerate(small[:5]):
        assert compare(path, path, full=True).same
        reader = tf.compat.v1.train.NewCheckpointReader(path)
        arrays = {}
        for name in reader.get_variable_to_shape_map():
            array = np.asarray(reader.get_tensor(name))
            if array.dtype.kind == "f" and "/Adam" not in name:
                array = array * array.dtype.type(1.01)
            arrays[name] = array
        copy = save(tf, tmp_path / str(number), arrays)
        agree(compare(path, copy), plain(reader, tf.train.load_checkpoint(copy)))
