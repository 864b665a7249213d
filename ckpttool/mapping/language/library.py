"""The mapping files that come with the package, and finding one by path or by name."""

from __future__ import annotations

import os

import ckpttool
from ckpttool.errors import MappingError, Problem
from ckpttool.names import nearest

_SUFFIXES = (".yaml", ".yml", ".json")


def library_dir() -> str | None:
    """The folder of built-in mapping files: installed with the package, or of the repository."""
    package = os.path.dirname(ckpttool.__file__)
    for folder in (
        os.path.join(package, "_mappings"),
        os.path.join(os.path.dirname(package), "mappings"),
    ):
        if os.path.isdir(folder):
            return folder
    return None


def built_in() -> dict[str, str]:
    """Names of the built-in mapping files with their paths, sorted."""
    folder = library_dir()
    if folder is None:
        return {}
    return {
        os.path.splitext(name)[0]: os.path.join(folder, name)
        for name in sorted(os.listdir(folder))
        if name.endswith(_SUFFIXES)
    }


def find_mapping(name: str) -> tuple[str, str]:
    """Path, and name for messages, of the mapping file that ``name`` means.

    ``name`` is a path, or the bare name of a built-in one; raises MAP006.
    """
    if os.path.isfile(name):
        return name, name
    known = built_in()
    if name in known:
        return known[name], "mappings/" + os.path.basename(known[name])
    if os.path.isdir(name):
        raise MappingError(Problem("MAP006", "a folder is no mapping file", name))
    close = nearest(name, known, 2)
    hint = f"nearest: {', '.join(close)}" if close else f"built in: {', '.join(known)}"
    raise MappingError(Problem("MAP006", "no mapping file of this path or name", name, hint=hint))
