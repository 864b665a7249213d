"""What people write to compare two checkpoints: a loop over `tf.train.load_checkpoint`.

python compare.py PREFIX PREFIX
"""

from __future__ import annotations

import sys

import numpy as np
import tensorflow as tf


def main(first: str, second: str) -> None:
    a, b = tf.train.load_checkpoint(first), tf.train.load_checkpoint(second)
    others = b.get_variable_to_shape_map()
    for name, shape in sorted(a.get_variable_to_shape_map().items()):
        if others.get(name) != shape:
            print(name, "differs in shape or is missing")
            continue
        x, y = a.get_tensor(name), b.get_tensor(name)
        if np.array_equal(x, y):
            continue
        # In the tensor's own type small integers wrap, and squares of large floats overflow.
        x, y = x.astype(np.float64), y.astype(np.float64)
        difference = np.abs(x - y)
        norm_x, norm_y = np.linalg.norm(x), np.linalg.norm(y)
        print(
            name,
            f"max {difference.max():.3g}",
            f"mean {difference.mean():.3g}",
            f"rel {np.linalg.norm(difference) / norm_x:.3g}",
            f"cosine {np.vdot(x, y) / norm_x / norm_y:.6f}",
            f"changed {np.mean(x != y):.1%}",
            f"NaN {np.isnan(x).sum()} {np.isnan(y).sum()}",
            f"Inf {np.isinf(x).sum()} {np.isinf(y).sum()}",
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
