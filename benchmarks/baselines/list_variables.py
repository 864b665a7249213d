"""Print every variable and shape of a checkpoint, as TensorFlow's own API lists them."""

from __future__ import annotations

import sys

import tensorflow as tf


def main(prefix: str) -> None:
    shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    for name in sorted(shapes):
        print(name, shapes[name])


if __name__ == "__main__":
    main(sys.argv[1])
