"""``show --inspect-format`` prints what ``inspect_checkpoint`` prints, byte for byte."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.analysis.show import show
from ckpttool.checkpoint import open_checkpoint
from ckpttool.cli.main import execute
from ckpttool.names import printable

pytestmark = pytest.mark.oracle

# Prefixes, as inspect_checkpoint needs them.
SAMPLES = [
    "numbered_layers/model.ckpt-5",
    "partitioned",
    "dtypes",
    "strings",
    "shapes",
    "averages",
    "sharded",
    "tf2_keras",
    "v1_single",
    "odd_variable_names",
]


def prefix_of(samples: Path, name: str) -> str:
    with open_checkpoint(str(samples / name)) as checkpoint:
        return checkpoint.info.path


def theirs(tf: Any, path: str, **options: Any) -> str:
    del tf  # only to have it imported, or the test skipped
    from tensorflow.python.tools import inspect_checkpoint

    defaults = {"tensor_name": "", "all_tensors": False}
    out = io.StringIO()
    with redirect_stdout(out):
        inspect_checkpoint.print_tensors_in_checkpoint_file(path, **{**defaults, **options})
    return out.getvalue()


def ours(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert execute(["show", *arguments]) == 0
    return capsys.readouterr().out


def escaped(text: str) -> str:
    """What a name could do to a terminal is the one thing that is not repeated."""
    text = text.replace("new\nline", "new\\x0aline")  # a name of odd_variable_names
    return "\n".join(printable(line) for line in text.split("\n"))


@pytest.mark.parametrize("sample", [*SAMPLES, "v1_partitioned"])
def test_names(tf: Any, samples: Path, sample: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = prefix_of(samples, sample)
    expected = theirs(tf, path, all_tensor_names=True)
    assert "# Total number of params" in expected
    assert ours(capsys, path, "--names", "--inspect-format", "current") == escaped(expected)


@pytest.mark.parametrize("sample", SAMPLES)
def test_all_values(
    tf: Any, samples: Path, sample: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prefix_of(samples, sample)
    expected = theirs(tf, path, all_tensors=True)
    assert "# Total number of params" in expected
    assert ours(capsys, path, "--all", "--inspect-format", "current") == escaped(expected)


@pytest.mark.parametrize("sample", [s for s in SAMPLES if s not in ("v1_single", "partitioned")])
def test_the_debug_string(
    tf: Any, samples: Path, sample: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prefix_of(samples, sample)
    assert ours(capsys, path, "--inspect-format", "debug") == escaped(theirs(tf, path))


def test_partitioned_variables_that_inspect_checkpoint_cannot_read(
    tf: Any, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = prefix_of(samples, "v1_partitioned")
    expected = theirs(tf, path, all_tensors=True)
    assert expected.endswith("Sliced checkpoints are not supported\n")
    found = ours(capsys, path, "--all", "--inspect-format", "current")
    assert found.startswith(expected.removesuffix("Sliced checkpoints are not supported\n"))
    assert "# Total number of params" in found


def test_the_count_without_some(tf: Any, samples: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = prefix_of(samples, "numbered_layers")
    expected = theirs(tf, path, all_tensor_names=True, count_exclude_pattern="Adam|power")
    assert "# Excluding" in expected
    arguments = ["--names", "--inspect-format", "current", "--count-exclude", "Adam|power"]
    assert ours(capsys, path, *arguments) == expected


@pytest.mark.parametrize(
    "options", [[], ["precision=2"], ["threshold=10", "edgeitems=1"], ["linewidth=30", "sign=+"]]
)
def test_one_tensor_with_print_options(
    tf: Any, samples: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = prefix_of(samples, "numbered_layers")
    printing: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        printing[key] = value if key == "sign" else int(value)
    with np.printoptions(**printing):
        expected = theirs(tf, path, tensor_name="fc_1/kernel")
    arguments = [word for option in options for word in ("--printoptions", option)]
    found = ours(capsys, path, "fc_1/kernel", "--inspect-format", "current", *arguments)
    assert found == expected


@pytest.mark.parametrize("shape", [(2000,), (40, 50), (3, 400, 7), (7, 7, 30)])
def test_large_tensors_are_shortened_alike(
    tf: Any, tmp_path: Path, shape: tuple[int, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(11)
    values = (rng.standard_normal(shape) * 10.0 ** rng.integers(-6, 6, shape)).astype(np.float32)
    path = str(tmp_path / "model")
    tf.raw_ops.SaveV2(
        prefix=path,
        tensor_names=["w", "b"],
        shape_and_slices=["", ""],
        tensors=[tf.constant(values), tf.cast(tf.constant(values), tf.bfloat16)],
    )
    expected = theirs(tf, path, all_tensors=True)
    assert "..." in expected
    assert ours(capsys, path, "--all", "--inspect-format", "current") == escaped(expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int64"])
def test_statistics_are_tensorflows(tf: Any, tmp_path: Path, dtype: str) -> None:
    rng = np.random.default_rng(5)
    values = tf.cast(tf.constant(rng.standard_normal((300, 400)) * 20), dtype)
    path = str(tmp_path / "model")
    tf.raw_ops.SaveV2(prefix=path, tensor_names=["w"], shape_and_slices=[""], tensors=[values])
    wide = tf.cast(values, tf.float64)
    with open_checkpoint(path) as checkpoint:
        found = show(checkpoint, ["w"]).tensors[0].statistics
    assert found is not None
    assert found.min == float(tf.reduce_min(wide))
    assert found.max == float(tf.reduce_max(wide))
    assert found.mean == pytest.approx(float(tf.reduce_mean(wide)), abs=1e-12)
    assert found.std == pytest.approx(float(tf.math.reduce_std(wide)))
    assert found.zeros == int(tf.reduce_sum(tf.cast(wide == 0, tf.int64)))
