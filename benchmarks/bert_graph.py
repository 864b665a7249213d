"""A BERT-base pre-training graph, with the variable names of google-research/bert.

Every trainable variable has the two slots of BERT's `AdamWeightDecayOptimizer`: 199 variables,
398 slots and `global_step`. The two loss heads (`cls/...`) reuse encoder variables, so they add
operations to the graph and no variable to the checkpoint.
"""

from __future__ import annotations

import math
from typing import Any

import tensorflow.compat.v1 as tf

LAYERS = 12
HIDDEN = 768
HEADS = 12
INTERMEDIATE = 3072
VOCABULARY = 30522
POSITIONS = 512
BATCH = 8
LENGTH = 128
MASKED = 20

Tensor = Any


def build_training_graph() -> None:
    """Add the model, its losses, gradients and optimizer to the default graph."""
    ids = tf.placeholder(tf.int32, [BATCH, LENGTH], name="input_ids")
    mask = tf.placeholder(tf.int32, [BATCH, LENGTH], name="input_mask")
    segments = tf.placeholder(tf.int32, [BATCH, LENGTH], name="segment_ids")
    sequence, pooled, table = _encoder(ids, mask, segments)
    with tf.variable_scope("cls/predictions"):
        masked_loss = _masked_loss(sequence, table)
    with tf.variable_scope("cls/seq_relationship"):
        labels = tf.placeholder(tf.int32, [BATCH], name="next_sentence_labels")
        next_loss = _cross_entropy(pooled[:, :2], labels, 2)
    _train(tf.add(masked_loss, next_loss, name="loss"))


def _encoder(ids: Tensor, mask: Tensor, segments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    with tf.variable_scope("bert"):
        hidden, table = _embeddings(ids, segments)
        with tf.variable_scope("encoder"):
            bias = (1.0 - tf.cast(mask[:, None, None, :], tf.float32)) * -10000.0
            for layer in range(LAYERS):
                with tf.variable_scope(f"layer_{layer}"):
                    hidden = _layer(hidden, bias)
        sequence = tf.reshape(hidden, [BATCH, LENGTH, HIDDEN])
        with tf.variable_scope("pooler"):
            pooled = _dense("dense", sequence[:, 0], HIDDEN, tf.tanh)
    return sequence, pooled, table


def _embeddings(ids: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    with tf.variable_scope("embeddings"):
        words = tf.get_variable("word_embeddings", [VOCABULARY, HIDDEN], initializer=_initial())
        types = tf.get_variable("token_type_embeddings", [2, HIDDEN], initializer=_initial())
        places = tf.get_variable("position_embeddings", [POSITIONS, HIDDEN], initializer=_initial())
        total = tf.gather(words, tf.reshape(ids, [-1]))
        total += tf.matmul(tf.one_hot(tf.reshape(segments, [-1]), 2), types)
        total = tf.reshape(total, [BATCH, LENGTH, HIDDEN])
        total += places[None, :LENGTH]
        return tf.reshape(_layer_norm(total), [-1, HIDDEN]), words


def _layer(hidden: Tensor, bias: Tensor) -> Tensor:
    with tf.variable_scope("attention"):
        with tf.variable_scope("self"):
            context = _attention(hidden, bias)
        with tf.variable_scope("output"):
            attended = _layer_norm(_dense("dense", context, HIDDEN) + hidden)
    with tf.variable_scope("intermediate"):
        wide = _dense("dense", attended, INTERMEDIATE, _gelu)
    with tf.variable_scope("output"):
        return _layer_norm(_dense("dense", wide, HIDDEN) + attended)


def _attention(hidden: Tensor, bias: Tensor) -> Tensor:
    query, key, value = (
        _split_heads(_dense(part, hidden, HIDDEN)) for part in ("query", "key", "value")
    )
    scores = tf.matmul(query, key, transpose_b=True) / math.sqrt(HIDDEN / HEADS)
    context = tf.matmul(tf.nn.softmax(scores + bias), value)
    return tf.reshape(tf.transpose(context, [0, 2, 1, 3]), [BATCH * LENGTH, HIDDEN])


def _split_heads(x: Tensor) -> Tensor:
    return tf.transpose(tf.reshape(x, [BATCH, LENGTH, HEADS, HIDDEN // HEADS]), [0, 2, 1, 3])


def _masked_loss(sequence: Tensor, table: Tensor) -> Tensor:
    positions = tf.placeholder(tf.int32, [BATCH, MASKED], name="masked_lm_positions")
    labels = tf.placeholder(tf.int32, [BATCH, MASKED], name="masked_lm_ids")
    picked = tf.reshape(tf.gather(sequence, positions, batch_dims=1), [-1, HIDDEN])
    logits = tf.matmul(picked, table, transpose_b=True)
    return _cross_entropy(logits, tf.reshape(labels, [-1]), VOCABULARY)


def _cross_entropy(logits: Tensor, labels: Tensor, classes: int) -> Tensor:
    chosen = tf.nn.log_softmax(logits) * tf.one_hot(labels, classes)
    return -tf.reduce_mean(tf.reduce_sum(chosen, axis=-1))


def _train(loss: Tensor) -> None:
    """BERT's optimizer: no bias correction, decoupled weight decay, slots named by hand."""
    step = tf.train.get_or_create_global_step()
    rate = tf.train.polynomial_decay(1e-4, step, 1_000_000, end_learning_rate=0.0)
    variables = tf.trainable_variables()
    gradients = tf.gradients(loss, variables)
    with tf.name_scope("optimizer"):
        settings = _adam_settings(rate)
        updates = [_update(v, g, settings) for v, g in zip(variables, gradients, strict=True)]
    tf.group(*updates, step.assign(step + 1), name="train_op")


def _adam_settings(rate: Tensor) -> dict[str, Tensor]:
    numbers = {
        "beta1_power": 0.0,
        "beta2_power": 0.0,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-6,
    }
    return {"lr": rate} | {name: tf.constant(x, name=name) for name, x in numbers.items()}


def _update(variable: Tensor, gradient: Tensor, settings: dict[str, Tensor]) -> Tensor:
    name = variable.op.name
    slots = {x: _reference(_slot(f"{name}/adam_{x}", variable)) for x in ("m", "v")}
    gradient = tf.convert_to_tensor(gradient)
    adam = tf.raw_ops.ApplyAdam(var=_reference(variable), grad=gradient, **slots, **settings)
    if "LayerNorm" in name or "bias" in name:
        return adam
    return tf.group(adam, variable.assign_sub(settings["lr"] * 0.01 * variable))


def _slot(name: str, variable: Tensor) -> Tensor:
    return tf.get_variable(
        name, variable.shape, trainable=False, initializer=tf.zeros_initializer()
    )


def _reference(variable: Tensor) -> Tensor:
    return variable.op.outputs[0]


def _dense(name: str, x: Tensor, units: int, activation: Any = None) -> Tensor:
    with tf.variable_scope(name):
        kernel = tf.get_variable("kernel", [x.shape[-1], units], initializer=_initial())
        bias = tf.get_variable("bias", [units], initializer=tf.zeros_initializer())
        y = tf.nn.bias_add(tf.matmul(x, kernel), bias)
        return y if activation is None else activation(y)


def _layer_norm(x: Tensor) -> Tensor:
    with tf.variable_scope("LayerNorm"):
        beta = tf.get_variable("beta", [HIDDEN], initializer=tf.zeros_initializer())
        gamma = tf.get_variable("gamma", [HIDDEN], initializer=tf.ones_initializer())
        mean, variance = tf.nn.moments(x, axes=[-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)


def _gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1.0 + tf.erf(x / math.sqrt(2.0)))


def _initial() -> Any:
    return tf.truncated_normal_initializer(stddev=0.02)
