"""Runs models of transformers and tf-models-official in a process of their own.

    TF_USE_LEGACY_KERAS=1 python outside.py JOB.json

The job names a ``library``, a ``model`` of it, its ``config``, the file or folder of its weights,
and ``inputs`` and ``outputs`` (npz): inputs are ``[batch, 3, length]``, ids, mask and segments.
Every weight of the model has to be in the file.  A job without inputs saves the model as it is
new, to ``weights``.  The models for TensorFlow need Keras 2, those for PyTorch nothing of it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any


def transformers(job: dict[str, Any]) -> Any:
    """A function from an input to the outputs of a model of transformers, loaded from a folder."""
    import tensorflow as tf
    from transformers import modeling_tf_utils

    modeling_tf_utils.safe_open = _iterable(modeling_tf_utils.safe_open)
    model = _pretrained(job)

    def run(packed: Any) -> Any:
        return dict(model({key: tf.constant(value) for key, value in _fed(job, packed).items()}))

    return run


def torch(job: dict[str, Any]) -> Any:
    """The same, of a model for PyTorch."""
    import torch as library

    model = _pretrained(job).eval()

    def run(packed: Any) -> Any:
        fed = _fed(job, packed.astype("int64"))
        with library.no_grad():
            return dict(model(**{key: library.tensor(value.copy()) for key, value in fed.items()}))

    return run


def _fed(job: dict[str, Any], packed: Any) -> dict[str, Any]:
    fed = {"input_ids": packed[:, 0], "attention_mask": packed[:, 1]}
    if job["config_class"] == "T5Config":
        fed["decoder_input_ids"] = packed[:, 0, ::-1]
    elif job["config_class"] != "GPT2Config":
        fed["token_type_ids"] = packed[:, 2]
    return fed


def _pretrained(job: dict[str, Any]) -> Any:
    import transformers as library

    folder = Path(job["weights"])
    getattr(library, job["config_class"])(**job["config"]).save_pretrained(folder)
    model, info = getattr(library, job["model"]).from_pretrained(folder, output_loading_info=True)
    if info["missing_keys"] or info["mismatched_keys"]:
        raise SystemExit(f"not loaded: {info}")
    if set(info["unexpected_keys"]) - set(job.get("unexpected", ())):
        raise SystemExit(f"no place for: {info['unexpected_keys']}")
    return model


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


def tf_models(job: dict[str, Any]) -> Any:
    """The same, of an encoder of tf-models-official, restored from an object-based checkpoint."""
    import tensorflow as tf

    model = _encoder(job)
    status = tf.train.Checkpoint(**{job["root"]: model}).restore(job["weights"])
    status.assert_existing_objects_matched()
    status.assert_consumed()

    def run(packed: Any) -> Any:
        found = model(_words(packed))
        return {key: found[key] for key in ("sequence_output", "pooled_output")}

    return run


def _words(packed: Any) -> Any:
    import tensorflow as tf

    names = ("input_word_ids", "input_mask", "input_type_ids")
    return {name: tf.constant(packed[:, i]) for i, name in enumerate(names)}


def _encoder(job: dict[str, Any]) -> Any:
    import numpy as np
    from official.nlp.modeling import networks

    model = getattr(networks, job["model"])(**job["config"])
    model(_words(np.ones((1, 3, 4), "int32")))  # makes the variables
    return model


def save(job: dict[str, Any]) -> None:
    """Save a new model, as its library does."""
    if job["library"] == "tf_models":
        import tensorflow as tf

        tf.train.Checkpoint(**{job["root"]: _encoder(job)}).write(job["weights"])
        return
    import transformers as library

    config = getattr(library, job["config_class"])(**job["config"])
    getattr(library, job["model"])(config).save_pretrained(job["weights"])


def main(path: str) -> None:
    """Do the job of a file."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import numpy as np

    job = json.loads(Path(path).read_text("utf-8"))
    unused = "USE_TF" if job["library"] == "torch" else "USE_TORCH"
    os.environ[unused] = "0"
    if "inputs" not in job:
        save(job)
        return
    run = {"transformers": transformers, "torch": torch, "tf_models": tf_models}[job["library"]](
        job
    )
    found = {}
    with np.load(job["inputs"]) as inputs:
        for key in inputs.files:
            for name, value in run(inputs[key]).items():
                if not isinstance(value, (tuple, list)):
                    found[f"{key}/{name}"] = np.asarray(value)
    np.savez(job["outputs"], **found)


if __name__ == "__main__":
    main(sys.argv[1])
