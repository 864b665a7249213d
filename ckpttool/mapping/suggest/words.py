"""What names say: the role of a last component, and words that mean the same on both sides."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from math import log

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TOKENS = re.compile(r"[0-9]+|[^\W\d_]+")
_MAX_TOKENS = 60
_LITTLE = 2.0  # weight of words below which two names are alike by chance
_DIGIT = 0.4  # what a number weighs beside a word: the sides may count from elsewhere
_NUMBERED = re.compile(r"(.*?)_?([0-9]+)\Z", re.DOTALL)

# Last components, by what they are.
_ROLES: dict[str, str] = {
    **dict.fromkeys(("kernel", "_kernel", "weights", "weight", "w", "_w"), "kernel"),
    **dict.fromkeys(("recurrent_kernel", "_recurrent_kernel"), "recurrent_kernel"),
    **dict.fromkeys(("bias", "_bias", "biases", "b", "bias_weights"), "bias"),
    **dict.fromkeys(("gamma", "scale", "g"), "gamma"),
    **dict.fromkeys(("beta", "offset"), "beta"),
    **dict.fromkeys(("moving_mean", "running_mean"), "moving_mean"),
    **dict.fromkeys(("moving_variance", "moving_var", "running_var"), "moving_variance"),
    **dict.fromkeys(("depthwise_kernel", "depthwise_weights"), "depthwise"),
    **dict.fromkeys(("pointwise_kernel", "pointwise_weights"), "pointwise"),
    **dict.fromkeys(
        ("embeddings", "_embeddings", "embedding", "embedding_weights", "lookup_table",
         "position_embeddings", "word_embeddings", "token_type_embeddings"),
        "table",
    ),
    **dict.fromkeys(("alpha", "alphas"), "alpha"),
    **dict.fromkeys(("mean",), "mean"),
    **dict.fromkeys(("variance",), "variance"),
}  # fmt: skip

# Several words first, in this order; then single ones.
_PHRASES = (
    ("tpu_batch_normalization", "bn"),
    ("batch_normalization", "bn"),
    ("batch_norm", "bn"),
    ("batchnorm", "bn"),
    ("layer_normalization", "ln"),
    ("layer_norm", "ln"),
    ("layernorm", "ln"),
    ("squeeze_excite", "se"),
    ("fully_connected", "dense"),
    ("token_type", "segment"),
    ("conv1d", "conv"),
    ("conv2d", "conv"),
    ("conv3d", "conv"),
    ("hiddenlayer", "layer"),
    ("feed_forward", "feedforward"),
)
_WORDS = {
    "fw": "forward",
    "bw": "backward",
    "attn": "attention",
    "dw": "depthwise",
    "pw": "pointwise",
    "preds": "logits",
    "predictions": "logits",
    "classifier": "logits",
    "fc": "dense",
    "linear": "dense",
    "ffn": "feedforward",
    "mlp": "feedforward",
    "tokens": "word",
    "token": "word",
    "wte": "word",
    "wpe": "position",
    "pos": "position",
    "type": "segment",
    "seg": "segment",
    "emb": "embedding",
    "embed": "embedding",
    "embeddings": "embedding",
    "q": "query",
    "k": "key",
    "v": "value",
    "h": "layer",
    "hidden": "layer",
    "proj": "project",
    "projection": "project",
    "norm": "ln",
}


def role_of(leaf: str) -> tuple[str, str]:
    """The role of a last component, "" if it says none, and the number that it ends in."""
    low = leaf.lower()
    if low in _ROLES:
        return _ROLES[low], ""
    numbered = _NUMBERED.match(low)
    if numbered and numbered[1] in _ROLES:
        return _ROLES[numbered[1]], numbered[2]
    return "", ""


def words(name: str) -> list[str]:
    """The words of a name, as far as they tell something, in one spelling."""
    low = _CAMEL.sub("_", name).lower()
    low = re.sub(r"conv_?([123])_?d", r"conv\1d", low)
    for phrase, word in _PHRASES:
        low = low.replace(phrase, word)
    found = _TOKENS.findall(low)[-_MAX_TOKENS:]
    return [_WORDS.get(item, item) for item in found]


class Likeness:
    """How alike names of two sides are, from 0 to 1: rare words in common count most."""

    def __init__(self, a: Sequence[str], b: Sequence[str]) -> None:
        self._a = _weighted(a)
        self._b = _weighted(b)

    def score(self, a: int, b: int) -> float:
        """Of the names at two places."""
        left, right = self._a[a], self._b[b]
        if not left or not right:
            return 0.0
        common = sum(min(weight, right[word]) for word, weight in left.items() if word in right)
        return common / (_LITTLE + (sum(left.values()) + sum(right.values())) / 2)


def _weighted(names: Sequence[str]) -> list[Mapping[str, float]]:
    every = [Counter(words(name)) for name in names]
    number = Counter(_word for counted in every for _word in counted)
    weight = {
        word: log(1 + len(names) / count) * (_DIGIT if word.isdigit() else 1.0)
        for word, count in number.items()
    }
    plain = _everywhere(number, len(names))
    return [
        {word: weight[word] * count for word, count in counted.items() if word not in plain}
        or {word: weight[word] * count for word, count in counted.items()}
        for counted in every
    ]


def _everywhere(number: Mapping[str, int], total: int) -> set[str]:
    """Words that every name has tell nothing."""
    return {word for word, count in number.items() if count == total and total > 1}


def prefixes(scope: str) -> list[str]:
    """The scopes that a name is in, outermost first, cut at every mark between words."""
    cuts = [at for at, char in enumerate(scope) if char in "/_."]
    return [scope[:at] for at in cuts[:_MAX_TOKENS]] + [scope]


def suffixes(scope: str) -> list[str]:
    """What the scope ends in, the longest first, cut at every mark between words."""
    cuts = [at for at, char in enumerate(scope) if char in "/_."]
    return [scope, *(scope[at + 1 :] for at in cuts[-_MAX_TOKENS:])]
