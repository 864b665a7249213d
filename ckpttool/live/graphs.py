"""A TF1 graph cut down to what an output needs: data, before TensorFlow imports it.

Training graphs hold gradients, optimizers, queues and ops that nobody has any more.  Only the
ancestors of the output, and of the assignments that restore the variables among them, are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from ckpttool.errors import InputError, Problem, UsageError
from ckpttool.names import nearest

# Where data comes into a graph.
INPUT_OPS = frozenset(
    (
        "Placeholder",
        "PlaceholderV2",
        "PlaceholderWithDefault",
        "IteratorGetNext",
        "QueueDequeueV2",
        "QueueDequeueManyV2",
        "QueueDequeueUpToV2",
    )
)
VARIABLE_OPS = frozenset(("Variable", "VariableV2", "VarHandleOp", "AutoReloadVariable"))
_ASSIGN_OPS = frozenset(("Assign", "AssignVariableOp"))
_RANDOM_OPS = frozenset(
    (
        "RandomUniform",
        "RandomStandardNormal",
        "TruncatedNormal",
        "RandomUniformInt",
        "StatelessRandomUniform",
        "StatelessRandomUniformV2",
        "StatelessRandomNormal",
    )
)
_BATCH_NORMS = frozenset(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"))
_LISTED = 12


def split_input(text: str) -> tuple[str, int | None]:
    """Node and output number of an input as a NodeDef has it; None for a control input."""
    if text.startswith("^"):
        return text[1:], None
    name, _, number = text.partition(":")
    return name, int(number) if number.isdigit() else 0


def tensor_name(text: str) -> str:
    """``logits`` as ``logits:0``."""
    return text if ":" in text else f"{text}:0"


class Graph:
    """The nodes of one MetaGraphDef by name."""

    def __init__(self, meta: Any, path: str) -> None:
        self.meta = meta
        self.path = path
        self.nodes: Mapping[str, Any] = {node.name: node for node in meta.graph_def.node}

    def node(self, tensor: str) -> Any:
        """The node of a tensor; :class:`UsageError` naming the nearest."""
        name = tensor.partition(":")[0]
        if name not in self.nodes:
            near = ", ".join(nearest(name, list(self.nodes)))
            hint = f"did you mean {near}?" if near else None
            message = "the graph has no node of this name"
            raise UsageError(Problem("USE003", message, self.path, name, hint=hint))
        return self.nodes[name]

    def ancestors(self, names: Iterable[str], cut: Collection[str] = ()) -> dict[str, Any]:
        """These nodes and all that they need; what ``cut`` nodes need is left out."""
        found: dict[str, Any] = {}
        todo = list(names)
        while todo:
            name = todo.pop()
            node = self.nodes.get(name)
            if node is None or name in found:
                continue
            found[name] = node
            if name not in cut:
                todo += [split_input(item)[0] for item in node.input]
        return found

    def variables(self, nodes: Mapping[str, Any]) -> list[str]:
        """The variables among nodes."""
        return [name for name, node in nodes.items() if node.op in VARIABLE_OPS]

    def restores(self, variables: Sequence[str]) -> tuple[str, list[str]]:
        """The tensor of the file name, and the assignments that restore these variables.

        Raises :class:`InputError` where the graph has no Saver for them.
        """
        saver = self.meta.saver_def
        operation = saver.restore_op_name or "save/restore_all"
        file = saver.filename_tensor_name or "save/Const:0"
        assigned = {
            node.input[0]: name
            for name, node in self.ancestors([operation.partition(":")[0]]).items()
            if node.op in _ASSIGN_OPS and node.input
        }
        lacking = [name for name in variables if split_input(name)[0] not in assigned]
        if lacking:
            found = ", ".join(lacking[:_LISTED])
            hint = "give inputs and expected outputs instead: --io FILE.npz"
            message = "the graph's Saver does not restore what the output needs"
            raise InputError(Problem("INP017", message, self.path, found, hint=hint))
        return file, [assigned[name] for name in variables]

    def part(self, names: Iterable[str]) -> Any:
        """A GraphDef of the ancestors of these nodes, without devices and colocation."""
        kept = self.ancestors(names)
        definition = type(self.meta.graph_def)()
        definition.versions.CopyFrom(self.meta.graph_def.versions)
        definition.library.CopyFrom(self.meta.graph_def.library)
        for name, node in self.nodes.items():
            if name in kept:
                copy = definition.node.add()
                copy.CopyFrom(node)
                copy.device = ""
                copy.attr.pop("_class", None)
        return definition

    def random_nodes(self, nodes: Mapping[str, Any]) -> Iterator[str]:
        """What makes outputs depend on chance, or on the other examples of a batch."""
        for name, node in nodes.items():
            training = node.op in _BATCH_NORMS and (
                "is_training" not in node.attr or node.attr["is_training"].b
            )
            if node.op in _RANDOM_OPS or training:
                yield name
