"""Load every sample with TensorFlow and compare it with MANIFEST.json.

``python sample_ckpts/make/check.py`` prints what differs, and exits with 1 if anything does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import common
import damage
import tensorflow as tf

ROOT = Path(__file__).resolve().parent.parent
# TensorFlow itself cannot read these: globs in the prefix, V1 dtypes, names that are no text.
REFUSED = ("odd names/model [v1]*.ckpt", "v1_refused_dtypes/model.ckpt", "bytes_in_names/")


def bundle(row: dict[str, Any]) -> Path:
    """Where the tensors of a sample are."""
    path = ROOT / row.get("resolves_to", row["path"])
    if row["format"] in ("saved-model", "hub-module"):
        return path / "variables" / "variables"
    return path


def problems_of(row: dict[str, Any]) -> list[str]:
    """What TensorFlow sees otherwise than the manifest says."""
    if row["format"] == "meta-graph":
        return graph_problems(ROOT / row["path"], {item["name"] for item in _rows(row)})
    prefix = bundle(row)
    target = f"{prefix}/" if row["path"].endswith("/") else common.reader_path(prefix)
    refused = row["path"].startswith(REFUSED)
    try:
        reader = tf.train.load_checkpoint(target) if not target.endswith("/") else _raw(target)
        shapes = reader.get_variable_to_shape_map()
    except (tf.errors.OpError, UnicodeDecodeError) as error:
        return [] if refused else [f"not opened: {error}"]
    expected = {item["name"]: item["shape"] for item in _rows(row) if item["saved"]}
    found = [] if shapes == expected else [f"listed {shapes}, expected {expected}"]
    for key, value in row["expect"]["values_crc32c"].items():
        dtype = next(item["dtype"] for item in _rows(row) if item["name"] == key and item["saved"])
        try:
            array = common.restore(target, key, {key: (dtype, [])})
        except tf.errors.OpError as error:
            found += [] if refused else [f"{key}: {error}"]
            continue
        if common.array_crc(array) != value:
            found.append(f"{key}: another value")
    meta = Path(f"{prefix}.meta")
    if row["has_graph"] and meta.exists():
        found += graph_problems(meta, set())
    if row["format"] in ("saved-model", "hub-module"):
        tf.saved_model.load(str(ROOT / row["path"]), tags=row_tags(row))
    return found


def row_tags(row: dict[str, Any]) -> list[str]:
    """The tags of a SavedModel's first MetaGraph."""
    graphs = row.get("meta_graphs")
    return list(graphs[0]["tags"]) if graphs else ["serve"]


def graph_problems(meta: Path, names: set[str]) -> list[str]:
    """Import a .meta, and look for these variables in it."""
    with tf.Graph().as_default():
        common.v1.train.import_meta_graph(str(meta), clear_devices=True)
        variables = {item.op.name for item in common.v1.global_variables()}
        return [f"no {name} in the graph" for name in names - variables]


def damage_problems(row: dict[str, Any]) -> list[str]:
    """Whether TensorFlow makes of a damaged copy what the manifest says."""
    listed = damage.tensorflow_lists(common.reader_path(ROOT / row["path"]))
    return [] if listed == row["tensorflow_lists"] else [f"TensorFlow lists {listed}"]


def _rows(row: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = row["expect"]["variables"]
    return rows


def _raw(prefix: str) -> Any:
    from tensorflow.python.training import py_checkpoint_reader

    return py_checkpoint_reader.NewCheckpointReader(prefix)


def main() -> int:
    """Check all; 1 if anything differs."""
    manifest = json.loads((ROOT / "MANIFEST.json").read_text(encoding="utf-8"))
    found = [(row["path"], text) for row in manifest["samples"] for text in problems_of(row)]
    found += [(row["path"], text) for row in manifest["damaged"] for text in damage_problems(row)]
    for path, text in found:
        sys.stdout.write(f"{path}: {text}\n")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
