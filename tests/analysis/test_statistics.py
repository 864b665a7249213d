"""Statistics against NumPy on the whole array, whatever the dtype and however it is cut."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import strings

from ckpttool.analysis import statistics
from ckpttool.analysis.statistics import Counter, Partial, Statistics, statistics_of

FLOATS = {
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "bfloat16": ml_dtypes.bfloat16,
    "float8_e5m2": ml_dtypes.float8_e5m2,
    "float8_e4m3fn": ml_dtypes.float8_e4m3fn,
}


def expected_floats(array: Any) -> tuple[Any, ...]:
    wide = array.astype(np.float64)
    finite = wide[np.isfinite(wide)]
    known = wide[~np.isnan(wide)]
    return (
        float(known.min()) if known.size else None,
        float(known.max()) if known.size else None,
        float(finite.mean()) if finite.size else None,
        float(finite.std()) if finite.size else None,
        int((wide == 0).sum()),
        int(np.isnan(wide).sum()),
        int(np.isinf(wide).sum()),
    )


def assert_close(ours: Statistics, theirs: tuple[Any, ...]) -> None:
    assert ours[:2] == theirs[:2]
    assert ours[4:] == theirs[4:]
    for a, b in zip(ours[2:4], theirs[2:4], strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            assert a == pytest.approx(b, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", FLOATS)
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_floats(name: str, data: st.DataObject) -> None:
    values = data.draw(
        st.lists(
            st.floats(-200, 200) | st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0]),
            max_size=30,
        )
    )
    with np.errstate(all="ignore"):
        array = np.array(values, np.float64).astype(FLOATS[name])
    cut = data.draw(st.integers(0, len(values)))
    theirs = expected_floats(array)
    if name == "float8_e4m3fn":
        assert theirs[6] == 0
        theirs = (*theirs[:6], None)
    assert_close(statistics_of(name, [array[:cut], array[cut:]]), theirs)


@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), max_size=40),
    cut=st.integers(0, 40),
    block=st.integers(1, 50),
)
@settings(max_examples=60, deadline=None)
def test_merging_and_blocks_change_nothing(values: list[float], cut: int, block: int) -> None:
    array = np.array(values, np.float64)
    whole = statistics_of("float64", [array])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(statistics, "_BLOCK", block)
        first, second = Partial("float64"), Partial("float64")
        first.add(array[:cut])
        second.add(array[cut:])
        first.merge(second)
    ours = first.result()
    assert (*ours[:2], *ours[4:]) == (*whole[:2], *whole[4:])
    assert first.count == len(values)
    if whole.mean is not None:
        assert ours.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-9)
        assert ours.std == pytest.approx(whole.std, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint32", "int64", "uint64"])
def test_integers_are_exact_at_their_limits(dtype: str) -> None:
    info = np.iinfo(dtype)
    found = statistics_of(dtype, [np.array([info.min, info.max, 0, info.max - 1], dtype)])
    assert (found.min, found.max) == (info.min, info.max)
    assert isinstance(found.max, int)
    assert (found.nan, found.inf) == (None, None)
    assert found.zeros == (2 if info.min == 0 else 1)


def test_small_and_named_integers() -> None:
    four = np.array([-8, 7, 0, 0], ml_dtypes.int4)
    assert statistics_of("int4", [four])[:5] == (-8, 7, -0.25, pytest.approx(5.30919, rel=1e-5), 2)
    assert statistics_of("uint4", [np.array([0, 15], ml_dtypes.uint4)]).max == 15
    assert statistics_of("qint8", [np.array([-3, 5], np.int8)])[:3] == (-3, 5, 1.0)


def test_booleans_count_as_zero_and_one() -> None:
    found = statistics_of("bool", [np.array([True, False, True, True])])
    assert found == Statistics(0, 1, 0.75, pytest.approx(math.sqrt(3) / 4), 1, None, None)


def test_complex_numbers_have_no_order() -> None:
    values = [1 + 2j, 3 - 4j, 0, complex(math.nan, 1), complex(math.inf, 0)]
    found = statistics_of("complex64", [np.array(values, np.complex64)])
    good = np.array(values[:3])
    assert (found.min, found.max, found.zeros, found.nan, found.inf) == (None, None, 1, 1, 1)
    assert found.mean == pytest.approx((good.mean().real, good.mean().imag))
    assert found.std == pytest.approx(good.std())


def test_strings_have_nothing_but_empty_ones() -> None:
    assert statistics_of("string", [strings(b"", b"a", b"")]) == Statistics(zeros=2)


def test_what_cannot_be_decoded_has_nothing() -> None:
    assert statistics_of("variant", []) == Statistics()


@pytest.mark.parametrize("dtype", ["float32", "int64", "complex128", "bool"])
def test_empty_tensors(dtype: str) -> None:
    found = statistics_of(dtype, [np.empty((0, 3), dtype)])
    assert found[:5] == (None, None, None, None, 0)


def test_nothing_but_nan() -> None:
    found = statistics_of("float32", [np.full(3, np.nan, np.float32)])
    assert found == Statistics(None, None, None, None, 0, 3, 0)


def test_infinities_are_extremes_but_not_in_the_mean() -> None:
    found = statistics_of("float32", [np.array([1, np.inf, 3, -np.inf], np.float32)])
    assert found == Statistics(-math.inf, math.inf, 2.0, 1.0, 0, 0, 2)


def test_a_large_offset_does_not_drown_the_spread() -> None:
    array = 1e9 + np.array([4.0, 7.0, 13.0, 16.0] * 50_000)
    found = statistics_of("float64", [array])
    assert found.mean == pytest.approx(1e9 + 10)
    assert found.std == pytest.approx(math.sqrt(22.5), rel=1e-6)


@pytest.mark.skipif(np.finfo(np.longdouble).maxexp <= 1024, reason="no wider float here")
def test_squares_beyond_float64() -> None:
    found = statistics_of("float64", [np.array([1e300, -1e300]), np.array([1e300, -1e300])])
    assert found.std == pytest.approx(1e300)
    tiny = statistics_of("float64", [np.array([1e-300, -1e-300])])
    assert tiny.std == pytest.approx(1e-300)


def counted(dtype: str, array: Any, bins: int = 10) -> Any:
    partial = Partial(dtype)
    partial.add(array)
    counter = Counter(partial, bins)
    counter.add(array)
    return counter.result()


def test_a_histogram_is_numpys() -> None:
    array = np.random.default_rng(3).standard_normal(10_000).astype(np.float32)
    ours = counted("float32", array, 25)
    counts, edges = np.histogram(array.astype(np.float64), 25)
    assert list(ours.counts) == counts.tolist()
    assert ours.edges == pytest.approx(edges.tolist())


@given(values=st.lists(st.floats(width=32), min_size=1, max_size=50), bins=st.integers(1, 30))
@settings(max_examples=60, deadline=None)
def test_a_histogram_counts_every_finite_value(values: list[float], bins: int) -> None:
    array = np.array(values, np.float32)
    found = counted("float32", array, bins)
    finite = int(np.isfinite(array).sum())
    if not finite:
        assert found is None
        return
    assert sum(found.counts) == finite
    assert len(found.edges) == len(found.counts) + 1
    assert list(found.edges) == sorted(found.edges)


def test_the_widest_range_of_all() -> None:
    top = np.finfo(np.float64).max
    found = counted("float64", np.array([-top, 0.0, top]), 4)
    assert found.counts == (1, 0, 1, 1)
    assert all(math.isfinite(edge) for edge in found.edges)


def test_few_integers_get_a_bin_each() -> None:
    found = counted("int64", np.array([3, 4, 4, 6]), 20)
    assert (found.edges, found.counts) == ((3, 4, 5, 6, 7), (1, 2, 0, 1))


def test_a_constant_is_one_bin() -> None:
    assert counted("float32", np.full(5, 2.5, np.float32)).counts == (5,)


@pytest.mark.parametrize("dtype", ["complex64", "float32"])
def test_nothing_to_count(dtype: str) -> None:
    array = np.ones(3, dtype) if dtype == "complex64" else np.full(3, np.inf, dtype)
    assert counted(dtype, array) is None


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="no wider float on this platform")
def test_integers_beyond_a_floats_digits_keep_their_spread() -> None:
    array = np.array([2**64 - 1, 2**64 - 3], np.uint64)
    assert statistics_of("uint64", [array]).std == 1.0
