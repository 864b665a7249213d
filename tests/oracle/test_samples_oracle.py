"""Every tensor of every sample, equal to what TensorFlow restores.

``RestoreV2`` is asked, not the checkpoint reader: it reads what the reader refuses (V1 slices and
dtypes).  What TensorFlow itself cannot open is compared through the sample's twin, or left to the
manifest, which was written when the values were known.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import open_checkpoint
from ckpttool.tensors import BY_NAME

pytestmark = pytest.mark.oracle
FOLDER = Path(__file__).resolve().parents[2] / "sample_ckpts"
MANIFEST = json.loads((FOLDER / "MANIFEST.json").read_text("utf-8"))
SAMPLES = [item for item in MANIFEST["samples"] if item["format"] != "meta-graph"]
# A prefix with glob characters is a pattern to TensorFlow, and an empty one is no prefix.
UNREADABLE = {"odd names/model [v1]*.ckpt", "empty_basename", "empty_basename/"}


def _prefix(checkpoint: Any) -> str:
    info = checkpoint.info
    if info.format in ("saved-model", "hub-module"):
        return str(Path(info.path) / "variables" / "variables")
    return (
        f"{info.path}-?????-of-{info.shards:05}"
        if info.format == "tf-v1" and (info.shards > 1)
        else str(info.path)
    )


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda item: item["path"])
def test_every_value(sample: dict[str, Any], tf: Any) -> None:
    if sample["path"] in UNREADABLE:
        pytest.skip("TensorFlow takes this path for a pattern")
    with open_checkpoint(str(FOLDER / sample["path"])) as checkpoint:
        prefix = _prefix(checkpoint)
        for name, spec in checkpoint.specs.items():
            try:
                key = name.encode("utf-8", "surrogateescape")
                dtype = tf.dtypes.as_dtype(BY_NAME[spec.dtype].enum)
                restored = tf.raw_ops.RestoreV2(
                    prefix=prefix, tensor_names=[key], shape_and_slices=[""], dtypes=[dtype]
                )[0]
            except tf.errors.OpError as error:
                if spec.dtype == "variant" or "not implemented" in str(error).lower():
                    continue  # TensorFlow cannot join slices of every dtype
                raise
            _same(checkpoint.reader.read(name), restored.numpy(), name)


def _same(ours: np.ndarray[Any, Any], theirs: Any, name: str) -> None:
    theirs = np.asarray(theirs, dtype=object) if ours.dtype == object else np.asarray(theirs)
    assert ours.shape == theirs.shape, name
    if ours.dtype == object:
        assert [bytes(item) for item in ours.ravel()] == [bytes(item) for item in theirs.ravel()]
    elif ours.dtype.name in ("int4", "uint4", "int2", "uint2"):
        assert np.array_equal(ours.astype(np.int8), theirs.astype(np.int8)), name
    else:
        assert ours.tobytes() == np.ascontiguousarray(theirs).view(ours.dtype).tobytes(), name
