"""TF1 graphs of XLNet and T5, with the variable names of their sources.

Token ids, mask and segments come as in ``graphs_transformers``.  T5 decodes the ids backwards.
"""

from __future__ import annotations

from math import log, sqrt

from graphs_transformers import Outputs, Sizes, Tensor, dense, gelu, layer_norm
from tf1_layers import Layers


def xlnet(net: Layers, packed: Tensor, sizes: Sizes, *, heads: str = "words") -> Outputs:
    """XLNet without memory and in one stream, with the head of pretraining or a ``classifier``."""
    tf = net.tf
    length, hidden = tf.shape(packed)[2], sizes.hidden
    shape = (sizes.heads, hidden // sizes.heads)
    with net.scope("model/transformer"):
        biases = {
            name: net.variable(f"{name}_bias", (sizes.layers, *shape), 0.5)
            for name in ("r_w", "r_r", "r_s")
        }
        words = net.variable("word_embedding/lookup_table", (sizes.vocabulary, hidden), 1.0)
        net.variable("mask_emb/mask_emb", (1, 1, hidden), 1.0)  # of the second stream
        types = net.variable("seg_embed", (sizes.layers, 2, *shape), 0.5)
        x = tf.gather(words, packed[:, 0])
        places = tf.range(length)
        apart = places[:, None] - places[None]
        waves = 10000.0 ** (-tf.range(0.0, hidden, 2.0) / hidden)
        angles = tf.cast(apart, "float32")[..., None] * waves
        distance = tf.concat([tf.sin(angles), tf.cos(angles)], -1)
        other = tf.not_equal(packed[:, 2, :, None], packed[:, 2, None])
        hidden_places = tf.equal(packed[:, 1, None], 0) & tf.not_equal(apart, 0)
        masked = tf.cast(hidden_places, "float32") * -1e30
        for i in range(sizes.layers):
            with net.scope(f"layer_{i}"):
                own = {name: bias[i] for name, bias in biases.items()}
                x = _relative(net, x, distance, other, masked[:, None], {**own, "types": types[i]})
                with net.scope("ff"):
                    y = dense(
                        net, gelu(net, dense(net, x, "layer_1", sizes.inner)), "layer_2", hidden
                    )
                    x = layer_norm(net, x + y)
    found = {"sequence": x}
    if heads == "classifier":
        y = tf.tanh(dense(net, x[:, -1], "model/sequnece_summary/summary", hidden))
        return {**found, "classes": dense(net, y, "model/classification_task/logit", 3)}
    bias = net.variable("model/lm_loss/bias", (sizes.vocabulary,), 0.3)
    return {**found, "words": tf.einsum("blh,vh->blv", x, words) + bias}


def _relative(
    net: Layers, x: Tensor, distance: Tensor, other: Tensor, masked: Tensor, own: dict[str, Tensor]
) -> Tensor:
    """Attention by content, distance and segment."""
    tf = net.tf
    hidden, shape = int(x.shape[-1]), own["r_w"].shape.as_list()
    with net.scope("rel_attn"):
        kernels = {
            part: net.variable(f"{part}/kernel", (hidden, *shape), sqrt(1 / hidden))
            for part in "qkvro"
        }
        q, k, v = (tf.einsum("blh,hnd->blnd", x, kernels[part]) for part in "qkv")
        r = tf.einsum("ijh,hnd->ijnd", distance, kernels["r"])
        scores = tf.einsum("bind,bjnd->bnij", q + own["r_w"], k)
        scores += tf.einsum("bind,ijnd->bnij", q + own["r_r"], r)
        kinds = tf.einsum("bind,snd->bnis", q + own["r_s"], own["types"])
        scores += tf.where(other[:, None], kinds[..., 1:], kinds[..., :1])
        scores = tf.nn.softmax(scores / sqrt(shape[1]) + masked)
        mixed = tf.einsum("bnij,bjnd->bind", scores, v)
        return layer_norm(net, x + tf.einsum("bind,hnd->bih", mixed, kernels["o"]))


BUCKETS, FARTHEST = 32, 128


def bucket(net: Layers, length: Tensor, both_ways: bool) -> Tensor:
    """The bucket of each distance, from query to key: ``[length, length]``."""
    tf = net.tf
    places = tf.range(length)
    apart = places[None] - places[:, None]
    count = BUCKETS // 2 if both_ways else BUCKETS
    far = tf.abs(apart) if both_ways else tf.maximum(-apart, 0)
    exact = count // 2
    ratio = tf.math.log(tf.maximum(tf.cast(far, "float32"), 1.0) / exact) / log(FARTHEST / exact)
    rough = tf.minimum(exact + tf.cast(ratio * (count - exact), "int32"), count - 1)
    found = tf.where(far < exact, far, rough)
    return found + tf.where(apart > 0, count, 0) if both_ways else found


def t5(net: Layers, packed: Tensor, sizes: Sizes, *, gated: bool = False) -> Outputs:
    """T5; ``gated``: version 1.1, whose output has a kernel of its own."""
    tf = net.tf
    hidden = sizes.hidden
    words = net.variable("shared/embedding", (sizes.vocabulary, hidden), 1.0)
    masked = -1e9 * (1 - tf.cast(packed[:, None, None, 1], "float32"))
    x = tf.gather(words, packed[:, 0])
    memory = None
    found: Outputs = {}
    for stack in ("encoder", "decoder"):
        with net.scope(stack):
            bias = _distances(net, tf.shape(packed)[2], sizes.heads, stack == "encoder")
            if memory is not None:
                x = tf.gather(words, packed[:, 0, ::-1])
                places = tf.range(tf.shape(packed)[2])
                bias += tf.where(places[:, None] < places[None], -1e9, 0.0)
            else:
                bias += masked
            for i in range(sizes.layers):
                with net.scope(f"block_{i:03}"):
                    x = _t5_block(net, x, sizes, bias, memory, masked, gated)
            x = _rms_norm(net, x, "final_layer_norm")
        found[stack] = memory = x
    if gated:
        kernel = net.variable("decoder/logits/kernel", (hidden, sizes.vocabulary), 0.3)
        return {**found, "words": tf.matmul(x, kernel)}
    return {**found, "words": tf.einsum("blh,vh->blv", x / sqrt(hidden), words)}


def _distances(net: Layers, length: Tensor, heads: int, both_ways: bool) -> Tensor:
    """What the scores of all layers of a stack get; the variable is in its first."""
    name = "block_000/layer_000/SelfAttention/relative_attention_bias"
    table = net.variable(name, (heads, BUCKETS), 1.0)
    return net.tf.gather(table, bucket(net, length, both_ways), axis=1)


def _rms_norm(net: Layers, x: Tensor, scope: str) -> Tensor:
    with net.scope(scope):
        scale = net.variable("scale", (int(x.shape[-1]),), 0.2, 1.0)
    return x * net.tf.math.rsqrt(net.tf.reduce_mean(x**2, -1, keepdims=True) + 1e-6) * scale


def _t5_block(
    net: Layers,
    x: Tensor,
    sizes: Sizes,
    bias: Tensor,
    memory: Tensor | None,
    masked: Tensor,
    gated: bool,
) -> Tensor:
    attended = [("SelfAttention", None, bias)]
    if memory is not None:
        attended.append(("EncDecAttention", memory, masked))
    for number, (name, source, shift) in enumerate(attended):
        with net.scope(f"layer_{number:03}"):
            y = _rms_norm(net, x, "layer_norm")
            x += _t5_attention(net, y, source, name, sizes.heads, shift)
    with net.scope(f"layer_{len(attended):03}"):
        y = _rms_norm(net, x, "layer_norm")
        with net.scope("DenseReluDense"):
            if gated:
                y = gelu(net, _kernel(net, y, "wi_0/kernel", sizes.inner)) * _kernel(
                    net, y, "wi_1/kernel", sizes.inner
                )
            else:
                y = net.tf.nn.relu(_kernel(net, y, "wi/kernel", sizes.inner))
            return x + _kernel(net, y, "wo/kernel", sizes.hidden)


def _kernel(net: Layers, x: Tensor, name: str, units: int) -> Tensor:
    inputs = int(x.shape[-1])
    return net.tf.matmul(x, net.variable(name, (inputs, units), sqrt(1 / inputs)))


def _t5_attention(
    net: Layers, x: Tensor, source: Tensor | None, scope: str, heads: int, bias: Tensor
) -> Tensor:
    """Attention without a scale: T5 has it in the weights."""
    tf = net.tf
    hidden = int(x.shape[-1])
    source = x if source is None else source
    with net.scope(scope):
        q, k, v = (
            tf.reshape(_kernel(net, y, part, hidden), (-1, tf.shape(y)[1], heads, hidden // heads))
            for part, y in (("q", x), ("k", source), ("v", source))
        )
        scores = tf.nn.softmax(tf.einsum("bind,bjnd->bnij", q, k) + bias)
        mixed = tf.einsum("bnij,bjnd->bind", scores, v)
        return _kernel(net, tf.reshape(mixed, (-1, tf.shape(x)[1], hidden)), "o", hidden)
