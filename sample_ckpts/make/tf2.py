"""Object-based checkpoints of TF 2.x: tf.train.Checkpoint."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from common import Sample, numbers, object_truth, sample, v1


class Tower(tf.Module):
    """Two branches that share one kernel, and a bias each."""

    def __init__(self) -> None:
        super().__init__(name="tower")
        self.kernel = tf.Variable(numbers("kernel", [3, 2]), name="kernel")
        self.left = [self.kernel, tf.Variable(numbers("left", [2]), name="bias")]
        self.right = {"kernel": self.kernel, "bias": tf.Variable(numbers("r", [2]), name="bias")}


@sample("tf2_module")
def tf2_module(made: Sample) -> None:
    """A tf.train.Checkpoint of a tf.Module with a shared variable, and an optimizer with slots
    (.OPTIMIZER_SLOT keys)."""
    model = Tower()
    optimizer = v1.train.AdamOptimizer(0.01)
    step = tf.Variable(0, dtype=tf.int64, name="step")
    for _ in range(2):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.ones([1, 3]) @ model.kernel + model.left[1])
        trained = [model.kernel, model.left[1]]
        optimizer.apply_gradients(zip(tape.gradient(loss, trained), trained, strict=True))
        step.assign_add(1)
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer, step=step)
    checkpoint.save(str(made.folder / "ckpt"))
    state = b"all_model_checkpoint_timestamps: 1466640000.5\nlast_preserved_timestamp: 1466639999.5"
    (made.folder / "checkpoint").write_bytes(
        b'model_checkpoint_path: "ckpt-1"\nall_model_checkpoint_paths: "ckpt-1"\n' + state + b"\n"
    )
    prefix = made.folder / "ckpt-1"
    roles = {"step": ("step", None)}
    roles |= {power: ("slot", None) for power in ("beta1_power", "beta2_power")}
    truth = object_truth(prefix, roles)
    made.entry(prefix, format="tf2", truth=truth, step=1)


@sample("tf2_keras")
def tf2_keras(made: Sample) -> None:
    """A tf.train.Checkpoint of a Keras 3 model, one layer of it used twice, and its Adam."""
    import keras

    keras.utils.clear_session(free_memory=False)
    inputs = keras.Input([3], name="inputs")
    shared = keras.layers.Dense(3, name="shared")
    flow = shared(shared(inputs))
    outputs = keras.layers.Dense(2, name="head")(flow)
    model = keras.Model(inputs, outputs, name="model")
    for variable in model.weights:
        variable.assign(numbers(variable.path, variable.shape))
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(model.trainable_variables)
    gradients = [np.ones(item.shape, np.float32) for item in model.trainable_variables]
    optimizer.apply([tf.constant(item) for item in gradients], model.trainable_variables)
    prefix = made.folder / "ckpt"
    tf.train.Checkpoint(model=model, optimizer=optimizer).write(str(prefix))
    truth = object_truth(prefix, keras_roles(optimizer, model))
    made.entry(prefix, format="tf2", truth=truth)


def keras_roles(optimizer: Any, model: Any) -> dict[str, tuple[str, str | None]]:
    """Full name -> role and owner of a Keras 3 optimizer's variables, by its own lists."""
    roles: dict[str, tuple[str, str | None]] = {
        optimizer.iterations.path: ("step", None),
        optimizer._learning_rate.path: ("slot", None),
    }
    for slots in (optimizer._momentums, optimizer._velocities):
        for slot, owner in zip(slots, model.trainable_variables, strict=True):
            roles[slot.path] = ("slot", owner.path)
    return roles
