"""The names of saved objects: paths of references from the root, as checkpoint keys spell them.

A name is a checkpoint key, with or without ``/.ATTRIBUTES/VARIABLE_VALUE`` at its end:
``model/_operations/1/_kernel``.  In each part ``.`` is written ``..``, and ``/`` is written
``.S``.  ``model/w/.OPTIMIZER_SLOT/optimizer/m`` is the slot ``m`` that the object ``optimizer``
keeps for the variable ``model/w``.  Source: ``tensorflow:python/trackable/trackable_utils.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from ckpttool.formats.tensorflow.object_graph import MAX_DEPTH

VALUE = "VARIABLE_VALUE"
_ATTRIBUTES = "/.ATTRIBUTES/"
VALUE_SUFFIX = _ATTRIBUTES + VALUE
_SLOT = "/.OPTIMIZER_SLOT/"
_ESCAPES = {"..": ".", ".S": "/"}
_ESCAPE = re.compile(r"\..?", re.DOTALL)

Path = tuple[str, ...]


class SlotName(NamedTuple):
    """A slot: the path of the optimizer that keeps it, and its name there."""

    optimizer: Path
    name: str


class ObjectName(NamedTuple):
    """A saved value.  ``path`` leads to its object; of a slot, to the variable it belongs to."""

    path: Path
    slot: SlotName | None
    attribute: str

    @property
    def key(self) -> str:
        """The checkpoint key that TensorFlow gives a value at this place."""
        head = object_key(self.path)
        if self.slot is not None:
            head += _SLOT + object_key((*self.slot.optimizer, self.slot.name))
        return head + _ATTRIBUTES + _escaped(self.attribute)


def object_key(path: Iterable[str]) -> str:
    """A path as a name spells it."""
    return "/".join(map(_escaped, path))


def parse_object_name(name: str) -> ObjectName:
    """What a name says; raises :class:`ValueError` with the reason why it is no name."""
    head, has_attribute, attribute = name.partition(_ATTRIBUTES)
    owner, has_slot, rest = head.partition(_SLOT)
    path = _path(owner) if owner or not has_attribute else ()
    slot = None
    if has_slot:
        *optimizer, last = _path(rest)
        slot = SlotName(tuple(optimizer), last)
    if len(path) + (len(slot.optimizer) if slot else 0) > MAX_DEPTH:
        raise ValueError(f"more than {MAX_DEPTH} objects deep")
    if not has_attribute:
        return ObjectName(path, slot, VALUE)
    parts = _path(attribute)
    if len(parts) != 1:
        raise ValueError("what follows `.ATTRIBUTES` is more than one name")
    return ObjectName(path, slot, parts[0])


def _path(text: str) -> Path:
    if not all(text.split("/")):
        raise ValueError("a part of the path is empty")
    return tuple(_ESCAPE.sub(_unescaped, part) for part in text.split("/"))


def _unescaped(match: re.Match[str]) -> str:
    found = _ESCAPES.get(match.group())
    if found is None:
        raise ValueError("in the name of an object `.` is written `..`, and `/` is written `.S`")
    return found


def _escaped(part: str) -> str:
    return part.replace(".", "..").replace("/", ".S")
