"""Means of streams, against exact arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.analysis.means import is_averaged, mean_blocks, rounded
from ckpttool.errors import InputError
from ckpttool.tensors import BY_NAME, dtype_named

NARROW = ("bfloat16", "float8_e5m2", "float8_e4m3fn", "float4_e2m1fn", "float8_e4m3b11fnuz")
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)


def pieces(array: Any, cut: int) -> Iterator[Any]:
    return (array[at : at + cut] for at in range(0, len(array), cut))


def mean(arrays: Sequence[Any], dtype: str, weights: Sequence[float] | None = None) -> Any:
    """The mean of arrays that are cut differently."""
    streams = [pieces(array, 3 + number) for number, array in enumerate(arrays)]
    blocks = list(mean_blocks(streams, weights, dtype))
    kind = dtype_named(dtype).numpy
    assert all(block.dtype == kind for block in blocks)
    return np.concatenate([np.empty(0, kind), *blocks])


def test_only_floating_point_numbers_have_a_mean() -> None:
    found = {name for name in BY_NAME if is_averaged(name)}
    assert {"float32", "bfloat16", "complex64", "float16", "float64"} <= found
    assert not found & {"int32", "bool", "string", "int64", "qint8", "resource"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(numbers, min_size=5, max_size=5), min_size=2, max_size=5))
def test_the_mean_of_float32_is_rounded_once(rows: list[list[float]]) -> None:
    found = mean([np.array(row, np.float32) for row in rows], "float32")
    for column, value in enumerate(found):
        exact = sum(Fraction(row[column]) for row in rows) / len(rows)
        # The sum in float64 may be off by a few of its last bits, which float32 hardly sees.
        size = max(abs(Fraction(row[column])) for row in rows)
        ulp = Fraction(float(np.spacing(np.float32(abs(float(exact))))))
        assert abs(Fraction(float(value)) - exact) <= ulp * Fraction(51, 100) + size / 2**50


@pytest.mark.parametrize("dtype", NARROW)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_narrow_types_are_rounded_to_the_nearest(dtype: str, data: st.DataObject) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype))
    known = np.arange(256 if kind.itemsize == 1 else 65536, dtype=f"u{kind.itemsize}").view(kind)
    if dtype == "float4_e2m1fn":
        known = known[:16]
    with np.errstate(all="ignore"):
        wide = known.astype(np.float64)
    finite = np.unique(wide[np.isfinite(wide)])
    place = data.draw(st.integers(0, len(finite) - 2))
    low, high = float(finite[place]), float(finite[place + 1])
    middle = low + (high - low) / 2
    nudge = data.draw(st.sampled_from([-1.0, 0.0, 1.0]))
    value = np.nextafter(middle, nudge * np.inf) if nudge else middle
    found = float(rounded(np.array([value]), kind).astype(np.float64)[0])
    if nudge:
        assert found == (low if nudge < 0 else high)
    else:
        direct = float(np.array([middle]).astype(kind).astype(np.float64)[0])
        assert found == direct
        assert found in (low, high)


def test_what_is_equal_stays_as_it_is() -> None:
    for dtype in ("float64", "float32", "float16", "bfloat16", "complex128", "complex64"):
        kind = dtype_named(dtype).numpy
        array = np.random.default_rng(0).normal(size=4000).astype(kind)
        for count in (2, 3, 7, 10):
            assert mean([array] * count, dtype).tobytes() == array.tobytes(), (dtype, count)
        weights = [0.1, 0.7, 0.3]
        assert mean([array] * 3, dtype, weights).tobytes() == array.tobytes(), dtype


def test_signed_zeros_nan_and_infinity() -> None:
    a = np.array([-0.0, 0.0, np.nan, np.inf, np.inf, -np.inf], np.float32)
    b = np.array([-0.0, -0.0, 1.0, np.inf, -np.inf, 1.0], np.float32)
    for dtype in ("float32", "bfloat16", "float64"):
        kind = dtype_named(dtype).numpy
        found = mean([a.astype(kind), b.astype(kind)], dtype).astype(np.float64)
        assert np.signbit(found[0])
        assert not np.signbit(found[1])
        assert np.isnan(found[2])
        assert found[3] == np.inf
        assert np.isnan(found[4])
        assert found[5] == -np.inf


def test_weights() -> None:
    a, b = np.array([1.0, 2.0], np.float32), np.array([4.0, 8.0], np.float32)
    assert mean([a, b], "float32", [2.0, 1.0]).tolist() == [2.0, 4.0]
    assert mean([a, b], "float32", [0.0, 5.0]).tolist() == [4.0, 8.0]
    assert mean([np.array([1 + 1j]), np.array([3 + 5j])], "complex128").tolist() == [2 + 3j]


def test_a_sum_that_float32_and_float16_could_not_hold() -> None:
    big = np.full(3, 3e38, np.float32)
    assert np.array_equal(mean([big] * 4, "float32"), big)
    half = np.full(3, 60000, np.float16)
    assert np.array_equal(mean([half, half], "float16"), half)
    small = [np.array([1.0], np.float32)] + [np.array([1e-8], np.float32)] * 999
    assert mean(small, "float32")[0] == np.float32((1 + 999 * float(np.float32(1e-8))) / 1000)


def test_one_stream_that_ends_early() -> None:
    whole, cut = np.zeros(10, np.float32), np.zeros(7, np.float32)
    for streams in ([whole, cut], [cut, whole]):
        with pytest.raises(InputError, match="ends before"):
            mean(streams, "float32")
    assert len(mean([whole[:0], whole[:0]], "float32")) == 0
