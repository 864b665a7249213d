"""Verdicts."""

from __future__ import annotations

import numpy as np
import pytest

from ckpttool.mapping.proving.agreement import Measured, distance, hints, judge, measured

NAN = float("nan")


@pytest.mark.parametrize(
    ("error", "sensitivity", "magnitude", "verdict"),
    [
        (0.0, 1.0, 1.0, "equal"),
        (6.2e-5, 0.77, 2.2, "equal"),  # InceptionV3, right
        (1.5e-7, 1.5e-2, 0.55, "equal"),  # GPT-2, right
        (8.3e-4, 0.81, 1.2, "close"),  # MobileNetV3: a gate of 0.16667
        (0.57, 0.60, 2.3, "different"),  # ResNet50V2 with other padding
        (1.8e-7, 1e-7, 0.931, "nothing"),  # a dead network, wrong
        (0.0, 0.0, 0.0, "nothing"),
        (0.0, 0.0, 5.0, "nothing"),
        (NAN, 1.0, 1.0, "different"),
        (0.0, NAN, 1.0, "nothing"),
        (0.0, float("inf"), float("inf"), "nothing"),
    ],
)
def test_an_error_beside_what_the_input_moves(
    error: float, sensitivity: float, magnitude: float, verdict: str
) -> None:
    found, reasons = judge(Measured(error, sensitivity, magnitude), 1e-4, "float32")
    assert found == verdict
    assert bool(reasons) == (verdict != "equal")


def test_the_worst_of_all_draws_counts() -> None:
    a, b = np.zeros((2, 3)), np.ones((2, 3))
    assert measured([a, b], [a, b], 1.0) == (0.0, 1.0, 1.0)
    assert measured([a, b], [a, b + 0.5], 1.0).error == 0.5
    assert measured([a, -3 * b], [a, -3 * b], 1.0).magnitude == 3.0
    assert np.isnan(distance(a, a * np.nan))


def test_what_would_explain_it() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 5))
    powers = np.exp(logits)
    soft = powers / powers.sum(-1, keepdims=True)
    assert "softmax of the graph" in hints(logits, soft, 1e-6)[0]
    assert "softmax of the model" in hints(soft, logits, 1e-6)[0]
    assert "reverse" in hints(logits, logits[::-1], 1e-6)[0]
    assert hints(logits, logits * 2, 1e-6) == []
    assert hints(np.float64(1), np.float64(2), 1e-6) == []  # type: ignore[arg-type]
