"""Fixtures that the whole suite shares."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # for `import support`


@pytest.fixture(scope="session")
def samples() -> Path:
    """The folder of committed samples."""
    return ROOT / "sample_ckpts"


@pytest.fixture(scope="session")
def real_ckpts() -> Path:
    """Checkpoints that other people made; not part of the repository."""
    folder = Path(os.environ.get("CKPTTOOL_REAL_CKPTS", ROOT.parent / "shared" / "real_ckpts"))
    if not (folder / "MANIFEST.tsv").is_file():
        pytest.skip("no folder of real checkpoints here: set CKPTTOOL_REAL_CKPTS to run this")
    return folder


@pytest.fixture(scope="session")
def tf() -> Any:
    """TensorFlow, imported once for the whole session."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    return pytest.importorskip("tensorflow", reason="TensorFlow is not installed")
