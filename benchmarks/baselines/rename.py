"""Put every variable under a new scope, by the script that people usually write for it."""

from __future__ import annotations

import sys

import tensorflow.compat.v1 as tf


def main(source: str, scope: str, target: str) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        for name, _ in tf.train.list_variables(source):
            tf.Variable(tf.train.load_variable(source, name), name=f"{scope}/{name}")
        session.run(tf.global_variables_initializer())
        tf.train.Saver().save(session, target, write_meta_graph=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
