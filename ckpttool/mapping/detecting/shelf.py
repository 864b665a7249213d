"""The mapping files to choose from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from ckpttool.errors import CkptError, MappingError, Problem
from ckpttool.mapping.language.document import Document, Scalar, load_document
from ckpttool.mapping.language.includes import expand
from ckpttool.mapping.language.library import built_in, find_mapping
from ckpttool.mapping.language.rules import compile_rules
from ckpttool.mapping.language.ruleset import RuleSet

_SUFFIXES = (".yaml", ".yml", ".json")
_MAX_FILES = 1000  # of one folder
_MAX_SIZE = 1 << 20  # bytes of a file there


class Shelved(NamedTuple):
    """A mapping file: ``name`` is what `-m` takes, ``params`` have 1 where one must be given.

    ``choices`` are the values that conditions of its rules ask of a parameter, without the default.
    """

    name: str
    document: Document
    params: Mapping[str, Scalar]
    rules: RuleSet
    choices: Mapping[str, tuple[Scalar, ...]]

    def compiled(self, params: Mapping[str, Scalar]) -> RuleSet:
        """The rules with these parameters."""
        return (
            self.rules
            if not params
            else compile_rules(self.document, params={**self.params, **params})
        )

    @property
    def required(self) -> list[str]:
        """The parameters that have to be given."""
        return list(self.params)

    @property
    def scoped(self) -> bool:
        """Whether its parameter ``scope`` is a scope with its slash, or none."""
        default = self.document.params.get("scope", 0)
        return isinstance(default, str) and (not default or default.endswith("/"))

    @property
    def status(self) -> str | None:
        """What its proof says, None where it has none."""
        proof: Any = self.document.free.get("proof")
        status = proof.get("status") if isinstance(proof, dict) else None
        return status if isinstance(status, str) else None

    @property
    def renames(self) -> bool:
        """Whether names that it does not know stay as they are: it is no whole migration."""
        kept = self.document.unmatched
        return kept is not None and kept.text == "keep"


def shelve(also: Sequence[str], problems: list[Problem]) -> Iterator[Shelved]:
    """The built-in files, then those of ``also``: files, built-in names or folders.

    A file of a folder that cannot be used is told in ``problems``; one that was named raises
    :class:`MappingError`.
    """
    known, wrong = _built_in(_state())
    yield from known
    problems += wrong
    for name in also:
        if not os.path.isdir(name):
            yield _shelved(name, load_document(*find_mapping(name)))
            continue
        for path in _files(name, problems):
            try:
                yield _shelved(path, load_document(path, path))
            except CkptError as error:
                problems += error.problems[:1]  # it may be no mapping file at all


State = tuple[tuple[str, str, int, int], ...]


def _state() -> State:
    """Names and paths of the built-in files, and what changes with them."""
    found = []
    for name, path in built_in().items():
        status = os.stat(path)
        found.append((name, path, status.st_size, status.st_mtime_ns))
    return tuple(found)


@lru_cache(maxsize=1)
def _built_in(state: State) -> tuple[tuple[Shelved, ...], tuple[Problem, ...]]:
    """The built-in files, compiled once in a process as long as none of them changes."""
    found: list[Shelved] = []
    problems: list[Problem] = []
    for name, path, _, _ in state:
        try:
            found.append(_shelved(name, load_document(path, f"mappings/{name}.yaml")))
        except MappingError as error:
            problems += error.problems
    return tuple(found), tuple(problems)


def _files(folder: str, problems: list[Problem]) -> list[str]:
    """The mapping files of a folder, sorted."""
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(_SUFFIXES))
        found = [path for name in names if os.path.isfile(path := os.path.join(folder, name))]
        sizes = {path: os.path.getsize(path) for path in found}
    except OSError as error:
        message = "the folder cannot be read"
        raise MappingError(Problem("MAP006", message, folder, error.strerror)) from error
    if len(found) > _MAX_FILES:
        count = f"{len(found)} files"
        problem = Problem("MAP007", "too many mapping files", folder, count, str(_MAX_FILES))
        raise MappingError(problem)
    for path, size in sizes.items():
        if size > _MAX_SIZE:
            hint = "name the file itself"
            message, most = "too large to be tried among others", f"≤ {_MAX_SIZE}"
            problems.append(Problem("MAP007", message, path, f"{size} bytes", most, hint))
    return [path for path, size in sizes.items() if size <= _MAX_SIZE]


def _shelved(name: str, document: Document) -> Shelved:
    required: dict[str, Scalar] = {
        key: 1 for key, value in document.params.items() if value is None
    }
    rules = compile_rules(document, params=required)
    return Shelved(name, document, required, rules, _choices(document))


def _choices(document: Document) -> dict[str, tuple[Scalar, ...]]:
    found: dict[str, dict[str, Scalar]] = {}
    for scoped in expand(document, {}).rules:
        for condition in scoped.node.when:
            name = condition.text.text
            if condition.kind == "param" and name in document.params:
                values = found.setdefault(name, {})
                values.update((str(item).lower(), item) for item in condition.values)
    for name, values in found.items():
        values.pop(str(document.params[name]).lower(), None)
    return {name: tuple(values.values()) for name, values in found.items() if values}
