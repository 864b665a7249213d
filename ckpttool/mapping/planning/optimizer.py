"""Optimizer state for Keras: TF1's slots as the variables of a Keras optimizer.

Keras stores an optimizer's variables by number: the iteration, the learning rate unless it is a
schedule, and then the slots of every trainable variable, in the order of the model.  What that is
comes from a template whose optimizer has been built.  In a TF2 checkpoint the numbers are paths of
the object graph; the order of the weights is there too (Keras 3), or in the names of the slots
(tf_keras, which keeps the learning rate by itself).  Slots go through the transforms of their
variables.  Source of the layouts: ``keras-team/keras:keras/src/optimizers`` and
``keras-team/tf-keras:tf_keras/optimizers``, compared with TF1's optimizers by further training
steps.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ckpttool.errors import MappingError, Problem, UsageError
from ckpttool.mapping.planning.building import Made
from ckpttool.mapping.planning.expressions import Expression, array_spec
from ckpttool.mapping.planning.fitting import TargetVariable, Template
from ckpttool.mapping.planning.slots import MOVE, Fate, Fates
from ckpttool.mapping.transforms.chain import Chain
from ckpttool.mapping.transforms.parse import chain_of
from ckpttool.tensors import Shape, TensorSpec

_KEY = re.compile(r"optimizer/vars/([0-9]{1,9})\Z")
_PATH = re.compile(r"(?:.*/)?optimizer/_variables/([0-9]{1,9})\Z", re.DOTALL)
_TRAINED = re.compile(r"(?:.*/)?optimizer/_trainable_variables/([0-9]{1,9})\Z", re.DOTALL)
_RATE = re.compile(r"(?:.*/)?optimizer/_learning_rate\Z", re.DOTALL)
_NUMBERED = re.compile(r"_([0-9]{1,3})\Z")
_LABEL = "optimizer"


class Kind(NamedTuple):
    """One optimizer.  ``slots`` has, for so many Keras slots a variable, the numbers of TF1's.

    ``blocks``: all first slots stand before all second ones, instead of side by side.
    """

    slots: Mapping[int, tuple[int, ...]]
    blocks: bool = False
    scaled: bool = False


# TF1 numbers slots as it makes them: Adam 0, Adam_1 1.  RMSProp has rms and mom, and with
# `centered` rms, mg and mom; Keras has velocity, momentum and average_gradient.
KINDS: dict[str, Kind] = {
    "adam": Kind({2: (0, 1)}),
    "momentum": Kind({1: (0,)}, scaled=True),
    "rmsprop": Kind({1: (0,), 2: (0, 1)}, blocks=True),
    "rmsprop_centered": Kind({2: (0, 1), 3: (0, 2, 1)}, blocks=True),
    "adagrad": Kind({1: (0,)}),
    "adadelta": Kind({2: (0, 1)}),
    "ftrl": Kind({2: (0, 1)}),
}
_LETTERS = {"m": 0, "v": 1}  # BERT's own Adam: w/adam_m, w/adam_v


class Optimizer(NamedTuple):
    """The optimizer that is asked for, and its learning rate where it has to be written."""

    name: str
    learning_rate: float | None = None

    @property
    def kind(self) -> Kind:
        """Its layout."""
        return KINDS[self.name]


def parse_optimizer(text: str) -> Optimizer:
    """The optimizer of ``adam`` or ``adam,learning_rate=0.001``."""
    name, *options = text.replace(" ", "").split(",")
    if name not in KINDS:
        message = "no optimizer whose state can be carried over"
        raise UsageError(Problem("USE003", message, None, name, ", ".join(KINDS)))
    rate = None
    for option in options:
        key, _, value = option.partition("=")
        try:
            rate = float(value) if key == "learning_rate" else None
        except ValueError:
            rate = None
        if rate is None:
            expected = "adam,learning_rate=0.001"
            raise UsageError(
                Problem("USE003", "not an option of an optimizer", None, option, expected)
            )
    return Optimizer(name, rate)


class State:
    """Plans an optimizer's variables; ``used`` and ``unused`` are the source names it saw."""

    def __init__(
        self,
        optimizer: Optimizer,
        template: Template,
        fates: Fates,
        specs: Mapping[str, TensorSpec],
    ) -> None:
        self._optimizer = optimizer
        self._fates = fates
        self._specs = specs
        self._slots: dict[tuple[tuple[str, ...], int], dict[int, Made]] = {}
        self._raw = {average: name for name, average in fates.stand_ins.items()}
        self.used: set[str] = set()
        self.unused: list[str] = []
        found: dict[int, TargetVariable] = {}
        self._apart: TargetVariable | None = None  # a learning rate that is none of them
        for item in template.variables:
            number = _numbered(_KEY, (item.key,))
            number = _numbered(_PATH, item.names) if number is None else number
            if number is not None:
                found[number] = item
            elif any(_RATE.match(name) for name in item.names):
                self._apart = item
        self._variables = [found[number] for number in sorted(found)]
        in_paths = self._variables and not _KEY.match(self._variables[0].key)
        self._order = _order(template, self._variables) if in_paths else None
        self._label = fates.rules.label

    def without_slots(self, made: Sequence[Made]) -> list[Made]:
        """The tensors that are no slots; the others are kept for :meth:`variables`."""
        kept = []
        for item in made:
            owners = self._owners(item)
            if owners is None:
                kept.append(item)
            elif None in owners:
                self.unused += item.sources
            else:
                key = (tuple(owner or "" for owner in owners), self._output(item))
                self._slots.setdefault(key, {})[self._number(item)] = item
        return kept

    def variables(self, weights: Sequence[Made]) -> list[Made]:
        """The optimizer's variables, for weights in the order of the target.

        Raises MAP029 where the checkpoint's state is not what the target's optimizer has.
        """
        pairs = [(item, self._slots.pop(self._key(item), None)) for item in weights]
        trained = self._in_order([(item, slots) for item, slots in pairs if slots is not None])
        self.unused += [
            n for slots in self._slots.values() for i in slots.values() for n in i.sources
        ]
        made = [self._iteration()]
        places = len(self._variables) - 1
        count = len(trained)
        kind = self._optimizer.kind
        rate = next((rate for rate in (1, 0) if count and (places - rate) % count == 0
                     and (places - rate) // count in kind.slots), None)  # fmt: skip
        if rate is None:
            raise self._wrong(
                "the target's optimizer has another number of variables than the slots make",
                f"{places + 1} variables for {count} weights with slots",
                "1, the learning rate, and "
                + " or ".join(str(number) for number in kind.slots)
                + f" a weight ({self._optimizer.name})",
            )
        if rate:
            made.append(self._rate(self._variables[1]))
        if self._apart is not None:
            made.append(self._rate(self._apart))
        order = kind.slots[(places - rate) // count]
        cells = (
            [(item, slots, number) for number in order for item, slots in trained]
            if kind.blocks
            else [(item, slots, number) for item, slots in trained for number in order]
        )
        for at, (item, slots, number) in enumerate(cells, 1 + rate):
            made.append(self._slot(item, slots, number, self._variables[at]))
        self.used = {name for item in made for name in item.sources}
        return made

    def _in_order(
        self, trained: list[tuple[Made, dict[int, Made]]]
    ) -> list[tuple[Made, dict[int, Made]]]:
        """The weights as the optimizer has them."""
        order = self._order
        if order is None:
            return trained
        lost = next((item.target for item, _ in trained if item.target not in order), None)
        if lost is not None:
            message = "the target does not tell which place its optimizer has for this variable"
            raise self._wrong(message, lost, None)
        return sorted(trained, key=lambda pair: order[pair[0].target])

    def _owners(self, item: Made) -> list[str | None] | None:
        """The variables that a slot's sources belong to; None for what is no slot."""
        roles = [self._fates.roles.get(name) for name in item.sources]
        if not roles or any(role is None or role.role != "slot" for role in roles):
            return None
        return [role.owner if role else None for role in roles]

    def _output(self, item: Made) -> int:
        return item.expression.output if item.expression else 0

    def _key(self, item: Made) -> tuple[tuple[str, ...], int]:
        return tuple(self._raw.get(name, name) for name in item.sources), self._output(item)

    def _number(self, item: Made) -> int:
        """TF1's number of a slot."""
        leaf = item.sources[0].rsplit("/", 1)[-1]
        found = _NUMBERED.search(leaf)
        return int(found[1]) if found else _LETTERS.get(leaf.rpartition("_")[2], 0)

    def _iteration(self) -> Made:
        if not self._variables:
            raise self._wrong(
                "the target has no optimizer variables",
                None,
                "a model that is compiled, whose optimizer is built, saved after that",
            )
        steps = [
            name
            for name, spec in self._specs.items()
            if spec.shape == () and (role := self._fates.roles.get(name)) and role.role == "step"
        ]
        if not steps:
            raise self._wrong("there is no global step for the optimizer's iteration", None, None)
        name = next((name for name in steps if name.endswith("global_step")), steps[0])
        spec = array_spec(self._specs[name])
        expression = Expression((name,), Chain(), 0, chain_of([{"cast": "int64"}]))
        fate = Fate(MOVE, "", None, _LABEL)
        key = self._variables[0].key
        same = spec.dtype == "int64"
        return Made(
            key, (name,), fate, "int64", (), () if same else ("cast int64",),
            None if same else expression,
        )  # fmt: skip

    def _rate(self, variable: TargetVariable) -> Made:
        value = self._optimizer.learning_rate
        if value is None:
            message = "the target's optimizer has a learning rate: give one"
            raise self._wrong(
                message, None, f"--optimizer {self._optimizer.name},learning_rate=0.001"
            )
        chain = chain_of([{"constant": {"shape": [], "dtype": "float32", "value": value}}])
        inferred = chain.infer([])
        fate = Fate(MOVE, "", None, _LABEL)
        return Made(
            variable.key, (), fate, "float32", (), inferred.steps[0], Expression((), chain),
        )  # fmt: skip

    def _slot(
        self, weight: Made, slots: Mapping[int, Made], number: int, variable: TargetVariable
    ) -> Made:
        item = slots.get(number)
        if item is None:
            there = ", ".join(name for slot in slots.values() for name in slot.sources)
            raise self._wrong(f"{weight.sources[0]} has no slot number {number}", there, None)
        shape: Shape = tuple(variable.shape or ())
        if item.shape != shape:
            raise self._wrong(
                f"{variable.key} would be the slot of another variable",
                f"{list(item.shape)} from {item.sources[0]}",
                str(list(shape)),
            )
        item = item._replace(target=variable.key)
        if not self._optimizer.kind.scaled:
            return item
        rate = self._optimizer.learning_rate
        if rate is None:
            message = "Keras keeps momentum times the learning rate: give it"
            raise self._wrong(message, None, "--optimizer momentum,learning_rate=0.01")
        finish = chain_of([{"scale": -rate}])
        expression = item.expression or Expression(item.sources, Chain())
        return item._replace(
            operations=(*item.operations, finish.describe()),
            expression=expression._replace(finish=finish),
        )

    def _wrong(self, message: str, found: str | None, expected: str | None) -> MappingError:
        return MappingError(Problem("MAP029", message, self._label, found, expected))


def _numbered(pattern: re.Pattern[str], names: Sequence[str]) -> int | None:
    return next((int(match[1]) for name in names if (match := pattern.match(name))), None)


def _own(item: TargetVariable) -> str:
    return item.names[0] if item.names else item.key


def _order(template: Template, variables: Sequence[TargetVariable]) -> dict[str, int]:
    """The place that each weight has in an optimizer of a TF2 checkpoint, by its key."""
    found = {item.key: _numbered(_TRAINED, item.names) for item in template.variables}
    listed = {key: number for key, number in found.items() if number is not None}
    if listed:
        return listed
    # A slot of tf_keras is called as its weight, after a word for what it is: m/dense/kernel.
    places: dict[str, int] = {}
    for item in variables[1:]:
        places.setdefault(_own(item).partition("/")[2], len(places))
    by_name: dict[str, list[str]] = {}
    for item in template.variables:
        if item.required:
            by_name.setdefault(_own(item), []).append(item.key)
    return {
        keys[0]: places[name] for name, keys in by_name.items() if name in places and len(keys) == 1
    }
