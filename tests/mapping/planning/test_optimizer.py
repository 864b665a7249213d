"""Optimizer state planned for Keras: order, transforms, and everything that is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from remap_support import write_bundle

from ckpttool.checkpoint import open_checkpoint
from ckpttool.errors import CkptError
from ckpttool.formats.registry import open_reader
from ckpttool.mapping.remap import remap

W = np.arange(6, dtype=np.float32).reshape(2, 3)
SOURCE: dict[str, Any] = {
    "a/w": W,
    "a/w/Adam": W + 10,
    "a/w/Adam_1": W + 20,
    "a/b": np.zeros(3, np.float32),
    "a/b/Adam": np.full(3, 1, np.float32),
    "a/b/Adam_1": np.full(3, 2, np.float32),
    "frozen": np.zeros(2, np.float32),
    "beta1_power": np.array(0.5, np.float32),
    "beta2_power": np.array(0.5, np.float32),
    "global_step": np.array(9, np.int32),
}
RULES = {
    "rules": [
        {"from": "a/w", "to": "layers/dense/vars/0", "apply": ["transpose", {"add": 1.0}]},
        {"from": "a/b", "to": "layers/dense/vars/1"},
        {"from": "frozen", "to": "layers/other/vars/0"},
        {"from": "global_step", "drop": True, "optional": True},
    ],
    "unmatched": "drop",
}
TARGET = {"layers/dense/vars/0": W.T, "layers/dense/vars/1": np.zeros(3, np.float32),
          "layers/other/vars/0": np.zeros(2, np.float32)}  # fmt: skip
FLOAT = np.array(0, np.float32)


def template(folder: Path, *state: Any) -> str:
    """A Keras file with these optimizer variables."""
    arrays = {**TARGET, **{f"optimizer/vars/{at}": value for at, value in enumerate(state)}}
    write_bundle(folder / "t", arrays)
    with open_checkpoint(str(folder / "t")) as checkpoint:
        remap(checkpoint, {"unmatched": "keep"}, str(folder / "t.weights.h5"))
    return str(folder / "t.weights.h5")


def run(folder: Path, like: str, optimizer: str, **source: Any) -> Any:
    arrays = {name: value for name, value in {**SOURCE, **source}.items() if value is not None}
    write_bundle(folder / "m", arrays, force=True)
    with open_checkpoint(str(folder / "m")) as checkpoint:
        return remap(
            checkpoint, RULES, str(folder / "o.weights.h5"), like=like, optimizer=optimizer
        )


STEP = np.array(0, np.int64)
SLOTS = [W.T, W.T, TARGET["layers/dense/vars/1"], TARGET["layers/dense/vars/1"]]


@pytest.mark.parametrize("rate", [True, False])
def test_slots_stand_in_the_order_of_the_model(tmp_path: Path, rate: bool) -> None:
    like = template(tmp_path, STEP, *([FLOAT] if rate else []), *SLOTS)
    result = run(tmp_path, like, "adam,learning_rate=0.25" if rate else "adam")
    with open_reader(str(tmp_path / "o.weights.h5")) as reader:
        found = [reader.read(f"optimizer/vars/{at}") for at in range(5 + rate)]
        assert reader.specs["optimizer/vars/0"].dtype == "int64"
        assert reader.read("layers/dense/vars/0").tolist() == (W.T + 1).tolist()
    assert found.pop(0).tolist() == 9
    if rate:
        assert found.pop(0).tolist() == 0.25
    expected = [SOURCE["a/w/Adam"].T, SOURCE["a/w/Adam_1"].T, SOURCE["a/b/Adam"]]
    for value, wanted in zip(found, expected, strict=False):
        assert value.tolist() == wanted.tolist()
    dropped = dict(result.plan.dropped)
    assert dropped["beta1_power"] == "optimizer"
    assert "global_step" not in dropped


REFUSED: list[tuple[list[Any], str, dict[str, Any], str]] = [
    ([], "adam", {}, "no optimizer variables"),
    ([STEP, FLOAT, *SLOTS], "adam", {}, "give one"),
    ([STEP, *SLOTS[:3]], "adam", {}, "another number"),
    ([STEP, *SLOTS], "momentum,learning_rate=1", {}, "another number"),
    ([STEP, W.T, SLOTS[3]], "momentum", {}, "give it"),
    ([STEP, *SLOTS], "adam", {"a/b/Adam_1": None}, "no slot number 1"),
    ([STEP, *SLOTS[::-1]], "adam", {}, "another variable"),
    ([STEP, *SLOTS], "adam", {"global_step": None}, "no global step"),
]


@pytest.mark.parametrize(("state", "optimizer", "source", "message"), REFUSED)
def test_state_that_does_not_fit_is_refused(
    tmp_path: Path, state: list[Any], optimizer: str, source: dict[str, Any], message: str
) -> None:
    with pytest.raises(CkptError) as raised:
        run(tmp_path, template(tmp_path, *state), optimizer, **source)
    (problem,) = raised.value.problems
    assert (problem.code, raised.value.exit_code) == ("MAP029", 4)
    assert message in problem.message
    assert not (tmp_path / "o.weights.h5").exists()


@pytest.mark.parametrize("optimizer", ["adamw", "adam,rate=1", "adam,learning_rate=x"])
def test_unknown_optimizers(tmp_path: Path, optimizer: str) -> None:
    with pytest.raises(CkptError) as raised:
        run(tmp_path, template(tmp_path, STEP, *SLOTS), optimizer)
    assert raised.value.problems[0].code == "USE003"


def test_it_needs_a_model(tmp_path: Path) -> None:
    write_bundle(tmp_path / "m", SOURCE)
    with open_checkpoint(str(tmp_path / "m")) as checkpoint, pytest.raises(CkptError) as raised:
        remap(checkpoint, RULES, str(tmp_path / "o.weights.h5"), optimizer="adam")
    assert raised.value.problems[0].code == "USE001"
