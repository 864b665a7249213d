"""``dups`` on networks that TensorFlow builds here, with the values that its initializers make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dups_support import data, fc, kinds, look, only, raw, sgd, tower, wanted

import ckpttool
from ckpttool.analysis.duplicates import find_duplicates

pytestmark = pytest.mark.oracle

__all__ = ["look"]  # the fixture


# --- copies that should have been shared -----------------------------------------------------


def test_a_test_tower_that_was_never_trained(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        train = sgd(v1, tf, tower(v1, tf, data(v1, tf, "train_x")))
        tf.identity(tower(v1, tf, data(v1, tf, "test_x")), name="prediction")
        return train

    group = only(look(build))
    assert (group.verdict, group.keep, group.cause) == ("unshared", 0, "variable_in_scope")
    assert group.confidence >= 0.95
    assert group.scopes == (("net",), ("net_1",))
    assert group.copies[1][0] == "net_1/one/biases"
    assert len(group.copies[1]) == 4
    assert any("net_1 is as its initializer makes it" in e.text for e in group.evidence)
    assert {"training", "dataflow", "construction", "values"} <= kinds(group)
    assert group.fix is not None
    assert "AUTO_REUSE" in group.fix


def test_several_checkpoints_show_which_copy_moves(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        x = data(v1, tf, "x")
        train = sgd(v1, tf, tower(v1, tf, x))
        tf.identity(tower(v1, tf, x), name="prediction")  # the very same input
        return train

    group = only(look(build, at_steps=True))
    assert (group.verdict, group.keep) == ("unshared", 0)
    assert "net changes between the checkpoints, net_1 does not" in {e.text for e in group.evidence}


def test_layers_at_the_top_are_one_group_of_two_towers(look: Any) -> None:
    """conv, conv_1, out and then again: names alone would pair conv with conv_1."""

    def net(tf: Any, v1: Any, x: Any) -> Any:
        for name in ("conv", "conv"):
            with v1.variable_scope(None, default_name=name):
                x = tf.nn.relu(fc(v1, tf, x, 6, "fc"))
        with v1.variable_scope(None, default_name="out"):
            return fc(v1, tf, x, 2, "fc")

    def build(tf: Any, v1: Any) -> Any:
        train = sgd(v1, tf, net(tf, v1, data(v1, tf, "train_x")))
        tf.identity(net(tf, v1, data(v1, tf, "test_x")), name="prediction")
        return train

    group = only(look(build))
    assert group.verdict == "unshared"
    assert group.scopes == (("conv", "conv_1", "out"), ("conv_2", "conv_3", "out_1"))
    assert group.cause == "default_name"
    assert group.keep == 0


def test_a_cell_that_ran_three_times(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        train = None
        for _ in range(3):
            x = data(v1, tf, "x")
            w = v1.Variable(tf.random.normal([6, 8]))
            b = v1.Variable(tf.zeros([8]))
            v = v1.Variable(tf.random.normal([8, 2]))
            c = v1.Variable(tf.zeros([2]))
            y = tf.matmul(tf.nn.relu(tf.matmul(x, w) + b), v) + c
            train = sgd(v1, tf, y, var_list=[w, b, v, c])
        return train

    group = only(look(build))
    assert (group.verdict, group.keep, group.cause) == ("unshared", 2, "rebuilt_graph")
    assert [len(copy) for copy in group.copies] == [4, 4, 4]
    assert group.confidence >= 0.9
    assert "reset_default_graph" in (group.fix or "")


def test_a_graph_that_does_not_train_but_whose_values_tell(look: Any) -> None:
    """The inference graph of a two-tower net: one tower was restored, the other one never."""

    def build(tf: Any, v1: Any) -> Any:
        tf.identity(tower(v1, tf, data(v1, tf, "a")), name="one")
        tf.identity(tower(v1, tf, data(v1, tf, "b")), name="two")

    def load(v1: Any, session: Any) -> None:
        for variable in v1.global_variables():
            if variable.op.name.startswith("net/"):
                variable.load(
                    np.linspace(-1, 1, np.prod(variable.shape)).reshape(variable.shape), session
                )

    group = only(look(build, after=load))
    assert (group.verdict, group.keep) == ("unshared", 0)
    assert wanted(only(look(build))) == "undecided"  # both at their initializers: nothing tells
    assert wanted(only(look(build, after=load, values=False))) == "undecided"


def test_tf_variable_twice_under_one_name(look: Any) -> None:
    """w, b and then w_1, b_1, without any scope: one group of two copies."""

    def net(tf: Any, v1: Any, x: Any) -> Any:
        w = v1.Variable(tf.random.truncated_normal([6, 8], stddev=0.1), name="w")
        return tf.matmul(x, w) + v1.Variable(tf.zeros([8]), name="b")

    def build(tf: Any, v1: Any) -> Any:
        train = sgd(v1, tf, net(tf, v1, data(v1, tf, "train_x")))
        tf.identity(net(tf, v1, data(v1, tf, "test_x")), name="prediction")
        return train

    group = only(look(build))
    assert (group.verdict, group.keep, group.cause) == ("unshared", 0, "plain_variable")
    assert sorted(map(sorted, group.copies)) == [["b", "w"], ["b_1", "w_1"]]


def test_a_copy_that_only_the_graph_has(look: Any, tf: Any, tmp_path: Path) -> None:
    """A test tower that was built after the Saver: its variables are in no checkpoint."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        train = sgd(v1, tf, tower(v1, tf, data(v1, tf, "train_x")))
        saver = v1.train.Saver()
        tf.identity(tower(v1, tf, data(v1, tf, "test_x")), name="prediction")
        session.run(v1.global_variables_initializer())
        session.run(train)
        path = saver.save(session, str(tmp_path / "m"))
    with ckpttool.open(path) as checkpoint:
        assert "net_1/one/weights" not in checkpoint.specs
        group = only(find_duplicates(checkpoint))
    assert (group.verdict, group.keep) == ("unshared", 0)


def test_both_trained_by_one_loss_on_two_inputs(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        left, right = data(v1, tf, "left"), data(v1, tf, "right", rows=4)
        return sgd(v1, tf, tower(v1, tf, left) - tower(v1, tf, right))

    group = only(look(build))
    assert (group.verdict, group.keep) == ("unshared", None)


# --- copies that are meant -------------------------------------------------------------------


def test_a_frozen_network_whose_output_the_loss_sees(look: Any) -> None:
    """Random network distillation: the target is random and stays so."""

    def build(tf: Any, v1: Any) -> Any:
        x = data(v1, tf, "x")
        fixed = tower(v1, tf, x)
        learned = tower(v1, tf, x)
        names = [v for v in v1.trainable_variables() if v.op.name.startswith("net_1/")]
        return sgd(v1, tf, learned - tf.stop_gradient(fixed), var_list=names)

    assert wanted(only(look(build))) == "undecided"


@pytest.mark.parametrize("tau", [1.0, 0.01])
def test_a_target_network_that_is_assigned(look: Any, tau: float) -> None:
    def build(tf: Any, v1: Any) -> Any:
        tower(v1, tf, data(v1, tf, "state"))
        value = tower(v1, tf, data(v1, tf, "next_state"))
        tf.identity(value, name="target_value")
        one, two = (
            [v for v in v1.global_variables() if v.op.name.startswith(prefix)]
            for prefix in ("net/", "net_1/")
        )
        for live, target in zip(one, two, strict=True):
            v1.assign(target, live * tau + target * (1 - tau) if tau < 1 else live)
        return sgd(v1, tf, tower_of(v1, tf, one))

    def tower_of(v1: Any, tf: Any, variables: list[Any]) -> Any:
        w, b, v, c = variables
        return tf.matmul(tf.nn.relu(tf.matmul(data(v1, tf, "x"), w) + b), v) + c

    group = only(look(build))
    assert wanted(group) == "numbered"
    assert "sync" in kinds(group)


def test_an_opponent_that_is_set_from_placeholders(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        train = sgd(v1, tf, tower(v1, tf, data(v1, tf, "x")))
        tf.identity(tower(v1, tf, data(v1, tf, "y")), name="move")
        for variable in v1.global_variables():
            if variable.op.name.startswith("net_1/"):
                v1.assign(variable, v1.placeholder(tf.float32, variable.shape))
        return train

    assert wanted(only(look(build))) == "undecided"


def test_players_with_losses_of_their_own(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        trains = []
        for _ in range(2):
            before = set(v1.trainable_variables())
            with v1.variable_scope("brain", reuse=v1.AUTO_REUSE):
                y = tower(v1, tf, data(v1, tf, "state"))
                own = [v for v in v1.trainable_variables() if v not in before]
                trains.append(sgd(v1, tf, y, var_list=own))
        return trains

    assert wanted(only(look(build))) == "undecided"


def test_branches_and_heads_over_one_tensor(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        x = raw(v1, tf, data(v1, tf, "x"), 8, "stem")
        return sgd(v1, tf, tf.add_n([raw(v1, tf, x, 2, "head") for _ in range(3)]))

    group = only(look(build))
    assert wanted(group) == "numbered"
    assert len(group.copies) == 3


def test_inception_branches_of_tf_variable(look: Any) -> None:
    """Branches deeper down see other tensors, but the same data."""

    def build(tf: Any, v1: Any) -> Any:
        x = data(v1, tf, "x")
        ends = [
            raw(v1, tf, tf.nn.relu(raw(v1, tf, f(x), 6, "conv")), 6, "pool")
            for f in (tf.sin, tf.cos)
        ]
        return sgd(v1, tf, tf.concat(ends, 1))

    assert "unshared" not in {group.verdict for group in look(build).groups}


def test_towers_over_parts_of_one_batch(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        parts = tf.split(data(v1, tf, "x"), 2)
        return sgd(v1, tf, tf.concat([tower(v1, tf, part) for part in parts], 0))

    assert wanted(only(look(build))) == "undecided"


def test_two_inputs_with_a_layer_each(look: Any) -> None:
    """A layer of the same size for each of two inputs is no tower that was built twice."""

    def build(tf: Any, v1: Any) -> Any:
        image, text = data(v1, tf, "image"), data(v1, tf, "text")
        both = tf.concat([raw(v1, tf, image, 8, "dense"), raw(v1, tf, text, 8, "dense")], 1)
        return sgd(v1, tf, raw(v1, tf, both, 2, "logits"))

    assert wanted(only(look(build))) == "undecided"


@pytest.mark.parametrize("name", ["member", "player", "agent"])
def test_names_that_say_several_are_wanted(look: Any, name: str) -> None:
    def build(tf: Any, v1: Any) -> Any:
        ends = []
        for place in ("left", "right"):
            with v1.variable_scope(name, reuse=v1.AUTO_REUSE):
                x = data(v1, tf, place)
                ends.append(raw(v1, tf, tf.nn.relu(raw(v1, tf, x, 8, "a")), 2, "b"))
        return sgd(v1, tf, ends[0] - ends[1])

    assert wanted(only(look(build))) == "undecided"


def test_stacked_in_a_while_loop(look: Any) -> None:
    """Two cells in a loop's body, the second over the first, in both kinds of control flow."""

    def build(tf: Any, v1: Any) -> Any:
        x = data(v1, tf, "x")
        cells = []
        for _ in range(2):
            with v1.variable_scope(None, default_name="cell"):
                cells.append(v1.get_variable("kernel", [6, 6]))

        def body(step: Any, h: Any) -> Any:
            return step + 1, tf.tanh(tf.matmul(tf.tanh(tf.matmul(h, cells[0])), cells[1]))

        _, y = tf.while_loop(lambda step, h: step < 3, body, [tf.constant(0), x])
        return sgd(v1, tf, y)

    assert wanted(only(look(build))) == "stacked"


def test_stacked_in_called_functions(look: Any) -> None:
    """A function is looked into at each call: the second call is fed by the first."""

    def build(tf: Any, v1: Any) -> Any:
        @tf.function
        def layer(x: Any, w: Any) -> Any:
            return tf.nn.relu(tf.matmul(x, w))

        y = data(v1, tf, "x")
        for _ in range(2):
            with v1.variable_scope(None, default_name="block"):
                y = layer(y, v1.get_variable("kernel", [6, 6], use_resource=True))
        tf.identity(y, name="output")

    assert wanted(only(look(build, times=0))) == "stacked"


def test_side_by_side_in_called_functions(look: Any) -> None:
    """The reads are inside of a function that two towers call with variables of their own."""

    def build(tf: Any, v1: Any) -> Any:
        @tf.function
        def layer(x: Any, w: Any) -> Any:
            return tf.nn.relu(tf.matmul(x, w))

        for name in ("train_x", "test_x"):
            with v1.variable_scope(None, default_name="block"):
                w = v1.get_variable("kernel", [6, 6], use_resource=True)
                tf.identity(layer(data(v1, tf, name), w), name="output")

    group = only(look(build, times=0))
    assert wanted(group) == "undecided"
    assert "neither" not in group.evidence[0].text


def test_partitioned_copies_that_are_stacked(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        y = data(v1, tf, "x")
        for _ in range(2):
            with v1.variable_scope(
                None, default_name="block", partitioner=v1.fixed_size_partitioner(2)
            ):
                y = tf.matmul(y, tf.convert_to_tensor(v1.get_variable("kernel", [6, 6])))
        return sgd(v1, tf, y)

    group = only(look(build))
    assert wanted(group) == "stacked"
    assert group.copies == (("block/kernel",), ("block_1/kernel",))


def test_averages_of_unshared_looking_names(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        y = fc(v1, tf, fc(v1, tf, data(v1, tf, "x"), 6, "fc"), 6, "fc_1")
        train = sgd(v1, tf, y)
        average = v1.train.ExponentialMovingAverage(0.9)
        with tf.control_dependencies([train]):
            return average.apply(v1.trainable_variables())

    assert wanted(only(look(build))) == "stacked"


def test_two_optimizers_over_the_same_variables(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        loss = tf.reduce_mean(tf.square(fc(v1, tf, data(v1, tf, "x"), 2, "fc")))
        return [v1.train.AdamOptimizer(0.1).minimize(loss) for _ in range(2)]

    result = look(build)
    assert {group.verdict for group in result.groups} == {"slot"}
    by_scope = {group.scopes[0]: group for group in result.groups}
    assert len(by_scope[("Adam",)].copies) == 4
    assert any("2 optimizers" in e.text for e in by_scope[("beta1_power",)].evidence)


# --- without a graph, and the reverse --------------------------------------------------------


def test_without_a_graph_slots_and_steps_tell(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        loss = tf.reduce_mean(tf.square(tower(v1, tf, data(v1, tf, "train_x"))))
        tower(v1, tf, data(v1, tf, "test_x"))
        return v1.train.AdamOptimizer(0.1).minimize(loss)

    group = only(look(build, at_steps=True, meta=False))
    assert (group.verdict, group.keep, group.cause) == ("unshared", 0, "not_known")


def test_without_a_graph_one_checkpoint_is_not_enough(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        loss = tf.reduce_mean(tf.square(tower(v1, tf, data(v1, tf, "train_x"))))
        tower(v1, tf, data(v1, tf, "test_x"))
        return v1.train.AdamOptimizer(0.1).minimize(loss)

    group = only(look(build, meta=False))
    assert wanted(group) == "undecided"
    assert "unknown" in kinds(group)


def test_shared_towers_are_listed_and_steps_of_a_recurrence_are_not(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        for name in ("train", "test"):
            with v1.name_scope(name), v1.variable_scope("rnn", reuse=v1.AUTO_REUSE):
                h = data(v1, tf, "x")
                for _ in range(4):
                    h = tf.tanh(tf.matmul(h, v1.get_variable("kernel", [6, 6])))
        with v1.variable_scope("once", reuse=v1.AUTO_REUSE):
            for _ in range(3):
                h = tf.tanh(tf.matmul(h, v1.get_variable("kernel", [6, 6])))

    result = look(build, times=0, shared=True)
    assert [(item.name, item.towers) for item in result.shared or ()] == [
        ("rnn/kernel", ("test", "train"))
    ]
