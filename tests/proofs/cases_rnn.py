"""TF1 graphs of recurrent cells, the Keras layers that they become, and the mapping between."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import graphs_rnn as cells

STEPS, WIDTH, UNITS, BATCH = 6, 4, 4, 3  # as many units as inputs: a lost split has its shape
LENGTHS = (6, 3, 5)
LSTM, GRU = "lstm__keras_lstm", "gru__keras_gru"
GRU_BLOCK = "gru_block__keras_gru"
CUDNN_LSTM, CUDNN_GRU = "cudnn_lstm__keras_lstm", "cudnn_gru__keras_gru"
BASIC = "basic_rnn__keras_simple_rnn"
MODEL = "rnn_model__keras"

Build = Callable[[Any, Any], Any]


class Case(NamedTuple):
    """A TF1 graph and its Keras model.

    ``graph(tf, x)`` makes the outputs, ``layers(layers)`` the layers of a Sequential model.
    ``first`` is a mapping of names inside TF1, which goes before.
    """

    name: str
    mapping: str
    graph: Build
    layers: Callable[[Any], list[Any]]
    params: Mapping[str, Any] = {}
    lengths: bool = False
    ids: bool = False
    first: str = ""


def _one(kind: Any, name: str, units: int = UNITS, **options: Any) -> Build:
    return lambda tf, x: cells.one_way(tf, x, kind(tf, name, units, **options))


def _multi(kind: Any, name: str) -> Build:
    return lambda tf, x: cells.one_way(
        tf, x, cells.Multi([kind(tf, name, UNITS) for _ in range(3)])
    )


def _both(kind: Any, name: str) -> Build:
    return lambda tf, x: cells.both_ways(
        tf, x, kind(tf, name, UNITS), kind(tf, name, UNITS), lengths=tf.constant(LENGTHS)
    )


def _both_multi(kind: Any, name: str) -> Build:
    def make(tf: Any) -> Any:
        return cells.Multi([kind(tf, name, UNITS) for _ in range(2)])

    return lambda tf, x: cells.both_ways(tf, x, make(tf), make(tf))


def _stack(kind: Any, name: str, scope: str = "", **options: Any) -> Build:
    def graph(tf: Any, x: Any) -> Any:
        def make() -> Any:
            return kind(tf, name, UNITS, **options)

        if not scope:
            return cells.stacked_ways(tf, x, make, 2)
        with tf.compat.v1.variable_scope(scope):
            _opaque(tf)
            return cells.stacked_ways(tf, x, make, 2)

    return graph


def _cudnn(kind: Any, name: str, scope: str, **options: Any) -> Build:
    def graph(tf: Any, x: Any) -> Any:
        with tf.compat.v1.variable_scope(scope):
            _opaque(tf)
            return cells.one_way(
                tf, x, cells.Multi([kind(tf, name, UNITS, **options) for _ in range(2)])
            )

    return graph


def _opaque(tf: Any) -> None:
    tf.compat.v1.get_variable("opaque_kernel", (7,))


def _scopes(tf: Any, x: Any) -> Any:
    """An encoder, a decoder whose cell is called step by step, and one both ways."""
    v1 = tf.compat.v1
    with v1.variable_scope("model"):
        with v1.variable_scope("encoder"):
            x = cells.one_way(tf, x, cells.LSTM(tf, "basic_lstm_cell", UNITS))
        with v1.variable_scope("decoder"):
            x = cells.step_by_step(tf, x, cells.LSTM(tf, "lstm_cell", UNITS))
        with v1.variable_scope("reader"):
            make = cells.LSTM
            return cells.both_ways(tf, x, make(tf, "lstm_cell", 3), make(tf, "lstm_cell", 3))


def _text_model(tf: Any, ids: Any) -> Any:
    """Embedding, LSTM, GRU both ways, dense: what people had."""
    v1 = tf.compat.v1
    draw = v1.random_normal_initializer
    with v1.variable_scope("model"):
        table = v1.get_variable("embedding", (9, WIDTH), initializer=draw(0.0, 1.0, seed=3))
        x = tf.nn.embedding_lookup(table, ids)
        x = cells.one_way(tf, x, cells.LSTM(tf, "basic_lstm_cell", UNITS))
        x = cells.both_ways(tf, x, cells.GRU(tf, "gru_cell", 3), cells.GRU(tf, "gru_cell", 3))
        with v1.variable_scope("dense"):
            kernel = v1.get_variable("kernel", (6, 6), initializer=draw(0.0, 0.5, seed=4))
            return tf.matmul(x, kernel) + v1.get_variable(
                "bias", (6,), initializer=draw(0.0, 0.5, seed=5)
            )


def _text_layers(layers: Any) -> list[Any]:
    return [
        layers.Embedding(9, WIDTH, name="embedding"),
        layers.LSTM(UNITS, return_sequences=True, name="lstm"),
        layers.Bidirectional(
            layers.GRU(3, return_sequences=True, reset_after=False), name="bidirectional"
        ),
        layers.Dense(6, name="dense"),
    ]


def seq(kind: str, *names: str, units: int = UNITS, **options: Any) -> Callable[[Any], list[Any]]:
    """Layers of these names, one after the other."""
    return lambda layers: [
        getattr(layers, kind)(units, return_sequences=True, name=name, **options) for name in names
    ]


def ways(kind: str, *names: str, **options: Any) -> Callable[[Any], list[Any]]:
    """Layers that go both ways, of these names."""
    return lambda layers: [
        layers.Bidirectional(
            getattr(layers, kind)(UNITS, return_sequences=True, **options), name=name
        )
        for name in names
    ]


def _stacked_cells(layers: Any, kind: str, count: int, name: str, **options: Any) -> Any:
    made = [getattr(layers, kind)(UNITS, **options) for _ in range(count)]
    return layers.RNN(made, return_sequences=True, name=name)


def _named_multi(tf: Any, x: Any) -> Any:
    """MultiRNNCells in scopes of their own, one of them in a loop, one both ways."""
    v1 = tf.compat.v1

    def multi(count: int) -> Any:
        return cells.Multi([cells.LSTM(tf, "basic_lstm_cell", UNITS) for _ in range(count)])

    with v1.variable_scope("encoder"):
        x = cells.one_way(tf, x, multi(2))
    with v1.variable_scope("decoder"):
        x = cells.step_by_step(tf, x, multi(1))
    with v1.variable_scope("reader"):
        return cells.both_ways(tf, x, multi(1), multi(1))


def _static(tf: Any, x: Any) -> Any:
    """``static_rnn`` and ``static_bidirectional_rnn``."""
    x = cells.static(tf, x, cells.LSTM(tf, "basic_lstm_cell", UNITS))
    make = cells.LSTM
    return cells.static_both(tf, x, make(tf, "lstm_cell", UNITS), make(tf, "lstm_cell", UNITS))


def _char_rnn(tf: Any, x: Any) -> Any:
    """The stack of two cells of TensorFlow 0.x, in a loop, in the scope ``rnnlm``."""
    names = {"kernel": "Linear/Matrix", "bias": "Linear/Bias"}
    made = [cells.LSTM(tf, "BasicLSTMCell", UNITS, names=names) for _ in range(2)]
    with tf.compat.v1.variable_scope("rnnlm"):
        return cells.step_by_step(tf, x, cells.Multi(made, "MultiRNNCell/Cell"))


def _old_gru(tf: Any, x: Any) -> Any:
    """``dynamic_rnn`` of TensorFlow 0.x, with a GRU."""
    names = {"kernel": "Linear/Matrix", "bias": "Linear/Bias"}
    names |= {"gates": "Gates", "candidate": "Candidate"}
    return cells.one_way(tf, x, cells.GRU(tf, "GRUCell", UNITS, names=names), "RNN")


def _old_lstm(tf: Any, x: Any) -> Any:
    """``LSTMCell`` of TensorFlow 0.x."""
    names = {"kernel": "W_0", "bias": "B"}
    return cells.one_way(tf, x, cells.LSTM(tf, "LSTMCell", UNITS, names=names), "RNN")


_FIRST_NAMES = {"kernel": "weights", "bias": "biases"}  # of TensorFlow 1.0 and 1.1
_BEFORE = {"reset_after": False}
_BOTH = "bidirectional"
_THREE = ("lstm", "lstm_1", "lstm_2")
CASES = [
    Case("basic_lstm", LSTM, _one(cells.LSTM, "basic_lstm_cell"), seq("LSTM", "lstm")),
    Case(
        "lstm_forget",
        LSTM,
        _one(cells.LSTM, "lstm_cell", 5, forget_bias=0.3),
        seq("LSTM", "lstm", units=5),
        {"forget_bias": 0.3},
    ),
    Case("lstm_block", LSTM, _one(cells.BlockLSTM, "lstm_cell"), seq("LSTM", "lstm")),
    Case(
        "lstm_fused",
        LSTM,
        lambda tf, x: cells.fused(tf, x, cells.LSTM(tf, "lstm_fused_cell", UNITS)),
        seq("LSTM", "lstm"),
    ),
    Case(
        "lstm_static",
        LSTM,
        _static,
        lambda layers: [*seq("LSTM", "lstm")(layers), *ways("LSTM", _BOTH)(layers)],
    ),
    Case("lstm_multi", LSTM, _multi(cells.LSTM, "lstm_cell"), seq("LSTM", *_THREE)),
    Case(
        "lstm_cells",
        LSTM,
        _multi(cells.LSTM, "lstm_cell"),
        lambda layers: [_stacked_cells(layers, "LSTMCell", 3, "lstm")],
        {"multi": "cells"},
    ),
    Case("lstm_both", LSTM, _both(cells.LSTM, "lstm_cell"), ways("LSTM", _BOTH), lengths=True),
    Case(
        "lstm_both_cells",
        LSTM,
        _both_multi(cells.LSTM, "lstm_cell"),
        lambda layers: [
            layers.Bidirectional(_stacked_cells(layers, "LSTMCell", 2, "inner"), name=_BOTH),
        ],
    ),
    Case(
        "lstm_stack_both",
        LSTM,
        _stack(cells.LSTM, "basic_lstm_cell"),
        ways("LSTM", _BOTH, _BOTH + "_1"),
    ),
    Case(
        "lstm_scopes",
        LSTM,
        _scopes,
        lambda layers: [
            *seq("LSTM", "encoder", "decoder")(layers),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="reader"),
        ],
        {"scope": "model/"},
    ),
    Case(
        "lstm_named_layers",
        LSTM,
        _named_multi,
        lambda layers: [
            *seq("LSTM", "encoder", "encoder_1", "decoder")(layers),
            layers.Bidirectional(_stacked_cells(layers, "LSTMCell", 1, "any"), name="reader"),
        ],
    ),
    Case(
        "lstm_named_cells",
        LSTM,
        _named_multi,
        lambda layers: [
            _stacked_cells(layers, "LSTMCell", 2, "encoder"),
            _stacked_cells(layers, "LSTMCell", 1, "decoder"),
            layers.Bidirectional(_stacked_cells(layers, "LSTMCell", 1, "any"), name="reader"),
        ],
        {"multi": "cells"},
    ),
    Case(
        "lstm_of_1.0",
        LSTM,
        _one(cells.LSTM, "basic_lstm_cell", names=_FIRST_NAMES),
        seq("LSTM", "lstm"),
        first="tf12_rnn_names",
    ),
    Case(
        "lstm_of_0.x",
        LSTM,
        _old_lstm,
        seq("LSTM", "lstm"),
        first="tf011_rnn_names",
    ),
    Case(
        "lstm_char_rnn",
        LSTM,
        _char_rnn,
        seq("LSTM", "lstm", "lstm_1"),
        {"scope": "rnnlm/"},
        first="tf011_rnn_names",
    ),
    Case("gru", GRU, _one(cells.GRU, "gru_cell"), seq("GRU", "gru", **_BEFORE)),
    Case(
        "gru_block",
        GRU_BLOCK,
        _one(cells.BlockGRU, "gru_cell"),
        seq("GRU", "gru", **_BEFORE),
    ),
    Case(
        "gru_cells",
        GRU,
        _multi(cells.GRU, "gru_cell"),
        lambda layers: [_stacked_cells(layers, "GRUCell", 3, "gru", **_BEFORE)],
        {"multi": "cells"},
    ),
    Case(
        "gru_of_1.0",
        GRU,
        _one(cells.GRU, "gru_cell", names=_FIRST_NAMES),
        seq("GRU", "gru", **_BEFORE),
        first="tf12_rnn_names",
    ),
    Case("gru_of_0.x", GRU, _old_gru, seq("GRU", "gru", **_BEFORE), first="tf011_rnn_names"),
    Case(
        "gru_multi",
        GRU,
        _multi(cells.GRU, "gru_cell"),
        seq("GRU", "gru", "gru_1", "gru_2", **_BEFORE),
    ),
    Case(
        "gru_both",
        GRU,
        _both(cells.GRU, "gru_cell"),
        ways("GRU", _BOTH, **_BEFORE),
        lengths=True,
    ),
    Case("basic_rnn", BASIC, _one(cells.Basic, "basic_rnn_cell"), seq("SimpleRNN", "simple_rnn")),
    Case(
        "basic_rnn_cudnn_tanh",
        BASIC,
        _cudnn(cells.Basic, "basic_rnn_cell", "cudnn_rnn_tanh"),
        seq("SimpleRNN", "simple_rnn", "simple_rnn_1"),
        {"scope": "cudnn_rnn_tanh/"},
    ),
    Case(
        "basic_rnn_stack_both",
        BASIC,
        _stack(cells.Basic, "basic_rnn_cell"),
        ways("SimpleRNN", _BOTH, _BOTH + "_1"),
    ),
    Case(
        "cudnn_lstm",
        CUDNN_LSTM,
        _cudnn(cells.LSTM, "cudnn_compatible_lstm_cell", "cudnn_lstm", forget_bias=0.0),
        seq("LSTM", "lstm", "lstm_1"),
    ),
    Case(
        "cudnn_lstm_both",
        CUDNN_LSTM,
        _stack(cells.LSTM, "cudnn_compatible_lstm_cell", "cudnn_lstm", forget_bias=0.0),
        ways("LSTM", _BOTH, _BOTH + "_1"),
    ),
    Case(
        "cudnn_gru",
        CUDNN_GRU,
        _cudnn(cells.CudnnGRU, "cudnn_compatible_gru_cell", "cudnn_gru"),
        seq("GRU", "gru", "gru_1"),
    ),
    Case(
        "cudnn_gru_both",
        CUDNN_GRU,
        _stack(cells.CudnnGRU, "cudnn_compatible_gru_cell", "cudnn_gru"),
        ways("GRU", _BOTH, _BOTH + "_1"),
    ),
    Case("model", MODEL, _text_model, _text_layers, {"scope": "model/"}, ids=True),
]
BY_NAME = {case.name: case for case in CASES}
