"""A mapping file as nodes that know where they stand.

YAML is read as events, never as objects: no tags, anchors or aliases, one document, capped in size
and depth.  Plain scalars mean what YAML 1.2's core schema says, so that ``no`` is a word and
``1e-12`` a number.  The same nodes are made from plain Python data.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import MappingError, Problem

if TYPE_CHECKING:
    from yaml.events import Event

MAX_BYTES = 32 << 20  # a rule for each of 100,000 variables fits
MAX_DEPTH = 16
MAX_NODES = 2_000_000

MAP, SEQ, SCALAR = "mapping", "list", "scalar"

_INT = re.compile(r"[-+]?[0-9]{1,18}\Z")
_HEX = re.compile(r"0(?:x[0-9a-fA-F]{1,15}|o[0-7]{1,18})\Z")
_FLOAT = re.compile(
    r"[-+]?(?:(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]{1,4})?|[0-9]+[eE][-+]?[0-9]{1,4})\Z"
)
_SPECIAL = re.compile(r"(?:([-+]?)\.(?:inf|Inf|INF)|(\.(?:nan|NaN|NAN)))\Z")
_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_LONE_SURROGATE = re.compile(r"\\[uU](?:0000)?[dD][89a-fA-F][0-9a-fA-F]{2}")
_QUOTE_HINT = "quote a text that begins with { [ * & ! % @ ` | > or holds ': ' or ' #'"


class Node(NamedTuple):
    """A value and its place.

    ``value`` is the scalar's meaning (``str int float bool None``), a list of nodes, or a list of
    ``(key, value)`` pairs.  ``text`` is a scalar as it was written.  ``where`` is
    ``file:line:column``, or the path in the data where there is no file.
    """

    kind: str
    value: Any
    where: str
    text: str = ""

    def plain(self) -> Any:
        """The value without places: dicts, lists and scalars."""
        if self.kind == MAP:
            return {key.text: value.plain() for key, value in self.value}
        if self.kind == SEQ:
            return [item.plain() for item in self.value]
        return self.value


def resolve_scalar(text: str) -> Any:
    """What a plain scalar means in YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.match(text):
        return int(text)
    if _HEX.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    special = _SPECIAL.match(text)
    if special:
        return float("nan") if special[2] else float(f"{special[1]}inf")
    return text


def parse_yaml(data: bytes | str, label: str) -> Node:
    """The root node of a YAML text; ``label`` is the file's name in messages.

    Raises :class:`MappingError` (MAP001 or MAP007) with the position.
    """
    import yaml

    text = _decode(data, label)
    odd = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if odd:
        where = _position_of(text, label, odd.start())
        raise _invalid("a character that YAML does not allow", where, None, repr(odd.group()))
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    if _LONE_SURROGATE.search(text):
        loader = yaml.SafeLoader  # libyaml refuses them: they stand for bytes that are no UTF-8
    try:
        return _Composer(label).compose(yaml.parse(text, Loader=loader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if error.context_mark and (error.context or "").startswith("while scanning"):
            mark = error.context_mark  # where the text begins that is wrong, not where it ends
        where = f"{label}:{mark.line + 1}:{mark.column + 1}" if mark else label
        message = " ".join(part for part in (error.context, error.problem) if part)
        raise _invalid(message, where, _QUOTE_HINT) from error
    except yaml.YAMLError as error:
        raise _invalid(str(error), label) from error


def from_data(data: Any, label: str) -> Node:
    """Nodes for plain data (dicts, lists, scalars), as a program or JSON gives it."""
    return _from_data(data, label, "", 0)


def _decode(data: bytes | str, label: str) -> str:
    size = len(data)
    if size > MAX_BYTES:
        problem = Problem(
            "MAP007", "the mapping file is too large", label, f"{size} bytes", f"≤ {MAX_BYTES}"
        )
        raise MappingError(problem)
    if isinstance(data, str):
        return data.removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        where = f"{label}:{before.count(10) + 1}:{column}"
        raise _invalid("not UTF-8 text", where, found=f"byte {data[error.start]:#04x}") from error


def _invalid(
    message: str, where: str, hint: str | None = None, found: str | None = None
) -> MappingError:
    return MappingError(
        Problem("MAP001", f"not a valid mapping file: {message}", where, found, hint=hint)
    )


def _position_of(text: str, label: str, position: int) -> str:
    """``label:line:column`` of a character offset."""
    before = text[:position]
    return f"{label}:{before.count(chr(10)) + 1}:{position - before.rfind(chr(10))}"


class _Composer:
    """Builds nodes from events, without recursion."""

    def __init__(self, label: str) -> None:
        self._label = label

    def compose(self, events: Iterator[Event]) -> Node:
        from yaml import events as ev

        open_nodes: list[Node] = []
        root: Node | None = None
        documents = 0
        for count, event in enumerate(events):
            if isinstance(event, ev.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _invalid("more than one document", self._where(event))
            elif isinstance(event, ev.AliasEvent):
                raise _invalid("aliases are not allowed", self._where(event), _QUOTE_HINT)
            elif isinstance(event, (ev.MappingEndEvent, ev.SequenceEndEvent)):
                open_nodes.pop()
            elif isinstance(event, ev.NodeEvent):
                node = self._node(event)
                if len(open_nodes) > MAX_DEPTH or count > MAX_NODES:
                    raise MappingError(_too_much(node.where, deep=count <= MAX_NODES))
                if open_nodes:
                    open_nodes[-1].value.append(node)
                else:
                    root = node
                if node.kind != SCALAR:
                    open_nodes.append(node)
        if root is None:
            return Node(MAP, [], f"{self._label}:1:1")
        return _pair_up(root)

    def _where(self, event: Event) -> str:
        mark = event.start_mark
        if mark is None:
            return self._label
        return f"{self._label}:{mark.line + 1}:{mark.column + 1}"

    def _node(self, event: Any) -> Node:
        from yaml import events as ev

        where = self._where(event)
        if event.anchor is not None:
            raise _invalid("anchors are not allowed", where, _QUOTE_HINT)
        if event.tag not in (None, "!"):
            raise _invalid("tags are not allowed", where, _QUOTE_HINT, str(event.tag))
        if isinstance(event, ev.ScalarEvent):
            plain = event.style is None or event.style == ""
            value = resolve_scalar(event.value) if plain else event.value
            return Node(SCALAR, value, where, event.value)
        return Node(MAP if isinstance(event, ev.MappingStartEvent) else SEQ, [], where)


def _pair_up(root: Node) -> Node:
    """Turn the flat lists of mapping nodes into pairs; depth is capped, so this may recurse."""
    children = [_pair_up(node) for node in root.value] if root.kind != SCALAR else []
    if root.kind == SEQ:
        return root._replace(value=children)
    if root.kind == MAP:
        return root._replace(value=list(zip(children[::2], children[1::2], strict=True)))
    return root


def _too_much(where: str, *, deep: bool) -> Problem:
    what = "is nested too deeply" if deep else "has too many values"
    most = MAX_DEPTH if deep else MAX_NODES
    return Problem("MAP007", f"the mapping {what}", where, f"more than {most}", f"≤ {most}")


def _from_data(data: Any, label: str, path: str, depth: int) -> Node:
    where = f"{label}: {path}" if path else label
    if depth > MAX_DEPTH:
        raise MappingError(_too_much(where, deep=True))
    if isinstance(data, Mapping):
        pairs = []
        for key, value in data.items():
            inner = f"{path}.{key}" if path else str(key)
            pairs.append(
                (_scalar(key, f"{label}: {inner}"), _from_data(value, label, inner, depth + 1))
            )
        return Node(MAP, pairs, where)
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        items = [
            _from_data(item, label, f"{path}[{index}]", depth + 1)
            for index, item in enumerate(data)
        ]
        return Node(SEQ, items, where)
    return _scalar(data, where)


def _scalar(value: Any, where: str) -> Node:
    if value is None or isinstance(value, (str, bool, int, float)):
        return Node(SCALAR, value, where, "" if value is None else str(value))
    found = type(value).__name__
    raise MappingError(
        Problem("MAP003", "a mapping holds text, numbers, lists and mappings", where, found)
    )
