"""Names and scopes: natural order, nearest name, safe printing.

Checkpoint keys are bytes.  They are decoded as UTF-8 with ``surrogateescape``, so that a name
that is not UTF-8 still round-trips to the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from ckpttool.errors import Problem, UsageError

# The key that a TF2 checkpoint keeps its object graph under; no variable can have this name.
OBJECT_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"

# At most 18 digits a piece: int() refuses very long digit strings, and names are hostile.
_DIGITS = re.compile("([0-9]{1,18})")
# C0, DEL, C1, bidirectional overrides and other format controls, line separators, lone surrogates.
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def decode_name(raw: bytes) -> str:
    """A stored name as text; bytes that are not UTF-8 survive as lone surrogates."""
    return raw.decode("utf-8", "surrogateescape")


def encode_name(name: str) -> bytes:
    """The stored bytes of a name."""
    return name.encode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """``text`` with everything that could drive a terminal or hide itself shown as an escape."""
    if text.isascii() and text.isprintable():
        return text
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match.group())
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: the original byte
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}"


def natural_key(name: str) -> tuple[object, ...]:
    """A sort key under which ``layer_2`` comes before ``layer_10``.

    Text and digits alternate in the split, so equal positions always compare like with like.
    """
    parts = _DIGITS.split(name)
    return tuple(int(part) if index % 2 else part for index, part in enumerate(parts))


def nearest(name: str, candidates: Iterable[str], count: int = 3) -> list[str]:
    """Up to ``count`` existing names that look most like ``name``, best first.

    A candidate that ends in the same components, or contains the name, is nearer than one that
    merely shares letters.
    """
    import difflib

    pool: Sequence[str] = list(candidates)
    lowered = name.lower()
    tail = "/" + lowered.rsplit("/", 1)[-1]
    folded = [item.lower() for item in pool]
    scored = [item for item, low in zip(pool, folded, strict=True) if lowered in low]
    if len(scored) < count:
        known = set(scored)
        scored += [
            item
            for item, low in zip(pool, folded, strict=True)
            if low.endswith(tail) and item not in known
        ]
    if len(scored) < count:
        # difflib is quadratic in the length; a huge index is thinned to names of similar length.
        if len(pool) > 2000:
            pool = sorted(pool, key=lambda item: abs(len(item) - len(name)))[:2000]
        close = difflib.get_close_matches(name, pool, n=count, cutoff=0.4)
        scored = close + [item for item in scored if item not in close]
    return scored[:count]


def glob_matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """A predicate for names that match any of ``patterns``.

    ``*`` and ``?`` stay within one scope component, ``**`` crosses scopes, ``[abc]`` is a
    character class only where a ``]`` follows.  A pattern without wildcards matches the name
    itself and everything under it as a scope.
    """
    try:
        compiled = re.compile("|".join(f"(?:{_translate(item)})" for item in patterns), re.DOTALL)
    except re.error as error:
        raise UsageError(
            Problem("USE003", f"not a valid name pattern: {error}", found=" ".join(patterns))
        ) from error
    return lambda name: compiled.fullmatch(name) is not None


def _translate(pattern: str) -> str:
    if not any(mark in pattern for mark in "*?["):
        return re.escape(pattern.rstrip("/")) + "(?:/.*)?"
    out: list[str] = []
    pos = 0
    while pos < len(pattern):
        char = pattern[pos]
        if pattern.startswith("**", pos):
            pos += 2
            if pattern.startswith("/", pos) and (not out or out[-1] == "/"):
                out.append("(?:.*/)?")  # `**/x` also matches `x` itself
                pos += 1
            else:
                out.append(".*")
            continue
        close = pattern.find("]", pos + 2) if char == "[" else -1
        if close > 0:
            body = pattern[pos + 1 : close]
            negated = body[0] in "!^"
            body = re.sub(r"([\\\[\]^&~|])", r"\\\1", body[negated:])
            body = body.replace("--", r"\-\-")  # not a set difference
            out.append(f"[^/{body}]" if negated else f"[{body}]")
            pos = close
        else:
            out.append({"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char))
        pos += 1
    return "".join(out)
