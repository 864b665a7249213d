"""Values as text through NumPy's own printing, and as JSON."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ckpttool.errors import Problem, UsageError
from ckpttool.names import decode_name
from ckpttool.render.lines import Line, safe

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]

_TRUE = frozenset(("true", "t", "1"))
_FALSE = frozenset(("false", "f", "0"))


def parse_printoptions(words: Sequence[str]) -> dict[str, Any]:
    """``k=v`` words as keyword arguments of ``numpy.printoptions``.

    A value takes the type of the option's present value, as ``inspect_checkpoint`` does it.
    Raises :class:`UsageError` with that tool's own words.
    """
    if not words:
        return {}
    import numpy as np

    present = dict(np.get_printoptions())
    options: dict[str, Any] = {}
    for word in words:
        key, mark, text = word.partition("=")
        if not mark or not key:
            raise _bad(f"'{word}' is not in the form k=v.", word)
        if key not in present:
            known = ", ".join(name for name, value in present.items() if value is not None)
            raise _bad(f"'{key}' is not a valid printoption.", word, known)
        if present[key] is None:
            raise _bad(f"Setting '{key}' from the command line is not supported.", word)
        options[key] = _cast(type(present[key]), text, word)
        try:
            with np.printoptions(**{key: options[key]}):
                np.array2string(np.array([0.5]))
        except (ValueError, TypeError, OverflowError) as error:
            raise _bad(f"invalid parse_numpy_printoption value: '{word}'", word) from error
    return options


def _cast(kind: type, text: str, word: str) -> Any:
    try:
        if kind is not bool:
            return kind(text)
        lowered = text.lower()
        if lowered in _TRUE or lowered in _FALSE:
            return lowered in _TRUE
    except (ValueError, TypeError):
        pass
    raise _bad(f"invalid parse_numpy_printoption value: '{word}'", word)


def _bad(message: str, found: str, expected: str | None = None) -> UsageError:
    return UsageError(Problem("USE003", message, "--printoptions", found, expected))


def full_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` with nothing shortened."""
    return {**options, "threshold": sys.maxsize}


def value_text(array: Array, options: Mapping[str, Any], *, shortened: bool = False) -> str:
    """What ``print(array)`` gives under the print options.

    ``shortened`` values (see ``read_edges``) print as the whole tensor would.
    """
    import numpy as np

    merged = {**options, "threshold": 0} if shortened else dict(options)
    with np.printoptions(**merged):
        return str(array)


def value_lines(
    array: Array, options: Mapping[str, Any], *, shortened: bool = False, unicode: bool = True
) -> Iterator[Line]:
    """The values, line by line; strings are shown as Python's ``bytes``, so nothing escapes."""
    for text in value_text(array, options, shortened=shortened).split("\n"):
        yield [(safe(text, unicode), "")]


def json_values(array: Array) -> Any:
    """Nested lists; complex numbers as ``[re, im]``, strings as text that keeps its bytes."""
    import numpy as np

    if array.dtype == object:
        texts = np.empty(array.shape, object)
        flat = texts.reshape(-1)
        for at, item in enumerate(array.reshape(-1)):
            flat[at] = decode_name(item)
        return texts.tolist()
    if array.dtype.kind == "c":
        return np.stack([array.real, array.imag], -1).tolist()
    if array.dtype.kind not in "iufb":  # bfloat16, float8 and int4 are all exact in a float32
        wide = array.astype(np.float32)
        return wide.astype(np.int64).tolist() if "int" in array.dtype.name else wide.tolist()
    return array.tolist()
