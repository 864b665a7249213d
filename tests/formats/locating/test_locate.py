"""What a typed path resolves to, over small directories of every kind."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from format_makers import Bundle
from locate_support import (
    GRAPH_DEF,
    LFS,
    META,
    SAVED_MODEL,
    TEXT_GRAPH,
    Case,
    _file,
    _keras_map,
    _lost_suffix,
    _named,
    _steps,
    _v1_shards,
    _weight_map,
    _without,
    keras3,
    keras_archive,
    legacy,
    safetensors,
    saved_model,
    several,
    state,
    v1,
    v2,
)

from ckpttool.errors import CkptError, InputError
from ckpttool.formats.locating.locate import find_checkpoints, locate
from ckpttool.formats.locating.located import Located
from ckpttool.formats.registry import open_located

CASES = {
    # Prefixes and member files of V2.
    "prefix": Case(_named("m-5"), "m-5", "m-5", "tf-v2"),
    "index": Case(_named("m-5"), "m-5.index", "m-5", "tf-v2"),
    "data": Case(_named("m-5"), "m-5.data-00000-of-00001", "m-5", "tf-v2"),
    "meta of a prefix": Case(
        several(_named("m-5"), _file("m-5.meta", META)), "m-5.meta", "m-5", "tf-v2"
    ),
    "shards": Case(_named("m", shards=3), "m.data-00001-of-00003", "m", "tf-v2"),
    "glob characters": Case(
        several(_named("a [v1]*"), _named("a b")), "a [v1]*", "a [v1]*", "tf-v2"
    ),
    "spaces": Case(_named("my model"), "my model", "my model", "tf-v2"),
    "dash first": Case(_named("-m"), "-m", "-m", "tf-v2"),
    "empty base, slash": Case(_named(""), "", "", "tf-v2"),
    "prefix beside a folder": Case(
        several(_named("m"), lambda f: v2(f / "m", "other")), "m", "m", "tf-v2"
    ),
    "folder beside a prefix": Case(
        several(_named("m"), lambda f: v2(f / "m", "other")), "m/", "m/other", "tf-v2"
    ),
    "file and slash": Case(_named("m"), "m/", "m", "tf-v2"),
    "lost suffix": Case(_lost_suffix, "m", "m", "tf-v2", ("INP003",)),
    "index alone": Case(
        _without(_named("m"), "m.data-00000-of-00001"), "m", "m", "tf-v2", ("INP012",)
    ),
    "shard missing": Case(
        _without(_named("m", shards=3), "m.data-00001-of-00003"), "m", "m", "tf-v2", ("INP006",)
    ),
    "data is a pointer": Case(
        several(_named("m"), _file("m.data-00000-of-00001", LFS)), "m", "m", "tf-v2", ("INP003",)
    ),
    "meta is a pointer": Case(
        several(_named("m"), _file("m.meta", LFS)), "m", "m", "tf-v2", ("INP003",)
    ),
    "typed member is gone": Case(_named("m"), "m.meta", "m", "tf-v2", ("INP001",)),
    # What was typed is the beginning of one prefix.
    "cut prefix": Case(_named("m.ckpt-168"), "m.ckpt", "m.ckpt-168", "tf-v2", ("INP001",)),
    # V1.
    "v1 file": Case(lambda f: v1(f / "m.ckpt-3"), "m.ckpt-3", "m.ckpt-3", "tf-v1"),
    "v1 meta": Case(
        several(lambda f: v1(f / "m-3"), _file("m-3.meta", META)), "m-3.meta", "m-3", "tf-v1"
    ),
    "v1 shards": Case(_v1_shards, "m-7", "m-7", "tf-v1"),
    "v1 shard": Case(_v1_shards, "m-7-00001-of-00002", "m-7", "tf-v1"),
    "v1 pattern": Case(_v1_shards, "m-7-?????-of-00002", "m-7", "tf-v1"),
    "v1 directory": Case(lambda f: v1(f / "m.ckpt-3"), ".", "m.ckpt-3", "tf-v1"),
    "v1 shards in a directory": Case(_v1_shards, ".", "m-7", "tf-v1"),
    # Directories and state files.
    "state": Case(several(_steps, lambda f: state(f, "m-10")), ".", "m-10", "tf-v2"),
    "state file typed": Case(
        several(_steps, lambda f: state(f, "m-9")), "checkpoint", "m-9", "tf-v2"
    ),
    "state file of another name": Case(
        several(_steps, lambda f: state(f, "m-9", name="best")), "best", "m-9", "tf-v2"
    ),
    "state of another machine": Case(
        several(_steps, lambda f: state(f, "/gone/run/m-9")), ".", "m-9", "tf-v2", ("INP015",)
    ),
    "state of Windows": Case(
        several(_steps, lambda f: state(f, r"C:\run\m-9")), ".", "m-9", "tf-v2", ("INP015",)
    ),
    "state of Windows, escaped": Case(
        several(_steps, lambda f: state(f, r"C:\\run\\m-9")), ".", "m-9", "tf-v2", ("INP015",)
    ),
    "state leads out": Case(
        several(_steps, lambda f: state(f, "../other/m-9")), ".", "m-9", "tf-v2", ("INP015",)
    ),
    "state names a subdirectory": Case(
        several(lambda f: v2(f / "sub", "m-9"), lambda f: state(f, "sub/m-9")),
        ".",
        "sub/m-9",
        "tf-v2",
    ),
    "state names what is gone": Case(
        several(_steps, lambda f: state(f, "m-200")), ".", "m-100", "tf-v2", ("INP015", "INP013")
    ),
    "state with an empty base": Case(
        several(_named(""), lambda f: state(f, "/elsewhere/run/")), ".", "", "tf-v2", ("INP015",)
    ),
    "state of V1 shards": Case(
        several(_v1_shards, lambda f: state(f, "m-7-?????-of-00002")), ".", "m-7", "tf-v1"
    ),
    "state is damaged": Case(
        several(_steps, _file("checkpoint", b"\xff\xfe\0")), ".", "m-100", "tf-v2",
        ("INP004", "INP013"),
    ),
    "CRLF and a byte order mark": Case(
        several(
            _steps, _file("checkpoint", b'\xef\xbb\xbfmodel_checkpoint_path: "m-10"\r\n')
        ),
        ".",
        "m-10",
        "tf-v2",
    ),
    "a slash is the directory, not its empty base": Case(
        several(_named(""), _steps, lambda f: state(f, "m-9")), "./", "m-9", "tf-v2"
    ),
    "newest step": Case(_steps, ".", "m-100", "tf-v2", ("INP013",)),
    "newest complete": Case(
        _without(_steps, "m-100.data-00000-of-00001"), ".", "m-10", "tf-v2", ("INP013",)
    ),
    # SavedModels, modules, versions.
    "saved model": Case(lambda f: saved_model(f / "s"), "s", "s", "saved-model"),
    "saved model, slash": Case(lambda f: saved_model(f / "s"), "s/", "s", "saved-model"),
    "saved model text": Case(lambda f: saved_model(f / "s", text=True), "s", "s", "saved-model"),
    "saved_model.pb": Case(lambda f: saved_model(f / "s"), "s/saved_model.pb", "s", "saved-model"),
    "variables": Case(lambda f: saved_model(f / "s"), "s/variables", "s", "saved-model"),
    "variables/variables": Case(
        lambda f: saved_model(f / "s"), "s/variables/variables", "s", "saved-model"
    ),
    "variables.index": Case(
        lambda f: saved_model(f / "s"), "s/variables/variables.index", "s", "saved-model"
    ),
    "no variables": Case(
        lambda f: saved_model(f / "s", variables=False), "s", "s", "saved-model"
    ),
    "hub module": Case(
        several(lambda f: saved_model(f / "s"), _file("s/tfhub_module.pb", b"\x08\x03")),
        "s",
        "s",
        "hub-module",
    ),
    "one version": Case(
        lambda f: saved_model(f / "00000123"), ".", "00000123", "saved-model", ("INP013",)
    ),
    "one export": Case(
        lambda f: saved_model(f / "export" / "best" / "1646"),
        ".",
        "export/best/1646",
        "saved-model",
        ("INP013",),
    ),
    # Graphs.
    "meta alone": Case(_file("m-5.meta", META), "m-5.meta", "m-5.meta", "meta-graph"),
    "prefix of a meta alone": Case(_file("m-5.meta", META), "m-5", "m-5.meta", "meta-graph"),
    "directory of a meta": Case(_file("m-5.meta", META), ".", "m-5.meta", "meta-graph"),
    "frozen graph": Case(_file("g.pb", GRAPH_DEF), "g.pb", "g.pb", "meta-graph"),
    "text graph": Case(_file("g.pbtxt", TEXT_GRAPH), ".", "g.pbtxt", "meta-graph"),
    # Other formats, by content.
    "safetensors": Case(
        lambda f: safetensors(f / "m.safetensors"), "m.safetensors", "m.safetensors", "safetensors"
    ),
    "the usual name of several": Case(
        several(
            lambda f: safetensors(f / "adapter.safetensors"),
            lambda f: safetensors(f / "model.safetensors"),
        ),
        ".",
        "model.safetensors",
        "safetensors",
        ("INP013",),
    ),
    "safetensors of another name": Case(
        lambda f: safetensors(f / "m.ckpt"), "m.ckpt", "m.ckpt", "safetensors"
    ),
    "weight map": Case(
        _weight_map, "model.safetensors.index.json", "model.safetensors.index.json", "safetensors"
    ),
    "directory of a weight map": Case(
        _weight_map, ".", "model.safetensors.index.json", "safetensors"
    ),
    "shards without a map": Case(
        _without(_weight_map, "model.safetensors.index.json"), ".", "", "safetensors", ("INP006",)
    ),
    "keras shards": Case(_keras_map, ".", "x.weights.json", "keras"),
    "keras 3": Case(lambda f: keras3(f / "m.weights.h5"), "m.weights.h5", "m.weights.h5", "keras"),
    "keras 3 under a legacy name": Case(lambda f: keras3(f / "m.h5"), "m.h5", "m.h5", "keras"),
    "legacy": Case(lambda f: legacy(f / "m.h5"), "m.h5", "m.h5", "keras-h5"),
    "legacy under a keras 3 name": Case(
        lambda f: legacy(f / "m.weights.h5"), "m.weights.h5", "m.weights.h5", "keras-h5"
    ),
    "archive": Case(lambda f: keras_archive(f / "m.keras"), ".", "m.keras", "keras-archive"),
    "npz": Case(
        lambda f: np.savez(f / "m.npz", a=np.zeros(2)), "m.npz", "m.npz", "npz"
    ),
    "empty npz": Case(lambda f: np.savez(f / "m.npz"), "m.npz", "m.npz", "npz"),
}  # fmt: skip


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_found(case: Case, tmp_path: Path) -> None:
    case.make(tmp_path)
    found = locate(f"{tmp_path}/{case.typed}" if case.typed != "." else str(tmp_path))
    shown = found.path.rstrip("/") if case.path == "" else found.path
    assert os.path.normpath(shown) == os.path.normpath(tmp_path / case.path)
    assert found.format == case.format
    assert tuple(problem.code for problem in found.notices) == case.notices
    with open_located(found) as reader:
        # What is shown can be typed again, and means the same.
        assert reader.info.format == case.format
        assert locate(reader.info.path)[:4] == found[:4]


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_found_relative_to_here(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.make(tmp_path)
    monkeypatch.chdir(tmp_path)
    typed = case.typed or "./"
    found = locate(typed)
    assert found.format == case.format
    assert os.path.normpath(os.path.abspath(found.path)) == os.path.normpath(tmp_path / case.path)
    with open_located(found):
        pass


def test_several_prefixes_are_listed_newest_first(tmp_path: Path) -> None:
    _steps(tmp_path)
    with pytest.raises(InputError) as caught:
        locate(str(tmp_path / "m"))
    found = caught.value.problems[0].found or ""
    assert [part.rsplit("-", 1)[1] for part in found.split(", ")] == ["100", "10", "9"]


def test_of_equal_steps_the_last_written(tmp_path: Path) -> None:
    for base, time in (("b", 3), ("c", 2), ("a", 1)):
        v2(tmp_path, base)
        os.utime(tmp_path / f"{base}.index", (time, time))
    assert locate(str(tmp_path)).path == str(tmp_path / "b")


def test_shards_and_missing(tmp_path: Path) -> None:
    v2(tmp_path, "m", shards=3)
    names = [f"{tmp_path}/m.data-0000{shard}-of-00003" for shard in range(3)]
    assert locate(f"{tmp_path}/m").shards == tuple(names)
    os.unlink(names[1])
    found = locate(f"{tmp_path}/m")
    assert found.shards == tuple(names)
    assert found.missing == (names[1],)


def test_the_complete_set_of_two_counts(tmp_path: Path) -> None:
    v2(tmp_path, "m", shards=2)
    for shard in range(3):  # more of them, but not all
        (tmp_path / f"m.data-0000{shard}-of-00005").write_bytes(b"")
    found = locate(f"{tmp_path}/m")
    assert len(found.shards) == 2
    assert found.missing == ()
    assert [problem.code for problem in found.notices] == ["INP006"]


def test_a_stale_shard_of_one_does_not_mislead(tmp_path: Path) -> None:
    v2(tmp_path, "m", shards=2)
    (tmp_path / "m.data-00000-of-00001").write_bytes(b"")
    with open_located(locate(f"{tmp_path}/m")) as reader:
        assert reader.info.missing_files == ()
        assert reader.read("w").tolist() == [0, 1, 2]


def test_v1_missing_shard(tmp_path: Path) -> None:
    _v1_shards(tmp_path)
    (tmp_path / "m-7-00000-of-00002").unlink()
    found = locate(f"{tmp_path}/m-7")
    assert found.missing == (f"{tmp_path}/m-7-00000-of-00002",)
    assert found.index == f"{tmp_path}/m-7-00001-of-00002"


@pytest.mark.parametrize(
    ("base", "step"),
    [("m-0", 0), ("m.ckpt-168", 168), ("m_5", None), ("m", None), ("m-", None), ("m-1x", None),
     ("m-" + "9" * 30, None), ("m-٣", None)],
)  # fmt: skip
def test_step(base: str, step: int | None, tmp_path: Path) -> None:
    v2(tmp_path, base)
    assert locate(str(tmp_path / base)).step == step


def _graph_names(found: Located) -> list[tuple[str, str]]:
    return [(os.path.basename(source.path), source.kind) for source in found.graphs]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["m.meta", "graph.pbtxt"], [("m.meta", "meta_graph")]),
        (["graph.pbtxt"], [("graph.pbtxt", "graph_def")]),
        (["eval.pbtxt", "graph.pbtxt"], [("graph.pbtxt", "graph_def")]),
        (["m.pbtxt", "graph.pbtxt"], [("m.pbtxt", "graph_def")]),
        (["train.pbtxt"], [("train.pbtxt", "graph_def")]),
        (["a.pbtxt", "b.pbtxt"], []),
        (["label_map.pbtxt"], []),
    ],
)
def test_graphs(names: list[str], expected: list[tuple[str, str]], tmp_path: Path) -> None:
    v2(tmp_path, "m")
    for name in names:
        data = b'item { id: 1 name: "cat" }' if "label" in name else TEXT_GRAPH
        (tmp_path / name).write_bytes(META if name.endswith(".meta") else data)
    assert _graph_names(locate(str(tmp_path / "m"))) == expected


def test_home_and_file_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    v2(tmp_path, "my m")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert locate("~/my m").path == str(tmp_path / "my m")
    assert locate(f"file://{tmp_path}/my%20m").path == str(tmp_path / "my m")
    monkeypatch.chdir(tmp_path)
    v2(tmp_path, "~x")
    assert locate("~x").path == "~x"


def test_find_checkpoints(tmp_path: Path) -> None:
    _steps(tmp_path)
    v1(tmp_path / "old-3")
    v2(tmp_path, "final")
    (tmp_path / "m-10.data-00000-of-00001").unlink()
    (tmp_path / "notes.txt").write_text("x")
    found = [os.path.basename(item.path) for item in find_checkpoints(f"{tmp_path}/")]
    assert found == ["old-3", "m-9", "m-100", "final"]


@pytest.mark.parametrize(
    "entry",
    ["/etc/passwd", "../secret/m", "sub/../../secret/m", "/", "..", "a\\0b", "//m", "~/m",
     "memory://x/m", r"..\\..\\secret\\m", r"\\\\host\\share\\m"],
)  # fmt: skip
def test_a_state_file_leads_nowhere_else(entry: str, tmp_path: Path) -> None:
    v2(tmp_path / "secret", "m")
    state(tmp_path / "here", entry)
    with pytest.raises(InputError) as caught:
        locate(str(tmp_path / "here"))
    assert caught.value.problems[0].code == "INP015"


def test_a_directory_is_looked_into_only_so_far(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*"abcdef")
    v2(deep, "m")
    with pytest.raises(InputError):
        locate(str(tmp_path))
    (tmp_path / "loop").symlink_to(tmp_path)
    with pytest.raises(InputError):
        locate(str(tmp_path))


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.ckpt")
    with pytest.raises(InputError):
        locate(str(tmp_path / "m.ckpt"))


def test_a_prefix_is_found_without_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    v2(tmp_path, "m")
    (tmp_path / "m.meta").write_bytes(META)
    monkeypatch.setattr(os, "listdir", lambda path: pytest.fail("the directory was listed"))
    assert locate(str(tmp_path / "m")).missing == ()


def test_urls() -> None:
    fsspec = pytest.importorskip("fsspec")
    fs = fsspec.filesystem("memory")
    bundle = Bundle()
    bundle.add(b"w", np.arange(3, dtype=np.float32))
    fs.pipe("/run/m-5.index", bundle.index())
    fs.pipe("/run/m-5.data-00000-of-00001", bytes(bundle.shards[0]))
    fs.pipe("/run/checkpoint", b'model_checkpoint_path: "/elsewhere/m-5"\n')
    for typed in ("memory://run/m-5", "memory://run/m-5.index", "memory://run", "memory://run/"):
        found = locate(typed)
        assert (found.path, found.step) == ("memory://run/m-5", 5)
        with open_located(found) as reader:
            assert reader.read("w").tolist() == [0, 1, 2]
    with pytest.raises(InputError):
        locate("memory://run/none")


FORMATS_OF_MANIFEST = {
    "V1": {"tf-v1"},
    "V1-sharded": {"tf-v1"},
    "V2": {"tf-v2"},
    "V2(index only)": {"tf-v2"},
    "TF2-object": {"tf2"},
    "SavedModel": {"saved-model"},
    "meta-only": {"meta-graph"},
    "h5": {"keras", "keras-h5"},
    "other": {"meta-graph"},
}


def test_real_checkpoints(real_ckpts: Path) -> None:
    lines = (real_ckpts / "MANIFEST.tsv").read_text("utf-8").splitlines()
    header = lines[0].split("\t")
    for line in lines[1:]:
        row = dict(zip(header, line.split("\t"), strict=False))
        with open_located(locate(str(real_ckpts / row["name"]))) as reader:
            assert reader.info.format in FORMATS_OF_MANIFEST[row["format"]], row["name"]
            if row["nvars"] and reader.specs:
                assert len(reader.specs) == int(row["nvars"]), row["name"]


def test_any_bytes_end_in_an_answer(tmp_path: Path) -> None:
    from hypothesis import given, settings
    from hypothesis import strategies as st

    starts = st.sampled_from(
        [b"", b"\x0a", b"\x08\x01\x12", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"{", b"\0\0",
         b"\x20\0\0\0\0\0\0\0{", b"model_checkpoint_path: ", b"node {", LFS, SAVED_MODEL, META]
    )  # fmt: skip
    ends = st.sampled_from([b"", bytes.fromhex("57fb808b247547db")])

    @settings(max_examples=100, deadline=None)
    @given(
        starts, st.binary(max_size=120), ends, st.sampled_from(["m", "m.index", "m.meta", "m.h5"])
    )
    def check(start: bytes, middle: bytes, end: bytes, name: str) -> None:
        path = tmp_path / name
        path.write_bytes(start + middle + end)
        with suppress(CkptError):
            open_located(locate(str(path))).close()
        path.unlink()

    check()
