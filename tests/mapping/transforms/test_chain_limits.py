"""Chains that would never end, or recurse too deeply, are refused before anything is computed."""

from __future__ import annotations

import pytest

from ckpttool.mapping.transforms.base import ArraySpec, TransformError
from ckpttool.mapping.transforms.chain import MAX_DEPTH, Chain
from ckpttool.mapping.transforms.each import Each
from ckpttool.mapping.transforms.joining import Concat
from ckpttool.mapping.transforms.layout import Transpose

SPEC = ArraySpec("float32", (0, 4))  # of a size that does not grow


def test_a_chain_has_a_limited_length() -> None:
    assert Chain([Transpose()] * MAX_DEPTH).infer([SPEC])
    with pytest.raises(TransformError, match="too many transforms"):
        Chain([Transpose()] * (MAX_DEPTH + 1)).infer([SPEC])


def test_doubling_over_and_over_is_refused() -> None:
    twice = [Each(chains=(Chain(), Chain())), Concat(axis=0)]
    assert Chain(twice * 12).infer([SPEC]).specs == (SPEC,)
    with pytest.raises(TransformError, match="over and over"):
        Chain(twice * 13).infer([SPEC])
    inner = [Each(chains=(Chain(twice),))]
    with pytest.raises(TransformError, match="over and over"):
        Chain(inner * 13).infer([SPEC])


def test_a_thousand_arrays_are_joined() -> None:
    assert Chain([Concat(axis=0)]).infer([SPEC] * 1000).specs[0].shape == (0, 4)
