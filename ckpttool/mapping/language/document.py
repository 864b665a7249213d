"""A mapping file as a typed document: what it says, and where it says it.

The whole language is read here, with every mistake reported at once; files that it includes are
read by :mod:`ckpttool.mapping.language.includes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ckpttool.errors import MappingError
from ckpttool.mapping.language.nodes import Node, from_data, parse_yaml
from ckpttool.storage.files import read_all

VERSION = 1
FILE_CAP = 32 << 20

TARGETS = ("tf1", "tf2", "keras", "keras-h5", "keras-archive", "safetensors", "npz")
SLOTS = ("drop", "follow")
AVERAGES = ("ignore", "use")
UNMATCHED = ("error", "keep", "drop")

Scalar = str | int | float | bool | None


class Text(NamedTuple):
    """A text of the document and its place."""

    text: str
    where: str


class Condition(NamedTuple):
    """One condition of `when`.

    ``kind`` is ``exists`` or ``missing`` with the name's template as ``text``, or ``param`` with a
    parameter's name and the values that it may have.
    """

    kind: str
    text: Text
    values: tuple[Scalar, ...] = ()


class Guess(NamedTuple):
    """How the value of a parameter shows in a checkpoint, which `mappings detect` proposes.

    ``size`` is an expression over the shape of the tensors whose names the pattern ``source``
    fits; with a ``table`` the value is what that has for it.  ``convention`` says why, where the
    shape does not settle the value: it is to be checked.
    """

    param: Text
    source: Text
    size: Text
    table: Mapping[str, Scalar] | None = None
    convention: str = ""


class IncludeNode(NamedTuple):
    """Rules of another file; ``params`` are the values for its parameters, as they are written."""

    file: Text
    params: tuple[tuple[Text, Scalar], ...] = ()


class RuleNode(NamedTuple):
    """One rule.  ``targets`` is empty where it drops; ``optional`` allows it to match nothing.

    ``conditions`` are the texts that captures are limited to; ``tables`` are name and value nodes
    of those that are translated too; ``apply`` is kept as a node.  ``collect`` and ``spread`` name
    the counter of several sources or targets.
    """

    where: str
    sources: tuple[Text, ...]
    targets: tuple[Text, ...]
    conditions: tuple[tuple[Text, tuple[Text, ...]], ...] = ()
    tables: tuple[tuple[Text, Node], ...] = ()
    apply: Node | None = None
    optional: bool = False
    when: tuple[Condition, ...] = ()
    collect: Text | None = None
    spread: Text | None = None

    @property
    def text(self) -> str:
        """The rule in one line."""
        sources = ", ".join(source.text for source in self.sources)
        targets = ", ".join(target.text for target in self.targets)
        if not sources:
            return f"to: {targets}"
        return f"from: {sources}" + (f" to: {targets}" if targets else " drop: true")


class Document(NamedTuple):
    """A mapping file.  None stands for what it does not say.

    A parameter whose value is None has to be given.  ``rules`` may hold includes among the rules;
    ``includes`` come after them.  ``free`` is what the file says for people alone.
    """

    label: str
    description: str = ""
    target: Text | None = None
    params: Mapping[str, Scalar] = {}
    slots: Text | None = None
    averages: Text | None = None
    unmatched: Text | None = None
    assumes: Mapping[str, Scalar] = {}
    rules: tuple[RuleNode | IncludeNode, ...] = ()
    assign: tuple[tuple[Text, Text], ...] = ()
    includes: tuple[IncludeNode, ...] = ()
    caveats: tuple[str, ...] = ()
    optimizer: Text | None = None
    free: Mapping[str, Any] = {}
    path: str | None = None
    detect: tuple[Guess, ...] = ()


def load_document(path: str, label: str | None = None) -> Document:
    """Read a mapping file, called ``label`` in messages.

    :class:`MappingError` has all that is wrong with it.
    """
    document = parse_document(read_all(path, FILE_CAP), label or path)
    return document._replace(path=path)


def parse_document(data: bytes | str, label: str) -> Document:
    """The document of a YAML text."""
    return _read(parse_yaml(data, label), label)


def document_from(data: Mapping[str, Any], label: str = "mapping") -> Document:
    """The document of plain data, as a program or JSON gives it."""
    return _read(from_data(data, label), label)


def _read(root: Node, label: str) -> Document:
    from ckpttool.mapping.language.document_parser import DocumentParser

    parser = DocumentParser()
    document = parser.document(root, label)
    if parser.problems:
        raise MappingError(*parser.problems)
    return document
