"""Forward passes in NumPy over the names of the targets, for where their libraries are missing.

They are written from the libraries' own definitions of their layers, by the names and layouts of
their files, and read every weight of a file: one that is left over is a mistake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import erf, sqrt
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from graphs_transformers import Sizes

Array = Any
Outputs = dict[str, Array]


class Weights:
    """The arrays of a file; remembers which have been asked for."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> Array:
        self._used.add(name)
        return np.asarray(self._arrays[name], "float64")

    def unused(self) -> list[str]:
        """What has not been asked for."""
        return sorted(set(self._arrays) - self._used)


def read_safetensors(path: Path) -> Weights:
    """A safetensors file, through its own library."""
    from safetensors.numpy import load_file

    return Weights(load_file(path))


def read_keras(path: Path) -> Weights:
    """A ``.weights.h5``, by the paths in the file."""
    import h5py

    found: dict[str, Array] = {}
    with h5py.File(path) as file:
        file.visititems(
            lambda name, item: (
                found.__setitem__(name, item[()]) if isinstance(item, h5py.Dataset) else None
            )
        )
    return Weights(found)


def read_objects(path: Path) -> Weights:
    """An object-based checkpoint, through TensorFlow."""
    import tensorflow as tf

    end = "/.ATTRIBUTES/VARIABLE_VALUE"
    reader = tf.train.load_checkpoint(str(path))
    names = [name for name in reader.get_variable_to_shape_map() if name.endswith(end)]
    names.remove(f"save_counter{end}")  # every checkpoint of tf.train.Checkpoint has one
    return Weights({name.removesuffix(end): reader.get_tensor(name) for name in names})


def gelu_tanh(x: Array) -> Array:
    """Gelu by tanh."""
    return 0.5 * x * (1 + np.tanh(sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def gelu_erf(x: Array) -> Array:
    """Gelu by the error function."""
    return 0.5 * x * (1 + np.vectorize(erf)(x / sqrt(2)))


class Net(NamedTuple):
    """Layers over the weights of a file.

    ``name`` makes the name of a weight from a layer and its part (kernel, bias, gamma, beta);
    where kernels are ``turned`` they are outputs by inputs.
    """

    weights: Weights
    name: Callable[[str, str], str]
    turned: bool
    gelu: Callable[[Array], Array] = gelu_tanh
    epsilon: float = 1e-12

    def dense(self, x: Array, layer: str) -> Array:
        """A dense layer; its kernel may have heads among its outputs, or among its inputs."""
        kernel = self.weights[self.name(layer, "kernel")]
        if x.ndim == 4 and kernel.ndim == 2:
            x = x.reshape(*x.shape[:2], -1)
        axes = x.ndim - 2 if x.ndim == 4 else 1
        y = np.tensordot(x, kernel.T if self.turned else kernel, axes)
        return y + self.weights[self.name(layer, "bias")]

    def norm(self, x: Array, layer: str) -> Array:
        """Layer norm of the last axis."""
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + self.epsilon)
        gamma, beta = (self.weights[self.name(layer, part)] for part in ("gamma", "beta"))
        return x * gamma + beta


def attend(q: Array, k: Array, v: Array, heads: int, bias: Array) -> Array:
    """Attention; returns ``[batch, length, heads, depth]``."""
    q, k, v = (x.reshape(*x.shape[:2], heads, -1) for x in (q, k, v))
    scores = np.einsum("bind,bjnd->bnij", q, k) / sqrt(q.shape[-1]) + bias
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    return np.einsum("bnij,bjnd->bind", scores / scores.sum(-1, keepdims=True), v)


def post_norm(
    net: Net, x: Array, bias: Array, at: str, parts: Mapping[str, str], heads: int
) -> Array:
    """A layer of BERT's kind: norms come after the sums."""
    q, k, v = (net.dense(x, at + parts[part]) for part in ("query", "key", "value"))
    y = net.dense(attend(q, k, v, heads, bias), at + parts["projection"])
    x = net.norm(x + y, at + parts["first_norm"])
    y = net.dense(net.gelu(net.dense(x, at + parts["inner"])), at + parts["outer"])
    return net.norm(x + y, at + parts["second_norm"])


def mask_bias(packed: Array) -> Array:
    """What the scores of masked places get."""
    return -1e9 * (1.0 - packed[:, None, None, 1])


def embed(w: Weights, packed: Array, words: str, places: str, types: str) -> Array:
    """The sum of three tables."""
    return w[words][packed[:, 0]] + w[places][: packed.shape[2]] + w[types][packed[:, 2]]


# keras_hub


HUB = {
    **{part: f"_self_attention_layer/{part}_dense" for part in ("query", "key", "value")},
    "projection": "_self_attention_layer/output_dense",
    "first_norm": "_self_attention_layer_norm",
    "inner": "_feedforward_intermediate_dense",
    "outer": "_feedforward_output_dense",
    "second_norm": "_feedforward_layer_norm",
}
_VARS = {"kernel": 0, "bias": 1, "gamma": 0, "beta": 1}


def hub_name(layer: str, part: str) -> str:
    """Weights are numbered in their layer."""
    return f"layers/{layer}/vars/{_VARS[part]}"


def _numbered(stem: str, number: int) -> str:
    return f"{stem}_{number}" if number else stem


def hub_encoder(net: Net, packed: Array, sizes: Sizes, groups: int = 0) -> Outputs:
    """BertBackbone, AlbertBackbone (with ``groups``), ElectraBackbone."""
    tables = ("reversible_embedding", "position_embedding", "embedding")
    x = embed(net.weights, packed, *(f"layers/{table}/vars/0" for table in tables))
    x = net.norm(x, "layer_normalization")
    pooler = "dense"
    if sizes.embedding:
        x, pooler = net.dense(x, "dense"), "dense_1"
    for i in range(sizes.layers):
        number = i * groups // sizes.layers if groups else i
        at = _numbered("transformer_encoder", number) + "/"
        x = post_norm(net, x, mask_bias(packed), at, HUB, sizes.heads)
    return {"sequence": x, "pooled": np.tanh(net.dense(x[:, 0], pooler))}


def hub_gpt2(net: Net, packed: Array, sizes: Sizes) -> Outputs:
    """GPT2Backbone, and its words."""
    table = net.weights["layers/reversible_embedding/vars/0"]
    x = table[packed[:, 0]]
    x = x + net.weights["layers/position_embedding/vars/0"][: packed.shape[2]]
    for i in range(sizes.layers):
        at = _numbered("transformer_decoder", i) + "/"
        y = net.norm(x, at + HUB["first_norm"])
        q, k, v = (net.dense(y, at + HUB[part]) for part in ("query", "key", "value"))
        x = x + net.dense(attend(q, k, v, sizes.heads, _later(packed)), at + HUB["projection"])
        y = net.dense(net.norm(x, at + HUB["second_norm"]), at + HUB["inner"])
        x = x + net.dense(net.gelu(y), at + HUB["outer"])
    x = net.norm(x, "layer_normalization")
    return {"sequence": x, "words": x @ table.T}


def _later(packed: Array) -> Array:
    places = np.arange(packed.shape[2])
    return np.where(places[:, None] < places, -1e9, 0.0)


# tf-models-official


TF_MODELS = {
    **{part: f"_attention_layer/_{part}_dense" for part in ("query", "key", "value")},
    "projection": "_attention_layer/_output_dense",
    "first_norm": "_attention_layer_norm",
    "inner": "_intermediate_dense",
    "outer": "_output_dense",
    "second_norm": "_output_layer_norm",
}


def tf_models_bert(net: Net, packed: Array, sizes: Sizes) -> Outputs:
    """BertEncoderV2, below ``encoder``."""
    tables = ("embedding", "position_embedding", "type_embedding")
    x = embed(net.weights, packed, *(f"encoder/_{table}_layer/embeddings" for table in tables))
    x = net.norm(x, "encoder/_embedding_norm_layer")
    for i in range(sizes.layers):
        at = f"encoder/_transformer_layers/{i}/"
        x = post_norm(net, x, mask_bias(packed), at, TF_MODELS, sizes.heads)
    return {"sequence": x, "pooled": np.tanh(net.dense(x[:, 0], "encoder/_pooler_layer"))}


# Hugging Face


HF = {
    **{part: f"attention.self.{part}" for part in ("query", "key", "value")},
    "projection": "attention.output.dense",
    "first_norm": "attention.output.LayerNorm",
    "inner": "intermediate.dense",
    "outer": "output.dense",
    "second_norm": "output.LayerNorm",
}
HF_ALBERT = {
    **{part: f"attention.{part}" for part in ("query", "key", "value")},
    "projection": "attention.dense",
    "first_norm": "attention.LayerNorm",
    "inner": "ffn",
    "outer": "ffn_output",
    "second_norm": "full_layer_layer_norm",
}
_TORCH = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}


def hf_name(layer: str, part: str) -> str:
    """Kernels and scales are both ``weight``."""
    return f"{layer}.{_TORCH[part]}"


def _hf_tables(net: Net, packed: Array, scope: str) -> Array:
    at = f"{scope}.embeddings"
    tables = ("word", "position", "token_type")
    x = embed(net.weights, packed, *(f"{at}.{table}_embeddings.weight" for table in tables))
    return net.norm(x, f"{at}.LayerNorm")


def _hf_words(net: Net, x: Array, dense: str, norm: str, bias: str, table: str) -> Array:
    x = net.norm(net.gelu(net.dense(x, dense)), norm)
    return x @ net.weights[f"{table}.embeddings.word_embeddings.weight"].T + net.weights[bias]


def hf_bert(net: Net, packed: Array, sizes: Sizes) -> Outputs:
    """BertForPreTraining."""
    x = _hf_tables(net, packed, "bert")
    for i in range(sizes.layers):
        at = f"bert.encoder.layer.{i}."
        x = post_norm(net, x, mask_bias(packed), at, HF, sizes.heads)
    pooled = np.tanh(net.dense(x[:, 0], "bert.pooler.dense"))
    head = "cls.predictions"
    dense, norm = f"{head}.transform.dense", f"{head}.transform.LayerNorm"
    words = _hf_words(net, x, dense, norm, f"{head}.bias", "bert")
    return {
        "sequence": x,
        "pooled": pooled,
        "words": words,
        "next": net.dense(pooled, "cls.seq_relationship"),
    }


def hf_albert(net: Net, packed: Array, sizes: Sizes, groups: int = 1) -> Outputs:
    """AlbertForPreTraining."""
    x = _hf_tables(net, packed, "albert")
    x = net.dense(x, "albert.encoder.embedding_hidden_mapping_in")
    for i in range(sizes.layers):
        group = i * groups // sizes.layers
        at = f"albert.encoder.albert_layer_groups.{group}.albert_layers.0."
        x = post_norm(net, x, mask_bias(packed), at, HF_ALBERT, sizes.heads)
    pooled = np.tanh(net.dense(x[:, 0], "albert.pooler"))
    head = "predictions"
    words = _hf_words(net, x, f"{head}.dense", f"{head}.LayerNorm", f"{head}.bias", "albert")
    assert (net.weights[f"{head}.decoder.bias"] == net.weights[f"{head}.bias"]).all()
    next_one = net.dense(pooled, "sop_classifier.classifier")
    return {"sequence": x, "pooled": pooled, "words": words, "next": next_one}


def hf_electra(net: Net, packed: Array, sizes: Sizes, generator: bool = False) -> Outputs:
    """ElectraForPreTraining, or ElectraForMaskedLM for a generator."""
    x = _hf_tables(net, packed, "electra")
    if sizes.width != sizes.hidden:
        x = net.dense(x, "electra.embeddings_project")
    for i in range(sizes.layers):
        at = f"electra.encoder.layer.{i}."
        x = post_norm(net, x, mask_bias(packed), at, HF, sizes.heads)
    if generator:
        head = "generator_predictions"
        bias = "generator_lm_head.bias"
        words = _hf_words(net, x, f"{head}.dense", f"{head}.LayerNorm", bias, "electra")
        return {"sequence": x, "words": words}
    y = net.gelu(net.dense(x, "discriminator_predictions.dense"))
    y = net.dense(y, "discriminator_predictions.dense_prediction")
    return {"sequence": x, "replaced": y[..., 0]}


def hf_gpt2(net: Net, packed: Array, sizes: Sizes) -> Outputs:
    """GPT2LMHeadModel, whose kernels are inputs by outputs."""
    table = net.weights["transformer.wte.weight"]
    x = table[packed[:, 0]] + net.weights["transformer.wpe.weight"][: packed.shape[2]]
    for i in range(sizes.layers):
        at = f"transformer.h.{i}"
        y = net.dense(net.norm(x, f"{at}.ln_1"), f"{at}.attn.c_attn")
        mixed = attend(*np.split(y, 3, axis=-1), sizes.heads, _later(packed))
        x = x + net.dense(mixed, f"{at}.attn.c_proj")
        y = net.gelu(net.dense(net.norm(x, f"{at}.ln_2"), f"{at}.mlp.c_fc"))
        x = x + net.dense(y, f"{at}.mlp.c_proj")
    x = net.norm(x, "transformer.ln_f")
    return {"sequence": x, "words": x @ table.T}
