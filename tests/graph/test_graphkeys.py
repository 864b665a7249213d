"""The table of standard collections."""

from __future__ import annotations

from ckpttool.graph.graphkeys import GRAPH_KEYS, constant, meaning


def test_lookups() -> None:
    assert constant("variables") == "GraphKeys.GLOBAL_VARIABLES"
    assert constant("table_initializer") == "GraphKeys.TABLE_INITIALIZERS"
    assert constant("iterators") is None
    assert constant("my own") is None
    assert meaning("my own") is None
    assert all(row.meaning for row in GRAPH_KEYS.values())
