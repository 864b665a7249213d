"""Odd paths and state files: what people have on disk once a checkpoint has travelled."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf
from common import Sample, Saved, meta_truth, sample, v1
from layers import dense


def _small(made: Sample, *names: str, steps: tuple[int, ...] = (), meta: bool = False) -> None:
    """Save a net of four variables, once a name or once a step."""
    with made.graph():
        dense(dense(tf.ones([1, 2]), 2, "fc_1"), 1, "fc_2")
        step = v1.train.get_or_create_global_step() if steps else None
        made.start()
        saver = v1.train.Saver(save_relative_paths=True)
        for name in names:
            made.save(name, saver=saver, meta=meta)
        for count in steps:
            step.load(count, made.session)
            made.save(step=count, saver=saver, meta=meta)


def _rename(made: Sample, old: str, new: str) -> None:
    """Give the files of the last save another basename."""
    for member in sorted(made.folder.glob(f"{old}.*")):
        member.rename(made.folder / (new + member.name.removeprefix(old)))
    made.entries[-1]["path"] = f"{made.recipe.folder}/{new}"


def _typed(made: Sample, path: str, entry: int = -1, **more: object) -> None:
    """Say in the manifest that a person types ``path`` and gets what was saved under another."""
    row = made.entries[entry]
    row["resolves_to"] = row["path"]
    row["path"] = path
    row.update(more)


@sample("odd names")
def odd_names(made: Sample) -> None:
    """Prefixes with spaces, glob characters, a dot, a leading dash and letters that are not ASCII.

    TensorFlow writes the one with glob characters and cannot read it: it takes the prefix for a
    pattern.  So that one is saved under another name first.
    """
    _small(made, "plain")
    _rename(made, "plain", "model [v1]*.ckpt")
    for name in ("model", "-model.v2.ckpt", "模型.ckpt"):
        _small(made, name)


@sample("empty_basename")
def empty_basename(made: Sample) -> None:
    """An empty basename: the folder holds .index, .data-00000-of-00001 and .meta."""
    _small(made, "model", meta=True)
    _rename(made, "model", "")


@sample("state_other_machine")
def state_other_machine(made: Sample) -> None:
    """A checkpoint state file with absolute paths of the machine that it was trained on."""
    _small(made, steps=(100, 200))
    folder = "/home/someone/runs/2016-06-23"
    _state(made, [f"{folder}/model.ckpt-{step}" for step in (100, 200)])
    _typed(made, "state_other_machine")


@sample("state_windows")
def state_windows(made: Sample) -> None:
    """A checkpoint state file with CRLF line ends and Windows paths with backslashes."""
    _small(made, steps=(100, 200))
    folder = "C:\\\\Users\\\\someone\\\\runs"  # as text proto escapes it
    _state(made, [f"{folder}\\\\model.ckpt-{step}" for step in (100, 200)], "\r\n")
    _typed(made, "state_windows")


@sample("state_names_gone")
def state_names_gone(made: Sample) -> None:
    """A checkpoint state file whose newest checkpoint is gone while the older ones are there."""
    _small(made, steps=(100, 200))
    _state(made, [f"model.ckpt-{step}" for step in (100, 200, 300)])
    _typed(made, "state_names_gone")


@sample("state_older_chosen")
def state_older_chosen(made: Sample) -> None:
    """A checkpoint state file edited to name an older checkpoint than the newest in the folder."""
    _small(made, steps=(100, 200))
    _state(made, ["model.ckpt-200", "model.ckpt-100"])
    _typed(made, "state_older_chosen", entry=0)


@sample("no_state_file")
def no_state_file(made: Sample) -> None:
    """A folder of checkpoints 9, 10 and 100 without a state file: the newest is the one of the
    highest step."""
    _small(made, steps=(9, 10, 100))
    _typed(made, "no_state_file")


@sample("meta_alone")
def meta_alone(made: Sample) -> None:
    """A .meta without its checkpoint: the graph only."""
    with made.graph():
        dense(tf.ones([1, 2]), 2, "fc")
        made.start()
        saver = v1.train.Saver(save_relative_paths=True)
        path = made.folder / "model.ckpt.meta"
        saver.export_meta_graph(str(path), strip_default_attrs=True)
        made.entry(path, format="meta-graph", truth=meta_truth(path, Saved()), has_graph=True)


def _state(made: Sample, paths: list[str], end: str = "\n") -> None:
    lines = [f'model_checkpoint_path: "{paths[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{path}"' for path in paths]
    Path(made.folder / "checkpoint").write_bytes("".join(line + end for line in lines).encode())
