"""What is fuzzed: for each reader a function that takes any bytes, and seeds to begin with.

A target returns, or raises :class:`CkptError`: that is the whole contract.  Checksums would keep
a fuzzer at the door, so where a format has them the bytes are what they protect: the target lays
checksums over them and the reader sees a sound outside.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from ckpttool.errors import CkptError
from ckpttool.formats.tensorflow.table_writer import MAGIC, write_table
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.wire import WireError, encode_varint

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample_ckpts"
MAX_SEED = 64 << 10
MAX_TENSORS = 40  # read of one file
MAX_READ = 32 << 20  # bytes of one tensor: more is let be

Run = Callable[[bytes, Path], None]
Seeds = Callable[[], Iterator[bytes]]


class Target(NamedTuple):
    """One thing that is fuzzed.  ``run`` gets the bytes and a folder that is its own."""

    name: str
    run: Run
    seeds: Seeds


# --- looking at whatever could be opened --------------------------------------------------------


def _look(path: Path) -> None:
    """Open, list, build the tree and read: what every command does."""
    from ckpttool.analysis.scopes import build
    from ckpttool.analysis.tree import tree
    from ckpttool.checkpoint import open_checkpoint

    with open_checkpoint(str(path)) as checkpoint:
        result = tree(checkpoint)
        build(result.variables)
        reader = checkpoint.reader
        for name, spec in islice(checkpoint.specs.items(), MAX_TENSORS):
            try:
                if spec.nbytes > MAX_READ:
                    continue
                array = reader.read(name)
                pieces = sum(chunk.array.size for chunk in reader.chunks(name))
            except CkptError:
                continue
            if array.shape != spec.shape or pieces != array.size:
                raise AssertionError(f"{name}: read {array.shape}, said {spec.shape}")


def _whole_file(name: str) -> Run:
    def run(data: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(data)
        _look(path)

    return run


def _files(*patterns: str) -> Seeds:
    """Samples that match, as they are."""

    def seeds() -> Iterator[bytes]:
        for pattern in patterns:
            for path in sorted(SAMPLES.glob(pattern)):
                if path.is_file() and path.stat().st_size <= MAX_SEED:
                    yield path.read_bytes()

    return seeds


# --- tables: V2 indexes and V1 files ------------------------------------------------------------


def _sealed(contents: bytes) -> bytes:
    """A table block with the trailer that it needs."""
    out = contents + b"\x00"
    return out + mask(crc32c(out)).to_bytes(4, "little")


def _around_block(contents: bytes) -> bytes:
    """A table whose only data block has these contents."""
    block = _sealed(contents)
    handle = encode_varint(0) + encode_varint(len(contents))
    entry = b"\x00" + encode_varint(1) + encode_varint(len(handle)) + b"\xff" + handle
    index = _sealed(entry + struct.pack("<II", 0, 1))
    end = encode_varint(len(block)) + encode_varint(len(index) - 5)
    return block + index + (b"\x00\x00" + end).ljust(40, b"\x00") + struct.pack("<Q", MAGIC)


def _entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """``length length key value`` again and again, until the bytes are at their end."""
    at = 0
    while at + 3 <= len(data):
        key, value = data[at], int.from_bytes(data[at + 1 : at + 3], "little")
        at += 3
        yield data[at : at + key], data[at + key : at + key + value]
        at += key + value


def _packed(entries: Iterator[tuple[bytes, bytes]]) -> bytes:
    return b"".join(
        bytes((len(key),)) + len(value).to_bytes(2, "little") + key + value
        for key, value in entries
        if len(key) < 256 and len(value) < 65536
    )


def _seed_entries(data: bytes) -> list[tuple[bytes, bytes]]:
    from ckpttool.formats.tensorflow.table import MemoryFile, Table

    table = Table(MemoryFile("seed", data))
    return [
        (key, contents[start:stop])
        for _, contents, found in table.entries()
        for key, start, stop in found
    ]


def _table_seeds() -> Iterator[bytes]:
    """Contents of data blocks."""
    from ckpttool.formats.tensorflow.table import MemoryFile, Table

    for data in _files("*/*.index", "v1_*/*")():
        try:
            table = Table(MemoryFile("seed", data))
            yield from (table.contents(block) for block in table.blocks[:2])
        except CkptError:
            continue


def _block(data: bytes, folder: Path) -> None:
    """A block under sound checksums, as a V2 index and as a V1 file."""
    table = _around_block(data)
    (folder / "m.index").write_bytes(table)
    (folder / "m.data-00000-of-00001").write_bytes(bytes(64))
    (folder / "v1").write_bytes(table)
    for name in ("m", "v1"):
        try:
            _look(folder / name)
        except CkptError:
            continue


_CUT = b"\xff\x00CUT\x00"  # between the entries and the data of a fuzzed checkpoint


def _bundle(data: bytes, folder: Path) -> None:
    """Entries and data of a V2 checkpoint; checksums are made to fit."""
    head, _, payload = data.partition(_CUT)
    entries = {key: _checksummed(value, payload) for key, value in _entries(head)}
    (folder / "m.index").write_bytes(b"".join(write_table(sorted(entries.items()))))
    (folder / "m.data-00000-of-00001").write_bytes(payload)
    _look(folder / "m")


def _checksummed(value: bytes, payload: bytes) -> bytes:
    from ckpttool.storage.wire import encode_fixed32_field, fields

    found = {1: 0, 4: 0, 5: 0}
    try:
        for number, kind, start, _ in fields(value):
            if number in found and kind == 0:
                found[number] = start
    except WireError:
        return value
    piece = payload[found[4] : found[4] + found[5]]
    if found[1] == 7 or len(piece) != found[5]:
        return value
    return value + encode_fixed32_field(6, mask(crc32c(piece)))


def _bundle_seeds() -> Iterator[bytes]:
    for index in sorted(SAMPLES.glob("*/*.index")):
        (*shards,) = sorted(index.parent.glob(index.stem + ".data-*"))
        if len(shards) == 1 and index.stat().st_size + shards[0].stat().st_size < MAX_SEED:
            entries = _seed_entries(index.read_bytes())
            yield _packed(iter(entries)) + _CUT + shards[0].read_bytes()


def _v1(data: bytes, folder: Path) -> None:
    """Entries of a V1 file."""
    (folder / "v1").write_bytes(b"".join(write_table(sorted(dict(_entries(data)).items()))))
    _look(folder / "v1")


def _v1_seeds() -> Iterator[bytes]:
    for data in _files("v1_*/*")():
        try:
            yield _packed(iter(_seed_entries(data)))
        except CkptError:
            continue


# --- graphs -------------------------------------------------------------------------------------


def _graph(kind: str) -> Run:
    def run(data: bytes, folder: Path) -> None:
        from ckpttool.graph.initializers import describe
        from ckpttool.graph.metagraph import parse_graphs
        from ckpttool.graph.variables import variables

        for graph in parse_graphs(data, "graph", kind):
            for collection in graph.collections.values():
                if len(collection.members) != len(collection):
                    raise AssertionError("a collection counts other members than it has")
            for variable in variables(graph)[:50]:
                _ = variable.dtype, variable.shape, variable.shared_name, variable.slice_info
                _ = variable.made_by, describe(graph, variable)
            _ = graph.signatures, graph.saved_variables(), graph.functions, graph.savers
        (folder / "graph.meta").write_bytes(data)
        _look(folder / "graph.meta")

    return run


def _dups(data: bytes, folder: Path) -> None:
    from ckpttool import find_duplicates
    from ckpttool.checkpoint import open_checkpoint

    (folder / "graph.meta").write_bytes(data)
    with open_checkpoint(str(folder / "graph.meta")) as checkpoint:
        find_duplicates(checkpoint)


def _object_graph(data: bytes, folder: Path) -> None:
    from ckpttool.formats.tensorflow.object_graph import parse_object_graph

    graph = parse_object_graph(data, "graph")
    graph.shortest_paths()


def _object_graph_seeds() -> Iterator[bytes]:
    from ckpttool.checkpoint import open_checkpoint
    from ckpttool.names import OBJECT_GRAPH_KEY

    for folder in sorted(SAMPLES.glob("tf2_*")):
        with open_checkpoint(str(folder)) as checkpoint:
            yield bytes(checkpoint.reader.read(OBJECT_GRAPH_KEY)[()])


def _tensor_proto(data: bytes, folder: Path) -> None:
    from ckpttool.formats.tensorflow.tensor_proto import decode_tensor

    try:
        decode_tensor(data, cap=1 << 20)
    except WireError:
        return


def _tensor_proto_seeds() -> Iterator[bytes]:
    yield bytes.fromhex("08011208120208021202080322180000803f0000004000004040")
    yield bytes.fromhex("080112041202080a2a040000803f")
    yield bytes.fromhex("0807120412020802420161420162")


# --- archives and arrays ------------------------------------------------------------------------


def _npz_member(data: bytes, folder: Path) -> None:
    """The bytes are a member of a sound archive."""
    with zipfile.ZipFile(folder / "m.npz", "w") as archive:
        archive.writestr(zipfile.ZipInfo("a.npy"), data)
    _look(folder / "m.npz")


def _npy_seeds() -> Iterator[bytes]:
    import numpy as np

    arrays = (
        np.arange(6, dtype="<f4").reshape(2, 3), np.asfortranarray(np.eye(3)), np.bool_(True),
        np.array([b"a", b"bc"]), np.array(["x"]), np.zeros((0, 4), ">i2"), np.ones(2, "<c8"),
    )  # fmt: skip
    for array in arrays:
        out = io.BytesIO()
        np.lib.format.write_array(out, np.asanyarray(array), allow_pickle=False)
        yield out.getvalue()


def _npz_seeds() -> Iterator[bytes]:
    import numpy as np

    for save in (np.savez, np.savez_compressed):
        out = io.BytesIO()
        save(out, allow_pickle=False, a=np.arange(6.0).reshape(2, 3), b=np.int32(3))
        yield out.getvalue()


def _safetensors_seeds() -> Iterator[bytes]:
    headers: tuple[dict[str, object], ...] = (
        {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}},
        {"__metadata__": {"format": "pt"},
         "b": {"dtype": "BF16", "shape": [], "data_offsets": [0, 2]}},
        {"c": {"dtype": "BOOL", "shape": [0], "data_offsets": [0, 0]},
         "d": {"dtype": "F8_E4M3", "shape": [3], "data_offsets": [0, 3]}},
    )  # fmt: skip
    for header in headers:
        text = json.dumps(header).encode()
        yield len(text).to_bytes(8, "little") + text + bytes(24)


def _safetensors_header(data: bytes, folder: Path) -> None:
    """The bytes are the header; its length fits."""
    path = folder / "m.safetensors"
    path.write_bytes(len(data).to_bytes(8, "little") + data + bytes(64))
    _look(path)


def _header_seeds() -> Iterator[bytes]:
    for seed in _safetensors_seeds():
        yield seed[8:-24]


def _hdf5_seeds(*, legacy: bool) -> Iterator[bytes]:
    import h5py
    import numpy as np

    packings: tuple[dict[str, Any], ...] = (
        {}, {"compression": "gzip"}, {}, {"scaleoffset": 3, "chunks": (2, 3)},
        {"compression": "lzf", "fletcher32": True, "shuffle": True},
    )  # fmt: skip
    for variant, options in enumerate(packings):
        out = io.BytesIO()
        with h5py.File(out, "w", libver="latest" if variant > 2 else "earliest") as file:
            top = file if legacy else file.create_group("layers")
            group = top.create_group("dense" if legacy else "dense/vars")
            names = ("kernel:0", "bias:0") if legacy else ("0", "1")
            group.create_dataset(names[0], data=np.ones((4, 3), "f4"), **options)
            group.create_dataset(names[1], data=np.zeros(3, "f8" if variant else "f4"))
            if variant > 2:
                group.create_dataset("words", data=["a", "bc"], dtype=h5py.string_dtype())
            if legacy:
                file.attrs["layer_names"] = [b"dense"]
                group.attrs["weight_names"] = [name.encode() for name in names]
            elif variant == 2:
                group.attrs["name"] = "dense"
        yield out.getvalue()


def _archive_seeds() -> Iterator[bytes]:
    weights = next(_hdf5_seeds(legacy=False))
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", kind) as archive:
            archive.writestr(
                "config.json", '{"class_name": "Sequential", "config": {"layers": []}}'
            )
            archive.writestr("metadata.json", '{"keras_version": "3.0.0"}')
            archive.writestr("model.weights.h5", weights)
        yield out.getvalue()


def _weight_map(data: bytes, folder: Path) -> None:
    for name in ("model.safetensors.index.json", "model.weights.json"):
        (folder / name).write_bytes(data)
        try:
            _look(folder / name)
        except CkptError:
            continue


def _weight_map_seeds() -> Iterator[bytes]:
    yield b'{"metadata": {"total_size": 4}, "weight_map": {"a": "x-00001-of-00001.safetensors"}}'
    yield b'{"weight_map": {"/layers/dense/vars": ["model_00000.weights.h5"], "b": ".."}}'


# --- text ---------------------------------------------------------------------------------------


def _state(data: bytes, folder: Path) -> None:
    """The state file of a folder that has nothing else."""
    (folder / "checkpoint").write_bytes(data)
    _look(folder)


def _mapping(data: bytes, folder: Path) -> None:
    """A mapping file, planned against a small checkpoint, and carried out where that is small."""
    from ckpttool.checkpoint import open_checkpoint
    from ckpttool.mapping.language.document import parse_document
    from ckpttool.mapping.language.rules import compile_rules
    from ckpttool.mapping.remap import plan_remap

    document = parse_document(data, "map.yaml")
    given = {name: 2 for name, value in document.params.items() if value is None}
    kept = None if document.unmatched else "keep"
    rules = compile_rules(document, params=given, unmatched=kept)
    for name in ("a/w", "tower_1/dense/kernel", "tower_1/dense_1/kernel/Adam", "x" * 200, ""):
        rules.first(name)
    target = rules.target.text if rules.target else OUTPUTS[len(data) % len(OUTPUTS)]
    with open_checkpoint(_small_checkpoint(folder, target)) as checkpoint:
        plan = plan_remap(checkpoint, rules, to=target)
        written = _carry_out(plan, checkpoint.reader, folder)
    if written is not None:
        with open_checkpoint(written) as checkpoint:
            plan_remap(checkpoint, rules, inverse=True, like=_small_checkpoint(folder, target))


OUTPUTS = ("tf1", "safetensors", "npz")
MAX_WRITTEN = 4 << 20  # bytes of an output that is written


def _carry_out(plan: Any, reader: Any, folder: Path) -> str | None:
    """Write it; what the plan says of each tensor is what is there then."""
    import shutil
    from math import prod

    from ckpttool.checkpoint import open_checkpoint
    from ckpttool.mapping.execution.execute import execute

    sizes = [prod(step.shape) for step in plan.steps]
    if plan.target not in OUTPUTS or len(sizes) > 2000 or sum(sizes) > MAX_WRITTEN // 16:
        return None
    end = {"safetensors": ".safetensors", "npz": ".npz"}.get(plan.target, "")
    place = folder / "written"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    try:
        execute(plan, reader, str(place / f"out{end}"))
    except CkptError:
        if any(place.iterdir()):
            raise AssertionError("a failed run leaves files") from None
        raise
    if not plan.steps:
        return None
    with open_checkpoint(str(place / f"out{end}")) as written:
        made = {name: (spec.dtype, spec.shape) for name, spec in written.specs.items()}
        said = {step.target: (step.dtype, step.shape) for step in plan.steps}
        if made != said:
            raise AssertionError(f"planned {said}, written {made}")
    return str(place / f"out{end}")


def _small_checkpoint(folder: Path, target: str) -> str:
    """A checkpoint with something for every transform; made once for each folder."""
    import ml_dtypes
    import numpy as np

    from ckpttool.formats.tensorflow.bundle_writer import BundleWriter
    from ckpttool.tensors import BY_NAME

    plain = target not in ("tf1", "tf2")  # without what other formats cannot hold
    prefix = folder / f"small-{plain}" / "model.ckpt"
    if Path(f"{prefix}.index").exists():
        return str(prefix)
    prefix.parent.mkdir(parents=True, exist_ok=True)
    count = np.arange(24, dtype="f4")
    arrays: dict[str, Any] = {
        "global_step": np.int64(7), "a/w": count.reshape(4, 6), "a/w/Adam": count.reshape(4, 6),
        "a/w/Adam_1": count.reshape(4, 6), "a/b": count[:6], "a/b/ExponentialMovingAverage":
        count[:6] + 1, "a/words": np.array([b"x", b"yz"], object),
        "a/none": np.zeros((0, 3), "f4"),
        "a/flags": np.array([True, False]), "a/half": count.astype(ml_dtypes.bfloat16),
        "a/double": count.astype("f8").reshape(2, 3, 4), "a/whole": np.arange(8, dtype="i4"),
        "a/turn": count[:4].astype("c8"), "a/bytes": np.arange(6, dtype="u1"),
        "odd*{n}$/w ": np.float32(1), "rnn/lstm_cell/kernel": np.ones((5, 8), "f4"),
        "rnn/lstm_cell/bias": np.ones(8, "f4"),
        **{f"tower_{k}/dense{end}/kernel": count.reshape(1, 24) for k in range(2)
           for end in ("", "_1", "_2")},
    }  # fmt: skip
    with BundleWriter(str(prefix)) as writer:
        for name, value in arrays.items():
            array = np.asarray(value)
            dtype = "string" if array.dtype == object else array.dtype.name
            if plain and (dtype in ("string", "bfloat16") or name.startswith("odd")):
                continue
            writer.encode(name, BY_NAME[dtype].enum, array.shape, partial(iter, [array]))
        writer.write()
        writer.commit()
    return str(prefix)


# What a rule may say, each on a source that it fits; the other names are kept.
_RULES = (
    "{from: a/w, to: x, apply: [{reshape: [0, d1//3, -1]}, {transpose: [2, 0, 1]}]}",
    "{from: a/w, to: x, apply: [transpose, {slice: {axis: 0, start: -4, stop: d0-1}}]}",
    "{from: a/b, to: x, apply: [{pad: {axis: 0, before: 1, after: $n, value: 1.5}}]}",
    "{from: a/w, to: [x, y], apply: [{split: {axis: 1, sizes: [2, -1]}}]}",
    "{from: a/w, to: 'x/{k}', spread: k, apply: [{split: {axis: 1, parts: 3}}]}",
    "{from: [a/w, a/w/Adam], to: x, apply: [{concat: {axis: -1}}]}",
    "{from: [a/w, a/w/Adam], to: x, apply: [{stack: 1}, {flip: 0}]}",
    "{from: a/double, to: 'x{k:suffix}', spread: k, apply: [{unstack: 1}]}",
    "{from: a/double, to: x, apply: [{index: {axis: 2, at: -1}}, {expand: [0, 2]}, squeeze]}",
    "{from: a/w, to: x, apply: [{permute_blocks: {axis: 1, of: 3, order: [2, 0, zero, 0]}}]}",
    "{from: a/w, to: x, apply: [{permute_blocks: {axis: 1, widths: [1, -1], order: [1, 0]}}]}",
    "{from: rnn/lstm_cell/kernel, to: x, apply: [{reorder_gates: {from: ijfo, to: ifco}}]}",
    "{from: rnn/lstm_cell/kernel, to: [x, y], apply: [{split: {axis: 0, sizes: [$n, -1]}}]}",
    "{from: rnn/lstm_cell/bias, to: x, apply: [{add: {value: 1, axis: 0, block: 2, of: 4}}]}",
    "{from: a/half, to: x, apply: [{scale: 0.5}, square, {cast: float32}]}",
    "{from: a/b, to: x, apply: [{sum_blocks: 2}, {cast: float16}]}",
    "{from: a/whole, to: x, apply: [{cast: bfloat16}, {cast: int8}, {cast: bool}]}",
    "{from: a/turn, to: x, apply: [{scale: $n}, {add: {value: 1e-3}}, {cast: complex128}]}",
    "{to: x, apply: [{zeros: {shape: [3, 0], dtype: int32}}]}",
    "{to: x, apply: [{constant: {shape: [2], value: 7, dtype: bfloat16}}]}",
    "{from: a/b, to: [a/b, x], apply: [{each: [[], [{ones: {shape: [d0]}}]]}]}",
    "{from: [a/b, a/w], to: x, apply: [{each: [[{expand: 0}], []]}, {concat: 0}]}",
    "{from: 'tower_{k:int}/dense/kernel', collect: k, to: x, apply: [{interleave: 1}]}",
    "{from: a/bytes, to: [x, y], apply: [{deinterleave: 2}, {pick: [1, 0]}]}",
    "{from: a/words, to: x, apply: [{expand: 0}, {transpose: [1, 0]}, {flip: 0}]}",
    "{from: a/none, to: x, apply: [{reshape: [0, d1, 1]}, transpose]}",
    "{from: 'tower_{k:int}/dense{i:suffix}/{p:path}', to: 'l{2*k+i}/{p}', where: {k: {0: 3}}}",
    "{from: 're:(a|rnn)/(?P<x>.*)', to: '{1}/new/{x}', when: {exists: a/w}}",
    "{from: 'a/{part}', to: '{part.c}', where: {part: {w: {c: q}, b: {c: k}}}}",
)  # fmt: skip


def _mapping_seeds() -> Iterator[bytes]:
    folder = SAMPLES.parent / "mappings"
    policies = (
        "slots: drop\naverages: use\n", "", "averages: ignore\n", "slots: follow\n",
    )  # fmt: skip
    for number, rule in enumerate(_RULES):
        head = f"params: {{n: 3}}\nunmatched: keep\n{policies[number % len(policies)]}"
        yield f"{head}rules:\n- {rule}\n".encode()
    yield (
        b"version: 1\nparams: {heads: 2}\nrules:\n- from: ['{x}/w', '{x}/b']\n  to: 'c/{x}'\n"
        b"  where: {x: {a: query}}\n  apply: [{concat: {axis: 0}}, {reshape: [0, '$heads', -1]}]\n"
        b"- from: re:(a+)+b\n  drop: true\nassign: {a/: b/}\nassumes: {eps: 1e-3}\n"
    )
    for path in sorted(folder.glob("*.yaml")):
        yield path.read_bytes()


def _pattern(data: bytes, folder: Path) -> None:
    """A pattern and a name, a line each: matching must stay within bounds."""
    from ckpttool.mapping.language.patterns import Pattern, PatternError, Template
    from ckpttool.mapping.language.regexes import MARK, RegexPattern

    pattern, _, name = data.decode("utf-8", "surrogateescape").partition("\n")
    try:
        matcher = RegexPattern(pattern, {}) if pattern.startswith(MARK) else Pattern(pattern)
        caught = matcher.match(name)
        template = Template(pattern)
    except PatternError:
        return
    if caught is None or not isinstance(matcher, Pattern) or template.lacking(matcher):
        return
    # What was caught, put back, is the name again.
    if template.render(caught) != name:
        raise AssertionError(f"{pattern!r} of {name!r} gives {template.render(caught)!r}")


def _pattern_seeds() -> Iterator[bytes]:
    yield from (
        b"a/{x}/b\na/1/b", b"**/{i:int}/*\nq/r/12/s", b"re:(?P<x>a|b)*c\nababc",
        b"{x}_{x}/**\n1_1/a/b", b"a\\*b\na*b", b"*{y}*{z}*\n" + b"a" * 40,
    )  # fmt: skip


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("table", _block, _table_seeds),
        Target("v2_index_file", _whole_file("m.index"), _files("*/*.index")),
        Target("v2_bundle", _bundle, _bundle_seeds),
        Target("v1_file", _whole_file("m.ckpt"), _files("v1_*/*")),
        Target("v1_entries", _v1, _v1_seeds),
        Target("meta_graph", _graph("meta_graph"), _files("*/*.meta")),
        Target("graph_text", _graph("graph_def"), _files("*/*.pbtxt")),
        Target("saved_model", _graph("saved_model"), _files("*/saved_model.pb*")),
        Target("duplicates", _dups, _files("*/*.meta")),
        Target("object_graph", _object_graph, _object_graph_seeds),
        Target("tensor_proto", _tensor_proto, _tensor_proto_seeds),
        Target("npz", _whole_file("m.npz"), _npz_seeds),
        Target("npz_member", _npz_member, _npy_seeds),
        Target("safetensors", _whole_file("m.safetensors"), _safetensors_seeds),
        Target("safetensors_header", _safetensors_header, _header_seeds),
        Target("weight_map", _weight_map, _weight_map_seeds),
        Target("keras", _whole_file("m.weights.h5"), lambda: _hdf5_seeds(legacy=False)),
        Target("keras_legacy", _whole_file("m.h5"), lambda: _hdf5_seeds(legacy=True)),
        Target("keras_archive", _whole_file("m.keras"), _archive_seeds),
        Target("state_file", _state, _files("*/checkpoint")),
        Target("any_file", _whole_file("file"), _pattern_seeds),
        Target("mapping", _mapping, _mapping_seeds),
        Target("pattern", _pattern, _pattern_seeds),
    )
}  # fmt: skip


def run(target: Target, data: bytes, folder: Path) -> None:
    """One input: an error of ours is an answer, anything else is a finding."""
    try:
        target.run(data, folder)
    except CkptError:
        return
