"""Values of parameters that show in a checkpoint: the `detect` of a mapping file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ckpttool.errors import MappingError, Problem
from ckpttool.mapping.language.document import Document, Guess, Scalar
from ckpttool.mapping.language.parameters import Scope, did_you_mean, fill
from ckpttool.mapping.language.patterns import Pattern, PatternError, escape
from ckpttool.mapping.transforms.base import TransformError
from ckpttool.mapping.transforms.sizes import parse_size
from ckpttool.tensors import TensorSpec


class Guessed(NamedTuple):
    """A value for a parameter, and the tensor that it was read from.

    ``convention`` says why, where the shape does not settle it.
    """

    param: str
    value: Scalar
    source: str
    shape: tuple[int, ...]
    convention: str = ""


def guess_values(
    document: Document, specs: Mapping[str, TensorSpec], given: Mapping[str, Scalar]
) -> list[Guessed]:
    """The parameters whose values show in these shapes; ``given`` are the others' values.

    Tensors that do not agree tell nothing, nor does a size that the table does not have.
    """
    found = []
    scope = Scope(document.label, document.params, fixed=given)
    for guess in document.detect:
        try:
            value = _value(guess, scope, specs)
        except (MappingError, PatternError, TransformError):
            continue  # it needs a parameter that has no value, or does not fit these shapes
        if value is not None:
            found.append(value)
    return found


def check_guesses(document: Document) -> list[Problem]:
    """What is wrong with the `detect` of a document, whatever the checkpoint."""
    problems = []
    ones = {name: 1 if value is None else value for name, value in document.params.items()}
    scope = Scope(document.label, ones)
    for guess in document.detect:
        name = guess.param.text
        if name not in document.params:
            hint = did_you_mean(name, document.params)
            message = f"the mapping has no parameter {name}"
            problems.append(Problem("MAP004", message, guess.param.where, hint=hint))
        try:
            _pattern(guess, scope)
            _ = parse_size(guess.size.text, guess.size.where, scope.value)
        except MappingError as error:
            problems += error.problems
        except PatternError as error:
            problems.append(Problem("MAP004", error.message, guess.source.where, guess.source.text))
        except TransformError as error:
            where, found = guess.size.where, error.found or guess.size.text
            problems.append(Problem("MAP021", error.message, where, found, error.expected))
    return problems


def _pattern(guess: Guess, scope: Scope) -> Pattern:
    return Pattern(fill(guess.source, scope.value, escape))


def _value(guess: Guess, scope: Scope, specs: Mapping[str, TensorSpec]) -> Guessed | None:
    pattern = _pattern(guess, scope)
    size = parse_size(guess.size.text, guess.size.where, scope.value)
    told: Guessed | None = None
    for name in specs:
        if not name.startswith(pattern.prefix) or pattern.match(name) is None:
            continue
        shape = specs[name].shape
        number = size.resolve(shape)
        value: Scalar = number if number > 0 else None
        if guess.table is not None:
            value = guess.table.get(str(number))
        if value is None or (told is not None and told.value != value):
            return None
        told = told or Guessed(guess.param.text, value, name, shape, guess.convention)
    return told
