"""SavedModels of TF 1.x, a directory shaped like a TF1 Hub module, and a text graph."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import tensorflow as tf
from common import (
    Dups,
    JsonDict,
    Sample,
    Saved,
    fill,
    graph_truth,
    sample,
    saved_model_facts,
    settle_saved_model,
    v1,
)
from layers import dense, loss_of

# TF Hub's ModuleDef proto with its one field: format = FORMAT_V3.
HUB_MODULE = b"\x08\x03"


@sample("saved_model_tf1")
def saved_model_tf1(made: Sample) -> None:
    """A TF1 SavedModel of two MetaGraphs, train (with Momentum slots) and serve, a signature, a
    table and an asset file."""
    folder = made.folder
    folder.rmdir()
    builder = v1.saved_model.Builder(str(folder))
    truth: JsonDict = {}
    for tag in ("train", "serve"):
        with made.graph(), tempfile.TemporaryDirectory() as away, contextlib.chdir(away):
            inputs = v1.placeholder(tf.float32, [None, 3], name="x")
            outputs = dense(inputs, 2, "fc")
            _asset()
            signature = v1.saved_model.predict_signature_def({"x": inputs}, {"y": outputs})
            about = Saved(dups=Dups("none", "two MetaGraphs over one set of variables"))
            train = None
            if tag == "train":
                optimizer = v1.train.MomentumOptimizer(0.1, 0.9)
                step = v1.train.get_or_create_global_step()
                train = optimizer.minimize(loss_of(outputs), global_step=step)
                about.optimizers = [optimizer]
            saver = v1.train.Saver(sharded=True)
            session = made.start()
            options = {
                "signature_def_map": {"serving_default": signature},
                "main_op": v1.tables_initializer(),
                "assets_collection": v1.get_collection(v1.GraphKeys.ASSET_FILEPATHS),
                "strip_default_attrs": True,
                "saver": saver,
            }
            if train is not None:
                session.run(train, {inputs: [[1.0, 2.0, 3.0]]})
                builder.add_meta_graph_and_variables(session, [tag], **options)
                variables = folder / "variables" / "variables"
                # The MetaGraph is in memory until all are added: its truth is taken now.
                definition = builder._saved_model.meta_graphs[0]
                truth = graph_truth(variables, saver, about, definition)
            else:
                builder.add_meta_graph([tag], **options)
    builder.save()
    settle_saved_model(folder)
    extra = saved_model_facts(folder)
    made.entry(folder, format="saved-model", truth=truth, has_graph=True, extra=extra)


def _asset() -> None:
    """A table filled from words.txt, by a relative path: the graph keeps the path it was given."""
    Path("words.txt").write_bytes(b"cat\ndog\n")
    words = tf.lookup.TextFileInitializer(
        "words.txt", tf.string, 0, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    tf.lookup.StaticHashTable(words, -1, name="words").lookup(tf.constant(["cat"]))


@sample("hub_module")
def hub_module(made: Sample) -> None:
    """A directory shaped like a TF1 Hub module: tfhub_module.pb, saved_model.pb and variables/,
    with an untagged MetaGraph and one tagged train."""
    folder = made.folder
    folder.rmdir()
    builder = v1.saved_model.Builder(str(folder))
    truth: JsonDict = {}
    for tags in ([], ["train"]):
        with made.graph():
            inputs = v1.placeholder(tf.float32, [None, 3], name="images")
            outputs = dense(inputs, 2, "features")
            mean = v1.get_variable("features/moving_mean", [2], trainable=False)
            if tags:
                v1.add_to_collection(v1.GraphKeys.UPDATE_OPS, v1.assign(mean, [0.5, 0.5]).op)
            signature = v1.saved_model.predict_signature_def({"default": inputs}, {"y": outputs})
            saver = v1.train.Saver(sharded=True)
            session = made.start()
            options = {"signature_def_map": {"default": signature}, "saver": saver}
            if tags:
                builder.add_meta_graph(tags, strip_default_attrs=True, **options)
            else:
                builder.add_meta_graph_and_variables(
                    session, tags, strip_default_attrs=True, **options
                )
                definition = builder._saved_model.meta_graphs[0]
                variables = folder / "variables" / "variables"
                truth = graph_truth(variables, saver, Saved(), definition)
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(HUB_MODULE)
    settle_saved_model(folder)
    extra = saved_model_facts(folder)
    made.entry(folder, format="hub-module", truth=truth, has_graph=True, extra=extra)


@sample("graph_pbtxt")
def graph_pbtxt(made: Sample) -> None:
    """A checkpoint without a .meta, and beside it the graph.pbtxt that an Estimator writes: a
    GraphDef, without collections."""
    with made.graph() as graph:
        dense(tf.ones([1, 3]), 2, "fc")
        step = v1.train.get_or_create_global_step()
        v1.train.Saver(save_relative_paths=True)
        made.start()
        made.run(v1.assign_add(step, 7))
        tf.io.write_graph(graph.as_graph_def(), str(made.folder), "graph.pbtxt")
        made.save(step=7, meta=False, state=True)
        made.entries[-1]["has_graph"] = True
        made.entries[-1]["graph"] = "graph_pbtxt/graph.pbtxt"


@sample("saved_model_text")
def saved_model_text(made: Sample) -> None:
    """A TF1 SavedModel in text form: saved_model.pbtxt."""
    folder = made.folder
    folder.rmdir()
    builder = v1.saved_model.Builder(str(folder))
    with made.graph():
        weights = v1.get_variable("w", [2])
        fill(weights, made.start())
        saver = v1.train.Saver(sharded=True)
        builder.add_meta_graph_and_variables(
            made.session, ["serve"], strip_default_attrs=True, saver=saver
        )
        definition = builder._saved_model.meta_graphs[0]
        truth = graph_truth(folder / "variables" / "variables", saver, Saved(), definition)
    builder.save(as_text=True)
    settle_saved_model(folder)
    made.entry(folder, format="saved-model", truth=truth, has_graph=True)
