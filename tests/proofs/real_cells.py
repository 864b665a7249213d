"""Graphs of TF1's own cells, ``tf.compat.v1.nn.rnn_cell``, which need Keras 2.

    TF_USE_LEGACY_KERAS=1 python real_cells.py FOLDER

Makes ``<name>/model.ckpt`` with ``<name>/run.npz`` for each of ``GRAPHS``: ``x0`` and ``x1`` are
inputs, ``y0`` and ``y1`` the graph's outputs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS, WIDTH, UNITS, BATCH = 6, 4, 4, 3


def _lstm(cells: Any) -> Any:
    return cells.BasicLSTMCell(UNITS)


def _one(tf: Any, x: Any, make: Callable[[Any], Any]) -> Any:
    v1 = tf.compat.v1
    return v1.nn.dynamic_rnn(make(v1.nn.rnn_cell), x, dtype=tf.float32)[0]


def _both(tf: Any, x: Any, make: Callable[[Any], Any]) -> Any:
    v1 = tf.compat.v1
    cells = v1.nn.rnn_cell
    found, _ = v1.nn.bidirectional_dynamic_rnn(make(cells), make(cells), x, dtype=tf.float32)
    return tf.concat(found, -1)


def _multi(cells: Any) -> Any:
    return cells.MultiRNNCell([_lstm(cells), cells.LSTMCell(UNITS)])


GRAPHS: dict[str, Callable[[Any, Any], Any]] = {
    "basic_lstm": lambda tf, x: _one(tf, x, _lstm),
    "lstm": lambda tf, x: _one(tf, x, lambda cells: cells.LSTMCell(UNITS, forget_bias=0.5)),
    "lstm_multi": lambda tf, x: _one(tf, x, _multi),
    "lstm_both": lambda tf, x: _both(tf, x, _lstm),
    "gru": lambda tf, x: _one(tf, x, lambda cells: cells.GRUCell(UNITS)),
    "gru_both": lambda tf, x: _both(tf, x, lambda cells: cells.GRUCell(UNITS)),
    "basic_rnn": lambda tf, x: _one(tf, x, lambda cells: cells.BasicRNNCell(UNITS)),
}


def main(folder: str) -> None:
    """Make them all."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    import numpy as np
    import tensorflow as tf

    v1 = tf.compat.v1
    draw = np.random.default_rng(7)
    for name, graph in GRAPHS.items():
        inputs = draw.normal(size=(2, BATCH, STEPS, WIDTH)).astype("float32")
        with tf.Graph().as_default(), v1.Session() as session:
            x = v1.placeholder("float32", (None, STEPS, WIDTH))
            y = graph(tf, x)
            for item in v1.global_variables():
                spread = (1.5 if "basic_rnn" in name else 3.0) / item.shape[0] ** 0.5
                values = draw.normal(size=item.shape) * (spread if len(item.shape) > 1 else 0.7)
                item.load(values.astype("float32"), session)
            v1.train.Saver().save(session, str(Path(folder, name, "model.ckpt")))
            outputs = [session.run(y, {x: value}) for value in inputs]
        found = {"x0": inputs[0], "x1": inputs[1], "y0": outputs[0], "y1": outputs[1]}
        np.savez(Path(folder, name, "run.npz"), **found)


if __name__ == "__main__":
    main(sys.argv[1])
