"""Reading `apply`: lists of transforms, every mistake told with its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.nodes import MAP, SCALAR, SEQ, Node, from_data
from ckpttool.mapping.transforms.arguments import BadArgumentError, Context
from ckpttool.mapping.transforms.base import TransformError
from ckpttool.mapping.transforms.chain import Chain, Step
from ckpttool.mapping.transforms.declared import Declared
from ckpttool.mapping.transforms.sizes import Parameters, Scalar
from ckpttool.mapping.transforms.table import TRANSFORMS, is_bare
from ckpttool.names import nearest

MAX_STEPS = 1000  # of a chain


def parse_chain(node: Node, parameters: Parameters | None = None) -> Chain:
    """The chain of the value of `apply`.

    ``parameters(name, where)`` gives the value of ``$name``, or raises :class:`MappingError`.
    Raises :class:`MappingError` with all that is wrong: MAP020 (unknown transform), MAP021 (an
    argument), and what ``parameters`` raises.
    """
    reading = _Reading(parameters or _no_parameters)
    chain = reading.chain(node)
    if reading.problems:
        raise MappingError(*reading.problems)
    return chain


def chain_of(data: Sequence[Any], parameters: Mapping[str, Scalar] | None = None) -> Chain:
    """The chain of plain data, as a program gives it: ``[{"reshape": [0, 12, -1]}]``."""
    known = parameters or {}

    def value(name: str, where: str) -> Scalar:
        return known[name] if name in known else _no_parameters(name, where)

    return parse_chain(from_data(data, "apply"), value)


def _no_parameters(name: str, where: str) -> Scalar:
    raise MappingError(Problem("MAP021", f"unknown parameter ${name}", where))


class _Reading(Context):
    """Collects problems instead of stopping at the first."""

    def __init__(self, parameters: Parameters) -> None:
        self.parameters = parameters
        self.problems: list[Problem] = []

    def chain(self, node: Node) -> Chain:
        """A list of transforms; a single one may stand without the list."""
        items: Sequence[Node] = node.value if node.kind == SEQ else [node]
        if len(items) > MAX_STEPS:
            self._say("too many transforms", node.where, str(len(items)), f"≤ {MAX_STEPS}")
            return Chain()
        steps = [(self._transform(item), item.where) for item in items]
        return Chain([Step(transform, where) for transform, where in steps if transform])

    def _say(
        self, message: str, where: str, found: str | None = None, expected: str | None = None
    ) -> None:
        self.problems.append(Problem("MAP021", message, where, found, expected))

    def _transform(self, node: Node) -> Declared | None:
        if node.kind == MAP and len(node.value) == 1:
            key, value = node.value[0]
        elif node.kind == SCALAR:
            key, value = node, None
        else:
            self._say(
                "a transform is its name, or one name with its arguments",
                node.where,
                f"a {node.kind}",
                "{reshape: [0, -1]}",
            )
            return None
        row = self._named(key)
        if row is None:
            return None
        if value is None or (value.kind == SCALAR and value.value is None):
            if not is_bare(row):
                required = ", ".join(param.name for param in row.params if param.required)
                self._say(f"{row.name} needs arguments", key.where, "none", required)
                return None
            return self._made(row, key, {})
        fields = self._fields(row, key, value)
        return None if fields is None else self._read(row, key, fields)

    def _named(self, key: Node) -> type[Declared] | None:
        row = TRANSFORMS.get(key.text) if key.kind == SCALAR else None
        if row is None:
            close = nearest(key.text, TRANSFORMS, 1) if key.text else []
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(TRANSFORMS)}"
            found = key.text or f"a {key.kind}"
            self.problems.append(
                Problem("MAP020", "unknown transform", key.where, found, hint=hint)
            )
        return row

    def _fields(self, row: type[Declared], key: Node, value: Node) -> dict[str, Node] | None:
        """The arguments' nodes by name."""
        if value.kind != MAP:
            if row.short is None:
                known = ", ".join(param.name for param in row.params) or "none"
                self._say(
                    f"the arguments of {row.name} have names",
                    value.where,
                    value.text or f"a {value.kind}",
                    known,
                )
                return None
            return {row.short: value}
        known_names = [param.name for param in row.params]
        fields: dict[str, Node] = {}
        good = True
        for name, argument in value.value:
            if name.text not in known_names or name.text in fields:
                twice = name.text in fields
                what = "is there twice" if twice else "is unknown"
                self._say(
                    f"the argument {name.text or name.kind} of {row.name} {what}",
                    name.where,
                    None,
                    ", ".join(known_names) or "none",
                )
                good = False
            else:
                fields[name.text] = argument
        return fields if good else None

    def _read(self, row: type[Declared], key: Node, fields: dict[str, Node]) -> Declared | None:
        before = len(self.problems)
        values: dict[str, Any] = {}
        for param in row.params:
            if param.name not in fields:
                if param.required:
                    self._say(f"{row.name} needs `{param.name}`", key.where, None, param.help)
                continue
            try:
                values[param.attribute] = param.kind.read(fields[param.name], self)
            except BadArgumentError as error:
                message = f"{param.name} of {row.name}: {error.message}"
                self._say(message, error.where, error.found, error.expected)
            except MappingError as error:
                self.problems.extend(error.problems)
        return self._made(row, key, values) if len(self.problems) == before else None

    def _made(self, row: type[Declared], key: Node, values: dict[str, Any]) -> Declared | None:
        try:
            return row(**values)
        except TransformError as error:
            self._say(f"{row.name}: {error.message}", key.where, error.found, error.expected)
            return None
