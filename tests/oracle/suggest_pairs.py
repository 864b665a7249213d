"""Small TF1 graphs and the Keras models that they become, with what each tensor is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Small(NamedTuple):
    """A graph as ``{name: shape}`` in order of creation, the model, and where each name goes.

    ``goes`` has names of variables below the layer's own (``2/kernel``: of the third layer that
    has weights), for each source; several where it is split.
    """

    tensors: dict[str, tuple[int, ...]]
    model: Callable[[Any], Any]
    goes: dict[str, tuple[str, ...]]


def _dense(stem: str, rows: int, columns: int, number: int, names: str = "kernel bias") -> Any:
    kernel, bias = names.split()
    return (
        {f"{stem}/{kernel}": (rows, columns), f"{stem}/{bias}": (columns,)},
        {f"{stem}/{kernel}": (f"{number}/kernel",), f"{stem}/{bias}": (f"{number}/bias",)},
    )


def _all(*parts: Any) -> Any:
    tensors: dict[str, tuple[int, ...]] = {}
    goes: dict[str, tuple[str, ...]] = {}
    for some, where in parts:
        tensors |= some
        goes |= where
    return tensors, goes


def mlp() -> Small:
    """Four tf.layers.dense, two of them of one shape."""
    sizes = [(4, 8), (8, 8), (8, 8), (8, 3)]
    parts = [_dense(f"dense_{n}" if n else "dense", *s, n) for n, s in enumerate(sizes)]
    tensors, goes = _all(*parts)

    def model(keras: Any) -> Any:
        layers = [keras.layers.Dense(columns) for _, columns in sizes]
        return keras.Sequential([keras.Input((4,)), *layers])

    return Small(tensors, model, goes)


def cnn() -> Small:
    """Three times conv2d with batch_normalization, of one shape but for the first, and a dense."""
    norm = ("gamma", "beta", "moving_mean", "moving_variance")
    parts = []
    for n in range(3):
        tail = f"_{n}" if n else ""
        rows = 3 if not n else 4
        conv = {f"conv2d{tail}/kernel": (3, 3, rows, 4), f"conv2d{tail}/bias": (4,)}
        where = {name: (f"{2 * n}/{name.rpartition('/')[2]}",) for name in conv}
        bn = {f"batch_normalization{tail}/{part}": (4,) for part in norm}
        where |= {name: (f"{2 * n + 1}/{name.rpartition('/')[2]}",) for name in bn}
        parts.append(({**conv, **bn}, where))
    tensors, goes = _all(*parts, _dense("dense", 36, 5, 6))

    def model(keras: Any) -> Any:
        la = keras.layers
        some = [layer for _ in range(3) for layer in (la.Conv2D(4, 3), la.BatchNormalization())]
        return keras.Sequential([keras.Input((9, 9, 3)), *some, la.Flatten(), la.Dense(5)])

    return Small(tensors, model, goes)


def estimator() -> Small:
    """The variables of a canned DNNClassifier."""
    table = "dnn/input_from_feature_columns/input_layer/cat_embedding/embedding_weights"
    sizes = [(5, 8), (8, 8), (8, 8)]
    parts = [_dense(f"dnn/hiddenlayer_{n}", *s, n + 1) for n, s in enumerate(sizes)]
    tensors, goes = _all(
        ({table: (7, 3)}, {table: ("0/embeddings",)}), *parts, _dense("dnn/logits", 8, 2, 4)
    )

    def model(keras: Any) -> Any:
        la = keras.layers
        numbers, word = keras.Input((2,)), keras.Input((), dtype="int32")
        x = la.Concatenate()([la.Embedding(7, 3, name="cat")(word), numbers])
        for _ in range(3):
            x = la.Dense(8, activation="relu")(x)
        return keras.Model([numbers, word], la.Dense(2)(x))

    return Small(tensors, model, goes)


def lstm() -> Small:
    """An embedding, two BasicLSTMCells and a dense."""
    tensors: dict[str, tuple[int, ...]] = {"embedding": (20, 6)}
    goes: dict[str, tuple[str, ...]] = {"embedding": ("0/embeddings",)}
    for n, inputs in enumerate((6, 8)):
        stem = f"rnn/multi_rnn_cell/cell_{n}/basic_lstm_cell"
        tensors |= {f"{stem}/kernel": (inputs + 8, 32), f"{stem}/bias": (32,)}
        goes |= {
            f"{stem}/kernel": (f"{n + 1}/kernel", f"{n + 1}/recurrent_kernel"),
            f"{stem}/bias": (f"{n + 1}/bias",),
        }
    tensors, goes = _all((tensors, goes), _dense("dense", 8, 3, 3))

    def model(keras: Any) -> Any:
        la = keras.layers
        return keras.Sequential([
            keras.Input((5,)), la.Embedding(20, 6), la.LSTM(8, return_sequences=True),
            la.LSTM(8), la.Dense(3),
        ])  # fmt: skip

    return Small(tensors, model, goes)


def gru() -> Small:
    """A bidirectional GRU and a layer of raw variables."""
    tensors: dict[str, tuple[int, ...]] = {}
    goes: dict[str, tuple[str, ...]] = {}
    for word, way in (("fw", "forward"), ("bw", "backward")):
        stem = f"bidirectional_rnn/{word}/gru_cell"
        kernels = (f"0/{way}/kernel", f"0/{way}/recurrent_kernel")
        for part, columns in (("gates", 10), ("candidate", 5)):
            tensors |= {f"{stem}/{part}/kernel": (11, columns), f"{stem}/{part}/bias": (columns,)}
            goes |= {f"{stem}/{part}/kernel": kernels, f"{stem}/{part}/bias": (f"0/{way}/bias",)}
    tensors, goes = _all((tensors, goes), _dense("out", 10, 2, 1, "w b"))

    def model(keras: Any) -> Any:
        la = keras.layers
        both = la.Bidirectional(la.GRU(5, reset_after=False))
        return keras.Sequential([keras.Input((4, 6)), both, la.Dense(2)])

    return Small(tensors, model, goes)


def _bert_layer(n: int, width: int, inner: int) -> Any:
    stem = f"bert/encoder/layer_{n}"
    parts = []
    for scope, rows, columns, goal in (
        ("attention/self/query", width, width, "self_attention_layer/query"),
        ("attention/self/key", width, width, "self_attention_layer/key"),
        ("attention/self/value", width, width, "self_attention_layer/value"),
        ("attention/output/dense", width, width, "self_attention_layer/attention_output"),
        ("intermediate/dense", width, inner, "feedforward_intermediate_dense"),
        ("output/dense", inner, width, "feedforward_output_dense"),
    ):
        some, _ = _dense(f"{stem}/{scope}", rows, columns, 0)
        parts.append((some, {k: (f"={n}/{goal}/{k.rpartition('/')[2]}",) for k in some}))
        if scope.endswith("output/dense"):
            norm = f"{stem}/{scope.removesuffix('dense')}LayerNorm"
            goal = "self_attention" if scope.startswith("attention") else "feedforward"
            some = {f"{norm}/{part}": (width,) for part in ("beta", "gamma")}
            goes = {k: (f"={n}/{goal}_layer_norm/{k.rpartition('/')[2]}",) for k in some}
            if goal == "self_attention":
                goes = {
                    k: (f"={n}/self_attention_layer_norm/{k.rpartition('/')[2]}",) for k in some
                }
            parts.append((some, goes))
    return _all(*parts)


def bert(blocks: int = 3, width: int = 8, inner: int = 16) -> Small:
    """google-research/bert's names, to the names of KerasHub's backbone."""
    top = "bert/embeddings"
    tables = {
        f"{top}/word_embeddings": (30, width),
        f"{top}/token_type_embeddings": (2, width),
        f"{top}/position_embeddings": (12, width),
        f"{top}/LayerNorm/beta": (width,),
        f"{top}/LayerNorm/gamma": (width,),
    }
    goes = {
        f"{top}/word_embeddings": ("=token_embedding/embeddings",),
        f"{top}/token_type_embeddings": ("=segment_embedding/embeddings",),
        f"{top}/position_embeddings": ("=position_embedding/embeddings",),
        f"{top}/LayerNorm/beta": ("=embeddings_layer_norm/beta",),
        f"{top}/LayerNorm/gamma": ("=embeddings_layer_norm/gamma",),
    }
    pooler, _ = _dense("bert/pooler/dense", width, width, 0)
    last = {k: (f"=pooled_dense/{k.rpartition('/')[2]}",) for k in pooler}
    blocks_ = [_bert_layer(n, width, inner) for n in range(blocks)]
    tensors, goes = _all((tables, goes), *blocks_, (pooler, last))
    return Small(tensors, lambda keras: _backbone(keras, blocks, width, inner), goes)


def _backbone(keras: Any, blocks: int, width: int, inner: int) -> Any:
    la = keras.layers

    class TransformerEncoder(la.Layer):  # type: ignore[misc,name-defined]
        """The attributes of KerasHub's layer of this name."""

        def build(self, shape: Any) -> None:
            name = "self_attention_layer"
            self._self_attention_layer = la.MultiHeadAttention(2, width // 2, name=name)
            self._self_attention_layer.build(shape, shape)
            self._self_attention_layer_norm = la.LayerNormalization(name=f"{name}_norm")
            self._self_attention_layer_norm.build(shape)
            self._feedforward_layer_norm = la.LayerNormalization(name="feedforward_layer_norm")
            self._feedforward_layer_norm.build(shape)
            name = "feedforward_intermediate_dense"
            self._feedforward_intermediate_dense = la.Dense(inner, name=name)
            self._feedforward_intermediate_dense.build(shape)
            self._feedforward_output_dense = la.Dense(width, name="feedforward_output_dense")
            self._feedforward_output_dense.build((*shape[:-1], inner))
            self.built = True

        def call(self, x: Any) -> Any:
            x = self._self_attention_layer_norm(x + self._self_attention_layer(x, x))
            y = self._feedforward_output_dense(self._feedforward_intermediate_dense(x))
            return self._feedforward_layer_norm(x + y)

    inputs = [keras.Input((12,), dtype="int32", name=name) for name in ("tokens", "place", "part")]
    sizes = {"token": 30, "position": 12, "segment": 2}
    x = la.Add()([
        la.Embedding(size, width, name=f"{name}_embedding")(each)
        for (name, size), each in zip(sizes.items(), inputs, strict=True)
    ])  # fmt: skip
    x = la.LayerNormalization(name="embeddings_layer_norm")(x)
    for n in range(blocks):
        x = TransformerEncoder(name=f"transformer_layer_{n}")(x)
    pooled = la.Dense(width, name="pooled_dense")(x[:, 0])
    return keras.Model(inputs, [x, pooled])


SMALL = {
    "tf.layers MLP": mlp,
    "tf.layers CNN": cnn,
    "DNNClassifier": estimator,
    "two BasicLSTMCells": lstm,
    "bidirectional GRU": gru,
    "small BERT": bert,
}


def truth(small: Small, model: Any) -> dict[str, set[str]]:
    """For each variable of the model, by its path, the sources that it is made of."""
    owners = [layer for layer in model.layers if layer.weights]
    found: dict[str, set[str]] = {}
    for source, goals in small.goes.items():
        for goal in goals:
            found.setdefault(_path(goal, owners), set()).add(source)
    return found


def _path(goal: str, owners: list[Any]) -> str:
    if goal.startswith("="):
        head, _, tail = goal[1:].partition("/")
        return f"transformer_layer_{head}/{tail}" if head.isdigit() else goal[1:]
    number, _, rest = goal.partition("/")
    way, _, last = rest.rpartition("/")
    paths = [
        variable.path
        for variable in owners[int(number)].weights
        if variable.name == last and f"/{way}_" in variable.path.replace("/", "/", 1) + "/_"
    ]
    (path,) = [path for path in paths if not way or f"/{way}_" in path]
    return str(path)
