"""``dups`` where it was once misled: copies that it missed, and networks that are meant apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from dups_support import data, fc, look, only, raw, sgd, tower, wanted

__all__ = ["look"]  # the fixture

pytestmark = pytest.mark.oracle


def scoped(v1: Any, prefix: str) -> list[Any]:
    return [item for item in v1.global_variables() if item.op.name.startswith(prefix)]


def bare(v1: Any, tf: Any, x: Any, units: int) -> Any:
    """A layer of variables without names."""
    w = v1.Variable(tf.random.truncated_normal([int(x.shape[-1]), units], stddev=0.1))
    return tf.matmul(x, w) + v1.Variable(tf.zeros([units]))


def unnamed(v1: Any, tf: Any, x: Any, units: int = 6, scope: str = "dense") -> Any:
    """A layer under a scope that TensorFlow numbers."""
    with v1.variable_scope(None, default_name=scope):
        kernel = v1.get_variable("kernel", [int(x.shape[-1]), units])
        bias = v1.get_variable("bias", [units], initializer=v1.zeros_initializer())
        return tf.matmul(x, kernel) + bias


def trained_and_served(net: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """The network built for training, and once more for its output."""

    def build(tf: Any, v1: Any) -> Any:
        train = sgd(v1, tf, net(tf, v1, data(v1, tf, "train_x")))
        tf.identity(net(tf, v1, data(v1, tf, "test_x")), name="prediction")
        return train

    return build


# --- missed before ---------------------------------------------------------------------------


def test_layers_that_the_program_numbered_built_twice(look: Any) -> None:
    """The second fc_1 is fc_1_1: its plain name has a number itself."""

    def net(tf: Any, v1: Any, x: Any) -> Any:
        for number in (1, 2, 3):
            x = tf.nn.relu(raw(v1, tf, x, 6, f"fc_{number}"))
        return x

    groups = [g for g in look(trained_and_served(net)).groups if g.verdict == "unshared"]
    assert [group.scopes for group in groups] == [
        (("fc_1", "fc_2", "fc_3"), ("fc_1_1", "fc_2_1", "fc_3_1"))
    ]
    assert groups[0].keep == 0


def test_weight_decay_is_no_training(look: Any) -> None:
    """The loss sees the test tower too, but only how large its weights are."""

    def build(tf: Any, v1: Any) -> Any:
        decay = []

        def net(x: Any) -> Any:
            with v1.name_scope("net"):
                w = v1.Variable(tf.random.truncated_normal([6, 6], stddev=0.1), name="w")
                decay.append(0.1 * tf.nn.l2_loss(w))
                return tf.matmul(x, w)

        error = tf.reduce_mean(tf.square(net(data(v1, tf, "train_x")) - 1.0))
        tf.identity(net(data(v1, tf, "test_x")), name="prediction")
        total = tf.add_n([error, *decay], name="total")
        return v1.train.GradientDescentOptimizer(0.5).minimize(total)

    group = only(look(build))
    assert (group.verdict, group.keep) == ("unshared", 0)
    assert any("weight decay alone" in item.text for item in group.evidence)


def test_branches_of_one_shape_within_each_tower(look: Any) -> None:
    def net(tf: Any, v1: Any, x: Any) -> Any:
        a, b = tf.nn.relu(unnamed(v1, tf, x)), tf.tanh(unnamed(v1, tf, x))
        return unnamed(v1, tf, a * b)

    group = only(look(trained_and_served(net)))
    assert group.verdict == "unshared"
    assert group.scopes == (("dense", "dense_1", "dense_2"), ("dense_3", "dense_4", "dense_5"))


def test_a_copy_that_ends_before_the_other(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        def net(x: Any, layers: int) -> Any:
            for _ in range(layers):
                x = tf.nn.relu(unnamed(v1, tf, x))
            return x

        train = sgd(v1, tf, net(data(v1, tf, "train_x"), 3))
        tf.identity(net(data(v1, tf, "test_x"), 2), name="features")
        return train

    group = only(look(build))
    assert group.verdict == "unshared"
    assert group.scopes == (("dense", "dense_1"), ("dense_3", "dense_4"))
    assert any("has further variables" in item.text for item in group.evidence)


def test_unnamed_layers_in_a_cell_that_ran_twice(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        train = None
        for _ in range(2):
            before = len(v1.trainable_variables())
            y = unnamed(v1, tf, data(v1, tf, "x"), 8)
            train = sgd(v1, tf, y, var_list=v1.trainable_variables()[before:])
        return train

    group = only(look(build))
    assert (group.verdict, group.keep, group.cause) == ("unshared", 1, "rebuilt_graph")


def test_weights_of_weights_are_seen_through(look: Any) -> None:
    """Normalized weights: the layer is where the data comes in, not where the norm is taken."""

    def layer(tf: Any, v1: Any, x: Any) -> Any:
        with v1.variable_scope(None, default_name="wn"):
            v = v1.get_variable("v", [6, 6])
            return tf.nn.relu(tf.matmul(x, v / tf.sqrt(tf.reduce_sum(tf.square(v), 0))))

    def net(tf: Any, v1: Any, x: Any) -> Any:
        return layer(tf, v1, layer(tf, v1, x))

    group = only(look(trained_and_served(net)))
    assert group.verdict == "unshared"
    assert group.scopes == (("wn", "wn_1"), ("wn_2", "wn_3"))
    stack = only(look(lambda tf, v1: sgd(v1, tf, net(tf, v1, data(v1, tf, "x")))))
    assert stack.verdict == "stacked"


def test_a_forgotten_copy_beside_a_target_network(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        train = sgd(v1, tf, tower(v1, tf, data(v1, tf, "state")))
        for name in ("next_state", "eval_state"):
            tf.identity(tower(v1, tf, data(v1, tf, name)), name=name + "_value")
        for live, target in zip(scoped(v1, "net/"), scoped(v1, "net_1/"), strict=True):
            v1.assign(target, live)
        return train

    found = {group.scopes: group.verdict for group in look(build).groups}
    assert found == {
        (("net",), ("net_1",)): "numbered",
        (("net",), ("net_2",)): "unshared",
    }


def test_a_forgotten_copy_beside_a_frozen_one(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        x = data(v1, tf, "x")
        learned, fixed = tower(v1, tf, x), tower(v1, tf, x)
        tf.identity(tower(v1, tf, data(v1, tf, "test_x")), name="prediction")
        return sgd(v1, tf, learned - tf.stop_gradient(fixed), var_list=scoped(v1, "net/"))

    found = {group.scopes: group.verdict for group in look(build).groups}
    assert found[("net",), ("net_2",)] == "unshared"
    assert found[("net",), ("net_1",)] == "undecided"


def test_served_twice_on_one_placeholder(look: Any) -> None:
    def build(tf: Any, v1: Any) -> None:
        x = data(v1, tf, "x")
        for name in ("one", "two"):
            tf.identity(tower(v1, tf, x), name=name)

    group = only(look(build, times=0, after=load("net/")))
    assert (group.verdict, group.keep) == ("unshared", 0)


def test_a_gan_whose_losses_are_of_tf_losses(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        with v1.variable_scope("generator"):
            fake = fc(v1, tf, data(v1, tf, "noise"), 6, "g")
        real, made = tower(v1, tf, data(v1, tf, "real")), tower(v1, tf, fake)
        cross = v1.losses.sigmoid_cross_entropy
        loss = cross(tf.ones([4, 2]), real) + cross(tf.zeros([4, 2]), made)
        return v1.train.AdamOptimizer(0.1).minimize(loss, var_list=scoped(v1, "net"))

    assert only(look(build)).verdict == "unshared"


# --- called unshared before ------------------------------------------------------------------


def load(prefix: str) -> Callable[[Any, Any], None]:
    """Give the variables of a scope other values, by no op of the graph."""

    def after(v1: Any, session: Any) -> None:
        made = np.random.default_rng(1)
        for variable in scoped(v1, prefix):
            variable.load(made.normal(size=variable.shape), session)

    return after


@pytest.mark.parametrize("between", ["average", "backup"])
def test_a_target_that_is_set_by_way_of_another_variable(look: Any, between: str) -> None:
    def build(tf: Any, v1: Any) -> Any:
        train = sgd(v1, tf, tower(v1, tf, data(v1, tf, "state")))
        tf.identity(tower(v1, tf, data(v1, tf, "next_state")), name="target_value")
        live, target = scoped(v1, "net/"), scoped(v1, "net_1/")
        average = v1.train.ExponentialMovingAverage(0.9)
        average.apply(live)
        for number, (one, other) in enumerate(zip(live, target, strict=True)):
            via = average.average(one)
            if between == "backup":
                via = v1.Variable(tf.zeros(one.shape), name=f"kept/v{number}z", trainable=False)
                v1.assign(via, one)
            v1.assign(other, via)
        return train

    verdicts = {group.scopes: group.verdict for group in look(build).groups}
    assert verdicts[("net",), ("net_1",)] == "numbered"
    assert "unshared" not in verdicts.values()


@pytest.mark.parametrize("how", ["schedule", "cond", "where"])
def test_a_target_that_is_set_on_some_steps(look: Any, how: str) -> None:
    def build(tf: Any, v1: Any) -> Any:
        train = sgd(v1, tf, tower(v1, tf, data(v1, tf, "state")))
        tf.identity(tower(v1, tf, data(v1, tf, "next_state")), name="target_value")
        pairs = list(zip(scoped(v1, "net/"), scoped(v1, "net_1/"), strict=True))
        step = v1.train.get_or_create_global_step()
        due = tf.equal(step % 10, 0)
        rate = v1.train.exponential_decay(0.1, step, 10, 0.9)
        for live, target in pairs:
            if how == "schedule":
                v1.assign(target, rate * live + (1 - rate) * target)
            elif how == "where":
                v1.assign(target, tf.where(due, live, target))
            else:
                tf.cond(due, lambda a=live, b=target: v1.assign(b, a), lambda b=target: b + 0.0)
        return train

    assert only(look(build)).verdict == "numbered"


def test_a_network_that_was_loaded_is_meant(look: Any) -> None:
    """A target or teacher that Python sets, with no op for it in the graph."""

    def build(tf: Any, v1: Any) -> Any:
        train = sgd(v1, tf, tower(v1, tf, data(v1, tf, "state")))
        tf.identity(tower(v1, tf, data(v1, tf, "next_state")), name="target_value")
        return train

    assert wanted(only(look(build, times=0, after=load("net_1/")))) == "undecided"


@pytest.mark.parametrize("count", [2, 3])
def test_players_without_names_that_are_all_trained(look: Any, count: int) -> None:
    def build(tf: Any, v1: Any) -> Any:
        trains = []
        for _ in range(count):
            before = len(v1.trainable_variables())
            y = bare(v1, tf, data(v1, tf, "state"), 8)
            trains.append(sgd(v1, tf, y, var_list=v1.trainable_variables()[before:]))
        return trains

    assert wanted(only(look(build))) == "undecided"


def test_a_population_that_python_sets(look: Any) -> None:
    def build(tf: Any, v1: Any) -> None:
        for _ in range(3):
            tf.identity(bare(v1, tf, data(v1, tf, "state"), 8), name="action")
        for variable in v1.global_variables():
            v1.assign(variable, v1.placeholder(tf.float32, variable.shape))

    assert wanted(only(look(build, times=0))) == "undecided"


def test_streams_whose_outputs_are_put_together(look: Any) -> None:
    def build(tf: Any, v1: Any) -> Any:
        streams = [tower(v1, tf, data(v1, tf, name)) for name in ("image", "text")]
        return sgd(v1, tf, raw(v1, tf, tf.concat(streams, 1), 3, "logits"))

    assert wanted(only(look(build))) == "undecided"


def test_a_stream_of_random_features(look: Any) -> None:
    """An inference graph, one stream trained and one fixed: both feed one output."""

    def build(tf: Any, v1: Any) -> None:
        streams = [unnamed(v1, tf, data(v1, tf, name), 8, "branch") for name in ("a", "b")]
        tf.identity(streams[0] + streams[1], name="output")

    assert wanted(only(look(build, times=0, after=load("branch/")))) == "undecided"


def test_one_graph_imported_twice_is_one_set_of_resources(look: Any, tf: Any) -> None:
    """Resource variables keep their shared names: both imports are handles of the same ones."""
    v1 = tf.compat.v1
    with tf.Graph().as_default():
        sgd(v1, tf, fc(v1, tf, data(v1, tf, "x"), 8, "fc"))
        definition = v1.train.Saver().export_meta_graph()

    def build(tf: Any, v1: Any) -> Any:
        for _ in range(2):
            v1.train.import_meta_graph(definition, import_scope="m")
        return v1.get_default_graph().get_operation_by_name("m/GradientDescent")

    group = only(look(build))
    handles = any("handles of one variable" in item.text for item in group.evidence)
    assert handles == (group.verdict == "numbered")
    assert group.cause in (None, "rebuilt_graph")
