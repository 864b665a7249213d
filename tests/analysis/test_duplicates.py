"""``find_duplicates`` on the committed samples, on other people's checkpoints, and by its parts."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import memory_checkpoint

import ckpttool
from ckpttool.analysis.duplicates import DuplicateGroup, DuplicatesResult, find_duplicates
from ckpttool.analysis.duplicates.candidates import families, periods, split_number
from ckpttool.analysis.duplicates.mend import FIXES
from ckpttool.analysis.duplicates.model import VERDICTS
from ckpttool.analysis.duplicates.shared import towers
from ckpttool.analysis.duplicates.values import _fits_normal, _fits_uniform
from ckpttool.analysis.tree import VariableRow

SAMPLES = Path(__file__).resolve().parent.parent.parent / "sample_ckpts"
MANIFEST = json.loads((SAMPLES / "MANIFEST.json").read_text(encoding="utf-8"))
ENTRIES = MANIFEST["samples"]

# What each kind of cause in the manifest is called here.
CAUSES = {
    "tf.Variable inside a re-entered variable_scope": "variable_in_scope",
    "tf.Variable inside a re-entered name_scope": "variable_in_scope",
    "tf.Variable in a re-entered variable_scope": "variable_in_scope",
    "a Keras layer made twice: add_weight never reuses": "layer_object",
    "BatchNormalization made twice beside shared weights": "batch_normalization",
    "the same cell run three times": "rebuilt_graph",
    "the same cell run twice": "rebuilt_graph",
    "one graph imported twice": "rebuilt_graph",
    "a scope without a name, made twice": "default_name",
}

# Verdicts on other people's checkpoints, each read against its graph.
REAL: dict[str, dict[str, int]] = {
    "char-rnn-shakespeare": {"slot": 1},
    "ddpg-baselines": {"stacked": 6},
    "dup-movidius-x3": {"unshared": 1},
    "empty-basename-musicnn": {"stacked": 2, "undecided": 2, "slot": 1},
    "g2p-en": {"slot": 1},
    "gail-bc": {"slot": 1},
    "housing-bn-adam": {"slot": 1},
    "idx-handwriting": {"stacked": 1, "undecided": 2, "slot": 1},
    "idx-ssd-mobilenet": {"numbered": 1},
    "ntm-copy": {"slot": 1},
    "path-failure-lstm": {"slot": 1},
    "seq2seq-letters": {"slot": 1},
    "t2t-transformer": {"numbered": 4, "slot": 1},
    "trt-mnist": {"slot": 1},
    "v1-bad-half-plus-two": {"stacked": 1},
    "v1-deepq-karpathy": {"slot": 1},
    "v1-dnc-copy": {"slot": 1},
    "v1-linux-char-rnn": {"slot": 1},
    "v1meta-flappy-dqn": {"stacked": 1, "slot": 1},
}


def find(path: Path, **options: Any) -> DuplicatesResult:
    with ckpttool.open(str(path)) as checkpoint:
        return find_duplicates(checkpoint, **options)


def only(result: DuplicatesResult) -> DuplicateGroup:
    assert len(result.groups) == 1, result.groups
    return result.groups[0]


# --- samples and real checkpoints ------------------------------------------------------------


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["path"]))
def test_sample(entry: dict[str, Any]) -> None:
    expect = entry["expect"]
    result = find(SAMPLES / entry["path"])
    found = result.unshared
    if expect.get("dups") == "unshared":
        assert len(found) == 1
        assert sorted(map(sorted, found[0].copies)) == sorted(map(sorted, expect["dups_copies"]))
        assert found[0].cause == CAUSES[expect["dups_cause"]]
        assert found[0].fix
    else:
        assert found == ()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: str(entry["path"]))
def test_groups_keep_their_promises(entry: dict[str, Any]) -> None:
    with ckpttool.open(str(SAMPLES / entry["path"])) as checkpoint:
        names = {row.name for row in checkpoint.rows()}
        result = find_duplicates(checkpoint, values=False)
    for group in result.groups:
        assert group.verdict in VERDICTS
        assert 0 < group.confidence <= 1
        assert len(group.copies) == len(group.scopes) >= 2
        if group.verdict != "slot":
            assert len({len(copy) for copy in group.copies}) == 1
        assert all(name in names for copy in group.copies for name in copy)
        assert len({name for copy in group.copies for name in copy}) == sum(map(len, group.copies))
        assert group.evidence
        assert all(
            item.text and item.certainty in ("confirmed", "inferred") for item in group.evidence
        )
        assert group.keep is None or 0 <= group.keep < len(group.copies)
        assert (group.cause in FIXES and bool(group.fix)) == (group.verdict == "unshared")


def test_real_checkpoints(real_ckpts: Path) -> None:
    counts = {}
    for folder in sorted(path for path in real_ckpts.iterdir() if path.is_dir()):
        found = Counter(group.verdict for group in find(folder).groups)
        if found:
            counts[folder.name] = dict(found)
    assert counts == REAL


def test_real_notebook_that_ran_three_times(real_ckpts: Path) -> None:
    group = only(find(real_ckpts / "dup-movidius-x3"))
    assert (group.verdict, group.cause, group.keep) == ("unshared", "rebuilt_graph", 2)
    assert group.copies[1] == ("Variable_4", "Variable_5", "Variable_6", "Variable_7")


def test_real_towers_that_share(real_ckpts: Path) -> None:
    shared = find(real_ckpts / "char-rnn-shakespeare", shared=True).shared or ()
    assert {item.towers for item in shared} == {("evaluation", "training", "validation")}
    assert "softmax/softmax_w" in {item.name for item in shared}
    shared = find(real_ckpts / "idx-handwriting", shared=True).shared or ()
    assert len(shared) == 26
    assert {item.towers for item in shared} == {("model", "model_1")}
    # The two branches of a conditional in one batch normalization are no towers.
    assert find(real_ckpts / "empty-basename-musicnn", shared=True).shared == ()


def test_shared_samples_are_listed(samples: Path) -> None:
    shared = find(samples / "two_towers_shared", shared=True).shared or ()
    assert [item.name for item in shared] == [
        "tower/fc_1/bias", "tower/fc_1/kernel", "tower/fc_2/bias", "tower/fc_2/kernel",
    ]  # fmt: skip
    # The scope is entered again under another name scope, so the towers are told apart by it.
    assert {item.towers for item in shared} == {("test", "train")}
    assert find(samples / "two_towers_shared").shared is None  # not asked for
    assert find(samples / "no_graph", shared=True).shared is None  # not known


def test_reuse_beside_the_copies_is_evidence(samples: Path) -> None:
    group = find(samples / "two_towers_batch_norm").unshared[0]
    assert any("tower/fc_1/kernel" in item.text for item in group.evidence)
    assert group.keep == 0
    assert "_reuse=tf.AUTO_REUSE" in (group.fix or "")


def test_a_run_of_checkpoints(samples: Path) -> None:
    paths = [samples / "embedding_run" / f"model.ckpt-{step}" for step in (0, 168, 315)]
    opened = [ckpttool.open(str(path)) for path in paths]
    result = find_duplicates(opened)
    assert result.checkpoints == tuple(map(str, paths))
    assert result.unshared == ()


# --- without a graph -------------------------------------------------------------------------


def tower(scope: str, seed: int = 0, flat: bool = False) -> dict[str, Any]:
    made = np.random.default_rng(seed)
    return {
        f"{scope}/fc/kernel": made.normal(size=(4, 3)).astype(np.float32),
        f"{scope}/fc/bias": np.zeros(3, np.float32) if flat else made.normal(size=3).astype("f"),
    }


def slots(variables: dict[str, Any]) -> dict[str, Any]:
    return {
        f"{name}/{slot}": value for name, value in variables.items() for slot in ("Adam", "Adam_1")
    }


def groups(*checkpoints: dict[str, Any], **options: Any) -> list[DuplicateGroup]:
    result = find_duplicates([memory_checkpoint(item) for item in checkpoints], **options)
    assert not result.has_graph
    return [group for group in result.groups if group.verdict != "slot"]


def test_names_alone_are_undecided_and_say_what_they_could_not_know() -> None:
    (group,) = groups({**tower("net"), **tower("net_1", 1)})
    assert (group.verdict, group.keep) == ("undecided", None)
    assert any(item.kind == "unknown" and "graph" in item.text for item in group.evidence)


def test_slots_and_constants_and_steps_together_are_enough() -> None:
    idle = tower("net_1", 1, flat=True)
    runs = [{**tower("net", step), **slots(tower("net")), **idle} for step in (3, 4)]
    (group,) = groups(*runs)
    assert (group.verdict, group.keep) == ("unshared", 0)
    assert group.confidence < 0.8
    (group,) = groups(runs[1])
    assert group.verdict == "undecided"
    (group,) = groups(*runs, values=False)
    assert group.verdict == "undecided"


def test_the_copy_with_the_number_may_be_the_live_one() -> None:
    idle = tower("net", 1, flat=True)
    runs = [{**tower("net_1", step), **slots(tower("net_1")), **idle} for step in (3, 4)]
    (group,) = groups(*runs)
    assert (group.verdict, group.keep) == ("unshared", 1)


@pytest.mark.parametrize(
    "scopes", [("cell_0", "cell_1"), ("conv_1", "conv_2"), ("layer_00", "layer_01")]
)
def test_numbers_that_tensorflow_does_not_make(scopes: tuple[str, str]) -> None:
    (group,) = groups({**tower(scopes[0]), **tower(scopes[1], 1)})
    assert group.verdict == "numbered"


def test_names_that_differ_by_case() -> None:
    (group,) = groups({**tower("Net"), **tower("net_1", 1)})
    assert group.verdict == "numbered"


def test_other_shapes_are_no_copies() -> None:
    other = {"net_1/fc/kernel": np.zeros((5, 3), "f"), "net_1/fc/bias": np.zeros(3, "f")}
    assert groups({**tower("net"), **other}) == []


def test_equal_values_are_told() -> None:
    same = {name.replace("net/", "net_1/"): value for name, value in tower("net").items()}
    (group,) = groups({**tower("net"), **same})
    assert "their values are equal" in [item.text for item in group.evidence]


def test_optimizer_names_are_no_copies() -> None:
    weights = tower("net")
    state = {
        "beta1_power": np.float32(0.9), "beta1_power_1": np.float32(0.9),
        "training/Adam/Variable": np.zeros((4, 3), "f"),
        "training/Adam/Variable_1": np.zeros((4, 3), "f"),
        "training/Adam/Variable_2": np.zeros(3, "f"),
        **{f"{name}/RMSProp{end}": value for name, value in weights.items() for end in ("", "_1")},
    }  # fmt: skip
    result = find_duplicates(memory_checkpoint({**weights, **slots(weights), **state}))
    assert {group.verdict for group in result.groups} == {"slot"}
    assert [group.scopes for group in result.groups if group.scopes[0] == ("RMSProp",)] == [
        (("RMSProp",), ("RMSProp_1",))
    ]
    assert ("training/Adam/Variable_2",) in [s for group in result.groups for s in group.scopes]


def test_damaged_values_leave_the_rest(tmp_path: Path) -> None:
    arrays = {**tower("net"), **tower("net_1", 1)}
    checkpoint = memory_checkpoint(arrays, damaged=["net/fc/bias", "net_1/fc/kernel"])
    (group,) = find_duplicates(checkpoint).groups
    assert group.verdict == "undecided"


# --- parts -----------------------------------------------------------------------------------


def row(name: str, shape: tuple[int, ...] = (2,)) -> VariableRow:
    return VariableRow(name, "float32", shape, 2, 8, "variable", None, None, None, True, 1, None)


def test_a_scope_and_its_copies_are_one_family() -> None:
    names = [f"{net}/{layer}/w" for net in ("net", "net_1", "net_2") for layer in ("a", "b")]
    (family,) = families(map(row, names))
    assert [member.path for member in family.members] == ["net", "net_1", "net_2"]
    assert family.members[2].names == ("net_2/a/w", "net_2/b/w")
    assert family.complete
    assert family.bare
    assert not family.explicit


def test_numbers_inside_a_copy_may_differ() -> None:
    names = ["net/dense/w", "net/dense_1/w", "net_1/dense_2/w", "net_1/dense_3/w"]
    found = {family.base: family for family in families(map(row, names))}
    assert found["net"].members[1].names == ("net_1/dense_2/w", "net_1/dense_3/w")


def test_a_name_with_a_number_may_be_the_plain_one() -> None:
    found = {family.base: family for family in families(map(row, ["W_1", "W_2", "W_1_1", "W_2_1"]))}
    assert [member.path for member in found["w_1"].members] == ["W_1", "W_1_1"]
    assert not found["w_1"].explicit
    assert found["w"].explicit


def test_a_copy_may_lack_what_is_shared() -> None:
    names = ["net/shared/w", "net/own/w", "net_1/own_1/w"]
    (family,) = families(map(row, names))
    assert not family.complete
    assert [member.names for member in family.members] == [("net/own/w",), ("net_1/own_1/w",)]


def test_variables_in_step_belong_together() -> None:
    shapes = [(3, 4), (4,), (4, 2), (2,)] * 3
    names = ["Variable", *(f"Variable_{number}" for number in range(1, 12))]
    found = families(row(name, shape) for name, shape in zip(names, shapes, strict=True))
    (step,) = periods(found)
    assert [[member.path for member in family.members] for family in step][1] == [
        "Variable_1", "Variable_5", "Variable_9",
    ]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("aA_/01"), min_size=1, max_size=12), max_size=40, unique=True)
)
def test_families_are_isomorphic_and_hold_a_name_once(names: list[str]) -> None:
    for family in families(map(row, names)):
        assert len(family.members) >= 2
        assert len({len(member.names) for member in family.members}) == 1
        held = [name for member in family.members for name in member.names]
        assert len(held) == len(set(held))
        assert set(held) <= set(names)
        for member in family.members:
            assert split_number(member.path.rpartition("/")[2])[0].casefold() == family.base
            assert all((name + "/").startswith(member.path + "/") for name in member.names)


def test_very_deep_and_very_many_names_take_bounded_work() -> None:
    deep = ["/".join(["a_1"] * 3000), "/".join(["a"] * 3000)]
    assert families(map(row, deep))
    many = [f"v_{number}" for number in range(20_000)]
    assert len(families(map(row, many))[0].members) == 20_000


@pytest.mark.parametrize(
    ("readers", "expected"),
    [
        (["net/fc/MatMul", "net_1/fc/MatMul"], ["net", "net_1"]),
        (["test/net/fc/MatMul", "train/net/fc/MatMul"], ["test", "train"]),
        (["net/fc/MatMul", "net_1/fc_1/MatMul_4"], ["net", "net_1"]),
        (["MatMul", "MatMul_1"], ["MatMul", "MatMul_1"]),
        (["a/MatMul", "b/c/Conv2D"], ["a/MatMul", "b/c/Conv2D"]),
        (["a/x/Add", "a/y/Add", "b/x/Add"], ["a/x", "a/y", "b/x"]),
    ],
)
def test_towers(readers: list[str], expected: list[str]) -> None:
    assert towers(readers) == expected


def test_distributions() -> None:
    made = np.random.default_rng(1)
    normal = made.normal(0.5, 0.2, 5000)
    assert _fits_normal(normal, 0.5, 0.2, cut=False)
    assert not _fits_normal(normal, 0.5, 0.2, cut=True)
    assert _fits_normal(normal[abs(normal - 0.5) < 0.4], 0.5, 0.2, cut=True)
    assert not _fits_normal(normal + 0.05, 0.5, 0.2, cut=False)
    assert not _fits_normal(normal * 1.1, 0.5, 0.2, cut=False)
    uniform = made.uniform(-1, 1, 5000)
    assert _fits_uniform(uniform, -1, 1)
    assert not _fits_uniform(uniform, -0.99, 1)
    assert not _fits_uniform(uniform * 0.9, -1, 1)


# --- graphs that nobody would build ------------------------------------------------------------


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def field(number: int, value: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(value)) + value


def node(name: str, op: str, *inputs: str) -> bytes:
    parts = [field(1, name.encode()), field(2, op.encode())]
    parts += [field(3, item.encode()) for item in inputs]
    if op == "VariableV2":
        shape = field(2, b"\x08\x02") * 2
        attrs = {b"dtype": b"\x30\x01", b"shape": field(7, shape)}
        parts += [field(5, field(1, key) + field(2, value)) for key, value in attrs.items()]
    return field(1, b"".join(parts))


def graph_file(path: Path, nodes: list[bytes], variables: list[str]) -> Path:
    members = b"".join(
        field(1, field(1, f"{name}:0".encode()) + field(2, f"{name}/Assign".encode()))
        for name in variables
    )
    collection = field(1, b"variables") + field(2, field(2, members))
    path.write_bytes(field(2, b"".join(nodes)) + field(4, collection))
    return path


COUNT = 3000  # more members than the graph is asked about one by one
VERY_MANY = ["v", *(f"v_{number}" for number in range(1, COUNT))]


@pytest.mark.parametrize("kind", ["side by side", "chain", "cycle", "set from each other"])
def test_very_many_copies(tmp_path: Path, kind: str) -> None:
    nodes = [node("x", "Placeholder")]
    for number, name in enumerate(VERY_MANY):
        before = f"m{number - 1}" if number else "x"
        data = {"chain": before, "cycle": f"m{(number + 1) % COUNT}"}.get(kind, "x")
        nodes += [node(name, "VariableV2"), node(f"m{number}", "MatMul", data, name)]
        if kind == "set from each other" and number:
            nodes.append(node(f"a{number}", "Assign", name, VERY_MANY[number - 1]))
    group = only(find(graph_file(tmp_path / "m.meta", nodes, VERY_MANY)))
    assert len(group.copies) == COUNT
    assert group.verdict == ("numbered" if kind == "set from each other" else "undecided")


def test_a_variable_with_very_many_readers(tmp_path: Path) -> None:
    nodes = [node("x", "Placeholder"), node("v", "VariableV2"), node("v_1", "VariableV2")]
    nodes += [node(f"m{number}", "MatMul", "x", "v") for number in range(20_000)]
    nodes.append(node("n", "MatMul", "x", "v_1"))
    result = find(graph_file(tmp_path / "m.meta", nodes, ["v", "v_1"]), shared=True)
    assert result.unshared == ()
    assert [item.name for item in result.shared or ()] == ["v"]


def test_all_variables_in_one_vector(tmp_path: Path) -> None:
    """Each variable's value runs along the same long way; and it is still read at its end."""
    names = VERY_MANY[:1000]
    nodes = [node("x", "Placeholder"), *(node(name, "VariableV2") for name in names)]
    nodes.append(node("c", "ConcatV2", *names))
    nodes += [node(f"i{n}", "Identity", f"i{n - 1}" if n else "c") for n in range(2000)]
    nodes.append(node("m", "MatMul", "x", "i1999"))
    assert find(graph_file(tmp_path / "m.meta", nodes, names)).unshared == ()
