"""Every tensor once more with TensorFlow, compared byte for byte."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ckpttool.analysis.verify_model import Against, DamagedTensor, damaged
from ckpttool.errors import CkptError, Problem, UsageError
from ckpttool.names import encode_name
from ckpttool.storage.files import is_url
from ckpttool.tensorflow_engine import TensorFlowReader, load_tensorflow
from ckpttool.tensors import TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.checkpoint import Checkpoint
    from ckpttool.formats.base import Chunk

    Array = np.ndarray[Any, Any]

_READ_BY_TENSORFLOW = ("tf-v1", "tf-v2", "tf2", "saved-model", "hub-module")
_INDEX = ".index"


def compare_with_tensorflow(
    checkpoint: Checkpoint,
    skip: frozenset[str],
    begin: Callable[[int], Callable[[int], None]],
) -> Against:
    """Compare all tensors but those to ``skip`` (damaged ones), and the lists of names."""
    info = checkpoint.info
    if info.format not in _READ_BY_TENSORFLOW or not checkpoint.specs:
        raise UsageError(
            Problem(
                "USE003",
                "TensorFlow reads no tensors of this format",
                info.path,
                info.format,
                ", ".join(_READ_BY_TENSORFLOW),
            )
        )
    version = str(load_tensorflow().__version__)
    names = [name for name in checkpoint.specs if name not in skip]
    names = [name for name in names if _decoded(checkpoint.specs[name])]
    if not names:
        return Against("tensorflow", version, 0, (), ())
    differing: list[DamagedTensor] = []
    with tensorflow_prefix(checkpoint) as prefix:
        try:
            other = TensorFlowReader(prefix)
        except CkptError as error:
            return Against("tensorflow", version, 0, (), error.problems)
        faults = _names(checkpoint, other.names())
        advance = begin(sum(checkpoint.specs[name].nbytes for name in names))
        for name in names:
            found = _difference(checkpoint, other, name)
            if found is not None:
                differing.append(damaged(name, found, "differs"))
            advance(checkpoint.specs[name].nbytes)
    return Against("tensorflow", version, len(names), tuple(differing), tuple(faults))


def _decoded(spec: TensorSpec) -> bool:
    return dtype_named(spec.dtype).array_type is not None


@contextmanager
def tensorflow_prefix(checkpoint: Checkpoint) -> Iterator[str]:
    """What TensorFlow calls the checkpoint."""
    info = checkpoint.info
    old = info.format == "tf-v1"
    prefix = info.path if old else info.files[0].removesuffix(_INDEX)
    shards = f"-?????-of-{info.shards:05d}" if old and info.shards > 1 else ""
    if is_url(prefix) or not set(prefix) & set("*?[\\"):
        yield prefix + shards
        return
    # TensorFlow takes a prefix for a pattern: under a plain name it finds the same files.
    with TemporaryDirectory(prefix="ckpttool-") as folder:
        plain = os.path.join(folder, "model")
        for path in info.files:
            with suppress(OSError):  # a shard that is missing is missing there, too
                os.symlink(os.path.abspath(path), plain + path[len(prefix) :])
        yield plain + shards


def _names(checkpoint: Checkpoint, listed: list[str] | None) -> list[Problem]:
    if listed is None:
        return []
    theirs = set(listed)
    ours = {name for name in checkpoint.specs if encode_name(name).isascii() or name in theirs}
    faults = []
    for names, what in (
        (theirs - checkpoint.specs.keys(), "TensorFlow lists tensors that ckpttool does not"),
        (ours - theirs, "ckpttool lists tensors that TensorFlow does not"),
    ):
        if names:
            shown = ", ".join(sorted(names)[:5]) + (", …" if len(names) > 5 else "")
            where = checkpoint.info.path
            faults.append(Problem("INP018", what, where, f"{len(names)}: {shown}"))
    return faults


def _difference(checkpoint: Checkpoint, other: TensorFlowReader, name: str) -> Problem | None:
    spec = checkpoint.specs[name]
    try:
        theirs = other.read(name, spec.dtype)
        if theirs.shape != spec.shape:
            found, expected = str(list(spec.shape)), str(list(theirs.shape))
            return Problem(
                "INP018",
                f"TensorFlow reads {name} in another shape",
                checkpoint.info.path,
                found,
                expected,
            )
        flat = theirs.reshape(-1)
        for chunk in checkpoint.reader.chunks(name):
            place = _unequal(chunk, flat)
            if place is not None:
                what = f"TensorFlow reads other values in tensor {name}"
                found = f"element {place}"
                return Problem("INP018", what, checkpoint.info.path, found)
    except CkptError as error:
        return error.problems[0]
    return None


def _unequal(chunk: Chunk, flat: Array) -> int | None:
    """The flat index of the first element whose bytes differ; None if all are equal."""
    import numpy as np

    ours, theirs = chunk.array, flat[chunk.start : chunk.start + len(chunk.array)]
    if ours.dtype == object:
        same = np.fromiter(
            (a == b for a, b in zip(ours.tolist(), theirs.tolist(), strict=True)), bool, len(ours)
        )
    else:
        left, right = _bytes(ours), _bytes(theirs)
        if left.nbytes != right.nbytes:
            return chunk.start
        same = (left == right).reshape(len(ours), -1).all(axis=1) if len(ours) else left == right
    wrong = np.flatnonzero(~same)
    return chunk.start + int(wrong[0]) if len(wrong) else None


def _bytes(array: Array) -> Array:
    """The elements' bytes; types of few bits may differ in the bits that they do not use."""
    import numpy as np

    if array.dtype.name in ("int4", "uint4", "int2", "uint2"):
        array = array.astype(np.int8)
    return np.ascontiguousarray(array).view(np.uint8)
