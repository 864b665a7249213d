"""The JSON envelope: one object on stdout, also on failure.

Names are written whole: nothing is folded or cut, and bytes that are no UTF-8 stay as lone
surrogates (``\\udcff``), which ``surrogateescape`` turns back into the bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from ckpttool.errors import Problem

SCHEMA = 1


def envelope(
    command: str,
    status: str,
    body: Mapping[str, Any] | None = None,
    problems: Iterable[Problem] = (),
) -> dict[str, Any]:
    """The object for one run: ``status`` is ``ok``, ``finding`` or ``error``."""
    result: dict[str, Any] = {"schema": SCHEMA, "command": command, "status": status}
    result.update(body or {})
    result["problems"] = [problem._asdict() for problem in problems]
    return result


def dumps(value: Any) -> str:
    """JSON text without NaN and infinities, which become strings."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(finite(value), allow_nan=False)


def finite(value: Any) -> Any:
    """``value`` with NaN and infinities as "NaN", "Infinity" and "-Infinity"."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
