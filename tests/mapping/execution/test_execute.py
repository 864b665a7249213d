"""Plans carried out: what is written, read back, refused, and left behind when it fails."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from format_makers import Bundle, entry_message
from remap_support import open_prefix, plan_for, write_bundle

from ckpttool.errors import CkptError, Problem
from ckpttool.formats.locating.located import Located
from ckpttool.formats.tensorflow import bundle_writer
from ckpttool.formats.tensorflow.slices_v1 import open_v1
from ckpttool.formats.writing import Span
from ckpttool.mapping.execution import readback
from ckpttool.mapping.execution.checksums import Checksums
from ckpttool.mapping.execution.execute import RemapResult, execute, notices
from ckpttool.mapping.execution.following import Follower
from ckpttool.storage.atomic import Staged
from ckpttool.storage.crc32c import unmask

RENAME = "unmatched: keep\nrules:\n  - {from: a, to: z}\n"
RENAME_ALL = "rules:\n  - {from: '**', to: 'far/**'}\n"
ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3),
    "b": np.array([b"x", b"yy"], object),
    "c": np.array(7, np.int64),
}


def remap(
    source: Path | str, target: Path | str, yaml: str = RENAME, **options: Any
) -> RemapResult:
    with open_prefix(source) as reader:
        return execute(plan_for(reader.specs, yaml), reader, str(target), **options)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    write_bundle(tmp_path / "in" / "m", ARRAYS)
    return tmp_path / "in" / "m"


@pytest.mark.parametrize("link", [False, True])
def test_renamed_values_are_the_same(source: Path, tmp_path: Path, link: bool) -> None:
    before = {path.name: path.read_bytes() for path in source.parent.iterdir()}
    result = remap(source, tmp_path / "out" / "n", link=link)
    assert result.verified
    with open_prefix(tmp_path / "out" / "n") as reader:
        assert list(reader.specs) == ["b", "c", "z"]
        assert reader.read("z").tolist() == ARRAYS["a"].tolist()
        assert reader.read("b").tolist() == ARRAYS["b"].tolist()
    assert {path.name: path.read_bytes() for path in source.parent.iterdir()} == before
    assert files(tmp_path / "out") == ["n.data-00000-of-00001", "n.index"]
    linked = os.path.samefile(
        f"{source}.data-00000-of-00001", tmp_path / "out/n.data-00000-of-00001"
    )
    assert linked == link


def test_the_result_as_plain_data(source: Path, tmp_path: Path) -> None:
    result = remap(source, tmp_path / "n.index")
    data = result.data()
    assert data["output"] == {
        "path": str(tmp_path / "n"),
        "format": "tf-v2",
        "bytes": sum(
            os.path.getsize(tmp_path / name) for name in files(tmp_path) if name[0] == "n"
        ),
        "tensors": 3,
        "files": [str(tmp_path / name) for name in ("n.data-00000-of-00001", "n.index")],
    }
    assert data["verified"] is True
    assert [step["target"] for step in data["plan"]] == ["z", "b", "c"]
    assert data["dropped"] == []


def test_the_same_input_gives_the_same_bytes(source: Path, tmp_path: Path) -> None:
    for name in "12":
        remap(source, tmp_path / name)
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"1{suffix}").read_bytes() == (tmp_path / f"2{suffix}").read_bytes()


def test_there_and_back_gives_the_first_bytes(samples: Path, tmp_path: Path) -> None:
    start = samples / "partitioned" / "model.ckpt-2"
    remap(start, tmp_path / "there", "rules:\n  - {from: '**', to: 'far/**'}\n")
    remap(tmp_path / "there", tmp_path / "back", "rules:\n  - {from: 'far/**', to: '**'}\n")
    for suffix in (".index", ".data-00000-of-00001"):
        assert (tmp_path / f"back{suffix}").read_bytes() == Path(f"{start}{suffix}").read_bytes()
    with open_prefix(start) as reader, open_prefix(tmp_path / "there") as there:
        parts = [name for name in reader.specs if reader.slices(name)]
        assert parts
        for name in parts:
            assert there.slices(f"far/{name}") == reader.slices(name)


def test_only_a_bundle_is_told_of_graphs(samples: Path) -> None:
    with open_prefix(samples / "my_scope" / "model.ckpt") as reader:
        plan = plan_for(reader.specs, RENAME_ALL)
        assert [item.code for item in notices(plan, reader)] == ["OUT006"]
        assert not list(notices(plan._replace(target="npz"), reader))


def test_the_stale_graph_is_not_copied_and_told(samples: Path, tmp_path: Path) -> None:
    result = remap(samples / "my_scope" / "model.ckpt", tmp_path / "n", RENAME_ALL)
    assert not (tmp_path / "n.meta").exists()
    assert [(notice.code, notice.where) for notice in result.notices] == [
        ("OUT006", str(samples / "my_scope" / "model.ckpt.meta"))
    ]
    assert "stale" in result.notices[0].message
    (tmp_path / "k.meta").write_bytes(b"")
    result = remap(samples / "my_scope" / "model.ckpt", tmp_path / "k", "unmatched: keep\n")
    assert "stale" not in result.notices[0].message
    assert result.notices[-1].where == str(tmp_path / "k.meta")


def test_v1_checkpoints_are_decoded(samples: Path, tmp_path: Path) -> None:
    for folder in ("v1_single", "v1_partitioned"):
        found = [path for path in (samples / folder).iterdir() if path.name.startswith("model")]
        path = str(next(path for path in found if path.suffix != ".meta"))
        with open_v1(Located(path, "tf-v1", path, (path,))) as reader:
            plan = plan_for(reader.specs, "rules:\n  - {from: '**', to: 'x/**'}\n")
            result = execute(plan, reader, str(tmp_path / folder))
            assert result.verified
            with open_prefix(tmp_path / folder) as back:
                assert set(back.specs) == {f"x/{name}" for name in reader.specs}
                for name in reader.specs:
                    assert np.array_equal(back.read(f"x/{name}"), reader.read(name))
            with pytest.raises(CkptError) as raised:
                execute(plan, reader, str(tmp_path / "linked"), link=True)
            assert raised.value.problems[0].code == "OUT002"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("link", [False, True])
def test_the_source_is_never_the_output(source: Path, force: bool, link: bool) -> None:
    before = files(source.parent)
    with pytest.raises(CkptError) as raised:
        remap(source, source, force=force, link=link)
    assert raised.value.problems[0].code == "OUT003"
    assert files(source.parent) == before


def test_existing_output(source: Path, tmp_path: Path) -> None:
    remap(source, tmp_path / "n")
    with pytest.raises(CkptError) as raised:
        remap(source, tmp_path / "n")
    assert raised.value.problems[0].code == "OUT001"
    for link in (True, True, False):
        remap(source, tmp_path / "n", force=True, link=link)
    assert files(tmp_path) == ["in", "n.data-00000-of-00001", "n.index"]
    with open_prefix(source) as reader:
        assert reader.read("a").tolist() == ARRAYS["a"].tolist()


def test_a_plan_for_another_checkpoint(source: Path, tmp_path: Path) -> None:
    write_bundle(tmp_path / "other", {"a": np.zeros(3, np.float32)})
    with open_prefix(tmp_path / "other") as other, open_prefix(source) as reader:
        with pytest.raises(CkptError) as raised:
            execute(plan_for(other.specs, RENAME), reader, str(tmp_path / "n"))
        assert raised.value.exit_code == 4


def flip(path: str, offset: int) -> None:
    data = bytearray(Path(path).read_bytes())
    data[offset] ^= 1
    Path(path).write_bytes(data)


@pytest.mark.parametrize("name", ["a", "b"])
def test_damage_in_the_source_is_told_and_nothing_is_left(
    source: Path, tmp_path: Path, name: str
) -> None:
    with open_prefix(source) as reader:
        part = reader.stored_parts(name)[0]
    flip(part.path, part.offset + part.size - 1)
    with pytest.raises(CkptError) as raised:
        remap(source, tmp_path / "out" / "n")
    assert raised.value.problems[0].code == "INP005"
    assert raised.value.problems[0].where == f"{part.path}: byte {part.offset}"
    assert f"tensor {name}" in raised.value.problems[0].message
    assert not (tmp_path / "out").exists()
    assert not remap(source, tmp_path / "n", verify=False).verified


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("late", [False, True])
def test_bytes_that_were_not_written_well_are_not_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, late: bool
) -> None:
    """A copy that goes wrong, as it is seen beside the copying, or only afterwards."""
    copy_runs = bundle_writer.copy_runs
    with open_prefix(source) as reader:
        part = reader.stored_parts(name)[0]

    def copy_badly(runs: Any, out: Staged, progress: Any) -> int:
        size = copy_runs(runs, out)
        flip(out.path, part.offset + part.size - 1)
        if not late:
            progress(size)
        return size

    monkeypatch.setattr(bundle_writer, "copy_runs", copy_badly)
    with pytest.raises(CkptError) as raised:
        remap(source, tmp_path / "out" / "n")
    assert raised.value.problems[0].code == "OUT004"
    assert raised.value.exit_code == 5
    assert not (tmp_path / "out").exists()


def test_an_index_that_was_not_written_well_is_not_kept(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_bundle(tmp_path / "wrong", {**ARRAYS, "z": np.zeros(3)})
    write = bundle_writer.BundleWriter.write

    def write_badly(self: bundle_writer.BundleWriter, *more: Any) -> None:
        write(self, *more)
        shutil.copy(f"{tmp_path}/wrong.index", str(self.staged().index))

    monkeypatch.setattr(bundle_writer.BundleWriter, "write", write_badly)
    with pytest.raises(CkptError) as raised:
        remap(source, tmp_path / "out" / "n")
    assert raised.value.problems[0].code == "OUT004"
    assert not (tmp_path / "out").exists()


def test_written_bytes_are_read_back_beside_the_writing(source: Path) -> None:
    sums = Checksums()
    with open_prefix(source) as reader:
        part = reader.stored_parts("a")[0]
    data = Staged(part.path, part.path, os.open(part.path, os.O_RDONLY))
    crc = unmask(part.crc32c)
    sums.known("a", crc)
    with Follower(sums) as follower:
        follower.follow(data, Span("a", part.offset, part.size))
        follower.follow(data, Span("p", part.offset, part.size - 1, crc))
        follower.follow(data, Span("q", part.offset, part.size + 10_000, crc))  # cut
        follower.follow(data, Span("r", part.offset, part.size))  # nobody knows
        follower.follow(data, Span("s", part.offset, part.size, crc))
    assert follower.sound == {(part.path, part.offset, part.size, crc)}
    data.close()


def test_every_difference_of_the_index_is_seen(source: Path, tmp_path: Path) -> None:
    result = remap(source, tmp_path / "n")
    variants: list[dict[str, Any]] = [
        {"z": ARRAYS["a"], "b": ARRAYS["b"]},
        {**ARRAYS, "z": ARRAYS["a"]},
        {"z": ARRAYS["a"].T, "b": ARRAYS["b"], "c": ARRAYS["c"]},
        {"z": ARRAYS["a"].astype(np.int32), "b": ARRAYS["b"], "c": ARRAYS["c"]},
        {"z": ARRAYS["a"] + 1, "b": ARRAYS["b"], "c": ARRAYS["c"]},
    ]
    for number, arrays in enumerate(variants):
        write_bundle(tmp_path / f"v{number}", arrays)
        with open_prefix(source) as reader, open_prefix(tmp_path / f"v{number}") as back:
            check = readback._Check(result.plan, back, reader, reader, "n", (), Checksums())
            with pytest.raises(CkptError) as raised:
                check.run(data=False)
        assert raised.value.problems[0].code == "OUT004"


def test_an_index_that_lies_about_sizes(tmp_path: Path) -> None:
    bundle = Bundle()
    bundle.add(b"a", np.zeros(4, np.float32))
    crc = bundle.payload(np.zeros(4, np.float32))[1]
    bundle.entries[b"a"] = entry_message(1, (5,), size=16, crc=crc)
    bundle.write(tmp_path, "m")
    with pytest.raises(CkptError) as raised:
        remap(tmp_path / "m", tmp_path / "n", "unmatched: keep\n")
    assert raised.value.problems[0].code == "INP004"


def test_interrupted_while_reading_back(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ckpttool.mapping.execution.execute.read_back", interrupt)
    with pytest.raises(KeyboardInterrupt):
        remap(source, tmp_path / "out" / "n")
    assert not (tmp_path / "out").exists()


def test_warnings_are_notices(source: Path, tmp_path: Path) -> None:
    yaml = "unmatched: keep\nrules:\n  - {from: a, to: B}\n"
    notices: tuple[Problem, ...] = remap(source, tmp_path / "n", yaml).notices
    assert [notice.code for notice in notices] == ["MAP015"]
