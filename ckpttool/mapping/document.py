"""A mapping file as a typed document: what it says, and where it says it.

The whole language is read here, with every mistake reported at once.  What a document asks for and
an executor cannot do is that executor's to refuse, with the position that is kept for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.nodes import MAP, SCALAR, SEQ, Node, from_data, parse_yaml
from ckpttool.names import nearest
from ckpttool.storage.files import read_all

VERSION = 1
FILE_CAP = 32 << 20

TARGETS = ("tf1", "tf2", "keras", "keras-h5", "keras-archive", "safetensors", "npz")
SLOTS = ("drop", "follow")
AVERAGES = ("ignore", "use")
UNMATCHED = ("error", "keep", "drop")

Scalar = str | int | float | bool | None
_T = TypeVar("_T")


class Text(NamedTuple):
    """A text of the document and its place."""

    text: str
    where: str


class RuleNode(NamedTuple):
    """One rule.  ``targets`` is empty where it drops; ``optional`` allows it to match nothing.

    ``conditions`` are the texts that captures are limited to; ``tables`` and ``apply`` are kept as
    nodes.
    """

    where: str
    sources: tuple[Text, ...]
    targets: tuple[Text, ...]
    conditions: tuple[tuple[Text, tuple[Text, ...]], ...] = ()
    tables: tuple[Node, ...] = ()
    apply: Node | None = None
    optional: bool = False

    @property
    def text(self) -> str:
        """The rule in one line."""
        sources = ", ".join(source.text for source in self.sources)
        targets = ", ".join(target.text for target in self.targets)
        return f"from: {sources}" + (f" to: {targets}" if targets else " drop: true")


class Document(NamedTuple):
    """A mapping file.  None stands for what it does not say."""

    label: str
    description: str = ""
    target: Text | None = None
    params: Mapping[str, Scalar] = {}
    slots: Text | None = None
    averages: Text | None = None
    unmatched: Text | None = None
    assumes: Mapping[str, Scalar] = {}
    rules: tuple[RuleNode, ...] = ()
    assign: tuple[tuple[Text, Text], ...] = ()


def load_document(path: str, label: str | None = None) -> Document:
    """Read a mapping file, called ``label`` in messages.

    :class:`MappingError` has all that is wrong with it.
    """
    return parse_document(read_all(path, FILE_CAP), label or path)


def parse_document(data: bytes | str, label: str) -> Document:
    """The document of a YAML text."""
    return _read(parse_yaml(data, label), label)


def document_from(data: Mapping[str, Any], label: str = "mapping") -> Document:
    """The document of plain data, as a program or JSON gives it."""
    return _read(from_data(data, label), label)


def _read(root: Node, label: str) -> Document:
    parser = _Parser()
    document = parser.document(root, label)
    if parser.problems:
        raise MappingError(*parser.problems)
    return document


class _Parser:
    """Collects problems instead of stopping at the first."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def document(self, root: Node, label: str) -> Document:
        """The whole file."""
        fields = self._fields(
            root,
            "a mapping file",
            (
                "version",
                "description",
                "target",
                "params",
                "slots",
                "averages",
                "unmatched",
                "assumes",
                "rules",
                "assign",
            ),
        )
        self._version(fields.get("version"))
        return Document(
            label,
            self._optional(fields, "description", self._any_text) or "",
            self._optional(fields, "target", lambda node: self._choice(node, TARGETS)),
            self._optional(fields, "params", self._scalars) or {},
            self._optional(fields, "slots", lambda node: self._choice(node, SLOTS)),
            self._optional(fields, "averages", lambda node: self._choice(node, AVERAGES)),
            self._optional(fields, "unmatched", lambda node: self._choice(node, UNMATCHED)),
            self._optional(fields, "assumes", self._scalars) or {},
            self._optional(fields, "rules", self._rules) or (),
            self._optional(fields, "assign", self._assign) or (),
        )

    def _say(self, code: str, message: str, node: Node, expected: str | None = None) -> None:
        found = node.text or ("nothing" if node.value is None else f"a {node.kind}")
        self.problems.append(Problem(code, message, node.where, found, expected))

    def _fields(
        self, node: Node, what: str, known: tuple[str, ...]
    ) -> dict[str, tuple[Node, Node]]:
        """Key and value nodes by key; unknown and repeated keys are problems."""
        if node.kind != MAP:
            self._say("MAP003", f"{what} is a mapping of keys", node, ", ".join(known))
            return {}
        fields: dict[str, tuple[Node, Node]] = {}
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

    def _optional(
        self, fields: dict[str, tuple[Node, Node]], name: str, read: Callable[[Node], _T]
    ) -> _T | None:
        return read(fields[name][1]) if name in fields else None

    def _version(self, field: tuple[Node, Node] | None) -> None:
        if field and (field[1].value != VERSION or isinstance(field[1].value, bool)):
            self._say("MAP003", "unknown version of the mapping language", field[1], str(VERSION))

    def _any_text(self, node: Node) -> str:
        if node.kind == SCALAR:
            return node.text
        self._say("MAP003", "expected a text", node)
        return ""

    def _text(self, node: Node, what: str) -> Text | None:
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

    def _choice(self, node: Node, allowed: tuple[str, ...]) -> Text | None:
        if node.kind == SCALAR and node.text in allowed:
            return Text(node.text, node.where)
        self._say("MAP003", "not one of the known values", node, " or ".join(allowed))
        return None

    def _scalars(self, node: Node) -> dict[str, Scalar]:
        if node.kind != MAP:
            self._say("MAP003", "expected names with values", node)
            return {}
        out: dict[str, Scalar] = {}
        for key, value in node.value:
            if key.kind != SCALAR or value.kind != SCALAR:
                self._say("MAP003", "expected one value for each name", value)
            elif key.text in out:
                self._say("MAP002", f"the key {key.text} is there twice", key)
            else:
                out[key.text] = value.value
        return out

    def _rules(self, node: Node) -> tuple[RuleNode, ...]:
        if node.kind != SEQ:
            self._say("MAP003", "`rules` is a list", node, "- from: … on a line of its own")
            return ()
        rules = (self._rule(item) for item in node.value)
        return tuple(rule for rule in rules if rule)

    def _rule(self, node: Node) -> RuleNode | None:
        fields = self._fields(node, "a rule", ("from", "to", "drop", "where", "apply", "optional"))
        if node.kind != MAP:
            return None
        if "from" not in fields:
            self._say("MAP002", "a rule needs `from`", node)
            return None
        drops = self._flag(fields, "drop")
        if drops == ("to" in fields):
            key = fields["drop"][0] if drops else node
            message = "a rule has either `to` or `drop: true`" if drops else "a rule needs `to`"
            self._say("MAP002", message, key)
        if drops and "apply" in fields:
            self._say("MAP002", "`apply` has no place where a rule drops", fields["apply"][0])
        sources = self._texts(fields["from"][1], "`from`")
        targets = self._texts(fields["to"][1], "`to`") if "to" in fields else ()
        conditions, tables = self._conditions(fields.get("where"))
        apply = fields["apply"][1] if "apply" in fields else None
        if apply is not None and apply.kind != SEQ:
            self._say("MAP003", "`apply` is a list of transforms", apply)
        optional = self._flag(fields, "optional")
        place = fields["from"][0].where
        return RuleNode(place, sources, targets, conditions, tables, apply, optional)

    def _flag(self, fields: dict[str, tuple[Node, Node]], name: str) -> bool:
        if name not in fields:
            return False
        value = fields[name][1]
        if not isinstance(value.value, bool):
            self._say("MAP003", f"`{name}` is true or false", value)
            return True
        return value.value

    def _texts(self, node: Node, what: str) -> tuple[Text, ...]:
        """One text, or a list of them."""
        items = node.value if node.kind == SEQ else [node]
        if not items:
            self._say("MAP003", f"{what} is an empty list", node)
        texts = (self._text(item, what) for item in items)
        return tuple(text for text in texts if text)

    def _conditions(
        self, field: tuple[Node, Node] | None
    ) -> tuple[tuple[tuple[Text, tuple[Text, ...]], ...], tuple[Node, ...]]:
        if field is None:
            return (), ()
        node = field[1]
        if node.kind != MAP:
            self._say("MAP003", "`where` gives the texts of captures", node, "{x: [a, b]}")
            return (), ()
        conditions: list[tuple[Text, tuple[Text, ...]]] = []
        tables: list[Node] = []
        for key, value in node.value:
            if value.kind == MAP:
                tables.append(key)
                continue
            allowed = self._texts(value, f"`where` for {key.text}")
            for item in allowed:
                if "/" in item.text:
                    problem = Problem("MAP003", "a capture never holds a /", item.where, item.text)
                    self.problems.append(problem)
            if any(name.text == key.text for name, _ in conditions):
                self._say("MAP002", f"the key {key.text} is there twice", key)
            conditions.append((Text(key.text, key.where), allowed))
        return tuple(conditions), tuple(tables)

    def _assign(self, node: Node) -> tuple[tuple[Text, Text], ...]:
        if node.kind != MAP:
            self._say("MAP003", "`assign` is a mapping of old names to new ones", node)
            return ()
        pairs: dict[str, tuple[Text, Text]] = {}
        for key, value in node.value:
            old, new = self._text(key, "an old name"), self._text(value, "a new name")
            if old is None or new is None:
                continue
            if old.text in pairs:
                self._say("MAP002", f"the key {old.text} is there twice", key)
            if old.text.endswith("/") != new.text.endswith("/"):
                message = "a scope goes to a scope: both names end in / or neither does"
                self._say("MAP003", message, value, f"as in {old.text}")
            pairs[old.text] = (old, new)
        return tuple(pairs.values())
