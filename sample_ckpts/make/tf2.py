"""Object-based checkpoints of TF 2.x: tf.train.Checkpoint and SavedModel."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
from common import (
    Sample,
    numbers,
    object_truth,
    sample,
    saved_model_facts,
    settle_saved_model,
    v1,
)


@sample("saved_model_tf2")
def saved_model_tf2(made: Sample) -> None:
    """A TF2 SavedModel of a tf.Module: object-based names under variables/, one variable reached by
    two paths.

    The names of its functions hold a counter of the whole process: this sample is made first.
    """

    class Layer(tf.Module):
        """A dense layer."""

        def __init__(self, kernel: tf.Variable) -> None:
            super().__init__(name="layer")
            self.kernel = kernel
            self.bias = tf.Variable(tf.zeros([2]), name="bias")

    class Model(tf.Module):
        """Two layers that share their kernel."""

        def __init__(self) -> None:
            super().__init__(name="model")
            kernel = tf.Variable(tf.ones([2, 2]), name="kernel")
            self.layers = [Layer(kernel), Layer(kernel)]
            self.scale = tf.Variable(2.0, name="scale", trainable=False)

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32)])
        def __call__(self, inputs: tf.Tensor) -> tf.Tensor:
            """Apply both layers."""
            for layer in self.layers:
                inputs = tf.matmul(inputs, layer.kernel) + layer.bias
            return inputs * self.scale

    folder = made.folder
    folder.rmdir()
    options = tf.saved_model.SaveOptions(experimental_debug_stripper=True)
    model = Model()
    tf.saved_model.save(model, str(folder), options=options)
    settle_saved_model(folder)
    truth = object_truth(folder / "variables" / "variables")
    # The SavedModel's own object graph says what is trainable; a checkpoint's does not.
    trainable = {item.name.removesuffix(":0"): item.trainable for item in model.variables}
    for row in truth["variables"]:
        row["trainable"] = trainable.get(row.get("full_name"))
    extra = saved_model_facts(folder)
    truth["collections"] = extra["meta_graphs"][0]["collections"]
    made.entry(folder, format="saved-model", truth=truth, has_graph=True, extra=extra)


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
    roles |= dict.fromkeys(("beta1_power", "beta2_power"), ("slot", None))
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
