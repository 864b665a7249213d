"""Patterns against tables, and against a reference that tries everything."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.errors import MappingError
from ckpttool.mapping.language.patterns import (
    DEEP,
    DIRS,
    INT,
    MAX_PATTERN,
    NAME,
    STAR,
    TEXT,
    Atom,
    Pattern,
    PatternError,
    Template,
    escape,
    parse_atoms,
)

MOVES = [
    # pattern, template, name, new name (None: no match)
    ("a/w", "b/w", "a/w", "b/w"),
    ("a/w", "b/w", "a/w/Adam", None),
    ("a/w", "b/w", "x/a/w", None),
    ("a/**", "b/**", "a/w", "b/w"),
    ("a/**", "b/**", "a/x/y/w", "b/x/y/w"),
    ("a/**", "b/**", "a", None),
    ("a/**", "b/**", "a/", None),
    ("a/**", "b/**", "ab/w", None),
    ("a/**", "**", "a/x/w", "x/w"),
    ("**", "m/**", "x/w", "m/x/w"),
    ("**", "m/**", "w", "m/w"),
    ("**/w", "**/v", "w", "v"),
    ("**/w", "**/v", "a/b/w", "a/b/v"),
    ("**/w", "**/v", "a/bw", None),
    ("a/**/w", "b/**/v", "a/w", "b/v"),
    ("a/**/w", "b/**/v", "a/x/y/w", "b/x/y/v"),
    ("a/**/w", "b/**", "a/x/y/w", "b/x/y"),
    ("a/**/w", "b/**", "a/w", "b"),
    ("**/a/**", "**/b/**", "x/a/y/w", "x/b/y/w"),
    ("**/a/**", "**/b/**", "x/a/y/a/w", "x/a/y/b/w"),
    ("a**", "b**", "abc/d", "bbc/d"),
    ("a**", "b**", "a", "b"),
    ("a/*", "b/*", "a/w", "b/w"),
    ("a/*", "b/*", "a/x/w", None),
    ("*/*/w", "*-*/w", "x/y/w", "x-y/w"),
    ("conv*/w", "c*/w", "conv1_2/w", "c1_2/w"),
    ("conv*/w", "c*/w", "conv/w", "c/w"),
    ("layer_{i}/{x}", "l{i}/{x}", "layer_3/kernel", "l3/kernel"),
    ("layer_{i}/{x}", "l{i}/{x}", "layer_/kernel", None),
    ("layer_{i:int}/w", "l{i}/w", "layer_12/w", "l12/w"),
    ("layer_{i:int}/w", "l{i}/w", "layer_x/w", None),
    ("layer_{i:int}/w", "l{i}/w", "layer_²/w", None),  # a digit to Unicode, not to us
    ("{a}_{b}", "{b}_{a}", "x_y_z", "z_x_y"),  # the first takes as much as it can
    ("{a}{i:int}", "{a}-{i}", "w123", "w12-3"),
    ("{x}/{x}/w", "{x}/w", "a/a/w", "a/w"),
    ("{x}/{x}/w", "{x}/w", "a/b/w", None),
    ("{x}{x}", "{x}", "abab", "ab"),
    (r"a\{x\}/\*", "b", "a{x}/*", "b"),
    (r"a\*b", "b", "axb", None),
    (r"re\:x", "b", "re:x", "b"),
    ("a[1]?.(b)+", "b", "a[1]?.(b)+", "b"),
    ("a[1]", "b", "a1", None),
    ("{x}", r"\{{x}\}", "w", "{w}"),
    ("{x}/w", "{x}/v", "a\nb/w", "a\nb/v"),
    ("**/w", "**/v", "a\n/b/w", "a\n/b/v"),
    ("a/*", "b/*", "a/w\n", "b/w\n"),
    ("a/w", "b", "a/w\n", None),
    ("a/**", "b/**", "a/\udcff\x1b[31m", "b/\udcff\x1b[31m"),
    ("é/{x}", "e/{x}", "é/ü", "e/ü"),
    ("a.b/{x}", "c/{x}", "axb/w", None),
]


@pytest.mark.parametrize(("source", "target", "name", "expected"), MOVES)
def test_moves(source: str, target: str, name: str, expected: str | None) -> None:
    pattern, template = Pattern(source), Template(target)
    assert template.lacking(pattern) is None
    for caught in (pattern.match(name), pattern.search(name)):
        assert (None if caught is None else template.render(caught)) == expected


INVALID = [
    ("", None, "an empty pattern"),
    ("a/***", 2, "more than two"),
    ("a/{", 2, "no capture"),
    ("a/{}", 2, "no capture"),
    ("a/{x y}", 2, "no capture"),
    ("a/}", 2, "no capture"),
    ("a/{x:str}", 2, "unknown type 'str'"),
    ("a/{1}", 2, "no name"),
    ("a\\", 1, "backslash"),
    ("a/\\n", 2, "backslash"),
    ("a" * (MAX_PATTERN + 1), None, "longer than"),
    ("/".join("{x}" for _ in range(33)), None, "more than 32"),
]


@pytest.mark.parametrize(("text", "position", "message"), INVALID)
def test_invalid_patterns(text: str, position: int | None, message: str) -> None:
    with pytest.raises(PatternError) as raised:
        Pattern(text)
    assert message in raised.value.message
    assert raised.value.position == position


def test_invalid_templates() -> None:
    with pytest.raises(PatternError, match="needs no type"):
        Template("a/{x:int}")
    with pytest.raises(PatternError, match=r"write \{1\} for a group"):
        Template(r"a/\1")


@pytest.mark.parametrize(
    ("source", "target", "lacking"),
    [
        ("a/{x}", "b/{y}", "{y}"),
        ("a/{x}", "b/**", "`**`"),
        ("a/{x}", "b/*", "`*`"),
        ("a/*", "b/*/*", "2 times `*`"),
        ("a/**", "**/**", "2 times `**`"),
        ("a/*/**", "b", None),
    ],
)
def test_what_a_template_lacks(source: str, target: str, lacking: str | None) -> None:
    assert Template(target).lacking(Pattern(source)) == lacking


def test_limits_on_captures_choose_among_the_ways_to_match() -> None:
    pattern = Pattern("{a}_{part}", {"part": ("query_key", "key")})
    caught = pattern.match("x_query_key")
    assert caught is not None
    assert caught.names == {"a": "x_query", "part": "key"}
    assert Pattern("{part}/w", {"part": ("a", "ab")}).match("ab/w") is not None
    assert Pattern("{part}/w", {"part": ("a", "ab")}).match("abc/w") is None


def test_matching_takes_bounded_time() -> None:
    assert Pattern("{a}_{b}_{c}_{d}_{e}_{f}_x").match("_" * 150) is None
    assert Pattern("**/a/**/b/**/c/**/d").match("a/b/c/" * 60) is None
    pattern = Pattern("{a}{b}{c}{a}{b}{c}{d}x")
    with pytest.raises(MappingError) as raised:
        pattern.match("ab" * 400)
    assert raised.value.problems[0].code == "MAP004"


@given(st.text(min_size=1, max_size=20))
@settings(max_examples=100, deadline=None)
def test_escaped_text_matches_itself_alone(text: str) -> None:
    pattern = Pattern(escape(text))
    assert pattern.literal == text
    assert Template(escape(text)).render(pattern.match(text)) == text  # type: ignore[arg-type]


def reference(atoms: tuple[Atom, ...], name: str, bound: dict[str, str]) -> list[str] | None:
    """The wildcards' values by trying all ends, longest first."""
    if not atoms:
        return None if name else []
    atom, rest = atoms[0], atoms[1:]
    if atom.kind == TEXT:
        return (
            reference(rest, name[len(atom.text) :], bound) if name.startswith(atom.text) else None
        )
    for end in range(len(name), -1, -1):
        value, taken = name[:end], end
        if atom.kind == DIRS:
            if value and (not value.endswith("/") or value == "/"):
                continue
            value = value[:-1]
        fits = {
            DIRS: True,
            DEEP: len(value) >= atom.least,
            STAR: "/" not in value,
            NAME: bool(value) and "/" not in value,
            INT: value.isascii() and value.isdigit(),
        }[atom.kind]
        if not fits or (atom.kind in (NAME, INT) and bound.get(atom.text, value) != value):
            continue
        inner = {**bound, atom.text: value} if atom.kind in (NAME, INT) else bound
        found = reference(rest, name[taken:], inner)
        if found is not None:
            return [value, *found]
    return None


PIECES = ["a", "b", "1", "/", "_", "*", "**", "/**/", "{x}", "{y}", "{i:int}", "/**", "**/"]


@given(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
    st.text(alphabet="ab1_/", max_size=9),
)
@settings(max_examples=400, deadline=None)
def test_patterns_match_as_the_reference_does(text: str, name: str) -> None:
    try:
        pattern = Pattern(text)
    except PatternError:
        return
    expected = reference(parse_atoms(text), name, {})
    for caught in (pattern.match(name), pattern.search(name)):
        assert (caught is None) == (expected is None)
        if caught is None or expected is None:
            continue
        wild = [atom for atom in pattern.atoms if atom.kind != TEXT]
        values = list(zip(wild, expected, strict=True))
        assert list(caught.stars) == [value for atom, value in values if atom.kind == STAR]
        assert list(caught.deeps) == [v for atom, v in values if atom.kind in (DEEP, DIRS)]
        assert caught.names == {a.text: value for a, value in values if a.kind in (NAME, INT)}


@given(
    st.lists(st.sampled_from(["a", "b1", "_", "*", "{x}", "{i:int}"]), min_size=1, max_size=4),
    st.text(alphabet="ab1_", max_size=10),
)
@settings(max_examples=200, deadline=None)
def test_a_pattern_as_its_own_template_changes_nothing(pieces: list[str], name: str) -> None:
    text = "/".join(pieces)
    pattern, template = Pattern(text), Template(text.replace(":int", ""))
    caught = pattern.match(name)
    if caught is not None:
        assert template.render(caught) == name


def test_a_number_with_too_many_digits_is_told_as_such() -> None:
    from ckpttool.mapping.language.numbers import NumberError, parse_formula

    with pytest.raises(NumberError, match="more than 15 digits"):
        parse_formula("i+1").value({"i": "1" * 20})
