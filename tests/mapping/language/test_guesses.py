"""`detect:` of a mapping file: how it is read, checked, and what it tells of shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from detect_support import named

from ckpttool.errors import MappingError
from ckpttool.mapping.language.catalog import lint
from ckpttool.mapping.language.document import Guess, parse_document
from ckpttool.mapping.language.guesses import check_guesses, guess_values

RULES = "rules: [{from: '**', to: x/**}]\n"
SPECS = named({"a/w": (4, 128), "a/b": (128,), "c/w": (4, 128), "d/w": (4, 100), "e/none": (3, 0)})


def _values(detect: str, **given: Any) -> dict[str, Any]:
    document = parse_document(f"params: {{n: , m: x, s: a}}\ndetect: {detect}\n{RULES}", "m.yaml")
    assert check_guesses(document) == []
    return {guess.param: guess.value for guess in guess_values(document, SPECS, given)}


@pytest.mark.parametrize(
    ("detect", "expected"),
    [
        ("{n: {from: a/w, size: d1}}", {"n": 128}),
        ("{n: {from: a/w, size: d1//64}}", {"n": 2}),
        ("{n: {from: '{x}/w', size: d1}}", {}),  # they do not agree
        ("{n: {from: '{x}/w', size: 7}}", {"n": 7}),
        ("{n: {from: d/w, size: d1//64}}", {}),  # a rest
        ("{n: {from: a/b, size: d1}}", {}),  # no such axis
        ("{n: {from: e/none, size: d1}}", {}),  # nothing is no size
        ("{n: {from: e/none, size: d1, table: {0: none}}}", {"n": "none"}),
        ("{n: {from: z/w, size: d1}}", {}),
        ("{n: {from: $s/w, size: d1}}", {"n": 128}),
        ("{n: {from: a/w, size: d1//$k}}", {}),
        ("{m: {from: a/w, size: d0, table: {4: wide, 5: narrow}}}", {"m": "wide"}),
        ("{m: {from: a/w, size: d1, table: {4: wide}}}", {}),
        ("{n: {from: a/w, size: d0}, m: {from: d/w, size: d1}}", {"n": 4, "m": 100}),
    ],
)
def test_what_shapes_tell(detect: str, expected: dict[str, Any]) -> None:
    given = {"k": 3} if "$k" in detect else {}
    if given:
        document = parse_document(f"params: {{n: }}\ndetect: {detect}\n{RULES}", "m.yaml")
        assert guess_values(document, SPECS, {}) == []
        assert [problem.code for problem in check_guesses(document)] == ["MAP004"]
        return
    assert _values(detect) == expected


def test_parameters_that_were_given_count() -> None:
    assert _values("{n: {from: $s/w, size: d1}}", s="d") == {"n": 100}


def test_what_is_told_with_a_value() -> None:
    document = parse_document(
        "params: {n: }\ndetect: {n: {from: a/w, size: d1//64, convention: so said they}}\n" + RULES,
        "m.yaml",
    )
    (guess,) = guess_values(document, SPECS, {})
    assert guess == ("n", 2, "a/w", (4, 128), "so said they")
    (written,) = document.detect
    assert isinstance(written, Guess)
    assert written.source.where == "m.yaml:2:20"


@pytest.mark.parametrize(
    ("detect", "code"),
    [
        ("{k: {from: a, size: d0}}", "MAP004"),  # no such parameter
        ("{n: {from: '{', size: d0}}", "MAP004"),
        ("{n: {from: $gone, size: d0}}", "MAP004"),
        ("{n: {from: a, size: d0 +}}", "MAP021"),
        ("{n: {from: a, size: 'import os'}}", "MAP021"),
        ("{n: {from: a}}", "MAP002"),
        ("{n: {from: a, size: d0, sise: d1}}", "MAP002"),
        ("{n: d0}", "MAP003"),
        ("[n]", "MAP003"),
        ("{n: {from: [a, b], size: d0}}", "MAP003"),
    ],
)
def test_lint_finds_mistakes(tmp_path: Path, detect: str, code: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_text(f"params: {{n: 1}}\ndetect: {detect}\n{RULES}")
    with pytest.raises(MappingError) as raised:
        lint(str(path))
    assert code in {problem.code for problem in raised.value.problems}
    assert all("m.yaml:2:" in (problem.where or "") for problem in raised.value.problems)
