"""Write an object-based TF2 checkpoint without TensorFlow.

``tf.train.Checkpoint(model=m).restore(path)`` finds variables by the names of references from the
root, so a tensor's name is such a path: ``model/_operations/1/_kernel`` or the whole checkpoint
key, spelled as in :mod:`ckpttool.formats.tensorflow.object_names`.  What is stored always has the
whole key.  ``save_counter`` is added: ``restore`` wants it.

With a template, which is a TF2 checkpoint of the same model, its object graph is copied: one
variable that several references lead to, and slots.  A name may then take any path to its
variable; what is stored has the template's key.  Variables of the template that are not given are
left out, and TensorFlow's asserts then tell of them.

Some models lose weights in such a checkpoint in silence: see
:mod:`ckpttool.formats.tensorflow.object_tracking`.
Source: ``tensorflow:python/checkpoint/checkpoint.py`` and
``tensorflow:core/protobuf/trackable_object_graph.proto``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ckpttool.errors import OutputError
from ckpttool.formats._file_writer import Refusal, Spec, problem
from ckpttool.formats.locating.located import Located
from ckpttool.formats.tensorflow.bundle_writer import BundleWriter
from ckpttool.formats.tensorflow.object_graph import MAX_NODES
from ckpttool.formats.tensorflow.object_graph_writer import Template, graph_of, read_template
from ckpttool.formats.tensorflow.object_names import (
    VALUE,
    VALUE_SUFFIX,
    ObjectName,
    parse_object_name,
)
from ckpttool.formats.writing import (
    Follow,
    Output,
    Progress,
    Values,
    WriteOptions,
    Written,
    ignore,
)
from ckpttool.names import OBJECT_GRAPH_KEY, nearest, printable
from ckpttool.tensors import dtype_named

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

INDEX = ".index"

_COUNTER = ObjectName(("save_counter",), None, VALUE)
_COUNTED = 1  # what TensorFlow's first save stores
_STRING = dtype_named("string")
_INT64 = dtype_named("int64")


class ObjectWriter:
    """One checkpoint.  Use it as a context; leaving it without :meth:`commit` undoes all."""

    def __init__(
        self, path: str, options: WriteOptions, force: bool, sources: Iterable[str]
    ) -> None:
        """Raises :class:`OutputError` where the output cannot go."""
        self._template = read_template(options.template)
        taken = self._template.files if self._template else ()
        prefix = path.removesuffix(INDEX)
        self._bundle = BundleWriter(prefix, force=force, sources=[*sources, *taken])
        self._names: dict[str, ObjectName] = {}  # by key
        self._given: dict[str, str] = {}  # key to the name that was given
        self._keys: dict[str, str] = {}  # and back
        self._specs: list[Spec] = []
        self._progress: Progress = ignore

    def declare(self, output: Output) -> None:
        """Add a tensor; OUT005 where it can be no variable of a model."""
        spec = (output.name, output.dtype, output.shape)
        if output.name in self._keys:
            raise ValueError(f"{output.name} is declared twice")
        self._refuse(_unfit(spec, self._template))
        name = parse_object_name(output.name)
        key = _key(name, self._template)
        self._refuse(_twice(output.name, key, self._given))
        self._names[key] = name
        self._given[key] = output.name
        self._keys[output.name] = key
        self._specs.append(spec)
        dtype = dtype_named(output.dtype)
        self._bundle.encode(key, dtype.enum, output.shape, self._checked(output))

    def stored_names(self) -> Mapping[str, str]:
        """The key that the file gives each declared name."""
        return dict(self._keys)

    def write(self, progress: Progress = ignore, follow: Follow = ignore) -> None:
        """Stream everything, and then the object graph, into temporary files."""
        self._progress = progress
        for refusal in _check(self._specs, self._template):
            self._refuse(refusal)
        counter = _key(_COUNTER, self._template)
        if counter and counter not in self._names:
            self._names[counter] = _COUNTER
            self._bundle.encode(counter, _INT64.enum, (), _counter)
        if self._template is None:
            graph = graph_of(self._names.values())
        else:
            graph = self._template.with_values(self._names)
        self._bundle.encode(OBJECT_GRAPH_KEY, _STRING.enum, (), _scalar(graph))
        self._bundle.write(follow=follow)

    def staged(self) -> Located:
        """The written files before they are committed, for reading them back."""
        return self._bundle.staged()._replace(format="tf2")

    def flushing(self) -> AbstractContextManager[None]:
        """A context in which the disk takes what is written meanwhile."""
        return self._bundle.flushing()

    def commit(self) -> Written:
        """Give the files their names, the index last."""
        written = self._bundle.commit()
        return Written(written.path, written.files, written.bytes, len(self._keys))

    def __enter__(self) -> ObjectWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bundle.__exit__(kind, error, trace)

    def _refuse(self, refusal: Refusal | None) -> None:
        if refusal is not None:
            raise OutputError(problem(refusal, self._bundle.prefix))

    def _checked(self, output: Output) -> Values:
        """The values, which must be of the dtype that is declared, telling how far they are."""
        wanted = dtype_named(output.dtype)

        def values() -> Iterator[Array]:
            for array in output.values():
                if array.dtype.newbyteorder("=") != wanted.numpy and array.dtype != wanted.numpy:
                    raise ValueError(f"values of {array.dtype} for a tensor of {wanted.name}")
                yield array
                self._progress(array.size * wanted.itemsize)

        return values


def _scalar(text: bytes) -> Values:
    def values() -> Iterator[Array]:
        import numpy as np

        array = np.empty(1, object)
        array[0] = text
        yield array

    return values


def _counter() -> Iterator[Array]:
    import numpy as np

    yield np.array([_COUNTED], np.int64)


def _key(name: ObjectName, template: Template | None) -> str:
    """Where the value is stored; empty if the template has none at that place."""
    return name.key if template is None else template.resolve(name) or ""


def refusals(specs: Sequence[Spec], options: WriteOptions) -> Iterator[Refusal]:
    """For each tensor that can be no variable of the model: its name, why, and what was found."""
    yield from _check(specs, read_template(options.template))


def _check(specs: Sequence[Spec], template: Template | None) -> Iterator[Refusal]:
    known: dict[str, str] = {}
    names: dict[str, ObjectName] = {}
    for spec in specs:
        refusal = _unfit(spec, template)
        if refusal is None:
            name = parse_object_name(spec[0])
            key = _key(name, template)
            refusal = _twice(spec[0], key, known)
            known[key] = spec[0]
            names[spec[0]] = name
        if refusal is not None:
            yield refusal
    owners = {name.path for name in names.values() if name.slot is None}
    for text, name in names.items():
        if template is None and name.slot is not None and name.path not in owners:
            yield text, "the variable that this slot belongs to is not written", printable(text)
    objects = sum(len(name.path) for name in names.values())
    if template is None and objects >= MAX_NODES:
        tree = {name.path[:depth] for name in names.values() for depth in range(len(name.path))}
        if len(tree) + len(names) >= MAX_NODES:
            why = f"too many tensors: with them the object graph has over {MAX_NODES} objects"
            yield specs[-1][0], why, str(len(tree) + len(names))


def _twice(name: str, key: str, known: Mapping[str, str]) -> Refusal | None:
    if key not in known:
        return None
    return name, f"it is the same object as {printable(known[key])}", key


def _unfit(spec: Spec, template: Template | None) -> Refusal | None:
    """Why a tensor, whatever the others are, can be no variable of the model."""
    text, dtype, shape = spec
    if text == OBJECT_GRAPH_KEY:
        return text, "the object graph is written anew: drop this tensor", text
    if dtype_named(dtype).array_type is None:
        return text, f"TensorFlow cannot restore {dtype} into a variable", dtype
    try:
        text.encode()
        name = parse_object_name(text)
    except UnicodeEncodeError:
        return text, "the name is not UTF-8, and the names of objects are", printable(text)
    except ValueError as error:
        return text, str(error), printable(text)
    if template is not None:
        return _misfit(spec, name, template)
    if name == _COUNTER and (dtype, shape) != ("int64", ()):
        return text, "TensorFlow counts saves in a scalar of int64", f"{dtype} {list(shape)}"
    return None


def _misfit(spec: Spec, name: ObjectName, template: Template) -> Refusal | None:
    text, dtype, shape = spec
    key = template.resolve(name)
    if key is None:
        known = [key.removesuffix(VALUE_SUFFIX) for key in template.specs]
        near = nearest(name.key.removesuffix(VALUE_SUFFIX), known, 1)
        also = f"; nearest: {printable(near[0])}" if near else ""
        return text, f"the template has no variable here{also}", printable(text)
    wanted = template.specs[key]
    if (wanted.dtype, wanted.shape) == (dtype, shape):
        return None
    expected = f"{wanted.dtype} {list(wanted.shape)}"
    why = f"the template has {expected} here, and TensorFlow restores nothing else"
    return text, why, f"{dtype} {list(shape)}"


def create(
    path: str,
    *,
    options: WriteOptions = WriteOptions(),  # noqa: B008  # immutable
    force: bool = False,
    sources: Iterable[str] = (),
) -> ObjectWriter:
    """A writer of prefix ``path``; raises :class:`OutputError` where the output cannot go."""
    return ObjectWriter(path, options, force, sources)
