"""Mapping files as they are listed, shown and checked, and the schema for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from remap_support import told, write_bundle

from ckpttool.errors import MappingError
from ckpttool.mapping.language.catalog import lint, mapping_info, mappings
from ckpttool.mapping.language.document_parser import KEYS
from ckpttool.mapping.language.library import built_in
from ckpttool.mapping.language.rule_parser import KEYS as RULE_KEYS
from ckpttool.mapping.language.schema import mapping_schema
from ckpttool.mapping.transforms.table import TRANSFORMS


def test_every_built_in_mapping_is_listed_and_sound() -> None:
    assert [item.name for item in mappings()] == sorted(built_in())
    for item in mappings():
        assert item.description
        assert lint(item.name).rules
        assert mapping_info(item.name).text


def test_what_a_file_says_is_kept(tmp_path: Path) -> None:
    (tmp_path / "part.yaml").write_text("caveats: [inner]\nrules:\n  - {from: a, to: b}\n")
    path = tmp_path / "m.yaml"
    path.write_text(
        "description: d\ntarget: keras\nparams: {heads: , units: 3}\nassumes: {x: 1}\n"
        "caveats: [outer]\nsource: {repo: r, files: [f]}\nproof: 0.0\ninclude: part.yaml\n"
    )
    data = mapping_info(str(path)).data()
    assert data["params"] == {"heads": None, "units": 3}
    assert data["caveats"] == ["outer", "inner"]
    assert data["source"] == {"repo": "r", "files": ["f"]}
    assert data["proof"] == 0.0
    assert data["rules"] == 1


def test_lint_needs_no_checkpoint_and_no_parameters(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_text("params: {n: }\nrules:\n  - {from: a, to: b, apply: [{reshape: [$n, -1]}]}\n")
    assert lint(str(path)).rules == 1
    path.write_text("rules:\n  - {from: a, to: '{b'}\n  - {from: c, to: d, apply: [nothing]}\n")
    with pytest.raises(MappingError) as raised:
        lint(str(path))
    assert told(raised.value) == [("MAP004", f"{path}:2:19"), ("MAP020", f"{path}:3:30")]
    path.write_text("rules:\n  - {from: a, to: b}\n  - {from: a, drop: true}\n")
    with pytest.raises(MappingError) as raised:
        lint(str(path))
    assert told(raised.value) == [("MAP012", f"{path}:3:6")]


def test_lint_against_a_checkpoint(tmp_path: Path) -> None:
    write_bundle(tmp_path / "c", {"a": [1.0], "b": [2.0]})
    path = tmp_path / "m.yaml"
    path.write_text("target: keras\nrules:\n  - {from: a, to: dense/kernel}\n")
    with pytest.raises(MappingError) as raised:
        lint(str(path), against=str(tmp_path / "c"))
    assert {code for code, _ in told(raised.value)} == {"MAP010"}
    path.write_text("target: keras\nunmatched: drop\nrules:\n  - {from: a, to: dense/kernel}\n")
    plan = lint(str(path), against=str(tmp_path / "c")).plan
    assert plan is not None
    assert [step.target for step in plan.steps] == ["dense/kernel"]


def _keys(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = set(node.get("properties", {})) if isinstance(node.get("properties"), dict) else set()
        return own.union(*map(_keys, node.values())) if node else own
    return set().union(*map(_keys, node)) if isinstance(node, list) else set()


def test_the_schema_knows_every_key() -> None:
    schema = mapping_schema()
    assert set(schema["properties"]) == set(KEYS)
    assert set(schema["$defs"]["rule"]["properties"]) == set(RULE_KEYS)
    assert set(TRANSFORMS) <= _keys(schema["$defs"]["apply"]) | {
        name for form in schema["$defs"]["apply"]["items"]["anyOf"] for name in form.get("enum", ())
    }


def test_the_schema_takes_the_built_in_files() -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    yaml = pytest.importorskip("yaml")
    validator = jsonschema.Draft202012Validator(mapping_schema())
    for path in built_in().values():
        data = yaml.safe_load(Path(path).read_text())
        assert list(validator.iter_errors(data)) == []
    bad: list[dict[str, Any]] = [{"ruls": []}, {"slots": "x"}, {"rules": [{"to": "a"}]}]
    for item in bad:
        assert list(validator.iter_errors(item))


def test_the_example_of_the_reference_is_sound(samples: Path, tmp_path: Path) -> None:
    readme = (samples.parent / "mappings" / "README.md").read_text()
    block = readme.split("## A mapping file\n\n")[1].split("\nEvery name needs")[0]
    path = tmp_path / "m.yaml"
    path.write_text("\n".join(line[4:] for line in block.splitlines()))
    assert lint(str(path)).rules == 12
