"""Inspect, compare and migrate TensorFlow 1.x checkpoints, without TensorFlow.

The names below are the public API; each is loaded when it is first used, so that importing the
package costs nothing.

    >>> import ckpttool
    >>> with ckpttool.open("sample_ckpts/my_scope") as checkpoint:  # doctest: +SKIP
    ...     for row in ckpttool.tree(checkpoint).variables:
    ...         print(row.name, row.dtype, row.shape, row.role)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ckpttool._version import __version__

if TYPE_CHECKING:
    from ckpttool.analysis.collections import collections
    from ckpttool.analysis.duplicates import find_duplicates
    from ckpttool.analysis.show import show
    from ckpttool.analysis.tree import tree
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.checkpoint import open_checkpoint as open
    from ckpttool.errors import CkptError
    from ckpttool.mapping.averaging import average
    from ckpttool.mapping.comparing import diff
    from ckpttool.mapping.detecting.detect import detect_mappings
    from ckpttool.mapping.like.template import load_template
    from ckpttool.mapping.loading import load_into
    from ckpttool.mapping.proving.proof import prove
    from ckpttool.mapping.remap import load_rules, plan_remap, remap
    from ckpttool.mapping.suggest.draft import suggest
    from ckpttool.verification import verify, verify_directory

# Public name to (module, attribute).
_LAZY = {
    "Checkpoint": ("ckpttool.checkpoint", "Checkpoint"),
    "CkptError": ("ckpttool.errors", "CkptError"),
    "average": ("ckpttool.mapping.averaging", "average"),
    "collections": ("ckpttool.analysis.collections", "collections"),
    "load_into": ("ckpttool.mapping.loading", "load_into"),
    "load_template": ("ckpttool.mapping.like.template", "load_template"),
    "load_rules": ("ckpttool.mapping.remap", "load_rules"),
    "detect_mappings": ("ckpttool.mapping.detecting.detect", "detect_mappings"),
    "diff": ("ckpttool.mapping.comparing", "diff"),
    "find_duplicates": ("ckpttool.analysis.duplicates", "find_duplicates"),
    "open": ("ckpttool.checkpoint", "open_checkpoint"),
    "plan_remap": ("ckpttool.mapping.remap", "plan_remap"),
    "prove": ("ckpttool.mapping.proving.proof", "prove"),
    "remap": ("ckpttool.mapping.remap", "remap"),
    "show": ("ckpttool.analysis.show", "show"),
    "suggest": ("ckpttool.mapping.suggest.draft", "suggest"),
    "tree": ("ckpttool.analysis.tree", "tree"),
    "verify": ("ckpttool.verification", "verify"),
    "verify_directory": ("ckpttool.verification", "verify_directory"),
}

__all__ = [
    "Checkpoint",
    "CkptError",
    "__version__",
    "average",
    "collections",
    "detect_mappings",
    "diff",
    "find_duplicates",
    "load_into",
    "load_rules",
    "load_template",
    "open",
    "plan_remap",
    "prove",
    "remap",
    "show",
    "suggest",
    "tree",
    "verify",
    "verify_directory",
]


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _LAZY[name]
    except KeyError:
        raise AttributeError(f"module 'ckpttool' has no attribute {name!r}") from None
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
