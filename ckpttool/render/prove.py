"""A proof, as lines and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ckpttool.mapping.proving.agreement import Proof
from ckpttool.render.lines import Layout, Line, safe, wrapped

_STYLES = {"equal": "good", "close": "warn", "different": "bad", "nothing": "bad"}
_WORDS = {
    "equal": "equal: the error is one of rounding",
    "close": "close, but not equal",
    "different": "different",
    "nothing": "nothing is proved",
}


def proof_body(proof: Proof) -> dict[str, Any]:
    """The keys of the JSON output."""
    body = proof._asdict()
    body["feeds"] = [item._asdict() for item in proof.feeds]
    for item in body["feeds"]:
        item["shape"] = list(item["shape"])
    body["reasons"], body["notes"] = list(proof.reasons), list(proof.notes)
    return body


def proof_lines(proof: Proof, layout: Layout) -> Iterator[Line]:
    """The inputs, the numbers beside each other, the verdict and why."""
    unicode = layout.unicode
    for item in proof.feeds:
        shape = ("×" if unicode else "x").join(map(str, item.shape)) or "scalar"
        to = "" if item.model_input is None else f"  to {item.model_input}"
        moves = "" if item.moves is None else f"  moves the output by {item.moves:.3g}"
        yield [
            (f"  {safe(item.name, unicode)}", "name"),
            (f"  {item.dtype} {shape}  {item.values}", ""),
            (safe(f"{to}{moves}", unicode), "dim"),
        ]
    outputs = f"{proof.output} of the graph, {proof.model_output} of the model"
    yield [("  compared   ", "dim"), (safe(outputs, unicode), ""), (f"  {proof.dtype}", "dtype")]
    limit = proof.tolerance * proof.sensitivity
    for word, value, what in (
        ("error", proof.max_abs_error, f"largest; rounding is up to {limit:.3g}"),
        ("sensitivity", proof.sensitivity, "how far the output moves between two inputs"),
        ("magnitude", proof.magnitude, "largest absolute value of the output"),
    ):
        yield [(f"  {word:<12}", "dim"), (f"{value:<12.4g}", "number"), (what, "dim")]
    yield [(_WORDS[proof.verdict], _STYLES[proof.verdict])]
    for text in proof.reasons:
        yield from wrapped("  ", safe(text, unicode), layout.width, "")
    for text in proof.notes:
        yield from wrapped("  note: ", safe(text, unicode), layout.width, "dim")
