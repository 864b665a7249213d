"""Mapping files in mapping files: found, read once each, and bounded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.document import (
    Document,
    IncludeNode,
    RuleNode,
    Scalar,
    Text,
    load_document,
)
from ckpttool.mapping.language.library import built_in
from ckpttool.mapping.language.parameters import Scope
from ckpttool.names import nearest

MAX_DEPTH = 8
MAX_RULES = 200_000  # of a file with all that it includes
MAX_FILES = 100


class Scoped(NamedTuple):
    """A rule, and the parameters that it may use."""

    node: RuleNode
    scope: Scope


class Expanded(NamedTuple):
    """A document with everything that it includes, in order.

    ``assumes`` and ``caveats`` are those of all files; the including file's own win.
    """

    document: Document
    scope: Scope
    rules: tuple[Scoped, ...]
    assign: tuple[tuple[Text, Text, Scope], ...]
    assumes: tuple[tuple[str, Scalar, Scope], ...]
    caveats: tuple[str, ...]
    files: tuple[Document, ...]


def expand(document: Document, fixed: Mapping[str, Scalar]) -> Expanded:
    """Read the files that a document includes.  ``fixed`` are parameters given from outside.

    Raises :class:`MappingError`: MAP006 for a file that is not there, MAP016 for one that may not
    be included, and whatever is wrong in those files.
    """
    reading = _Reading()
    scope = Scope(document.label, document.params, fixed=fixed)
    reading.add(document, scope, ())
    if reading.problems:
        raise MappingError(*reading.problems)
    assumes: dict[str, tuple[Scalar, Scope]] = {}
    for file, inner in reading.files:
        for name, value in file.assumes.items():
            assumes.setdefault(name, (value, inner))
    return Expanded(
        document,
        scope,
        tuple(reading.rules),
        tuple(reading.assign),
        tuple((name, *pair) for name, pair in assumes.items()),
        tuple(dict.fromkeys(text for file, _ in reading.files for text in file.caveats)),
        tuple(file for file, _ in reading.files),
    )


class _Reading:
    """Collects the rules of nested files."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.rules: list[Scoped] = []
        self.assign: list[tuple[Text, Text, Scope]] = []
        self.files: list[tuple[Document, Scope]] = []
        self._known: dict[str, Document] = {}

    def add(self, document: Document, scope: Scope, above: tuple[str, ...]) -> None:
        """A file's own rules, with the included ones where they stand."""
        self.files.append((document, scope))
        for item in document.rules:
            if isinstance(item, IncludeNode):
                self._include(document, item, scope, above)
            else:
                self.rules.append(Scoped(item, scope))
        for item in document.includes:
            self._include(document, item, scope, above)
        self.assign += [(old, new, scope) for old, new in document.assign]

    def _include(
        self, document: Document, node: IncludeNode, scope: Scope, above: tuple[str, ...]
    ) -> None:
        try:
            path, label = _find(document, node.file)
            chain = (*above, *([os.path.realpath(document.path)] if document.path else []))
            if os.path.realpath(path) in chain:
                raise _refused("a file includes itself", node.file)
            if len(chain) > MAX_DEPTH or len(self.files) > MAX_FILES:
                found = f"{len(self.files)} files, {len(chain)} deep"
                most = f"≤ {MAX_FILES} files, {MAX_DEPTH} deep"
                raise _too_many("too many files include one another", node.file, found, most)
            inner = self._load(path, label)
            for name, _ in node.params:
                if name.text not in inner.params:
                    message = f"{label} has no parameter {name.text}"
                    known = ", ".join(inner.params) or "none"
                    self.problems.append(Problem("MAP004", message, name.where, expected=known))
        except MappingError as error:
            self.problems += error.problems
            return
        self.add(inner, Scope(label, inner.params, node.params, scope, scope.fixed), chain)
        if len(self.rules) > MAX_RULES:
            found, most = str(len(self.rules)), f"≤ {MAX_RULES}"
            raise _too_many("too many rules are included", node.file, found, most)

    def _load(self, path: str, label: str) -> Document:
        if path not in self._known:
            self._known[path] = _loaded(path, label)
        return self._known[path]


def _loaded(path: str, label: str) -> Document:
    """The document; a built-in one is read once in a process, however many files include it."""
    if path in built_in().values():
        state = os.stat(path)
        return _kept(path, label, state.st_size, state.st_mtime_ns)
    return load_document(path, label)


@lru_cache(maxsize=64)
def _kept(path: str, label: str, size: int, changed: int) -> Document:
    return load_document(path, label)


def _find(document: Document, file: Text) -> tuple[str, str]:
    """Path and label: a file below the including one's folder, or a built-in one."""
    known = built_in()
    if document.path is not None:
        folder = os.path.dirname(os.path.abspath(document.path))
        path = os.path.join(folder, file.text)
        if os.path.isfile(path):
            inside = os.path.realpath(folder)
            if os.path.commonpath([inside, os.path.realpath(path)]) != inside:
                raise _refused("an included file lies below the folder of its includer", file)
            return path, _beside(document.label, file.text)
    if file.text in known:
        return known[file.text], "mappings/" + os.path.basename(known[file.text])
    close = nearest(file.text, known, 2)
    hint = f"nearest: {', '.join(close)}" if close else f"built in: {', '.join(known)}"
    message = "no mapping file of this path or name"
    raise MappingError(Problem("MAP006", message, file.where, file.text, hint=hint))


def _beside(label: str, name: str) -> str:
    folder = os.path.dirname(label)
    return f"{folder}/{name}" if folder else name


def _refused(message: str, file: Text) -> MappingError:
    return MappingError(Problem("MAP016", message, file.where, file.text))


def _too_many(message: str, file: Text, found: str, expected: str) -> MappingError:
    return MappingError(Problem("MAP007", message, file.where, found, expected))
