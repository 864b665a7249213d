"""Make the checkpoints that the benchmarks read. Needs TensorFlow; inputs already there are kept.

    python benchmarks/make_inputs.py [--out DIR] [--only NAME]

bert     BERT-base with its Adam slots and `.meta`: 598 variables, 1.3 GB; and `bert_changed`,
         the same checkpoint with every tensor but the step changed
index    100,000 small variables in one bundle, without a `.meta`
graph    a `.meta` of 100,000 nodes beside a small checkpoint
large    one variable of 384 MiB

The directory is `--out`, else `$CKPTTOOL_BENCH_DIR`, else `benchmarks/.cache`. Each input is built
in a temporary directory and renamed when it is complete.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

INDEX_VARIABLES = 100_000
GRAPH_NODES = 100_000
LARGE_SHAPE = (12288, 8192)
GRAPH_LAYERS = 1580
BATCH = 60
STEP = 100_000
SEED = 20190523
SAVE_NAME = "model.ckpt"


def default_directory() -> Path:
    """The cache directory: `$CKPTTOOL_BENCH_DIR`, or `.cache` beside this file."""
    chosen = os.environ.get("CKPTTOOL_BENCH_DIR")
    return Path(chosen) if chosen else Path(__file__).resolve().parent / ".cache"


def prefix(directory: Path, name: str) -> Path:
    """The checkpoint prefix of the input directory called `name`."""
    step = "" if name in ("index", "large") else f"-{STEP}"
    return directory / name / f"{SAVE_NAME}{step}"


def make_bert(directory: Path) -> None:
    """Save BERT with random values, then once more with every tensor changed."""
    tf = _tensorflow()
    from bert_graph import build_training_graph

    with tf.Graph().as_default():
        tf.set_random_seed(SEED)
        build_training_graph()
        saver = tf.train.Saver(max_to_keep=None, save_relative_paths=True)
        graph = saver.export_meta_graph().SerializeToString()  # before the operations below
        with tf.Session() as session:
            for name, batches in _fillings(tf):
                for batch in batches:
                    session.run(batch)
                part = prefix(directory, name)
                saver.save(session, str(part), write_meta_graph=False)
                part.with_name(f"{part.name}.meta").write_bytes(graph)


def _fillings(tf: Any) -> list[tuple[str, list[list[Any]]]]:
    """Each BERT checkpoint to save, and the operations to run, in batches, before it is.

    Slots and biases start as zeros, as they do in training, so noise of each variable's own scale
    is added before anything is saved.
    """
    step = tf.train.get_global_step()
    floats = [variable for variable in tf.global_variables() if variable is not step]
    fill = [v.assign_add(tf.random_normal(v.shape, stddev=_noise(v.op.name))) for v in floats]
    change = [v.assign(v * 1.001 + 1e-5) for v in floats]
    start = [[tf.global_variables_initializer()], [step.assign(STEP).op]]
    return [("bert", start + _batches(fill)), ("bert_changed", _batches(change))]


def _batches(assigned: list[Any]) -> list[list[Any]]:
    """Groups small enough that their temporary tensors take little memory."""
    operations = [tensor.op for tensor in assigned]
    return [operations[i : i + BATCH] for i in range(0, len(operations), BATCH)]


def _noise(name: str) -> float:
    return {"adam_m": 1e-3, "adam_v": 1e-7}.get(name.rpartition("/")[2], 0.02)


def make_index(directory: Path) -> None:
    """Write the many-variable bundle with TensorFlow's own bundle writer, without a graph."""
    import numpy as np
    import tensorflow as tf

    shapes = dict(_many_variables())
    if len(shapes) != INDEX_VARIABLES:
        raise AssertionError(f"{len(shapes)} names, {INDEX_VARIABLES} expected")
    random = np.random.default_rng(SEED)
    tensors = [_small_tensor(tf, random, shape) for shape in shapes.values()]
    (directory / "index").mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(prefix(directory, "index")),
        tensor_names=list(shapes),
        shape_and_slices=[""] * len(shapes),
        tensors=tensors,
    )


def make_large(directory: Path) -> None:
    """Write one variable that is larger than the memory that a job may take."""
    import numpy as np
    import tensorflow as tf

    values = np.random.default_rng(SEED).standard_normal(LARGE_SHAPE, dtype="float32")
    (directory / "large").mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(prefix(directory, "large")),
        tensor_names=["embedding/weights"],
        shape_and_slices=[""],
        tensors=[values],
    )


def make_graph(directory: Path) -> None:
    """Save a deep residual network with Adam, filled up to an exact number of nodes."""
    tf = _tensorflow()
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(SEED)
        _residual_network(tf)
        step = tf.train.get_global_step()
        initialize = [tf.global_variables_initializer(), step.assign(STEP)]
        saver = tf.train.Saver(save_relative_paths=True)
        _fill(tf, graph, GRAPH_NODES)
        with tf.Session() as session:
            for operation in initialize:
                session.run(operation)
            saver.save(session, str(directory / "graph" / SAVE_NAME), global_step=STEP)


def _tensorflow() -> Any:
    import tensorflow.compat.v1 as tf

    tf.disable_v2_behavior()
    return tf


def _many_variables() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes: towers of blocks of units, each weight with its two Adam slots."""
    yield "global_step", ()
    left = (INDEX_VARIABLES - 1) // 3
    for name, shape in _weights():
        for suffix in ("", "/Adam", "/Adam_1"):
            yield name + suffix, shape
        left -= 1
        if not left:
            return


def _weights() -> Iterator[tuple[str, tuple[int, ...]]]:
    layers = (
        ("conv2d/kernel", (1, 1, 4, 4)),
        ("conv2d/bias", (4,)),
        ("BatchNorm/gamma", (4,)),
        ("BatchNorm/beta", (4,)),
        ("dense/kernel", (4, 8)),
        ("dense/bias", (8,)),
    )
    for tower in range(8):
        for block in range(60):
            for unit in range(12):
                for layer, shape in layers:
                    yield f"tower_{tower}/block_{block}/unit_{unit}/{layer}", shape


def _small_tensor(tf: Any, random: Any, shape: tuple[int, ...]) -> Any:
    if not shape:
        return tf.constant(STEP, tf.int64)
    return tf.constant(random.standard_normal(shape, dtype="float32"))


def _residual_network(tf: Any) -> None:
    x = tf.placeholder(tf.float32, [None, 16], name="features")
    for layer in range(GRAPH_LAYERS):
        with tf.variable_scope(f"stage_{layer // 20}/block_{layer % 20}"):
            kernel = tf.get_variable("dense/kernel", [16, 16])
            bias = tf.get_variable("dense/bias", [16], initializer=tf.zeros_initializer())
            x = x + tf.nn.relu(tf.nn.bias_add(tf.matmul(x, kernel), bias))
    loss = tf.reduce_mean(tf.square(x), name="loss")
    step = tf.train.get_or_create_global_step()
    tf.train.AdamOptimizer(1e-3).minimize(loss, global_step=step)


def _fill(tf: Any, graph: Any, nodes: int) -> None:
    """Add an input pipeline of small operations until the graph has `nodes` of them."""
    missing = nodes - len(graph.get_operations())
    if missing < 1:
        raise AssertionError(f"the network alone has {nodes - missing} nodes")
    with tf.name_scope("pipeline"):
        x = tf.placeholder(tf.float32, [None, 16], name="raw")
        for index in range(missing - 1):
            with tf.name_scope(f"stage_{index // 1000}/"):
                x = tf.identity(x, name="step")


MAKERS: dict[str, Callable[[Path], None]] = {
    "bert": make_bert,
    "index": make_index,
    "graph": make_graph,
    "large": make_large,
}
MADE = {name: (name,) for name in MAKERS} | {"bert": ("bert", "bert_changed")}


def present(directory: Path, name: str) -> bool:
    """Whether every checkpoint that the input `name` stands for is in `directory`."""
    return all(prefix(directory, part).parent.is_dir() for part in MADE[name])


def make(directory: Path, name: str) -> None:
    """Make the input `name`, whole or not at all."""
    building = directory / f".{name}.partial"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    MAKERS[name](building)
    for part in MADE[name]:
        shutil.rmtree(directory / part, ignore_errors=True)
        (building / part).rename(directory / part)
    building.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the benchmark inputs with TensorFlow.")
    parser.add_argument("--out", type=Path, default=default_directory(), metavar="DIR")
    parser.add_argument("--only", choices=sorted(MAKERS), metavar="NAME", help="|".join(MAKERS))
    options = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    for name in [options.only] if options.only else MAKERS:
        if present(options.out, name):
            print(f"{name}: present", file=sys.stderr)
            continue
        start = time.perf_counter()
        make(options.out, name)
        print(f"{name}: made in {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
