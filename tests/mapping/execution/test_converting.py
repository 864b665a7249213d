"""Plans carried out in every format: values, refusals, what is left behind, the same bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from remap_support import write_bundle

from ckpttool.checkpoint import open_checkpoint
from ckpttool.errors import CkptError
from ckpttool.formats import _file_writer
from ckpttool.formats.registry import open_reader
from ckpttool.mapping.comparing import diff
from ckpttool.mapping.execution import converting, following
from ckpttool.mapping.execution.execute import RemapResult
from ckpttool.mapping.remap import damaged_names, remap
from ckpttool.storage.atomic import Staged

ARRAYS: dict[str, Any] = {
    "lstm/kernel": np.arange(56, dtype=np.float32).reshape(7, 8),
    "dense/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "dense/bias": np.zeros(3, np.float32),
    "emb/part_0": np.arange(4, dtype=np.float32).reshape(2, 2),
    "emb/part_1": np.arange(4, 8, dtype=np.float32).reshape(2, 2),
    "half": np.array([1.5, -2], ml_dtypes.bfloat16),
    "step": np.array(7, np.int64),
    "none": np.zeros((0, 3), np.float32),
}
RULES: list[dict[str, Any]] = [
    {
        "from": "lstm/kernel",
        "to": ["layers/lstm/cell/vars/0", "layers/lstm/cell/vars/1"],
        "apply": [
            {"reorder_gates": {"from": "ijfo", "to": "ifco"}},
            {"split": {"axis": 0, "sizes": [3, -1]}},
        ],
    },
    {
        "from": "dense/{p}",
        "to": "layers/dense/vars/{p}",
        "where": {"p": {"kernel": 0, "bias": 1}},
    },
    {
        "from": "emb/part_{k:int}",
        "collect": "k",
        "to": "layers/embedding/vars/0",
        "apply": [{"concat": {"axis": 0}}],
    },
    {"from": "half", "to": "layers/half/vars/0", "apply": [{"cast": "float32"}]},
    {"from": "step", "drop": True},
    {"from": "none", "to": "layers/none/vars/0"},
]
GATES = ARRAYS["lstm/kernel"].reshape(7, 4, 2)[:, [0, 2, 1, 3]].reshape(7, 8)
EXPECTED = {
    "layers/lstm/cell/vars/0": GATES[:3],
    "layers/lstm/cell/vars/1": GATES[3:],
    "layers/dense/vars/0": ARRAYS["dense/kernel"],
    "layers/dense/vars/1": ARRAYS["dense/bias"],
    "layers/embedding/vars/0": np.arange(8, dtype=np.float32).reshape(4, 2),
    "layers/half/vars/0": np.array([1.5, -2], np.float32),
    "layers/none/vars/0": ARRAYS["none"],
}
OUTPUTS = {
    "tf1": "out/m.ckpt",
    "tf2": "out/t.ckpt",
    "keras": "out/m.weights.h5",
    "keras-h5": "out/m.h5",
    "safetensors": "out/m.safetensors",
    "npz": "out/m.npz",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    write_bundle(tmp_path / "in" / "m", ARRAYS)
    return tmp_path / "in" / "m"


def run(source: Path, output: Path | None, rules: Any = None, **options: Any) -> RemapResult:
    with open_checkpoint(str(source)) as checkpoint:
        mapping = {"rules": RULES if rules is None else rules}
        return remap(checkpoint, mapping, None if output is None else str(output), **options)


def everything(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_values_arrive_in_every_format(source: Path, tmp_path: Path, target: str) -> None:
    before = everything(tmp_path)
    result = run(source, tmp_path / OUTPUTS[target], to=target)
    assert result.verified
    assert result.output is not None
    assert result.output.tensors == len(EXPECTED)
    assert sum(Path(name).stat().st_size for name in result.output.files) == result.output.bytes
    with open_reader(result.output.path) as reader:
        names = {name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE"): name for name in reader.specs}
        for name, value in EXPECTED.items():
            found = reader.read(names[name])
            assert found.dtype == value.dtype
            assert found.shape == value.shape
            assert found.tobytes() == value.tobytes()
    after = everything(tmp_path)
    assert {name: after[name] for name in before} == before


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_the_same_input_gives_the_same_bytes(source: Path, tmp_path: Path, target: str) -> None:
    for folder in "ab":
        run(source, tmp_path / folder / OUTPUTS[target], to=target)
    assert everything(tmp_path / "a") == everything(tmp_path / "b")


@pytest.mark.parametrize("target", sorted(OUTPUTS))
@pytest.mark.parametrize("late", [False, True])
def test_what_reads_back_otherwise_is_not_kept(
    source: Path, tmp_path: Path, target: str, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every value is compared with what was streamed, beside the writing or only afterwards."""
    right = EXPECTED["layers/lstm/cell/vars/1"].tobytes()
    write = Staged.write

    def write_badly(self: Staged, data: Any) -> None:
        write(self, bytes(data).replace(right, right[:-1] + b"?"))

    monkeypatch.setattr(Staged, "write", write_badly)
    if late:
        monkeypatch.setattr(following.Follower, "follow", lambda *_: None)
    with pytest.raises(CkptError) as raised:
        run(source, tmp_path / OUTPUTS[target], to=target)
    assert raised.value.problems[0].code == "OUT004"
    assert not (tmp_path / "out").exists()
    result = run(source, tmp_path / OUTPUTS[target], to=target, verify=False)
    assert not result.verified


@pytest.mark.parametrize("target", ["keras", "keras-h5", "safetensors"])
def test_what_is_unchanged_is_copied_by_the_system(
    source: Path, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    streamed = run(source, tmp_path / OUTPUTS[target], to=target, verify=False).output
    copied: list[str] = []
    copy_runs = _file_writer.copy_runs

    def copy(runs: Any, out: Staged, progress: Any) -> int:
        copied.extend(runs)
        return int(copy_runs(runs, out, progress))

    monkeypatch.setattr(_file_writer, "copy_runs", copy)
    again = run(source, tmp_path / f"again/{OUTPUTS[target]}", to=target).output
    assert streamed is not None
    assert again is not None
    count = 3 if target == "safetensors" else 2  # in HDF5 one without elements lies nowhere
    assert len(copied) == count
    assert Path(again.path).read_bytes() == Path(streamed.path).read_bytes()
    # Without reading back nobody would see the damage of a source that is only copied.
    run(source, tmp_path / f"blind/{OUTPUTS[target]}", to=target, verify=False)
    assert len(copied) == count

    def copy_badly(runs: Any, out: Staged, progress: Any) -> int:
        size = copy(runs, out, progress)
        end = os.lseek(out.fileno(), 0, os.SEEK_CUR)
        if size:
            os.pwrite(out.fileno(), b"?", end - 1)
        return size

    monkeypatch.setattr(_file_writer, "copy_runs", copy_badly)
    with pytest.raises(CkptError) as raised:
        run(source, tmp_path / "bad" / OUTPUTS[target], to=target)
    assert raised.value.problems[0].code == "OUT004"
    assert not (tmp_path / "bad").exists()


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_progress_is_told_of_every_byte(source: Path, tmp_path: Path, target: str) -> None:
    totals: list[int] = []
    told: list[int] = []

    def begin(total: int) -> Any:
        totals.append(total)
        return told.append

    run(source, tmp_path / OUTPUTS[target], to=target, progress=begin)
    assert totals == [sum(value.nbytes for value in EXPECTED.values())]
    assert sum(told) == totals[0]


def test_what_was_read_back_beside_the_writing_is_not_read_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again: list[str] = []
    is_sound = following.is_sound

    def noted(back: Any, name: str, *more: Any) -> bool:
        sound = is_sound(back, name, *more)
        again.extend([] if sound else [name])
        return sound

    monkeypatch.setattr(converting, "is_sound", noted)
    run(source, tmp_path / "m.safetensors")
    assert again == []
    run(source, tmp_path / "m.weights.h5")
    assert again == ["layers/none/vars/0"]  # lies nowhere
    again.clear()
    run(source, tmp_path / "m.npz")
    assert sorted(again) == sorted(EXPECTED)  # the archive has checksums of its own to look at


@pytest.mark.parametrize("target", ["keras", "safetensors", "npz"])
@pytest.mark.parametrize("name", ["dense/kernel", "lstm/kernel", "emb/part_1"])
def test_damage_in_the_source_is_told_and_nothing_is_left(
    source: Path, tmp_path: Path, target: str, name: str
) -> None:
    with open_checkpoint(str(source)) as checkpoint:
        part = checkpoint.reader.stored_parts(name)[0]  # type: ignore[attr-defined]
    data = bytearray(Path(part.path).read_bytes())
    data[part.offset] ^= 1
    Path(part.path).write_bytes(data)
    with pytest.raises(CkptError) as raised:
        run(source, tmp_path / OUTPUTS[target], to=target)
    assert raised.value.problems[0].code == "INP005"
    assert f"tensor {name}" in raised.value.problems[0].message
    assert not (tmp_path / "out").exists()
    # What is intact can still be had.
    with open_checkpoint(str(source)) as checkpoint:
        damaged = damaged_names(checkpoint)
    assert list(damaged) == [name]
    result = run(source, tmp_path / "out" / "rest.npz", salvage=damaged)
    lost = dict(result.plan.dropped)
    assert lost[name] == "--salvage"
    assert ("MAP027", True) in {(n.code, name in n.message) for n in result.notices}
    assert ("emb/part_0" in lost) == (name == "emb/part_1")


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_interrupted_while_writing(
    source: Path, tmp_path: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ckpttool.mapping.transforms.blocks.PermuteBlocks.apply", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / OUTPUTS[target], to=target)
    assert not (tmp_path / "out").exists()


def test_a_bundle_takes_what_is_unchanged_as_it_is(source: Path, tmp_path: Path) -> None:
    result = run(source, tmp_path / "n")
    with open_reader(str(tmp_path / "n")) as back, open_reader(str(source)) as reader:
        copied = back.stored_parts("layers/dense/vars/0")[0]  # type: ignore[attr-defined]
        origin = reader.stored_parts("dense/kernel")[0]  # type: ignore[attr-defined]
        assert copied.crc32c == origin.crc32c
    assert [step.expression is None for step in result.plan.steps].count(True) == 3
    with pytest.raises(CkptError) as raised:
        run(source, tmp_path / "linked", link=True)
    assert raised.value.problems[0].code == "OUT002"
    assert "where" not in (raised.value.problems[0].message or "")


def test_a_big_endian_source_is_transformed(samples: Path, tmp_path: Path) -> None:
    folder = samples / "big_endian"
    if not folder.is_dir():
        pytest.skip("no big-endian sample")
    with open_checkpoint(str(folder)) as checkpoint:
        name = next(n for n, s in checkpoint.specs.items() if s.dtype == "float32" and s.shape)
        rules = {"unmatched": "keep", "rules": [{"from": name, "to": "t", "apply": ["transpose"]}]}
        value = checkpoint.reader.read(name)
        remap(checkpoint, rules, str(tmp_path / "n"))
    with open_reader(str(tmp_path / "n")) as reader:
        assert np.array_equal(reader.read("t"), value.T)


def test_shards(source: Path, tmp_path: Path) -> None:
    result = run(source, tmp_path / "m.safetensors", max_shard_bytes=150)
    assert result.output is not None
    assert result.output.path.endswith(".index.json")
    assert len(result.output.files) > 2


def test_the_output_tells_where_it_is_from(source: Path, tmp_path: Path) -> None:
    import json

    mapping = {"assumes": {"gelu": "tanh", "padded": True}, "rules": RULES}
    with open_checkpoint(str(source)) as checkpoint:
        remap(checkpoint, mapping, str(tmp_path / "m.safetensors"))
    data = (tmp_path / "m.safetensors").read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    found = header["__metadata__"]
    assert found["assumes.gelu"] == "tanh"
    assert found["assumes.padded"] == "true"
    assert found["source"] == "m"
    assert str(tmp_path) not in json.dumps(found)


def test_diff_sees_through_a_mapping_that_transforms(source: Path, tmp_path: Path) -> None:
    mapping = {"rules": RULES}
    run(source, tmp_path / "m.npz")
    arrays = dict(np.load(tmp_path / "m.npz"))
    from ckpttool.mapping.remap import load_rules

    rules = load_rules(mapping)
    with open_checkpoint(str(source)) as a:
        with open_checkpoint(str(tmp_path / "m.npz")) as b:
            result = diff(a, b, mapping=rules)
            assert result.same  # type: ignore[union-attr]
            assert len(result.identical) == len(EXPECTED)  # type: ignore[union-attr]
        arrays["layers/lstm/cell/vars/1"][0, 0] += 1
        np.savez(tmp_path / "n.npz", **arrays)
        with open_checkpoint(str(tmp_path / "n.npz")) as b:
            result = diff(a, b, mapping=rules)
            changed = result.changed  # type: ignore[union-attr]
            assert [item.name for item in changed] == ["layers/lstm/cell/vars/1"]


SAMPLES = [
    "v1_single", "v1_partitioned", "partitioned", "strings", "shapes",
    "saved_model_tf1", "saved_model_tf2", "hub_module", "tf2_keras", "tf2_module", "big_endian",
]  # fmt: skip
KEEP = {
    "unmatched": "keep",
    "rules": [
        {"from": "**OBJECT_CONFIG_JSON", "drop": True, "optional": True},
        {"from": "**", "to": "x/**"},
    ],
}


@pytest.mark.parametrize("name", SAMPLES)
def test_any_source_can_be_converted(samples: Path, tmp_path: Path, name: str) -> None:
    to = "tf1" if name == "strings" else "npz"
    with open_checkpoint(str(samples / name)) as checkpoint:
        result = remap(checkpoint, KEEP, str(tmp_path / ("m" if to == "tf1" else "m.npz")), to=to)
        assert result.verified
        assert result.plan.steps
        with open_reader(str(tmp_path / ("m" if to == "tf1" else "m.npz"))) as back:
            for step in result.plan.steps:
                source = checkpoint.reader.read(step.sources[0])
                found = back.read(step.target)
                assert found.dtype == source.dtype.newbyteorder("=")
                equal = np.array_equal if source.dtype == object else np.array_equiv
                nan = source.dtype.kind in "fc"
                assert (
                    np.array_equal(found, source, equal_nan=True) if nan else equal(found, source)
                )


@pytest.mark.parametrize("target", sorted(OUTPUTS))
def test_every_format_is_a_source(source: Path, tmp_path: Path, target: str) -> None:
    first = run(source, tmp_path / OUTPUTS[target], to=target)
    assert first.output is not None
    with open_checkpoint(first.output.path) as checkpoint:
        names = [n for n in checkpoint.specs if n.startswith("layers") and "save_counter" not in n]
        rules = [{"from": name, "to": f"t{at}"} for at, name in enumerate(names)]
        mapping = {"unmatched": "drop", "rules": rules}
        remap(checkpoint, mapping, str(tmp_path / "m.safetensors"))
    with open_reader(str(tmp_path / "m.safetensors")) as back:
        for at, name in enumerate(names):
            value = EXPECTED[name.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE")]
            assert np.array_equal(back.read(f"t{at}"), value)


def test_a_legacy_file_has_the_order_of_the_rules(source: Path, tmp_path: Path) -> None:
    rules = [
        {"from": "step", "drop": True},
        {"from": "lstm/kernel", "to": "z/kernel"},
        {"from": "dense/bias", "to": "y/bias"},
    ]
    with open_checkpoint(str(source)) as checkpoint:
        mapping = {"unmatched": "drop", "rules": rules}
        result = remap(checkpoint, mapping, str(tmp_path / "m.h5"))
    assert [step.target for step in result.plan.steps] == ["z/kernel", "y/bias"]
