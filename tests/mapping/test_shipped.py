"""Every shipped mapping says what it is, and fits names and shapes of a real source and target."""

from __future__ import annotations

import re
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from spec_support import FOLDER, Spec, plan_of, read_spec, spec_files

from ckpttool.errors import MappingError
from ckpttool.mapping.language.catalog import MappingInfo, mapping_info
from ckpttool.mapping.language.library import built_in
from ckpttool.mapping.like.template import Template
from ckpttool.mapping.remap import load_mapping

STATUS = ("equal", "equal_after_change", "weights_only", "unproven")
SPECS = spec_files()
MIGRATIONS = [name for name in built_in() if "__" in name]


def _id(path: Path) -> str:
    return path.stem


@pytest.mark.parametrize("name", built_in())
def test_every_mapping_can_be_read_and_says_what_it_does(name: str) -> None:
    assert mapping_info(name).description


@pytest.mark.parametrize("name", MIGRATIONS)
def test_a_migration_tells_its_source_its_target_and_its_proof(name: str) -> None:
    info: MappingInfo = mapping_info(name)
    assert info.target
    assert info.free["source"]
    assert info.assumes
    proof: dict[str, Any] = info.free["proof"]
    assert proof["status"] in STATUS
    if proof["status"] != "equal":
        assert info.caveats, "what is not equal is said before the plan"
    if proof["status"] != "unproven":
        assert proof["max_abs_error"] >= 0
        assert proof["sensitivity"] > 0
        assert proof["command"].startswith("python -m pytest tests/proofs/")


@pytest.mark.parametrize("name", MIGRATIONS)
def test_a_migration_has_a_spec(name: str) -> None:
    assert [path for path in SPECS if path.name.startswith(f"{name}.")]


@pytest.mark.parametrize("path", SPECS, ids=_id)
def test_a_mapping_fits_its_spec(path: Path) -> None:
    spec = read_spec(path)
    assert path.name.startswith(f"{spec.mapping}.")
    plan = plan_of(spec)
    used = {name for step in plan.steps for name in step.sources}
    dropped = {item.name for item in plan.dropped}
    assert used | dropped == set(spec.source)
    if spec.template is not None:
        assert {step.target for step in plan.steps} == set(spec.template.by_key)


@pytest.mark.parametrize("path", SPECS, ids=_id)
def test_a_source_that_lacks_a_variable_or_has_one_more_is_refused(path: Path) -> None:
    spec = read_spec(path)
    source = dict(spec.source)
    # The one that the fewest others resemble: many rules take whatever has a name of their kind.
    used = next(step.sources[0] for step in plan_of(spec).steps if step.sources)
    odd = source[used]._replace(name="surplus/variable")
    _refused(spec, {**source, odd.name: odd}, "MAP010")
    del source[used]
    if spec.template is not None:
        # Of shards the others are taken for all, and make a smaller table.
        _refused(spec, source, "MAP030", "MAP032")


@pytest.mark.parametrize("path", [path for path in SPECS if read_spec(path).template], ids=_id)
def test_another_shape_is_refused(path: Path) -> None:
    spec = read_spec(path)
    step = next(step for step in plan_of(spec).steps if step.sources and step.shape)
    old = spec.source[step.sources[0]]
    new = old._replace(shape=(old.shape[0] * 2, *old.shape[1:]))
    with pytest.raises(MappingError):
        plan_of(spec._replace(source={**spec.source, old.name: new}))


def _refused(spec: Spec, source: dict[str, Any], *codes: str) -> None:
    with pytest.raises(MappingError) as error:
        plan_of(spec._replace(source=source))
    assert {*codes} & {problem.code for problem in error.value.problems}


_HEADS = ("predictions/", "conv_preds/", "logits/", "fc1/", "fc2/")


@pytest.mark.parametrize("path", [p for p in SPECS if "_keras_" in p.name], ids=_id)
def test_a_net_goes_without_its_head_where_the_mapping_offers_it(path: Path) -> None:
    spec = read_spec(path)
    if "top" not in mapping_info(spec.mapping).params or spec.template is None:
        pytest.skip("the mapping has no such parameter")
    kept = [
        item
        for item in spec.template.variables
        if not any(name.startswith(_HEADS) for name in item.names)
    ]
    assert 0 < len(spec.template.variables) - len(kept) <= 6  # VGG has three layers there
    template = Template(kept, kind=spec.template.kind, path="no_top")
    plan = plan_of(spec._replace(template=template, params={**spec.params, "top": False}))
    assert len(plan.steps) == len(kept)


def test_the_second_inception_of_a_process_has_other_names() -> None:
    name = "slim_inception_v3__keras_inception_v3"
    spec = read_spec(FOLDER / f"{name}.json")
    assert spec.template is not None
    first = plan_of(spec)

    def later(text: str) -> str:
        stem, _, rest = text.partition("/")
        found = re.fullmatch(r"(conv2d|batch_normalization)(?:_([0-9]+))?", stem)
        return f"{found[1]}_{int(found[2] or 0) + 94}/{rest}" if found else text

    variables = [
        item._replace(names=tuple(map(later, item.names))) for item in spec.template.variables
    ]
    second = Template(variables, kind=spec.template.kind, path="second")
    with pytest.raises(MappingError, match="MAP031"):
        plan_of(spec._replace(template=second))
    assert plan_of(spec._replace(template=second, params={"first": 94})).steps == first.steps


def test_the_blocks_of_every_efficientnet_are_told() -> None:
    """Stages of 1 to 4 blocks, times the depth of each size, rounded up."""
    depths = (1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1)
    expected = {}
    for size, depth in enumerate(depths):
        blocks = [
            f"{stage}{chr(ord('a') + at)}"
            for stage, repeats in enumerate((1, 2, 2, 3, 3, 4, 1), start=1)
            for at in range(ceil(depth * repeats))
        ]
        expected.update({f"b{size}/blocks_{at}": name for at, name in enumerate(blocks)})
    found: dict[str, str] = {}
    for rule in load_mapping("tpu_efficientnet__keras_efficientnet").rules:
        for name, table in getattr(rule, "tables", ()):
            if name.text == "block":
                found.update({key.text: value.text for key, value in table.value})
    assert found == expected
