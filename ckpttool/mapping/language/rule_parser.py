"""From nodes to rules."""

from __future__ import annotations

from ckpttool.mapping.language.document import Condition, RuleNode, Scalar, Text
from ckpttool.mapping.language.field_parser import FieldParser, Fields
from ckpttool.mapping.language.nodes import MAP, SCALAR, SEQ, Node

KEYS = (
    "from",
    "to",
    "drop",
    "where",
    "apply",
    "optional",
    "when",
    "collect",
    "spread",
)
_Conditions = tuple[tuple[Text, tuple[Text, ...]], ...]
_Tables = tuple[tuple[Text, Node], ...]


class RuleParser(FieldParser):
    """Reads one rule after the other."""

    def rule(self, node: Node) -> RuleNode | None:
        """The rule of a node; None where there is too little of it."""
        fields = self.fields(node, "a rule", KEYS)
        if node.kind != MAP:
            return None
        constant = "from" not in fields and "to" in fields and "apply" in fields
        if "from" not in fields and not constant:
            self.say("MAP002", "a rule needs `from`", node, "from, or to and apply: [{zeros: …}]")
            return None
        self._check(node, fields)
        sources = () if constant else self.texts(fields["from"][1], "`from`")
        targets = self.texts(fields["to"][1], "`to`") if "to" in fields else ()
        conditions, tables = self._where(fields)
        apply = fields["apply"][1] if "apply" in fields else None
        if apply is not None and apply.kind != SEQ:
            self.say("MAP003", "`apply` is a list of transforms", apply)
        return RuleNode(
            fields["to" if constant else "from"][0].where,
            sources,
            targets,
            conditions,
            tables,
            apply,
            self.flag(fields, "optional"),
            self._when(fields),
            self.optional(fields, "collect", lambda item: self.text(item, "`collect`")),
            self.optional(fields, "spread", lambda item: self.text(item, "`spread`")),
        )

    def _check(self, node: Node, fields: Fields) -> None:
        """MAP002 for keys that do not go together."""
        drops = self.flag(fields, "drop")
        if drops == ("to" in fields):
            key = fields["drop"][0] if drops else node
            message = "a rule has either `to` or `drop: true`" if drops else "a rule needs `to`"
            self.say("MAP002", message, key)
        for name in ("apply", "collect", "spread"):
            if drops and name in fields:
                self.say("MAP002", f"`{name}` has no place where a rule drops", fields[name][0])
        for name, other, what in (
            ("collect", "from", "`collect` goes with one pattern"),
            ("spread", "to", "`spread` goes with one name in `to`"),
        ):
            node = fields[other][1] if other in fields else node
            if name in fields and node.kind == SEQ and len(node.value) > 1:
                self.say("MAP002", what, fields[name][0])

    def _where(self, fields: Fields) -> tuple[_Conditions, _Tables]:
        if "where" not in fields:
            return (), ()
        node = fields["where"][1]
        if node.kind != MAP:
            self.say("MAP003", "`where` gives the texts of captures", node, "{x: [a, b]}")
            return (), ()
        conditions: list[tuple[Text, tuple[Text, ...]]] = []
        tables: list[tuple[Text, Node]] = []
        seen: set[str] = set()
        for key, value in node.value:
            if key.text in seen:
                self.say("MAP002", f"the key {key.text} is there twice", key)
            seen.add(key.text)
            name = Text(key.text, key.where)
            if value.kind == MAP:
                tables.append((name, value))
            else:
                conditions.append((name, self.texts(value, f"`where` for {key.text}")))
        return tuple(conditions), tuple(tables)

    def _when(self, fields: Fields) -> tuple[Condition, ...]:
        if "when" not in fields:
            return ()
        out: list[Condition] = []
        known = ("exists", "missing", "param")
        for name, (_, value) in self.fields(fields["when"][1], "`when`", known).items():
            if name != "param":
                out += [Condition(name, text) for text in self.texts(value, f"`{name}`")]
            elif value.kind != MAP:
                self.say("MAP003", "`param` is a parameter with its value", value, "{name: value}")
            else:
                out += [
                    Condition(name, Text(key.text, key.where), self._values(item))
                    for key, item in value.value
                ]
        return tuple(out)

    def _values(self, node: Node) -> tuple[Scalar, ...]:
        items = node.value if node.kind == SEQ else [node]
        for item in items:
            if item.kind != SCALAR:
                self.say("MAP003", "expected a value, or a list of them", item)
        return tuple(item.value for item in items if item.kind == SCALAR)
