"""Slice keys: known bytes, round trips, order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.formats.tensorflow.ordered_code import (
    FULL,
    decode_signed,
    decode_slice_key,
    encode_signed,
    encode_slice_key,
)

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (0, "80"),
        (63, "bf"),
        (64, "c040"),
        (137, "c089"),
        (8191, "dfff"),
        (8255, "e0203f"),
        (2191745, "f0217181"),
        (1 << 35, "fc0800000000"),
        ((1 << 62) + 5, "ffc04000000000000005"),
        (-1, "7f"),
        (-64, "40"),
        (-65, "3fbf"),
        (-2048, "3800"),
    ],
)
def test_signed_numbers_as_tensorflow_writes_them(value: int, stored: str) -> None:
    assert encode_signed(value).hex() == stored
    assert decode_signed(bytes.fromhex(stored) + b"\xff", 0) == (value, len(stored) // 2)


@settings(max_examples=100, deadline=None)
@given(INT64, INT64)
def test_signed_numbers_sort_like_their_bytes(a: int, b: int) -> None:
    assert (a < b) == (encode_signed(a) < encode_signed(b))
    assert decode_signed(encode_signed(a), 0)[0] == a


@pytest.mark.parametrize(
    ("name", "extents", "stored"),
    [
        (b"p/w", [(0, 3), (0, 2)], "00702f7700010102 80838082"),
        (b"w", [(1, 3), (0, FULL)], "00770001 0102 8183807f"),
        (b"w\0\xffz", [], "007700ffff007a000100"),
        (b"x", [(0, FULL)], "00780001 0101 807f"),
    ],
)
def test_keys_as_tensorflow_writes_them(
    name: bytes, extents: list[tuple[int, int]], stored: str
) -> None:
    key = bytes.fromhex(stored.replace(" ", ""))
    assert encode_slice_key(name, extents) == key
    assert decode_slice_key(key) == (name, tuple(extents))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=20), st.lists(st.tuples(INT64, INT64), max_size=4), st.binary(max_size=3))
def test_keys_round_trip_and_nothing_else_decodes(
    name: bytes, extents: list[tuple[int, int]], extra: bytes
) -> None:
    key = encode_slice_key(name, extents)
    assert decode_slice_key(key) == (name, tuple(extents))
    for size in range(len(key)):
        assert decode_slice_key(key[:size]) is None
    if extra:
        assert decode_slice_key(key + extra) is None


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"plain",
        b"\0a",
        b"\0\0\x02\0",
        b"\0\xff\x01\0\x01\0",
        b"\0\0\x01\x09" + b"1" * 9,
        b"\0\0\x01\x02\xff\xff",
        b"\0\0\x01\x01\x01" + b"\xff" * 12,
    ],
)
def test_other_keys_are_not_slices(key: bytes) -> None:
    assert decode_slice_key(key) is None
