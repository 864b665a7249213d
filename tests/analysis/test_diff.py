"""Two checkpoints against each other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_makers import Bundle
from support import memory_checkpoint, strings

from ckpttool.analysis import comparing, forking
from ckpttool.analysis.comparing import Comparison, Pair
from ckpttool.analysis.diff import Change, DiffOptions, DiffResult, diff
from ckpttool.analysis.metrics import Tolerance
from ckpttool.analysis.sides import Side
from ckpttool.analysis.tallying import compare as tallied
from ckpttool.checkpoint import Checkpoint
from ckpttool.errors import UsageError
from ckpttool.formats.streaming import elements
from ckpttool.formats.tensorflow.bundle import open_bundle
from ckpttool.formats.tensorflow.ordered_code import FULL
from ckpttool.storage.crc32c import combine, crc32c
from ckpttool.tensors import BY_NAME


def compare(a: dict[str, Any], b: dict[str, Any], **options: Any) -> DiffResult:
    return diff(memory_checkpoint(a), memory_checkpoint(b), DiffOptions(**options))


def bundle(folder: Path, arrays: dict[str, Any], *, big: bool = False) -> Checkpoint:
    folder.mkdir()
    made = Bundle(big_endian=big)
    for name, array in sorted(arrays.items()):
        made.add(name.encode(), np.asarray(array))
    return Checkpoint(open_bundle(made.write(folder)))


def only(items: tuple[Change, ...]) -> Change:
    assert len(items) == 1
    return items[0]


F32 = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_added_removed_changed_identical() -> None:
    result = compare(
        {"same": F32, "gone": np.int32([7]), "moved": F32},
        {"same": F32, "new": np.float64([1, 2]), "moved": F32 + 1},
    )
    assert result.identical == ("same",)
    assert [item.name for item in result.added] == ["new"]
    assert [item.name for item in result.removed] == ["gone"]
    change = only(result.changed)
    assert (change.name, change.kind) == ("moved", "value")
    assert change.metrics is not None
    assert (change.metrics.max_abs, change.metrics.mean_abs) == (1, 1)
    assert change.metrics.rel_l2 == pytest.approx(np.sqrt(6 / 55))
    assert not result.same
    assert compare({"x": F32}, {"x": F32}).same


def test_shape_and_dtype() -> None:
    result = compare({"s": F32, "d": F32}, {"s": F32.T, "d": F32.astype(np.float64) + 0.5})
    kinds = {item.name: item for item in result.changed}
    assert kinds["s"].kind == "shape"
    assert kinds["s"].metrics is None
    assert kinds["d"].kind == "dtype"
    metrics = kinds["d"].metrics
    assert metrics is not None
    assert metrics.max_abs == 0.5


def test_a_dtype_that_cannot_be_subtracted() -> None:
    change = only(compare({"x": strings(b"a")}, {"x": np.float32([1])}).changed)
    assert (change.kind, change.metrics) == ("dtype", None)


def test_the_same_values_in_another_dtype_are_a_change() -> None:
    change = only(compare({"x": F32}, {"x": F32.astype(np.float16)}).changed)
    assert change.metrics is not None
    assert (change.kind, change.metrics.differing) == ("dtype", 0)


def test_tolerance_makes_close() -> None:
    options = {"tolerance": Tolerance(atol=0.1)}
    result = compare({"x": F32, "y": F32}, {"x": F32 + 0.05, "y": F32 + 1}, **options)
    assert only(result.close).name == "x"
    assert only(result.changed).name == "y"
    assert compare({"x": F32}, {"x": F32 + 0.05}, **options).same


def test_selection() -> None:
    a = {"m/w": F32, "m/w/Adam": F32, "n/w": F32, "global_step": np.int64(1)}
    b = {name: value + 1 for name, value in a.items()}
    assert {c.name for c in compare(a, b, match=["m/**"]).changed} == {"m/w", "m/w/Adam"}
    assert {c.name for c in compare(a, b, exclude=["m"]).changed} == {"n/w", "global_step"}
    result = compare(a, b, roles=["variable"])
    assert {c.name for c in result.changed} == {"m/w", "n/w"}
    slot = {c.name: c for c in compare(a, b).changed}["m/w/Adam"]
    assert (slot.role, slot.owner) == ("slot", "m/w")


def test_a_selection_of_nothing_is_told() -> None:
    (notice,) = compare({"x": F32}, {"x": F32}, match=["y"]).notices
    assert (notice.code, notice.found) == ("INP010", "y")
    assert not compare({"x": F32}, {"x": F32}, match=["x"]).notices
    assert not compare({}, {}).notices


def test_prefixes() -> None:
    a = {"model/w": F32, "other": F32}
    result = compare(
        a, {"ema/w": F32, "other": F32}, strip_prefix_a="model/", strip_prefix_b="ema/"
    )
    assert result.same
    assert result.identical == ("w", "other")
    with pytest.raises(UsageError, match="two tensors"):
        compare({"p/w": F32, "w": F32}, {"w": F32}, strip_prefix_a="p/")


def test_a_damaged_tensor_does_not_hide_the_others() -> None:
    a = memory_checkpoint({"x": F32, "y": F32}, damaged=["x"])
    result = diff(a, memory_checkpoint({"x": F32, "y": F32 + 1}))
    assert [bad.name for bad in result.unreadable] == ["x"]
    assert result.unreadable[0].problems[0].code == "INP005"
    assert only(result.changed).name == "y"
    assert not result.same


def test_strings_scalars_and_empty_tensors() -> None:
    a = {"s": strings(b"a", b"b"), "empty": np.zeros((0, 3), np.float32), "one": np.float32(2)}
    result = compare(a, {**a, "s": strings(b"a", b"c")})
    assert only(result.changed).name == "s"
    assert result.identical == ("empty", "one")


# --- bundles: what the index tells ---------------------------------------------------------------


def no_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("tensor data was read")

    monkeypatch.setattr(Comparison, "run", refuse)


def test_equal_bundles_are_told_by_their_indexes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrays = {"w": F32, "s": strings(b"x", b"yz"), "e": np.zeros(0, np.int32)}
    a = bundle(tmp_path / "a", arrays)
    b = bundle(tmp_path / "b", {**arrays, "a_first": np.zeros(9, np.int64)})  # other offsets
    for path in (*tmp_path.glob("*/*.data*"),):
        path.unlink()  # nothing but the indexes is left
    no_reads(monkeypatch)
    result = diff(a, b)
    assert len(result.identical) == result.by_index == 3
    assert [item.name for item in result.added] == ["a_first"]


def test_full_reads_all_the_same(tmp_path: Path) -> None:
    a, b = bundle(tmp_path / "a", {"w": F32}), bundle(tmp_path / "b", {"w": F32})
    result = diff(a, b, DiffOptions(full=True))
    assert (result.identical, result.by_index) == (("w",), 0)
    data = next((tmp_path / "b").glob("*.data*"))
    raw = bytearray(data.read_bytes())
    raw[5] ^= 64
    data.write_bytes(raw)
    assert diff(a, b).same
    damaged = diff(a, b, DiffOptions(full=True))
    assert damaged.unreadable[0].problems[0].code == "INP005"
    assert only(diff(a, b, DiffOptions(full=True, check=False)).changed).name == "w"


def test_a_checksum_that_does_not_match_is_told(tmp_path: Path) -> None:
    # Large enough for several stretches, whose checksums are put together.
    array = np.arange(6_000_000, dtype=np.float32)
    a, b = bundle(tmp_path / "a", {"w": array}), bundle(tmp_path / "b", {"w": array + 1})
    change = only(diff(a, b).changed)
    assert change.metrics is not None
    assert change.metrics.elements == array.size
    data = next((tmp_path / "a").glob("*.data*"))
    with data.open("r+b") as file:
        file.seek(20_000_000)
        file.write(b"\x01")
    problem = diff(a, b).unreadable[0].problems[0]
    assert problem.code == "INP005"
    assert problem.where is not None
    assert problem.where.startswith(str(data))


def test_equal_bytes_in_another_byte_order_are_not_told_by_the_index(tmp_path: Path) -> None:
    odd = np.frombuffer(b"\x00\x01\x01\x00", np.uint8).view(np.int16)  # 256, 1
    little = bundle(tmp_path / "a", {"x": odd})
    big = bundle(tmp_path / "b", {"x": odd.byteswap()}, big=True)  # the same bytes
    change = only(diff(little, big).changed)
    assert change.metrics is not None
    assert change.metrics.max_abs == 255


def test_big_endian_float32(tmp_path: Path) -> None:
    little, big = (bundle(tmp_path / str(b), {"x": F32}, big=b) for b in (False, True))
    assert diff(little, big).same
    assert diff(big, big, DiffOptions(full=True)).same


def test_partitioned_against_whole_and_against_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.arange(40, dtype=np.float32).reshape(10, 4)
    made = Bundle()
    made.add_slices(b"w", array, [[(0, 3), (0, FULL)], [(3, 7), (0, FULL)]])
    parts = Checkpoint(open_bundle(made.write(tmp_path)))
    whole = bundle(tmp_path / "w", {"w": array})
    assert diff(parts, whole).by_index == 0
    assert diff(parts, whole).same
    no_reads(monkeypatch)
    assert diff(parts, parts).by_index == 1


def test_a_file_that_is_cut_while_it_is_read(tmp_path: Path) -> None:
    a = bundle(tmp_path / "a", {"w": np.ones(3_000_000, np.float32)})
    b = bundle(tmp_path / "b", {"w": np.zeros(3_000_000, np.float32)})
    sides = [Side(one.reader, {"w": "w"}) for one in (a, b)]
    run = Comparison(sides[0], sides[1], [Pair("w", "w")])
    assert sides[1].region("w") is not None
    os.truncate(next((tmp_path / "b").glob("*.data*")), 5_000_000)
    outcome = run.run()[0]
    assert outcome.metrics is None
    assert outcome.problems[0].code == "INP007"


def test_one_thread_and_many_agree(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    arrays = {f"v{i}": random.normal(size=200_000).astype(np.float32) for i in range(8)}
    arrays["half"] = arrays["v0"].astype(np.float16)
    a = bundle(tmp_path / "a", arrays)
    b = bundle(tmp_path / "b", {name: value * 2 for name, value in arrays.items()})
    one = diff(a, b, DiffOptions(threads=1)).changed
    assert one == diff(a, b, DiffOptions(threads=4)).changed
    assert len(one) == 9


def test_progress_adds_up(tmp_path: Path) -> None:
    a = bundle(tmp_path / "a", {"w": F32, "i": np.int32([1])})
    b = bundle(tmp_path / "b", {"w": F32 + 1, "i": np.int32([2])})
    totals: list[int] = []
    done: list[int] = []

    def begin(total: int) -> Any:
        totals.append(total)
        return done.append

    diff(a, b, progress=begin)
    assert totals == [sum(done)] == [2 * (24 + 4)]


@pytest.mark.parametrize("length", [0, 1, 7, 4096, 1 << 20])
def test_combined_checksums(length: int) -> None:
    first, second = b"some bytes", bytes(range(256)) * (length // 256) + b"x" * (length % 256)
    assert combine(crc32c(first), crc32c(second), length) == crc32c(first + second)


# --- the second process --------------------------------------------------------------------------


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Fork however little there is to do; counts the children."""
    if not hasattr(os, "fork"):
        pytest.skip("no fork on this system")
    started: list[int] = []
    start = forking.start

    def counted(work: Any) -> Any:
        started.append(1)
        return start(work)

    monkeypatch.setattr(comparing, "_WORTH_A_FORK", 1)
    monkeypatch.setattr(forking, "can_fork", lambda: True)
    monkeypatch.setattr(forking, "start", counted)
    return started


def test_a_second_process_tells_the_same(tmp_path: Path, forked: list[int]) -> None:
    random = np.random.default_rng(6)
    arrays = {f"v{i}": random.normal(size=300_000).astype(np.float32) for i in range(5)}
    arrays["big"] = random.normal(size=5_000_000).astype(np.float32)
    arrays["n"] = np.full(300_000, np.nan, np.float32)
    arrays["ints"] = np.arange(5)
    a = bundle(tmp_path / "a", arrays)
    b = bundle(tmp_path / "b", {name: value * 3 for name, value in arrays.items()})
    told: list[int] = []
    one = diff(a, b, DiffOptions(threads=1))
    two = diff(a, b, DiffOptions(threads=2, fork=True), progress=lambda _: told.append)
    assert forked
    assert told
    assert [item.name for item in one.changed] == [item.name for item in two.changed]
    for x, y in zip(one.changed, two.changed, strict=True):
        assert x.metrics == pytest.approx(y.metrics, rel=1e-9)


def test_a_second_process_finds_damage_too(tmp_path: Path, forked: list[int]) -> None:
    arrays = {f"v{i}": np.full(100_000, i, np.float32) for i in range(6)}
    a = bundle(tmp_path / "a", arrays)
    b = bundle(tmp_path / "b", {name: value + 1 for name, value in arrays.items()})
    data = next((tmp_path / "b").glob("*.data*"))
    raw = bytearray(data.read_bytes())
    for index in range(6):
        raw[index * 400_000 + 7] ^= 1
    data.write_bytes(raw)
    result = diff(a, b, DiffOptions(threads=2, fork=True))
    assert forked
    assert len(result.unreadable) == 6
    assert {bad.problems[0].code for bad in result.unreadable} == {"INP005"}


def test_a_second_process_that_fails_is_told(forked: list[int]) -> None:
    def fail() -> None:
        raise KeyError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        forking.start(fail)()
    with pytest.raises(RuntimeError, match="ended early"):
        forking.start(lambda: os._exit(9))()
    assert forking.start(lambda: (1, float("inf"), [2**70]))() == (1, float("inf"), [2**70])


# --- corners -------------------------------------------------------------------------------------


def test_a_tensor_without_a_name_is_compared() -> None:
    a, b = {"": F32, "x": F32}, {"": F32 + 1, "x": F32}
    result = compare(a, b)
    assert (only(result.changed).name, result.identical) == ("", ("x",))
    assert only(compare(a, b, strip_prefix_a="y").changed).name == ""


@pytest.mark.parametrize("tolerance", [Tolerance(float("nan")), Tolerance(0, -1.0)])
def test_tolerances_that_are_none(tolerance: Tolerance) -> None:
    with pytest.raises(UsageError, match="tolerance"):
        compare({"x": F32}, {"x": F32}, tolerance=tolerance)


def test_a_renamed_tensor_that_cannot_be_read_is_not_called_identical() -> None:
    a = memory_checkpoint({"old/w": F32, "old/v": F32[:1]}, damaged=["old/v"])
    b = memory_checkpoint({"new/w": F32, "new/v": F32[:1]})
    result = diff(a, b)
    changes = {item.b: item.change for item in result.renamed}
    assert changes["new/w"] is None
    change = changes["new/v"]
    assert change is not None
    assert change.metrics is None
    assert [bad.name for bad in result.unreadable] == ["new/v"]


def test_an_index_without_checksums_tells_nothing(tmp_path: Path) -> None:
    def without(folder: str, array: Any) -> Checkpoint:
        (tmp_path / folder).mkdir()
        made = Bundle()
        made.add(b"w", array)
        entry = made.entries[b"w"]
        assert entry[-5] == 0x35  # crc32c, the last field
        made.entries[b"w"] = entry[:-5]
        return Checkpoint(open_bundle(made.write(tmp_path / folder)))

    a, b = without("a", F32), without("b", F32 + 1)
    assert [bad.name for bad in diff(a, b).unreadable] == ["w"]
    assert diff(a, a).by_index == 0


def test_opaque_tensors_are_told_by_their_checksums(tmp_path: Path) -> None:
    sides = []
    for folder, fill in (("a", 1), ("b", 2)):
        (tmp_path / folder).mkdir()
        made = Bundle()
        made.add(b"v", np.full((), fill, np.uint8), "variant")
        sides.append(Checkpoint(open_bundle(made.write(tmp_path / folder))))
    change = only(diff(*sides).changed)
    assert (change.kind, change.metrics) == ("value", None)
    assert diff(sides[0], sides[0]).same


DTYPES = sorted(
    dtype.name for dtype in BY_NAME.values() if dtype.itemsize and dtype.kind != "quantized"
)


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("fork", [False, True])
def test_stored_elements_of_every_dtype(
    tmp_path: Path, name: str, fork: bool, request: pytest.FixtureRequest
) -> None:
    """Read by offset, through a reader, and in a second process: the same numbers."""
    if fork:
        request.getfixturevalue("forked")
    dtype = BY_NAME[name]
    random = np.random.default_rng(len(name))
    arrays = []
    for _ in range(2):
        raw = random.integers(0, 256, 3_000_000 // dtype.itemsize * dtype.itemsize, np.uint8)
        raw[: dtype.itemsize * 5000] = 1  # the same on both sides
        arrays.append(elements(raw.tobytes(), dtype))
    a, b = (
        bundle(tmp_path / str(index), {"w": one, "w2": one[:999]})
        for index, one in enumerate(arrays)
    )
    found = {item.name: item for item in diff(a, b, DiffOptions(threads=2, fork=fork)).changed}
    memory = diff(*(memory_checkpoint({"w": one, "w2": one[:999]}) for one in arrays))
    assert list(found) == [item.name for item in memory.changed]
    for key in found:
        size = len(arrays[0]) if key == "w" else 999
        one, two = found[key].metrics, tallied(arrays[0][:size], arrays[1][:size]).metrics()
        assert one is not None
        for field, value in two._asdict().items():
            ours = getattr(one, field)
            if value is None:
                assert ours is None, field
            else:
                assert ours == pytest.approx(value, rel=1e-6, abs=1e-6 * (field == "cosine")), field
        assert type(one.max_abs) is type(two.max_abs)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.complex64])
def test_damage_in_any_dtype_is_told(tmp_path: Path, dtype: Any) -> None:
    array = np.arange(3000).astype(dtype)
    a, b = bundle(tmp_path / "a", {"w": array}), bundle(tmp_path / "b", {"w": array + dtype(1)})
    data = next((tmp_path / "b").glob("*.data*"))
    raw = bytearray(data.read_bytes())
    raw[70] ^= 1
    data.write_bytes(raw)
    problem = diff(a, b).unreadable[0].problems[0]
    assert problem.code == "INP005"
    assert only(diff(a, b, DiffOptions(check=False)).changed).name == "w"


def test_a_disk_that_fails_is_told_of_its_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = bundle(tmp_path / "a", {"w": F32, "s": strings(b"x")})
    b = bundle(tmp_path / "b", {"w": F32 + 1, "s": strings(b"y")})

    def fail(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(comparing, "read_into", fail)
    result = diff(a, b)
    assert [bad.name for bad in result.unreadable] == ["w"]
    assert "Input/output error" in str(result.unreadable[0].problems)
    assert only(result.changed).name == "s"


def test_a_file_that_cannot_be_opened_is_told_of_its_tensors(tmp_path: Path) -> None:
    sides = []
    for folder, plus in (("a", 0), ("b", 1)):
        (tmp_path / folder).mkdir()
        made = Bundle(shards=2)
        made.add(b"v", F32 + plus, shard=0)
        made.add(b"w", F32 + plus, shard=1)
        sides.append(Checkpoint(open_bundle(made.write(tmp_path / folder))))
    shard = next((tmp_path / "b").glob("*.data-00001-*"))
    shard.unlink()
    result = diff(*sides)
    assert [bad.name for bad in result.unreadable] == ["w"]
    assert only(result.changed).name == "v"
    shard.symlink_to(shard)  # is there, and cannot be opened
    assert [bad.name for bad in diff(*sides).unreadable] == ["w"]
