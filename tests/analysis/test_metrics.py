"""Metrics against a plain reference, and at the corners of every dtype."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ckpttool.analysis.blocks import BLOCK, Float32Blocks
from ckpttool.analysis.metrics import Metrics, Tally, Tolerance, Wide
from ckpttool.analysis.tallying import compare
from ckpttool.analysis.widening import BYTE_INTS, SMALL_FLOATS, widen
from ckpttool.formats.streaming import elements
from ckpttool.tensors import dtype_named

INF, NAN = float("inf"), float("nan")
QUICK = settings(max_examples=100, deadline=None)


def metrics(a: Any, b: Any, dtype: Any = np.float64, **tolerance: float) -> Metrics:
    x, y = np.array(a, dtype).reshape(-1), np.array(b, dtype).reshape(-1)
    return compare(x, y, Tolerance(**tolerance)).metrics()


def fast(a: np.ndarray, b: np.ndarray, cut: int | None = None, **tolerance: float) -> Metrics:
    """The same through the float32 buffers, in pieces of at most ``cut``."""
    blocks = Float32Blocks(Tolerance(**tolerance))
    step = cut or BLOCK
    with np.errstate(all="ignore"):
        for start in range(0, len(a), step):
            part = a[start : start + step]
            blocks.fill(part, b[start : start + step])
            blocks.add(len(part))
    return blocks.finish().metrics()


def exact(a: np.ndarray, b: np.ndarray) -> tuple[Fraction, Fraction, Fraction, Fraction, Fraction]:
    """Maximum, sum of |d|, and squares of d, a and b, over finite places, without rounding."""
    pairs = [
        (Fraction(float(x)), Fraction(float(y)))
        for x, y in zip(a.tolist(), b.tolist(), strict=True)
        if math.isfinite(x) and math.isfinite(y)
    ]
    distances = [abs(x - y) for x, y in pairs]
    return (
        max(distances, default=Fraction(0)),
        sum(distances, Fraction(0)),
        sum((d * d for d in distances), Fraction(0)),
        sum((x * x for x, _ in pairs), Fraction(0)),
        sum((y * y for _, y in pairs), Fraction(0)),
    )


def same(x: float, y: float) -> bool:
    return x == y or (math.isnan(x) and math.isnan(y))


def check(found: Metrics, a: np.ndarray, b: np.ndarray, rel: float) -> None:
    """Compare with exact arithmetic."""
    largest, total, dd, aa, bb = exact(a, b)
    pairs = list(zip(a.tolist(), b.tolist(), strict=True))
    assert found.elements == len(pairs)
    assert found.differing == sum(not same(x, y) for x, y in pairs)
    assert found.nan_a == sum(math.isnan(x) for x, _ in pairs)
    assert found.inf_b == sum(math.isinf(y) for _, y in pairs)
    apart = any(
        not same(x, y) and (math.isinf(x) or math.isinf(y)) and not (x != x or y != y)
        for x, y in pairs
    )
    if apart:
        assert found.max_abs == found.mean_abs == found.rel_l2 == INF
        assert found.cosine is None
        return
    finite = sum(math.isfinite(x) and math.isfinite(y) for x, y in pairs)
    if not finite:
        return
    assert found.max_abs == pytest.approx(number(largest), rel=rel, abs=0)
    assert found.mean_abs == pytest.approx(number(total / finite), rel=rel, abs=0)
    if not dd:
        assert found.rel_l2 == 0
    elif not aa:
        assert found.rel_l2 == INF
    else:
        assert found.rel_l2 == pytest.approx(root(dd / aa), rel=rel, abs=0)
    if bool(aa) != bool(bb):
        assert found.cosine is None
    elif not aa:
        assert found.cosine == 1


def number(value: Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        return INF


def root(value: Fraction) -> float:
    """The square root of a fraction that may lie outside float64's range."""
    shift = (value.numerator.bit_length() - value.denominator.bit_length()) // 2
    scaled = math.sqrt(value / Fraction(4) ** shift)
    try:
        return math.ldexp(scaled, shift)
    except OverflowError:
        return INF


# --- against exact arithmetic --------------------------------------------------------------------


def pairs_of(dtype: Any, **elements: Any) -> st.SearchStrategy[tuple[np.ndarray, np.ndarray]]:
    width = np.dtype(dtype).itemsize * 8
    floats = st.floats(width=width, **elements)
    corners = st.sampled_from(
        [0.0, -0.0, 1.0, float(np.finfo(dtype).tiny), float(np.finfo(dtype).smallest_subnormal)]
        + [float(np.finfo(dtype).max), -float(np.finfo(dtype).max)]
        + ([] if elements else [INF, -INF, NAN])
    )
    values = st.one_of(floats, corners)
    sizes = st.shared(st.integers(0, 40), key="size")
    arrays = sizes.flatmap(lambda n: hnp.arrays(dtype, n, elements=values))
    return st.tuples(arrays, arrays)


@given(pairs_of(np.float64))
@QUICK
def test_float64_against_fractions(pair: tuple[np.ndarray, np.ndarray]) -> None:
    check(compare(*pair).metrics(), *pair, rel=1e-12)


@given(pairs_of(np.float32))
@QUICK
def test_float32_buffers_against_fractions(pair: tuple[np.ndarray, np.ndarray]) -> None:
    check(fast(*pair), *pair, rel=1e-6)


@given(pairs_of(np.float32), st.integers(1, 7))
@QUICK
def test_pieces_merge_to_the_same(pair: tuple[np.ndarray, np.ndarray], cut: int) -> None:
    check(fast(*pair, cut=cut), *pair, rel=1e-6)
    total = Tally()
    for start in range(0, len(pair[0]), cut):
        part = slice(start, start + cut)
        total.merge(compare(pair[0][part], pair[1][part]))
    check(total.metrics(), *pair, rel=1e-12)


@pytest.mark.parametrize("count", [1, 2047, 2048, 2049, BLOCK - 1, BLOCK, BLOCK + 5])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e25])
def test_large_float32_is_as_good_as_float64(count: int, scale: float) -> None:
    random = np.random.default_rng(count)
    a = (random.normal(size=count) * scale).astype(np.float32)
    b = a.copy()
    changed = random.random(count) < 0.5
    b[changed] *= np.float32(1.01)
    found = fast(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert found.differing == np.count_nonzero(a != b)
    assert found.max_abs == pytest.approx(np.abs(x - y).max(), rel=1e-6)
    assert found.mean_abs == pytest.approx(np.abs(x - y).mean(), rel=1e-6)
    norm = np.linalg.norm(x)
    assert found.rel_l2 == pytest.approx(np.linalg.norm(x - y) / norm, rel=1e-6)
    assert found.cosine == pytest.approx(x @ y / norm / np.linalg.norm(y), abs=1e-6)


@pytest.mark.parametrize("factor", [1e-6, 0.1, 30.0, -1.0, 1e6])
def test_cosine_of_vectors_of_unlike_norms(factor: float) -> None:
    random = np.random.default_rng(3)
    a = random.normal(size=5000).astype(np.float32)
    b = (random.normal(size=5000) * factor + a * factor).astype(np.float32)
    x, y = a.astype(np.float64), b.astype(np.float64)
    expected = x @ y / np.linalg.norm(x) / np.linalg.norm(y)
    assert fast(a, b).cosine == pytest.approx(expected, abs=1e-6)


# --- corners -------------------------------------------------------------------------------------


def test_equal_nan_and_infinity_are_the_same() -> None:
    found = metrics([NAN, INF, -INF, 1.0], [NAN, INF, -INF, 1.0])
    assert (found.differing, found.max_abs, found.rel_l2, found.cosine) == (0, 0, 0, 1)
    assert (found.nan_a, found.nan_b, found.inf_a, found.inf_b) == (1, 1, 2, 2)


def test_nan_against_a_number_is_a_change_without_a_distance() -> None:
    found = metrics([1.0, 2.0], [NAN, 2.5])
    assert (found.differing, found.nan_a, found.nan_b) == (2, 0, 1)
    assert (found.max_abs, found.mean_abs, found.rel_l2) == (0.5, 0.5, 0.25)
    nothing = metrics([1.0], [NAN])
    assert (nothing.differing, nothing.max_abs, nothing.rel_l2, nothing.cosine) == (
        1,
        None,
        None,
        None,
    )


def test_infinity_against_a_number() -> None:
    found = metrics([INF, 1.0], [5.0, 1.0])
    assert (found.differing, found.max_abs, found.rel_l2) == (1, INF, INF)
    assert metrics([INF], [-INF]).max_abs == INF


def test_signed_zeros_are_equal() -> None:
    assert metrics([0.0], [-0.0], np.float32).differing == 0
    assert fast(np.array([0.0], np.float32), np.array([-0.0], np.float32)).differing == 0


def test_zero_norms() -> None:
    both = metrics([0.0, 0.0], [0.0, 0.0])
    assert (both.rel_l2, both.cosine) == (0, 1)
    first = metrics([0.0, 0.0], [0.0, 2.0])
    assert (first.rel_l2, first.cosine) == (INF, None)
    second = metrics([0.0, 2.0], [0.0, 0.0])
    assert (second.rel_l2, second.cosine) == (1, None)


def test_empty() -> None:
    found = metrics([], [])
    assert (found.elements, found.differing, found.changed_fraction) == (0, 0, 0.0)


@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int8, np.uint8, np.int32, np.uint16])
def test_integer_extremes_do_not_overflow(dtype: Any) -> None:
    low, high = int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)
    found = metrics([low, high, high], [high, low, high], dtype)
    assert found.max_abs == high - low
    assert isinstance(found.max_abs, int)
    assert found.mean_abs == pytest.approx(2 * (high - low) / 3)
    assert found.differing == 2


@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)), max_size=8))
@QUICK
def test_signed_against_unsigned_64_bits(pairs: list[tuple[int, int]]) -> None:
    a = np.array([x for x, _ in pairs], np.int64)
    b = np.array([y for _, y in pairs], np.uint64)
    tally = compare(a, b)
    distances = [abs(x - y) for x, y in pairs]
    assert tally.max_abs == max(distances, default=0)
    assert tally.sum_abs == sum(distances)
    assert tally.differing == sum(map(bool, distances))
    assert compare(b, a).sum_abs == tally.sum_abs


def test_int64_neighbours_that_float64_cannot_tell_apart() -> None:
    found = metrics([2**62], [2**62 + 1], np.int64)
    assert (found.differing, found.max_abs) == (1, 1)


def test_bool() -> None:
    found = metrics([True, False, True, True], [True, True, False, True], bool)
    assert (found.differing, found.max_abs, found.mean_abs) == (2, 1, 0.5)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex(dtype: Any) -> None:
    a, b = [3 + 4j, 1j], [3 + 4j, -1j]
    found = metrics(a, b, dtype)
    assert (found.differing, found.max_abs, found.mean_abs) == (1, 2, 1)
    assert found.rel_l2 == pytest.approx(2 / math.sqrt(26))
    assert found.cosine == pytest.approx(24 / 26)
    odd = metrics([complex(NAN, 1), complex(INF, 0)], [complex(1, NAN), complex(INF, 0)], dtype)
    assert (odd.differing, odd.nan_a, odd.inf_a) == (0, 1, 1)


def test_complex_does_not_overflow() -> None:
    big = complex(1e308, 1e308)
    found = metrics([big], [big / 2], np.complex128)
    assert found.rel_l2 == pytest.approx(0.5)
    assert found.cosine == pytest.approx(1)


@pytest.mark.parametrize(
    "name",
    ["bfloat16", "float8_e5m2", "float8_e4m3fn", "float16", "int4", "uint4", "float4_e2m1fn"],
)
def test_small_types(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name, None) or name)
    a, b = np.array([1, 2, 3], dtype), np.array([1, 2, 1], dtype)
    found = compare(a, b).metrics()
    assert (found.differing, found.max_abs) == (1, 2)
    assert found.rel_l2 == pytest.approx(2 / math.sqrt(14))


def test_strings_are_compared_as_bytes() -> None:
    a, b = np.array([b"a", b"\xff", b""], object), np.array([b"a", b"\xfe", b""], object)
    found = compare(a, b).metrics()
    assert (found.elements, found.differing, found.max_abs, found.cosine) == (3, 1, None, None)


def test_tolerances() -> None:
    assert metrics([1.0, 100.0], [1.05, 100.0], atol=0.1).beyond == 0
    assert metrics([1.0, 100.0], [1.05, 109.0], rtol=0.08).beyond == 1
    assert metrics([NAN, INF], [NAN, INF], atol=1).beyond == 0
    assert metrics([NAN, INF, INF], [1.0, 1.0, -INF], atol=1e300, rtol=1e9).beyond == 3
    assert metrics([10], [13], np.int64, atol=3).beyond == 0
    assert metrics([10], [14], np.int64, atol=3).beyond == 1
    a, b = np.array([1, 100], np.float32), np.array([1.05, 109], np.float32)
    assert fast(a, b, atol=20).beyond == 0
    assert fast(a, b, rtol=0.08).beyond == 1
    assert fast(a, b).beyond == 2


def test_wide_numbers() -> None:
    big = Wide(1.0, 5000)
    assert big.number() == INF
    assert big.plus(Wide(1.0, 0)).exponent == 5000
    assert big.root() == Wide(1.0, 2500)
    assert Wide(1.0, 5001).over(big) == 2.0
    assert Wide(2.0, 3).plus(Wide()) == Wide(2.0, 3)


def test_a_difference_whose_square_leaves_float32() -> None:
    a = np.float32([1.5e19])  # its square does not, nor does the other's
    found = fast(a, -a)
    assert (found.rel_l2, found.cosine) == (2, -1)
    assert found.norm_a == pytest.approx(1.5e19)


@pytest.mark.parametrize("swap", [False, True])
def test_large_integers_against_floats(swap: bool) -> None:
    whole = np.array([2**62 + 1, -(2**63), 2**53 + 1, 5, 7, 2**63 - 1], np.int64)
    real = np.array([2.0**62, -(2.0**63), 2.0**53, 5.5, NAN, 2.0**63])
    found = compare(*((real, whole) if swap else (whole, real))).metrics()
    assert (found.differing, found.max_abs) == (5, 1)
    assert found.mean_abs == 3.5 / 5
    top = compare(np.array([2**64 - 1], np.uint64), np.array([2.0**64])).metrics()
    assert (top.differing, top.max_abs) == (1, 1)
    assert compare(whole, real, Tolerance(atol=1)).metrics().beyond == 1
    assert compare(np.array([3], np.int8), np.float32([2.5])).metrics().max_abs == 0.5


@given(pairs_of(np.float64), pairs_of(np.float64))
@QUICK
def test_complex_against_fractions(real: Any, imaginary: Any) -> None:
    size = min(len(real[0]), len(imaginary[0]))
    a, b = (np.empty(size, np.complex128) for _ in "ab")
    for side, x, y in zip((a, b), real, imaginary, strict=True):
        side.real, side.imag = x[:size], y[:size]
    found = compare(a, b).metrics()
    assert found.elements == size
    nan = [np.isnan(x.real) | np.isnan(x.imag) for x in (a, b)]
    assert (found.nan_a, found.nan_b) == tuple(int(x.sum()) for x in nan)
    assert found.differing == size - int(((a == b) | (nan[0] & nan[1])).sum())
    both = np.isfinite(a) & np.isfinite(b)
    with np.errstate(all="ignore"):
        alike = bool(((a == b) | nan[0] | nan[1])[~both].all())
    if not alike:
        assert found.max_abs == INF
    elif both.any():
        pairs = [
            (Fraction(x.real) - Fraction(y.real), Fraction(x.imag) - Fraction(y.imag))
            for x, y in zip(a[both].tolist(), b[both].tolist(), strict=True)
        ]
        largest = max((u * u + v * v for u, v in pairs), default=Fraction(0))
        assert found.max_abs == pytest.approx(root(largest) if largest else 0, rel=1e-12, abs=0)


HALVES = np.arange(65536, dtype=np.uint16)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("finite", [False, True])
def test_every_half_is_widened_exactly(dtype: Any, finite: bool) -> None:
    values = HALVES.view(dtype)
    if finite:
        values = values[np.isfinite(values.astype(np.float32))]
    out = np.empty(len(values), np.float32)
    widen(values, out)
    np.testing.assert_array_equal(out, values.astype(np.float32))
    assert np.array_equal(np.signbit(out), np.signbit(values.astype(np.float32)))


@pytest.mark.parametrize("name", sorted({*SMALL_FLOATS, *BYTE_INTS} - {"float32"}))
def test_every_byte_is_widened_exactly(name: str) -> None:
    dtype = dtype_named(name)
    values = elements(HALVES.tobytes(), dtype)
    out = np.empty(len(values), np.float32)
    with np.errstate(all="ignore"):
        widen(values, out)
        np.testing.assert_array_equal(out, values.astype(np.float32))
