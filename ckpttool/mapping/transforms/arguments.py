"""The kinds of arguments that transforms take: how each is read, shown, and told to an editor."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ckpttool.mapping.language.nodes import MAP, SCALAR, SEQ, Node
from ckpttool.mapping.transforms.base import TransformError
from ckpttool.mapping.transforms.sizes import Parameters, Size, fixed, parse_number, parse_size
from ckpttool.tensors import BY_NAME

if TYPE_CHECKING:
    from ckpttool.mapping.transforms.chain import Chain

MAX_ITEMS = 100_000  # of one list

_PARAM = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)\Z")
_SYNONYMS = {"float": "float32", "double": "float64", "half": "float16", "int": "int32"}
# What a value may be turned into: every dtype that NumPy computes with.
CAST_DTYPES = tuple(
    row.name
    for row in BY_NAME.values()
    if row.array_type
    and row.kind in ("float", "int", "uint", "bool", "complex")
    and row.name not in ("int4", "uint4", "int2", "uint2", "float4_e2m1fn")
)

REST = fixed(-1)


class BadArgumentError(TransformError):
    """An argument that cannot be, and its place."""

    def __init__(
        self, message: str, where: str, found: str | None = None, expected: str | None = None
    ) -> None:
        super().__init__(message, found, expected)
        self.where = where


class Context(Protocol):
    """What reading an argument may need of its surroundings."""

    parameters: Parameters

    def chain(self, node: Node) -> Chain:
        """A chain within a transform."""


class Kind:
    """One kind of argument.  ``word`` says what to write, ``schema`` says it in JSON Schema."""

    word: str = ""
    schema: Mapping[str, Any] = MappingProxyType({})

    def read(self, node: Node, context: Context) -> Any:
        """The value of a node; raises :class:`BadArgumentError`."""
        raise NotImplementedError

    def show(self, value: Any) -> str:
        """The value as it may be written in a mapping file."""
        return str(value)

    def bad(self, node: Node, message: str = "") -> BadArgumentError:
        """The complaint about a node of another kind."""
        found = node.text if node.kind == SCALAR else f"a {node.kind}"
        return BadArgumentError(
            message or "not a value that can stand here", node.where, found or "nothing", self.word
        )


_EXPRESSION: Mapping[str, Any] = MappingProxyType({"type": ["integer", "string"]})


class SizeKind(Kind):
    """A size: an integer or an expression."""

    word = "an integer, or an expression like d1//4 or $units*2"
    schema = _EXPRESSION

    def read(self, node: Node, context: Context) -> Size:
        """The expression; constants are computed."""
        value = _scalar(node, context)
        if isinstance(value, bool) or not isinstance(value, (int, str)):
            raise self.bad(node)
        try:
            return parse_size(value, node.where, context.parameters)
        except BadArgumentError:
            raise
        except TransformError as error:
            raise BadArgumentError(error.message, node.where, error.found, error.expected) from None


class IntKind(Kind):
    """An integer that depends on no array."""

    word = "an integer"
    schema = _EXPRESSION

    def read(self, node: Node, context: Context) -> int:
        """The integer."""
        value = SIZE.read(node, context).constant
        if value is None:
            raise self.bad(node, "the size of an axis cannot stand here")
        return value


class ListKind(Kind):
    """A list of one other kind.  A single value is a list of one."""

    def __init__(self, item: Kind, word: str) -> None:
        self.item = item
        self.word = word
        self.schema = {"type": ["array", "integer", "string"], "items": dict(item.schema)}

    def read(self, node: Node, context: Context) -> tuple[Any, ...]:
        """The items."""
        if node.kind == MAP:
            raise self.bad(node)
        items: Sequence[Node] = node.value if node.kind == SEQ else [node]
        if len(items) > MAX_ITEMS:
            raise self.bad(node, f"more than {MAX_ITEMS} values")
        return tuple(self.item.read(item, context) for item in items)

    def show(self, value: Any) -> str:
        """``[1, 0]``."""
        return "[" + ", ".join(self.item.show(item) for item in value) + "]"


class BlockKind(Kind):
    """A block's number, or None for a block of zeros."""

    schema = _EXPRESSION
    word = "a block's number from 0, or zero"

    def read(self, node: Node, context: Context) -> int | None:
        """The number."""
        if node.kind == SCALAR and node.text in ("zero", "zeros"):
            return None
        value = INT.read(node, context)
        if value < 0:
            raise self.bad(node, "blocks are counted from 0")
        return value

    def show(self, value: Any) -> str:
        """The number or ``zero``."""
        return "zero" if value is None else str(value)


class NumberKind(Kind):
    """A number that goes into the values."""

    word = "a number, or an expression of numbers and $parameters"
    schema = MappingProxyType({"type": ["number", "string", "boolean"]})

    def read(self, node: Node, context: Context) -> float | int | bool:
        """The number."""
        value = _scalar(node, context)
        if isinstance(value, (bool, int, float)):
            return value
        if not isinstance(value, str):
            raise self.bad(node)
        try:
            return parse_number(value, node.where, context.parameters)
        except TransformError as error:
            raise BadArgumentError(error.message, node.where, error.found, error.expected) from None

    def show(self, value: Any) -> str:
        """The number, truth values as YAML writes them."""
        return str(value).lower() if isinstance(value, bool) else str(value)


class DTypeKind(Kind):
    """A dtype that values can be turned into."""

    word = "a dtype: float32, bfloat16, int64, …"
    schema = MappingProxyType(
        {"anyOf": [{"enum": [*CAST_DTYPES, *_SYNONYMS]}, {"type": "string", "pattern": r"^\$"}]}
    )

    def read(self, node: Node, context: Context) -> str:
        """TensorFlow's name of it."""
        value = str(_scalar(node, context) or "")
        name = _SYNONYMS.get(value, value)
        if name not in CAST_DTYPES:
            raise BadArgumentError(
                "no dtype to compute with", node.where, value, ", ".join(CAST_DTYPES)
            )
        return name


class LettersKind(Kind):
    """The gates of a cell, a letter each."""

    word = "letters, one a gate: ijfo, ruc"
    schema = MappingProxyType({"type": "string", "pattern": "^[a-zA-Z]{1,16}$"})

    def read(self, node: Node, context: Context) -> str:
        """The letters, in small ones."""
        value = _scalar(node, context)
        if not isinstance(value, str) or not re.fullmatch("[a-zA-Z]{1,16}", value):
            raise self.bad(node)
        return value.lower()


class ChainsKind(Kind):
    """Chains of transforms."""

    word = "a list of chains"
    schema = MappingProxyType({"type": "array", "items": {"$ref": "#/$defs/apply"}, "minItems": 1})

    def read(self, node: Node, context: Context) -> tuple[Chain, ...]:
        """The chains."""
        if node.kind != SEQ or not node.value:
            raise self.bad(node)
        return tuple(context.chain(item) for item in node.value)

    def show(self, value: Any) -> str:
        """The chains in flow style."""
        return "[" + ", ".join(f"[{chain.describe()}]" for chain in value) + "]"


class Param(NamedTuple):
    """A parameter of a transform: its name in a mapping file, its kind, and what it is for."""

    name: str
    kind: Kind
    help: str
    required: bool = True
    default: Any = None

    @property
    def attribute(self) -> str:
        """Its name in the code, where a Python word is in the way."""
        return f"{self.name}_" if self.name == "from" else self.name


INT = IntKind()
SIZE = SizeKind()
SIZES = ListKind(SIZE, "a list of sizes; one may be -1, the rest")
INTS = ListKind(INT, "a list of integers")
BLOCKS = ListKind(BlockKind(), "a list of block numbers from 0, and zero")
NUMBER = NumberKind()
DTYPE = DTypeKind()
LETTERS = LettersKind()
CHAINS = ChainsKind()


def axis_param(default: int | None = None) -> Param:
    """The ``axis`` that many transforms have."""
    text = "the axis; negative ones count from the last"
    return Param("axis", INT, text, required=default is None, default=default)


def _scalar(node: Node, context: Context) -> Any:
    """The value of a scalar, a parameter's in its place."""
    if node.kind != SCALAR:
        return None
    match = _PARAM.match(node.text) if isinstance(node.value, str) else None
    return context.parameters(match[1], node.where) if match else node.value
