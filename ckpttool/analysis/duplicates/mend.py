"""How to mend unshared variables: the code to change, and a mapping that keeps the live copy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from ckpttool.analysis.duplicates.model import DuplicateGroup, DuplicatesResult
from ckpttool.names import printable

FIXES: dict[str, str] = {
    "variable_in_scope": (
        "tf.Variable never shares. Make the variables with tf.get_variable inside "
        "tf.variable_scope({scope!r}, reuse=tf.AUTO_REUSE), or wrap the function that builds the tower "
        "in tf.make_template({scope!r}, build) and call the template for each input. Where the "
        "code cannot be changed, a variable_scope with a custom_getter does not reach tf.Variable: "
        "pass getter=tf.get_variable to the builder instead."
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
        "reuse=tf.AUTO_REUSE, or use tf.make_template."
    ),
    "rebuilt_graph": (
        "The code that builds the graph ran several times in one graph. Start it with "
        "tf.reset_default_graph(), or build inside with tf.Graph().as_default():."
    ),
    "not_known": (
        "Build the network once, or with tf.variable_scope({scope!r}, reuse=tf.AUTO_REUSE) and "
        "tf.get_variable; the graph (.meta) would tell what made the copies."
    ),
}


def fix_for(cause: str, scope: str) -> str:
    """The code to change for a cause; ``scope`` is the first copy's."""
    return FIXES[cause].replace("{scope!r}", repr(printable(scope)))


def mapping_text(result: DuplicatesResult) -> str:
    """A mapping file that keeps the live copy of each finding under the plain name.

    The other copies are dropped, and slots go with their variables.  Where no copy is more alive
    than another, both choices are written as comments: that one is for a person to make.
    """
    lines = [
        "version: 1",
        "description: keep one copy of variables that were not shared",
        "slots: follow",
        "unmatched: keep",
    ]
    rules = [line for group in result.unshared for line in _rules(group)]
    if any(line.startswith("  - ") for line in rules):
        lines.append("rules:")
    else:
        lines.append("rules: []")
    return "\n".join([*lines, *rules]) + "\n"


def _rules(group: DuplicateGroup) -> Iterator[str]:
    names = [" and ".join(printable(scope) for scope in scopes) for scopes in group.scopes]
    yield f"  # copies: {'; '.join(names)}"
    if group.keep is not None:
        yield from _choice(group, group.keep, "")
        return
    for keep in range(len(group.copies)):
        yield f"  # no copy is more alive than the others; to keep {names[keep]}:"
        yield from _choice(group, keep, "# ")


def _choice(group: DuplicateGroup, keep: int, mark: str) -> Iterator[str]:
    """Rules that drop all copies but one, and give that one the first copy's names."""
    for at, copy in enumerate(group.copies):
        for name, plain in zip(copy, group.copies[0], strict=True):
            if at != keep:
                yield f"  {mark}- from: {_quoted(name)}"
                yield f"  {mark}  drop: true"
            elif name != plain:
                yield f"  {mark}- from: {_quoted(name)}"
                yield f"  {mark}  to: {_quoted(plain)}"


def _quoted(name: str) -> str:
    """A name as a pattern that matches nothing else, as a YAML scalar."""
    from ckpttool.mapping.patterns import escape

    return json.dumps(escape(name))


def findings(groups: Sequence[DuplicateGroup]) -> int:
    """How many groups are unshared."""
    return sum(1 for group in groups if group.verdict == "unshared")
