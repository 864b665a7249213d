"""Make every sample checkpoint and MANIFEST.json: ``python sample_ckpts/make/make_all.py``.

``--out DIR`` writes into another directory, ``--only WORD`` makes the folders whose name holds
the word (and leaves the manifest's other entries as they are).
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import common  # noqa: E402

MODULES = (
    "tf2",
    "scopes",
    "sharing",
    "embedding_run",
    "convnet",
    "collections_",
    "partitions",
    "v1_files",
    "dtypes",
    "optimizers",
    "duplicates",
    "copies",
    "handmade",
    "saved_models",
    "odd_names",
    "damage",
)


def counted_uuid() -> Callable[[], uuid.UUID]:
    """A uuid4 that counts, so that names made from it are the same in every run."""
    numbers = iter(range(1, 1 << 62))
    return lambda: uuid.UUID(int=next(numbers), version=4)


def make(recipe: common.Recipe, root: Path) -> common.Sample | None:
    """Make one folder afresh; None if it needs a package that is not installed."""
    if recipe.optional is not None and importlib.util.find_spec(recipe.optional) is None:
        sys.stderr.write(f"{recipe.folder}: left alone, needs {recipe.optional}\n")
        return None
    made = common.Sample(root, recipe)
    shutil.rmtree(made.folder, ignore_errors=True)
    made.folder.mkdir(parents=True)
    with mock.patch("uuid.uuid4", counted_uuid()):
        recipe.function(made)
    return made


def write_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Write JSON with one line a variable: small, and readable in a diff."""
    lines = []
    for line in json.dumps(_fold(manifest), indent=1, ensure_ascii=True).splitlines():
        head, mark, text = line.partition('"\\u0000')
        if mark:
            text, _, tail = text.rpartition('"')
            line = head + json.loads(f'"{text}"') + tail
        lines.append(line)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _fold(node: Any, depth: int = 0) -> Any:
    """Turn what should stay on one line into a marked string."""
    if isinstance(node, dict):
        if "role" in node or not any(isinstance(item, dict | list) for item in node.values()):
            return "\0" + json.dumps(node)
        return {key: _fold(item, depth + 1) for key, item in node.items()}
    if isinstance(node, list):
        if not any(isinstance(item, dict | list) for item in node):
            return "\0" + json.dumps(node)
        return [_fold(item, depth + 1) for item in node]
    return node


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest as it stands, or an empty one."""
    if path.exists():
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return manifest
    return {"schema": 1, "samples": [], "damaged": []}


def main() -> None:
    """Make the samples that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE.parent)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    for module in MODULES:
        importlib.import_module(module)
    root: Path = options.out.resolve()
    root.mkdir(parents=True, exist_ok=True)
    old = read_manifest(root / "MANIFEST.json")
    common.MADE.update({row["path"]: row for row in old["samples"]})
    manifest: dict[str, Any] = {"schema": 1, "samples": [], "damaged": []}
    for recipe in common.RECIPES:
        made = make(recipe, root) if options.only in recipe.folder else None
        for part in ("samples", "damaged"):
            if made is None:
                inside = f"{recipe.folder}/"
                manifest[part] += [row for row in old[part] if f"{row['path']}/".startswith(inside)]
            else:
                manifest[part] += made.entries if part == "samples" else made.damaged
    write_manifest(root / "MANIFEST.json", manifest)


if __name__ == "__main__":
    main()
