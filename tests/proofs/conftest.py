"""Proofs share graphs; a heavy one runs only when it is asked for."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))  # for `import tf1_layers`


@pytest.fixture(scope="session")
def keras(tf: Any) -> Any:
    """Keras 3, imported after TensorFlow is known to be there."""
    return pytest.importorskip("keras", minversion="3.8", reason="Keras 3.8 is not installed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the heavy ones out, unless ``-m`` speaks of them."""
    if "heavy" in config.option.markexpr:
        return
    heavy = [item for item in items if item.get_closest_marker("heavy")]
    if heavy:
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if not item.get_closest_marker("heavy")]
