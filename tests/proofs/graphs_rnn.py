"""Recurrent cells of TF1 by their documented equations, with TF1's variable names.

They run in ``tf.compat.v1.nn.dynamic_rnn`` and ``bidirectional_dynamic_rnn``, which are TF1's own;
cells of ``tf.compat.v1.nn.rnn_cell`` need tf_keras, and are compared in a heavy proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Tensor = Any


class Cell:
    """A cell as TF1 takes one: called with input and state, it gives output and state.

    ``name`` is the scope of its variables, ``names`` what other versions call what is in it.
    """

    parts = 1  # tensors of the state
    spread = 2.5  # of the weights, which makes gates open and close; more, and all are saturated

    def __init__(
        self,
        tf: Any,
        name: str,
        units: int,
        forget_bias: float = 1.0,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.tf, self.v1 = tf, tf.compat.v1
        self.names = names or {}
        self.name = name
        self.output_size = units
        self.state_size: Any = units if self.parts == 1 else (units,) * self.parts
        self.forget_bias = forget_bias

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """The state before the first step."""
        zero = self.tf.zeros((batch_size, self.output_size), dtype)
        return zero if self.parts == 1 else (zero,) * self.parts

    def __call__(self, inputs: Tensor, state: Any, scope: Any = None) -> tuple[Tensor, Any]:
        """One step."""
        with self.v1.variable_scope(self.name, reuse=self.v1.AUTO_REUSE):
            return self.step(inputs, state)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step, in the cell's scope."""
        raise NotImplementedError

    def variable(self, name: str, *shape: int) -> Tensor:
        """A variable of its own random values, which its full name decides."""
        scope = self.v1.get_variable_scope().name
        seed = sum(ord(mark) * (at + 1) for at, mark in enumerate(f"{scope}/{name}"))
        spread = self.spread / shape[0] ** 0.5 if len(shape) > 1 else 0.7
        draw = self.v1.random_normal_initializer(0.0, spread, seed=seed)
        return self.v1.get_variable(self.names.get(name, name), shape, initializer=draw)

    def scope(self, name: str) -> Any:
        """A scope in the cell's."""
        return self.v1.variable_scope(self.names.get(name, name))

    def linear(self, values: Sequence[Tensor], width: int, kernel: str, bias: str) -> Tensor:
        """``[values] @ kernel + bias``."""
        joined = self.tf.concat(values, 1)
        rows = int(joined.shape[-1])
        return self.tf.matmul(joined, self.variable(kernel, rows, width)) + self.variable(
            bias, width
        )


class LSTM(Cell):
    """``BasicLSTMCell`` and ``LSTMCell``: gates i, j, f, o."""

    parts = 2
    spread = 4.0

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """c = c f + i j, h = tanh(c) o."""
        tf = self.tf
        c, h = state
        gates = self.linear((x, h), 4 * self.output_size, "kernel", "bias")
        i, j, f, o = tf.split(gates, 4, 1)
        c = c * tf.sigmoid(f + self.forget_bias) + tf.sigmoid(i) * tf.tanh(j)
        h = tf.tanh(c) * tf.sigmoid(o)
        return h, (c, h)


class BlockLSTM(Cell):
    """``LSTMBlockCell``: the op itself."""

    parts = 2
    spread = 4.0

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of ``LSTMBlockCell``."""
        c, h = state
        units = self.output_size
        kernel = self.variable("kernel", int(x.shape[-1]) + units, 4 * units)
        none = self.tf.zeros((units,))
        _, c, _, _, _, _, h = self.tf.raw_ops.LSTMBlockCell(
            x=x,
            cs_prev=c,
            h_prev=h,
            w=kernel,
            wci=none,
            wcf=none,
            wco=none,
            b=self.variable("bias", 4 * units),
            forget_bias=self.forget_bias,
            cell_clip=-1.0,
            use_peephole=False,
        )
        return h, (c, h)


class GRU(Cell):
    """``GRUCell``: gates r and u, and a candidate from what r leaves of the state."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """h = u h + (1 - u) c."""
        tf = self.tf
        with self.scope("gates"):
            gates = tf.sigmoid(self.linear((x, state), 2 * self.output_size, "kernel", "bias"))
        r, u = tf.split(gates, 2, 1)
        with self.scope("candidate"):
            c = tf.tanh(self.linear((x, r * state), self.output_size, "kernel", "bias"))
        h = u * state + (1 - u) * c
        return h, h


class BlockGRU(Cell):
    """``GRUBlockCell``: the op itself, with the names of its first version."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """One step of ``GRUBlockCell``."""
        units = self.output_size
        rows = int(x.shape[-1]) + units
        h = self.tf.raw_ops.GRUBlockCell(
            x=x,
            h_prev=state,
            w_ru=self.variable("w_ru", rows, 2 * units),
            w_c=self.variable("w_c", rows, units),
            b_ru=self.variable("b_ru", 2 * units),
            b_c=self.variable("b_c", units),
        ).h
        return h, h


class CudnnGRU(Cell):
    """``CudnnCompatibleGRUCell``: r is applied after the state's product, which has a bias."""

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """h = (1 - u) c + u h."""
        tf = self.tf
        units = self.output_size
        with self.scope("gates"):
            gates = tf.sigmoid(self.linear((x, state), 2 * units, "kernel", "bias"))
        r, u = tf.split(gates, 2, 1)
        with self.scope("candidate"):
            with self.scope("input_projection"):
                ours = self.linear((x,), units, "kernel", "bias")
            with self.scope("hidden_projection"):
                theirs = self.linear((state,), units, "kernel", "bias")
        h = (1 - u) * tf.tanh(ours + r * theirs) + u * state
        return h, h


class Basic(Cell):
    """``BasicRNNCell``."""

    spread = 1.5

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """h = tanh of the sum."""
        h = self.tf.tanh(self.linear((x, state), self.output_size, "kernel", "bias"))
        return h, h


class Multi:
    """``MultiRNNCell``: each cell takes what the one before gives."""

    def __init__(self, cells: Sequence[Cell], name: str = "multi_rnn_cell/cell_") -> None:
        self.cells = tuple(cells)
        self.name = name
        self.output_size = cells[-1].output_size
        self.state_size = tuple(cell.state_size for cell in cells)

    def zero_state(self, batch_size: Any, dtype: Any) -> Any:
        """The states of all cells."""
        return tuple(cell.zero_state(batch_size, dtype) for cell in self.cells)

    def __call__(self, inputs: Tensor, state: Any, scope: Any = None) -> tuple[Tensor, Any]:
        """One step of all cells."""
        v1 = self.cells[0].v1
        states = []
        for number, (cell, own) in enumerate(zip(self.cells, state, strict=True)):
            with v1.variable_scope(f"{self.name}{number}", reuse=v1.AUTO_REUSE):
                inputs, new = cell(inputs, own)
            states.append(new)
        return inputs, tuple(states)


def one_way(tf: Any, x: Tensor, cell: Any, scope: str | None = None) -> Tensor:
    """``dynamic_rnn``: the outputs of all steps."""
    return tf.compat.v1.nn.dynamic_rnn(cell, x, dtype=tf.float32, scope=scope)[0]


def step_by_step(tf: Any, x: Tensor, cell: Any) -> Tensor:
    """A cell in a loop of one's own, or ``static_rnn`` without its scope."""
    state = cell.zero_state(tf.shape(x)[0], tf.float32)
    outputs = []
    for step in tf.unstack(x, axis=1):
        output, state = cell(step, state)
        outputs.append(output)
    return tf.stack(outputs, 1)


def static(tf: Any, x: Tensor, cell: Any) -> Tensor:
    """``static_rnn``: the outputs of all steps."""
    steps = tf.unstack(x, axis=1)
    return tf.stack(tf.compat.v1.nn.static_rnn(cell, steps, dtype=tf.float32)[0], 1)


def static_both(tf: Any, x: Tensor, forward: Any, backward: Any) -> Tensor:
    """``static_bidirectional_rnn``."""
    steps = tf.unstack(x, axis=1)
    found = tf.compat.v1.nn.static_bidirectional_rnn(forward, backward, steps, dtype=tf.float32)
    return tf.stack(found[0], 1)


def fused(tf: Any, x: Tensor, cell: Cell) -> Tensor:
    """``LSTMBlockFusedCell``: the op that takes all steps at once; variables as of ``cell``."""
    units, rows = cell.output_size, int(x.shape[-1])
    zero = cell.zero_state(tf.shape(x)[0], tf.float32)[0]
    none = tf.zeros((units,))
    with tf.compat.v1.variable_scope(cell.name, reuse=tf.compat.v1.AUTO_REUSE):
        found = tf.raw_ops.BlockLSTM(
            seq_len_max=tf.cast(tf.shape(x)[1], tf.int64),
            x=tf.transpose(x, (1, 0, 2)),
            cs_prev=zero,
            h_prev=zero,
            w=cell.variable("kernel", rows + units, 4 * units),
            wci=none,
            wcf=none,
            wco=none,
            b=cell.variable("bias", 4 * units),
            forget_bias=cell.forget_bias,
            cell_clip=-1.0,
            use_peephole=False,
        )
    return tf.transpose(found.h, (1, 0, 2))


def both_ways(tf: Any, x: Tensor, forward: Any, backward: Any, lengths: Any = None) -> Tensor:
    """``bidirectional_dynamic_rnn``: the outputs of both ways, side by side."""
    outputs, _ = tf.compat.v1.nn.bidirectional_dynamic_rnn(
        forward, backward, x, sequence_length=lengths, dtype=tf.float32
    )
    return tf.concat(outputs, -1)


def stacked_ways(tf: Any, x: Tensor, make: Callable[[], Any], layers: int) -> Tensor:
    """``stack_bidirectional_dynamic_rnn`` of tf.contrib.rnn."""
    with tf.compat.v1.variable_scope("stack_bidirectional_rnn"):
        for number in range(layers):
            with tf.compat.v1.variable_scope(f"cell_{number}"):
                x = both_ways(tf, x, make(), make())
    return x
