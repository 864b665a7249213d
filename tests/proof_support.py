"""What the proofs of mappings share: a TF1 checkpoint with its outputs, a remap, a comparison.

A proof makes a TF1 graph, saves it with a TF1 Saver, remaps the checkpoint with the shipped
mapping to the file of a real model, loads it there, and compares outputs.  The error means
something only beside the ``sensitivity``: how far the outputs for two random inputs are apart.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import ckpttool
from ckpttool.mapping.language.document import parse_document
from ckpttool.mapping.language.library import built_in
from ckpttool.mapping.like.template import Template
from ckpttool.mapping.remap import load_rules

Arrays = list[Any]


class Measured(NamedTuple):
    """How far two models are apart, the size of their outputs, and what an input changes."""

    error: float
    scale: float
    sensitivity: float

    def __str__(self) -> str:
        return (
            f"error {self.error:.2g}, largest output {self.scale:.3g}, "
            f"sensitivity {self.sensitivity:.3g}"
        )


def measure(expected: Sequence[Any], found: Sequence[Any]) -> Measured:
    """Compare the outputs for two inputs."""
    one, two = (np.asarray(value, "float64") for value in expected)
    assert all(np.shape(a) == np.shape(b) for a, b in zip(expected, found, strict=True))
    errors = [np.abs(a - b).max() for a, b in zip((one, two), found, strict=True)]
    scale = max(np.abs(one).max(), np.abs(two).max())
    return Measured(float(np.max(errors)), float(scale), float(np.abs(one - two).max()))


def tell(line: str) -> None:
    """A line for those who run the proofs with ``-s``."""
    sys.stdout.write(f"\n{line}\n")


def proves(name: str, measured: Measured, *, error: float, sensitivity: float) -> None:
    """Print what was measured, and hold it to its bounds."""
    tell(f"{name}: {measured}")
    assert measured.error <= error, f"{name}: {measured}"
    assert measured.sensitivity >= sensitivity, f"{name}: {measured}: says little"
    assert measured.sensitivity >= 20 * error, f"{name}: {measured}: the bound is too loose"


def refutes(name: str, measured: Measured | None, *, error: float) -> None:
    """Hold a mistake to being found: refused before, or seen in the outputs."""
    tell(f"{name}, with a mistake: {measured or 'refused'}")
    assert measured is None or not measured.error <= 10 * error, f"{name}: {measured}"


def mapping_text(name: str, *edits: tuple[str, str]) -> str:
    """The text of a shipped mapping, with deliberate mistakes put in."""
    text = Path(built_in()[name]).read_text("utf-8")
    for old, new in edits:
        assert text.count(old) >= 1, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return text


def remap(
    prefix: Path | str,
    mapping: str,
    output: Path | str,
    *,
    like: Path | str | Template | None = None,
    edits: Sequence[tuple[str, str]] = (),
    params: Mapping[str, Any] | None = None,
    **asked: Any,
) -> Any:
    """Remap a checkpoint with a shipped mapping; ``edits`` are mistakes to make in it."""
    document = parse_document(mapping_text(mapping, *edits), f"{mapping}.yaml")
    document = document._replace(path=built_in()[mapping])
    rules = load_rules(document, params=params)
    with ckpttool.open(str(prefix)) as checkpoint:
        template = str(like) if isinstance(like, (Path, str)) else like
        return ckpttool.remap(checkpoint, rules, str(output), like=template, force=True, **asked)


class Source(NamedTuple):
    """A TF1 checkpoint, two inputs, and the outputs of the TF1 graph for them."""

    prefix: Path
    inputs: Arrays
    outputs: Arrays


def tf1_source(
    tf: Any,
    prefix: Path,
    inputs: Sequence[Any],
    build: Callable[[Any, bool], tuple[Any, Sequence[Any]]],
    *,
    batch: Any,
    finish: Callable[[Any], Sequence[Any]] | None = None,
    restored: Callable[[], Any] | None = None,
) -> Source:
    """Save the graph that ``build(x, calibrating)`` makes, and run it on ``inputs``.

    ``build`` returns the output and the ops that calibrate, which are run once on ``batch``.
    ``finish`` adds what training leaves in a checkpoint, from the output; its ops are run one
    after the other.  ``restored`` gives the variables that are read to make the outputs: all,
    without it.
    """
    v1 = tf.compat.v1
    config = v1.ConfigProto()  # optimizing a graph takes longer than running it here
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        x = v1.placeholder(batch.dtype, (None, *batch.shape[1:]))
        y, updates = build(x, True)
        extra = finish(y) if finish else ()
        saver = v1.train.Saver()
        session.run(v1.global_variables_initializer())
        session.run([*updates], {x: batch})
        for step in extra:
            session.run(step, {x: batch})
        saver.save(session, str(prefix))
    with tf.Graph().as_default(), v1.Session(config=config) as session:
        x = v1.placeholder(batch.dtype, (None, *batch.shape[1:]))
        y, _ = build(x, False)
        v1.train.Saver(restored() if restored else None).restore(session, str(prefix))
        outputs = [session.run(y, {x: value}) for value in inputs]
    return Source(prefix, list(inputs), outputs)
