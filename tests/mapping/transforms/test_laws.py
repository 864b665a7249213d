"""Every transform against plain NumPy, over random arrays: specs, streams, regions, inverses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import MemoryReader

from ckpttool.mapping.transforms import lazy, workspace
from ckpttool.mapping.transforms.base import ArraySpec, Lazy, TransformError
from ckpttool.mapping.transforms.chain import Chain
from ckpttool.mapping.transforms.parse import chain_of
from ckpttool.mapping.transforms.table import TRANSFORMS

Array = np.ndarray[Any, Any]
Case = tuple[list[Array], list[Any], list[Array]]  # inputs, chain, expected outputs

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOATS = [np.dtype(np.float32), BFLOAT16, np.dtype(np.float64), np.dtype(np.float16)]
OTHERS = [np.dtype(np.int64), np.dtype(np.uint8), np.dtype(bool), np.dtype(object)]
QUICK = settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


class Draw:
    """Random pieces of a case."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.random = np.random.default_rng(self.number(0, 2**32))

    def number(self, least: int, most: int) -> int:
        """An integer."""
        return self.data.draw(st.integers(least, most))

    def shape(self, least: int = 0, most: int = 4, smallest: int = 0) -> tuple[int, ...]:
        """Sizes, some of them 0 or 1."""
        return tuple(self.number(smallest, 6) for _ in range(self.number(least, most)))

    def array(self, shape: Sequence[int], dtype: Any = None) -> Array:
        """Random elements, small enough to be added and squared in any dtype."""
        dtype = dtype or self.data.draw(st.sampled_from([*FLOATS, *OTHERS]))
        values = self.random.normal(size=tuple(shape)) * 8
        if dtype.kind == "O":
            out = np.empty(tuple(shape), object)
            out[...] = 0
            out.reshape(-1)[:] = [b"%d" % int(v * 1000) for v in values.reshape(-1)]
            return out
        if dtype.kind == "b":
            return np.asarray(values > 0)
        return np.asarray(np.abs(values) if dtype.kind == "u" else values).astype(dtype)

    def floats(self, shape: Sequence[int]) -> Array:
        """Random floating-point elements."""
        return self.array(shape, self.data.draw(st.sampled_from(FLOATS)))

    def axis(self, rank: int) -> int:
        """An axis, some of them counted from the last."""
        return self.number(-rank, rank - 1)


def _taken(x: Array, place: int, axis: int) -> Array:
    return np.take(x, [place], axis).squeeze(axis)


def _reshape(d: Draw) -> Case:
    a, b, c = (d.number(1, 5) for _ in range(3))
    x = d.array((a, b * c))
    return [x], [{"reshape": [0, b, -1]}], [x.reshape(a, b, c)]


def _transpose(d: Draw) -> Case:
    x = d.array(d.shape())
    if d.number(0, 3) == 0:
        return [x], ["transpose"], [x.T]
    perm = d.random.permutation(x.ndim).tolist()
    return [x], [{"transpose": perm}], [np.transpose(x, perm)]


def _squeeze(d: Draw) -> Case:
    shape = d.shape()
    x = d.array((*shape, 1))
    return [x], [{"squeeze": -1}], [x[..., 0]]


def _expand(d: Draw) -> Case:
    x = d.array(d.shape())
    axis = d.number(0, x.ndim)
    return [x], [{"expand": axis}], [np.expand_dims(x, axis)]


def _flip(d: Draw) -> Case:
    x = d.array(d.shape(1))
    axis = d.axis(x.ndim)
    return [x], [{"flip": axis}], [np.flip(x, axis)]


def _slice(d: Draw) -> Case:
    x = d.array(d.shape(1))
    axis = d.axis(x.ndim)
    size = x.shape[axis]
    low = d.number(0, size)
    high = d.number(low, size)
    at = [slice(None)] * x.ndim
    at[axis] = slice(low, high)
    given = {"axis": axis, "start": low - size if low < size and d.number(0, 1) else low}
    if high < size or d.number(0, 1):
        given["stop"] = high
    return [x], [{"slice": given}], [x[tuple(at)]]


def _index(d: Draw) -> Case:
    x = d.array(d.shape(1, smallest=1))
    axis = d.axis(x.ndim)
    place = d.number(-x.shape[axis], x.shape[axis] - 1)
    return [x], [{"index": {"axis": axis, "at": place}}], [_taken(x, place, axis)]


def _pad(d: Draw) -> Case:
    x = d.array(d.shape(1))
    axis, before, after = d.axis(x.ndim), d.number(0, 3), d.number(0, 3)
    widths = [(0, 0)] * x.ndim
    widths[axis] = (before, after)
    value = d.number(0, 1) if x.dtype != object else 0
    fill: Any = b"" if x.dtype == object else value
    out = np.full([n + sum(w) for n, w in zip(x.shape, widths, strict=True)], fill, x.dtype)
    out[tuple(slice(w[0], w[0] + n) for n, w in zip(x.shape, widths, strict=True))] = x
    given = {"axis": axis, "before": before, "after": after, "value": value}
    return [x], [{"pad": given}], [out]


def _permute_blocks(d: Draw) -> Case:
    shape = list(d.shape(1))
    axis = d.axis(len(shape))
    if d.number(0, 1):
        widths = [d.number(0, 3) for _ in range(d.number(1, 4))]
        order: list[Any] = [d.number(0, len(widths) - 1) for _ in range(d.number(1, 6))]
        given: dict[str, Any] = {"widths": widths, "order": order}
    else:
        count, width = d.number(1, 4), d.number(0, 3)
        widths = [width] * count
        order = d.random.permutation(count).tolist()
        order.insert(d.number(0, count), d.data.draw(st.sampled_from(["zero", 0])))
        given = {"of": count, "order": order}
    shape[axis] = sum(widths)
    x = d.array(shape)
    ends = np.cumsum(widths)
    parts = []
    for block in order:
        number = 0 if block == "zero" else block
        part = np.take(x, np.arange(ends[number] - widths[number], ends[number]), axis)
        if block == "zero":
            part = np.full(part.shape, b"" if x.dtype == object else 0, x.dtype)
        parts.append(part)
    return [x], [{"permute_blocks": {"axis": axis, **given}}], [np.concatenate(parts, axis)]


def _reorder_gates(d: Draw) -> Case:
    units = d.number(0, 4)
    x = d.array((d.number(0, 5), 4 * units))
    i, j, f, o = np.split(x, 4, 1)
    given = {"from": "ijfo", "to": d.data.draw(st.sampled_from(["ifco", "IFGO", "ifjo"]))}
    return [x], [{"reorder_gates": given}], [np.concatenate([i, f, j, o], 1)]


def _split(d: Draw) -> Case:
    shape = list(d.shape(1))
    axis = d.axis(len(shape))
    sizes = [d.number(0, 3) for _ in range(d.number(1, 4))]
    if d.number(0, 1):
        shape[axis] = len(sizes) * sizes[0]
        x = d.array(shape)
        given = {"axis": axis, "parts": len(sizes)}
        return [x], [{"split": given}], list(np.split(x, len(sizes), axis))
    shape[axis] = sum(sizes)
    x = d.array(shape)
    told: list[Any] = list(sizes)
    told[d.number(0, len(sizes) - 1)] = -1
    ends = np.cumsum(sizes)[:-1]
    return [x], [{"split": {"axis": axis, "sizes": told}}], list(np.split(x, ends, axis))


def _unstack(d: Draw) -> Case:
    x = d.array(d.shape(1, smallest=1))
    axis = d.axis(x.ndim)
    return [x], [{"unstack": axis}], [_taken(x, k, axis) for k in range(x.shape[axis])]


def _deinterleave(d: Draw) -> Case:
    x = d.array(d.shape(1))
    axis, parts = d.axis(x.ndim), d.number(1, 4)
    moved = np.moveaxis(x, axis, 0)
    expected = [np.moveaxis(moved[k::parts], 0, axis) for k in range(parts)]
    return [x], [{"deinterleave": {"axis": axis, "parts": parts}}], expected


def _concat(d: Draw) -> Case:
    shape = list(d.shape(1))
    axis = d.axis(len(shape))
    first = d.array(shape)
    arrays = [first]
    for _ in range(d.number(0, 3)):
        shape[axis] = d.number(0, 4)
        arrays.append(d.array(shape, first.dtype))
    return arrays, [{"concat": axis}], [np.concatenate(arrays, axis)]


def _stack(d: Draw) -> Case:
    first = d.array(d.shape(most=3))
    arrays = [first, *(d.array(first.shape, first.dtype) for _ in range(d.number(0, 3)))]
    axis = d.axis(first.ndim + 1)
    return arrays, [{"stack": axis}], [np.stack(arrays, axis)]


def _interleave(d: Draw) -> Case:
    arrays, _, _ = _deinterleave(d)
    axis = d.axis(arrays[0].ndim)
    count = d.number(1, 4)
    moved = np.moveaxis(arrays[0], axis, 0)
    parts = [np.moveaxis(moved[k::count], 0, axis) for k in range(count)]
    return parts, [{"interleave": axis}], [arrays[0]]


def _pick(d: Draw) -> Case:
    arrays = [d.array(d.shape(most=2)) for _ in range(d.number(1, 4))]
    order = [d.number(0, len(arrays) - 1) for _ in range(d.number(1, 5))]
    return arrays, [{"pick": order}], [arrays[number] for number in order]


def _each(d: Draw) -> Case:
    arrays = [d.array((d.number(0, 4), d.number(0, 4))) for _ in range(d.number(1, 3))]
    chains: list[Any] = [[{"flip": 0}, "transpose"], [], [{"expand": 0}, {"squeeze": 0}]]
    made = [lambda x: np.flip(x, 0).T, lambda x: x, lambda x: x]
    if len(arrays) == 1:
        return arrays, [{"each": chains}], [run(arrays[0]) for run in made]
    chosen = chains[: len(arrays)]
    results = [run(x) for run, x in zip(made, arrays, strict=False)]
    return arrays, [{"each": chosen}], results


def _work(x: Array) -> Array:
    return x if x.dtype == np.float64 else x.astype(np.float32)


def _add(d: Draw) -> Case:
    x = d.floats(d.shape())
    value = d.data.draw(st.sampled_from([1.0, -0.5, 0.1, 3]))
    wide = _work(x).copy()
    if not x.ndim or d.number(0, 1):
        wide = wide + wide.dtype.type(value)
        return [x], [{"add": value}], [wide.astype(x.dtype)]
    axis = d.axis(x.ndim)
    size = x.shape[axis]
    low = d.number(0, size)
    high = d.number(low, size)
    part = np.moveaxis(wide, axis, 0)[low:high]
    part += wide.dtype.type(value)
    given = {"value": value, "axis": axis, "start": low, "stop": high}
    return [x], [{"add": given}], [wide.astype(x.dtype)]


def _scale(d: Draw) -> Case:
    x = d.floats(d.shape())
    factor = d.data.draw(st.sampled_from([0.25, -2, 0.1, -1]))
    wide = _work(x)
    return [x], [{"scale": factor}], [(wide * wide.dtype.type(factor)).astype(x.dtype)]


def _square(d: Draw) -> Case:
    x = d.floats(d.shape())
    return [x], ["square"], [(_work(x) * _work(x)).astype(x.dtype)]


def _sum_blocks(d: Draw) -> Case:
    shape = list(d.shape(1))
    axis, count = d.axis(len(shape)), d.number(1, 3)
    shape[axis] *= count
    x = d.floats(shape)
    parts = [_work(part) for part in np.split(x, count, axis)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return [x], [{"sum_blocks": {"axis": axis, "of": count}}], [total.astype(x.dtype)]


def _cast(d: Draw) -> Case:
    x = d.array(d.shape(), d.data.draw(st.sampled_from([*FLOATS, np.dtype(np.uint8)])))
    wanted = d.data.draw(st.sampled_from([*FLOATS, np.dtype(np.int32), np.dtype(bool)]))
    return [x], [{"cast": wanted.name}], [x.astype(wanted)]


def _filled(name: str, value: Any) -> Callable[[Draw], Case]:
    def make(d: Draw) -> Case:
        x = d.array(d.shape(), d.data.draw(st.sampled_from([*FLOATS, np.dtype(np.int64)])))
        given: dict[str, Any] = {"value": value} if name == "constant" else {}
        shape, dtype = x.shape, x.dtype
        if d.number(0, 1):
            given["shape"] = ["d0*2" if x.ndim else 3, 2]
            shape = (2 * x.shape[0] if x.ndim else 3, 2)
        if d.number(0, 1):
            given["dtype"], dtype = "bfloat16", BFLOAT16
        return [x], [{name: given}], [np.full(shape, value).astype(dtype)]

    return make


CASES: dict[str, Callable[[Draw], Case]] = {
    "reshape": _reshape,
    "transpose": _transpose,
    "squeeze": _squeeze,
    "expand": _expand,
    "flip": _flip,
    "slice": _slice,
    "index": _index,
    "pad": _pad,
    "permute_blocks": _permute_blocks,
    "reorder_gates": _reorder_gates,
    "split": _split,
    "unstack": _unstack,
    "deinterleave": _deinterleave,
    "concat": _concat,
    "stack": _stack,
    "interleave": _interleave,
    "pick": _pick,
    "each": _each,
    "add": _add,
    "scale": _scale,
    "square": _square,
    "sum_blocks": _sum_blocks,
    "cast": _cast,
    "zeros": _filled("zeros", 0),
    "ones": _filled("ones", 1),
    "constant": _filled("constant", 7),
}
INVERTIBLE = {
    *("reshape", "transpose", "squeeze", "expand", "flip", "pad", "reorder_gates", "split"),
    *("unstack", "deinterleave", "concat", "stack", "interleave", "each"),
}


def bits(array: Array) -> Any:
    """What tells arrays apart: shape, dtype and every bit."""
    data = list(array.reshape(-1)) if array.dtype == object else array.tobytes()
    return array.shape, array.dtype, data


def spec_of(array: Array) -> ArraySpec:
    """The spec of an array in memory."""
    return ArraySpec("string" if array.dtype == object else array.dtype.name, array.shape)


def collected(source: Lazy, max_bytes: int) -> Array:
    """All that a stream gives, its pieces checked."""
    dtype, shape = source.spec
    numpy_dtype = np.dtype(object) if dtype == "string" else lazy.dtype_named(dtype).numpy
    pieces = list(source.stream(max_bytes))
    for piece in pieces:
        assert piece.ndim == 1
        assert piece.dtype == numpy_dtype
        if dtype != "string":
            assert piece.nbytes <= max(max_bytes, piece.itemsize)
    return np.concatenate([np.empty(0, numpy_dtype), *pieces]).reshape(shape)


def check(draw: Draw, sources: Sequence[Lazy], chain: Chain, expected: list[Array]) -> None:
    """Specs, streams and regions of what the chain makes."""
    inferred = chain.infer([source.spec for source in sources])
    made = chain.apply(sources)
    assert [item.spec for item in made] == list(inferred.specs)
    assert list(inferred.specs) == [spec_of(item) for item in expected]
    assert len(inferred.steps) == len(expected)
    for item, right in zip(made, expected, strict=True):
        max_bytes = draw.data.draw(st.sampled_from([1, 16, 50, 1 << 20]))
        assert bits(collected(item, max_bytes)) == bits(right)
        low = tuple(draw.number(0, size) for size in right.shape)
        high = tuple(draw.number(least, size) for least, size in zip(low, right.shape, strict=True))
        part = item.region(low, high)
        assert bits(np.array(part)) == bits(right[(*map(slice, low, high), ...)])


def held_in(
    mode: str, arrays: list[Array], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[workspace.Workspace, list[Lazy]]:
    """The arrays as the tensors of a checkpoint; ``disk`` keeps none of them in memory."""
    limit = 0 if mode == "disk" else 1 << 20
    monkeypatch.setattr(workspace, "KEPT_BYTES", limit)
    monkeypatch.setattr(lazy, "KEPT_BYTES", limit)
    reader = MemoryReader({str(number): array for number, array in enumerate(arrays)})
    space = workspace.Workspace(str(folder))
    return space, [lazy.leaf(reader, str(number), space) for number in range(len(arrays))]


def test_every_transform_is_tested_here() -> None:
    assert set(CASES) == set(TRANSFORMS)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("mode", ["memory", "disk"])
@given(data=st.data())
@QUICK
def test_a_transform_is_what_numpy_makes(
    name: str, mode: str, data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Draw(data)
    arrays, steps, expected = CASES[name](draw)
    space, leaves = held_in(mode, arrays, tmp_path, monkeypatch)
    with space:
        check(draw, leaves, chain_of(steps), expected)
    check(draw, [lazy.Held(array) for array in arrays], chain_of(steps), expected)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
@QUICK
def test_an_inverse_gives_every_bit_back(name: str, data: st.DataObject) -> None:
    draw = Draw(data)
    arrays, steps, expected = CASES[name](draw)
    chain = chain_of(steps)
    specs = [spec_of(array) for array in arrays]
    try:
        back = chain.inverse(specs)
    except TransformError:
        assert name not in INVERTIBLE
        return
    made = [lazy.Held(item) for item in expected]
    assert back.infer([item.spec for item in made]).specs == tuple(specs)
    results = [collected(item, 64) for item in back.apply(made)]
    if chain.rounds(specs):
        for result, array in zip(results, arrays, strict=True):
            wide = np.asarray(array, np.float64)
            assert np.allclose(np.asarray(result, np.float64), wide, rtol=0.02, atol=1.0)
    else:
        assert [bits(item) for item in results] == [bits(item) for item in arrays]


@given(data=st.data())
@QUICK
def test_an_inverse_without_shapes_is_the_same(data: st.DataObject) -> None:
    draw = Draw(data)
    name = data.draw(st.sampled_from(sorted(CASES)))
    arrays, steps, expected = CASES[name](draw)
    chain = chain_of(steps)
    try:
        back = chain.inverse(None, len(arrays))
    except TransformError:
        return
    made = [lazy.Held(item) for item in expected]
    results = [collected(item, 64) for item in back.apply(made)]
    assert [item.shape for item in results] == [item.shape for item in arrays]
    if not chain.rounds():
        assert [bits(item) for item in results] == [bits(item) for item in arrays]


def _follow(d: Draw, x: Array) -> tuple[Any, Callable[[Array], list[Array]]]:
    """A step that fits any array, and what NumPy does for it."""
    if not x.ndim:
        return {"expand": 0}, lambda a: [a[None]]
    axis = d.axis(x.ndim)
    size = x.shape[axis]
    cut = d.number(0, size)
    order = d.random.permutation(size).tolist() or [0]
    options: list[tuple[Any, Callable[[Array], list[Array]]]] = [
        ("transpose", lambda a: [a.T]),
        ({"flip": axis}, lambda a: [np.flip(a, axis)]),
        ({"reshape": [-1]}, lambda a: [a.reshape(-1)]),
        ({"split": {"axis": axis, "sizes": [cut, -1]}}, lambda a: np.split(a, [cut], axis)),
        ({"deinterleave": {"axis": axis, "parts": 2}}, lambda a: _dealt(a, axis)),
    ]
    if size:
        options += [
            (
                {"permute_blocks": {"axis": axis, "of": size, "order": order}},
                lambda a: [np.take(a, order, axis)],
            ),
            ({"unstack": axis}, lambda a: [_taken(a, k, axis) for k in range(size)]),
        ]
    return options[d.number(0, len(options) - 1)]


def _dealt(a: Array, axis: int) -> list[Array]:
    moved = np.moveaxis(a, axis, 0)
    return [np.moveaxis(moved[k::2], 0, axis) for k in range(2)]


@pytest.mark.parametrize("mode", ["memory", "disk"])
@given(data=st.data())
@QUICK
def test_chains(
    mode: str, data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps one after the other, joined again now and then; back to the beginning by inverses."""
    draw = Draw(data)
    x = draw.array(draw.shape(1))
    steps: list[Any] = []
    now = [x]
    for _ in range(draw.number(1, 5)):
        if len(now) > 1:
            if len({item.shape for item in now}) == 1 and draw.number(0, 1):
                steps.append("stack")
                now = [np.stack(now)]
            else:
                flat = [item.reshape(-1) for item in now]
                steps += [{"reshape": [-1]}, "concat"]
                now = [np.concatenate(flat)]
            continue
        step, run = _follow(draw, now[0])
        steps.append(step)
        now = run(now[0])
    space, leaves = held_in(mode, [x], tmp_path, monkeypatch)
    chain = chain_of(steps)
    with space:
        check(draw, leaves, chain, now)
        back = chain.inverse([spec_of(x)])
        results = back.apply([lazy.Held(item) for item in now])
        assert [bits(collected(item, 64)) for item in results] == [bits(x)]
