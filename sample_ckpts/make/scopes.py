"""Variable scopes and name scopes: what a name in a TF 1.x checkpoint comes from."""

from __future__ import annotations

import tensorflow as tf
from common import Dups, Sample, Saved, sample, v1
from layers import conv, dense, loss_of


@sample("my_scope")
def my_scope(made: Sample) -> None:
    """A re-entered variable_scope shares get_variable variables, but a tf.Variable becomes
    my_scope_1/v.

    The name scope is made unique when a variable scope is entered again; the variable scope
    itself is not.
    """
    with made.graph():
        with v1.variable_scope("my_scope"):
            first = v1.get_variable("w", [3, 2])
            plain = v1.Variable(tf.zeros([3, 2]), name="v")
        with v1.variable_scope("my_scope", reuse=True):
            again = v1.get_variable("w", [3, 2])
            second = v1.Variable(tf.zeros([3, 2]), name="v")
        if again is not first:
            raise RuntimeError("get_variable did not share")
        made.start()
        dups = Dups(
            "unshared",
            "tf.Variable inside a re-entered variable_scope",
            [[plain.op.name], [second.op.name]],
        )
        made.save(about=Saved(dups=dups))


@sample("my_scope_shared")
def my_scope_shared(made: Sample) -> None:
    """A re-entered variable_scope with reuse=True and get_variable only: one my_scope/w."""
    with made.graph():
        with v1.variable_scope("my_scope"):
            first = v1.get_variable("w", [3, 2])
        with v1.variable_scope("my_scope", reuse=True):
            second = v1.get_variable("w", [3, 2])
        tf.add(first, second, name="sum")
        made.start()
        made.save(about=Saved(dups=Dups("none", "shared by variable_scope(reuse=True)")))


@sample("name_scope_and_variable_scope")
def name_scope_and_variable_scope(made: Sample) -> None:
    """A name_scope prefixes tf.Variable and not get_variable; entered again it becomes ns_1.

    ``get_w`` and ``vs/get_w`` come from get_variable, ``ns/v``, ``ns_1/v`` and ``ns_2/vs/v`` from
    tf.Variable.  The two ``v`` are copies; the third sits in a scope of its own.
    """
    with made.graph():
        with tf.name_scope("ns"):
            v1.get_variable("get_w", [2, 2])
            v1.Variable(tf.zeros([2, 2]), name="v")
        with v1.name_scope("ns"):
            v1.Variable(tf.zeros([2, 2]), name="v")
        with v1.name_scope("ns"), v1.variable_scope("vs"):
            v1.get_variable("get_w", [2, 2])
            v1.Variable(tf.zeros([2, 2]), name="v")
        made.start()
        dups = Dups(
            "unshared", "tf.Variable inside a re-entered name_scope", [["ns/v"], ["ns_1/v"]]
        )
        made.save(about=Saved(dups=dups))


@sample("default_name_scopes")
def default_name_scopes(made: Sample) -> None:
    """variable_scope(None, default_name='net') numbers itself: net/k, net_1/k, net_2/k.

    The three are chained layers, each feeding the next: numbered on purpose.
    """
    with made.graph():
        flow = tf.ones([1, 4])
        for _ in range(3):
            with v1.variable_scope(None, default_name="net"):
                flow = tf.matmul(flow, v1.get_variable("k", [4, 4]))
        made.start()
        made.save(about=Saved(dups=Dups("none", "numbered layers, one after the other")))


@sample("numbered_layers")
def numbered_layers(made: Sample) -> None:
    """A small convnet with numbered layers conv_1, conv_2, fc_1, fc_2, trained five steps with
    Adam."""
    with made.graph(v1.glorot_uniform_initializer):
        images = v1.placeholder_with_default(tf.ones([2, 6, 6, 1]), [2, 6, 6, 1], name="images")
        flow = conv(images, 2, "conv_1")
        flow = conv(flow, 2, "conv_2")
        flow = dense(tf.reshape(flow, [2, 72]), 4, "fc_1")
        flow = dense(flow, 4, "fc_2")
        step = v1.train.get_or_create_global_step()
        optimizer = v1.train.AdamOptimizer(0.01)
        train = optimizer.minimize(loss_of(flow), global_step=step)
        made.start()
        made.run(train, 5)
        dups = Dups("none", "numbered layers and Adam's two slots")
        about = Saved(optimizers=[optimizer], dups=dups)
        made.save(step=5, about=about, state=True)


@sample("deep_scopes")
def deep_scopes(made: Sample) -> None:
    """Nested scopes, one variable at the root, and ref variables beside resource variables."""
    with made.graph():
        v1.get_variable("root", [])
        with v1.variable_scope("encoder"):
            for layer in range(12):
                with v1.variable_scope(f"layer_{layer}"), v1.variable_scope("attention"):
                    dense(tf.ones([1, 2]), 2, "query", use_resource=layer % 2 == 1)
        made.start()
        made.save(about=Saved(dups=Dups("none", "numbered layers")))
