"""Networks for the tests of ``dups`` that need TensorFlow, and a fixture that looks at them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool
from ckpttool.analysis.duplicates import DuplicateGroup, DuplicatesResult, find_duplicates

Build = Callable[[Any, Any], Any]


@pytest.fixture
def look(tf: Any, tmp_path: Path) -> Any:
    """Build a graph, initialize, run what ``build`` returns so many times, save, find."""
    v1 = tf.compat.v1

    def run(
        build: Build,
        times: int = 3,
        at_steps: bool = False,
        meta: bool = True,
        after: Callable[[Any, Any], None] | None = None,
        **options: Any,
    ) -> DuplicatesResult:
        with tf.Graph().as_default(), v1.Session() as session:
            v1.set_random_seed(7)
            train = build(tf, v1)
            saver = v1.train.Saver(max_to_keep=None)
            session.run(v1.global_variables_initializer())
            if after is not None:
                after(v1, session)
            paths = []
            for step in range(times + 1):
                if at_steps or step == times:
                    paths.append(
                        saver.save(
                            session, str(tmp_path / "m"), global_step=step, write_meta_graph=meta
                        )
                    )
                if train is not None and step < times:
                    session.run(train)
        opened = [ckpttool.open(path) for path in paths]
        result = find_duplicates(opened, **options)
        for item in opened:
            item.close()
        return result

    return run


def only(result: DuplicatesResult) -> DuplicateGroup:
    """The one group that is no slots."""
    groups = [group for group in result.groups if group.verdict != "slot"]
    assert len(groups) == 1, groups
    return groups[0]


def kinds(group: DuplicateGroup) -> set[str]:
    return {item.kind for item in group.evidence}


def fc(v1: Any, tf: Any, x: Any, units: int, name: str) -> Any:
    """A layer by get_variable."""
    with v1.variable_scope(name):
        kernel = v1.get_variable("kernel", [int(x.shape[-1]), units])
        bias = v1.get_variable("bias", [units], initializer=v1.zeros_initializer())
        return tf.matmul(x, kernel) + bias


def raw(v1: Any, tf: Any, x: Any, units: int, name: str) -> Any:
    """A layer by tf.Variable with the usual truncated normal."""
    with v1.name_scope(name):
        size = [int(x.shape[-1]), units]
        kernel = v1.Variable(tf.random.truncated_normal(size, stddev=0.1), name="weights")
        bias = v1.Variable(tf.constant(0.1, shape=[units]), name="biases")
        return tf.matmul(x, kernel) + bias


def data(v1: Any, tf: Any, name: str, rows: int = 4, columns: int = 6) -> Any:
    value = tf.constant(np.linspace(-1, 1, rows * columns), tf.float32, [rows, columns])
    return v1.placeholder_with_default(value, [rows, columns], name=name)


def tower(v1: Any, tf: Any, x: Any) -> Any:
    with v1.variable_scope("net", reuse=v1.AUTO_REUSE):
        return raw(v1, tf, tf.nn.relu(raw(v1, tf, x, 16, "one")), 2, "two")


def sgd(v1: Any, tf: Any, output: Any, **options: Any) -> Any:
    loss = tf.reduce_mean(tf.square(output - 1.0), name="loss")
    return v1.train.GradientDescentOptimizer(0.5).minimize(loss, **options)


def wanted(group: DuplicateGroup) -> str:
    assert group.verdict != "unshared", group
    return group.verdict
