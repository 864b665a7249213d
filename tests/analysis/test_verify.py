"""What ``verify`` finds: in every sample, in every damaged twin, and wherever a bit is flipped."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from format_makers import Bundle, entry_message

from ckpttool import verify, verify_directory
from ckpttool.analysis import forking, verify_data
from ckpttool.analysis.verify_data import Checker, Stored
from ckpttool.analysis.verify_model import VerifyResult
from ckpttool.checkpoint import open_checkpoint
from ckpttool.errors import CkptError, InputError, UsageError
from ckpttool.names import OBJECT_GRAPH_KEY
from ckpttool.storage.crc32c import crc32c, mask
from ckpttool.storage.wire import encode_bytes_field
from ckpttool.verification import holds_several, verify_path

FOLDER = Path(__file__).resolve().parents[2] / "sample_ckpts"
MANIFEST: dict[str, list[dict[str, Any]]] = json.loads(
    (FOLDER / "MANIFEST.json").read_text("utf-8")
)
ALONE = "meta_alone/model.ckpt.meta"
SAMPLES = [item["path"] for item in MANIFEST["samples"] if item["path"] != ALONE]
# Damage that no tensor's bytes tell of: what else must be said.
FAULTS = {
    "flipped_block_byte": "INP005",
    "truncated_meta": "INP014",
    "lost_index_suffix": "INP003",
    "lfs_pointer": "INP003",
    "slice_gap": "INP008",
}


# --- samples -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SAMPLES)
def test_every_sample_is_intact(path: str) -> None:
    result = verify(str(FOLDER / path))
    assert result.status == "intact", (result.damaged[:2], result.faults[:2], result.missing)
    assert result.readable == result.names
    if result.format in ("tf-v1", "tf-v2", "tf2", "saved-model", "hub-module"):
        assert result.intact == result.names
        assert result.unreferenced == ()


@pytest.mark.parametrize("item", MANIFEST["damaged"], ids=lambda item: item["path"])
def test_every_damaged_twin_is_found(item: dict[str, Any]) -> None:
    path, expected = str(FOLDER / item["path"]), item["expect"]
    result = verify_path(path)
    if not expected["opens"]:
        assert result.status == "unreadable"
        assert result.faults
        with pytest.raises(CkptError):
            verify(path)
        return
    assert result.status == "damaged"
    assert set(result.readable) == set(expected["readable"])
    if expected["exit"] == 0:
        assert result.damaged_names == set(expected["unreadable"])
    name = item["path"].split("/")[1]
    if name in FAULTS:
        assert FAULTS[name] in {problem.code for problem in result.faults}
    assert all(bad.problem.where for bad in result.damaged)


def test_damage_has_its_tensor_file_and_bytes() -> None:
    result = verify(str(FOLDER / "damaged" / "flipped_tensor_byte"))
    (bad,) = result.damaged
    assert (bad.name, bad.reason, bad.start, bad.end) == ("fc_1/kernel", "checksum", 752, 1904)
    assert bad.path is not None
    assert bad.path.endswith("model.ckpt-5.data-00000-of-00001")
    cut = verify(str(FOLDER / "damaged" / "truncated_data"))
    assert {item.reason for item in cut.damaged} == {"truncated"}
    assert [(item.start, item.end) for item in cut.damaged][:2] == [(1904, 3056), (3056, 4208)]


def test_a_damaged_index_block_says_which_names_it_takes_along() -> None:
    result = verify(str(FOLDER / "damaged" / "flipped_block_byte"))
    (fault,) = result.faults
    assert fault.hint == (
        "lost are the names that sort after layer_124/kernel and not after layer_131/bias"
    )


def test_a_missing_shard_is_named() -> None:
    result = verify(str(FOLDER / "damaged" / "missing_shard"))
    assert [Path(path).name for path in result.missing] == ["model.ckpt-2.data-00001-of-00003"]
    assert {bad.reason for bad in result.damaged} == {"missing_shard"}
    alone = verify(str(FOLDER / ALONE))
    assert alone.status == "unreadable"
    assert [Path(path).name for path in alone.missing] == ["model.ckpt.index"]


def test_real_checkpoints(real_ckpts: Path) -> None:
    """Those without their data apart, none is found damaged."""
    for folder in sorted(real_ckpts.iterdir()):
        if not folder.is_dir() or folder.name.startswith(("idx-", "meta-", "v1meta-")):
            continue
        results: tuple[VerifyResult, ...]
        if holds_several(str(folder)):
            results = verify_directory(str(folder)).checkpoints
        else:
            results = (verify(str(folder)),)
        assert [item.status for item in results] == ["intact"] * len(results), folder.name


# --- flips and cuts ------------------------------------------------------------------------------


def _copy(name: str, tmp_path: Path) -> Path:
    target = tmp_path / "copy"
    shutil.copytree(FOLDER / name, target)
    return target


@pytest.mark.parametrize(
    ("name", "prefix", "step"),
    [
        ("strings", "model.ckpt", 13),
        ("sharded_partitioned", "model.ckpt", 7),
        ("v1_sharded_partitioned", "model.ckpt", 11),
        ("v1_dtypes", "model.ckpt", 13),
        ("snappy_index", "model.ckpt-5", 37),
    ],
)
def test_no_flipped_bit_goes_unseen(name: str, prefix: str, step: int, tmp_path: Path) -> None:
    folder = _copy(name, tmp_path)
    files = [item for item in sorted(folder.iterdir()) if item.name != "checkpoint"]
    tried = 0
    for file in (item for item in files if item.suffix not in (".meta", ".pbtxt")):
        data = file.read_bytes()
        for at in range(tried % step, len(data), step):
            flipped = bytearray(data)
            flipped[at] ^= 1 << (at % 8)
            file.write_bytes(flipped)
            assert verify_path(str(folder / prefix)).status != "intact", (file.name, at)
            tried += 1
        file.write_bytes(data)
    assert tried > 20
    assert verify_path(str(folder / prefix)).status == "intact"


@pytest.mark.parametrize(
    ("name", "prefix"),
    [("numbered_layers", "model.ckpt-5"), ("strings", "model.ckpt"), ("v1_single", "model.ckpt-3")],
)
def test_no_cut_goes_unseen(name: str, prefix: str, tmp_path: Path) -> None:
    folder = _copy(name, tmp_path)
    for file in sorted(folder.glob(prefix + "*")):
        if file.suffix == ".meta":
            continue
        data = file.read_bytes()
        for size in range(0, len(data), max(1, len(data) // 23)):
            file.write_bytes(data[:size])
            result = verify_path(str(folder / prefix))
            assert result.status != "intact", (file.name, size)
            if ".data-" in file.name:  # what lies before the cut is left alone
                assert all(bad.end is not None and bad.end > size for bad in result.damaged)
        file.write_bytes(data)


# --- layout --------------------------------------------------------------------------------------


def _bundle(tmp_path: Path, change: Callable[[Bundle], None]) -> VerifyResult:
    bundle = Bundle()
    bundle.add(b"a", np.arange(4, dtype=np.float32))
    bundle.add(b"b", np.arange(6, dtype=np.int16))
    change(bundle)
    return verify(bundle.write(tmp_path).path)


def _crc(bundle: Bundle, start: int, end: int) -> int:
    return mask(crc32c(bytes(bundle.shards[0][start:end])))


def test_bytes_that_overlap(tmp_path: Path) -> None:
    def change(bundle: Bundle) -> None:
        crc = _crc(bundle, 8, 24)
        bundle.entries[b"c"] = entry_message(1, (4,), offset=8, size=16, crc=crc)

    result = _bundle(tmp_path, change)
    assert result.damaged == ()
    assert [item.message for item in result.faults] == [
        "the bytes of c overlap those of a",
        "the bytes of b overlap those of c",
    ]
    assert result.faults[0].where is not None
    assert result.faults[0].where.endswith(": byte 8")


def test_the_same_bytes_twice_are_told_and_no_damage(tmp_path: Path) -> None:
    def change(bundle: Bundle) -> None:
        bundle.entries[b"c"] = entry_message(1, (4,), size=16, crc=_crc(bundle, 0, 16))

    result = _bundle(tmp_path, change)
    assert result.status == "intact"
    assert [item.message for item in result.notices] == ["c has the same bytes as a"]


def test_a_small_file_stands_for_no_endless_work(tmp_path: Path) -> None:
    def change(bundle: Bundle) -> None:
        for number in range(50):
            entry = entry_message(1, (6,), offset=number % 4, size=24, crc=0)
            bundle.entries[b"c%02d" % number] = entry

    result = _bundle(tmp_path, change)
    reasons = [bad.reason for bad in result.damaged]
    assert set(reasons) == {"checksum", "cap"}
    assert reasons.count("cap") > 40
    assert {bad.name for bad in result.damaged} >= {f"c{number:02d}" for number in range(50)}


def test_bytes_that_no_tensor_uses(tmp_path: Path) -> None:
    def change(bundle: Bundle) -> None:
        bundle.shards[0] += b"1234"
        bundle.add(b"c", np.ones(2, np.float32))
        bundle.shards[0] += b"56"

    result = _bundle(tmp_path, change)
    assert result.status == "intact"
    assert [(span.start, span.end) for span in result.unreferenced] == [(28, 32), (40, 42)]


def test_bytes_of_a_damaged_entry_are_not_called_unused(tmp_path: Path) -> None:
    def change(bundle: Bundle) -> None:
        bundle.add(b"c", np.ones(2, np.float32))
        bundle.entries[b"c"] = entry_message(1, (2,), offset=28, size=4, crc=0)

    result = _bundle(tmp_path, change)
    assert [(bad.name, bad.reason) for bad in result.damaged] == [("c", "size")]
    assert result.unreferenced == ()


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (entry_message(1, (4,), size=12, crc=0), "size"),
        (entry_message(1, (4,), offset=1 << 40, size=16, crc=0), "truncated"),
        (entry_message(1, (4,), shard=7, size=16, crc=0), "index"),
        (entry_message(1, (4,), size=16, crc=1), "checksum"),
        (b"\x08\x01\x12\x00\x18", "index"),
    ],
)
def test_an_entry_that_cannot_be(entry: bytes, reason: str, tmp_path: Path) -> None:
    def change(bundle: Bundle) -> None:
        bundle.entries[b"c"] = entry

    result = _bundle(tmp_path, change)
    (bad,) = result.damaged
    assert (bad.name, bad.reason) == ("c", reason)
    assert result.intact == ("a", "b")
    assert result.unreferenced == ()


def test_one_damaged_slice_is_told_by_its_place(tmp_path: Path) -> None:
    folder = _copy("sharded_partitioned", tmp_path)
    before = verify(str(folder))
    with open_checkpoint(str(folder)) as checkpoint:
        reader: Any = checkpoint.reader
        name = next(iter(sorted(reader.partitioned)))
        part = reader.stored_parts(name)[1]
    data = bytearray(Path(part.path).read_bytes())
    data[part.offset] ^= 1
    Path(part.path).write_bytes(data)
    after = verify(str(folder))
    (bad,) = after.damaged
    assert (bad.name, bad.slice, bad.start) == (name, part.slice, part.offset)
    assert set(after.readable) == set(before.readable) - {name}


def test_a_cut_slice_of_strings_is_told_once(tmp_path: Path) -> None:
    bundle = Bundle()
    texts = np.asarray([b"a", b"bb", b"ccc", b"dddd"], object)
    bundle.add_slices(b"s", texts, [[(0, 2)], [(2, 2)]])
    located = bundle.write(tmp_path)
    assert verify(located.path).intact == ("s",)
    data = Path(f"{located.path}.data-00000-of-00001")
    data.write_bytes(data.read_bytes()[:-1])
    (bad,) = verify(located.path).damaged
    assert bad.reason == "truncated"
    assert bad.slice is not None
    assert bad.slice.start == (2,)


def test_quick_reads_no_data(tmp_path: Path) -> None:
    result = verify(str(FOLDER / "damaged" / "flipped_tensor_byte"), quick=True)
    assert (result.status, result.quick) == ("intact", True)
    assert verify(str(FOLDER / "damaged" / "truncated_data"), quick=True).status == "damaged"
    del tmp_path


def test_padding_of_the_footer_and_the_metaindex_count(tmp_path: Path) -> None:
    folder = _copy("numbered_layers", tmp_path)
    index = folder / "model.ckpt-5.index"
    data = index.read_bytes()
    for at in (len(data) - 10, len(data) - 48 - 60):  # padding; the metaindex or index block
        flipped = bytearray(data)
        flipped[at] ^= 4
        index.write_bytes(flipped)
        assert verify_path(str(folder / "model.ckpt-5")).status != "intact", at


# --- the graph -----------------------------------------------------------------------------------


def test_keys_that_the_saver_restores_and_the_index_lacks(tmp_path: Path) -> None:
    for name in ("numbered_layers", "optimizers"):
        (source,) = (FOLDER / name).glob("*.meta")
        shutil.copy(source, tmp_path / f"{name}.meta")
    bundle = Bundle()
    bundle.add(b"global_step", np.asarray(5, np.int32))  # int64 in the graph
    bundle.add(b"conv_1/biases", np.ones(7, np.float32))
    located = bundle.write(tmp_path)
    shutil.copy(tmp_path / "numbered_layers.meta", located.path + ".meta")
    result = verify(located.path)
    told = {item.message for item in result.faults}
    assert "the graph and the checkpoint do not agree on the dtype of global_step" in told
    assert "the graph and the checkpoint do not agree on the shape of conv_1/biases" in told
    missing = "the graph's Saver restores fc_1/kernel/Adam, which is not in the checkpoint"
    assert missing in told
    assert {item.code for item in result.faults} == {"INP017"}
    assert result.damaged == ()


def test_the_object_graph_against_the_keys(tmp_path: Path) -> None:
    folder = _copy("tf2_module", tmp_path)
    (index,) = folder.glob("*.index")
    with open_checkpoint(str(index)) as checkpoint:
        reader: Any = checkpoint.reader
        entries = dict(reader.entries())
    lost = next(name for name in entries if name.endswith("VARIABLE_VALUE"))
    bundle = Bundle()
    bundle.entries |= {name.encode(): value for name, value in entries.items() if name != lost}
    (tmp_path / "other").mkdir()
    target = bundle.write(tmp_path / "other")
    (data,) = folder.glob("*.data-00000-of-00001")
    shutil.copy(data, f"{target.path}.data-00000-of-00001")
    result = verify(target.path)
    assert [item.message for item in result.faults] == [
        f"the object graph names {lost}, which is not in the checkpoint"
    ]


def test_values_of_several_tensors_under_one_named_key(tmp_path: Path) -> None:
    def with_keys(*names: bytes) -> VerifyResult:
        named = encode_bytes_field(1, b"table") + encode_bytes_field(3, b"t/.ATTRIBUTES/table")
        graph = np.empty((), object)
        graph[()] = encode_bytes_field(1, encode_bytes_field(2, named))
        bundle = Bundle()
        bundle.add(OBJECT_GRAPH_KEY.encode(), graph)
        for name in names:
            bundle.add(name, np.ones(2, np.float32))
        return verify(bundle.write(tmp_path).path)

    whole = with_keys(b"t/.ATTRIBUTES/table-keys", b"t/.ATTRIBUTES/table-values")
    assert (whole.status, whole.notices) == ("intact", ())
    assert [item.code for item in with_keys(b"w").faults] == ["INP017"]
    assert [item.found for item in with_keys(b"w").notices] == ["w"]


# --- other formats -------------------------------------------------------------------------------


def _arrays(tmp_path: Path) -> Path:
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(1000, dtype=np.float32), b=np.ones(3))
    return path


def test_npz_by_its_crcs(tmp_path: Path) -> None:
    path = _arrays(tmp_path)
    assert verify(str(path)).intact == ("a", "b")
    data = bytearray(path.read_bytes())
    data[2000] ^= 1
    path.write_bytes(data)
    (bad,) = verify(str(path)).damaged
    assert (bad.name, bad.reason) == ("a", "checksum")


def test_members_that_are_no_arrays_count_too(tmp_path: Path) -> None:
    path = _arrays(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("readme.txt", "hello, world")
    assert verify(str(path)).status == "intact"
    path.write_bytes(path.read_bytes().replace(b"hello, world", b"hello, World", 1))
    result = verify(str(path))
    assert [item.code for item in result.faults] == ["INP005"]
    assert result.intact == ("a", "b")


def _archive(tmp_path: Path, kind: int = zipfile.ZIP_STORED) -> Path:
    inner = tmp_path / "w.h5"
    with h5py.File(inner, "w") as file:
        file["layers/dense/vars/0"] = np.arange(500, dtype=np.float32)
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", "{}")
        archive.write(inner, "model.weights.h5")
    return path


def test_the_crc_of_a_keras_archive(tmp_path: Path) -> None:
    path = _archive(tmp_path)
    result = verify(str(path))
    assert (result.status, result.intact) == ("intact", ("layers/dense/vars/0",))
    data = path.read_bytes()
    at = data.index(np.arange(300, 310, dtype=np.float32).tobytes())
    path.write_bytes(data[:at] + b"\xff" + data[at + 1 :])
    result = verify(str(path))
    assert [item.code for item in result.faults] == ["INP005"]
    # Which tensor it is in nobody knows: it can be read, and nothing vouches for it.
    assert result.unchecked == result.readable == ("layers/dense/vars/0",)
    assert result.intact == ()


def test_formats_without_checksums_are_read_through(tmp_path: Path) -> None:
    path = tmp_path / "w.weights.h5"
    with h5py.File(path, "w") as file:
        file["layers/dense/vars/0"] = np.arange(500, dtype=np.float32)
    result = verify(str(path))
    assert (result.status, result.unchecked) == ("intact", ("layers/dense/vars/0",))
    path.write_bytes(path.read_bytes()[:-100])
    assert verify_path(str(path)).status == "unreadable"


def test_safetensors_cut_overlapping_and_with_holes(tmp_path: Path) -> None:
    def write(second: tuple[int, int], size: int) -> VerifyResult:
        header = json.dumps(
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [2], "data_offsets": second},
            }
        ).encode()
        path = tmp_path / "m.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(size))
        return verify(str(path))

    assert write((8, 16), 16).status == "intact"
    cut = write((8, 16), 12)
    assert [(bad.name, bad.reason) for bad in cut.damaged] == [("b", "truncated")]
    assert "overlaps" in write((4, 12), 12).faults[0].message
    assert "belong to no tensor" in write((12, 20), 20).faults[0].message
    assert "belong to no tensor" in write((8, 16), 20).faults[0].message


# --- directories ---------------------------------------------------------------------------------


def _run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    shutil.copytree(FOLDER / "embedding_run", folder)
    return folder


def test_the_newest_intact_checkpoint_of_a_directory(tmp_path: Path) -> None:
    folder = _run(tmp_path)
    whole = verify_directory(str(folder))
    assert [item.step for item in whole.checkpoints] == [0, 168, 315]
    assert whole.newest == str(folder / "model.ckpt-315")
    assert whole.faults == ()
    data = folder / "model.ckpt-315.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])
    result = verify_directory(str(folder))
    assert [item.status for item in result.checkpoints] == ["intact", "intact", "damaged"]
    assert result.newest == str(folder / "model.ckpt-168")
    assert [item.code for item in result.faults] == ["INP015"]  # the state file names the last


def test_data_without_an_index_is_a_checkpoint_that_cannot_be_read(tmp_path: Path) -> None:
    folder = _run(tmp_path)
    (folder / "model.ckpt-168.index").unlink()
    result = verify_directory(str(folder))
    assert [item.status for item in result.checkpoints] == ["intact", "unreadable", "intact"]


def test_a_state_file_against_the_files(samples: Path, tmp_path: Path) -> None:
    gone = verify_directory(str(samples / "state_names_gone"))
    assert [(item.code, item.found) for item in gone.faults] == [("INP015", "model.ckpt-300")]
    assert gone.newest == str(samples / "state_names_gone" / "model.ckpt-200")
    other = verify_directory(str(samples / "state_other_machine"))
    assert other.faults == ()
    assert [item.code for item in other.notices] == ["INP015"]
    folder = _run(tmp_path)
    (folder / "checkpoint").write_bytes(b"\x00\x01")
    (fault,) = verify_directory(str(folder)).faults
    assert fault.where is not None
    assert fault.where.startswith(str(folder / "checkpoint"))
    assert [holds_several(str(samples / name)) for name in ("saved_model_tf1", "v1_single")] == [
        False,
        True,
    ]


# --- reading the bytes ---------------------------------------------------------------------------


def _stored(path: Path, sizes: list[int]) -> list[Stored]:
    data = path.read_bytes()
    found, at = [], 0
    for size in sizes:
        found.append(Stored(str(path), at, size, mask(crc32c(data[at : at + size]))))
        at += size
    return found


@pytest.mark.parametrize("fork", [False, True])
def test_checksums_of_pieces_of_any_size(
    fork: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_data, "BLOCK", 64)
    monkeypatch.setattr(verify_data, "_STRETCH", 300)
    monkeypatch.setattr(verify_data, "_WORTH_A_FORK", 0)
    path = tmp_path / "data"
    sizes = [0, 1, 63, 64, 65, 299, 300, 301, 5, 4000, 0, 7]
    path.write_bytes(np.random.default_rng(0).bytes(sum(sizes)))
    stored = _stored(path, sizes)
    stored.append(stored[9]._replace(offset=stored[9].offset + 1, size=900, crc32c=0))  # overlaps
    seen: list[int] = []
    checker = Checker(stored)
    checker.start(fork=fork)
    checker.progress = seen.append
    assert set(checker.finish()) == {12}
    if not fork:
        assert sum(seen) == sum(item.size for item in stored)
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    again = Checker(stored)
    again.start(fork=fork)
    found = again.finish()
    assert {number: item.code for number, item in found.items()} == {9: "INP005", 12: "INP005"}


def test_pieces_inside_of_others(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(np.random.default_rng(1).bytes(400))
    data = path.read_bytes()
    places = [(0, 100), (10, 20), (300, 100), (300, 100), (350, 10)]
    stored = [
        Stored(str(path), at, size, mask(crc32c(data[at : at + size]))) for at, size in places
    ]
    assert Checker(stored).finish() == {}


def test_a_second_process_that_ends_early_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_data, "_STRETCH", 300)
    monkeypatch.setattr(verify_data, "_WORTH_A_FORK", 0)
    monkeypatch.setattr(forking, "can_fork", lambda: True)
    path = tmp_path / "data"
    path.write_bytes(bytes(3000))

    def start(work: Callable[[], Any]) -> Callable[[], Any]:
        owner: Any = work.__self__  # type: ignore[attr-defined]
        next(owner._queued())  # it takes some, and is no more

        def collect() -> Any:
            raise RuntimeError("ended")

        return collect

    monkeypatch.setattr(forking, "start", start)
    checker = Checker(_stored(path, [1000, 2000]))
    checker.start(fork=True)
    assert checker.finish() == {}


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_bytes(bytes(1000))
    checker = Checker(_stored(path, [400, 600]))
    path.write_bytes(bytes(500))
    assert {number: item.code for number, item in checker.finish().items()} == {1: "INP007"}
    path.unlink()
    gone = Checker([Stored(str(path), 0, 4, 0)])
    assert {item.code for item in gone.finish().values()} == {"INP001"}


def test_remote_files(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for file in (FOLDER / "damaged" / "flipped_tensor_byte").iterdir():
        memory.pipe(f"/verify/{file.name}", file.read_bytes())
    result = verify("memory://verify/model.ckpt-5")
    assert result.damaged_names == {"fc_1/kernel"}
    folder = verify_directory("memory://verify")
    assert [item.status for item in folder.checkpoints] == ["damaged"]
    del tmp_path


def test_what_cannot_be_asked(samples: Path) -> None:
    with pytest.raises(UsageError):
        verify(str(samples / "my_scope"), against="pytorch")
    with pytest.raises(InputError):
        verify(str(samples / "nothing_here"))
