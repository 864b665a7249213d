"""The standard collections: raw name, name in ``tf.GraphKeys``, what it holds.

Source: ``tensorflow:python/framework/ops.py`` (class GraphKeys),
``python/saved_model/constants.py`` and, for SessionBundle exports,
``contrib/session_bundle/constants.py``.
"""

from __future__ import annotations

from typing import NamedTuple


class GraphKey(NamedTuple):
    """One standard collection; ``constant`` is None where ``tf.GraphKeys`` has no name for it."""

    name: str
    constant: str | None
    meaning: str


_ROWS = (
    ("variables", "GLOBAL_VARIABLES", "variables shared by all workers; a Saver's default"),
    ("trainable_variables", "TRAINABLE_VARIABLES", "variables that an optimizer trains"),
    ("local_variables", "LOCAL_VARIABLES", "variables of one process: counters, metrics; unsaved"),
    ("model_variables", "MODEL_VARIABLES", "variables that inference needs"),
    ("moving_average_variables", "MOVING_AVERAGE_VARIABLES",
     "variables that have an average (the originals, not the averages)"),
    ("metric_variables", "METRIC_VARIABLES", "the state of streaming metrics"),
    ("concatenated_variables", "CONCATENATED_VARIABLES",
     "partitioned variables joined into one tensor"),
    ("trainable_resource_variables", "TRAINABLE_RESOURCE_VARIABLES",
     "trainable resources that are no plain tensors (boosted trees)"),
    ("weights", "WEIGHTS", "weights of layers"),
    ("biases", "BIASES", "biases of layers"),
    ("activations", "ACTIVATIONS", "outputs of layers"),
    ("global_step", "GLOBAL_STEP", "the counter of training steps"),
    ("global_step_read_op_cache", None, "a cached read of the step"),
    ("losses", "LOSSES", "losses that are added up"),
    ("regularization_losses", "REGULARIZATION_LOSSES", "regularization terms of the loss"),
    ("update_ops", "UPDATE_OPS", "operations to run in each step (batch normalization)"),
    ("train_op", "TRAIN_OP", "the training operation"),
    ("init_op", "INIT_OP", "initializes global variables"),
    ("local_init_op", "LOCAL_INIT_OP", "initializes local variables"),
    ("ready_op", "READY_OP", "lists variables that are not initialized"),
    ("ready_for_local_init_op", "READY_FOR_LOCAL_INIT_OP",
     "lists what the local initialization still waits for"),
    ("table_initializer", "TABLE_INITIALIZERS", "operations that fill lookup tables"),
    ("queue_runners", "QUEUE_RUNNERS", "threads that feed input queues"),
    ("summaries", "SUMMARIES", "summary operations"),
    ("_SUMMARY_V2", "_SUMMARY_COLLECTION", "summary operations of the V2 writer"),
    ("summary_op", "SUMMARY_OP", "the merged summary"),
    ("savers", "SAVERS", "the Savers of this graph"),
    ("asset_filepaths", "ASSET_FILEPATHS", "tensors that hold paths of asset files"),
    ("cond_context", "COND_CONTEXT", "branches of tf.cond"),
    ("while_context", "WHILE_CONTEXT", "bodies of tf.while_loop"),
    ("eval_step", "EVAL_STEP", "the counter of evaluation steps"),
    ("critical_section_executions", None, "executions of critical sections"),
    ("critical_sections", None, "critical sections"),
    ("iterators", None, "input iterators, for saving their position"),
    ("resources", "RESOURCES", "resources with an initializer, shared by all workers"),
    ("local_resources", "LOCAL_RESOURCES", "resources with an initializer, of one process"),
    ("saveable_objects", "SAVEABLE_OBJECTS", "what else a Saver saves: tables, iterators"),
    ("streaming_model_ports", "_STREAMING_MODEL_PORTS", "inputs and outputs of a stream"),
    ("unbound_inputs", None, "tensors that a caller must feed"),
    ("saved_model_assets", None, "asset files of a SavedModel"),
    ("saved_model_main_op", None, "run when a SavedModel is loaded"),
    ("saved_model_train_op", None, "the training operation of a SavedModel"),
    ("legacy_init_op", None, "run when a SavedModel is loaded (before main_op)"),
    ("serving_signatures", None, "signatures of a SessionBundle export"),
    ("serving_assets", None, "asset files of a SessionBundle export"),
    ("serving_graph", None, "the graph of a SessionBundle export"),
    ("serving_init_op", None, "run when a SessionBundle export is loaded"),
)  # fmt: skip

GRAPH_KEYS: dict[str, GraphKey] = {row[0]: GraphKey(*row) for row in _ROWS}
CONSTANTS: dict[str, str] = {row[1]: row[0] for row in _ROWS if row[1]}


def meaning(name: str) -> str | None:
    """One line on a standard collection, None for any other."""
    row = GRAPH_KEYS.get(name)
    return None if row is None else row.meaning


def constant(name: str) -> str | None:
    """``GraphKeys.NAME`` of a collection's raw name, None if it has no constant."""
    row = GRAPH_KEYS.get(name)
    return None if row is None or row.constant is None else f"GraphKeys.{row.constant}"
