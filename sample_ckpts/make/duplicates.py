"""Networks whose variables look alike: shared, unshared, stacked, or copied on purpose."""

from __future__ import annotations

import tensorflow as tf
from common import Dups, Sample, Saved, sample, v1
from layers import dense, loss_of, lstm_cell, plain_dense


def _adam(loss: tf.Tensor, **options: object) -> tuple[tf.Operation, v1.train.Optimizer]:
    optimizer = v1.train.AdamOptimizer(0.01)
    return optimizer.minimize(loss, **options), optimizer


def _save(made: Sample, dups: Dups) -> None:
    made.start()
    made.save(about=Saved(dups=dups))


@sample("stacked_dense")
def stacked_dense(made: Sample) -> None:
    """dense, dense_1 and dense_2 of one shape, stacked: each feeds the next."""
    with made.graph():
        flow = tf.ones([1, 3])
        for name in ("dense", "dense_1", "dense_2"):
            flow = tf.nn.relu(dense(flow, 3, name))
        train, optimizer = _adam(loss_of(flow))
        made.start()
        made.run(train)
        made.save(about=Saved([optimizer], dups=Dups("none", "a stack: each layer feeds the next")))


@sample("residual_blocks")
def residual_blocks(made: Sample) -> None:
    """Residual blocks block, block_1, block_2: each adds to what it was given."""
    with made.graph():
        flow = tf.ones([1, 4])
        for _ in range(3):
            with v1.variable_scope(None, default_name="block"):
                flow += dense(tf.nn.relu(dense(flow, 4, "conv1")), 4, "conv2")
        tf.identity(flow, name="output")
        _save(made, Dups("none", "a stack with skip connections"))


@sample("multi_rnn")
def multi_rnn(made: Sample) -> None:
    """A stack of two LSTM cells, unrolled three steps: multi_rnn_cell/cell_0 and cell_1 of one
    shape."""
    with made.graph():
        states = [(tf.zeros([1, 2]), tf.zeros([1, 2])) for _ in range(2)]
        for _ in range(3):
            flow = tf.ones([1, 2])
            for layer in range(2):
                scope = f"rnn/multi_rnn_cell/cell_{layer}/basic_lstm_cell"
                with v1.variable_scope(scope, reuse=v1.AUTO_REUSE):
                    states[layer] = lstm_cell(flow, states[layer], 2)
                flow = states[layer][0]
        tf.identity(flow, name="output")
        _save(made, Dups("none", "a stack of cells"))


@sample("bidirectional")
def bidirectional(made: Sample) -> None:
    """A bidirectional LSTM: fw and bw cells of one shape, over the same inputs in two orders."""
    with made.graph():
        inputs = [tf.ones([1, 2]) * step for step in range(3)]
        ends = []
        for name, order in (("fw", inputs), ("bw", inputs[::-1])):
            state = (tf.zeros([1, 2]), tf.zeros([1, 2]))
            scope = f"bidirectional_rnn/{name}/basic_lstm_cell"
            with v1.variable_scope(scope, reuse=v1.AUTO_REUSE):
                for step in order:
                    state = lstm_cell(step, state, 2)
            ends.append(state[0])
        tf.concat(ends, 1, name="output")
        _save(made, Dups("none", "two directions"))


@sample("siamese_shared")
def siamese_shared(made: Sample) -> None:
    """A Siamese network with one branch used twice."""
    with made.graph():
        sides = []
        for side in ("left", "right"):
            image = v1.placeholder(tf.float32, [1, 3], name=side)
            with v1.variable_scope("branch", reuse=v1.AUTO_REUSE):
                sides.append(dense(image, 2, "fc"))
        tf.norm(sides[0] - sides[1], name="distance")
        _save(made, Dups("none", "shared by AUTO_REUSE"))


@sample("siamese_unshared")
def siamese_unshared(made: Sample) -> None:
    """A Siamese network whose two branches were meant to share: branch and branch_1, both
    trained."""
    with made.graph():
        sides = []
        for side in ("left", "right"):
            image = v1.placeholder_with_default(tf.ones([1, 3]), [1, 3], name=side)
            with v1.variable_scope("branch", reuse=v1.AUTO_REUSE):
                sides.append(plain_dense(image, 2, "fc"))
        train, optimizer = _adam(loss_of(sides[0] - sides[1]))
        made.start()
        made.run(train, 2)
        copies = _copies("branch", "branch_1", "fc/weights", "fc/biases")
        dups = Dups("unshared", "tf.Variable in a re-entered variable_scope", copies)
        made.save(about=Saved([optimizer], dups=dups))


@sample("dqn_target")
def dqn_target(made: Sample) -> None:
    """A DQN with a target network: two networks of one shape, and ops that assign one to the
    other."""
    with made.graph():
        state = v1.placeholder_with_default(tf.ones([1, 3]), [1, 3], name="state")
        values = []
        for scope in ("eval_net", "target_net"):
            with v1.variable_scope(scope):
                values.append(dense(tf.nn.relu(dense(state, 3, "l1")), 2, "l2"))
        pairs = zip(v1.global_variables("target_net"), v1.global_variables("eval_net"), strict=True)
        copy = tf.group(*[v1.assign(target, value) for target, value in pairs], name="update")
        error = values[0] - tf.stop_gradient(values[1]) - 1.0
        loss = tf.reduce_mean(tf.square(error))
        train, optimizer = _adam(loss, var_list=v1.trainable_variables("eval_net"))
        made.start()
        made.run(copy)
        made.run(train, 2)
        dups = Dups("none", "a target network, copied by assign ops")
        made.save(about=Saved([optimizer], dups=dups))


def _gan(made: Sample, layer: object, dups: Dups) -> None:
    with made.graph():
        noise = v1.placeholder_with_default(tf.ones([1, 2]), [1, 2], name="noise")
        real = v1.placeholder_with_default(tf.ones([1, 3]), [1, 3], name="real")
        with v1.variable_scope("generator"):
            fake = dense(noise, 3, "fc")
        scores = []
        for image in (real, fake):
            with v1.variable_scope("discriminator", reuse=v1.AUTO_REUSE):
                scores.append(layer(layer(image, 3, "h"), 1, "out"))  # type: ignore[operator]
        loss = loss_of(scores[0]) + loss_of(scores[1], -1.0)
        train, optimizer = _adam(loss, var_list=v1.trainable_variables("discriminator"))
        made.start()
        made.run(train, 2)
        made.save(about=Saved([optimizer], dups=dups))


@sample("gan_shared")
def gan_shared(made: Sample) -> None:
    """A GAN with one discriminator for real and generated images."""
    _gan(made, dense, Dups("none", "shared by AUTO_REUSE"))


@sample("gan_unshared")
def gan_unshared(made: Sample) -> None:
    """A GAN that built its discriminator twice: discriminator and discriminator_1, both trained."""
    leaves = ("h/weights", "h/biases", "out/weights", "out/biases")
    copies = _copies("discriminator", "discriminator_1", *leaves)
    cause = "tf.Variable in a re-entered variable_scope"
    _gan(made, plain_dense, Dups("unshared", cause, copies))


@sample("ensemble")
def ensemble(made: Sample) -> None:
    """An ensemble of two members over the same inputs, averaged and both trained: member and
    member_1 are meant."""
    with made.graph():
        inputs = v1.placeholder_with_default(tf.ones([1, 3]), [1, 3], name="inputs")
        outputs = []
        for _ in range(2):
            with v1.variable_scope(None, default_name="member"):
                outputs.append(dense(inputs, 2, "fc"))
        train, optimizer = _adam(loss_of(tf.add_n(outputs) / 2.0))
        made.start()
        made.run(train, 2)
        made.save(about=Saved([optimizer], dups=Dups("none", "members of an ensemble, averaged")))


@sample("notebook_rerun")
def notebook_rerun(made: Sample) -> None:
    """A notebook cell run three times in one graph: Variable to Variable_11, three nets of four
    variables, of which the last was trained."""
    with made.graph():
        for _ in range(3):
            hidden = v1.Variable(tf.fill([3, 4], 0.1)), v1.Variable(tf.zeros([4]))
            out = v1.Variable(tf.fill([4, 2], 0.1)), v1.Variable(tf.zeros([2]))
            inputs = v1.placeholder_with_default(tf.ones([1, 3]), [1, 3], name="x")
            flow = tf.nn.relu(tf.matmul(inputs, hidden[0]) + hidden[1])
            loss = loss_of(tf.matmul(flow, out[0]) + out[1])
            train = v1.train.GradientDescentOptimizer(0.1).minimize(loss, var_list=[*hidden, *out])
        made.start(load=False)
        made.run(train, 2)
        names = ["Variable", *(f"Variable_{number}" for number in range(1, 12))]
        copies = [names[0:4], names[4:8], names[8:12]]
        dups = Dups("unshared", "the same cell run three times", copies)
        made.save(about=Saved(dups=dups))


@sample("recreated_by_renaming")
def recreated_by_renaming(made: Sample) -> None:
    """The usual rename recipe makes tf.Variable from two names that differ by case only: the second
    comes out as net/w_1."""
    with made.graph():
        v1.Variable(tf.zeros([2, 2]), name="Net/w")
        v1.Variable(tf.zeros([2, 2]), name="net/w")
        _save(made, Dups("none", "two variables whose names differed by case only"))


def _copies(first: str, second: str, *leaves: str) -> list[list[str]]:
    return [[f"{scope}/{leaf}" for leaf in leaves] for scope in (first, second)]
