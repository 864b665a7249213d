"""The JSON beside sharded weights: ``*.safetensors.index.json`` and Keras' ``*.weights.json``.

Both map a name (of a tensor; of an HDF5 group) to the shard that has it; Keras may give several.
File names are claims: only plain names beside the map are followed.
"""

from __future__ import annotations

from typing import Any

from ckpttool.errors import corrupt
from ckpttool.storage.files import Files, read_all

MAX_BYTES = 256 << 20


def read_weight_map(files: Files, path: str) -> dict[str, tuple[str, ...]]:
    """Name to base names of shards, in the file's order; never empty."""
    import json

    data = read_all(path, MAX_BYTES, files)
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise corrupt(f"the weight map is not valid JSON: {error}", path) from error
    entries = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(entries, dict) or not entries:
        raise corrupt(
            "this JSON file is no weight map", path, code="INP003",
            expected='{"metadata": …, "weight_map": {name: file}}',
        )  # fmt: skip
    return {name: _shards(value, name, path) for name, value in entries.items()}


def _shards(value: Any, name: str, path: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not names:
        raise corrupt(f"the weight map has no file for {name}", path, found=repr(value)[:80])
    for file in names:
        plain = isinstance(file, str) and file not in ("", ".", "..")
        if not plain or any(mark in file for mark in "/\\\0:"):
            raise corrupt(
                f"the weight map leads out of its directory for {name}", path,
                found=repr(file)[:80], expected="a file name beside the map",
            )  # fmt: skip
    return tuple(names)
