"""Means of checkpoints."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from remap_support import write_bundle
from support import memory_checkpoint, strings
from writer_support import write

import ckpttool
from ckpttool.cli.main import execute
from ckpttool.errors import InputError, OutputError, UsageError
from ckpttool.mapping.averaging import average, step_paths

RNG = np.random.default_rng(5)


def arrays(step: int, **more: Any) -> dict[str, Any]:
    """A small network with an optimizer, at a step."""
    rng = np.random.default_rng(step)
    weights = rng.normal(size=(40, 7)).astype(np.float32)
    return {
        "beta1_power": np.float32(0.9**step),
        "flags": np.array([step % 2 == 0, True]),
        "global_step": np.int64(step),
        "h": rng.normal(size=9).astype(np.float16),
        "t": rng.normal(size=9).astype(ml_dtypes.bfloat16),
        "w": weights,
        "w/Adam": weights * 2,
        "w/Adam_1": weights * 3,
        "w/ExponentialMovingAverage": weights * 4,
        "words": strings(b"step", b"%d" % step),
        **more,
    }


def run(folder: Path, *steps: int) -> list[Path]:
    """A training run's checkpoints."""
    folder.mkdir(exist_ok=True)
    for step in steps:
        write_bundle(folder / f"model.ckpt-{step}", arrays(step))
    return [folder / f"model.ckpt-{step}" for step in steps]


def mean_of(paths: list[Path], output: Path, **options: Any) -> Any:
    checkpoints = [ckpttool.open(str(path)) for path in paths]
    try:
        return average(checkpoints, str(output), **options)
    finally:
        for one in checkpoints:
            one.close()


def read_all(path: Path | str) -> dict[str, Any]:
    with ckpttool.open(str(path)) as checkpoint:
        return {name: checkpoint.reader.read(name) for name in checkpoint.specs}


def test_floats_are_averaged_and_all_else_is_the_lasts(tmp_path: Path) -> None:
    paths = run(tmp_path / "run", 100, 200, 300)
    result = mean_of(paths, tmp_path / "out" / "mean")
    found = read_all(tmp_path / "out" / "mean")
    source = [arrays(step) for step in (100, 200, 300)]
    for name in ("w", "h", "t", "w/ExponentialMovingAverage"):
        wide = np.mean([one[name].astype(np.float64) for one in source], axis=0)
        assert found[name].dtype == source[0][name].dtype
        assert found[name].tobytes() == wide.astype(source[0][name].dtype).tobytes(), name
    assert found["global_step"] == 300
    assert found["words"].tolist() == [b"step", b"300"]
    assert found["flags"].tolist() == [True, True]
    assert set(result.dropped) == {"w/Adam", "w/Adam_1", "beta1_power"}
    assert set(found) == set(source[0]) - set(result.dropped)
    assert {item.name for item in result.tensors if item.how == "last"} == {
        "global_step", "flags", "words",
    }  # fmt: skip
    assert result.verified
    assert [item.step for item in result.checkpoints] == [100, 200, 300]


def test_a_step_that_is_a_float_is_no_mean(tmp_path: Path) -> None:
    given = [
        memory_checkpoint({"global_step": np.float32(step), "w": np.float32(step)}, path=f"{step}")
        for step in (10, 20)
    ]
    average(given, str(tmp_path / "out"))
    assert {name: float(item) for name, item in read_all(tmp_path / "out").items()} == {
        "global_step": 20.0, "w": 15.0,
    }  # fmt: skip


def test_slots(tmp_path: Path) -> None:
    paths = run(tmp_path / "run", 1, 2)
    mean_of(paths, tmp_path / "a", slots="average")
    mean_of(paths, tmp_path / "l", slots="last")
    first, last = arrays(1), arrays(2)
    a, b = read_all(tmp_path / "a"), read_all(tmp_path / "l")
    wide = (first["w/Adam"].astype(np.float64) + last["w/Adam"]) / 2
    assert a["w/Adam"].tobytes() == wide.astype(np.float32).tobytes()
    assert b["w/Adam"].tobytes() == last["w/Adam"].tobytes()
    # A power of a decay is no slot of a variable: the steps' are those of the last.
    assert a["beta1_power"] == b["beta1_power"] == last["beta1_power"]
    with pytest.raises(UsageError, match="slots"):
        mean_of(paths, tmp_path / "x", slots="keep")


def test_weights_and_order(tmp_path: Path) -> None:
    paths = run(tmp_path / "run", 1, 2)
    mean_of(paths, tmp_path / "w", weights=[1, 3])
    first, last = arrays(1), arrays(2)
    wide = (first["w"].astype(np.float64) + 3 * last["w"].astype(np.float64)) / 4
    assert read_all(tmp_path / "w")["w"].tobytes() == wide.astype(np.float32).tobytes()
    result = mean_of(paths[::-1], tmp_path / "r")
    assert read_all(tmp_path / "r")["global_step"] == 1
    assert "INP020" in {item.code for item in result.notices}
    for weights in ([1], [1, -1], [0, 0], [1, float("nan")], [1, float("inf")], [-1, 3]):
        with pytest.raises(UsageError):
            mean_of(paths, tmp_path / "bad", weights=weights)


def test_the_same_bytes_on_each_run(tmp_path: Path) -> None:
    paths = run(tmp_path / "run", 1, 2, 3)
    for name in ("a", "b"):
        mean_of(paths, tmp_path / name / "mean")
    assert [file.name for file in sorted((tmp_path / "a").iterdir())] == [
        "mean.data-00000-of-00001",
        "mean.index",
    ]
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_every_difference_is_told_at_once(tmp_path: Path) -> None:
    one = memory_checkpoint({"a": np.zeros(3), "b": np.zeros(2), "c": np.zeros(1)}, path="one")
    two = memory_checkpoint({"a": np.zeros(4), "b": np.zeros(2, np.float32)}, path="two")
    three = memory_checkpoint({"a": np.zeros(4), "b": np.zeros(2), "d": np.zeros(1)}, path="three")
    with pytest.raises(InputError) as caught:
        average([one, two, three], str(tmp_path / "out"))
    told = [(item.code, item.where, item.message.split()[0]) for item in caught.value.problems]
    assert told == [
        ("INP019", "one", "a"),
        ("INP019", "one", "d"),
        ("INP019", "three", "c"),
        ("INP019", "two", "b"),
        ("INP019", "two", "d"),
    ]
    assert list(tmp_path.iterdir()) == []


def test_slots_that_only_one_has_do_not_matter_when_dropped(tmp_path: Path) -> None:
    one = memory_checkpoint({"a": np.zeros(3), "a/Adam": np.zeros(3)}, path="one")
    two = memory_checkpoint({"a": np.ones(3), "a/Momentum": np.zeros(3)}, path="two")
    result = average([one, two], str(tmp_path / "out"))
    assert result.dropped == ("a/Momentum",)
    assert read_all(tmp_path / "out")["a"].tolist() == [0.5] * 3
    with pytest.raises(InputError):
        average([one, two], str(tmp_path / "no"), slots="average")


def test_what_cannot_be(tmp_path: Path) -> None:
    one, two = (memory_checkpoint({"a": np.zeros(3)}, path=name) for name in ("1", "2"))
    out = str(tmp_path / "out")
    for given in ([], [one], [one, one]):
        with pytest.raises(UsageError):
            average(given, out)
    for to in ("tf2", "keras-archive", "onnx"):
        with pytest.raises(UsageError):
            average([one, two], out, to=to)
    opaque = [
        memory_checkpoint({"a": np.zeros(3)}, dtypes={"a": "variant"}, path=name) for name in "12"
    ]
    with pytest.raises(InputError) as caught:
        average(opaque, out)
    assert caught.value.problems[0].code == "INP011"
    assert list(tmp_path.iterdir()) == []


def test_damage_leaves_nothing_behind(tmp_path: Path) -> None:
    paths = run(tmp_path / "run", 1, 2)
    data = Path(f"{paths[0]}.data-00000-of-00001")
    raw = bytearray(data.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    data.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        mean_of(paths, tmp_path / "out" / "mean", slots="average")
    assert caught.value.problems[0].code == "INP005"
    assert not (tmp_path / "out").exists() or list((tmp_path / "out").iterdir()) == []


def test_an_output_is_not_replaced_and_never_a_source(tmp_path: Path) -> None:
    paths = run(tmp_path / "run", 1, 2)
    mean_of(paths, tmp_path / "out")
    with pytest.raises(OutputError):
        mean_of(paths, tmp_path / "out")
    mean_of(paths, tmp_path / "out", force=True)
    before = read_all(paths[0])
    with pytest.raises(OutputError):
        mean_of(paths, paths[0], force=True)
    assert read_all(paths[0])["w"].tobytes() == before["w"].tobytes()


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_other_formats(tmp_path: Path, suffix: str) -> None:
    paths = []
    for number in (1.0, 2.0):
        path = tmp_path / f"{number}.npz"
        np.savez(path, **{"a/b": np.full((2, 3), number), "n": np.int64(number)})
        paths.append(path)
    result = mean_of(paths, tmp_path / f"out{suffix}")
    assert result.output.files
    found = read_all(tmp_path / f"out{suffix}")
    assert found["a/b"].tolist() == [[1.5] * 3] * 2
    assert found["n"] == 2


def test_a_tensor_that_the_format_cannot_hold_is_told_before_anything_is_written(
    tmp_path: Path,
) -> None:
    paths = run(tmp_path / "run", 1, 2)
    with pytest.raises(OutputError) as caught:
        mean_of(paths, tmp_path / "out.safetensors")
    assert {item.code for item in caught.value.problems} == {"OUT005"}
    assert "words" in caught.value.problems[0].message
    assert {item.name for item in tmp_path.iterdir()} == {"run"}


@pytest.mark.parametrize(
    "name",
    [
        "partitioned/model.ckpt-2",
        "partitioned_by_hand/model.ckpt",
        "v1_partitioned",
        "v1_single",
        "saved_model_tf1",
        "saved_model_tf2",
        "tf2_keras",
        "big_endian",
        "strings",
        "sharded_partitioned",
    ],
)
def test_sources_of_all_kinds_are_their_own_mean(samples: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(samples / name.split("/")[0], tmp_path / "copy")
    copy = str(tmp_path / "copy" / name.partition("/")[2]).rstrip("/")
    with ckpttool.open(str(samples / name)) as a, ckpttool.open(copy) as b:
        result = average([a, b], str(tmp_path / "mean"), slots="average")
    source, found = read_all(samples / name), read_all(tmp_path / "mean")
    assert source.keys() == found.keys()
    assert {item.name for item in result.tensors} == source.keys()
    for key, array in source.items():
        assert array.dtype == found[key].dtype
        assert array.tolist() == found[key].tolist(), key


def test_an_object_graph_keeps_its_slots(samples: Path, tmp_path: Path) -> None:
    shutil.copytree(samples / "tf2_keras", tmp_path / "copy")
    with ckpttool.open(str(samples / "tf2_keras")) as a, ckpttool.open(str(tmp_path / "copy")) as b:
        result = average([a, b], str(tmp_path / "mean"))
        assert not result.dropped
        with pytest.raises(UsageError, match="object graph"):
            average([a, b], str(tmp_path / "no"), slots="drop")
    with ckpttool.open(str(tmp_path / "mean")) as mean:
        assert mean.objects is not None


@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"])
def test_keras_files(tmp_path: Path, suffix: str) -> None:
    from ckpttool.formats.keras import legacy_writer as keras_legacy_writer
    from ckpttool.formats.keras import weights_writer as keras_writer

    module = keras_writer if suffix == ".weights.h5" else keras_legacy_writer
    keys = ["layers/dense/vars/0", "layers/dense/vars/1"]
    if suffix == ".h5":
        keys = ["dense/dense/kernel:0", "dense/dense/bias:0"]
    for number in (1.0, 3.0):
        values = {keys[0]: np.full((2, 3), number, np.float32), keys[1]: np.zeros(3, np.float32)}
        write(module.create, tmp_path / f"{number}{suffix}", values)
    paths = [tmp_path / f"{number}{suffix}" for number in (1.0, 3.0)]
    mean_of(paths, tmp_path / f"mean{suffix}")
    assert read_all(tmp_path / f"mean{suffix}").keys() == read_all(paths[0]).keys()
    kernel = next(iter(read_all(tmp_path / f"mean{suffix}").values()))
    assert kernel.tolist() == [[2.0] * 3] * 2


def test_directories(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    run(folder, 5, 10, 20, 100)
    assert [Path(path).name for path in step_paths(str(folder), 2)] == [
        "model.ckpt-20",
        "model.ckpt-100",
    ]
    out = str(tmp_path / "mean")
    assert execute(["average", str(folder), "--last", "3", "-o", out, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert [item["step"] for item in body["checkpoints"]] == [10, 20, 100]
    assert body["verified"] is True
    assert body["output"]["format"] == "tf-v2"
    assert {item["how"] for item in body["tensors"]} == {"mean", "last"}
    assert set(body) >= {"schema", "command", "status", "dropped", "problems"}
    assert execute(["average", str(folder), "--last", "9", "-o", out, "--force", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert len(body["checkpoints"]) == 4
    assert "INP021" in {item["code"] for item in body["problems"]}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = map(str, run(tmp_path / "run", 1, 2))
    out = str(tmp_path / "mean")
    assert execute(["average", a, b, "-o", out, "--weights", "1,3", "--all"]) == 0
    text = capsys.readouterr().out
    assert "4 tensors averaged, 3 from the last checkpoint, 3 dropped" in text
    assert "dropped  w/Adam" in text
    assert "read back and checked" in text
    assert "0.75" in text
    assert execute(["average", a, b, "-o", out]) == 5
    assert execute(["average", a, "-o", out]) == 2
    assert execute(["average", a, b, "-o", out, "--weights", "x"]) == 2
    assert execute(["average", a, b]) == 2
    assert execute(["average", a, str(tmp_path / "none"), "-o", out]) == 3
    assert execute(["average", str(tmp_path / "run"), "--last", "0", "-o", out]) == 2
    capsys.readouterr()


_LARGE = """
import sys
from pathlib import Path
import numpy as np
from remap_support import write_bundle
from ckpttool.cli.main import execute
folder = Path(sys.argv[1])
block = np.arange(1 << 20, dtype=np.float32)
if sys.argv[2] == "make":
    from ckpttool.formats.tensorflow.bundle_writer import BundleWriter
    for step in range(1, 7):
        with BundleWriter(str(folder / f"m-{step}")) as writer:
            writer.encode("w", 1, (50 << 20,), lambda: (block * step for _ in range(50)))
            writer.write()
            writer.commit()
else:
    code = execute(["average", str(folder), "-o", str(folder / "out" / "mean")])
    peak = 0
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            peak = int(line.split()[1]) << 10
    sys.stderr.write(f"{code} {peak}")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs /proc")
def test_a_large_tensor_in_bounded_memory(tmp_path: Path) -> None:
    tests = str(Path(__file__).resolve().parent.parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, str(Path(tests).parent)])}
    for what in ("make", "average"):
        run = subprocess.run(  # noqa: S603
            [sys.executable, "-c", _LARGE, str(tmp_path), what],
            env=env, capture_output=True, text=True, check=True,
        )  # fmt: skip
    code, peak = map(int, run.stderr.split())
    assert code == 0
    assert peak < 200 << 20
