"""Every small sample cut short and with bits flipped, at places chosen the same way each time.

Whatever happens to a file, a tensor is either refused with a :class:`CkptError` or read as it was;
a graph may tell less, and what it tells of the tensors stays so.  All of it within a bounded
address space.  Below that, the parsers are fed bytes that no writer made.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.analysis.scopes import build
from ckpttool.analysis.tree import tree
from ckpttool.checkpoint import Checkpoint, open_checkpoint
from ckpttool.errors import CkptError
from ckpttool.formats.tensorflow.object_graph import parse_object_graph
from ckpttool.formats.tensorflow.ordered_code import decode_slice_key
from ckpttool.formats.tensorflow.table import MemoryFile, Table
from ckpttool.formats.tensorflow.table_writer import write_table
from ckpttool.formats.tensorflow.tensor_proto import decode_tensor
from ckpttool.graph.initializers import describe
from ckpttool.graph.metagraph import parse_graphs
from ckpttool.graph.textproto import TextError, encode_text
from ckpttool.graph.variables import variables
from ckpttool.storage.wire import WireError, encode_bytes_field, fields, packed_varints

FOLDER = Path(__file__).resolve().parent.parent / "sample_ckpts"
MANIFEST = json.loads((FOLDER / "MANIFEST.json").read_text("utf-8"))
FORMATS = ("tf-v2", "tf2", "tf-v1", "saved-model", "hub-module", "meta-graph")
SAMPLES = sorted({item["path"] for item in MANIFEST["samples"] if item["format"] in FORMATS})
DATA_MUTATIONS = 20  # of each file of each sample: half cuts, half flips
GRAPH_MUTATIONS = 8
LARGE_GRAPH = 200_000  # bytes
ROOM = 1 << 30  # bytes of address space above what the tests take anyway
MOST_RESIDENT = 300 << 20  # bytes of memory above that

Values = dict[str, tuple[str, tuple[int, ...], bytes]]


class Outcome(NamedTuple):
    """What one opening gave; ``values`` leaves out what was refused."""

    names: list[tuple[str, str, Any]]
    values: Values
    damaged: bool


@pytest.fixture(autouse=True)
def _bounded_memory() -> Iterator[None]:
    resource = pytest.importorskip("resource", reason="no limits on memory here")
    if sys.platform != "linux":
        yield
        return
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, limits[1]))
    before = _peak(reset=True)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert _peak() - before <= MOST_RESIDENT


def _peak(*, reset: bool = False) -> int:
    """Bytes of memory that this process had at most, since the last reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    words = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()
    return int(words[0]) << 10


@pytest.mark.skipif(sys.platform != "linux", reason="measured on Linux alone")
def test_the_measure_of_memory_sees_what_is_taken() -> None:
    before = _peak(reset=True)
    taken = b"x" * (40 << 20)
    assert _peak() - before > len(taken) // 2


def _outcome(path: Path, *, graph: bool, read: bool = True) -> Outcome | None:
    """Open, list and read everything; None if the checkpoint is refused as a whole."""
    try:
        checkpoint = open_checkpoint(str(path))
    except CkptError:
        return None
    with checkpoint:
        result = tree(checkpoint)
        build(result.variables)
        if graph:
            _look_at_graphs(checkpoint)
        names = [(row.name, row.dtype, row.shape) for row in result.variables if row.saved]
        values: Values = {}
        for name in checkpoint.specs if read else ():
            try:
                array = checkpoint.reader.read(name)
            except CkptError:
                continue
            data = repr(array.tolist()).encode() if array.dtype == object else array.tobytes()
            values[name] = (array.dtype.name, array.shape, data)
        return Outcome(names, values, bool(result.damage))


def _look_at_graphs(checkpoint: Checkpoint) -> None:
    for spec in list(checkpoint.specs)[:5]:
        checkpoint.initializer(spec)
    for graph in checkpoint.graphs:
        try:
            for collection in graph.collections.values():
                assert len(collection.members) == len(collection)
            _ = graph.signatures, graph.saved_variables(), graph.functions
            for variable in variables(graph)[:5]:
                describe(graph, variable)
        except CkptError:
            pass


def _mutations(data: bytes, seed: str, count: int) -> Iterator[bytes]:
    """Cuts and flips; the ends of the file, where its structure is, get their share."""
    chosen = random.Random(crc32(seed.encode()))  # noqa: S311
    for number in range(count):
        place = chosen.randrange(len(data))
        if number % 4 == 3:
            place = max(0, len(data) - 1 - chosen.randrange(64))
        if number % 2:
            yield (
                data[:place] + bytes((data[place] ^ 1 << chosen.randrange(8),)) + data[place + 1 :]
            )
        else:
            yield data[:place]


def _is_graph(path: Path) -> bool:
    return path.suffix in (".meta", ".pb", ".pbtxt")


@pytest.mark.parametrize("sample", SAMPLES)
def test_damage_is_refused_or_does_not_matter(sample: str, tmp_path: Path) -> None:
    inside = Path(*Path(sample).parts[1:])
    shutil.copytree(FOLDER / Path(sample).parts[0], tmp_path / "c")
    path = tmp_path / "c" / inside
    sound = _outcome(path, graph=True)
    assert sound is not None
    stem = path.name if inside.parts else ""
    files = [
        file
        for file in sorted((tmp_path / "c").rglob("*"))
        if file.is_file()
        and file.name.startswith(stem)
        and file.stat().st_size
        # A state file that is damaged may well name another checkpoint.
        and file.name != "checkpoint"
    ]
    assert files
    # The graphs are looked at on their own: first the tensors, without them.
    for file in sorted(files, key=_is_graph, reverse=True):
        data = file.read_bytes()
        graph = _is_graph(file)
        count = GRAPH_MUTATIONS if graph else DATA_MUTATIONS
        if len(data) > LARGE_GRAPH:
            count = 2
        for damaged in _mutations(data, f"{sample}:{file.name}", count):
            file.write_bytes(damaged)
            found = _outcome(path, graph=graph, read=not graph)
            if found is None:
                assert not graph or file.suffix != ".meta" or not sound.values, file.name
                continue
            assert found.values.items() <= sound.values.items()
            if not found.damaged and not (graph and not sound.values):
                assert found.names == sound.names
        file.write_bytes(data)
        if file.suffix == ".meta" and sound.values:
            file.unlink()
            bare = _outcome(path, graph=False)
            assert bare is not None
            sound = Outcome(bare.names, sound.values, False)


# --- bytes that no writer made ---------------------------------------------------------------

blobs = st.one_of(
    st.binary(max_size=300),
    st.lists(st.integers(0, 40), max_size=120).map(bytes),
    st.recursive(
        st.binary(max_size=12),
        lambda inner: st.lists(st.tuples(st.integers(1, 12), inner), max_size=4).map(
            lambda items: b"".join(encode_bytes_field(n, body) for n, body in items)
        ),
        max_leaves=20,
    ),
)
WORDS = (
    "node name op attr key value { } < > [ ] : , ; 'a' '\\101' - 1 0x7 1e9 nan inf 1f tensor dtype"
    ' DT_FLOAT shape dim size true #c " \\ collection_def any_list \0 [a/B] . float_val i list'
)
words = st.sampled_from([*WORDS.split(" "), "\n"])


def _only(allowed: type[Exception], call: Callable[[], Any]) -> None:
    with contextlib.suppress(allowed):
        call()


@settings(max_examples=200, deadline=None)
@given(blobs)
def test_wire(raw: bytes) -> None:
    _only(WireError, lambda: list(fields(raw)))
    _only(WireError, lambda: packed_varints(raw, 0, len(raw)))
    _only(WireError, lambda: decode_tensor(raw, cap=1 << 20))
    _only(CkptError, lambda: parse_object_graph(raw, "f").shortest_paths())
    decode_slice_key(b"\x00" + raw)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200), st.lists(words, max_size=60).map(lambda w: " ".join(w).encode())
    )
)
def test_text(raw: bytes) -> None:
    for message in ("MetaGraphDef", "GraphDef", "SavedModel"):
        _only(TextError, lambda message=message: encode_text(raw, message))  # type: ignore[misc]


def _table(raw: bytes) -> None:
    table = Table(MemoryFile("f", raw))
    for _ in table.entries():
        pass
    table.get(b"\x01")


@settings(max_examples=200, deadline=None)
@given(blobs, st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=9))
def test_table(raw: bytes, entries: list[tuple[bytes, bytes]]) -> None:
    sound = b"".join(write_table(sorted(dict(entries).items())))
    for data in (raw, raw + sound[-48:], sound[: len(sound) // 2] + raw + sound[len(sound) // 2 :]):
        _only(CkptError, lambda data=data: _table(data))  # type: ignore[misc]


def _graphs(raw: bytes, kind: str) -> None:
    for graph in parse_graphs(raw, "f", kind):
        for collection in graph.collections.values():
            assert len(collection.members) == len(collection)
        for variable in variables(graph):
            _ = variable.dtype, variable.shape, variable.shared_name, variable.slice_info
            _ = variable.made_by, describe(graph, variable)
        _ = graph.signatures, graph.saved_variables(), graph.functions, graph.savers


@settings(max_examples=200, deadline=None)
@given(blobs, st.sampled_from(["meta_graph", "graph_def", "saved_model"]))
def test_graphs(raw: bytes, kind: str) -> None:
    _only(CkptError, lambda: _graphs(raw, kind))


def test_a_sample_of_the_sweep_fails_when_values_change(tmp_path: Path) -> None:
    """The comparison above is not empty: a flipped byte of data makes exactly its tensor unread."""
    shutil.copytree(FOLDER / "shapes", tmp_path / "c")
    (data,) = (tmp_path / "c").glob("*.data-*")
    path = data.with_name(data.name.split(".data-")[0])
    sound = _outcome(path, graph=False)
    raw = bytearray(data.read_bytes())
    raw[0] ^= 1
    data.write_bytes(raw)
    found = _outcome(path, graph=False)
    assert sound is not None
    assert found is not None
    assert len(found.values) == len(sound.values) - 1
    assert np.all([found.values[name] == sound.values[name] for name in found.values])
