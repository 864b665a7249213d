"""Output that is there whole or not at all.

Files are written beside their final places under names that no reader takes for a checkpoint,
flushed to the disk, and renamed at the end, in the order in which they were staged: a checkpoint's
index comes last, and an old index goes first.  Whatever stops the work, the files under the final
names are either the old ones, or the new ones, or too few for a reader to take them for a
checkpoint.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

from ckpttool.errors import OutputError, Problem
from ckpttool.storage.files import is_url
from ckpttool.storage.kernel import reserve, start_writing

# TensorFlow's own mark for a file that is being written: readers and people know it.
_MARK = ".tempstate"
_FLUSH_SECONDS = 0.02
# Bytes of a write, which ends at a multiple of them: no page is begun by one and finished by the
# next.  They stay in the processor's cache, and for more the kernel looks for larger pages, which
# can take three times as long.
AT_ONCE = 128 << 10
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Staged:
    """One file of the output while it is written: ``path`` for now, ``final`` in the end."""

    def __init__(self, path: str, final: str, fd: int | None) -> None:
        self.path = path
        self.final = final
        self._fd = fd

    def fileno(self) -> int:
        """The descriptor, open for reading and writing."""
        if self._fd is None:
            raise ValueError(f"{self.path} is not open")
        return self._fd

    def reserve(self, size: int) -> None:
        """Tell the system that the file is going to have ``size`` bytes, or a few more."""
        reserve(self.fileno(), size)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of ``data``; OUT002 if that fails."""
        view = memoryview(data).cast("B")
        try:
            place = os.lseek(self.fileno(), 0, os.SEEK_CUR)
            while view:
                done = os.write(self.fileno(), view[: AT_ONCE - place % AT_ONCE])
                view = view[done:]
                place += done
        except OSError as error:
            raise cannot_write(self.final, error) from error

    def begin_flush(self) -> None:
        """Have the disk begin with what it does not have yet; wait only where it must be."""
        if self._fd is not None and not start_writing(self._fd):
            self.flush()

    def flush(self) -> None:
        """Have the bytes on the disk."""
        try:
            if self._fd is not None:
                os.fsync(self._fd)
        except OSError as error:
            if error.errno != errno.EINVAL:  # a file system without it
                raise cannot_write(self.final, error) from error

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class OutputGroup:
    """Files that appear together.  Use it as a context; leaving it without commit undoes all."""

    def __init__(
        self,
        members: Sequence[str],
        *,
        stale: Iterable[str] = (),
        force: bool = False,
        sources: Iterable[str] = (),
    ) -> None:
        """``members`` are the final paths, in the order of their renaming.

        ``stale`` are files of an older output under the same name that must not stay beside the
        new one.  Nothing is created yet; raises OUT001 if something is there already and ``force``
        is not set, OUT003 if it is one of ``sources``, OUT002 if the place cannot be written to.
        """
        self._members = list(members)
        self._staged: list[Staged] = []
        self._token = f"{_MARK}{os.getpid()}{os.urandom(4).hex()}"
        self._made_dirs: list[str] = []
        self._done = False
        self._old = [path for path in (*members, *stale) if os.path.lexists(path)]
        for path in members:
            if is_url(path):
                raise _refused("OUT002", "writing to a URL is not supported", path)
        self._refuse_sources(list(sources))
        for path in self._old:
            if os.path.isdir(path) and not os.path.islink(path):
                raise _refused("OUT002", "a directory is in the way", path)
        if self._old and not force:
            hint = "choose another output, or replace it with --force"
            raise _refused("OUT001", "the output exists already", self._old[0], hint)

    def stage(self, final: str) -> Staged:
        """Create the temporary file for ``final``, one of the members, in their order."""
        path = self._claim(final)
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
        try:
            fd = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
        except OSError as error:
            raise cannot_write(final, error) from error
        return self._add(Staged(path, final, fd))

    def stage_link(self, source: str, final: str) -> Staged:
        """Make the temporary for ``final`` a hard link to ``source``."""
        path = self._claim(final)
        try:
            os.link(os.path.realpath(source), path)
        except OSError as error:
            hint = "a link needs the same file system: leave out --link to copy"
            raise cannot_write(final, error, "cannot link", hint) from error
        return self._add(Staged(path, final, None))

    def flush(self) -> None:
        """Have all staged bytes on the disk."""
        for staged in self._staged:
            staged.flush()

    @contextlib.contextmanager
    def flushing(self) -> Iterator[None]:
        """Flush again and again while the context lasts: disk and processor work side by side.

        Where that means waiting for the disk, a failure is raised when the context ends: the system
        tells it only once.
        """
        import threading

        done = threading.Event()
        failures: list[OutputError] = []

        def work() -> None:
            while not failures and not done.wait(_FLUSH_SECONDS):
                try:
                    for staged in tuple(self._staged):
                        staged.begin_flush()
                except OutputError as error:
                    failures.append(error)

        thread = threading.Thread(target=work, name="flush", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        if failures:
            raise failures[0]

    def commit(self) -> None:
        """Put every file in its place.  On any exception the old files are back as they were."""
        if [staged.final for staged in self._staged] != self._members:
            raise ValueError("not every member of the output is staged")
        self._refuse_newcomers()
        self.flush()
        for staged in self._staged:
            staged.close()
        aside: list[tuple[str, str]] = []
        placed: list[str] = []
        try:
            # The old index goes first: from here on nothing reads as complete until the end.
            for path in self._in_reverse():
                spare = f"{path}{self._token}.old"
                aside.append((path, spare))
                os.rename(path, spare)
            if aside:
                self._flush_dirs()
            last = self._staged[-1]
            for staged in self._staged:
                if staged is last:
                    self._flush_dirs()
                placed.append(staged.final)
                os.rename(staged.path, staged.final)
            self._flush_dirs()
        except BaseException as error:
            _put_back(placed, aside)
            self.abort()
            if isinstance(error, OSError):
                raise cannot_write(self._members[-1], error) from error
            raise
        self._done = True
        for _, spare in aside:
            _remove(spare)

    def abort(self) -> None:
        """Remove whatever is staged, and the directories made for it."""
        if self._done:
            return
        self._done = True
        for staged in self._staged:
            staged.close()
            _remove(staged.path)
        for directory in reversed(self._made_dirs):
            with contextlib.suppress(OSError):
                os.rmdir(directory)

    def __enter__(self) -> OutputGroup:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abort()

    def _claim(self, final: str) -> str:
        if self._done or final not in self._members:
            raise ValueError(f"{final} is no member of this output")
        self._make_parents(os.path.dirname(final))
        return final + self._token

    def _add(self, staged: Staged) -> Staged:
        self._staged.append(staged)
        return staged

    def _make_parents(self, directory: str) -> None:
        missing = []
        while directory and not os.path.isdir(directory):
            missing.append(directory)
            directory = os.path.dirname(directory.rstrip(os.sep))
        for path in reversed(missing):
            try:
                os.mkdir(path)
            except OSError as error:
                raise cannot_write(path, error, "cannot make the directory") from error
            self._made_dirs.append(path)

    def _in_reverse(self) -> list[str]:
        """Old files to set aside, the last member (the index) first."""
        order = {path: number for number, path in enumerate(self._members)}
        return sorted(self._old, key=lambda path: -order.get(path, -1))

    def _refuse_newcomers(self) -> None:
        """Another program may have written to our place meanwhile: that is not ours to replace."""
        for path in self._members:
            if path not in self._old and os.path.lexists(path):
                raise _refused("OUT001", "the output was written by another program", path)

    def _flush_dirs(self) -> None:
        for directory in dict.fromkeys(os.path.dirname(path) or "." for path in self._members):
            with contextlib.suppress(OSError):  # not every file system has this
                fd = os.open(directory, os.O_RDONLY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)

    def _refuse_sources(self, sources: list[str]) -> None:
        for path in self._old:
            for source in sources:
                if _is_same(path, source):
                    hint = "choose another output path; the source is never changed"
                    raise _refused("OUT003", "the output would overwrite its source", path, hint)


def cannot_write(
    path: str, error: OSError, what: str = "cannot write", hint: str | None = None
) -> OutputError:
    """OUT002 for an operating-system error."""
    if error.errno in _NO_SPACE:
        hint = hint or "free some space, or write elsewhere"
    return _refused("OUT002", f"{what}: {error.strerror or error}", path, hint)


def _refused(code: str, message: str, path: str, hint: str | None = None) -> OutputError:
    return OutputError(Problem(code, message, path, hint=hint))


def _is_same(path: str, source: str) -> bool:
    """Whether replacing ``path`` would take ``source`` away.

    Another hard link to the same bytes may be replaced: the source keeps its own name for them.
    """
    try:
        if not os.path.samefile(path, source):
            return False
        if os.path.islink(path) or stat.S_ISDIR(os.stat(path).st_mode):
            return True
        if os.stat(path).st_nlink < 2:
            return True
        same_dir = os.path.samefile(os.path.dirname(path) or ".", os.path.dirname(source) or ".")
        real = os.path.realpath(source)
        names = {os.path.basename(source).casefold(), os.path.basename(real).casefold()}
        in_real_dir = os.path.samefile(os.path.dirname(path) or ".", os.path.dirname(real) or ".")
    except OSError:
        return False
    return (same_dir or in_real_dir) and os.path.basename(path).casefold() in names


def _put_back(placed: list[str], aside: list[tuple[str, str]]) -> None:
    for path in reversed(placed):
        _remove(path)
    for path, spare in reversed(aside):
        with contextlib.suppress(OSError):
            os.rename(spare, path)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
