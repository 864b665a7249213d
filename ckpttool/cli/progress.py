"""A progress bar on stderr, for work that takes more than a second, on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from threading import Lock

from ckpttool.cli import emit
from ckpttool.render.lines import human_bytes

_DELAY = 1.0  # seconds before the bar shows
_PERIOD = 0.1
_WIDTH = 30


class Bar:
    """Counts bytes; draws itself now and then, on one line that it takes away at the end."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._total = 0
        self._done = 0
        self._next = time.monotonic() + _DELAY
        self._drawn = False
        self._lock = Lock()

    def begin(self, total: int) -> Callable[[int], None]:
        """``total`` more bytes are to be read; what to call with those that were."""
        self._total += total
        return self.advance

    def advance(self, size: int) -> None:
        """``size`` more bytes are done; safe to call from several threads."""
        with self._lock:
            self._done += size
            now = time.monotonic()
            if now >= self._next:
                self._next = now + _PERIOD
                self._draw()

    def _draw(self) -> None:
        share = min(1.0, self._done / self._total) if self._total else 1.0
        filled = int(share * _WIDTH)
        bar = "#" * filled + "." * (_WIDTH - filled)
        amount = f"{human_bytes(self._done)} of {human_bytes(self._total)}"
        sys.stderr.write(f"\r{self._label} [{bar}] {share:4.0%} {amount}  ")
        sys.stderr.flush()
        self._drawn = True

    def end(self) -> None:
        """Take the bar away."""
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def bar(label: str) -> Bar | None:
    """A bar, where somebody would see it."""
    return Bar(label) if sys.stderr.isatty() and not emit.SETTINGS.quiet else None
