"""What each checkpoint key is for: variable, slot, average, step, table, object graph.

Two sources.  A graph that has the training ops says which variables an optimizer's ``Apply*`` op
updates beside its first one: those are its slots, whatever they are called.  Without such a graph
the role is inferred from names and shapes and marked so: TF1's slot creator names a slot
``<variable>/<optimizer name>`` (``_1``, ``_2`` for the second and third), where the optimizer name
is the optimizer's *name argument*, and gives it the variable's shape.
Sources: ``tensorflow:python/training/slot_creator.py``, ``moving_averages.py``, ``optimizer.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ckpttool.names import OBJECT_GRAPH_KEY
from ckpttool.tensors import TensorSpec

VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOT_EDGE = "/.OPTIMIZER_SLOT/"

ROLES = ("variable", "slot", "average", "step", "table", "object_graph", "other")


class Role(NamedTuple):
    """The role of one key; ``owner`` is the key that a slot or average belongs to.

    ``inferred`` is True where only names and shapes speak for it.
    """

    role: str
    owner: str | None = None
    inferred: bool = True


VARIABLE = Role("variable")
_OTHER = Role("other")
_STEP = Role("step")
_TABLE = Role("table")
_OPTIMIZER_STATE = Role("slot")

# Default optimizer names of TF1 (core and contrib), and suffixes that well-known optimizers use.
# A set and string methods, no regular expression: compiling one of this size takes milliseconds.
_OPTIMIZERS = frozenset(
    [
        "AdaMax",
        "AdaMaxOptimizer",
        "Adadelta",
        "Adagrad",
        "AdagradDA",
        "Adam",
        "AdamOptimizer",
        "AdamW",
        "AdamWOptimizer",
        "AddSign",
        "Adafactor",
        "Adamax",
        "CenteredRMSProp",
        "Elastic",
        "Ftrl",
        "GGT",
        "GradientDescent",
        "LAMB",
        "LARSOptimizer",
        "LARS",
        "LazyAdam",
        "LazyAdamOptimizer",
        "Momentum",
        "MomentumOptimizer",
        "MomentumW",
        "NadamOptimizer",
        "Nadam",
        "PowerSign",
        "ProximalAdagrad",
        "ProximalGradientDescent",
        "RMSProp",
        "RMSprop",
        "RMSPropOptimizer",
        "SGD",
        "Shampoo",
        "VariableClippingOptimizer",
        "YellowFin",
        "gradient_accumulator",
        "grad_acc",
        "mom",
        "rms",
        "adam_m",
        "adam_v",
        "lamb_m",
        "lamb_v",
        "momentum",
        "velocity",
    ]
)
_SLOT_TAILS = ("_slot_v", "_slot_m", "_slot_vr", "_slot_vc")  # Adafactor of mesh-tensorflow
_POWERS = frozenset(("beta1_power", "beta2_power"))
_PARTS = frozenset(("part", "t"))
_STEPS = frozenset(("global_step", "save_counter", "iteration", "iterations", "iter"))
_AVERAGE = "ExponentialMovingAverage"
_MAX_SCOPES = 32  # leading scopes that an optimizer may have been built in
_INTEGERS = frozenset(("int32", "int64", "uint32", "uint64"))
_KERAS_STATE = frozenset(
    ("Variable", "iterations", "lr", "learning_rate", "decay", "rho", "momentum", "beta")
)
_SPECIAL_LEAVES = (
    frozenset(
        ("VARIABLE_VALUE", "OBJECT_CONFIG_JSON", OBJECT_GRAPH_KEY, "biased", "local_step", _AVERAGE)
    )
    | _POWERS
    | _STEPS
    | _KERAS_STATE
)


def _unnumbered(leaf: str) -> str:
    """``leaf`` without a numeric ``_1`` suffix."""
    if leaf[-1:].isdigit():
        head, mark, digits = leaf.rpartition("_")
        if mark and digits.isdigit():
            return head
    return leaf


def infer_roles(specs: Mapping[str, TensorSpec], trainable: Iterable[str] = ()) -> dict[str, Role]:
    """The roles that are not plain ``variable``, by key; keys left out are variables.

    ``trainable`` names keys that a graph lists as trainable: they are variables whatever they
    are called.
    """
    roles: dict[str, Role] = {}
    certain = frozenset(trainable)
    last, slot = None, VARIABLE
    make = tuple.__new__  # half the cost of the constructor, 100,000 times
    kinds: dict[str, str] = {}  # by last component: most are plain, and repeat
    for name, spec in specs.items():
        head, _, leaf = name.rpartition("/")
        kind = kinds.get(leaf)
        if kind is None:
            kind = kinds[leaf] = _kind(leaf)
        owner = specs.get(head)
        if owner is None:
            if kind == "plain":
                continue
        elif owner.shape == spec.shape and kind != "special":
            # Nested under a variable of its own shape: a slot, whatever the optimizer's name.
            if name not in certain:
                if head != last:  # an optimizer's slots follow each other: one object for both
                    last = head
                    slot = make(Role, ("slot", head, True))
                roles[name] = slot
            continue
        role = _infer(name, head, leaf, spec, specs)
        if role is not None and (name not in certain or role.role == "step"):
            roles[name] = role
    return roles


def _kind(leaf: str) -> str:
    """Whether a last component is a ``slot`` word, needs a ``special`` look, or is ``plain``."""
    base = _unnumbered(leaf)
    if base in _SPECIAL_LEAVES or leaf.startswith("table-") or leaf.endswith(("-keys", "-values")):
        return "special"
    return "slot" if base in _OPTIMIZERS or leaf.endswith(_SLOT_TAILS) else "plain"


def _infer(
    name: str, head: str, leaf: str, spec: TensorSpec, specs: Mapping[str, TensorSpec]
) -> Role | None:
    if name == OBJECT_GRAPH_KEY:
        return Role("object_graph", None, False)
    if name.endswith(VALUE_SUFFIX) or "/.ATTRIBUTES/" in name:
        return _infer_object_key(name, spec, specs)
    base = _unnumbered(leaf)
    if leaf == "global_step" and not spec.shape:
        return _STEP  # of any dtype: float steps are in the wild
    if leaf in _STEPS and not spec.shape and spec.dtype in _INTEGERS:
        return _STEP
    if base in _POWERS and not spec.shape:
        return _OPTIMIZER_STATE
    if leaf.endswith(("-keys", "-values")) and _has_table_twin(name, specs):
        return _TABLE
    if base in _KERAS_STATE and _is_optimizer_scope(head):
        return _OPTIMIZER_STATE
    if base == _AVERAGE:
        return Role("average", _owner(head, spec, specs))
    if leaf == "biased" and head in specs:
        return Role("average", head)
    if leaf == "local_step":
        return Role("other", head if head in specs else None)
    return _infer_slot(head, leaf, spec, specs)


def _infer_slot(
    head: str, leaf: str, spec: TensorSpec, specs: Mapping[str, TensorSpec]
) -> Role | None:
    if head in specs and specs[head].shape == spec.shape:
        return Role("slot", head)  # nested under a variable of its own shape: any optimizer name
    if leaf.endswith(_SLOT_TAILS):
        stem = leaf[: leaf.rindex("_slot_")]
        owner = f"{head}/{stem}" if head else stem
        return Role("slot", owner if owner in specs else None)
    if _unnumbered(leaf) in _OPTIMIZERS:
        owner_key = _owner(head, spec, specs)
        # `momentum` and the like are also plain variable names: those need an owner to be slots.
        if owner_key is not None or leaf[0].isupper():
            return Role("slot", owner_key)
    return None


def _is_optimizer_scope(scope: str) -> bool:
    """Whether ``scope`` is where Keras of the TF1 era keeps an optimizer's anonymous state."""
    head, _, leaf = scope.rpartition("/")
    return _unnumbered(leaf) in _OPTIMIZERS and _unnumbered(head) in ("", "training")


def _owner(head: str, spec: TensorSpec, specs: Mapping[str, TensorSpec]) -> str | None:
    """The variable that ``head/<slot name>`` belongs to.

    Tried in turn: the head itself; the head without a partition's ``part_0`` or ``t_0``; both
    without leading scopes, for an optimizer that was built inside a variable scope
    (``OptimizeLoss/dense/kernel/Adam``).
    """
    base, _, last = head.rpartition("/")
    forms = (
        [head, base]
        if base and last != _unnumbered(last) and _unnumbered(last) in _PARTS
        else [head]
    )
    for form in forms:
        if form in specs:
            return form
    for form in forms:
        rest = form
        for _ in range(_MAX_SCOPES):
            rest = rest.partition("/")[2]
            if not rest:
                break
            found = specs.get(rest)
            if found is not None and found.shape == spec.shape:
                return rest
    return None


def _infer_object_key(name: str, spec: TensorSpec, specs: Mapping[str, TensorSpec]) -> Role | None:
    if "/.ATTRIBUTES/table-" in name:
        return _TABLE
    if not name.endswith(VALUE_SUFFIX):
        return _OTHER  # OBJECT_CONFIG_JSON and other attributes that are no variable's value
    path = name[: -len(VALUE_SUFFIX)]
    owner, edge, _ = path.partition(_SLOT_EDGE)
    if edge:
        key = owner + VALUE_SUFFIX
        return Role("slot", key if key in specs else None)
    leaf = path.rpartition("/")[2]
    if (
        (leaf.lstrip("_") in _STEPS or leaf == "step")
        and not spec.shape
        and spec.dtype in _INTEGERS
    ):
        return _STEP
    parts = path.split("/")
    if any(part in ("optimizer", "_optimizer") for part in parts[:-1]):
        # Keras 3 tracks a model's own weights under its optimizer too, and names the key by the
        # shortest path: those stay variables.
        return None if "_trainable_variables" in parts else _OPTIMIZER_STATE
    return None


def _has_table_twin(name: str, specs: Mapping[str, TensorSpec]) -> bool:
    if name.endswith("-keys"):
        return name[:-5] + "-values" in specs
    return name[:-7] + "-keys" in specs
