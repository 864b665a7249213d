"""More networks built twice, left as their initializers made them until they were trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from common import Dups, Sample, Saved, sample, v1
from layers import dense, loss_of


def _data(name: str, rows: int = 4) -> tf.Tensor:
    values = tf.reshape(tf.linspace(-1.0, 1.0, rows * 3), [rows, 3])
    return v1.placeholder_with_default(values, [rows, 3], name=name)


def _random_dense(inputs: tf.Tensor, units: int, name: str) -> tf.Tensor:
    with tf.name_scope(name):
        size = [inputs.shape[-1], units]
        weights = v1.Variable(tf.random.truncated_normal(size, stddev=0.1), name="weights")
        biases = v1.Variable(tf.constant(0.1, shape=[units]), name="biases")
        return tf.matmul(inputs, weights) + biases


def _adam(loss: tf.Tensor, **options: Any) -> tuple[tf.Operation, v1.train.Optimizer]:
    optimizer = v1.train.AdamOptimizer(0.01)
    return optimizer.minimize(loss, **options), optimizer


def _in_halves(scopes: tuple[str, str]) -> list[list[str]]:
    """The trainable variables under each of two lists of scopes, in the order they were made."""
    names = [variable.op.name for variable in v1.trainable_variables()]
    first = [name for name in names if name.startswith(scopes[0])]
    return [first, [name for name in names if name.startswith(scopes[1])]]


def _finish(made: Sample, train: Any, optimizers: Sequence[Any], dups: Dups) -> None:
    made.start(load=False)
    made.run(train, 3)
    made.save(step=3, about=Saved(optimizers=list(optimizers), dups=dups))


@sample("untrained_tower")
def untrained_tower(made: Sample) -> None:
    """Layers fc_1 and fc_2 built for training and again for test: fc_1_1 and fc_2_1 still hold what
    their initializers gave them."""

    def net(images: tf.Tensor) -> tf.Tensor:
        return _random_dense(tf.nn.relu(_random_dense(images, 8, "fc_1")), 2, "fc_2")

    with made.graph():
        train, optimizer = _adam(loss_of(net(_data("train_images"))))
        tf.identity(net(_data("test_images", 2)), name="output")
        copies = [
            [
                f"{layer}{mark}/{leaf}"
                for layer in ("fc_1", "fc_2")
                for leaf in ("weights", "biases")
            ]
            for mark in ("", "_1")
        ]
        dups = Dups("unshared", "tf.Variable inside a re-entered name_scope", copies)
        _finish(made, train, [optimizer], dups)


@sample("weight_decay_tower")
def weight_decay_tower(made: Sample) -> None:
    """An unshared test tower whose weights are in the loss by their decay alone."""
    decay: list[tf.Tensor] = []

    def net(images: tf.Tensor) -> tf.Tensor:
        with tf.name_scope("net"):
            weights = v1.Variable(tf.random.truncated_normal([3, 9], stddev=0.1), name="weights")
            decay.append(tf.nn.l2_loss(weights) * 0.1)
            return tf.matmul(images, weights)

    with made.graph():
        error = loss_of(net(_data("train_images")))
        tf.identity(net(_data("test_images", 2)), name="output")
        train, optimizer = _adam(tf.add_n([error, *decay], name="total"))
        copies = [["net/weights"], ["net_1/weights"]]
        dups = Dups("unshared", "tf.Variable inside a re-entered name_scope", copies)
        _finish(made, train, [optimizer], dups)


@sample("default_name_towers")
def default_name_towers(made: Sample) -> None:
    """A train and a test tower in variable_scope(None, default_name="tower"): tower and tower_1."""

    def tower(images: tf.Tensor) -> tf.Tensor:
        with v1.variable_scope(None, default_name="tower"):
            return dense(tf.nn.relu(dense(images, 8, "fc_1")), 2, "fc_2")

    with made.graph(v1.glorot_uniform_initializer):
        train, optimizer = _adam(loss_of(tower(_data("train_images"))))
        tf.identity(tower(_data("test_images", 2)), name="output")
        dups = Dups(
            "unshared", "a scope without a name, made twice", _in_halves(("tower/", "tower_1/"))
        )
        _finish(made, train, [optimizer], dups)


@sample("partitioned_towers")
def partitioned_towers(made: Sample) -> None:
    """Two towers of partitioned variables, of which only the first is trained."""

    def tower(images: tf.Tensor) -> tf.Tensor:
        halves = v1.fixed_size_partitioner(2)
        with v1.variable_scope(None, default_name="tower", partitioner=halves):
            kernel = v1.get_variable("kernel", [3, 9])
            return tf.matmul(images, tf.convert_to_tensor(kernel))

    with made.graph(v1.glorot_uniform_initializer):
        train, optimizer = _adam(loss_of(tower(_data("train_images"))))
        tf.identity(tower(_data("test_images", 2)), name="output")
        copies = [["tower/kernel"], ["tower_1/kernel"]]
        dups = Dups("unshared", "a scope without a name, made twice", copies)
        _finish(made, train, [optimizer], dups)


@sample("partitioned_stack")
def partitioned_stack(made: Sample) -> None:
    """Two layers of partitioned variables of one shape, one over the other."""
    with made.graph(v1.glorot_uniform_initializer):
        flow = _data("images")
        for _ in range(2):
            halves = v1.fixed_size_partitioner(2)
            with v1.variable_scope(None, default_name="layer", partitioner=halves):
                kernel = v1.get_variable("kernel", [3, 3])
                flow = tf.nn.relu(tf.matmul(flow, tf.convert_to_tensor(kernel)))
        train, optimizer = _adam(loss_of(flow))
        _finish(made, train, [optimizer], Dups("none", "a stack of partitioned layers"))


@sample("dqn_soft_update")
def dqn_soft_update(made: Sample) -> None:
    """A DQN whose target network q_1 follows q by a little each step."""
    with made.graph():
        with tf.name_scope("q"):
            value = _random_dense(_data("state"), 4, "fc")
        with tf.name_scope("q"):
            tf.identity(_random_dense(_data("next_state"), 4, "fc"), name="target_value")
        live, target = v1.trainable_variables("q/"), v1.trainable_variables("q_1/")
        train, optimizer = _adam(loss_of(value), var_list=live)
        pairs = zip(target, live, strict=True)
        update = [v1.assign(old, 0.1 * new + 0.9 * old) for old, new in pairs]
        dups = Dups("none", "a target network, moved towards the other by assign ops")
        _finish(made, [train, update], [optimizer], dups)


@sample("players")
def players(made: Sample) -> None:
    """Two players of one class, each with variables without names, a loss and an optimizer."""
    with made.graph():
        trains, optimizers = [], []
        for _ in range(2):
            weights = v1.Variable(tf.random.truncated_normal([3, 9], stddev=0.1))
            biases = v1.Variable(tf.zeros([9]))
            flow = tf.matmul(_data("state"), weights) + biases
            train, optimizer = _adam(loss_of(flow), var_list=[weights, biases])
            trains.append(train)
            optimizers.append(optimizer)
        _finish(made, trains, optimizers, Dups("none", "two players, both trained"))


@sample("notebook_named_layers")
def notebook_named_layers(made: Sample) -> None:
    """A cell that makes W and b ran twice, and the training after it once: W and b are dead."""
    optimizers = []
    with made.graph():
        for _ in range(2):
            weights = v1.Variable(tf.random.truncated_normal([3, 9], stddev=0.1), name="W")
            biases = v1.Variable(tf.zeros([9]), name="b")
            loss = loss_of(tf.matmul(_data("x"), weights) + biases)
            train, optimizer = _adam(loss, var_list=[weights, biases])
            optimizers.append(optimizer)
        copies = [["W", "b"], ["W_1", "b_1"]]
        _finish(made, train, optimizers, Dups("unshared", "the same cell run twice", copies))


@sample("imported_twice")
def imported_twice(made: Sample) -> None:
    """import_meta_graph called twice: net and net_1 hold the whole graph each, one is trained."""
    with made.graph(v1.glorot_uniform_initializer):
        train, _ = _adam(loss_of(dense(_data("x"), 9, "fc")))
        definition = v1.train.Saver().export_meta_graph()
    with made.graph() as graph:
        for _ in range(2):
            v1.train.import_meta_graph(definition, import_scope="net")
        train = graph.get_operation_by_name("net/Adam")
        optimizers = [_Imported(scope) for scope in ("net", "net_1")]
        copies = _in_halves(("net/", "net_1/"))
        _finish(made, train, optimizers, Dups("unshared", "one graph imported twice", copies))


class _Imported:
    """The slots of an optimizer that was imported, as an optimizer would tell them."""

    def __init__(self, scope: str) -> None:
        every = {item.op.name: item for item in v1.global_variables(scope + "/")}
        self._slots: dict[str, dict[str, Any]] = {
            slot: {name: every[f"{name}/{slot}"] for name in every if f"{name}/{slot}" in every}
            for slot in ("Adam", "Adam_1")
        }
        powers = [item for name, item in every.items() if name.endswith("_power")]
        self._all = [*powers, *(item for slots in self._slots.values() for item in slots.values())]

    def variables(self) -> list[Any]:
        """Everything that is the optimizer's own."""
        return self._all

    def get_slot_names(self) -> list[str]:
        """The names of its slots."""
        return list(self._slots)

    def get_slot(self, variable: Any, slot: str) -> Any:
        """The slot of a variable, None if it has none."""
        return self._slots[slot].get(variable.op.name)


@sample("keras_anonymous_slots")
def keras_anonymous_slots(made: Sample) -> None:
    """The slots of Keras's own Adam, which gave them no names: training/Adam/Variable to
    Variable_3."""
    with made.graph(v1.glorot_uniform_initializer):
        flow = dense(tf.nn.relu(dense(_data("x"), 3, "dense")), 3, "dense_1")
        loss = loss_of(flow)
        kernels = [item for item in v1.trainable_variables() if item.op.name.endswith("kernel")]
        updates, state = [], _Anonymous()
        with tf.name_scope("training"), tf.name_scope("Adam"):
            for kernel, gradient in zip(kernels, tf.gradients(loss, kernels), strict=True):
                first, second = (
                    v1.Variable(tf.zeros(kernel.shape), trainable=False) for _ in range(2)
                )
                state.made += [first, second]
                mean = 0.9 * first + 0.1 * gradient
                square = 0.99 * second + 0.01 * tf.square(gradient)
                step = 0.01 * mean / (tf.sqrt(square) + 1e-7)
                updates += [first.assign(mean), second.assign(square), kernel.assign_sub(step)]
        _finish(made, updates, [state], Dups("none", "slots without names"))


class _Anonymous:
    """An optimizer that has state and names no slots."""

    def __init__(self) -> None:
        self.made: list[Any] = []

    def variables(self) -> list[Any]:
        """Everything that is the optimizer's own."""
        return self.made

    def get_slot_names(self) -> list[str]:
        """None."""
        return []
