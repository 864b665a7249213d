"""Lines of styled text: what every terminal renderer yields and every sink writes.

A renderer knows nothing of rich; a sink knows nothing of results.  So the same lines go to a
terminal in colour, and to a pipe as plain text without rich ever being imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol, TextIO

from ckpttool.names import printable

if TYPE_CHECKING:
    from rich.console import Console

# (text, style); styles are the keys of STYLES, "" is plain.
Segment = tuple[str, str]
Line = list[Segment]

STYLES = {
    "scope": "bold blue",
    "name": "bold",
    "dtype": "cyan",
    "shape": "green",
    "number": "",
    "role": "magenta",
    "flag": "yellow",
    "guide": "dim",
    "dim": "dim",
    "title": "bold",
    "good": "green",
    "warn": "yellow",
    "bad": "bold red",
    "added": "green",
    "removed": "red",
}


class Layout(NamedTuple):
    """What a renderer may use: ``width`` in columns (None: unlimited) and Unicode or not."""

    width: int | None
    unicode: bool


class Sink(Protocol):
    """Where lines go."""

    layout: Layout

    def write(self, lines: Iterable[Line]) -> None:
        """Write the lines, each ended by a newline."""


class PlainSink:
    """Plain text to a stream: nothing cut, no colours."""

    def __init__(self, stream: TextIO, width: int | None = None) -> None:
        self._stream = stream
        self.layout = Layout(width, can_encode(stream))

    def write(self, lines: Iterable[Line]) -> None:
        """Write in batches, so that a tree of 100,000 lines is a few system calls."""
        write = self._stream.write
        batch: list[str] = []
        for line in lines:
            batch.append("".join([text for text, _ in line]).rstrip())
            if len(batch) >= 2000:
                write("\n".join(batch) + "\n")
                batch.clear()
        if batch:
            write("\n".join(batch) + "\n")


class RichSink:
    """Styled text through a rich console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.layout = Layout(console.width, can_encode(console.file))

    def write(self, lines: Iterable[Line]) -> None:
        """Write line by line; long lines wrap where the terminal wraps them."""
        from rich.text import Text

        for line in lines:
            text = Text.assemble(*((part, STYLES.get(style, style)) for part, style in line))
            text.rstrip()
            self._console.print(text, soft_wrap=True, highlight=False, markup=False)


def open_sink(stream: TextIO, color: bool | None) -> Sink:
    """A sink for ``stream``: rich on a terminal (or with ``color``), plain text elsewhere."""
    if color or (color is None and stream.isatty() and os.environ.get("TERM") != "dumb"):
        from rich.console import Console

        return RichSink(
            Console(file=stream, force_terminal=True if color else None, soft_wrap=True)
        )
    width = None
    if stream.isatty():
        import shutil

        width = shutil.get_terminal_size().columns
    return PlainSink(stream, width)


def can_encode(stream: object) -> bool:
    """Whether the stream's encoding has the box-drawing characters that trees use."""
    encoding = getattr(stream, "encoding", None) or sys.getdefaultencoding()
    try:
        "├└│─…·".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def safe(text: str, unicode: bool = True) -> str:
    """``text`` from a file, made fit to print; pure ASCII where the stream needs it."""
    text = printable(text)
    if not unicode and not text.isascii():
        text = text.encode("ascii", "backslashreplace").decode("ascii")
    return text


def human_bytes(count: int) -> str:
    """``1.3 GB``-style size in powers of 1024 with IEC units (``1.2 GiB``)."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{count} B"


def plural(count: int, word: str) -> str:
    """``1 variable``, ``2 variables``."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def wrapped(mark: str, text: str, width: int | None, style: str) -> Iterator[Line]:
    """``text`` after ``mark``, its further lines indented as far; words are never cut.

    ``style`` is the mark's.  Without a ``width`` it is one line.
    """
    if width is None:
        yield [(mark, style), (text, "")]
        return
    indent = " " * len(mark)
    current = ""
    first = True
    for word in text.split(" "):
        longer = f"{current} {word}" if current else word
        if current and len(indent) + len(longer) > width:
            yield [(mark if first else indent, style if first else ""), (current, "")]
            current, first = word, False
        else:
            current = longer
    yield [(mark if first else indent, style if first else ""), (current, "")]
