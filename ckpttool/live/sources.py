"""A TF1 graph with its checkpoint's values, to be run: what a converted model must agree with."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import InputError, Problem
from ckpttool.live.doubles import in_double
from ckpttool.live.graphs import INPUT_OPS, Graph, split_input
from ckpttool.tensorflow_engine import load_tensorflow

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

Dims = tuple[int | None, ...]

# What a lookup's indices may go through on their way.
_PASSING = frozenset(
    ("Identity", "Reshape", "ExpandDims", "Squeeze", "Cast", "StridedSlice", "Transpose", "Pack")
)
_LOOKUPS = frozenset(("Gather", "GatherV2", "ResourceGather"))
_MAX_STEPS = 200  # operations that are looked at for a lookup
_LISTED = 12


class InputTensor(NamedTuple):
    """Where data comes in.

    ``shape`` is None where the graph does not know the rank.  ``rows`` is the number of rows of
    the table that the values are looked up in.  ``optional`` inputs have a default.
    """

    name: str
    dtype: str
    shape: Dims | None
    optional: bool = False
    rows: int | None = None


class SourceGraph:
    """The part of a graph that one output needs, restored; close it after use."""

    def __init__(
        self,
        graph: Graph,
        prefix: str,
        output: str,
        feeds: Iterable[str] = (),
        double: bool = False,
    ) -> None:
        """``feeds`` are further tensors that will be fed; nothing before them is restored.

        Raises :class:`InputError` (INP018) where TensorFlow cannot import or restore it.
        """
        self._tf = load_tensorflow()
        self.output = output
        cut = {name for name, node in graph.nodes.items() if node.op in INPUT_OPS}
        cut |= {name.partition(":")[0] for name in feeds}
        cut -= {name for name in cut if graph.nodes[name].op == "PlaceholderWithDefault"}
        self.nodes = graph.ancestors([graph.node(output).name], cut)
        self.random = tuple(graph.random_nodes(self.nodes))
        variables = graph.variables(self.nodes)
        file, assigns = graph.restores(variables)
        ends = [graph.node(output).name, *assigns, *([split_input(file)[0]] if assigns else ())]
        definition = graph.part(ends)
        try:
            self._session = self._restored(definition, file, assigns, prefix)
            if double:
                self._session = self._doubled(definition, variables)
            self.inputs = tuple(self._inputs(feeds))
        except Exception as error:
            message = "TensorFlow does not run this graph"
            first = (str(error).splitlines() or [""])[0][:300]
            found = f"{type(error).__name__}: {first}"
            hint = "give inputs and expected outputs instead: --io FILE.npz"
            if isinstance(error, InputError):
                raise
            raise InputError(Problem("INP018", message, graph.path, found, hint=hint)) from error

    def run(self, feeds: Mapping[str, Array]) -> Array:
        """The output's value."""
        try:
            value: Array = self._session.run(self.output, dict(feeds))
        except Exception as error:
            message = "TensorFlow does not run this graph on such inputs"
            first = (str(error).splitlines() or [""])[0][:300]
            hint = "say what is fed: --feed NAME=SPEC"
            raise InputError(Problem("INP018", message, self.output, first, hint=hint)) from error
        return value

    @property
    def shape(self) -> Dims | None:
        """The output's shape as far as the graph knows it."""
        return dims_of(self._session.graph.get_tensor_by_name(self.output))

    def close(self) -> None:
        """Release the session."""
        self._session.close()

    def _restored(self, definition: Any, file: str, assigns: Sequence[str], prefix: str) -> Any:
        session = self._imported(definition)
        if assigns:
            operations = [session.graph.get_operation_by_name(name) for name in assigns]
            session.run(operations, {file: os.fsencode(prefix)})
        return session

    def _imported(self, definition: Any) -> Any:
        v1 = self._tf.compat.v1
        graph = self._tf.Graph()
        with graph.as_default():
            v1.import_graph_def(definition, name="")
        options = v1.GraphOptions(place_pruned_graph=True)
        return v1.Session(graph=graph, config=v1.ConfigProto(graph_options=options))

    def _doubled(self, definition: Any, variables: Sequence[str]) -> Any:
        """The same in float64, with the same values."""
        tf = self._tf
        values = {name: self._read(name) for name in variables}
        self._session.close()
        session = self._imported(in_double(definition))
        with session.graph.as_default():
            for name, value in values.items():
                tensor = session.graph.get_tensor_by_name(f"{name}:0")
                wide = value.astype("float64") if value.dtype == "float32" else value
                given = tf.compat.v1.placeholder(wide.dtype, wide.shape)
                if tensor.dtype == tf.resource:
                    done = tf.raw_ops.AssignVariableOp(resource=tensor, value=given)
                else:
                    done = tf.raw_ops.Assign(ref=tensor, value=given)
                session.run(done, {given: wide})
        return session

    def _read(self, name: str) -> Array:
        tf, session = self._tf, self._session
        tensor = session.graph.get_tensor_by_name(f"{name}:0")
        if tensor.dtype == tf.resource:
            with session.graph.as_default():
                dtype = self.nodes[name].attr["dtype"].type
                tensor = tf.raw_ops.ReadVariableOp(resource=tensor, dtype=tf.as_dtype(dtype))
        value: Array = session.run(tensor)
        return value

    def _inputs(self, feeds: Iterable[str]) -> Iterator[InputTensor]:
        names = dict.fromkeys(feeds)
        for node in self.nodes.values():
            for source, number in map(split_input, node.input):
                origin = None if number is None else self.nodes.get(source)
                if origin is not None and origin.op in INPUT_OPS:
                    names[f"{source}:{number}"] = None
        for name in names:
            tensor = self._session.graph.get_tensor_by_name(name)
            optional = tensor.op.type == "PlaceholderWithDefault"
            rows = _rows(self._tf, tensor) if tensor.dtype.is_integer else None
            yield InputTensor(name, tensor.dtype.base_dtype.name, dims_of(tensor), optional, rows)


def dims_of(tensor: Any) -> Dims | None:
    """A tensor's static shape; None where the graph does not know the rank."""
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


def _rows(tf: Any, tensor: Any) -> int | None:
    """The least number of rows of the tables that a tensor's values are looked up in."""
    found: list[int] = []
    todo, seen = [tensor], 0
    while todo and seen < _MAX_STEPS:
        current = todo.pop()
        seen += 1
        for operation in current.consumers():
            if operation.type in _PASSING:
                todo += operation.outputs
            elif operation.type in _LOOKUPS and operation.inputs[1] is current:
                found += _table_rows(operation.inputs[0])
            elif operation.type == "OneHot" and operation.inputs[0] is current:
                depth = tf.get_static_value(operation.inputs[1])
                found += [] if depth is None else [int(depth)]
    return min(found, default=None)


def _table_rows(table: Any) -> list[int]:
    if table.op.type == "VarHandleOp":
        dims: Sequence[int | None] = [item.size for item in table.op.get_attr("shape").dim]
    else:
        dims = dims_of(table) or ()
    return [dims[0]] if dims and dims[0] and dims[0] > 0 else []
