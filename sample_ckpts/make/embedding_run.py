"""A word2vec-like embedding at three steps of its training."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from common import Dups, Sample, Saved, sample, v1

WORDS, WIDTH = 40, 6


@sample("embedding_run")
def embedding_run(made: Sample) -> None:
    """An embedding with nce and softmax weights and one frozen variable, saved at 0, 168 and
    315."""
    with made.graph():
        words = v1.placeholder(tf.int32, [8], name="words")
        contexts = v1.placeholder(tf.int32, [8], name="contexts")
        table = v1.get_variable("embeddings", [WORDS, WIDTH])
        frozen = v1.get_variable("frozen_embeddings", [WORDS, 2], trainable=False)
        with v1.variable_scope("nce"):
            nce_weights = v1.get_variable("weights", [WORDS, WIDTH])
            nce_biases = v1.get_variable("biases", [WORDS])
        with v1.variable_scope("softmax"):
            softmax_weights = v1.get_variable("weights", [WIDTH + 2, WORDS])
            softmax_biases = v1.get_variable("biases", [WORDS])
        embedded = tf.nn.embedding_lookup(table, words)
        true = tf.reduce_sum(embedded * tf.gather(nce_weights, contexts), 1)
        noise = tf.matmul(embedded, nce_weights, transpose_b=True) + nce_biases
        nce = tf.nn.softplus(-true) + tf.reduce_mean(tf.nn.softplus(noise), 1)
        both = tf.concat([embedded, tf.nn.embedding_lookup(frozen, words)], 1)
        logits = tf.matmul(both, softmax_weights) + softmax_biases
        softmax = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=contexts, logits=logits)
        step = v1.train.get_or_create_global_step()
        loss = tf.reduce_mean(nce) + tf.reduce_mean(softmax)
        train = v1.train.GradientDescentOptimizer(0.5).minimize(loss, global_step=step)

        session = made.start()
        session.run(frozen.initializer, {frozen.initializer.inputs[1]: _eye()})
        saver = v1.train.Saver(save_relative_paths=True)
        about = Saved(dups=Dups("none", "every variable once"))
        random = np.random.RandomState(168)
        for count in range(316):
            if count in (0, 168, 315):
                made.save(step=count, saver=saver, about=about, state=True)
            batch = random.randint(0, WORDS, 8)
            session.run(train, {words: batch, contexts: (batch * 7 + 3) % WORDS})


def _eye() -> np.ndarray:
    return np.linspace(-1.0, 1.0, WORDS * 2, dtype=np.float32).reshape(WORDS, 2)
