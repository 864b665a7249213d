"""``re:`` patterns: what they match, and what is refused."""

from __future__ import annotations

import time

import pytest

from ckpttool.errors import MappingError
from ckpttool.mapping.language.patterns import PatternError, Template
from ckpttool.mapping.language.regexes import RegexPattern


@pytest.mark.parametrize(
    ("source", "target", "name", "expected"),
    [
        (r"re:a/(\d+)/(.*)", "b{1}/{2}", "a/12/x/w", "b12/x/w"),
        (r"re:(?P<scope>.+)/w(eights)?", "{scope}/kernel", "a/b/weights", "a/b/kernel"),
        (r"re:a/w", "b", "a/w/x", None),
        (r"re:a/w", "b", "xa/w", None),
        (r"re:a/w$", "b", "a/w\n", None),
        (r"re:a.w", "b", "a\nw", "b"),
        (r"re:(a|b)/w", "{1}x/w", "b/w", "bx/w"),
        (r"re:(?i)A/w", "b", "a/w", "b"),
        (r"re:a(x)?/w", "b{1}/w", "a/w", "b/w"),
        (r"re:a\$b", "c", "a$b", "c"),
        (r"re:.*", "x/{0}", "a/w", "x/a/w"),
    ],
)
def test_moves(source: str, target: str, name: str, expected: str | None) -> None:
    pattern, template = RegexPattern(source), Template(target)
    assert template.lacking(pattern) is None
    caught = pattern.match(name)
    assert (None if caught is None else template.render(caught)) == expected


@pytest.mark.parametrize(
    "source",
    [
        r"re:(a+)+b",
        r"re:(a*)*b",
        r"re:(?:a|aa)+b",
        r"re:(a|a)*b",
        r"re:((a+)b)*c",
        r"re:(a?){30}b",
        r"re:(?:.*,){11}P",
        r"re:(a{2,})+",
        r"re:(?P<x>a+)*",
        r"re:([a-z]+)*1",
        "re:" + "a?" * 30 + "a" * 30,
        "re:" + "(a|a)" * 30,
        "re:" + ".*a" * 7,
    ],
)
def test_what_could_run_away_is_refused(source: str) -> None:
    with pytest.raises(PatternError):
        RegexPattern(source)


@pytest.mark.parametrize(
    "source",
    [
        r"re:layer_(\d+)/(.*)",
        r"re:(?:bert/)?encoder/layer_(\d+)/(query|key|value)/(.+)",
        r"re:([^/]+)/([^/]+)/w",
        r"re:a[*+?(|]b",
        r"re:(a)(?#(x+)b",
        r"re:(?:abc)*",
        r"re:a\(b+\)*",
    ],
)
def test_what_is_plain_is_taken(source: str) -> None:
    RegexPattern(source)


@pytest.mark.parametrize(
    "source", ["re:", "re:(", "re:a**", "re:[", "re:(?P<x>", "re:" + "a" * 2001]
)
def test_invalid(source: str) -> None:
    with pytest.raises(PatternError):
        RegexPattern(source)


def test_names_that_are_too_long_are_refused_not_tried() -> None:
    pattern = RegexPattern("re:(.*)_(.*)_(.*)_x")
    before = time.monotonic()
    with pytest.raises(MappingError) as raised:
        pattern.match("_" * 60_000)
    assert raised.value.problems[0].code == "MAP004"
    assert time.monotonic() - before < 5


def test_the_literal_start_is_known() -> None:
    assert RegexPattern(r"re:bert/layer_(\d+)/w").prefix == "bert/layer_"
    assert RegexPattern(r"re:abc*").prefix == "ab"
    assert RegexPattern(r"re:ab|cd").prefix == ""
    assert RegexPattern(r"re:a\.b").prefix == "a"
    assert RegexPattern(r"re:(?i)abc").prefix == ""


def test_limits_on_groups() -> None:
    pattern = RegexPattern(r"re:(?P<part>\w+)/w", {"part": ("a", "b")})
    assert pattern.match("a/w") is not None
    assert pattern.match("c/w") is None
