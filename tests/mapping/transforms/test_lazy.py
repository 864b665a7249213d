"""Where tensors are kept while parts of them are taken, and what that costs."""

from __future__ import annotations

import errno
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from support import MemoryReader, strings

from ckpttool.errors import InputError, MappingError, OutputError
from ckpttool.mapping.transforms import lazy, views, workspace
from ckpttool.mapping.transforms.lazy import Held, Workspace, leaf
from ckpttool.mapping.transforms.parse import chain_of

Array = np.ndarray[Any, Any]


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor is kept in memory."""
    monkeypatch.setattr(workspace, "KEPT_BYTES", 0)
    monkeypatch.setattr(lazy, "KEPT_BYTES", 0)


@pytest.fixture
def no_room(on_disk: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """No tensor can be kept at all."""

    def refuse(folder: str) -> int:
        raise OSError(f"{folder} is not for this")

    monkeypatch.setattr(workspace, "_unnamed_file", refuse)


def streamed(item: Any, max_bytes: int = 1 << 20) -> Array:
    """All of a lazy array."""
    return np.concatenate(list(item.stream(max_bytes))).reshape(item.spec.shape)


def numbers(*shape: int) -> Array:
    """Different values."""
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.usefixtures("no_room")
@pytest.mark.parametrize(
    "steps",
    [
        [],
        [{"reshape": [-1]}],
        [{"reshape": [2, 3, 4]}, {"squeeze": []}, {"cast": "float64"}],
        [{"add": 1.0}, {"scale": 2}, "square"],
        [{"slice": {"axis": 0, "start": 2}}],
        [{"pad": {"axis": 0, "before": 1, "after": 3}}],
        [{"reshape": [3, 8]}, {"index": 1}],
    ],
)
def test_what_keeps_the_order_needs_no_room(steps: list[Any], tmp_path: Path) -> None:
    reader = MemoryReader({"w": numbers(6, 4)})
    made = chain_of(steps).apply([leaf(reader, "w", Workspace(str(tmp_path)))])
    streamed(made[0], 16)
    assert reader.reads == ["w"]


@pytest.mark.usefixtures("no_room")
def test_concatenation_of_rows_needs_no_room(tmp_path: Path) -> None:
    arrays = {"a": numbers(3, 4), "b": numbers(2, 4)}
    reader = MemoryReader(arrays)
    space = Workspace(str(tmp_path))
    made = chain_of(["concat"]).apply([leaf(reader, name, space) for name in arrays])
    np.testing.assert_array_equal(streamed(made[0]), np.concatenate(list(arrays.values())))
    made = chain_of([{"reshape": [3, 4]}, "stack"]).apply([leaf(reader, "a", space)] * 2)
    np.testing.assert_array_equal(streamed(made[0]), np.stack([arrays["a"]] * 2))


@pytest.mark.usefixtures("on_disk")
def test_a_slice_reads_on_to_where_the_checksum_is(tmp_path: Path) -> None:
    class Late(MemoryReader):
        """Finds the damage after the last byte, as a checksum does."""

        def chunks(self, name: str, max_bytes: int = 0) -> Any:
            yield from super().chunks(name, max_bytes)
            raise InputError()

    made = chain_of([{"slice": {"axis": 0, "stop": 3}}]).apply(
        [leaf(Late({"w": numbers(6, 4)}), "w", Workspace(str(tmp_path)))]
    )
    with pytest.raises(InputError):
        streamed(made[0], 16)


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_damage_is_found_before_a_byte_is_handed_out(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "KEPT_BYTES", limit)
    reader = MemoryReader({"w": numbers(6, 4)}, damaged=["w"])
    made = chain_of(["transpose"]).apply([leaf(reader, "w", Workspace(str(tmp_path)))])
    stream = made[0].stream()
    with pytest.raises(InputError):
        next(iter(stream))
    assert not list(tmp_path.iterdir())


def test_a_tensor_is_read_once_for_all_outputs_of_a_rule(tmp_path: Path) -> None:
    reader = MemoryReader({"w": numbers(6, 4), "v": numbers(4, 4)})
    space = Workspace(str(tmp_path))
    chain = chain_of([{"split": {"axis": 1, "parts": 2}}, "transpose"])
    for item in chain.apply([leaf(reader, "w", space)]):
        streamed(item)
    assert reader.reads == ["w"]


def test_what_is_not_needed_again_is_let_go(tmp_path: Path) -> None:
    """All outputs exist from the beginning, as a writer has them; few are in memory at once."""
    names = [f"w{k}" for k in range(20)]
    reader = MemoryReader({name: np.zeros((1024, 1024), np.float32) for name in names})
    space = Workspace(str(tmp_path))
    outputs = [chain_of(["transpose"]).apply([leaf(reader, name, space)])[0] for name in names]
    for output in outputs:
        for _ in output.stream():
            assert len(space._kept) == 1
    assert reader.reads == names


def test_the_budget_is_for_all_tensors_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace, "KEPT_TOTAL", 100)
    arrays = {str(k): numbers(4, 3) for k in range(4)}  # 48 bytes each
    reader = MemoryReader(arrays)
    space = Workspace(str(tmp_path))
    made = chain_of([{"concat": 1}]).apply([leaf(reader, name, space) for name in arrays])
    np.testing.assert_array_equal(streamed(made[0]), np.concatenate(list(arrays.values()), 1))
    assert sum(kept.bytes for kept in space._kept.values()) == 96
    assert len(space._kept) == 4


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize("anonymous", [True, False])
def test_nothing_is_left_in_the_folder(
    anonymous: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not anonymous:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    reader = MemoryReader({"w": numbers(6, 4)})
    gc.collect()
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
    with Workspace(str(tmp_path / "not" / "yet")) as space:
        made = chain_of(["transpose"]).apply([leaf(reader, "w", space)])[0]
        part = made.region((1, 2), (3, 5))
        assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(part, numbers(6, 4).T[1:3, 2:5])  # outlives the workspace
    del part, made
    gc.collect()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("on_disk")
def test_a_full_disk_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    reader = MemoryReader({"w": numbers(6, 4)})
    made = chain_of(["transpose"]).apply([leaf(reader, "w", Workspace(str(tmp_path)))])
    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OutputError) as caught:
        streamed(made[0])
    assert caught.value.problems[0].code == "OUT002"


def test_a_source_that_ends_too_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = MemoryReader({"w": numbers(6, 4)})
    reader.arrays["w"] = numbers(5, 4)  # the spec stays
    for limit in (0, 1 << 20):
        monkeypatch.setattr(workspace, "KEPT_BYTES", limit)
        made = chain_of(["transpose"]).apply([leaf(reader, "w", Workspace(str(tmp_path)))])
        with pytest.raises(InputError):
            streamed(made[0])


def test_strings_are_moved_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = strings(b"a", b"", b"ccc", b"d\0d", b"e", b"f", shape=(2, 3))
    reader = MemoryReader({"s": names})
    space = Workspace(str(tmp_path))
    steps = ["transpose", {"pad": {"axis": 0, "after": 1}}]
    made = chain_of(steps).apply([leaf(reader, "s", space)])[0]
    assert streamed(made).tolist() == [[b"a", b"d\0d"], [b"", b"e"], [b"ccc", b"f"], [b"", b""]]
    monkeypatch.setattr(workspace, "MAX_STRING_BYTES", 100)
    made = chain_of(["transpose"]).apply([leaf(reader, "s", Workspace(None))])[0]
    with pytest.raises(InputError, match="INP009"):
        streamed(made)


@pytest.mark.parametrize(
    ("values", "dtype", "fits"),
    [
        ([1.0, 1e39], "float32", False),
        ([1.0, 3.3e38], "float32", True),
        ([np.inf, np.nan], "float32", True),
        ([70000.0], "float16", False),
        ([500.0], "float8_e4m3fn", False),
        ([np.inf], "float8_e4m3fn", False),
        ([np.nan, 1.0], "float8_e4m3fn", True),
        ([1.5, -0.5], "int8", True),
        ([127.9], "int8", True),
        ([128.0], "int8", False),
        ([-128.0], "int8", True),
        ([-129.0], "int8", False),
        ([-0.9], "uint8", True),
        ([-1.0], "uint8", False),
        ([np.nan], "int32", False),
        ([np.inf], "int64", False),
        ([2.0**63], "int64", False),
        ([-(2.0**63)], "int64", True),
        ([2.0**64], "uint64", False),
    ],
)
def test_a_cast_loses_no_value_in_silence(values: list[float], dtype: str, fits: bool) -> None:
    source = np.array(values, np.float64)
    made = chain_of([{"cast": dtype}]).apply([Held(source)])[0]
    if not fits:
        with pytest.raises(MappingError) as caught:
            streamed(made)
        assert caught.value.problems[0].code == "MAP025"
        return
    result = streamed(made)
    wanted = np.dtype(dtype if hasattr(np, dtype) else getattr(ml_dtypes, dtype))
    assert result.tobytes() == source.astype(wanted).tobytes()


@pytest.mark.parametrize(
    ("value", "source", "dtype", "fits"),
    [
        (300, "int32", "uint8", False),
        (-1, "int64", "uint64", False),
        (2**63, "uint64", "int64", False),
        (2**40, "int64", "int32", False),
        (255, "int64", "uint8", True),
        (2**63 - 1, "uint64", "int64", True),
        (-3, "int4", "uint8", False),
        (-3, "int4", "int8", True),
        (1, "bool", "int8", True),
    ],
)
def test_casts_between_integers(value: int, source: str, dtype: str, fits: bool) -> None:
    kind = np.dtype(source if source != "int4" else ml_dtypes.int4)
    made = chain_of([{"cast": dtype}]).apply([Held(np.array([value], kind))])[0]
    if fits:
        assert streamed(made).tolist() == [value]
    else:
        with pytest.raises(MappingError):
            streamed(made)


def test_overflow_is_told_with_the_tensor(tmp_path: Path) -> None:
    reader = MemoryReader({"layer/w": np.array([[1e30, 1.0]], np.float32)})
    for step in ("square", {"scale": 1e10}, {"add": {"value": 3e38, "axis": 0, "stop": 1}}):
        big = MemoryReader({"layer/w": np.array([3e38], np.float32)})
        source = big if isinstance(step, dict) and "add" in step else reader
        made = chain_of([step]).apply([leaf(source, "layer/w", Workspace(None))])[0]
        with pytest.raises(MappingError, match="layer/w"):
            streamed(made)


def test_infinities_pass_through_computations() -> None:
    source = np.array([np.inf, -np.inf, np.nan, 1.0], np.float32)
    made = chain_of([{"add": 1.0}, {"scale": 2}]).apply([Held(source)])[0]
    np.testing.assert_array_equal(streamed(made), (source + 1) * 2)
    source = np.array([np.inf, 1.0, np.nan, 1.0, np.inf, 3.0], np.float32)
    made = chain_of([{"sum_blocks": 2}]).apply([Held(source)])[0]
    np.testing.assert_array_equal(streamed(made), source[:3] + source[3:])


def test_importing_and_planning_take_no_numpy() -> None:
    code = (
        "import sys\n"
        "from ckpttool.mapping.transforms.parse import chain_of\n"
        "from ckpttool.mapping.transforms.base import ArraySpec\n"
        "chain = chain_of([{'reshape': [0, 4, -1]}, 'transpose', {'cast': 'bfloat16'}])\n"
        "chain.infer([ArraySpec('float32', (3, 8))])\n"
        "chain.inverse([ArraySpec('float32', (3, 8))])\n"
        "raise SystemExit('numpy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0  # noqa: S603


_LARGE = """
import re, sys, threading, time
import numpy as np
from ckpttool.formats.base import Chunk
from ckpttool.mapping.transforms.lazy import Workspace, leaf
from ckpttool.mapping.transforms.parse import chain_of
from ckpttool.tensors import TensorSpec

ROWS, COLUMNS = 7000, 12288  # 344 MB


class Reader:
    specs = {"w": TensorSpec("w", "int32", (ROWS, COLUMNS))}

    def chunks(self, name, max_bytes):
        step = max_bytes // 4
        for start in range(0, ROWS * COLUMNS, step):
            stop = min(start + step, ROWS * COLUMNS)
            yield Chunk(start, np.arange(start, stop, dtype=np.int32))


peak = 0
done = threading.Event()


def watch():
    global peak
    while not done.wait(0.002):
        text = open("/proc/self/status").read()
        peak = max(peak, int(re.search(r"RssAnon:\\s+(\\d+)", text)[1]) << 10)


thread = threading.Thread(target=watch)
thread.start()
steps, right = {
    "transposed": (["transpose"], lambda k: k % ROWS * COLUMNS + k // ROWS),
    "blocks": (
        [{"permute_blocks": {"axis": 1, "of": 2, "order": [1, 0]}}],
        lambda k: k // COLUMNS * COLUMNS + (k % COLUMNS + COLUMNS // 2) % COLUMNS,
    ),
    "dealt": (
        [{"deinterleave": {"axis": 1, "parts": 2}}, {"concat": 1}, {"reshape": [-1]}],
        lambda k: k // COLUMNS * COLUMNS
        + np.where(k % COLUMNS < COLUMNS // 2, 2 * (k % COLUMNS), 2 * (k % COLUMNS) - COLUMNS + 1),
    ),
}[sys.argv[2]]
with Workspace(sys.argv[1]) as space:
    (made,) = chain_of(steps).apply([leaf(Reader(), "w", space)])
    position = 0
    for part in made.stream():
        for start in range(0, len(part), 1 << 18):
            some = part[start : start + (1 << 18)]
            k = np.arange(position + start, position + start + len(some))
            if not np.array_equal(some, right(k)):
                raise SystemExit("wrong values")
        position += len(part)
    if position != ROWS * COLUMNS:
        raise SystemExit("wrong length")
done.set()
thread.join()
print(peak >> 20)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("steps", ["transposed", "blocks", "dealt"])
def test_a_large_tensor_takes_little_memory(steps: str, tmp_path: Path) -> None:
    run = subprocess.run(  # noqa: S603
        [sys.executable, "-c", _LARGE, str(tmp_path), steps],
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 200
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("perm", [(1, 0, 2), (2, 0, 1), (2, 1, 0), (0, 2, 1)])
def test_transposes_of_more_than_a_tile(perm: tuple[int, ...]) -> None:
    source = numbers(70, 130, 67)
    made = chain_of([{"transpose": list(perm)}]).apply([Held(source)])[0]
    for max_bytes in (100_000, 8 << 20):
        np.testing.assert_array_equal(streamed(made, max_bytes), source.transpose(perm))


@pytest.mark.parametrize("step", [{"add": 0.5}, {"scale": 3}, "square", {"cast": "float64"}])
@pytest.mark.parametrize("dtype", [np.float32, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_computing_in_parts(step: Any, dtype: Any) -> None:
    """More elements than are computed at once, as a region and as a stream."""
    source = (numbers(600, 1000) % 7).astype(dtype)
    wide = source.astype(np.float32)
    right = {"add": wide + 0.5, "scale": wide * 3, "square": wide * wide, "cast": wide}
    name = step if isinstance(step, str) else next(iter(step))
    wanted = right[name].astype(np.float64 if name == "cast" else dtype)
    made = chain_of([step]).apply([Held(source)])[0]
    assert streamed(made).tobytes() == wanted.tobytes()
    assert made.region((0, 0), (600, 1000)).tobytes() == wanted.tobytes()


def test_summing_in_parts() -> None:
    source = numbers(6, 200_000)
    made = chain_of([{"sum_blocks": {"axis": 1, "of": 2}}]).apply([Held(source)])[0]
    right = source[:, :100_000] + source[:, 100_000:]
    np.testing.assert_array_equal(streamed(made), right)


def test_every_nth_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is read a part at a time: it holds many times what is asked for."""
    monkeypatch.setattr(views, "_STRIDED_BYTES", 100)
    source = numbers(50, 3)
    for part, start in zip(
        chain_of([{"deinterleave": 4}]).apply([Held(source)]), range(4), strict=True
    ):
        np.testing.assert_array_equal(streamed(part), source[start::4])
