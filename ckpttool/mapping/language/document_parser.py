"""From nodes to a document."""

from __future__ import annotations

from typing import Any

from ckpttool.mapping.language.document import (
    AVERAGES,
    SLOTS,
    TARGETS,
    UNMATCHED,
    VERSION,
    Document,
    Guess,
    IncludeNode,
    RuleNode,
    Text,
)
from ckpttool.mapping.language.field_parser import FieldParser, Fields
from ckpttool.mapping.language.nodes import MAP, SCALAR, SEQ, Node
from ckpttool.mapping.language.rule_parser import RuleParser

KEYS = (
    "version",
    "description",
    "target",
    "params",
    "detect",
    "slots",
    "averages",
    "unmatched",
    "assumes",
    "caveats",
    "rules",
    "assign",
    "include",
    "optimizer",
    "source",
    "proof",
)
_FREE = ("source", "proof")


class DocumentParser(FieldParser):
    """Reads a whole file."""

    def document(self, root: Node, label: str) -> Document:
        """The document of a root node."""
        fields = self.fields(root, "a mapping file", KEYS)
        self._version(fields)
        return Document(
            label,
            self.optional(fields, "description", self.any_text) or "",
            self.optional(fields, "target", lambda node: self.choice(node, TARGETS)),
            self.optional(fields, "params", self.scalars) or {},
            self.optional(fields, "slots", lambda node: self.choice(node, SLOTS)),
            self.optional(fields, "averages", lambda node: self.choice(node, AVERAGES)),
            self.optional(fields, "unmatched", lambda node: self.choice(node, UNMATCHED)),
            self.optional(fields, "assumes", self.scalars) or {},
            self.optional(fields, "rules", self._rules) or (),
            self.optional(fields, "assign", self._assign) or (),
            self.optional(fields, "include", self._includes) or (),
            self.optional(fields, "caveats", self._caveats) or (),
            self.optional(fields, "optimizer", lambda node: self.text(node, "`optimizer`")),
            self._free(fields),
            detect=self.optional(fields, "detect", self._detect) or (),
        )

    def _version(self, fields: Fields) -> None:
        node = fields["version"][1] if "version" in fields else None
        if node and (node.value != VERSION or isinstance(node.value, bool)):
            self.say("MAP003", "unknown version of the mapping language", node, str(VERSION))

    def _rules(self, node: Node) -> tuple[RuleNode | IncludeNode, ...]:
        if node.kind != SEQ:
            self.say("MAP003", "`rules` is a list", node, "- from: … on a line of its own")
            return ()
        parser = RuleParser(self.problems)
        rules: list[RuleNode | IncludeNode | None] = []
        for item in node.value:
            keys = {key.text for key, _ in item.value} if item.kind == MAP else set()
            if "include" in keys:
                rules.append(self._include(item))
            else:
                rules.append(parser.rule(item))
        return tuple(rule for rule in rules if rule)

    def _includes(self, node: Node) -> tuple[IncludeNode, ...]:
        items = node.value if node.kind == SEQ else [node]
        found = (self._include(item) for item in items)
        return tuple(item for item in found if item)

    def _include(self, node: Node) -> IncludeNode | None:
        if node.kind == SCALAR:
            file = self.text(node, "`include`")
            return IncludeNode(file) if file else None
        fields = self.fields(node, "an include", ("include", "set"))
        if "include" not in fields:
            if node.kind == MAP:
                self.say("MAP002", "an include needs `include`", node)
            return None
        file = self.text(fields["include"][1], "`include`")
        params = self.optional(fields, "set", self.scalar_pairs) or []
        return IncludeNode(file, tuple(params)) if file else None

    def _detect(self, node: Node) -> tuple[Guess, ...]:
        if node.kind != MAP:
            self.say("MAP003", "`detect` is a mapping of parameters", node)
            return ()
        guesses = []
        for key, value in node.value:
            param = self.text(key, "a parameter")
            fields = self.fields(value, "`detect`", ("from", "size", "table", "convention"))
            if not {"from", "size"} <= fields.keys():
                if value.kind == MAP:
                    self.say("MAP002", "`detect` needs `from` and `size`", value)
                continue
            source = self.text(fields["from"][1], "`from`")
            size = self.text(fields["size"][1], "`size`")
            table = self.optional(fields, "table", self.scalars)
            convention = self.optional(fields, "convention", self.any_text) or ""
            if param and source and size:
                guesses.append(Guess(param, source, size, table, convention))
        return tuple(guesses)

    def _caveats(self, node: Node) -> tuple[str, ...]:
        items = node.value if node.kind == SEQ else [node]
        return tuple(self.any_text(item) for item in items)

    def _free(self, fields: Fields) -> dict[str, Any]:
        return {name: fields[name][1].plain() for name in _FREE if name in fields}

    def _assign(self, node: Node) -> tuple[tuple[Text, Text], ...]:
        if node.kind != MAP:
            self.say("MAP003", "`assign` is a mapping of old names to new ones", node)
            return ()
        pairs: dict[str, tuple[Text, Text]] = {}
        for key, value in node.value:
            old, new = self.text(key, "an old name"), self.text(value, "a new name")
            if old is None or new is None:
                continue
            if old.text in pairs:
                self.say("MAP002", f"the key {old.text} is there twice", key)
            if old.text.endswith("/") != new.text.endswith("/"):
                message = "a scope goes to a scope: both names end in / or neither does"
                self.say("MAP003", message, value, f"as in {old.text}")
            pairs[old.text] = (old, new)
        return tuple(pairs.values())
