"""Sizes as a mapping writes them: integers, and small sums over axes and parameters.

The grammar is closed: ``+ - * // ( )``, integers, ``$param``, and ``d0 d1 …`` for the size of that
axis of the array at hand.  A division must leave no rest.  Numbers that are no sizes (a factor, a
constant) use the same grammar with ``/`` and decimal points, and without axes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from ckpttool.mapping.transforms.base import TransformError
from ckpttool.tensors import Shape

Scalar = str | int | float | bool | None
Number = int | float
# What a name after ``$`` stands for.  Raises :class:`MappingError` for an unknown name.
Parameters = Callable[[str, str], Scalar]  # (name, where it stands)

MAX_TEXT = 200  # characters of one expression
MAX_TOKENS = 64
MAX_VALUE = 2**62  # of any intermediate result

_TOKEN = re.compile(
    r"\s*(?:(?P<number>[0-9]+(?P<fraction>\.[0-9]*)?(?P<power>[eE][-+]?[0-9]{1,3})?)"
    r"|d(?P<axis>[0-9]{1,3})\b|\$(?P<param>[A-Za-z_][A-Za-z0-9_]*)|(?P<mark>//|[-+*/()]))"
)
_NUMBER = re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?(?:[eE][-+]?[0-9]{1,3})?\Z")

_Tree = tuple[object, ...]


class Size(NamedTuple):
    """A checked expression; two sizes are equal if they are written alike."""

    tree: _Tree

    @property
    def constant(self) -> int | None:
        """Its value where it does not depend on an array, else None."""
        if _has_axis(self.tree):
            return None
        return _whole(_value(self.tree, ()), self)

    def resolve(self, shape: Shape) -> int:
        """Its value for an array of this shape; may be negative."""
        return _whole(_value(self.tree, shape), self)

    def __str__(self) -> str:
        return _text(self.tree)


def fixed(value: int) -> Size:
    """The size that is always ``value``."""
    return Size(("number", value))


def parse_size(text: str | int, where: str, parameters: Parameters) -> Size:
    """Read a size; raises :class:`TransformError` with what is wrong."""
    if isinstance(text, int):
        return fixed(text)
    size = Size(_Parser(text, where, parameters, axes=True).tree())
    if not _has_axis(size.tree):
        return fixed(_whole(_value(size.tree, ()), size))
    return size


def parse_number(text: str, where: str, parameters: Parameters) -> Number:
    """Read a number that needs no array; raises :class:`TransformError`."""
    return _value(_Parser(text, where, parameters, axes=False).tree(), ())


def _whole(value: Number, size: Size) -> int:
    if not isinstance(value, int):
        raise TransformError("a size is a whole number", found=f"{size} = {value}")
    return value


class _Parser:
    """Recursive descent; the number of tokens bounds the depth."""

    def __init__(self, text: str, where: str, parameters: Parameters, *, axes: bool) -> None:
        self._text = text
        self._where = where
        self._parameters = parameters
        self._axes = axes
        self._tokens = list(reversed(self._scan()))

    def tree(self) -> _Tree:
        """The whole text."""
        tree = self._sum()
        if self._tokens:
            raise self._odd(self._tokens[-1])
        return tree

    def _odd(self, token: _Tree | None) -> TransformError:
        end = "its end" if token is None else str(token[1])
        return TransformError(
            f"cannot read the expression at {end}",
            self._text,
            "+ - * // ( ), integers, $parameters" + (", d0 d1 …" if self._axes else ""),
        )

    def _scan(self) -> list[_Tree]:
        tokens: list[_Tree] = []
        text = self._text.rstrip()
        position = 0
        if len(text) > MAX_TEXT:
            raise TransformError("the expression is too long", f"{len(text)} characters")
        while position < len(text):
            match = _TOKEN.match(text, position)
            if match is None:
                raise self._odd(("", repr(text[position:].lstrip()[:1])))
            tokens.append(self._token(match))
            position = match.end()
        if len(tokens) > MAX_TOKENS:
            raise TransformError("the expression is too long", f"{len(tokens)} parts")
        return tokens

    def _token(self, match: re.Match[str]) -> _Tree:
        if match["mark"]:
            return ("mark", match["mark"])
        if match["axis"]:
            if not self._axes:
                raise TransformError("no array's size can stand here", match.group().strip())
            return ("axis", int(match["axis"]))
        if match["param"]:
            return ("number", self._parameter(match["param"]))
        return ("number", _literal(match["number"]))

    def _parameter(self, name: str) -> Number:
        value = self._parameters(name, self._where)
        if isinstance(value, str) and _NUMBER.match(value):
            return _literal(value)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TransformError(f"the parameter ${name} is no number", found=str(value))
        return value

    def _take(self, *marks: str) -> str | None:
        if self._tokens and self._tokens[-1][0] == "mark" and self._tokens[-1][1] in marks:
            return str(self._tokens.pop()[1])
        return None

    def _sum(self) -> _Tree:
        left = self._product()
        while mark := self._take("+", "-"):
            left = (mark, left, self._product())
        return left

    def _product(self) -> _Tree:
        left = self._unary()
        while mark := self._take("*", "//", "/"):
            if mark == "/" and self._axes:
                raise self._odd(("mark", "/"))
            left = (mark, left, self._unary())
        return left

    def _unary(self) -> _Tree:
        if self._take("-"):
            return ("neg", self._unary())
        if self._take("+"):
            return self._unary()
        if self._take("("):
            inner = self._sum()
            if not self._take(")"):
                raise self._odd(self._tokens[-1] if self._tokens else None)
            return inner
        if self._tokens and self._tokens[-1][0] in ("number", "axis"):
            return self._tokens.pop()
        raise self._odd(self._tokens[-1] if self._tokens else None)


def _literal(text: str) -> Number:
    return float(text) if any(mark in text for mark in ".eE") else int(text)


def _has_axis(tree: _Tree) -> bool:
    return tree[0] == "axis" or any(isinstance(part, tuple) and _has_axis(part) for part in tree)


def _value(tree: _Tree, shape: Shape) -> Number:
    kind = tree[0]
    if kind == "number":
        return _bounded(tree[1])
    if kind == "axis":
        axis = tree[1]
        if not isinstance(axis, int) or axis >= len(shape):
            raise TransformError(f"the array has no axis {axis}", found=str(list(shape)))
        return shape[axis]
    values = [_value(part, shape) for part in tree[1:] if isinstance(part, tuple)]
    if kind == "neg":
        return -values[0]
    return _bounded(_operate(str(kind), *values))


def _operate(mark: str, left: Number, right: Number) -> Number:
    if mark == "+":
        return left + right
    if mark == "-":
        return left - right
    if mark == "*":
        return left * right
    if right == 0:
        raise TransformError("a division by zero")
    if mark == "/":
        return left / right
    if left % right:
        raise TransformError("the division leaves a rest", found=f"{left} // {right}")
    return left // right


def _bounded(value: object) -> Number:
    if not isinstance(value, (int, float)) or (abs(value) > MAX_VALUE and isinstance(value, int)):
        raise TransformError("a number is too large", found=str(value)[:40])
    return value


_RANK = {"+": 1, "-": 1, "*": 2, "//": 2, "/": 2, "neg": 3}


def _text(tree: _Tree, least: int = 0) -> str:
    kind = str(tree[0])
    if kind == "number":
        return str(tree[1])
    if kind == "axis":
        return f"d{tree[1]}"
    parts = [part for part in tree[1:] if isinstance(part, tuple)]
    rank = _RANK[kind]
    if kind == "neg":
        text = "-" + _text(parts[0], rank)
    else:
        text = f"{_text(parts[0], rank)}{kind}{_text(parts[1], rank + 1)}"
    return f"({text})" if rank < least else text
