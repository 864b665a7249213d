"""Runs models that need Keras 2 in a process of their own: transformers, tf-models-official.

    TF_USE_LEGACY_KERAS=1 python outside.py JOB.json

The job names a ``library``, a ``model`` of it, its ``config``, the file or folder of its weights,
and ``inputs`` and ``outputs`` (npz): inputs are ``[batch, 3, length]``, ids, mask and segments.
Every weight of the model has to be in the file.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def transformers(job: dict[str, Any], tf: Any) -> Any:
    """A function from an input to the outputs of a model of Hugging Face's, loaded from a folder."""
    import transformers as library
    from transformers import modeling_tf_utils

    modeling_tf_utils.safe_open = _iterable(modeling_tf_utils.safe_open)
    folder = Path(job["weights"])
    config = getattr(library, job["config_class"])(**job["config"])
    config.save_pretrained(folder)
    model, info = getattr(library, job["model"]).from_pretrained(folder, output_loading_info=True)
    if info["missing_keys"] or info["mismatched_keys"]:
        raise SystemExit(f"not loaded: {info}")
    if set(info["unexpected_keys"]) - set(job.get("unexpected", ())):
        raise SystemExit(f"no place for: {info['unexpected_keys']}")

    def run(packed: Any) -> Any:
        fed = {"input_ids": packed[:, 0], "attention_mask": packed[:, 1]}
        if job.get("segments", True):
            fed["token_type_ids"] = packed[:, 2]
        return dict(model({key: tf.constant(value) for key, value in fed.items()}))

    return run


def _iterable(safe_open: Any) -> Any:
    """``safe_open`` whose files can be iterated over, as the loader for TensorFlow does."""

    class Archive:
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self._file = safe_open(*args, **kwargs)

        def __enter__(self) -> Archive:
            self._file.__enter__()
            return self

        def __exit__(self, *error: Any) -> None:
            self._file.__exit__(*error)

        def __iter__(self) -> Any:
            return iter(self._file.keys())

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

    return Archive


def tf_models(job: dict[str, Any], tf: Any) -> Any:
    """The same, of an encoder of tf-models-official, restored from an object-based checkpoint."""
    from official.nlp.modeling import networks

    model = getattr(networks, job["model"])(**job["config"])

    def run(packed: Any) -> Any:
        fed = {"input_word_ids": packed[:, 0], "input_mask": packed[:, 1]}
        fed["input_type_ids"] = packed[:, 2]
        found = model({key: tf.constant(value) for key, value in fed.items()})
        return {key: found[key] for key in ("sequence_output", "pooled_output")}

    import numpy as np

    run(np.ones((1, 3, 4), "int32"))  # makes the variables
    status = tf.train.Checkpoint(**{job["root"]: model}).restore(job["weights"])
    status.assert_existing_objects_matched()
    status.assert_consumed()
    return run


def main(path: str) -> None:
    """Do the job of a file."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import numpy as np
    import tensorflow as tf

    job = json.loads(Path(path).read_text("utf-8"))
    run = {"transformers": transformers, "tf_models": tf_models}[job["library"]](job, tf)
    found = {}
    with np.load(job["inputs"]) as inputs:
        for key in inputs.files:
            for name, value in run(inputs[key]).items():
                if not isinstance(value, (tuple, list)):
                    found[f"{key}/{name}"] = np.asarray(value)
    np.savez(job["outputs"], **found)


if __name__ == "__main__":
    main(sys.argv[1])
