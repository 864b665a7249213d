"""The code to change, for each way in which variables come to be unshared."""

from __future__ import annotations

from ckpttool.names import printable

FIXES: dict[str, str] = {
    "variable_in_scope": (
        "tf.Variable never shares. Make the variables with tf.get_variable inside "
        "tf.variable_scope({scope!r}, reuse=tf.AUTO_REUSE), or wrap the function that builds the "
        "tower in tf.make_template({scope!r}, build) and call the template for each input. A "
        "custom_getter does not reach tf.Variable; where a builder takes a getter, pass "
        "getter=tf.get_variable."
    ),
    "plain_variable": (
        "tf.Variable(name=…) makes a new variable at each call. Use tf.get_variable inside "
        "tf.variable_scope(…, reuse=tf.AUTO_REUSE), or make the variable once and pass it on."
    ),
    "layer_object": (
        "A Keras layer (or add_weight) makes new variables for each layer object, whatever the "
        "variable_scope says. Make the layer once and call it on each input; in a class of your "
        "own pass getter=tf.get_variable to add_weight where its version takes it."
    ),
    "batch_normalization": (
        "BatchNormalization was made twice. Make one layer object and call it for training and "
        "for test; with the tf.layers class pass _scope='bn', _reuse=tf.AUTO_REUSE, or use "
        "tf.layers.batch_normalization(…, name='bn', reuse=tf.AUTO_REUSE)."
    ),
    "default_name": (
        "Without a name each call makes a scope of its own (tf.layers without name=, "
        "variable_scope(None, default_name=…)). Give the scope a name and "
        "reuse=tf.AUTO_REUSE, or use tf.make_template; of Keras layers make one object and call it "
        "on each input."
    ),
    "rebuilt_graph": (
        "The code that builds the graph (or import_meta_graph) ran several times in one graph. "
        "Start it with tf.reset_default_graph(), or build each inside its own tf.Graph()."
    ),
    "not_known": (
        "Build the network once, or with tf.variable_scope({scope!r}, reuse=tf.AUTO_REUSE) and "
        "tf.get_variable; the graph (.meta) would tell what made the copies."
    ),
}


def fix_for(cause: str, scope: str) -> str:
    """The code to change for a cause; ``scope`` is the first copy's."""
    return FIXES[cause].replace("{scope!r}", repr(printable(scope)))
