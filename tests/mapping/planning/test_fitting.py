"""What a target of ``--like`` wants: names, shapes, dtypes, nothing missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from remap_support import specs, told, write_bundle

from ckpttool.analysis.roles import infer_roles
from ckpttool.checkpoint import open_checkpoint
from ckpttool.errors import CkptError, MappingError
from ckpttool.formats.registry import open_reader
from ckpttool.mapping.language.document import parse_document
from ckpttool.mapping.language.rules import compile_rules
from ckpttool.mapping.like.template import TargetVariable, Template
from ckpttool.mapping.planning.fitting import Like
from ckpttool.mapping.planning.plan import Plan, Wanted, make_plan
from ckpttool.mapping.remap import remap
from ckpttool.tensors import TensorSpec

VARIABLES = [
    TargetVariable("layers/dense/vars/0", ("dense/kernel",), "float32", (2, 3)),
    TargetVariable("layers/dense/vars/1", ("dense/bias",), "float32", (3,)),
    TargetVariable("layers/dense_1/vars/0", ("top/kernel",), "bfloat16", (3, 1)),
    TargetVariable("optimizer/vars/0", ("iteration",), "int64", (), False),
]
SOURCE = specs("a/w", "a/b", "c/w", **{"a/w": (2, 3), "a/b": (3,), "c/w": (1, 3)})
RULES = """
  - {from: a/w, to: dense/kernel}
  - {from: a/b, to: layers/dense/vars/1}
  - {from: c/w, to: top/kernel, apply: [transpose, {cast: bfloat16}]}
"""


def plan(rules: str, source: dict[str, TensorSpec] | None = None, **options: Any) -> Plan:
    source = SOURCE if source is None else source
    template = Template(VARIABLES, kind="keras", path="model.keras", ordered=True)
    compiled = compile_rules(parse_document("rules:" + rules, "m.yaml"))
    unused = options.pop("allow_unused", ())
    wanted = Wanted(fitting=Like(template, **options), allow_unused=unused)
    return make_plan(source, compiled, infer_roles(source), source="c", wanted=wanted)


def test_names_are_looked_up_and_the_targets_order_is_taken() -> None:
    lines = RULES.strip("\n").split("\n")
    found = plan("\n" + "\n".join(lines[::-1]) + "\n")
    assert [(step.target, step.dtype, step.shape) for step in found.steps] == [
        ("layers/dense/vars/0", "float32", (2, 3)),
        ("layers/dense/vars/1", "float32", (3,)),
        ("layers/dense_1/vars/0", "bfloat16", (3, 1)),
    ]


WRONG = [
    # a text of the rules, what stands in its place, problems
    ("dense/kernel", "dense/kernal", {("MAP031", "m.yaml:2:6"), ("MAP030", "m.yaml")}),
    ("transpose, ", "", {("MAP032", "m.yaml:4:6")}),
    (", {cast: bfloat16}", "", {("MAP033", "m.yaml:4:6")}),
    ("a/w, to: dense/kernel", "a/w, drop: true", {("MAP030", "m.yaml")}),
    (
        "layers/dense/vars/1",
        "dense/kernel",
        {("MAP011", "m.yaml:2:6"), ("MAP030", "m.yaml"), ("MAP032", "m.yaml:3:6")},
    ),
]


@pytest.mark.parametrize(("old", "new", "problems"), WRONG)
def test_what_does_not_fit_is_told_with_its_place(
    old: str, new: str, problems: set[tuple[str, str]]
) -> None:
    with pytest.raises(MappingError) as raised:
        plan(RULES.replace(old, new))
    assert set(told(raised.value)) == problems


def test_an_unexpected_target_names_the_nearest() -> None:
    with pytest.raises(MappingError) as raised:
        plan(RULES.replace("dense/kernel", "dense/kernal"))
    (problem,) = [item for item in raised.value.problems if item.code == "MAP031"]
    assert "dense/kernel" in (problem.hint or "")
    assert "from a/w" in (problem.found or "")


def test_missing_targets_may_be_allowed() -> None:
    rules = RULES.replace("a/b, to: layers/dense/vars/1", "a/b, drop: true")
    for name in ("dense/bias", "layers/dense/vars/1", "**/1"):
        assert len(plan(rules, allow_missing=[name]).steps) == 2
    with pytest.raises(MappingError):
        plan(rules, allow_missing=["top/**"])


def test_dtypes_are_cast_where_it_is_asked_for() -> None:
    found = plan(RULES.replace(", {cast: bfloat16}", ""), cast=True)
    assert found.steps[-1].operations == ("transpose", "cast bfloat16")
    assert found.steps[-1].dtype == "bfloat16"
    source = dict(SOURCE, **{"a/w": TensorSpec("a/w", "string", (2, 3))})
    with pytest.raises(MappingError) as raised:
        plan(RULES, source, cast=True)
    assert told(raised.value) == [("MAP033", "m.yaml:2:6")]


def test_source_names_may_be_left_over_where_it_is_allowed() -> None:
    source = SOURCE | specs("z/x", "z/y", "z/y/Adam")
    with pytest.raises(MappingError) as raised:
        plan(RULES, source)
    assert {code for code, _ in told(raised.value)} == {"MAP010"}
    found = plan(RULES, source, allow_unused=["z"])
    assert dict(found.dropped) == dict.fromkeys(("z/x", "z/y", "z/y/Adam"), "--allow-unused")


def test_a_file_is_a_template(tmp_path: Path) -> None:
    arrays = {"a/w": np.ones((2, 3), np.float32), "a/b": np.arange(3, dtype=np.float64)}
    write_bundle(tmp_path / "m", arrays)
    np.savez(tmp_path / "t.npz", k=np.zeros((3, 2), np.float32), b=np.zeros(3, np.float32))
    rules = {
        "rules": [{"from": "a/w", "to": "k", "apply": ["transpose"]}, {"from": "a/b", "to": "b"}]
    }
    like = str(tmp_path / "t.npz")
    with open_checkpoint(str(tmp_path / "m")) as checkpoint:
        with pytest.raises(MappingError) as raised:
            remap(checkpoint, rules, str(tmp_path / "o.npz"), like=like)
        assert [problem.code for problem in raised.value.problems] == ["MAP033"]
        result = remap(checkpoint, rules, str(tmp_path / "o.npz"), like=like, cast=True)
        with pytest.raises(CkptError) as usage:
            remap(checkpoint, rules, str(tmp_path / "p.npz"), cast=True)
    assert usage.value.exit_code == 2
    assert [step.target for step in result.plan.steps] == ["k", "b"]
    with open_reader(str(tmp_path / "o.npz")) as reader:
        assert reader.read("b").tolist() == [0, 1, 2]
        assert reader.specs["b"].dtype == "float32"


def test_a_target_without_variables_is_told_once() -> None:
    compiled = compile_rules(parse_document("rules:" + RULES, "m.yaml"))
    template = Template([], kind="keras", path="model.keras", ordered=True)
    with pytest.raises(MappingError) as caught:
        make_plan(
            SOURCE,
            compiled,
            infer_roles(SOURCE),
            source="c",
            wanted=Wanted(fitting=Like(template)),
        )
    assert [item.code for item in caught.value.problems] == ["MAP031"]
    assert "no variables" in caught.value.problems[0].message
    assert "build the model" in (caught.value.problems[0].hint or "")
