"""What a target has to hold: its variables' keys, names, dtypes and shapes.

A template is read from a file that the target's own framework wrote, or from a live model.  It
knows what people call a variable (``dense_1/kernel``) and what the file calls it
(``layers/dense/vars/0``); the one is looked up, never computed from the other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import MappingError, Problem
from ckpttool.names import nearest
from ckpttool.storage.files import files_for
from ckpttool.tensors import Shape

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.live.models import Folder

MAX_VARIABLES = 1_000_000
_CALLABLE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*\Z")
_LISTED = 8  # candidates that a message lists


class TargetVariable(NamedTuple):
    """One variable of the target.

    ``key`` is its name in the target's file; ``names`` are what else it is called, the best one
    first.  What is not ``required`` (optimizer state, counters) a loader does without.  ``kind``
    is the class of the layer that has it, "" where that is not known.
    """

    key: str
    names: tuple[str, ...]
    dtype: str
    shape: Shape
    required: bool = True
    kind: str = ""

    @property
    def name(self) -> str:
        """What people call it; the key where it has no other name."""
        return self.names[0] if self.names else self.key


class Template:
    """The variables of a target.

    ``kind`` is the name of its reader's row in the table of formats (``keras``, ``tf2``, …),
    ``path`` what a message calls it, and ``file`` a file of that format for writers that need
    one.  ``ordered`` says that the variables stand in the order of the model's layers.
    """

    def __init__(
        self,
        variables: Iterable[TargetVariable],
        *,
        kind: str,
        path: str,
        file: str | None = None,
        ordered: bool = False,
        notices: Sequence[Problem] = (),
        keep: Folder | None = None,
    ) -> None:
        """``keep`` is the temporary folder of ``file``, where it is in one."""
        self.variables = tuple(variables)
        self.kind = kind
        self.path = path
        self.file = file
        self.ordered = ordered
        self.notices = tuple(notices)
        self._keep = keep
        self.by_key: Mapping[str, TargetVariable] = {item.key: item for item in self.variables}
        self._first: dict[str, list[str]] = {}
        self._other: dict[str, list[str]] = {}
        for item in self.variables:
            for number, name in enumerate(dict.fromkeys(item.names)):
                index = self._other if number else self._first
                index.setdefault(name, []).append(item.key)

    def close(self) -> None:
        """Remove a temporary ``file``; it goes with the template at the latest."""
        if self._keep is not None:
            self._keep.cleanup()

    def __enter__(self) -> Template:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def resolve(self, text: str) -> str | None:
        """The key that ``text`` stands for; None for an unknown name and for an ambiguous one.

        A key is itself.  A trailing ``:0`` and a leading ``/`` make no difference.
        """
        found = self.candidates(text)
        return found[0] if len(found) == 1 else None

    def candidates(self, text: str) -> tuple[str, ...]:
        """All keys that ``text`` may stand for: none, one, or several where it is ambiguous."""
        for name in dict.fromkeys((text, text.removesuffix(":0").removeprefix("/"))):
            if name in self.by_key:
                return (name,)
            # What is one variable's best name is not another's by a short form.
            found = self._first.get(name) or self._other.get(name)
            if found:
                return tuple(found)
        return ()

    def nearest(self, text: str, count: int = 3) -> list[str]:
        """Names that look most like ``text``, as people call them."""
        names = {item.name: None for item in self.variables}
        return nearest(text, names or list(self.by_key), count)

    def problem(self, text: str, where: str | None = None, *, near: bool = True) -> Problem:
        """MAP031 about a text that stands for no variable, or for several.

        With ``near`` the hint names what looks like it.
        """
        found = self.candidates(text)
        if len(found) > 1:
            listed = ", ".join(f"{self.by_key[key].name} ({key})" for key in found[:_LISTED])
            more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
            hint = "write one of these"
            message = f"{text} may be any of {len(found)} variables of {self.path}"
            return Problem("MAP031", message, where, listed + more, hint=hint)
        message = f"{self.path} has no variable {text}"
        place = text.rpartition("/")[0] + "/vars/0"
        if self.candidates(place):
            told = f"write {place} and so on; a .keras archive or the model itself says the names"
            return Problem("MAP031", message, where, text, "a layer without names here", told)
        names = ", ".join(self.nearest(text)) if near else ""
        return Problem(
            "MAP031", message, where, text, hint=f"did you mean {names}?" if names else None
        )


def load_template(text: str) -> Template:
    """The template that ``text`` names: any readable file, or ``package.module:callable``.

    Raises :class:`InputError` for a file that cannot be read and :class:`ExtraMissingError`
    (EXT001) where a live model needs a framework that is not installed.
    """
    if _CALLABLE.match(text) and not files_for(text).is_file(text):
        from ckpttool.live.models import call_model

        return live_template(call_model(text), text)
    from ckpttool.checkpoint import open_checkpoint

    with open_checkpoint(text) as checkpoint:
        return checkpoint_template(checkpoint)


def live_template(model: Any, label: str = "the model") -> Template:
    """The template of a live Keras 3, tf_keras or ``tf.Module`` model.

    Its own framework saves it into a temporary folder; what it saved is read.
    """
    from ckpttool.live.models import save_model

    saved = save_model(model, label)
    from ckpttool.checkpoint import open_checkpoint

    with open_checkpoint(saved.path) as checkpoint:
        found = checkpoint_template(checkpoint, saved.config)
    return Template(
        found.variables,
        kind=found.kind,
        path=label,
        file=saved.path,
        ordered=found.ordered,
        notices=found.notices,
        keep=saved.folder,
    )


def checkpoint_template(
    checkpoint: Checkpoint, config: Mapping[str, Any] | None = None
) -> Template:
    """The template of an open checkpoint; ``config`` is the model's configuration as data."""
    info = checkpoint.info
    if checkpoint.damage():
        raise MappingError(*checkpoint.damage())
    if info.format in ("keras", "keras-archive"):
        from ckpttool.mapping.like.keras import keras_variables as variables_of
    elif info.format == "keras-h5":
        from ckpttool.mapping.like.plain import legacy_variables as variables_of
    elif checkpoint.objects is not None:
        from ckpttool.mapping.like.plain import object_variables as variables_of
    else:
        from ckpttool.mapping.like.plain import plain_variables as variables_of
    variables, ordered = variables_of(checkpoint, config)
    return Template(
        variables,
        kind=info.format,
        path=info.path,
        file=info.path,
        ordered=ordered,
        notices=checkpoint.notices(),
    )
