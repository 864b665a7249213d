"""The public API: every name loads, and is documented."""

from __future__ import annotations

import ckpttool


def test_every_public_name_loads_and_has_a_docstring() -> None:
    for name in ckpttool.__all__:
        value = getattr(ckpttool, name)
        assert name.startswith("__") or value.__doc__, name


def test_all_is_sorted_and_matches_the_lazy_table() -> None:
    assert list(ckpttool.__all__) == sorted(ckpttool.__all__)
    assert set(ckpttool.__all__) == set(ckpttool._LAZY) | {"__version__"}
    assert set(ckpttool.__all__) <= set(dir(ckpttool))
