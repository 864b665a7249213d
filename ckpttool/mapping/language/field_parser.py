"""Reading nodes into values of expected kinds, collecting problems instead of stopping."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ckpttool.errors import Problem
from ckpttool.mapping.language.document import Scalar, Text
from ckpttool.mapping.language.nodes import MAP, SCALAR, SEQ, Node
from ckpttool.names import nearest

Fields = dict[str, tuple[Node, Node]]
_T = TypeVar("_T")


class FieldParser:
    """What the parsers of documents and of rules share."""

    def __init__(self, problems: list[Problem] | None = None) -> None:
        self.problems: list[Problem] = [] if problems is None else problems

    def say(self, code: str, message: str, node: Node, expected: str | None = None) -> None:
        """A problem with a node."""
        found = node.text or ("nothing" if node.value is None else f"a {node.kind}")
        self.problems.append(Problem(code, message, node.where, found, expected))

    def fields(self, node: Node, what: str, known: tuple[str, ...]) -> Fields:
        """Key and value nodes by key; unknown and repeated keys are problems."""
        if node.kind != MAP:
            self.say("MAP003", f"{what} is a mapping of keys", node, ", ".join(known))
            return {}
        fields: Fields = {}
        for key, value in node.value:
            name = key.text
            if key.kind != SCALAR or name not in known:
                close = nearest(name, known, 1)
                hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
                message = f"unknown key in {what}"
                found = name if key.kind == SCALAR else f"a {key.kind}"
                self.problems.append(Problem("MAP002", message, key.where, found, hint=hint))
            elif name in fields:
                message = f"the key {name} is there twice"
                first = f"once, at {fields[name][0].where}"
                self.problems.append(Problem("MAP002", message, key.where, expected=first))
            else:
                fields[name] = (key, value)
        return fields

    def optional(self, fields: Fields, name: str, read: Callable[[Node], _T]) -> _T | None:
        """The value of a key that may be left out."""
        return read(fields[name][1]) if name in fields else None

    def any_text(self, node: Node) -> str:
        """Words."""
        if node.kind == SCALAR:
            return node.text
        self.say("MAP003", "expected a text", node)
        return ""

    def text(self, node: Node, what: str) -> Text | None:
        """A name or pattern, as it is written: ``no`` and ``1e5`` are names too."""
        if node.kind == SCALAR and node.text and (node.value is not None or node.text != "~"):
            return Text(node.text, node.where)
        problem = Problem(
            "MAP003",
            f"{what} must be a text",
            node.where,
            "nothing" if node.kind == SCALAR else f"a {node.kind}",
            hint="quote a text that begins with { or [" if node.kind != SCALAR else None,
        )
        self.problems.append(problem)
        return None

    def texts(self, node: Node, what: str) -> tuple[Text, ...]:
        """One text, or a list of them."""
        items = node.value if node.kind == SEQ else [node]
        if not items:
            self.say("MAP003", f"{what} is an empty list", node)
        texts = (self.text(item, what) for item in items)
        return tuple(text for text in texts if text)

    def choice(self, node: Node, allowed: tuple[str, ...]) -> Text | None:
        """One of a few words."""
        if node.kind == SCALAR and node.text in allowed:
            return Text(node.text, node.where)
        self.say("MAP003", "not one of the known values", node, " or ".join(allowed))
        return None

    def flag(self, fields: Fields, name: str) -> bool:
        """True or false; false if it is left out."""
        if name not in fields:
            return False
        value = fields[name][1]
        if not isinstance(value.value, bool):
            self.say("MAP003", f"`{name}` is true or false", value)
            return True
        return value.value

    def scalar_pairs(self, node: Node) -> list[tuple[Text, Scalar]]:
        """Names with one value each."""
        if node.kind != MAP:
            self.say("MAP003", "expected names with values", node)
            return []
        out: dict[str, tuple[Text, Scalar]] = {}
        for key, value in node.value:
            if key.kind != SCALAR or value.kind != SCALAR:
                self.say("MAP003", "expected one value for each name", value)
            elif key.text in out:
                self.say("MAP002", f"the key {key.text} is there twice", key)
            else:
                out[key.text] = (Text(key.text, key.where), value.value)
        return list(out.values())

    def scalars(self, node: Node) -> dict[str, Scalar]:
        """The same as plain data."""
        return {name.text: value for name, value in self.scalar_pairs(node)}
