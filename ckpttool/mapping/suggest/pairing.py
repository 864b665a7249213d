"""Whether a layer of the checkpoint can be a layer of the target, and by which transforms."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ckpttool.mapping.suggest.shapes import Change, changes
from ckpttool.mapping.suggest.units import Leaf, Unit

_MISSING = 0.3  # cost of a variable that the checkpoint does not have
_OPTIONAL = frozenset(("bias", "gamma", "beta"))  # what a layer may do without
_FORGET = "$forget_bias"


class Link(NamedTuple):
    """Tensors that become variables: both by name, transforms, and what is to be said of it."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    chain: tuple[str, ...] = ()
    word: str = ""


class Pairing(NamedTuple):
    """All variables of a target layer, told from one of the checkpoint.

    ``missing`` are variables that no tensor is there for.  ``cost`` is how much there is to
    explain, 0 for equal shapes and roles.
    """

    links: tuple[Link, ...]
    missing: tuple[Leaf, ...]
    cost: float


def pair(source: Unit, target: Unit, *, torch: bool = False) -> Pairing | None:
    """The pairing of two layers; None where they cannot be one."""
    if target.family == "cell" and source.family != "cell":
        return _simple_cell(source, target)
    if source.family == "cell" and "gates_kernel" in source.roles:
        return _gated_cell(source, target)
    if len(source.leaves) > len(target.leaves):
        return None
    return _plain(source, target, torch)


# --- layers whose variables are the same arrays -----------------------------------------------


def _plain(source: Unit, target: Unit, torch: bool) -> Pairing | None:
    links: list[Link] = []
    cost = 0.0
    left = list(source.leaves)
    missing: list[Leaf] = []
    for leaf, other in _partners(source, target):
        if other is None:
            missing.append(leaf)
            continue
        best = _best(other, leaf, torch)
        if best is None:
            return None
        left.remove(other)
        cost += best.cost + (0.0 if leaf.role == other.role else 0.1)
        links.append(Link((other.name,), (leaf.name,), best.chain, best.word))
    if left or not links or not all(leaf.role in _OPTIONAL for leaf in missing):
        return None
    return Pairing(tuple(links), tuple(missing), cost + _MISSING * len(missing))


def _best(source: Leaf, target: Leaf, torch: bool) -> Change | None:
    found = changes(source.shape, target.shape, source.role, torch)
    return found[0] if found else None


def _partners(source: Unit, target: Unit) -> Iterator[tuple[Leaf, Leaf | None]]:
    """Each variable of the target with the tensor of its role, or else with what is left over."""
    by_role = {leaf.role: leaf for leaf in source.leaves if leaf.role}
    roles = {leaf.role for leaf in target.leaves}
    rest = [leaf for leaf in source.leaves if not leaf.role or leaf.role not in _also(roles)]
    for leaf in target.leaves:
        found = by_role.get(leaf.role) if leaf.role else None
        if found is None:
            found = next((by_role[role] for role in _alike(leaf.role) if role in by_role), None)
            if found is not None and found in rest:
                rest.remove(found)
        if found is None and not _strange(leaf, source):
            found = rest.pop(0) if len(rest) == 1 else None
        yield leaf, found


def _also(roles: set[str]) -> set[str]:
    return roles | {other for role in roles for other in _alike(role)}


def _alike(role: str) -> tuple[str, ...]:
    """Roles that are one thing under two names: a depthwise kernel is the kernel of its layer."""
    pairs = {
        "kernel": ("depthwise", "table", "gamma"),
        "depthwise": ("kernel",),
        "table": ("kernel",),
        "gamma": ("kernel",),
        "beta": ("bias",),
        "bias": ("beta",),
    }
    return pairs.get(role, ())


def _strange(leaf: Leaf, source: Unit) -> bool:
    """Whether a variable's role is known and rules out what is left of the source."""
    return bool(leaf.role) and all(other.role for other in source.leaves)


# --- recurrent cells --------------------------------------------------------------------------


def _sizes(target: Unit) -> tuple[int, int, int] | None:
    """Inputs, units and gates of a cell of Keras."""
    kernel, recurrent = target.leaf("kernel"), target.leaf("recurrent_kernel")
    if kernel is None or recurrent is None or len(kernel.shape) != 2 or len(recurrent.shape) != 2:
        return None
    units, columns = recurrent.shape
    if not units or columns % units or kernel.shape[1] != columns:
        return None
    return kernel.shape[0], units, columns // units


def _simple_cell(source: Unit, target: Unit) -> Pairing | None:
    """TF1's LSTM and plain RNN cells: one kernel for inputs and state, gates i, j, f, o."""
    kernel, bias = source.leaf("kernel"), source.leaf("bias")
    sizes = _sizes(target)
    if sizes is None or kernel is None or len(source.leaves) != (2 if bias else 1):
        return None
    inputs, units, gates = sizes
    if kernel.shape != (inputs + units, gates * units) or gates not in (1, 4):
        return None
    goal = target.leaf("bias")
    if (goal is None) != (bias is None) or (goal and bias and goal.shape != bias.shape):
        return None
    gated = ("reorder_gates: {axis: %d, from: ijfo, to: ifco}",) if gates == 4 else ()
    rows = "d1//4" if gates == 4 else "d1"
    chain = (*(text % 1 for text in gated), f'split: {{axis: 0, sizes: [-1, "{rows}"]}}')
    word = (
        "gates i, j, f, o to i, f, c, o; inputs and state split"
        if gated
        else "inputs and state split"
    )
    links = [Link((kernel.name,), _kernels(target), chain, word)]
    if bias is not None and goal is not None:
        links.append(_cell_bias(source, bias, goal, gated))
    return Pairing(tuple(links), (), 0.1)


def _cell_bias(source: Unit, bias: Leaf, goal: Leaf, gated: tuple[str, ...]) -> Link:
    chain = tuple(text % 0 for text in gated)
    word = ""
    if gated and "cudnn" not in source.scope.lower():
        chain += (f"add: {{value: {_FORGET}, axis: 0, block: 1, of: 4}}",)
        word = "the forget bias, which TF1 adds as it runs, is added here"
    return Link((bias.name,), (goal.name,), chain, word)


def _kernels(target: Unit) -> tuple[str, ...]:
    found = (target.leaf("kernel"), target.leaf("recurrent_kernel"))
    return tuple(leaf.name for leaf in found if leaf is not None)


def _gated_cell(source: Unit, target: Unit) -> Pairing | None:
    """TF1's GRU cell: r and u in one layer, the candidate in another; Keras has u, r, c."""
    sizes = _sizes(target)
    gates, candidate = source.leaf("gates_kernel"), source.leaf("candidate_kernel")
    if sizes is None or gates is None or candidate is None or sizes[2] != 3:
        return None
    inputs, units, _ = sizes
    if gates.shape != (inputs + units, 2 * units) or candidate.shape != (inputs + units, units):
        return None
    links = [
        Link(
            (gates.name, candidate.name),
            _kernels(target),
            (
                "concat: {axis: 1}",
                "reorder_gates: {axis: 1, from: ruc, to: urc}",
                'split: {axis: 0, sizes: [-1, "d1//3"]}',
            ),
            "gates r, u and the candidate to u, r, c; inputs and state split",
        )
    ]
    low, high = source.leaf("gates_bias"), source.leaf("candidate_bias")
    goal = target.leaf("bias")
    if low is None or high is None or goal is None or goal.shape != (3 * units,):
        # A bias of (2, 3 units) is of `reset_after=True`, which computes something else.
        return None
    chain = ("concat: {axis: 0}", "reorder_gates: {axis: 0, from: ruc, to: urc}")
    links.append(Link((low.name, high.name), (goal.name,), chain, "biases joined"))
    return Pairing(tuple(links), (), 0.1)
