"""A second process for half of the work, where threads would fight for the interpreter lock.

Blocks of a few megabytes take a fraction of a millisecond in NumPy, and around each of a dozen
calls two threads wait for each other: a fifth of the time on two cores.  A forked process shares
nothing but open files, so only work that reads by offset (``preadv``) may be given to it.
"""

from __future__ import annotations

import marshal
import os
import threading
from collections.abc import Callable
from typing import Any


def can_fork() -> bool:
    """Whether a fork is safe: the system has it, and this is the only thread."""
    return hasattr(os, "fork") and threading.active_count() == 1


def start(work: Callable[[], Any]) -> Callable[[], Any]:
    """Run ``work`` in a child process; call what is returned to wait for its result.

    The result is numbers, strings, tuples and lists of such.  What goes wrong in the child is a
    :class:`RuntimeError` in the parent.
    """
    here, there = os.pipe()
    child = os.fork()
    if not child:
        _run_child(work, here, there)
    os.close(there)

    def collect() -> Any:
        try:
            with os.fdopen(here, "rb") as stream:
                data = stream.read()
        finally:
            _, status = os.waitpid(child, 0)
        if not data:
            raise RuntimeError(f"the second process ended early (status {status})")
        # Our own child made it, over a pipe that nobody else can write to.
        good, value = marshal.loads(data)  # noqa: S302
        if not good:
            raise RuntimeError(f"in the second process: {value}")
        return value

    return collect


def _run_child(work: Callable[[], Any], here: int, there: int) -> None:
    """Never returns: the parent's clean-up must not run twice."""
    code = 1
    try:
        os.close(here)
        try:
            answer = marshal.dumps((True, work()))
        except BaseException as error:
            answer = marshal.dumps((False, repr(error)))
        with os.fdopen(there, "wb") as stream:
            stream.write(answer)
        code = 0
    finally:
        os._exit(code)
