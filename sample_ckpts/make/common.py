"""What every sample script shares: a fresh graph, a save, and the truth about what was saved.

A sample is a function decorated with ``@sample("folder")``.  It gets a ``Sample``, builds a graph,
trains it a little and calls ``save``, which writes the checkpoint and adds one entry to the
manifest.  The entry is taken from TensorFlow's own objects (the Saver, the optimizers, the
collections) and from TensorFlow's reader, never from ckpttool.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")  # tf.keras is tf_keras, as in TF 1.x

import google_crc32c
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import (
    control_flow_pb2,
    fingerprint_pb2,
    meta_graph_pb2,
    saved_model_pb2,
    trackable_object_graph_pb2,
)
from tensorflow.python.framework import meta_graph
from tensorflow.python.training.saving import saveable_object, saveable_object_util

v1 = tf.compat.v1
v1.logging.set_verbosity(v1.logging.FATAL)

V1 = v1.train.SaverDef.V1
JsonDict = dict[str, Any]
OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
CONTEXTS = {
    "cond_context": control_flow_pb2.CondContextDef,
    "while_context": control_flow_pb2.WhileContextDef,
}
MAX_VALUES = 12  # manifests hold the CRC-32C of this many tensors a sample


@dataclass
class Recipe:
    """One registered sample function."""

    folder: str
    function: Callable[[Sample], None]
    optional: str | None = None  # a package it needs beside tensorflow

    @property
    def shows(self) -> str:
        """The first paragraph of the docstring: what the sample shows, in one sentence."""
        return " ".join((self.function.__doc__ or "").split("\n\n")[0].split())


RECIPES: list[Recipe] = []
MADE: dict[str, JsonDict] = {}  # manifest entries so far, by path: twins copy their truth


def sample(
    folder: str, *, optional: str | None = None
) -> Callable[[Callable[[Sample], None]], Callable[[Sample], None]]:
    """Register a function that makes the samples of one folder."""

    def register(function: Callable[[Sample], None]) -> Callable[[Sample], None]:
        RECIPES.append(Recipe(folder, function, optional))
        return function

    return register


@dataclass
class Dups:
    """What ``dups`` should say: ``unshared`` or ``none``, why, and the copies."""

    verdict: str
    cause: str
    copies: Sequence[Sequence[str]] = ()

    def as_json(self) -> JsonDict:
        """The three manifest keys."""
        return {
            "dups": self.verdict,
            "dups_cause": self.cause,
            "dups_copies": [list(copy) for copy in self.copies],
        }


@dataclass
class Saved:
    """What is known of one save beyond what the Saver itself says."""

    optimizers: Sequence[Any] = ()
    averages: Sequence[v1.train.ExponentialMovingAverage] = ()
    dups: Dups | None = None
    values: Mapping[str, np.ndarray] = field(default_factory=dict)


class Sample:
    """The folder of one sample, the graph in the making and the manifest entries."""

    def __init__(self, root: Path, recipe: Recipe) -> None:
        self.root = root
        self.recipe = recipe
        self.folder = root / recipe.folder
        self.script = f"make/{Path(recipe.function.__code__.co_filename).name}"
        self.entries: list[JsonDict] = []
        self.damaged: list[JsonDict] = []
        self._session: v1.Session | None = None

    @property
    def session(self) -> v1.Session:
        """The session of the graph in the making."""
        if self._session is None:
            raise RuntimeError("start() first")
        return self._session

    @contextmanager
    def graph(self, initializer: Any = v1.zeros_initializer) -> Iterator[tf.Graph]:
        """A fresh default graph with TF 1.x behaviour: ref variables, control flow v1.

        ``initializer`` is the default of get_variable: zeros keep the graph small.
        """
        v1.disable_resource_variables()
        v1.disable_control_flow_v2()
        graph = tf.Graph()
        try:
            with graph.as_default():
                v1.set_random_seed(20160623)
                v1.get_variable_scope().set_initializer(initializer())
                yield graph
        finally:
            if self._session is not None:
                self._session.close()
                self._session = None
            v1.enable_resource_variables()
            v1.enable_control_flow_v2()

    def start(self, devices: int = 1, *, load: bool = True) -> v1.Session:
        """Open a session, initialize, and load every float variable with numbers of its own.

        ``load`` False leaves them as their initializers make them: what is not trained stays so.
        """
        config = v1.ConfigProto(
            device_count={"CPU": devices},
            intra_op_parallelism_threads=1,
            inter_op_parallelism_threads=1,
        )
        self._session = session = v1.Session(config=config)
        session.run([v1.global_variables_initializer(), v1.local_variables_initializer()])
        if v1.get_collection(v1.GraphKeys.TABLE_INITIALIZERS):
            session.run(v1.tables_initializer())
        for variable in v1.trainable_variables() if load else ():
            fill(variable, session)
        return session

    def run(self, fetches: Any, times: int = 1) -> None:
        """Run ops, so many times."""
        for _ in range(times):
            self.session.run(fetches)

    def save(
        self,
        name: str = "model.ckpt",
        *,
        step: int | None = None,
        saver: v1.train.Saver | None = None,
        about: Saved | None = None,
        meta: bool = True,
        state: bool = False,
        shows: str | None = None,
        extra: JsonDict | None = None,
    ) -> Path:
        """Save the session's graph and add its manifest entry; ``step`` becomes the suffix."""
        self.folder.mkdir(parents=True, exist_ok=True)
        saver = saver or v1.train.Saver(save_relative_paths=True)
        prefix = self.folder / name
        saver.save(
            self.session,
            str(prefix),
            global_step=step,
            write_meta_graph=meta,
            write_state=state,
            strip_default_attrs=True,
        )
        if step is not None:
            prefix = prefix.with_name(f"{prefix.name}-{step}")
        definition = None
        if meta:
            definition = settle_meta(Path(f"{prefix}.meta"))
        self.entry(
            prefix,
            format="tf-v1" if saver.saver_def.version == V1 else "tf-v2",
            truth=graph_truth(prefix, saver, about or Saved(), definition),
            has_graph=meta,
            step=step,
            shows=shows,
            extra=extra,
        )
        return prefix

    def entry(
        self,
        path: Path,
        *,
        format: str,  # noqa: A002
        truth: JsonDict,
        has_graph: bool = False,
        step: int | None = None,
        shows: str | None = None,
        extra: JsonDict | None = None,
    ) -> None:
        """Add one manifest entry."""
        entry = {
            "path": self.relative(path),
            "format": format,
            "script": self.script,
            "shows": shows or self.recipe.shows,
            "has_graph": has_graph,
            "step": step,
            **(extra or {}),
            "expect": truth,
        }
        self.entries.append(entry)
        MADE[entry["path"]] = entry

    def relative(self, path: Path) -> str:
        """The path as the manifest writes it."""
        return path.relative_to(self.root).as_posix()


def numbers(name: str, shape: Sequence[int], dtype: Any = np.float32) -> np.ndarray:
    """Normally distributed numbers that depend on the name and nothing else."""
    random = np.random.RandomState(zlib.crc32(name.encode()) & 0xFFFFFFFF)
    return random.normal(0.0, 0.1, tuple(shape)).astype(dtype)


def fill(variable: tf.Variable, session: v1.Session, name: str | None = None) -> None:
    """Give a float variable the numbers of its name, without adding a node to the graph."""
    if variable.dtype.base_dtype.is_floating:
        dtype = variable.dtype.base_dtype.as_numpy_dtype
        value = numbers(name or variable.op.name, variable.shape.as_list(), dtype)
        variable.load(value, session)


def saved_variables(saver: v1.train.Saver) -> dict[str, list[Any]]:
    """Checkpoint key -> the variables (one a slice) or the table that the Saver saves there."""
    listed = saver._var_list
    if not isinstance(listed, Mapping):
        listed = saveable_object_util.op_list_to_dict(listed, convert_variable_to_tensor=False)
    result: dict[str, list[Any]] = {}
    for key, value in listed.items():
        if isinstance(value, saveable_object.SaveableObject):
            for spec in value.specs:
                result[spec.name] = [value]
        else:
            result[key] = list(value) if isinstance(value, list | tuple) else _parts(value)
    return result


def _parts(variable: Any) -> list[Any]:
    return list(variable) if hasattr(variable, "_variable_list") else [variable]


def memberships(
    graph: tf.Graph, definition: meta_graph_pb2.MetaGraphDef
) -> tuple[dict[str, set[str]], dict[str, Any]]:
    """Of every variable in a collection: op name -> collection keys, and op name -> variable."""
    keys: dict[str, set[str]] = {}
    found: dict[str, Any] = {}
    for key in graph.get_all_collection_keys():
        if key not in definition.collection_def:
            continue
        for item in graph.get_collection(key):
            for part in _parts(item):
                if isinstance(part, tf.Variable):
                    keys.setdefault(part.op.name, set()).add(key)
                    found[part.op.name] = part
    return keys, found


def roles_of(keys: Mapping[str, str], about: Saved, graph: tf.Graph) -> dict[str, JsonDict]:
    """Op name -> role and owner, as the optimizers and the averages themselves tell.

    Everything that ``optimizer.variables()`` lists is a slot; one that belongs to no variable
    (``beta1_power``) has no owner.
    """
    roles: dict[str, JsonDict] = {}
    names = {**{item.op.name: item.op.name for item in v1.global_variables()}, **keys}
    for optimizer in about.optimizers:
        for variable in optimizer.variables():
            roles[variable.op.name] = {"role": "slot", "owner": None}
        for slot_name in optimizer.get_slot_names():
            for slots in optimizer._slots[slot_name].values():
                roles[slots.op.name] = {"role": "slot", "owner": None}
            for name, key in names.items():
                variable = _variable(graph, name)
                slot = None if variable is None else optimizer.get_slot(variable, slot_name)
                if slot is not None:
                    for part in _parts(slot):
                        roles[part.op.name] = {"role": "slot", "owner": key}
    for average in about.averages:
        for variable, shadow in average._averages.items():
            variable = variable.deref() if hasattr(variable, "deref") else variable
            owner = names.get(variable.op.name, variable.op.name)
            if keys.get(shadow.op.name) == owner:
                owner = None  # saved under the variable's own name, in its place
            roles[shadow.op.name] = {"role": "average", "owner": owner}
    step = v1.train.get_global_step(graph)
    if step is not None:
        roles[step.op.name] = {"role": "step", "owner": None}
    return roles


def _variable(graph: tf.Graph, name: str) -> Any:
    for key in graph.get_all_collection_keys():
        for item in graph.get_collection(key):
            if isinstance(item, tf.Variable) and item.op.name == name:
                return item
    return None


def graph_truth(
    prefix: Path,
    saver: v1.train.Saver,
    about: Saved,
    definition: meta_graph_pb2.MetaGraphDef | None,
) -> JsonDict:
    """The manifest's ``expect`` for a checkpoint that a Saver wrote from the default graph."""
    graph = v1.get_default_graph()
    saved = saved_variables(saver)
    keys = {part.op.name: key for key, parts in saved.items() for part in parts}
    roles = roles_of(keys, about, graph)
    collections, found = memberships(graph, definition or meta_graph_pb2.MetaGraphDef())
    known = {key: _known_spec(key, parts) for key, parts in saved.items()}
    specs = read_specs(prefix) or known
    if set(specs) != set(saved):
        raise RuntimeError(f"{prefix}: saved {sorted(saved)}, TensorFlow lists {sorted(specs)}")
    rows = []
    for key, parts in saved.items():
        names = [part.op.name for part in parts]
        if isinstance(parts[0], saveable_object.SaveableObject):
            names, role = [], {"role": "table", "owner": None}
            member = {key for key in graph.collections if parts[0] in graph.get_collection(key)}
        else:
            role = roles.get(names[0], {"role": "variable", "owner": None})
            member = set().union(*(collections.get(name, set()) for name in names))
        dtype, shape = specs[key]
        rows.append(
            {
                "name": key,
                "dtype": dtype,
                "shape": shape,
                **role,
                "trainable": None if definition is None else "trainable_variables" in member,
                "saved": True,
                "collections": None if definition is None else sorted(member),
                "partitions": len(parts),
                **({"graph_names": names} if names and names != [key] and definition else {}),
            }
        )
    if definition is not None:
        rows += [
            _unsaved_row(name, variable, collections, roles)
            for name, variable in found.items()
            if name not in keys
        ]
    return expectation(rows, values_of(prefix, specs, about.values), definition, about.dups)


def meta_truth(path: Path, about: Saved) -> JsonDict:
    """The truth of a .meta without a checkpoint, written from the default graph."""
    graph = v1.get_default_graph()
    definition = meta_graph.read_meta_graph_file(str(path))
    collections, found = memberships(graph, definition)
    rows = [
        _unsaved_row(name, found[name], collections, roles_of({}, about, graph)) for name in found
    ]
    return expectation(rows, {}, definition, about.dups)


def _unsaved_row(
    name: str,
    variable: Any,
    collections: Mapping[str, set[str]],
    roles: Mapping[str, JsonDict],
) -> JsonDict:
    return {
        "name": name,
        "dtype": variable.dtype.base_dtype.name,
        "shape": variable.shape.as_list(),
        **roles.get(name, {"role": "variable", "owner": None}),
        "trainable": "trainable_variables" in collections[name],
        "saved": False,
        "collections": sorted(collections[name]),
        "partitions": 1,
    }


def _known_spec(key: str, parts: Sequence[Any]) -> tuple[str, list[int]]:
    first = parts[0]
    if isinstance(first, saveable_object.SaveableObject):
        spec = next(spec for spec in first.specs if spec.name == key)
        return spec.dtype.name, []
    info = first._save_slice_info
    shape = list(info.full_shape) if info else first.shape.as_list()
    return first.dtype.base_dtype.name, shape


def expectation(
    rows: Sequence[JsonDict],
    values: Mapping[str, str],
    definition: meta_graph_pb2.MetaGraphDef | None = None,
    dups: Dups | None = None,
) -> JsonDict:
    """Put the parts of ``expect`` together, in an order that never changes."""
    return {
        "variables": sorted(rows, key=lambda row: (row["name"], not row["saved"])),
        "collections": None if definition is None else collection_sizes(definition),
        **(dups.as_json() if dups else {}),
        "values_crc32c": dict(values),
    }


def collection_sizes(definition: meta_graph_pb2.MetaGraphDef) -> dict[str, int]:
    """Collection -> number of members, from a MetaGraph that TensorFlow parsed."""
    return {
        key: len(getattr(item, item.WhichOneof("kind")).value)
        for key, item in sorted(definition.collection_def.items())
    }


def settle_meta(path: Path) -> meta_graph_pb2.MetaGraphDef:
    """Parse a .meta, and write it again with the maps inside its collections in a fixed order."""
    definition = meta_graph.read_meta_graph_file(str(path))
    for key, proto in CONTEXTS.items():
        if key in definition.collection_def:
            listed = definition.collection_def[key].bytes_list.value
            settled = [
                proto.FromString(item).SerializeToString(deterministic=True) for item in listed
            ]
            listed[:] = settled
    path.write_bytes(definition.SerializeToString(deterministic=True))
    return definition


def settle_saved_model(folder: Path) -> None:
    """Give fingerprint.pb a fixed uuid (TensorFlow draws one at random); drop an empty assets/."""
    path = folder / "fingerprint.pb"
    if path.exists():
        fingerprint = fingerprint_pb2.FingerprintDef.FromString(path.read_bytes())
        fingerprint.uuid = "00000000000000000000000000000001"
        path.write_bytes(fingerprint.SerializeToString(deterministic=True))
    assets = folder / "assets"
    if assets.exists() and not any(assets.iterdir()):
        assets.rmdir()


def saved_model_facts(folder: Path) -> JsonDict:
    """Tags, signatures and collections of every MetaGraph of a SavedModel."""
    data = (folder / "saved_model.pb").read_bytes()
    return {
        "meta_graphs": [
            {
                "tags": list(graph.meta_info_def.tags),
                "signatures": sorted(graph.signature_def),
                "collections": collection_sizes(graph),
            }
            for graph in saved_model_pb2.SavedModel.FromString(data).meta_graphs
        ]
    }


def reader_path(prefix: Path) -> str:
    """What TensorFlow's reader wants: the prefix, or a pattern for a sharded V1 checkpoint."""
    if not prefix.exists() and not Path(f"{prefix}.index").exists():
        shards = sorted(prefix.parent.glob(f"{prefix.name}-*-of-*"))
        if shards:
            return f"{prefix}-?????-of-{shards[0].name[-5:]}"
    return str(prefix)


def save_tensors(prefix: Path, tensors: Mapping[str, tf.Tensor], version: int = 2) -> None:
    """Write tensors of the default graph by the bare save op: no variables, no Saver."""
    names, values = list(tensors), list(tensors.values())
    if version == V1:
        save = tf.raw_ops.Save(filename=str(prefix), tensor_names=names, data=values)
    else:
        save = tf.raw_ops.SaveV2(
            prefix=str(prefix),
            tensor_names=names,
            shape_and_slices=[""] * len(names),
            tensors=values,
        )
    with v1.Session() as session:
        session.run(save)


def read_specs(prefix: Path) -> dict[str, tuple[str, list[int]]]:
    """Key -> dtype name and shape, as TensorFlow's reader tells."""
    reader = tf.train.load_checkpoint(reader_path(prefix))
    shapes = reader.get_variable_to_shape_map()
    dtypes = reader.get_variable_to_dtype_map()
    return {key: (tf.as_dtype(dtypes[key]).name, list(shape)) for key, shape in shapes.items()}


def plain_rows(specs: Mapping[str, tuple[str, list[int]]]) -> list[JsonDict]:
    """Rows of a checkpoint without a graph, every key a plain variable."""
    return [
        {
            "name": key,
            "dtype": dtype,
            "shape": shape,
            "role": "variable",
            "owner": None,
            "trainable": None,
            "saved": True,
            "collections": None,
            "partitions": 1,
        }
        for key, (dtype, shape) in specs.items()
    ]


def object_truth(
    prefix: Path, roles: Mapping[str, tuple[str, str | None]] | None = None
) -> JsonDict:
    """The truth of an object-based checkpoint, by the object graph that it holds.

    ``roles`` gives role and owner where only the maker knows them, all by full name.
    """
    reader = tf.train.load_checkpoint(str(prefix))
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
        reader.get_tensor(OBJECT_GRAPH)
    )
    known: dict[str, tuple[str, str | None]] = {OBJECT_GRAPH: ("object_graph", None)}
    names: dict[str, str] = {}
    keys = [node.attributes[0].checkpoint_key if node.attributes else "" for node in graph.nodes]
    for node, key in zip(graph.nodes, keys, strict=True):
        if key:
            names[key] = node.attributes[0].full_name
        for slot in node.slot_variables:
            owner = keys[slot.original_variable_node_id]
            known[keys[slot.slot_variable_node_id]] = ("slot", owner)
    for child in graph.nodes[0].children:
        if child.local_name == "save_counter":
            known[keys[child.node_id]] = ("step", None)
    by_name = {name: key for key, name in names.items()}
    for name, (role, owner_name) in (roles or {}).items():
        known[by_name[name]] = (role, None if owner_name is None else by_name[owner_name])
    rows = plain_rows(read_specs(prefix))
    for row in rows:
        row["role"], row["owner"] = known.get(row["name"], ("variable", None))
        row["full_name"] = names.get(row["name"])
    return expectation(rows, values_of(prefix, read_specs(prefix)))


def twin_truth(source: str, twin: Path, graph: bool = False) -> JsonDict:
    """The truth of a copy: what was said of the original, after TensorFlow has read the copy."""
    original = MADE[source]["expect"]
    specs = read_specs(twin)
    rows = [dict(row) for row in original["variables"] if row["saved"] or graph]
    for row in rows:
        if not graph:
            row.update(trainable=None, collections=None)
        if row["saved"] and specs[row["name"]] != (row["dtype"], row["shape"]):
            raise RuntimeError(f"{twin}: {row['name']} differs from {source}")
    truth = expectation(rows, original["values_crc32c"])
    for key, value in original["values_crc32c"].items():
        if array_crc(restore(twin, key, specs)) != value:
            raise RuntimeError(f"{twin}: the value of {key} differs from {source}")
    return {**truth, "collections": original["collections"] if graph else None}


def values_of(
    prefix: Path,
    specs: Mapping[str, tuple[str, list[int]]],
    known: Mapping[str, np.ndarray] | None = None,
    limit: int = MAX_VALUES,
) -> dict[str, str]:
    """CRC-32C of some tensors' values: what TensorFlow restored, or what is known to be there."""
    keys = sorted(specs)
    if len(keys) > limit:
        keys = [keys[index * len(keys) // limit] for index in range(limit)]
    return {
        key: array_crc(known[key] if known and key in known else restore(prefix, key, specs))
        for key in keys
    }


def restore(prefix: Path | str, key: str, specs: Mapping[str, tuple[str, list[int]]]) -> np.ndarray:
    """One tensor, by the restore op: it also joins the slices that the V1 reader refuses."""
    path = prefix if isinstance(prefix, str) else reader_path(prefix)
    with tf.Graph().as_default(), v1.Session() as session:
        op = tf.raw_ops.RestoreV2(
            prefix=path, tensor_names=[key], shape_and_slices=[""], dtypes=[specs[key][0]]
        )
        value = session.run(op)[0]
        # A scalar string comes back as bytes, of which NumPy would make a padded "S" array.
        return np.asarray(value, dtype=object if isinstance(value, bytes) else None)


def array_crc(array: np.ndarray) -> str:
    """CRC-32C of the elements in C order, little-endian.

    Sub-byte types count one byte an element.  A string counts as its length (eight bytes) and
    its bytes.
    """
    if array.dtype.kind in "OS":
        items = [bytes(item) for item in array.reshape(-1)]
        data = b"".join(len(item).to_bytes(8, "little") + item for item in items)
    else:
        data = np.ascontiguousarray(array).tobytes()
    return f"{google_crc32c.value(data):08x}"
