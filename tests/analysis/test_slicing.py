"""Slices: NumPy's meaning, in blocks, with the shape in every refusal."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import MemoryReader, strings

from ckpttool.analysis import slicing
from ckpttool.analysis.roles import VALUE_SUFFIX
from ckpttool.analysis.slicing import (
    Selection,
    read_edges,
    read_selected,
    resolve,
    row_blocks,
    select,
    sliced_shape,
)
from ckpttool.errors import EXIT_INPUT, EXIT_USAGE, TensorNotFoundError, UsageError
from ckpttool.tensors import TensorSpec


def specs(**shapes: tuple[int, ...]) -> dict[str, TensorSpec]:
    return {name: TensorSpec(name, "float32", shape) for name, shape in shapes.items()}


def one(word: str, names: list[str], shape: tuple[int, ...] = (4, 3)) -> list[Selection]:
    return select([word], {name: TensorSpec(name, "float32", shape) for name in names})


@pytest.mark.parametrize(
    ("word", "names", "expected"),
    [
        ("a/b", ["a/b", "a/b/Adam"], [Selection("a/b")]),
        ("a/b:0", ["a/b"], [Selection("a/b")]),
        ("a/b:0", ["a/b:0", "a/b"], [Selection("a/b:0")]),
        ("a/b[0:2,:]", ["a/b"], [Selection("a/b", "0:2,:")]),
        ("a/b:0[1]", ["a/b"], [Selection("a/b", "1")]),
        ("a[0]", ["a[0]", "a"], [Selection("a[0]")]),
        ("a[0][1]", ["a[0]", "a"], [Selection("a[0]", "1")]),
        ("k", ["k" + VALUE_SUFFIX], [Selection("k" + VALUE_SUFFIX)]),
        ("k[1]", ["k" + VALUE_SUFFIX], [Selection("k" + VALUE_SUFFIX, "1")]),
        ("l_*/w", ["l_1/w", "l_2/w", "b"], [Selection("l_1/w"), Selection("l_2/w")]),
        ("l_[12]", ["l_1", "l_2", "l_3"], [Selection("l_1"), Selection("l_2")]),
        ("l_*[0]", ["l_1", "l_2", "m"], [Selection("l_1", "0"), Selection("l_2", "0")]),
        ("scope", ["scope/a", "scope/b", "other"], [Selection("scope/a"), Selection("scope/b")]),
    ],
)
def test_what_a_word_means(word: str, names: list[str], expected: list[Selection]) -> None:
    assert one(word, names) == expected


def test_a_tensor_is_selected_once_and_in_the_order_asked_for() -> None:
    found = select(["b", "a", "*"], specs(a=(2,), b=(2,), c=(2,)))
    assert [item.name for item in found] == ["b", "a", "c"]


def test_an_alias_is_the_last_resort() -> None:
    table = {"graph_name": "key", "key": "other"}
    found = select(
        ["graph_name", "graph_name[0]", "key"], specs(key=(2,), other=(2,)), alias=table.get
    )
    assert found == [Selection("key"), Selection("key", "0")]


def test_every_unknown_name_is_told_with_its_nearest() -> None:
    with pytest.raises(TensorNotFoundError) as caught:
        select(["dense/kernle", "zz*"], specs(**{"dense/kernel": (2,), "bias": (2,)}), where="ck")
    first, second = caught.value.problems
    assert (first.code, first.where) == ("INP010", "ck")
    assert "dense/kernel" in (first.hint or "")
    assert "no tensor matches zz*" in second.message
    assert caught.value.exit_code == EXIT_INPUT


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("4", "4 is outside an axis of 4"),
        ("-5", "-5 is outside an axis of 4"),
        ("0,0,0", "too many axes"),
        ("...,...", "only one ..."),
        ("::0", "a step cannot be 0"),
        ("x", "x is no number"),
        ("0:1:1:1", "no slice"),
        ("0,,1", "axes"),
        ("", "empty"),
        ("1_0", "no number"),
        ("٣", "no number"),
        ("9" * 5000, "no number"),
    ],
)
def test_a_slice_that_does_not_fit_is_refused_with_the_shape(index: str, reason: str) -> None:
    with pytest.raises(UsageError) as caught:
        select([f"w[{index}]"], specs(w=(4, 3)))
    problem = caught.value.problems[0]
    assert (problem.code, caught.value.exit_code) == ("USE002", EXIT_USAGE)
    assert reason in problem.message
    assert "[4, 3]" in (problem.expected or "")
    assert "w" in problem.message


def test_all_misfits_of_a_glob_are_told_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        select(["*[3]"], specs(a=(2,), b=(4,), c=(1,)))
    assert len(caught.value.problems) == 2


def _text(item: Any) -> str:
    if item is Ellipsis:
        return "..."
    if isinstance(item, int):
        return str(item)
    parts = ["" if part is None else str(part) for part in (item.start, item.stop)]
    return ":".join(parts) + ("" if item.step is None else f":{item.step}")


bound = st.none() | st.integers(-7, 7)
step = st.none() | st.integers(-3, 3).filter(bool)
axis = st.integers(-7, 7) | st.builds(slice, bound, bound, step) | st.just(Ellipsis)


@given(
    shape=st.lists(st.integers(0, 5), min_size=0, max_size=3),
    index=st.lists(axis, min_size=1, max_size=4),
    piece=st.integers(1, 40),
)
@settings(max_examples=100, deadline=None)
def test_slices_mean_what_numpy_means(shape: list[int], index: list[Any], piece: int) -> None:
    array = np.arange(int(np.prod(shape, dtype=int)), dtype=np.int16).reshape(shape)
    reader = MemoryReader({"w": array})
    text = ",".join(_text(item) for item in index)
    try:
        expected = array[tuple(index)]
    except IndexError:
        with pytest.raises(UsageError):
            resolve(text, array.shape)
        return
    axes = resolve(text, array.shape)
    assert sliced_shape(axes, array.shape) == expected.shape
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slicing, "CHUNK_BYTES", piece)
        ours = read_selected(reader, reader.specs["w"], axes)
    assert (ours.dtype, ours.shape) == (array.dtype, expected.shape)
    assert ours.tolist() == expected.tolist()


@pytest.mark.parametrize("piece", [1, 5, 8, 21, 1000])
@pytest.mark.parametrize(
    "index",
    [
        np.s_[::-1],
        np.s_[9:1:-3, 1],
        np.s_[-2::-1, ::-1, 0],
        np.s_[1:9:4],
        np.s_[2],
        np.s_[-1, ..., 1],
        np.s_[..., ::2, :1],
        np.s_[5:2],
        np.s_[3:100],
    ],
)
def test_blocks_do_not_show(index: Any, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "CHUNK_BYTES", piece)
    array = np.arange(10 * 3 * 2, dtype=np.uint8).reshape(10, 3, 2)
    reader = MemoryReader({"w": array})
    text = ",".join(_text(item) for item in (index if isinstance(index, tuple) else (index,)))
    found = read_selected(reader, reader.specs["w"], resolve(text, array.shape))
    assert found.shape == array[index].shape
    assert found.tolist() == array[index].tolist()


@pytest.mark.parametrize("shape", [(), (3,), (100,), (7, 2), (8, 20), (30, 7, 9), (0, 4), (4, 0)])
@pytest.mark.parametrize("items", [1, 3])
def test_edges_print_as_the_whole_does(shape: tuple[int, ...], items: int) -> None:
    rng = np.random.default_rng(7)
    array = rng.standard_normal(shape).astype(np.float32)
    reader = MemoryReader({"w": array})
    edges = read_edges(reader, reader.specs["w"], items)
    with np.printoptions(threshold=0, edgeitems=items):
        assert str(edges) == str(array)
    assert edges.size <= (2 * items + 1) ** max(1, len(shape))


def test_edges_of_strings() -> None:
    array = strings(*(b"s%d" % at for at in range(20)))
    reader = MemoryReader({"w": array})
    with np.printoptions(threshold=0):
        assert str(read_edges(reader, reader.specs["w"], 3)) == str(array)


def test_row_blocks_are_whole_rows_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slicing, "CHUNK_BYTES", 50)
    array = np.arange(70, dtype=np.int32).reshape(10, 7)
    reader = MemoryReader({"w": array})
    blocks = list(row_blocks(reader, reader.specs["w"]))
    assert len(blocks) > 3
    assert np.concatenate([block for _, block in blocks]).tolist() == array.tolist()
    starts = [start for start, _ in blocks]
    assert starts == np.cumsum([0, *(len(block) for _, block in blocks[:-1])]).tolist()


def test_all_of_a_tensor_is_read_for_its_checksum() -> None:
    seen = []

    class Watched(MemoryReader):
        def chunks(self, name: str, max_bytes: int = 8) -> Any:
            for chunk in super().chunks(name, 8):
                seen.append(chunk.start)
                yield chunk

    reader = Watched({"w": np.arange(10, dtype=np.int32)})
    read_selected(reader, reader.specs["w"], resolve("0", (10,)))
    assert seen[-1] == 8
