"""What optimizers, averages and Savers with a dict do to the names in a checkpoint."""

from __future__ import annotations

import tensorflow as tf
from common import Dups, Sample, Saved, sample, v1
from layers import dense, loss_of

GLOBAL_STEP = v1.train.get_or_create_global_step


@sample("optimizers")
def optimizers(made: Sample) -> None:
    """Six optimizers, each over a variable of its own: Adam, Momentum, RMSProp, Adagrad, Adadelta
    and Ftrl."""
    with made.graph():
        used = [
            v1.train.AdamOptimizer(0.01),
            v1.train.MomentumOptimizer(0.01, 0.9),
            v1.train.RMSPropOptimizer(0.01),
            v1.train.AdagradOptimizer(0.01),
            v1.train.AdadeltaOptimizer(0.01),
            v1.train.FtrlOptimizer(0.01),
        ]
        steps = []
        for optimizer in used:
            weights = v1.get_variable(f"for_{optimizer.get_name().lower()}", [3])
            steps.append(optimizer.minimize(loss_of(weights), var_list=[weights]))
        made.start()
        made.run(steps, 2)
        dups = Dups("none", "optimizer slots")
        made.save(about=Saved(optimizers=used, dups=dups))


@sample("two_optimizers")
def two_optimizers(made: Sample) -> None:
    """Two Adams over the same variables: the second one's slots are Adam_2 and Adam_3, its powers
    beta1_power_1 and beta2_power_1."""
    with made.graph():
        loss = loss_of(dense(tf.ones([1, 3]), 2, "fc"))
        first, second = v1.train.AdamOptimizer(0.01), v1.train.AdamOptimizer(0.1)
        step = GLOBAL_STEP()
        trains = [item.minimize(loss, global_step=step) for item in (first, second)]
        made.start()
        made.run(trains[0])
        made.run(trains[1])
        dups = Dups("none", "slots of a second optimizer")
        made.save(step=2, about=Saved(optimizers=[first, second], dups=dups))


@sample("optimizer_custom_name")
def optimizer_custom_name(made: Sample) -> None:
    """An optimizer with name='RC': its slots are RC, RC_1 and RC_2, after the name argument and
    not the class."""
    with made.graph():
        optimizer = v1.train.RMSPropOptimizer(0.01, centered=True, name="RC")
        step = GLOBAL_STEP()
        train = optimizer.minimize(loss_of(dense(tf.ones([1, 3]), 2, "fc")), global_step=step)
        made.start()
        made.run(train, 2)
        dups = Dups("none", "optimizer slots")
        made.save(step=2, about=Saved(optimizers=[optimizer], dups=dups))


@sample("optimizer_in_scope")
def optimizer_in_scope(made: Sample) -> None:
    """An optimizer built inside a variable scope: OptimizeLoss/fc/kernel/Adam, as contrib's
    optimize_loss did."""
    with made.graph():
        loss = loss_of(dense(tf.ones([1, 3]), 2, "fc"))
        step = GLOBAL_STEP()
        with v1.variable_scope("OptimizeLoss"):
            optimizer = v1.train.AdamOptimizer(0.01)
            train = optimizer.minimize(loss, global_step=step)
        made.start()
        made.run(train, 2)
        made.save(step=2, about=Saved(optimizers=[optimizer], dups=Dups("none", "Adam slots")))


@sample("no_graph")
def no_graph(made: Sample) -> None:
    """Adam slots, averages and a step, saved without a .meta: only the names tell what they are."""
    with made.graph():
        optimizer = v1.train.AdamOptimizer(0.01)
        step = GLOBAL_STEP()
        train = optimizer.minimize(loss_of(dense(tf.ones([1, 3]), 2, "fc")), global_step=step)
        average = v1.train.ExponentialMovingAverage(0.9)
        follow = average.apply(v1.trainable_variables())
        made.start()
        made.run(train, 2)
        made.run(follow)
        about = Saved(optimizers=[optimizer], averages=[average])
        made.save(step=2, meta=False, about=about)


@sample("saver_dict")
def saver_dict(made: Sample) -> None:
    """A Saver over a dict: the key is renamed/w, the variable is net/w; two keys hold each other's
    namesakes."""
    with made.graph():
        variables = {name: v1.get_variable(name, [2, 2]) for name in ("net/w", "a", "b")}
        made.start()
        listed = {"renamed/w": variables["net/w"], "a": variables["b"], "b": variables["a"]}
        made.save(saver=v1.train.Saver(listed, save_relative_paths=True))


def _averaged() -> tuple[v1.train.ExponentialMovingAverage, list[tf.Operation]]:
    train = v1.train.GradientDescentOptimizer(0.5).minimize(
        loss_of(dense(tf.ones([1, 3]), 2, "fc")), global_step=GLOBAL_STEP()
    )
    average = v1.train.ExponentialMovingAverage(0.5)
    return average, [train, average.apply(v1.trainable_variables())]


@sample("averages")
def averages(made: Sample) -> None:
    """Moving averages saved as TF saves them: fc/kernel beside fc/kernel/ExponentialMovingAverage.

    The collection moving_average_variables holds the original variables, not the shadows.
    """
    with made.graph():
        average, ops = _averaged()
        made.start()
        for _ in range(3):
            for op in ops:
                made.run(op)
        made.save(step=3, about=Saved(averages=[average], dups=Dups("none", "averages")))


@sample("averages_under_plain_names")
def averages_under_plain_names(made: Sample) -> None:
    """Averages saved under the plain names: the key fc/kernel holds the variable
    fc/kernel/ExponentialMovingAverage."""
    with made.graph():
        average, ops = _averaged()
        made.start()
        for _ in range(3):
            for op in ops:
                made.run(op)
        listed = {item.op.name: average.average(item) for item in v1.trainable_variables()}
        made.save(
            step=3,
            saver=v1.train.Saver(listed, save_relative_paths=True),
            about=Saved(averages=[average]),
        )


@sample("averages_variables_to_restore")
def averages_variables_to_restore(made: Sample) -> None:
    """An evaluation graph saved through Saver(ema.variables_to_restore()): the keys end in
    /ExponentialMovingAverage, the variables in the graph are the plain ones."""
    with made.graph():
        dense(tf.ones([1, 3]), 2, "fc")
        average = v1.train.ExponentialMovingAverage(0.5)
        made.start()
        listed = average.variables_to_restore()
        made.save(saver=v1.train.Saver(listed, save_relative_paths=True))
