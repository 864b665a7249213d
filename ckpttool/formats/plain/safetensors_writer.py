"""Write ``.safetensors``, in one file or in shards with an ``.index.json``.

A tensor's name is its key.  The bytes are those that the safetensors library writes: tensors by
falling alignment, then by name, behind a header that is padded to 8 bytes.  Metadata are texts in
``__metadata__``; ``format`` is ``pt`` unless they say otherwise, since Hugging Face's loaders
refuse a file without it.

An output of more than ``max_shard_bytes`` becomes ``x-00001-of-0000N.safetensors`` and so on, and
``x.safetensors.index.json``, as Hugging Face splits it: tensors keep their order, and one that is
larger than a shard has a file to itself.  Source: ``huggingface/safetensors:safetensors/src/
tensor.rs``, ``huggingface/huggingface_hub:src/huggingface_hub/serialization/_base.py``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ckpttool.errors import OutputError, Problem
from ckpttool.formats._file_writer import (
    FilePlan,
    FileWriter,
    Refusal,
    Spec,
    nbytes,
    write_tensor,
)
from ckpttool.formats.locating.sniff import SAFETENSORS_HEADER_CAP
from ckpttool.formats.plain.safetensors import DTYPES, METADATA
from ckpttool.formats.writing import Follow, Output, Progress, WriteOptions
from ckpttool.names import printable
from ckpttool.storage.atomic import Staged
from ckpttool.storage.files import files_for, is_url, join, split

SUFFIX = ".safetensors"
INDEX = ".safetensors.index.json"

# The library's order of dtypes, which decides where tensors lie.
_ORDER = (
    "U64", "I64", "F64", "C64", "F32", "U32", "I32", "BF16", "F16", "U16", "I16",
    "F8_E5M2FNUZ", "F8_E4M3FNUZ", "F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL",
)  # fmt: skip
_STORED = {name: stored for stored, name in DTYPES.items()}
_ALIGNMENT = 8
_WIDER = {"complex128": "complex64", "float8_e4m3b11fnuz": "float16"}


class SafetensorsWriter(FileWriter):
    """One ``.safetensors``, or shards and their map."""

    format = "safetensors"
    suffix = SUFFIX

    def plans(self, outputs: Sequence[Output]) -> list[FilePlan]:
        """One file, or shards of at most the given size and then their map."""
        metadata = _metadata(self.options)
        limit = self.options.max_shard_bytes
        total = sum(map(nbytes, outputs))
        if limit is None or total <= limit:
            return [self._file(self.path, outputs, metadata)]
        shards = list(_shards(outputs, limit))
        directory, base = split(self.path)
        plans = []
        weight_map: dict[str, str] = {}
        for number, shard in enumerate(shards, 1):
            name = f"{base.removesuffix(SUFFIX)}-{number:05d}-of-{len(shards):05d}{SUFFIX}"
            plans.append(self._file(join(directory, name), shard, metadata))
            weight_map.update((output.name, name) for output in shard)
        document = {"metadata": {"total_size": total, **metadata}, "weight_map": weight_map}
        text = _json(document, indent=2) + b"\n"
        plans.append(FilePlan(self._index_path(), lambda staged, *_: staged.write(text)))
        return plans

    def stale(self) -> list[str]:
        """The map and shards of any earlier output of this name."""
        if is_url(self.path):
            return []
        directory, base = split(self.path)
        stem = re.escape(base.removesuffix(SUFFIX))
        older = re.compile(
            stem + r"(-[0-9]{5,}-of-[0-9]{5,}\.safetensors|\.safetensors\.index\.json)\Z"
        )
        names = files_for(self.path).names(directory)
        return [join(directory, name) for name in sorted(names) if older.match(name)]

    def _index_path(self) -> str:
        return self.path.removesuffix(SUFFIX) + INDEX

    def _file(self, final: str, outputs: Sequence[Output], metadata: dict[str, str]) -> FilePlan:
        ordered = sorted(outputs, key=lambda output: (_rank(output.dtype), output.name))
        header = _header(ordered, metadata)
        if len(header) - 8 > SAFETENSORS_HEADER_CAP:
            found, most = f"{len(header) - 8} bytes", f"≤ {SAFETENSORS_HEADER_CAP} bytes"
            hint = "split the output with --max-shard-size, or shorten the names"
            message = "the names and shapes of one file take more than its header may hold"
            raise OutputError(Problem("OUT005", message, final, found, most, hint))

        def write(staged: Staged, progress: Progress, follow: Follow) -> None:
            staged.reserve(len(header) + sum(map(nbytes, ordered)))
            staged.write(header)
            for output in ordered:
                write_tensor(staged, output, progress, follow)

        return FilePlan(final, write)


def _header(ordered: Sequence[Output], metadata: dict[str, str]) -> bytes:
    """The length and the JSON, padded so that the tensors begin at a multiple of 8."""
    document: dict[str, Any] = {METADATA: metadata}
    at = 0
    for output in ordered:
        end = at + nbytes(output)
        document[output.name] = {
            "dtype": _STORED[output.dtype], "shape": list(output.shape), "data_offsets": [at, end],
        }  # fmt: skip
        at = end
    text = _json(document)
    text += b" " * (-len(text) % _ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def _json(document: dict[str, Any], indent: int | None = None) -> bytes:
    import json

    separators = None if indent else (",", ":")
    return json.dumps(
        document, ensure_ascii=False, indent=indent, separators=separators
    ).encode()  # fmt: skip


def _metadata(options: WriteOptions) -> dict[str, str]:
    """The texts, sorted; what is no text in a path is escaped."""
    texts = {"format": "pt", **options.metadata}
    return {_text(name): _text(texts[name]) for name in sorted(texts)}


def _text(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def _rank(dtype: str) -> int:
    return _ORDER.index(_STORED[dtype])


def _shards(outputs: Sequence[Output], limit: int) -> Iterator[list[Output]]:
    """Tensors in their order, as many to a file as fit; too large ones are alone."""
    shard: list[Output] = []
    size = 0
    for output in outputs:
        more = nbytes(output)
        if more > limit:
            yield [output]
            continue
        if shard and size + more > limit:
            yield shard
            shard, size = [], 0
        shard.append(output)
        size += more
    if shard:
        yield shard


def refusals(specs: Sequence[Spec], options: WriteOptions) -> Iterator[Refusal]:
    """For each tensor that safetensors cannot hold: its name, why, and what was found."""
    for name, dtype, _ in specs:
        if dtype not in _STORED:
            yield name, _no_type(dtype), dtype
        elif name == METADATA:
            yield name, "this name is the metadata's", name
        elif not _is_text(name):
            yield name, "the name is not UTF-8, and safetensors' names are", printable(name)


def _no_type(dtype: str) -> str:
    if dtype == "string":
        return "safetensors has no strings"
    wider = _WIDER.get(dtype)
    return f"safetensors has no type for {dtype}" + (f"; cast it, to {wider} say" if wider else "")


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def create(
    path: str,
    *,
    options: WriteOptions = WriteOptions(),  # noqa: B008  # immutable
    force: bool = False,
    sources: Iterable[str] = (),
) -> SafetensorsWriter:
    """A writer of ``path``; raises :class:`OutputError` where the output cannot go."""
    return SafetensorsWriter(path, options, force, sources, refusals)
