"""Which tensor of a TF1 graph is the output of the model.

In an inference graph it is what nothing reads.  A training graph goes on to a loss: there it is the
last tensor of the shape of the model's output that needs every variable and the fewest inputs, so
no labels.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ckpttool.errors import Problem, UsageError
from ckpttool.live.graphs import INPUT_OPS, VARIABLE_OPS, Graph, split_input, tensor_name
from ckpttool.live.sources import Dims, dims_of
from ckpttool.tensorflow_engine import load_tensorflow

# Nodes that are no output of a model, though nothing reads them.
_NO_OUTPUTS = frozenset(
    (
        "Assert", "AudioSummary", "Const", "HistogramSummary", "ImageSummary", "MergeSummary",
        "MergeV2Checkpoints", "NoOp", "Print", "Rank", "RestoreV2", "SaveV2", "ScalarSummary",
        "Shape", "ShapeN", "ShardedFilename", "Size", "TensorSummary", "VarIsInitializedOp",
    )
)  # fmt: skip
# What changes state, as batch norm's averages: what only these read is no output either.
_UPDATES = frozenset(
    (
        "Assign", "AssignAdd", "AssignSub", "AssignVariableOp", "AssignAddVariableOp",
        "AssignSubVariableOp",
    )
)  # fmt: skip
_OPTIMIZERS = ("Apply", "ResourceApply", "SparseApply", "ResourceSparseApply")
_DT_REF = 100
_FLOATS = frozenset((1, 2, 14, 19))  # float32, float64, bfloat16, float16
_MAX_PASSES = 8  # over a graph with loops, until what is known of its nodes stays
_MAX_INNER = 200  # tensors of the right shape that are looked at one by one
_LISTED = 12


class Choice(NamedTuple):
    """The tensor to compare, and what a person should know of how it was found."""

    tensor: str
    notes: tuple[str, ...] = ()


def choose_output(graph: Graph, output: str | None, shapes: Sequence[Dims] = ()) -> Choice:
    """The tensor to compare: as named, or the only one that may be it.

    ``shapes`` are those of the model's outputs.  Raises :class:`UsageError`, listing what there
    is, where it is not clear which.
    """
    if output is not None:
        graph.node(output)
        return Choice(tensor_name(output))
    found = outputs(graph)
    if shapes:
        known = _shapes(graph, found)
        fitting = [name for name, dims in known if _alike(dims, shapes)]
        if known and not fitting:
            inner = _inner(graph, shapes)
            if len(inner) == 1:
                return Choice(inner[0], (_explained(inner[0], found),))
        found = fitting or found
    if len(found) == 1:
        return Choice(found[0])
    message = "the graph has several outputs" if found else "the graph has no clear output"
    listed = ", ".join(found[:_LISTED]) or None
    hint = f"--output-tensor {found[0] if found else 'TENSOR'}"
    raise UsageError(Problem("USE001", message, graph.path, listed, hint=hint))


def _explained(tensor: str, ends: Sequence[str]) -> str:
    after = f": the graph goes on to {', '.join(ends[:3])}" if ends else ""
    return f"{tensor} is taken for the output, by its shape and what it depends on{after}"


def outputs(graph: Graph) -> list[str]:
    """Tensors that may be the model's output: computed from inputs, and read by nobody."""
    signature = _signature(graph.meta)
    if signature:
        return signature
    fed = _below_inputs(graph)
    inner = _read_by(graph, fed)
    return [f"{name}:0" for name in fed if name not in inner and _may_be(graph.nodes[name])]


def _may_be(node: Any) -> bool:
    return (
        node.op not in _NO_OUTPUTS
        and node.op not in _UPDATES
        and node.op not in INPUT_OPS
        and not node.name.startswith("save/")
        and _is_float(node)
    )


def _trains(node: Any) -> bool:
    """Whether a node is a part of training: gradients, in whatever scope, and what applies them."""
    return "/gradients" in f"/{node.name}" or node.op.startswith(_OPTIMIZERS)


def _signature(meta: Any) -> list[str]:
    """The floating-point outputs of the signature that serves."""
    found = meta.signature_def
    for key in ("serving_default", "default"):
        if key in found:
            return sorted(
                item.name for item in found[key].outputs.values() if item.dtype in _FLOATS
            )
    return []


def _below_inputs(graph: Graph) -> dict[str, None]:
    """Nodes that are computed from inputs, gradients and what trains left out."""
    readers: dict[str, list[str]] = {}
    for name, node in graph.nodes.items():
        for source, number in map(split_input, node.input):
            if number is not None:
                readers.setdefault(source, []).append(name)
    found: dict[str, None] = {}
    todo = [name for name, node in graph.nodes.items() if node.op in INPUT_OPS]
    while todo:
        name = todo.pop()
        if name not in found and not _trains(graph.nodes[name]):
            found[name] = None
            todo += readers.get(name, ())
    return found


def _read_by(graph: Graph, names: Iterable[str]) -> set[str]:
    """Nodes whose values other nodes of these read, other than to sum them up for people."""
    return {
        source
        for name in names
        if graph.nodes[name].op not in _NO_OUTPUTS
        for source, number in map(split_input, graph.nodes[name].input)
        if number is not None
    }


def _is_float(node: Any) -> bool:
    kinds = [node.attr[key].type for key in ("T", "dtype", "DstT") if key in node.attr]
    return not kinds or kinds[-1] % _DT_REF in _FLOATS


# --- inside of a training graph ----------------------------------------------------------------


def _inner(graph: Graph, shapes: Sequence[Dims]) -> list[str]:
    """The last tensors of these shapes that need the most variables and the fewest inputs."""
    fed = [name for name in _below_inputs(graph) if _may_be(graph.nodes[name])]
    fitting = [
        name.partition(":")[0]
        for name, dims in _shapes(graph, [f"{name}:0" for name in fed])
        if dims is not None and _alike(dims, shapes)
    ]
    if not fitting:
        return []
    needs = _needs(graph)
    most = max(needs[name].variables.bit_count() for name in fitting)
    fitting = [name for name in fitting if needs[name].variables.bit_count() == most]
    sets = {needs[name].inputs for name in fitting}
    least = {one for one in sets if not any(other & one == other != one for other in sets)}
    fitting = [name for name in fitting if needs[name].inputs in least]
    if not most or len(fitting) > _MAX_INNER:
        return []
    before: set[str] = set()
    for name in fitting:
        before |= graph.ancestors([name]).keys() - {name}
    return [f"{name}:0" for name in fitting if name not in before]


class _Needs(NamedTuple):
    """The variables and inputs that a node depends on, a bit for each."""

    variables: int
    inputs: int


def _needs(graph: Graph) -> Mapping[str, _Needs]:
    variables = [name for name, node in graph.nodes.items() if node.op in VARIABLE_OPS]
    inputs = [name for name, node in graph.nodes.items() if node.op in INPUT_OPS]
    found = dict.fromkeys(graph.nodes, _Needs(0, 0))
    found.update({name: _Needs(1 << bit, 0) for bit, name in enumerate(variables)})
    own = {name: 1 << bit for bit, name in enumerate(inputs)}
    order = _ordered(graph)
    for _ in range(_MAX_PASSES):
        changed = False
        for name in order:
            ours, fed = found[name]
            fed |= own.get(name, 0)
            for item in graph.nodes[name].input:
                source, number = split_input(item)
                if number is not None and source in found:
                    more = found[source]
                    ours, fed = ours | more.variables, fed | more.inputs
            if (ours, fed) != found[name]:
                found[name], changed = _Needs(ours, fed), True
        if not changed:
            break
    return found


def _ordered(graph: Graph) -> list[str]:
    """Nodes after what they read, as far as loops allow."""
    order: list[str] = []
    seen: set[str] = set()
    for first in graph.nodes:
        todo = [(first, False)]
        while todo:
            name, done = todo.pop()
            if done:
                order.append(name)
            elif name not in seen and name in graph.nodes:
                seen.add(name)
                todo.append((name, True))
                todo += [(split_input(item)[0], False) for item in graph.nodes[name].input]
    return order


def _shapes(graph: Graph, tensors: Collection[str]) -> list[tuple[str, Dims | None]]:
    """Static shapes of tensors; none where TensorFlow does not import what they need."""
    tf = load_tensorflow()
    imported = tf.Graph()
    try:
        with imported.as_default():
            names = [name.partition(":")[0] for name in tensors]
            tf.compat.v1.import_graph_def(graph.part(names), name="")
        return [(name, dims_of(imported.get_tensor_by_name(name))) for name in tensors]
    except Exception:
        return []


def _alike(dims: Dims | None, shapes: Sequence[Dims]) -> bool:
    """Whether a tensor's shape may be one of these, axes of one element aside."""
    if dims is None:
        return True
    own = [size for size in dims[1:] if size != 1]
    for shape in shapes:
        other = [size for size in shape[1:] if size != 1]
        if len(own) == len(other) and len(dims) > 0:
            pairs = zip(own, other, strict=True)
            if all(a is None or b is None or a == b for a, b in pairs):
                return True
    return False
