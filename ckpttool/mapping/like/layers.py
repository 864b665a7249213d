"""What variables the standard Keras layers have, in the order in which Keras stores them.

A table, by class.  Where shapes or the number of variables do not fit it, the layer is not told
apart: its variables then have only the names that the file gives.  Source: ``add_weight`` calls
of ``keras-team/keras:keras/src/layers``; KerasHub's from ``keras-team/keras-hub``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ckpttool.tensors import Shape

Config = Mapping[str, Any]
Shapes = Sequence[Shape]
_Fits = Callable[[Shapes], bool]


class Kind(NamedTuple):
    """A class of layers.

    ``variables`` are (name, the option that leaves it out where that is false) in order;
    ``children`` are attributes that hold layers, with their class ("" where the configuration
    has it under the attribute's name).
    """

    variables: tuple[tuple[str, str], ...] = ()
    fits: _Fits = lambda shapes: True
    children: Mapping[str, str] = {}


def _vectors(shapes: Shapes) -> bool:
    """All of one shape, or scalars beside them (a count)."""
    return len({shape for shape in shapes if shape}) <= 1


def _kernel_bias(shapes: Shapes) -> bool:
    """A kernel, and a bias for some of its axes."""
    kernel = shapes[0]
    if len(kernel) < 2:
        return False
    return all(0 < len(shape) < len(kernel) and set(shape) <= set(kernel) for shape in shapes[1:])


def _depthwise(shapes: Shapes) -> bool:
    kernel = shapes[0]
    if len(kernel) < 3:
        return False
    return all(shape == (kernel[-2] * kernel[-1],) for shape in shapes[1:])


def _separable(shapes: Shapes) -> bool:
    depth, point = shapes[0], shapes[1]
    if len(depth) < 3 or len(point) != len(depth) or point[-2] != depth[-2] * depth[-1]:
        return False
    return all(shape == point[-1:] for shape in shapes[2:])


def _recurrent(shapes: Shapes) -> bool:
    kernel, recurrent = shapes[0], shapes[1]
    if len(kernel) != len(recurrent) or kernel[-1] != recurrent[-1] or len(kernel) < 2:
        return False
    if not recurrent[-2] or recurrent[-1] % recurrent[-2]:
        return False
    return all(shape in (kernel[-1:], (2, kernel[-1])) for shape in shapes[2:])


_BIAS = (("kernel", ""), ("bias", "use_bias"))
_DENSE = Kind(_BIAS, _kernel_bias)
_DEPTHWISE = Kind(_BIAS, _depthwise)
_SEPARABLE = Kind(
    (("depthwise_kernel", ""), ("pointwise_kernel", ""), ("bias", "use_bias")), _separable
)
_CELL = Kind((("kernel", ""), ("recurrent_kernel", ""), ("bias", "use_bias")), _recurrent)
_BATCH_NORM = Kind(
    (("gamma", "scale"), ("beta", "center"), ("moving_mean", ""), ("moving_variance", "")),
    _vectors,
)
_NORM = Kind((("gamma", "scale"), ("beta", "center")), _vectors)
_PROJECTIONS = {
    name: "EinsumDense"
    for stem in ("query_dense", "key_dense", "value_dense", "output_dense")
    for name in (stem, "_" + stem)
}
_ATTENTION = Kind(children=_PROJECTIONS)
_TRANSFORMER = Kind(
    children={
        "_self_attention_layer": "MultiHeadAttention",
        "_self_attention_layer_norm": "LayerNormalization",
        "_cross_attention_layer": "MultiHeadAttention",
        "_cross_attention_layer_norm": "LayerNormalization",
        "_feedforward_intermediate_dense": "Dense",
        "_feedforward_output_dense": "Dense",
        "_feedforward_layer_norm": "LayerNormalization",
    }
)

KINDS: dict[str, Kind] = {
    **dict.fromkeys(("Dense", "EinsumDense"), _DENSE),
    **{f"Conv{n}D{tail}": _DENSE for n in (1, 2, 3) for tail in ("", "Transpose")},
    **{f"DepthwiseConv{n}D": _DEPTHWISE for n in (1, 2)},
    **{f"SeparableConv{n}D": _SEPARABLE for n in (1, 2)},
    **dict.fromkeys(("BatchNormalization", "SyncBatchNormalization"), _BATCH_NORM),
    **dict.fromkeys(("LayerNormalization", "GroupNormalization"), _NORM),
    "RMSNormalization": Kind((("scale", ""),), _vectors),
    "Normalization": Kind((("mean", ""), ("variance", ""), ("count", "")), _vectors),
    "Embedding": Kind((("embeddings", ""),), lambda shapes: len(shapes[0]) == 2),
    "PReLU": Kind((("alpha", ""),)),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell", "ConvLSTMCell"), _CELL),
    "LSTM": Kind(children={"cell": "LSTMCell"}),
    "GRU": Kind(children={"cell": "GRUCell"}),
    "SimpleRNN": Kind(children={"cell": "SimpleRNNCell"}),
    **{f"ConvLSTM{n}D": Kind(children={"cell": "ConvLSTMCell"}) for n in (1, 2, 3)},
    "RNN": Kind(children={"cell": ""}),
    "Bidirectional": Kind(children={"forward_layer": "", "backward_layer": ""}),
    "TimeDistributed": Kind(children={"layer": ""}),
    **dict.fromkeys(("MultiHeadAttention", "GroupQueryAttention"), _ATTENTION),
    "CachedMultiHeadAttention": _ATTENTION,
    **dict.fromkeys(("TransformerEncoder", "TransformerDecoder"), _TRANSFORMER),
    "ReversibleEmbedding": Kind((("embeddings", ""),), lambda shapes: len(shapes[0]) == 2),
    "PositionEmbedding": Kind((("position_embeddings", ""),), lambda shapes: len(shapes[0]) == 2),
    **dict.fromkeys(("Sequential", "Functional", "Model"), Kind()),
}

# Option names that change which variables a norm has, by class.
_DEFAULTS = {"use_bias": True, "scale": True, "center": True}


def snake(name: str) -> str:
    """A class name as Keras makes file names of it: ``p_re_lu`` of ``PReLU``."""
    name = re.sub(r"\W+", "", name)
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


BY_SNAKE: dict[str, str] = {snake(name): name for name in KINDS}


def unnumbered(name: str) -> str:
    """``name`` without a counter's ``_3``."""
    head, mark, digits = name.rpartition("_")
    return head if mark and digits.isdecimal() else name


def variable_names(kind: str, shapes: Shapes, config: Config | None) -> tuple[str, ...] | None:
    """The names of a layer's variables, in order; None where the table does not fit.

    ``config`` is the layer's configuration.  Without it a layer may have left any of its options
    out: a variable whose name then depends on which is "".
    """
    row = KINDS.get(kind)
    if row is None or not row.variables or not shapes:
        return None
    if config is not None:
        names = tuple(
            name
            for name, option in row.variables
            if config.get(option, _DEFAULTS.get(option, True))
        )
        if config.get("rms_scaling") is True:
            names = ("gamma",)
        found = {names} if len(names) == len(shapes) else set()
    else:
        found = {names for names in _choices(row.variables) if len(names) == len(shapes)}
    fitting = [names for names in found if row.fits(shapes)]
    if not fitting:
        return None
    return tuple(
        choices[0] if len(set(choices)) == 1 else "" for choices in zip(*fitting, strict=True)
    )


def _choices(variables: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """All lists of names that options can leave."""
    choices: list[tuple[str, ...]] = [()]
    for name, option in variables:
        without = choices if option else []
        choices = [*((*names, name) for names in choices), *without]
    return choices
