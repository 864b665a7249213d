"""What is fed to a graph and to its converted model: discovered, drawn at random, or said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

from ckpttool.errors import Problem, UsageError
from ckpttool.names import nearest

if TYPE_CHECKING:
    import numpy as np

    from ckpttool.live.sources import InputTensor
    from ckpttool.live.targets import ModelInput

    Array = np.ndarray[Any, Any]

_LENGTH = 8  # of an axis that neither the graph nor the model knows
_WORDS = "normal, normal:MEAN:STD, uniform:LOW:HIGH, int:LOW:HIGH, a number, shape:2x16, to:NAME"
_MAX_ELEMENTS = 1 << 28


class Feed(NamedTuple):
    """What a person says of an input.

    ``kind`` is ``normal`` (``a`` the mean, ``b`` the standard deviation), ``uniform`` or ``int``
    (from ``a`` up to, not including, ``b``), ``value`` (``a``), or None for what fits.  ``to`` is
    the model's input that gets the same values; ``-`` for none.
    """

    name: str
    kind: str | None = None
    a: float = 0.0
    b: float = 1.0
    shape: tuple[int, ...] | None = None
    to: str | None = None


class Fed(NamedTuple):
    """One input of the graph: how its values come about, and where else they go."""

    tensor: InputTensor
    feed: Feed
    shape: tuple[int, ...]
    model_input: str | None

    @property
    def random(self) -> bool:
        """Whether there is chance in it."""
        return self.feed.kind != "value"

    @property
    def words(self) -> str:
        """The values, as a person says it."""
        kind, a, b = self.feed.kind, self.feed.a, self.feed.b
        if kind == "value":
            return f"{bool(a)}" if self.tensor.dtype == "bool" else f"{a:g}"
        if kind == "int":
            return f"int {a:g} to {b - 1:g}"
        return f"{kind} {a:g} {b:g}"

    def draw(self, rng: np.random.Generator, double: bool) -> Array:
        """An array of values."""
        import numpy as np

        kind, a, b = self.feed.kind, self.feed.a, self.feed.b
        dtype = self.tensor.dtype
        if kind == "value":
            made: Array = np.full(self.shape, a)
        elif kind == "int":
            made = rng.integers(int(a), max(int(b), int(a) + 1), self.shape)
        else:
            made = (rng.normal if kind == "normal" else rng.uniform)(a, b, self.shape)
        if dtype == "float64" and not double:
            return made.astype("float64")
        # The same numbers in float64: rounded to float32 first.
        floats = dtype.startswith("float") or dtype == "bfloat16"
        made = made.astype("float32") if floats else made.astype(dtype)
        return made.astype("float64") if double and floats else made


def parse_feed(text: str) -> Feed:
    """``NAME=SPEC``: words with commas between them; raises USE003."""
    name, mark, rest = text.partition("=")
    feed = Feed(name.removesuffix(":0"))
    if not mark or not name:
        raise _bad(text)
    for word in filter(None, rest.split(",")):
        feed = _with_word(feed, word, text)
    return feed


def _with_word(feed: Feed, word: str, text: str) -> Feed:
    key, _, value = word.partition(":")
    if key == "shape" and re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*|", value):
        return feed._replace(shape=tuple(int(size) for size in value.split("x") if size))
    if key == "to" and value:
        return feed._replace(to=value)
    if word in ("true", "false"):
        return feed._replace(kind="value", a=float(word == "true"))
    try:
        if key in ("normal", "uniform", "int"):
            numbers = [float(item) for item in value.split(":")] if value else []
            if len(numbers) == 2:
                return feed._replace(kind=key, a=numbers[0], b=numbers[1])
            if not numbers and key != "int":
                return feed._replace(kind=key)
        else:
            return feed._replace(kind="value", a=float(word))
    except ValueError:
        pass
    raise _bad(text)


def _bad(text: str) -> UsageError:
    return UsageError(Problem("USE003", "--feed is NAME=SPEC", None, text, _WORDS))


def arrange(
    tensors: Sequence[InputTensor],
    inputs: Sequence[ModelInput],
    feeds: Iterable[Feed],
    batch: int,
) -> tuple[list[Fed], list[str]]:
    """What goes into every input of the graph and of the model, and notes on what was guessed.

    Raises :class:`UsageError` where it is not clear.
    """
    said = {feed.name: feed for feed in feeds}
    known = {tensor.name.removesuffix(":0"): tensor for tensor in tensors}
    for name in said:
        if name not in known:
            near = ", ".join(nearest(name, list(known)))
            listed = ", ".join(known) or "none"
            message = "the output does not depend on an input of this name"
            raise UsageError(Problem("USE003", message, None, name, listed, near or None))
    notes: list[str] = []
    chosen: list[tuple[InputTensor, Feed]] = []
    for name, tensor in known.items():
        feed = _guessed(tensor, said.get(name, Feed(name)), notes)
        if feed is not None:
            chosen.append((tensor, feed))
    pairs = _pairs([item for item in chosen if item[1].kind != "value"], inputs, said)
    fed = []
    for tensor, feed in chosen:
        partner = pairs.get(tensor.name)
        shape = _shape(tensor, feed, partner, batch, notes)
        to = feed.to if feed.to not in (None, "-") else partner.name if partner else None
        fed.append(Fed(tensor, feed, shape, to))
    _check_covered(fed, inputs)
    return fed, notes


def _guessed(tensor: InputTensor, feed: Feed, notes: list[str]) -> Feed | None:
    """The feed with its kind; None for an input that keeps its default."""
    if feed.kind is not None:
        return feed
    name = feed.name
    if tensor.dtype == "bool":
        notes.append(f"{name} is fed False")
        return feed._replace(kind="value", a=0.0)
    if tensor.optional and feed == Feed(name):
        notes.append(f"{name} keeps its default")
        return None
    if tensor.dtype.startswith(("int", "uint")):
        if tensor.rows is None:
            notes.append(f"{name} is fed 0 and 1: nothing says how large its values may be")
        return feed._replace(kind="int", a=0.0, b=float(tensor.rows or 2))
    if tensor.dtype == "string":
        message = "strings are not drawn at random: choose a tensor after they are parsed"
        raise UsageError(Problem("USE003", message, None, name, hint="--feed TENSOR=normal"))
    if tensor.shape == ():
        notes.append(f"{name} is fed 1")
        return feed._replace(kind="value", a=1.0)
    return feed._replace(kind="normal")


def _pairs(
    chosen: Sequence[tuple[InputTensor, Feed]],
    inputs: Sequence[ModelInput],
    said: Mapping[str, Feed],
) -> dict[str, ModelInput]:
    """The model's input for each of the graph's: as said, by name, or the only one that fits."""
    by_name = {item.name: item for item in inputs}
    pairs: dict[str, ModelInput] = {}
    for tensor, feed in chosen:
        if feed.to in by_name:
            pairs[tensor.name] = by_name[str(feed.to)]
        elif feed.to not in (None, "-") and inputs:
            listed = ", ".join(by_name)
            message = "the model has no input of this name"
            raise UsageError(Problem("USE003", message, None, feed.to, listed))
    open_ = [item for item, feed in chosen if item.name not in pairs and feed.to != "-"]
    for item in list(open_):
        same = [one for one in inputs if _word(one.name) == _word(item.name)]
        if len(same) == 1 and same[0] not in pairs.values():
            pairs[item.name] = same[0]
            open_.remove(item)
    while open_:
        left = [one for one in inputs if one not in pairs.values()]
        fits = {item: [one for one in left if _fits(item, one)] for item in open_}
        single = [item for item in open_ if len(fits[item]) == 1]
        if not single or (len(single) > 1 and len({fits[item][0] for item in single}) == 1):
            break
        pairs[single[0].name] = fits[single[0]][0]
        open_.remove(single[0])
    return pairs


def _word(name: str) -> str:
    last = name.partition(":")[0].rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9]", "", re.sub(r"_[0-9]+\Z", "", last))


def _fits(tensor: InputTensor, one: ModelInput) -> bool:
    """Whether a shape and a kind of number suit both."""
    if one.dtype is not None and tensor.dtype.startswith("float") and "int" in one.dtype:
        return False
    if tensor.shape is None or one.shape is None:
        return True
    return len(tensor.shape) == len(one.shape) and all(
        a is None or b is None or a == b for a, b in zip(tensor.shape, one.shape, strict=True)
    )


def _shape(
    tensor: InputTensor, feed: Feed, partner: ModelInput | None, batch: int, notes: list[str]
) -> tuple[int, ...]:
    if feed.shape is not None:
        return _within(feed.name, feed.shape)
    dims = tensor.shape
    other = partner.shape if partner is not None else None
    if dims is None:
        dims = other
    if dims is None:
        message = "the graph does not know the shape of this input"
        hint = f"--feed {feed.name}=shape:2x224x224x3"
        raise UsageError(Problem("USE003", message, None, feed.name, hint=hint))
    shape = []
    for axis, size in enumerate(dims):
        if size is None and other is not None and len(other) == len(dims):
            size = other[axis]
        if size is None:
            size = batch if axis == 0 else _LENGTH
            if axis:
                notes.append(f"axis {axis} of {feed.name} is taken as {_LENGTH}")
        shape.append(size)
    return _within(feed.name, tuple(shape))


def _within(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    if prod(shape) > _MAX_ELEMENTS:
        expected = f"at most {_MAX_ELEMENTS} elements"
        message = "this input is too large"
        raise UsageError(Problem("USE003", message, name, str(list(shape)), expected))
    return shape


def _check_covered(fed: Sequence[Fed], inputs: Sequence[ModelInput]) -> None:
    """Every input of the model gets something, and every random one of the graph goes there."""
    given = {item.model_input for item in fed}
    lacking = [item.name for item in inputs if item.name not in given]
    loose = [
        item.feed.name
        for item in fed
        if item.random and item.model_input is None and item.feed.to != "-"
    ]
    if len(loose) == 1 and not inputs:
        return
    if lacking or loose:
        found = f"graph: {', '.join(loose) or 'none'}; model: {', '.join(lacking) or 'none'}"
        message = "it is not clear which input of the model is which of the graph"
        example = loose[0] if loose else "NAME"
        hint = f"--feed {example}=to:{lacking[0] if lacking else 'MODEL_INPUT'}, or to:- for none"
        raise UsageError(Problem("USE001", message, None, found, hint=hint))
