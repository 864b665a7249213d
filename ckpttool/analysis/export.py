"""Tensors to ``.npy`` (one) and ``.npz`` (several), streamed and without loss.

What NumPy's format cannot hold is refused rather than changed: bfloat16, float8 and int4 go in as
float32 where the call says so (every value of theirs is exact in it), strings as ``S`` where none
ends in a zero byte, which that type would drop.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from ckpttool.analysis.slicing import (
    Selection,
    read_selected,
    resolve,
    sliced_shape,
)
from ckpttool.errors import OutputError, Problem, UsageError
from ckpttool.storage.atomic import OutputGroup, Staged, cannot_write
from ckpttool.tensors import Shape, TensorSpec, dtype_named

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.checkpoint import Checkpoint

    Array = np.ndarray[Any, Any]

_NATIVE = frozenset(("float16", "float32", "float64", "complex64", "complex128", "bool"))
_NATIVE_KINDS = frozenset(("int", "uint", "quantized"))
_STRING_CAP = 1 << 28  # bytes of a string tensor as ``S``: one long string widens all of them
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same input gives the same bytes


@dataclass(frozen=True)
class Exported:
    """What was written: the path, the labels of the tensors in it, and its size in bytes."""

    path: str
    labels: tuple[str, ...]
    bytes: int


def export(
    checkpoint: Checkpoint,
    selections: Sequence[Selection],
    path: str,
    *,
    as_float32: bool = False,
    force: bool = False,
) -> Exported:
    """Write tensors, or slices of them, to ``path``; nothing is left behind on failure.

    An ``.npz`` holds each under its name, a slice under ``name[slice]``.  Raises
    :class:`OutputError` (OUT001, OUT002, OUT005), :class:`UsageError` for another ending, and what
    reading raises: a damaged tensor is not exported.
    """
    ending = os.path.splitext(path)[1].lower()
    if ending not in (".npy", ".npz"):
        problem = Problem("USE003", "--out takes a .npy or .npz file", path)
        raise UsageError(problem)
    if not selections:
        raise UsageError(Problem("USE003", "no tensor to write is left", path))
    if ending == ".npy" and len(selections) != 1:
        raise UsageError(
            Problem(
                "USE003",
                "a .npy file holds exactly one tensor",
                path,
                f"{len(selections)} tensors",
                hint="name one tensor, or write an .npz file",
            )
        )
    _check(checkpoint, selections, path, as_float32, archive=ending == ".npz")
    with OutputGroup([path], force=force, sources=checkpoint.info.files) as group:
        staged = group.stage(path)
        if ending == ".npy":
            _write_array(checkpoint, selections[0], as_float32, staged.write)
        else:
            _write_archive(checkpoint, selections, as_float32, staged)
        size = os.fstat(staged.fileno()).st_size
        group.commit()
    return Exported(path, tuple(item.label for item in selections), size)


def _check(
    checkpoint: Checkpoint,
    selections: Sequence[Selection],
    path: str,
    as_float32: bool,
    *,
    archive: bool,
) -> None:
    """Refuse, all at once, what the file cannot hold, before a byte is written."""
    problems = []
    labels = {item.label for item in selections}
    for item in selections:
        spec = checkpoint.specs[item.name]
        dtype = dtype_named(spec.dtype)
        if dtype.array_type is None:
            message = f"{item.label} is of dtype {spec.dtype}, which cannot be decoded"
            problems.append(Problem("OUT005", message, path))
        elif dtype.kind != "string" and not _is_native(spec.dtype) and not as_float32:
            problems.append(
                Problem(
                    "OUT005",
                    f"NumPy files cannot hold {spec.dtype}: {item.label}",
                    path,
                    spec.dtype,
                    hint="--as-float32 converts it; every value is exact in float32",
                )
            )
        if archive and not _is_member_name(item.label):
            message = f"{item.label} cannot be the name of an archive's member"
            problems.append(Problem("OUT005", message, path))
        if archive and item.label + ".npy" in labels:
            # NumPy takes the member `x.npy` (of `x`) for both names.
            message = f"{item.label} and {item.label}.npy cannot be in one archive"
            problems.append(Problem("OUT005", message, path))
    if problems:
        raise OutputError(*problems)


def _is_native(dtype: str) -> bool:
    row = dtype_named(dtype)
    low_bits = row.array_type in ("int4", "uint4", "int2", "uint2")
    return dtype in _NATIVE or (row.kind in _NATIVE_KINDS and not low_bits)


def _is_member_name(label: str) -> bool:
    """Whether a zip member may be called so: valid UTF-8, no NUL, and no way out of a folder."""
    try:
        encoded = label.encode()
    except UnicodeEncodeError:
        return False
    parts = label.split("/")
    return b"\0" not in encoded and len(encoded) < 60_000 and ".." not in parts and parts[0] != ""


def _write_archive(
    checkpoint: Checkpoint, selections: Sequence[Selection], as_float32: bool, staged: Staged
) -> None:
    descriptor = os.dup(staged.fileno())
    try:
        with (
            os.fdopen(descriptor, "w+b") as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
        ):
            for item in selections:
                member = zipfile.ZipInfo(item.label + ".npy", _EPOCH)
                with archive.open(member, "w", force_zip64=True) as out:
                    _write_array(checkpoint, item, as_float32, out.write)
    except OSError as error:
        raise cannot_write(staged.final, error) from error


def _write_array(
    checkpoint: Checkpoint,
    item: Selection,
    as_float32: bool,
    write: Callable[[Any], object],
) -> None:
    """The ``.npy`` header, then the elements piece by piece."""
    import numpy as np

    spec = checkpoint.specs[item.name]
    shape = spec.shape
    if item.index is not None:
        shape = sliced_shape(resolve(item.index, spec.shape, item.name), spec.shape)
    if dtype_named(spec.dtype).kind == "string":
        array = _fixed_strings(checkpoint, item, spec)
        _header(write, array.dtype, array.shape)
        write(array.tobytes())
        return
    convert = as_float32 and not _is_native(spec.dtype)
    dtype = np.dtype(np.float32) if convert else dtype_named(spec.dtype).numpy
    _header(write, dtype, shape)
    for piece in _pieces(checkpoint, item, spec):
        stored = np.ascontiguousarray(piece.astype(dtype) if convert else piece)
        write(stored.reshape(-1).view(np.uint8).data)


def _pieces(checkpoint: Checkpoint, item: Selection, spec: TensorSpec) -> Iterator[Array]:
    if item.index is not None:
        axes = resolve(item.index, spec.shape, item.name)
        yield read_selected(checkpoint.reader, spec, axes)
        return
    for chunk in checkpoint.reader.chunks(item.name):
        yield chunk.array


def _header(write: Callable[[Any], object], dtype: np.dtype[Any], shape: Shape) -> None:
    from numpy.lib import format as npy

    described = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    buffer: IO[bytes] = io.BytesIO()
    npy.write_array_header_1_0(buffer, described)
    buffer.seek(0)
    write(buffer.read())


def _fixed_strings(checkpoint: Checkpoint, item: Selection, spec: TensorSpec) -> Array:
    """The strings as ``S``; OUT005 where that would change one, or be out of all proportion."""
    import numpy as np

    pieces = list(_pieces(checkpoint, item, spec))
    strings = [text for piece in pieces for text in piece.reshape(-1)]
    shape = spec.shape
    if item.index is not None:
        shape = sliced_shape(resolve(item.index, spec.shape, item.name), spec.shape)
    longest = max(map(len, strings), default=1)
    reason = None
    if any(text.endswith(b"\0") for text in strings):
        reason = "a string ends in a zero byte, which NumPy files drop"
    elif longest * len(strings) > _STRING_CAP:
        reason = "its longest string makes the others too wide"
    if reason is not None:
        raise OutputError(Problem("OUT005", f"NumPy files cannot hold {item.label}: {reason}"))
    fixed: Array = np.array(strings, f"S{max(1, longest)}").reshape(shape)
    return fixed
