"""The ``remap`` and ``mappings`` commands as people and scripts run them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import Run
from remap_support import write_bundle

from ckpttool.formats.registry import open_reader

ARRAYS: dict[str, Any] = {
    "a/w": np.arange(6, dtype=np.float32).reshape(2, 3),
    "a/w/Adam": np.zeros((2, 3), np.float32),
    "a/b": np.zeros(3, np.float32),
    "c/part_0": np.zeros((1, 2), np.float32),
    "c/part_2": np.zeros((1, 2), np.float32),
    "global_step": np.array(3, np.int64),
}


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    write_bundle(tmp_path / "m", ARRAYS)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: Run(capsys, *arguments)


KEEP = "unmatched: keep\nrules:\n"
CHECKS = {
    # code: mapping file, place, more options
    "MAP001": ("rules: [\n", "m.yaml:2:1"),
    "MAP002": ("ruls: []\n", "m.yaml:1:1"),
    "MAP003": ("rules: x\n", "m.yaml:1:8"),
    "MAP004": ("rules:\n  - {from: 'a/{', to: b}\n", "m.yaml:2:12"),
    "MAP005": ("rules:\n  - {from: a, to: '{x}'}\n", "m.yaml:2:19"),
    "MAP006": ("include: nowhere\n", "m.yaml:1:10"),
    "MAP009": ("target: keras\nunmatched: keep\n", "m.yaml:1:9"),
    "MAP010": ("rules:\n  - {from: a/w, to: x}\n", "m.yaml"),
    "MAP011": (KEEP + "  - {from: 'a/{x}', to: y}\n", "m.yaml:3:6"),
    "MAP012": (KEEP + "  - {from: nothing, to: y}\n", "m.yaml:3:6"),
    "MAP013": (KEEP + "  - {from: a/w, to: x.y}\n", "m.yaml:3:6", "--to", "tf2"),
    "MAP016": ("include: m.yaml\n", "m.yaml:1:10"),
    "MAP017": (KEEP + "  - {from: [a/w, a/b], to: x}\n", "m.yaml:3:6"),
    "MAP018": (KEEP + "  - {from: a/b, to: x, apply: [{reshape: [7]}]}\n", "m.yaml:3:32"),
    "MAP019": (KEEP + "  - {from: a/w, to: x, apply: [square]}\n", "m.yaml:3:32"),
    "MAP020": (KEEP + "  - {from: a/w, to: x, apply: [squares]}\n", "m.yaml:3:32"),
    "MAP021": (KEEP + "  - {from: a/w, to: x, apply: [{concat: {axes: 1}}]}\n", "m.yaml:3:42"),
    "MAP022": (
        KEEP + "  - {from: 'c/part_{k:int}', to: x, collect: k, apply: [concat]}\n",
        "m.yaml:3:6",
    ),
    "MAP023": ("params: {n: }\nunmatched: keep\n", "m.yaml"),
    "MAP024": (KEEP + "  - {from: 'c/part_{k:int}', to: 'x{k-1}'}\n", "m.yaml:3:6"),
    "MAP030": (KEEP + "  - {from: a/w, to: w}\n", "m.yaml", "--like", "t.npz"),
    "MAP031": (KEEP + "  - {from: a/w, to: v}\n", "m.yaml:3:6", "--like", "t.npz"),
    "MAP032": (KEEP + "  - {from: a/w, to: t}\n", "m.yaml:3:6", "--like", "t.npz"),
    "MAP033": (KEEP + "  - {from: a/b, to: d}\n", "m.yaml:3:6", "--like", "t.npz"),
}


@pytest.mark.parametrize("code", sorted(CHECKS))
@pytest.mark.parametrize("dry", [False, True])
def test_every_wrong_mapping_writes_nothing_and_says_where(
    run: Any, tmp_path: Path, code: str, dry: bool
) -> None:
    text, where, *options = CHECKS[code]
    (tmp_path / "m.yaml").write_text(text)
    np.savez(
        tmp_path / "t.npz", t=np.zeros((3, 2), np.float32), w=np.zeros((2, 3), np.float32),
        d=np.zeros(3, np.float64),
    )  # fmt: skip
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    output = "out/o" if options[:1] == ["--to"] else "out/o.npz"
    words = ["remap", "m", "-m", "m.yaml", "-o", output, *options, *(["-n"] if dry else [])]
    found = run(*words, "--json")
    assert found.code == 4
    body = found.body()
    assert body["status"] == "error"
    places = {(item["code"], (item["where"] or "").split("   ")[0]) for item in body["problems"]}
    assert (code, where) in places
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert after == before
    assert not (tmp_path / "out").exists()
    people = run(*words)
    assert people.code == 4
    assert people.out == ""
    assert f"error[{code}]" in people.err
    assert f"--> {where}" in people.err


WORDS: list[tuple[list[str], int, str]] = [
    (["-m", "m.yaml"], 2, "USE001"),
    (["-m", "m.yaml", "-o", "o.npz", "--to", "keras"], 2, "USE001"),
    (["-m", "m.yaml", "-o", "o", "--to", "kears"], 2, "USE003"),
    (["-m", "m.yaml", "-o", "o.npz", "--slots", "x"], 2, "USE003"),
    (["-m", "m.yaml", "-o", "o.npz", "--averages", "x"], 2, "USE003"),
    (["-m", "m.yaml", "-o", "o.npz", "--max-shard-size", "big"], 2, "USE003"),
    (["-m", "m.yaml", "-o", "o.npz", "--cast"], 2, "USE001"),
    (["-o", "o"], 2, "USE001"),
    (["-m", "m.yaml", "-o", "o.npz", "--link"], 5, "OUT002"),
    (["-m", "m.yaml", "-o", "m.npz", "--like", "gone.npz"], 3, "INP001"),
]


@pytest.mark.parametrize(("words", "exit_code", "code"), WORDS)
def test_command_lines_that_cannot_be(
    run: Any, tmp_path: Path, words: list[str], exit_code: int, code: str
) -> None:
    (tmp_path / "m.yaml").write_text("unmatched: keep\n")
    found = run("remap", "m", *words, "--json")
    assert found.code == exit_code
    assert [item["code"] for item in found.body()["problems"]] == [code]
    assert not list(tmp_path.glob("o*"))


def test_a_plan_is_printed_and_carried_out(run: Any, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(
        "target: npz\nslots: drop\nassumes: {gelu: tanh}\ncaveats: [look at the padding]\n"
        "rules:\n  - {from: 'a/{p}', to: 'x.{p}', where: {p: {w: kernel, b: bias}},\n"
        "     apply: [transpose]}\n  - {from: '**', drop: true}\n"
    )
    found = run("remap", "m", "-m", "m.yaml", "-o", "o.npz", "-n")
    assert found.code == 0
    assert "caveat look at the padding" in found.out
    assert "assumes gelu: tanh" in found.out
    assert "x.kernel  transpose  3" in found.out
    assert "2 tensors to write to npz, 0 renamed, 2 transformed, 4 dropped" in found.out
    assert "nothing is written" in found.out
    assert not (tmp_path / "o.npz").exists()
    body = run("remap", "m", "-m", "m.yaml", "-o", "o.npz", "--json").body()
    assert body["target"] == "npz"
    assert body["assumes"] == {"gelu": "tanh"}
    assert body["caveats"] == ["look at the padding"]
    assert body["verified"] is True
    assert body["output"]["format"] == "npz"
    assert [(row["target"], row["operations"]) for row in body["plan"]] == [
        ("x.bias", ["transpose"]),
        ("x.kernel", ["transpose"]),
    ]
    with open_reader("o.npz") as reader:
        assert np.array_equal(reader.read("x.kernel"), ARRAYS["a/w"].T)


def test_a_checkpoint_is_converted_without_a_mapping(run: Any) -> None:
    assert run("remap", "m", "-o", "o.safetensors").code == 0
    with open_reader("o.safetensors") as reader:
        assert set(reader.specs) == set(ARRAYS)
    assert run("remap", "m", "-o", "p", "--to", "npz").code == 5
    assert run("remap", "m", "-o", "q.npz", "--add-prefix", "x/", "--slots", "drop").code == 0
    with open_reader("q.npz") as reader:
        assert set(reader.specs) == {f"x/{name}" for name in ARRAYS if "Adam" not in name}


def test_salvage(run: Any, samples: Path) -> None:
    damaged = samples / "damaged" / "truncated_data" / "model.ckpt-5"
    assert run("remap", damaged, "--add-prefix", "x/", "-o", "o").code == 3
    found = run("remap", damaged, "--add-prefix", "x/", "-o", "o", "--salvage", "--json")
    assert found.code == 0
    body = found.body()
    assert len(body["plan"]) == 27 - 9
    assert [item["rule"] for item in body["dropped"]] == ["--salvage"] * 9
    assert {item["code"] for item in body["problems"]} >= {"MAP027"}


def test_inverse(run: Any, tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(KEEP + "  - {from: a/w, to: x, apply: [transpose]}\n")
    assert run("remap", "m", "-m", "m.yaml", "-o", "there").code == 0
    for more in ([], ["--like", "m"]):
        assert (
            run("remap", "there", "-m", "m.yaml", "-o", "b", "--inverse", "--force", *more).code
            == 0
        )
        assert run("diff", "m", "b").code == 0


def test_mappings(run: Any, tmp_path: Path) -> None:
    listed = run("mappings", "list")
    assert listed.code == 0
    assert "add_scope" in listed.out
    body = run("mappings", "list", "--json").body()
    assert {item["name"] for item in body["mappings"]} >= {"add_scope", "tf12_rnn_names"}
    shown = run("mappings", "show", "add_scope")
    assert "description: put every variable under one scope" in shown.out
    assert "rules:" in run("mappings", "show", "add_scope", "--json").body()["mappings"][0]["text"]
    (tmp_path / "m.yaml").write_text(KEEP + "  - {from: a/w, to: x}\n")
    assert run("mappings", "lint", "m.yaml", "add_scope").code == 0
    planned = run("mappings", "lint", "m.yaml", "--against", "m", "--json").body()["linted"][0]
    assert len(planned["plan"]) == len(ARRAYS)
    (tmp_path / "n.yaml").write_text("ruls: []\n")
    wrong = run("mappings", "lint", "m.yaml", "n.yaml", "gone", "--json")
    assert wrong.code == 4
    assert [item["code"] for item in wrong.body()["problems"]] == ["MAP002", "MAP006"]
    assert run("mappings", "draw").code == 2
    assert run("mappings", "show").code == 2
    assert run("mappings", "list", "x").code == 2


def test_names_from_files_do_not_drive_the_terminal(run: Any, tmp_path: Path) -> None:
    write_bundle(tmp_path / "n", {"a\x1b[31m": np.zeros(1, np.float32)})
    (tmp_path / "m.yaml").write_text(
        'caveats: ["\\x1b[2J"]\nrules:\n  - {from: "**", to: "x/**"}\n'
    )
    found = run("remap", "n", "-m", "m.yaml", "-n")
    assert found.code == 0
    assert "\x1b" not in found.out
