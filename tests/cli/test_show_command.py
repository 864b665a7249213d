"""The ``show`` command as people and scripts run it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import Run
from support import memory_checkpoint, strings

from ckpttool.analysis.show import Edges, show
from ckpttool.analysis.statistics import Histogram
from ckpttool.render.histogram import histogram_lines
from ckpttool.render.lines import Layout, Line
from ckpttool.render.show import ValueOptions, table_lines, tensor_lines
from ckpttool.render.values import json_values, parse_printoptions, value_text


@pytest.fixture
def layers(samples: Path) -> str:
    return str(samples / "numbered_layers")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda *arguments: Run(capsys, "show", *arguments)


def texts(lines: Any) -> list[str]:
    made: list[Line] = list(lines)
    return ["".join(text for text, _ in line).rstrip() for line in made]


def test_without_names_a_table_of_the_variables(run: Any, layers: str) -> None:
    done = run(layers)
    assert done.code == 0
    assert done.lines[0].split() == [
        *("name", "dtype", "shape", "min", "max", "mean", "std", "zeros", "NaN", "Inf")
    ]
    assert sum(" float32 " in line for line in done.lines) == 8
    assert "not shown: 18 slots, 1 step (--all shows every tensor)" in done.lines
    assert done.lines[-2:] == [
        "# Total number of params: 1113",
        "# trainable 370, slots 742, other 1",
    ]


def test_a_named_tensor_comes_with_its_values(run: Any, layers: str) -> None:
    done = run(layers, "fc_1/bias")
    assert done.code == 0
    assert done.lines[0] == "fc_1/bias  float32  [4]  4 parameters  16 B"
    assert done.lines[1] == "  initializer  zeros"
    assert done.lines[4].startswith("[ 0.063990")
    assert not any(line.startswith("[") for line in run(layers, "fc_1/bias", "--no-values").lines)


def test_a_slice_prints_its_own_values(run: Any, layers: str) -> None:
    whole = run(layers, "fc_1/kernel[0:2,1]", "--json").body()["tensors"][0]
    done = run(layers, "fc_1/kernel[0:2,1]")
    assert "  [0:2,1] [2]" in done.lines
    printed = [float(word) for word in done.lines[-2].strip("[] ").split()]
    assert printed == pytest.approx(whole["values"], abs=1e-6)


def test_json_keeps_its_contract(run: Any, layers: str) -> None:
    body = run(layers, "fc_1/bias", "--json").body()
    assert (body["schema"], body["command"], body["status"]) == (1, "show", "ok")
    tensor = body["tensors"][0]
    assert list(tensor["statistics"]) == ["min", "max", "mean", "std", "zeros", "nan", "inf"]
    assert (tensor["name"], tensor["dtype"], tensor["shape"]) == ("fc_1/bias", "float32", [4])
    assert tensor["initializer"] == "zeros"
    assert "values" not in tensor
    assert len(run(layers, "fc_1/bias", "--values", "--json").body()["tensors"][0]["values"]) == 4
    sliced = run(layers, "fc_1/bias[1]", "--json").body()["tensors"][0]
    assert isinstance(sliced["values"], float)


def test_json_of_every_dtype(run: Any, samples: Path) -> None:
    body = run(str(samples / "dtypes"), "--values", "--json").body()
    tensors = {tensor["name"]: tensor for tensor in body["tensors"]}
    half = tensors["float16"]
    assert half["values"][0] == ["NaN", "Infinity", "-Infinity"]
    assert (half["statistics"]["min"], half["statistics"]["nan"]) == ("-Infinity", 1)
    assert tensors["bfloat16"]["values"][0] == ["NaN", "Infinity", "-Infinity"]
    assert tensors["int64"]["statistics"]["max"] == 2**63 - 1
    assert tensors["int64"]["statistics"]["nan"] is None
    assert tensors["uint64"]["values"][1][0] == 2**64 - 1
    assert tensors["int4"]["values"] == [[-8, 0, 1], [7, 1, 0]]
    assert tensors["bool"]["values"][0][0] in (True, False)
    assert len(tensors["complex64"]["values"][0][0]) == 2
    assert tensors["complex64"]["statistics"]["min"] is None


def test_strings_cannot_drive_the_terminal(run: Any, samples: Path) -> None:
    done = run(str(samples / "strings"), "--all")
    assert done.code == 0
    assert "\x1b" not in done.out
    assert r"b'\x1b[31mred\x1b[0m'" in done.out
    values = run(str(samples / "strings"), "escape", "--values", "--json").body()
    assert values["tensors"][0]["values"][0] == "\x1b[31mred\x1b[0m"


def test_names_cannot_drive_the_terminal() -> None:
    checkpoint = memory_checkpoint({"a\x1b[31m": np.zeros(1), "b\u202e": np.zeros(1)})
    result = show(checkpoint, values=True)
    layout = Layout(None, False)
    lines = texts(table_lines(result, layout))
    for tensor in result.tensors:
        lines += texts(tensor_lines(tensor, layout, ValueOptions(True, {})))
    text = "\n".join(lines)
    assert "\x1b" not in text
    assert text.isascii()
    assert r"a\x1b[31m" in text


def test_a_damaged_tensor_is_told_and_the_rest_is_shown(
    run: Any, samples: Path, tmp_path: Path
) -> None:
    for file in (samples / "numbered_layers").iterdir():
        shutil.copy(file, tmp_path)
    data = next(tmp_path.glob("*.data-*"))
    raw = bytearray(data.read_bytes())
    raw[8] ^= 0x40  # conv_1/biases, behind two scalars
    data.write_bytes(raw)
    done = run(str(tmp_path))
    assert done.code == 3
    assert sum("not readable: INP005" in line for line in done.lines) == 1
    assert any(line.startswith("fc_2/kernel ") and "0.2798" in line for line in done.lines)
    assert "error[INP005]" in done.err
    body = run(str(tmp_path), "--json")
    assert (body.code, body.body()["status"]) == (3, "error")
    assert [problem["code"] for problem in body.body()["problems"]] == ["INP005"]
    listing = run(str(tmp_path), "--all", "--inspect-format", "current")
    assert listing.code == 3
    assert listing.lines[-1] == "# Total number of params: 1113"


def test_an_index_without_its_data_is_not_told_for_every_tensor(
    run: Any, samples: Path, tmp_path: Path
) -> None:
    for file in (samples / "numbered_layers").iterdir():
        if ".data-" not in file.name:
            shutil.copy(file, tmp_path)
    done = run(str(tmp_path), "--all")
    assert (done.code, done.err.count("error[INP012]")) == (3, 11)
    assert "17 more like these" in done.err
    problems = run(str(tmp_path), "--all", "--json").body()["problems"]
    assert sum("the data of " in problem["message"] for problem in problems) == 27


def test_an_unknown_name_ends_with_3(run: Any, layers: str) -> None:
    done = run(layers, "fc_1/kernle")
    assert (done.code, done.out) == (3, "")
    assert "fc_1/kernel" in done.err


def test_a_slice_that_does_not_fit_ends_with_2(run: Any, layers: str) -> None:
    done = run(layers, "fc_1/bias[7]", "--json")
    assert done.code == 2
    problem = done.body()["problems"][0]
    assert problem["code"] == "USE002"
    assert "[4]" in problem["expected"]


def test_names_and_count(run: Any, layers: str) -> None:
    done = run(layers, "--names", "--count-exclude", "Adam")
    assert done.lines[0] == "tensor: beta1_power (float32) []"
    assert done.lines[-3] == ("# Excluding 16 tensors (740 params) that match Adam when counting.")
    assert done.lines[-2] == "# Total number of params: 373"
    body = run(layers, "--names", "--json").body()
    assert len(body["tensors"]) == 27
    assert body["tensors"][0]["statistics"] is None
    assert body["parameters"]["total"] == 1113


def test_the_old_format(run: Any, layers: str) -> None:
    done = run(layers, "--names", "--inspect-format", "old")
    assert done.lines[0] == "tensor_name:  beta1_power"
    assert len(done.lines) == 27
    one = run(layers, "global_step", "--inspect-format", "old")
    assert one.lines == ["tensor_name:  global_step", "5"]


def test_partitions_on_request(run: Any, samples: Path) -> None:
    done = run(str(samples / "partitioned"), "emb/table", "--slices")
    assert "  3 partitions" in done.lines
    assert "      1  [4:7, 0:2]  [3, 2]" in done.lines
    tensor = run(str(samples / "partitioned"), "emb/table", "--slices", "--json").body()["tensors"][
        0
    ]
    assert tensor["slices"][1] == {"start": [4, 0], "shape": [3, 2]}


def test_print_options_as_inspect_checkpoint_takes_them(run: Any, layers: str) -> None:
    done = run(layers, "fc_1/bias", "--printoptions", "precision=1", "suppress=true")
    assert done.code == 0
    assert done.lines[4] == "[ 0.1  0.1 -0.2 -0.1]"
    assert run(layers, "fc_1/kernel", "--full").out.count("\n") > 70
    assert "..." in run(layers, "fc_1/kernel", "--printoptions", "threshold=10").out


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("nope=1", "'nope' is not a valid printoption."),
        ("sign=x", "invalid parse_numpy_printoption value: 'sign=x'"),
        ("precision=x", "invalid parse_numpy_printoption value: 'precision=x'"),
        ("suppress=maybe", "invalid parse_numpy_printoption value: 'suppress=maybe'"),
        ("formatter=x", "Setting 'formatter' from the command line is not supported."),
        ("precision", "'precision' is not in the form k=v."),
    ],
)
def test_bad_print_options(run: Any, layers: str, option: str, message: str) -> None:
    done = run(layers, "--printoptions", option, "--json")
    assert done.code == 2
    assert done.body()["problems"][0]["message"] == message


def test_print_options_leave_numpy_as_it_was() -> None:
    before = dict(np.get_printoptions())
    assert parse_printoptions(["precision=2", "suppress=1"]) == {"precision": 2, "suppress": True}
    assert dict(np.get_printoptions()) == before


@pytest.mark.parametrize(
    "words", [["--inspect-format", "new"], ["--bins", "0"], ["--count-exclude", "("]]
)
def test_bad_option_values(run: Any, layers: str, words: list[str]) -> None:
    assert run(layers, *words).code == 2


def test_export(run: Any, layers: str, tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    done = run(layers, "fc_1/*", "--exclude", "**/Adam*", "--out", str(path))
    assert done.code == 0
    with np.load(path) as archive:
        assert archive.files == ["fc_1/bias", "fc_1/kernel"]
    again = run(layers, "fc_1/bias", "-o", str(path))
    assert again.code == 5
    body = run(layers, "fc_1/bias", "-o", str(path), "--force", "--json").body()
    assert body["output"] == {
        "path": str(path),
        "tensors": ["fc_1/bias"],
        "bytes": path.stat().st_size,
    }


def test_histogram_bars() -> None:
    histogram = Histogram((0.0, 1.0, 2.0, 3.0, 4.0), (10, 5, 0, 1))
    blocks = texts(histogram_lines(histogram, Layout(24, True)))
    assert [line[2:5] for line in blocks] == ["0 │", "1 │", "2 │", "3 │", "4 ┘"]
    assert [line.count("█") for line in blocks] == [15, 7, 0, 1, 0]
    assert "▌" in blocks[1]
    plain = texts(histogram_lines(histogram, Layout(24, False)))
    assert "\n".join(plain).isascii()
    assert [line.count("#") for line in plain] == [15, 7, 0, 1, 0]


@pytest.mark.parametrize("width", [10, 24, 40, 80, 200])
@pytest.mark.parametrize("unicode", [True, False])
def test_histograms_fit_the_terminal(width: int, unicode: bool) -> None:
    histogram = Histogram(tuple(map(float, range(6))), (1, 2_000, 3, 0, 7))
    lines = texts(histogram_lines(histogram, Layout(width, unicode)))
    assert max(map(len, lines)) <= max(width, 16)


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_tables_give_up_columns_before_they_wrap(width: int) -> None:
    checkpoint = memory_checkpoint({f"scope/layer_{n}/kernel": np.ones((300, n)) for n in range(3)})
    lines = texts(table_lines(show(checkpoint), Layout(width, True)))
    assert max(map(len, lines[:4])) <= width
    assert "min" in lines[0]
    assert "max" in lines[0]


def test_shortened_values_print_as_the_whole() -> None:
    array = np.arange(3000).reshape(30, 100)
    tensor = show(memory_checkpoint({"w": array}), values=True, edges=Edges()).tensors[0]
    assert tensor.values is not None
    assert tensor.values.size == 49
    assert value_text(tensor.values, {}, shortened=tensor.shortened) == str(array)


def test_json_values_keep_the_bytes_of_strings() -> None:
    assert json_values(strings(b"a", b"\xff")) == ["a", "\udcff"]
    assert json_values(strings(b"x").reshape(())) == "x"


def test_a_graph_alone(run: Any, samples: Path, tmp_path: Path) -> None:
    done = run(str(samples / "meta_alone"))
    assert done.code == 0
    assert done.lines[0].split() == ["name", "dtype", "shape"]
    assert done.lines[1].startswith("fc/bias ")
    assert done.lines[1].endswith("zeros")
    assert done.lines[-1] == "# Total number of params: 0"
    assert run(str(samples / "meta_alone"), "-o", str(tmp_path / "o.npz")).code == 2
    assert run(str(samples / "meta_alone"), "fc/bias", "-o", str(tmp_path / "o.npy")).code == 3


def test_what_only_the_graph_has_is_said_in_inspect_lines(run: Any, samples: Path) -> None:
    done = run(str(samples / "saver_subset"), "head/kernel", "--inspect-format", "current")
    assert done.lines[:2] == [
        "tensor: head/kernel (float32) [2, 2]",
        "<not saved: only the graph has it>",
    ]


def test_an_export_of_a_damaged_checkpoint_says_so(run: Any, samples: Path, tmp_path: Path) -> None:
    damaged = str(samples / "damaged" / "v1_missing_shard" / "model.ckpt-2")
    done = run(damaged, "--all", "-o", str(tmp_path / "o.npz"))
    assert done.code == 3
    assert "error[INP006]" in done.err
    again = run(damaged, "--all", "-o", str(tmp_path / "p.npz"), "--json")
    assert again.body()["status"] == "error"
    assert again.body()["output"]["tensors"]
