"""A draft mapping: pairs of layers as rules, with what speaks for each and what is left open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ckpttool.mapping.suggest.fold import FoldedRule, Line, fold
from ckpttool.mapping.suggest.matching import Matcher, Pair
from ckpttool.mapping.suggest.units import SourceTensor, Unit, source_units, target_units
from ckpttool.names import OBJECT_GRAPH_KEY

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint
    from ckpttool.mapping.like.template import Template

_LEFT_OUT = frozenset(("slot", "average", "step", "table", "object_graph"))
_OPAQUE = ("opaque_kernel", "moving_mean/biased", "moving_mean/local_step",
           "moving_variance/biased", "moving_variance/local_step")  # fmt: skip


class Missing(NamedTuple):
    """A target variable that nothing is told for; ``filler`` would keep its layer neutral."""

    name: str
    shape: tuple[int, ...]
    filler: str | None = None


class Draft(NamedTuple):
    """What is suggested.

    ``rules`` are those to use, ``open_rules`` those that are too uncertain.  ``unused`` are
    source tensors without a counterpart, ``missing`` target variables without one.  ``dropped``
    are names that a migration leaves out, with the reason.
    """

    source: str
    target: str
    format: str
    rules: tuple[FoldedRule, ...]
    open_rules: tuple[FoldedRule, ...]
    unused: tuple[SourceTensor, ...]
    missing: tuple[Missing, ...]
    dropped: tuple[tuple[str, str], ...]
    averages: int
    tensors: int
    variables: int

    @property
    def told(self) -> int:
        """Target variables that the rules write."""
        return sum(len(line.targets) for rule in self.rules for line in rule.lines)

    @property
    def forget_bias(self) -> bool:
        """Whether a rule needs the parameter of that name."""
        return any("$forget_bias" in text for rule in self.rules for text in rule.chain)


def suggest(checkpoint: Checkpoint, template: Template) -> Draft:
    """The draft mapping of an open checkpoint to a target's template."""
    order = creation_order(checkpoint)
    kept: list[SourceTensor] = []
    dropped: list[tuple[str, str]] = []
    averages = 0
    for row in checkpoint.rows():
        if not row.saved or row.shape is None:
            continue
        if row.role in _LEFT_OUT or row.name == OBJECT_GRAPH_KEY:
            averages += row.role == "average"
            dropped.append((row.name, row.role))
        elif row.name.endswith(_OPAQUE):
            dropped.append((row.name, "other"))
        else:
            kept.append(SourceTensor(row.name, row.dtype, row.shape, order.get(row.name)))
    return draft(kept, template, source=checkpoint.info.path, dropped=dropped, averages=averages)


def draft(
    tensors: Sequence[SourceTensor],
    template: Template,
    *,
    source: str,
    dropped: Sequence[tuple[str, str]] = (),
    averages: int = 0,
) -> Draft:
    """The draft mapping of tensors, known by name and shape, to a target's template."""
    sources, targets = source_units(tensors), target_units(template)
    torch = template.kind == "safetensors"
    pairs = Matcher(sources, targets, torch=torch).match()
    lines = [line for pair in pairs for line in _lines(pair)]
    names = [*(tensor.name for tensor in tensors), *(name for name, _ in dropped)]
    rules = fold(lines, names)
    used = {name for line in lines for name in line.sources}
    return Draft(
        source,
        template.path,
        template.kind,
        tuple(rule for rule in rules if rule.confidence != "low"),
        tuple(rule for rule in rules if rule.confidence == "low"),
        tuple(tensor for tensor in tensors if tensor.name not in used),
        tuple(_missing(targets, lines)),
        tuple(dropped),
        averages,
        len(tensors),
        sum(len(unit.leaves) for unit in targets),
    )


def creation_order(checkpoint: Checkpoint) -> Mapping[str, int]:
    """Places of the keys in the order in which the graph made them; empty without a graph."""
    joined = checkpoint.joined
    if joined is None:
        return {}
    from ckpttool.graph.variables import variables

    place = {item.name: item.node_number for item in variables(joined.graph)}
    found: dict[str, int] = {}
    for row in checkpoint.rows():
        number = place.get(row.graph_names[0]) if row.graph_names else None
        if row.saved and number is not None:
            found[row.name] = number
    return found


def _lines(pair: Pair) -> Iterable[Line]:
    for link in pair.pairing.links:
        evidence = pair.evidence
        yield Line(
            link.sources,
            link.targets,
            link.chain,
            pair.confidence,
            evidence,
            (link.word,) if link.word else (),
        )


def _missing(targets: Sequence[Unit], lines: Sequence[Line]) -> Iterable[Missing]:
    told = {name for line in lines for name in line.targets}
    for unit in targets:
        some = any(leaf.name in told for leaf in unit.leaves)
        for leaf in unit.leaves:
            if leaf.name not in told:
                filler = {"bias": "zeros", "beta": "zeros", "gamma": "ones"}.get(leaf.role)
                yield Missing(leaf.name, leaf.shape, filler if some else None)
