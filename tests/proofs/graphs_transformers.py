"""TF1 graphs of BERT, ALBERT, ELECTRA and GPT-2, with the variable names of their sources.

Token ids, mask and segments come as one array of integers, ``[batch, 3, length]``.  Weights are
drawn so that every layer keeps the size of its input and attention is neither flat nor a choice
of one place: layer norms have scales and offsets that differ, biases are not zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from tf1_layers import Layers

Tensor = Any
Outputs = dict[str, Tensor]


class Sizes(NamedTuple):
    """Sizes of a network; ``embedding`` is the width of the tables where it is one of its own."""

    vocabulary: int = 60
    positions: int = 20
    types: int = 2
    layers: int = 3
    heads: int = 4
    hidden: int = 32
    inner: int = 48
    embedding: int = 0

    @property
    def width(self) -> int:
        """The width of the tables."""
        return self.embedding or self.hidden


SMALL = Sizes()
FACTORED = SMALL._replace(embedding=24)


def tokens(sizes: Sizes, count: int = 2, length: int = 14, seed: int = 0) -> Any:
    """Random ids, a mask that ends examples early, and two segments: ``[count, 3, length]``."""
    draw = np.random.default_rng(seed)
    ids = draw.integers(0, sizes.vocabulary, (count, length))
    mask = np.arange(length) < draw.integers(length // 2, length + 1, (count, 1))
    segments = np.arange(length) >= draw.integers(2, length // 2, (count, 1))
    return np.stack([ids, mask, segments], axis=1).astype("int32")


def dense(net: Layers, x: Tensor, scope: str, units: int) -> Tensor:
    """A dense layer of the last axis."""
    inputs = int(x.shape[-1])
    with net.scope(scope):
        kernel = net.variable("kernel", (inputs, units), sqrt(1 / inputs))
        return net.tf.matmul(x, kernel) + net.variable("bias", (units,), 0.1)


def layer_norm(
    net: Layers,
    x: Tensor,
    scope: str = "LayerNorm",
    names: tuple[str, str] = ("beta", "gamma"),
    epsilon: float = 1e-12,
) -> Tensor:
    """Layer norm of the last axis."""
    size = (int(x.shape[-1]),)
    with net.scope(scope):
        beta, gamma = net.variable(names[0], size, 0.2), net.variable(names[1], size, 0.2, 1.0)
    mean, variance = net.tf.nn.moments(x, [-1], keepdims=True)
    return net.tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def gelu(net: Layers, x: Tensor, tanh: bool = True) -> Tensor:
    """Gelu, by tanh or by erf, written out."""
    tf = net.tf
    if tanh:
        return 0.5 * x * (1 + tf.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    return 0.5 * x * (1 + tf.math.erf(x / sqrt(2)))


def attend(net: Layers, q: Tensor, k: Tensor, v: Tensor, heads: int, bias: Tensor) -> Tensor:
    """Attention of ``heads`` heads over ``[batch, length, hidden]``; scores get ``bias``."""
    tf = net.tf
    length, hidden = tf.shape(q)[1], int(q.shape[-1])

    def split(x: Tensor) -> Tensor:
        return tf.transpose(tf.reshape(x, (-1, length, heads, hidden // heads)), (0, 2, 1, 3))

    scores = tf.matmul(split(q), split(k), transpose_b=True) / sqrt(hidden / heads) + bias
    mixed = tf.matmul(tf.nn.softmax(scores), split(v))
    return tf.reshape(tf.transpose(mixed, (0, 2, 1, 3)), (-1, length, hidden))


BERT_LAYER = {
    "self": "attention/self",
    "projection": "attention/output/dense",
    "first_norm": "attention/output/LayerNorm",
    "inner": "intermediate/dense",
    "outer": "output/dense",
    "second_norm": "output/LayerNorm",
}
ALBERT_LAYER = {
    "self": "attention_1/self",
    "projection": "attention_1/output/dense",
    "first_norm": "LayerNorm",
    "inner": "ffn_1/intermediate/dense",
    "outer": "ffn_1/intermediate/output/dense",
    "second_norm": "LayerNorm_1",
}


def post_norm_layer(
    net: Layers, x: Tensor, bias: Tensor, sizes: Sizes, names: Mapping[str, str], tanh: bool
) -> Tensor:
    """A layer of BERT: norms come after the sums."""
    with net.scope(names["self"]):
        q, k, v = (dense(net, x, part, sizes.hidden) for part in ("query", "key", "value"))
    y = dense(net, attend(net, q, k, v, sizes.heads, bias), names["projection"], sizes.hidden)
    x = layer_norm(net, x + y, names["first_norm"])
    y = gelu(net, dense(net, x, names["inner"], sizes.inner), tanh)
    y = dense(net, y, names["outer"], sizes.hidden)
    return layer_norm(net, x + y, names["second_norm"])


class Encoder(NamedTuple):
    """What an encoder gives: its last layer, and its table of words."""

    sequence: Tensor
    table: Tensor


def embed(net: Layers, packed: Tensor, sizes: Sizes) -> Encoder:
    """The sum of three tables, and a norm."""
    tf = net.tf
    with net.scope("embeddings"):
        words = net.variable("word_embeddings", (sizes.vocabulary, sizes.width), 1.0)
        types = net.variable("token_type_embeddings", (sizes.types, sizes.width), 0.5)
        places = net.variable("position_embeddings", (sizes.positions, sizes.width), 0.5)
        x = tf.gather(words, packed[:, 0]) + tf.gather(types, packed[:, 2])
        return Encoder(layer_norm(net, x + places[: tf.shape(packed)[2]]), words)


def mask_bias(net: Layers, packed: Tensor) -> Tensor:
    """What the scores of masked places get."""
    return -10000.0 * (1 - net.tf.cast(packed[:, None, None, 1], "float32"))


def pool(net: Layers, x: Tensor, hidden: int) -> Tensor:
    """The first place through a dense layer and tanh."""
    return net.tf.tanh(dense(net, x[:, 0], "pooler/dense", hidden))


def stored_by_output(net: Layers, x: Tensor, scope: str, units: int) -> Tensor:
    """A dense layer whose weights are stored as outputs by inputs."""
    with net.scope(scope):
        weights = net.variable("output_weights", (units, int(x.shape[-1])), 0.3)
        bias = net.variable("output_bias", (units,), 0.1)
    return net.tf.matmul(x, weights, transpose_b=True) + bias


def masked_words(net: Layers, x: Tensor, table: Tensor, tanh: bool = True) -> Tensor:
    """Logits of words, in the current scope: by the table of words itself, and a bias."""
    x = layer_norm(net, gelu(net, dense(net, x, "dense", int(table.shape[1])), tanh))
    return net.tf.einsum("blh,vh->blv", x, table)


def pretraining_heads(net: Layers, encoder: Encoder, pooled: Tensor) -> Outputs:
    """The two heads of run_pretraining.py, for every place."""
    with net.scope("cls/predictions"):
        with net.scope("transform"):
            words = masked_words(net, encoder.sequence, encoder.table)
        words += net.variable("output_bias", (int(encoder.table.shape[0]),), 0.3)
    return {"words": words, "next": stored_by_output(net, pooled, "cls/seq_relationship", 2)}


def bert(net: Layers, packed: Tensor, sizes: Sizes, *, heads: str = "pretraining") -> Outputs:
    """BERT, with some heads."""
    with net.scope("bert"):
        x, table = embed(net, packed, sizes)
        for i in range(sizes.layers):
            with net.scope(f"encoder/layer_{i}"):
                x = post_norm_layer(net, x, mask_bias(net, packed), sizes, BERT_LAYER, True)
        pooled = pool(net, x, sizes.hidden)
    return {"sequence": x, "pooled": pooled, **heads_of(net, heads, Encoder(x, table), pooled)}


def heads_of(net: Layers, heads: str, encoder: Encoder, pooled: Tensor) -> Outputs:
    """The heads of pretraining, of a ``classifier``, or of ``squad``."""
    if heads == "pretraining":
        return pretraining_heads(net, encoder, pooled)
    if heads == "classifier":
        return {"classes": stored_by_output(net, pooled, "", 3)}
    x = encoder.sequence
    flat = net.tf.reshape(x, (-1, int(x.shape[-1])))
    spans = stored_by_output(net, flat, "cls/squad", 2)
    spans = net.tf.reshape(spans, (-1, net.tf.shape(x)[1], 2))
    return {"start": spans[..., 0], "end": spans[..., 1]}


def albert(
    net: Layers, packed: Tensor, sizes: Sizes, *, groups: int = 1, heads: str = "pretraining"
) -> Outputs:
    """ALBERT: the layers of a group share their weights, the tables are narrow."""
    with net.scope("bert"):
        x, table = embed(net, packed, sizes)
        with net.scope("encoder"):
            x = dense(net, x, "embedding_hidden_mapping_in", sizes.hidden)
            for i in range(sizes.layers):
                with net.scope(f"transformer/group_{i * groups // sizes.layers}/inner_group_0"):
                    x = post_norm_layer(net, x, mask_bias(net, packed), sizes, ALBERT_LAYER, True)
        pooled = pool(net, x, sizes.hidden)
    return {"sequence": x, "pooled": pooled, **heads_of(net, heads, Encoder(x, table), pooled)}


def generator_sizes(sizes: Sizes, shared: bool = True) -> Sizes:
    """The generator of an ELECTRA: half as wide, its tables too where they are its own."""
    return sizes._replace(
        heads=sizes.heads // 2,
        hidden=sizes.hidden // 2,
        inner=sizes.inner // 2,
        embedding=sizes.width if shared else 0,
    )


def electra(
    net: Layers, packed: Tensor, sizes: Sizes, *, tanh: bool = False, shared: bool = True
) -> Outputs:
    """ELECTRA: a discriminator, and a smaller generator with the same tables or its own."""
    found = {}
    for name, size in (("electra", sizes), ("generator", generator_sizes(sizes, shared))):
        with net.scope("electra" if shared else name):
            x, table = embed(net, packed, size)
        with net.scope(name):
            if size.width != size.hidden:
                x = dense(net, x, "embeddings_project", size.hidden)
            for i in range(size.layers):
                with net.scope(f"encoder/layer_{i}"):
                    x = post_norm_layer(net, x, mask_bias(net, packed), size, BERT_LAYER, tanh)
        found[name] = x
    with net.scope("discriminator_predictions"):
        y = gelu(net, dense(net, found["electra"], "dense", sizes.hidden), tanh)
        found["replaced"] = dense(net, y, "dense_1", 1)[..., 0]
    with net.scope("generator_predictions"):
        words = masked_words(net, found["generator"], table, tanh)
        found["words"] = words + net.variable("output_bias", (sizes.vocabulary,), 0.3)
    return found


def gpt2(net: Layers, packed: Tensor, sizes: Sizes) -> Outputs:
    """GPT-2: norms come before; kernels have an axis of size 1 in front."""
    tf = net.tf
    length = tf.shape(packed)[2]
    hidden = sizes.hidden
    places = tf.range(length)
    hidden_places = tf.cast(places[:, None] < places[None], "float32") * -1e10

    def conv(x: Tensor, scope: str, units: int) -> Tensor:
        inputs = int(x.shape[-1])
        with net.scope(scope):
            w = net.variable("w", (1, inputs, units), sqrt(1 / inputs))
            return tf.matmul(x, w[0]) + net.variable("b", (units,), 0.1)

    def norm(x: Tensor, scope: str) -> Tensor:
        return layer_norm(net, x, scope, ("b", "g"), 1e-5)

    with net.scope("model"):
        words = net.variable("wte", (sizes.vocabulary, hidden), 0.5)
        table = net.variable("wpe", (sizes.positions, hidden), 0.3)
        x = tf.gather(words, packed[:, 0]) + table[:length]
        for i in range(sizes.layers):
            with net.scope(f"h{i}"):
                q, k, v = tf.split(conv(norm(x, "ln_1"), "attn/c_attn", 3 * hidden), 3, axis=2)
                x += conv(attend(net, q, k, v, sizes.heads, hidden_places), "attn/c_proj", hidden)
                y = gelu(net, conv(norm(x, "ln_2"), "mlp/c_fc", sizes.inner))
                x += conv(y, "mlp/c_proj", hidden)
        x = norm(x, "ln_f")
    return {"sequence": x, "words": tf.einsum("blh,vh->blv", x, words)}
