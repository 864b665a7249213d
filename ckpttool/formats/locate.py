"""From what a person typed to the files of one checkpoint.

Content decides, not the extension alone; nothing heavy is imported.  Only files beside the one
that was named are ever looked at: a state file may name paths of another machine, and of those
only the last component counts.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import NamedTuple

from ckpttool.errors import InputError, Problem
from ckpttool.formats import listing
from ckpttool.formats.base import GraphSource
from ckpttool.formats.listing import Member, list_members, split_shard
from ckpttool.formats.state_file import NAME as STATE_FILE
from ckpttool.formats.state_file import read_state
from ckpttool.storage.files import Files, files_for, is_url, join, split

_SAVED_MODEL = ("saved_model.pb", "saved_model.pbtxt")
_V1_PATTERN = re.compile(r"(.*)-\?{5}-of-([0-9]{5,9})", re.DOTALL)
_PLAIN_ENDINGS = (".keras", ".weights.h5", ".weights.json", ".h5", ".hdf5", ".safetensors")
_SMALL = 1024  # bytes; a data file below this may be a Git LFS pointer


class Located(NamedTuple):
    """A checkpoint that was found, before it is opened.

    ``path`` is the prefix, file or directory to show and to type again.  ``index`` is the file
    that lists the tensors (``.index``, the V1 file or first shard, the ``.h5``, …; None for a
    graph alone).  ``shards`` are the data files in shard order: paths that the names promise,
    whether or not they are there (``missing`` has those that are not).
    """

    path: str
    format: str
    index: str | None  # type: ignore[assignment]  # hides tuple.index, which nobody calls
    shards: tuple[str, ...] = ()
    graphs: tuple[GraphSource, ...] = ()
    missing: tuple[str, ...] = ()
    notices: tuple[Problem, ...] = ()
    step: int | None = None


def locate(path: str) -> Located:
    """Find the checkpoint that ``path`` means; raises :class:`InputError` saying what to try."""
    if path.startswith("file://"):
        from urllib.parse import unquote

        path = unquote(path[7:])
    if path.startswith("~"):
        path = os.path.expanduser(path)
    if "\0" in path or not path:
        raise InputError(Problem("INP001", "this is no path", path or "(empty)"))
    finder = _Finder(path, files_for(path))
    found = finder.by_prefix() or finder.by_directory() or finder.by_file() or finder.by_guess()
    if found is None:
        raise finder.nothing()
    return found


def find_checkpoints(directory: str) -> list[Located]:
    """Every V2 and V1 checkpoint of a directory that is complete, by step, then by name."""
    finder = _Finder(join(directory, ""), files_for(directory))
    members = [item for item in finder.members.values() if item.complete]
    members.sort(key=lambda item: (item.step is None, item.step or 0, item.prefix))
    return [finder.member(item) for item in members]


class _Finder:
    """Looks around one path.  ``folder`` and ``base`` are its directory and last component."""

    def __init__(self, path: str, files: Files) -> None:
        self.path = path
        self.files = files
        self.folder, self.base = split(path)
        self._names: list[str] | None = None
        self._members: dict[str, Member] | None = None

    @property
    def names(self) -> list[str]:
        """Base names in the folder."""
        if self._names is None:
            self._names = self.files.names(self.folder)
        return self._names

    @property
    def members(self) -> dict[str, Member]:
        """The folder's checkpoints, by prefix."""
        if self._members is None:
            self._members = list_members(self.names)
        return self._members

    def at(self, name: str) -> str:
        """The path of a name in the folder."""
        return join(self.folder, name) if self.folder else name

    # --- the ways to find --------------------------------------------------------------------

    def by_prefix(self) -> Located | None:
        """The path is a prefix with an index; a slash at its end means the directory."""
        if self.base and self.files.is_file(self.path + ".index"):
            return self._in_saved_model() or self.member(self.members[self.base])
        return None

    def by_directory(self) -> Located | None:
        """The path is a directory."""
        if not self.files.is_dir(self.path):
            return None
        inside = _Finder(join(self.path, "") if self.base else self.path, self.files)
        found = inside.directory()
        if found is None:
            raise inside.nothing_inside()
        return found

    def by_file(self) -> Located | None:
        """The path is one file of a checkpoint, or a checkpoint that is one file."""
        if not self.files.is_file(self.path):
            return None
        return self._by_name() or self._by_content()

    def by_guess(self) -> Located | None:
        """There is no such file: V1 shards, a graph or data alone, or a prefix that was cut."""
        pattern = _V1_PATTERN.fullmatch(self.base)
        member = self.members.get(pattern[1] if pattern else self.base)
        if member is not None and (member.v1 or member.has_meta):
            return self.member(member)
        if member is not None and member.data:
            raise self._no_index(member)
        longer = [
            item
            for prefix, item in self.members.items()
            if prefix.startswith(self.base + "-") and item.step is not None and self.base
        ]
        usable = [item for item in longer if item.has_index or item.v1] or longer
        if len(usable) > 1:
            usable.sort(key=lambda item: -(item.step or 0))
            listed = ", ".join(self.at(item.prefix) for item in usable[:5])
            raise InputError(
                Problem(
                    "INP013",
                    "several checkpoints begin with this name",
                    self.path,
                    found=f"{len(usable)}: {listed}{', …' if len(usable) > 5 else ''}",
                    hint=f"ckpttool tree {self.at(usable[0].prefix)}",
                )
            )
        if usable:
            return self.member(usable[0], [self._note_guess(usable[0])])
        return None

    # --- directories -------------------------------------------------------------------------

    def directory(self) -> Located | None:
        """The checkpoint that this folder stands for."""
        return (
            self._saved_model()
            or self._by_state()
            or self._newest()
            or self._single_file()
            or self._graph_only()
            or self._versions()
        )

    def _saved_model(self) -> Located | None:
        for name in _SAVED_MODEL:
            if name in self.names:
                kind = "hub-module" if "tfhub_module.pb" in self.names else "saved-model"
                inner = _Finder(join(self.at("variables"), "variables"), self.files)
                member = inner.members.get("variables")
                graphs = (GraphSource(self.at(name), "saved_model"),)
                path = self.folder.rstrip("/") or self.folder or "."
                if member is None or not member.has_index:
                    return Located(path, kind, None, (), graphs)
                return inner.member(member)._replace(
                    path=path, format=kind, graphs=graphs, step=None
                )
        return None

    def _in_saved_model(self) -> Located | None:
        """The SavedModel around ``variables/variables``, if that is what was typed."""
        if self.base != "variables" or not self.folder.rstrip("/").endswith("variables"):
            return None
        outer = split(self.folder.rstrip("/"))[0]
        finder = _Finder(join(outer, "") if outer else "", self.files)
        return finder._saved_model() if any(n in finder.names for n in _SAVED_MODEL) else None

    def _by_state(self) -> Located | None:
        """The checkpoint that the folder's state file names, or the newest that is there."""
        if STATE_FILE not in self.names:
            return None
        path = self.at(STATE_FILE)
        try:
            state = read_state(path, self.files)
        except InputError:
            return None
        if not state.latest:
            return None
        notices: list[Problem] = []
        for number, stored in enumerate([state.latest, *reversed(state.kept)]):
            base = re.split(r"[/\\]", stored)[-1]
            if number == 0 and base != stored:
                notices.append(
                    Problem(
                        "INP015",
                        "the state file names a path elsewhere; its last component counts here",
                        path,
                        found=stored,
                    )
                )
            found = self._named(base, stored)
            if found is not None:
                if number:
                    notices.append(self._note_gone(path, state.latest, found))
                return found._replace(notices=(*notices, *found.notices))
        newest = self._newest()
        if newest is not None:
            gone = self._note_gone(path, state.latest, newest)
            return newest._replace(notices=(*notices, gone, *newest.notices))
        return None

    def _named(self, base: str, stored: str) -> Located | None:
        """The folder's checkpoint of that name: a V2 prefix, V1 shards, a V1 file."""
        pattern = _V1_PATTERN.fullmatch(base)
        member = self.members.get(pattern[1] if pattern else base)
        is_named = base or stored.endswith(("/", "\\"))
        if member is not None and (member.has_index or member.v1) and is_named:
            return self.member(member)
        if base and base in self.names and self.files.is_file(self.at(base)):
            return self._file(base)
        if member is not None and member.has_meta and base:
            return self.member(member)
        return None

    def _newest(self) -> Located | None:
        members = [item for item in self.members.values() if item.has_index or item.v1]
        if not members:
            return None
        complete = [item for item in members if item.complete]
        chosen = max(complete or members, key=self._age)
        notices = []
        if len(members) > 1:
            notices.append(
                Problem(
                    "INP013",
                    f"{len(members)} checkpoints are here; this is the newest"
                    + (" complete one" if len(complete) < len(members) else ""),
                    self.at(chosen.prefix),
                )
            )
        return self.member(chosen, notices)

    def _age(self, item: Member) -> tuple[int, float, str]:
        name = item.prefix + ".index" if item.has_index else (item.v1_names() or [""])[0]
        try:
            changed = 0.0 if is_url(self.path) else os.stat(self.at(name)).st_mtime
        except OSError:
            changed = 0.0
        return (-1 if item.step is None else item.step, changed, item.prefix)

    def _single_file(self) -> Located | None:
        """The only file in the folder that is a checkpoint by itself."""
        shards = [name for name in self.names if name.endswith(".safetensors.index.json")]
        names = shards or [name for name in self.names if name.endswith(_PLAIN_ENDINGS)]
        if not names:
            names = [name for name in self.names if name.endswith((".ckpt", ".npz"))]
        if not names:  # a V1 file has any name: the one whose graph is beside it
            names = [item.prefix for item in self.members.values() if item.prefix in self.names]
        if len(names) > 1:
            listed = ", ".join(self.at(name) for name in names[:5])
            raise InputError(
                Problem(
                    "INP013",
                    "several checkpoints are in this directory, and no state file chooses",
                    self.folder,
                    found=f"{len(names)}: {listed}",
                    hint=f"ckpttool tree {self.at(names[-1])}",
                )
            )
        return self._file(names[0]) if names else None

    def _graph_only(self) -> Located | None:
        graphs = [item for item in self.members.values() if item.has_meta]
        if graphs:
            return self.member(max(graphs, key=self._age))
        for name in self.names:
            if name.endswith(".pbtxt"):
                return self._graph_file(self.at(name), "graph_def")
        return None

    def _versions(self) -> Located | None:
        """``export/0000123/``: numbered versions of a SavedModel; the highest."""
        versions = [name for name in self.names if name.isdigit() and len(name) < 19]
        for name in sorted(versions, key=int, reverse=True):
            inside = _Finder(join(self.at(name), ""), self.files)
            found = inside._saved_model()
            if found is not None:
                note = Problem(
                    "INP013", f"{len(versions)} versions are here; this is the highest", found.path
                )
                return found._replace(notices=(note, *found.notices))
        return None

    # --- files -------------------------------------------------------------------------------

    def _file(self, name: str) -> Located | None:
        finder = _Finder(self.at(name), self.files)
        finder._names, finder._members = self._names, self._members
        return finder.by_file()

    def _by_name(self) -> Located | None:
        """By the file's name, where that is plain enough."""
        base = self.base
        if base == STATE_FILE:
            return self._by_state_file()
        if base in _SAVED_MODEL:
            return _Finder(join(self.folder, ""), self.files)._saved_model()
        if base.endswith(".index") and base[:-6] in self.members:
            return self._whole(base[:-6])
        shard = split_shard(base)
        if shard is not None:
            prefix, is_data = shard
            member = self.members[prefix]
            if is_data and not member.has_index:
                raise self._no_index(member)
            return self._whole(prefix)
        if base.endswith(".meta"):
            member = self.members[base[:-5]]
            if member.has_index or member.v1 or member.prefix in self.names:
                return self._whole(member.prefix)
            return self._graph_file(self.path, "meta_graph")
        if base.endswith((".safetensors.index.json", ".weights.json")):
            kind = "safetensors" if base.endswith("index.json") else "keras"
            return Located(self.path, kind, self.path)
        if base.endswith(".pbtxt"):
            return self._graph_file(self.path, "graph_def")
        return None

    def _by_state_file(self) -> Located:
        finder = _Finder(join(self.folder, "") if self.folder else "", self.files)
        found = finder._by_state()
        if found is None:
            raise InputError(
                Problem(
                    "INP015",
                    "the state file names no checkpoint that is here",
                    self.path,
                    hint=f"put the checkpoint's files beside {self.path}",
                )
            )
        return found

    def _whole(self, prefix: str) -> Located | None:
        finder = _Finder(self.at(prefix) if prefix else join(self.folder, ""), self.files)
        finder._names, finder._members = self._names, self._members
        member = self.members[prefix]
        if prefix and member.has_index and finder.base == "variables":
            outer = finder._in_saved_model()
            if outer is not None:
                return outer
        if not member.has_index and not member.v1:
            return finder.by_file()
        return self.member(member)

    def _by_content(self) -> Located | None:
        from ckpttool.formats.sniff import sniff

        file = self.files.open(self.path)
        try:
            kind = sniff(file)
        finally:
            file.close()
        if kind is None and self.base.endswith((".pb", ".meta")):
            return self._graph_file(self.path, "graph_def")
        if kind is None or not kind.format:
            raise self._other_kind(kind.title if kind else None, kind.hint if kind else None)
        opener: Callable[[], Located | None] = getattr(
            self, "_from_" + kind.format.replace("-", "_")
        )
        return opener()

    def _from_table(self) -> Located:
        """A table without an ``.index`` ending: V1, or a V2 index that lost it."""
        from ckpttool.formats.table import Table

        file = self.files.open(self.path)
        try:
            first = Table(file).get(b"")
            head = first.file.pread(first.start, 1) if first and first.stop > first.start else b""
        finally:
            file.close()
        if head == b"\x0a":  # SavedTensorSlices.meta; a bundle's header begins with a varint
            graphs = self._graphs(self.base)
            step = listing.step_of(self.base)
            return Located(self.path, "tf-v1", self.path, (self.path,), graphs, step=step)
        member = self.members.get(self.base)
        shards = tuple(self.at(name) for name in member.shard_names()) if member else ()
        note = Problem("INP003", "a V2 index without its .index ending", self.path)
        return Located(
            self.path,
            "tf-v2",
            self.path,
            shards,
            self._graphs(self.base),
            self._missing(shards),
            (note,),
            listing.step_of(self.base),
        )

    def _from_hdf5(self) -> Located:
        """Keras 3 keeps weights under ``layers``; anything older has ``layer_names``."""
        kind = "keras-h5"
        if self.base.endswith(".weights.h5") or not self.base.endswith((".h5", ".hdf5")):
            kind = "keras"
        from ckpttool.formats.keras_kind import hdf5_kind

        return Located(self.path, hdf5_kind(self.path, self.files, kind), self.path)

    def _from_zip_keras(self) -> Located:
        return Located(self.path, "keras-archive", self.path)

    def _from_zip_npz(self) -> Located:
        return Located(self.path, "npz", self.path)

    def _from_safetensors(self) -> Located:
        return Located(self.path, "safetensors", self.path)

    def _from_graph(self) -> Located:
        return self._graph_file(self.path, "graph_def")

    def _from_saved_model(self) -> Located:
        return self._graph_file(self.path, "saved_model")

    def _from_state(self) -> Located:
        return self._by_state_file()

    def _graph_file(self, path: str, kind: str) -> Located:
        prefix = self.base[:-5] if self.base.endswith(".meta") else self.base
        graphs = (GraphSource(path, kind),)
        return Located(path, "meta-graph", None, (), graphs, step=listing.step_of(prefix))

    # --- putting together ----------------------------------------------------------------------

    def member(self, item: Member, notices: list[Problem] | None = None) -> Located:
        """The checkpoint of a prefix, from the parts that are there."""
        notices = list(notices or ())
        # An empty base name: `dir/` holding `.index` and `.data-…`.
        path = self.at(item.prefix) if item.prefix else join(self.folder or ".", "")
        graphs = self._graphs(item.prefix, notices)
        if item.has_index:
            shards = tuple(self.at(name) for name in item.shard_names())
            self._note_pointer(shards, notices)
            return Located(
                path,
                "tf-v2",
                self.at(item.prefix + ".index"),
                shards,
                graphs,
                self._missing(shards),
                tuple(notices),
                item.step,
            )
        if item.v1:
            shards = tuple(self.at(name) for name in item.v1_names())
            missing = self._missing(shards)
            first = next((shard for shard in shards if shard not in missing), None)
            return Located(path, "tf-v1", first, shards, graphs, missing, tuple(notices), item.step)
        return Located(path, "meta-graph", None, (), graphs, (), tuple(notices), item.step)

    def _graphs(self, prefix: str, notices: list[Problem] | None = None) -> tuple[GraphSource, ...]:
        if prefix + ".meta" in self.names:
            path = self.at(prefix + ".meta")
            if notices is not None and self._is_pointer(path):
                notices.append(self._pointer(path, "the graph"))
                return ()
            return (GraphSource(path, "meta_graph"),)
        texts = [name for name in self.names if name.endswith(".pbtxt")]
        chosen = "graph.pbtxt" if "graph.pbtxt" in texts else texts[0] if len(texts) == 1 else None
        return (GraphSource(self.at(chosen), "graph_def"),) if chosen else ()

    def _missing(self, shards: tuple[str, ...]) -> tuple[str, ...]:
        present = set(self.names)
        return tuple(path for path in shards if split(path)[1] not in present)

    def _is_pointer(self, path: str) -> bool:
        """Whether a file is a Git LFS pointer: those are short."""
        try:
            if self.files.size(path) >= _SMALL:
                return False
            from ckpttool.formats.sniff import LFS_POINTER

            file = self.files.open(path)
            try:
                return file.pread(0, len(LFS_POINTER)) == LFS_POINTER
            finally:
                file.close()
        except InputError:
            return False

    def _note_pointer(self, shards: tuple[str, ...], notices: list[Problem]) -> None:
        if shards and self._is_pointer(shards[0]):
            notices.append(self._pointer(shards[0], "the data"))

    @staticmethod
    def _pointer(path: str, what: str) -> Problem:
        return Problem(
            "INP003",
            f"{what} is not here, only a Git LFS pointer to it",
            path,
            hint="git lfs pull, in the repository it is from",
        )

    # --- saying what is wrong ------------------------------------------------------------------

    def nothing(self) -> InputError:
        """No such path: what is there instead."""
        where = self.folder or "."
        if self.folder and not self.files.is_dir(self.folder):
            return InputError(Problem("INP001", "no such directory", self.folder))
        prefixes = [prefix for prefix in self.members if prefix]
        from ckpttool.names import nearest

        close = nearest(self.base, prefixes or self.names) if self.base else prefixes[:3]
        known = f"{len(prefixes)} checkpoints in {where}" if prefixes else f"none in {where}"
        return InputError(
            Problem(
                "INP001",
                "no checkpoint at this path",
                self.path,
                found=known + (f"; nearest: {', '.join(map(self.at, close))}" if close else ""),
                hint=f"ckpttool tree {self.at(close[0])}" if close else None,
            )
        )

    def nothing_inside(self) -> InputError:
        """A directory without a checkpoint."""
        folders = [
            name
            for name in self.names[:200]
            if self.files.is_dir(self.at(name)) and self._holds_checkpoint(name)
        ]
        shown = ", ".join(self.names[:6]) + (", …" if len(self.names) > 6 else "")
        state = STATE_FILE in self.names
        return InputError(
            Problem(
                "INP015" if state else "INP001",
                "the checkpoint that the state file names is not in this directory"
                if state
                else "no checkpoint in this directory",
                self.folder or ".",
                found=shown or "nothing",
                expected="an .index with .data files, a saved_model.pb, or another checkpoint file",
                hint=f"ckpttool tree {self.at(folders[0])}" if folders else None,
            )
        )

    def _holds_checkpoint(self, name: str) -> bool:
        names = self.files.names(self.at(name))
        return any(item in _SAVED_MODEL or item.endswith(".index") for item in names)

    def _no_index(self, member: Member) -> InputError:
        return InputError(
            Problem(
                "INP001",
                "the data files are here, but not the index that says what is in them",
                self.at(member.prefix + ".index"),
                hint="copy the .index file beside the .data files",
            )
        )

    def _other_kind(self, title: str | None, hint: str | None) -> InputError:
        if title is None:
            return InputError(
                Problem(
                    "INP003",
                    "not a checkpoint of any kind that ckpttool reads",
                    self.path,
                    expected="a TensorFlow, Keras, safetensors or NumPy checkpoint",
                )
            )
        return InputError(Problem("INP003", f"this is {title}", self.path, hint=hint))

    def _note_gone(self, path: str, latest: str, found: Located) -> Problem:
        return Problem(
            "INP015",
            "the checkpoint that the state file names is not here; this is the newest that is",
            path,
            found=latest,
            expected=found.path,
        )

    def _note_guess(self, item: Member) -> Problem:
        return Problem("INP013", "the only checkpoint that begins so", self.at(item.prefix))
