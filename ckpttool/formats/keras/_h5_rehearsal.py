"""A first look at an HDF5 file by a process that may die of it.

libhdf5 parses the file's structure in this process, and a damaged one can make it loop for ever or
crash: an object of no size in a global heap is enough (HDF5 1.14 to 2.0).  So a forked child reads
the structure first, under a limit on its time.  If that kills it the file is refused; if
not, the same reading is safe here.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ckpttool.errors import corrupt

CPU_SECONDS = 5  # and one more for each megabyte of the file
MAX_DEPTH = 64
MAX_ATTRIBUTES = 1000  # of one object
MAX_STRINGS = 1_000_000  # of one dataset or attribute
MAX_KNOWN = 10_000
PATIENCE = 300  # seconds by the clock: then something other than the file is wrong

_DEATHS = {
    signal.SIGSEGV: "crashes the HDF5 library",
    signal.SIGABRT: "crashes the HDF5 library",
    signal.SIGFPE: "crashes the HDF5 library",
}
if sys.platform != "win32":
    _DEATHS[signal.SIGBUS] = "crashes the HDF5 library"
    _DEATHS[signal.SIGXCPU] = "keeps the HDF5 library busy without end"


_Key = tuple[object, ...]
_harmless: set[_Key] = set()  # files that were looked at, as they were then


def refuse_fatal(open_root: Callable[[], Any], path: str, label: str) -> None:
    """Raise for a local file whose structure would end this process, or keep it for ever.

    ``open_root`` opens it and returns HDF5's identifier; ``label`` names it in the message.
    """
    try:
        stat = os.stat(path)
    except OSError:
        return  # opening it will tell
    key = (label, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    if key in _harmless:
        return
    reason = fatal(lambda: look_around(open_root()), stat.st_size)
    if reason:
        raise corrupt(f"the file's structure {reason}", label)
    if len(_harmless) < MAX_KNOWN:
        _harmless.add(key)


def fatal(work: Callable[[], object], size: int) -> str | None:
    """What ``work`` on a file of ``size`` bytes does to a process, in words, if it kills one.

    None if it does not.  Exceptions of ``work`` are no matter here.  Nothing is tried, and None
    returned, where a fork is not possible or not safe: on Windows, and where other threads run.
    """
    if not hasattr(os, "fork") or threading.active_count() != 1:
        return None
    child = os.fork()
    if not child:
        _rehearse(work, CPU_SECONDS + min(120, size >> 20))
    status = _wait(child)
    if status is None or not os.WIFSIGNALED(status):
        return None
    return _DEATHS.get(signal.Signals(os.WTERMSIG(status)))


def look_around(root: Any) -> None:
    """Make HDF5 parse everything below a file's identifier that reading may ask for, but data.

    Strings are read too: they lie in heaps, which are structure.
    """
    import h5py

    todo, seen = [(h5py.h5g.open(root, b"/"), 0)], set()
    while todo:
        node, depth = todo.pop()
        address = h5py.h5o.get_info(node).addr
        if address in seen:
            continue
        seen.add(address)
        _attributes(node)
        if isinstance(node, h5py.h5d.DatasetID):
            with suppress(Exception):
                _layout(node)
        elif depth < MAX_DEPTH:
            with suppress(Exception):
                for name in node:
                    if node.links.get_info(name).type == h5py.h5l.TYPE_HARD:
                        todo.append((h5py.h5o.open(node, name), depth + 1))


def _attributes(node: Any) -> None:
    import h5py
    import numpy as np

    with suppress(Exception):
        for index in range(min(MAX_ATTRIBUTES, h5py.h5a.get_num_attrs(node))):
            with suppress(Exception):
                found = h5py.h5a.open(node, index=index)
                if found.get_space().get_simple_extent_npoints() <= MAX_STRINGS:
                    out = np.empty(found.shape, found.dtype)
                    found.read(out)


def _layout(dataset: Any) -> None:
    import h5py
    import numpy as np

    layout = dataset.get_create_plist().get_layout()
    if layout == h5py.h5d.VIRTUAL:
        return
    if layout == h5py.h5d.CHUNKED:
        dataset.get_num_chunks()
    count = dataset.get_space().get_simple_extent_npoints()
    if dataset.get_type().get_class() in (h5py.h5t.STRING, h5py.h5t.VLEN) and count <= MAX_STRINGS:
        dataset.read(h5py.h5s.ALL, h5py.h5s.ALL, np.empty(dataset.shape, dataset.dtype))


def _wait(child: int) -> int | None:
    """The child's status; None if it had to be stopped by us."""
    timer = threading.Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
    timer.daemon = True
    timer.start()
    try:
        return os.waitpid(child, 0)[1]
    except ChildProcessError:  # the program ignores its children's ends
        return None
    finally:
        timer.cancel()
        timer.join()


def _rehearse(work: Callable[[], object], seconds: int) -> None:
    """Never returns: the parent's clean-up must not run twice."""
    try:
        _limit(seconds)
        work()
    finally:
        os._exit(0)


def _limit(seconds: int) -> None:
    import resource

    for deadly in _DEATHS:
        signal.signal(deadly, signal.SIG_DFL)
    # No picture of memory, and no word: the parent says what happened.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (spent + seconds, hard))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
