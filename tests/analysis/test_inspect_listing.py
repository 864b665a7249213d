"""The lines of ``inspect_checkpoint`` and the count behind them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import memory_checkpoint, strings

from ckpttool.analysis.inspect_listing import (
    ParameterCount,
    count_lines,
    count_parameters,
    tensor_line,
)
from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.errors import UsageError


@pytest.fixture
def checkpoint() -> Checkpoint:
    return memory_checkpoint(
        {
            "w": np.zeros((4, 3), np.float32),
            "w/Adam": np.zeros((4, 3), np.float32),
            "w/ExponentialMovingAverage": np.zeros((4, 3), np.float32),
            "global_step": np.array(1, np.int64),
            "words": strings(b"a", b"b"),
        },
        parts={"w": [2, 2]},
    )


def test_everything_counts_once(checkpoint: Checkpoint) -> None:
    assert count_parameters(checkpoint) == ParameterCount(39, 14, None, 12, 12, 1)


def test_what_is_excluded_is_told(checkpoint: Checkpoint) -> None:
    count = count_parameters(checkpoint, "Adam|global")
    assert (count.total, count.excluded_tensors, count.excluded_parameters) == (26, 2, 13)
    assert list(count_lines(count, "current")) == [
        "# Excluding 2 tensors (13 params) that match Adam|global when counting.",
        "# Total number of params: 26",
    ]


def test_no_pattern_and_no_match_differ(checkpoint: Checkpoint) -> None:
    assert len(list(count_lines(count_parameters(checkpoint), "current"))) == 1
    assert len(list(count_lines(count_parameters(checkpoint, "zzz"), "current"))) == 2


def test_a_bad_pattern_is_a_usage_error(checkpoint: Checkpoint) -> None:
    with pytest.raises(UsageError) as caught:
        count_parameters(checkpoint, "(")
    assert caught.value.problems[0].code == "USE003"


@pytest.mark.parametrize(
    ("style", "line"),
    [
        ("current", "tensor: a/b (float32) [4, 3]"),
        ("old", "tensor_name:  a/b"),
        ("debug", "a/b (DT_FLOAT) [4,3]"),
    ],
)
def test_the_three_styles(style: str, line: str) -> None:
    assert tensor_line("a/b", "float32", (4, 3), style) == line


def test_closing_lines(checkpoint: Checkpoint) -> None:
    count = count_parameters(checkpoint)
    assert list(count_lines(count, "old")) == []
    assert list(count_lines(count, "debug")) == ["", "# Total number of params: 39"]


def test_scalars_have_empty_brackets() -> None:
    assert tensor_line("s", "string", (), "current") == "tensor: s (string) []"
    assert tensor_line("s", "string", (), "debug") == "s (DT_STRING) []"


def test_what_only_the_graph_has_does_not_count(samples: Path) -> None:
    with open_checkpoint(str(samples / "saver_subset")) as checkpoint:
        assert any(not row.saved for row in checkpoint.rows())
        stored = sum(spec.parameters for spec in checkpoint.specs.values())
        assert count_parameters(checkpoint).total == stored
