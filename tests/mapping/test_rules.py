"""Rules: compiled from documents and from options, and found by name."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remap_support import told

from ckpttool.errors import MappingError
from ckpttool.mapping.document import document_from, parse_document
from ckpttool.mapping.rules import RuleSet, compile_rules, match, quick_rules


def rules_of(yaml: str, **options: object) -> RuleSet:
    return compile_rules(parse_document(yaml, "m.yaml"), **options)  # type: ignore[arg-type]


def renamed(rules: RuleSet, name: str) -> str | None:
    found = rules.first(name)
    if found is None or found[0].template is None:
        return None
    return found[0].template.render(found[1])


WRONG = [
    ("rules:\n  - {from: 'a/{', to: b}\n", ("MAP004", "m.yaml:2:12")),
    ("rules:\n  - {from: a, to: 'b/{'}\n", ("MAP004", "m.yaml:2:19")),
    ("rules:\n  - {from: 're:(', to: b}\n", ("MAP004", "m.yaml:2:12")),
    ("rules:\n  - {from: 're:(a+)+', to: b}\n", ("MAP004", "m.yaml:2:12")),
    ("rules:\n  - {from: a, to: 're:b'}\n", ("MAP004", "m.yaml:2:19")),
    ("rules:\n  - {from: $x/a, to: b}\n", ("MAP004", "m.yaml:2:12")),
    ("rules:\n  - {from: 'a/{x}', to: 'b/{y}'}\n", ("MAP005", "m.yaml:2:25")),
    ("rules:\n  - {from: a, to: b/**}\n", ("MAP005", "m.yaml:2:19")),
    ("rules:\n  - {from: 're:(a)', to: 'b/{2}'}\n", ("MAP005", "m.yaml:2:26")),
    ("rules:\n  - {from: a, to: b, where: {x: [c]}}\n", ("MAP005", "m.yaml:2:30")),
    ("rules:\n  - {from: [a, c], to: b}\n", ("MAP008", "m.yaml:2:16")),
    ("rules:\n  - {from: a, to: [b, c]}\n", ("MAP008", "m.yaml:2:23")),
    ("rules:\n  - {from: a, to: b, apply: [transpose]}\n", ("MAP008", "m.yaml:2:29")),
    ("rules:\n  - {from: 'a{x}', to: b, where: {x: {c: d}}}\n", ("MAP008", "m.yaml:2:35")),
    ("target: keras\n", ("MAP008", "m.yaml:1:9")),
    ("averages: use\n", ("MAP008", "m.yaml:1:11")),
]


@pytest.mark.parametrize(("yaml", "problem"), WRONG)
def test_mistakes_have_their_place(yaml: str, problem: tuple[str, str]) -> None:
    with pytest.raises(MappingError) as raised:
        rules_of(yaml)
    assert told(raised.value) == [problem]


def test_all_mistakes_are_told_at_once() -> None:
    yaml = "target: npz\nrules:\n  - {from: 'a/{', to: b}\n  - {from: a, to: 'b/{y}'}\n"
    with pytest.raises(MappingError) as raised:
        rules_of(yaml)
    assert told(raised.value) == [
        ("MAP008", "m.yaml:1:9"),
        ("MAP004", "m.yaml:3:12"),
        ("MAP005", "m.yaml:4:19"),
    ]


def test_the_command_line_wins() -> None:
    rules = rules_of("target: keras\nslots: drop\nunmatched: drop\nrules: []\n", target="tf1")
    assert (rules.slots, rules.unmatched) == ("drop", "drop")
    rules = rules_of("slots: drop\nunmatched: drop\n", slots="follow", unmatched="keep")
    assert (rules.slots, rules.unmatched) == ("follow", "keep")


def test_policies_that_a_file_leaves_out() -> None:
    assert rules_of("rules:\n  - {from: a, to: b}\n").unmatched == "error"
    assert rules_of("slots: drop\n").unmatched == "keep"
    assert rules_of("slots: drop\n").slots == "drop"
    assert rules_of("").slots == "follow"


def test_first_match_wins() -> None:
    rules = rules_of("rules:\n  - {from: a/w, to: b}\n  - {from: a/**, to: c/**}\n")
    assert renamed(rules, "a/w") == "b"
    assert renamed(rules, "a/v") == "c/v"
    rules = rules_of("rules:\n  - {from: a/**, to: c/**}\n  - {from: a/w, to: b}\n")
    assert renamed(rules, "a/w") == "c/w"
    rules = rules_of("rules:\n  - {from: '**/w', to: '**/v'}\n  - {from: a/**, to: c/**}\n")
    assert renamed(rules, "a/w") == "a/v"


def test_parameters() -> None:
    yaml = "params: {n: 3, s: 'a*b'}\nrules:\n  - {from: 'l$n/${s}/{x}', to: '$s/\\$n/{x}'}\n"
    assert renamed(rules_of(yaml), "l3/a*b/w") == "a*b/$n/w"
    assert renamed(rules_of(yaml), "l3/axb/w") is None
    assert renamed(rules_of(yaml, params={"n": "4"}), "l4/a*b/w") == "a*b/$n/w"
    yaml = "params: {s: a.b}\nrules:\n  - {from: 're:$s/(.*)$', to: '{1}'}\n"
    assert renamed(rules_of(yaml), "a.b/w") == "w"
    assert renamed(rules_of(yaml), "axb/w") is None
    yaml = "params: {p: key}\nrules:\n  - {from: '{x}/w', to: '{x}', where: {x: [$p]}}\n"
    assert renamed(rules_of(yaml), "key/w") == "key"
    assert renamed(rules_of(yaml), "value/w") is None


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(MappingError) as raised:
        rules_of("params: {heads: 3}\n", params={"head": 4})
    assert raised.value.problems[0].hint == "did you mean heads?"


def test_assign_goes_from_the_closest_name_to_the_root() -> None:
    document = document_from(
        {"assign": {"/": "rest/", "a/": "x/", "a/b/": "y/", "a/b/w": "z", "c*/": "{s}/"}}
    )
    rules = compile_rules(document)
    assert renamed(rules, "a/b/w") == "z"
    assert renamed(rules, "a/b/v") == "y/v"
    assert renamed(rules, "a/v") == "x/v"
    assert renamed(rules, "v") == "rest/v"
    assert renamed(rules, "c*/v") == "{s}/v"
    assert renamed(rules, "cx/v") == "rest/cx/v"
    assert renamed(compile_rules(document_from({"assign": {"a/": "/"}})), "a/v") == "v"


def test_quick_rules() -> None:
    rules = quick_rules(
        add_prefix="new/", strip_prefix="old_", rename=["a/{x}=b/{x}", r"c\=d=e"], drop=["step"]
    )
    assert rules.unmatched == "keep"
    assert renamed(rules, "a/w") == "b/w"
    assert renamed(rules, "c=d") == "e"
    assert renamed(rules, "old_net/w") == "new/net/w"
    assert renamed(rules, "other/w") == "new/other/w"
    assert rules.first("step") is not None
    assert renamed(rules, "step") is None
    assert renamed(quick_rules(strip_prefix="old/"), "old/w") == "w"
    assert quick_rules(strip_prefix="old/").first("old/") is None
    assert renamed(quick_rules(add_prefix="{x}*/"), "w") == "{x}*/w"
    assert renamed(quick_rules(strip_prefix="{x}*/"), "{x}*/w") == "w"


@pytest.mark.parametrize("rename", ["ab", "a/{=b", "a=b/{x}", "a="])
def test_quick_rules_that_are_wrong(rename: str) -> None:
    with pytest.raises(MappingError) as raised:
        quick_rules(rename=[rename])
    assert raised.value.problems[0].where == f"--rename {rename}"


@given(st.text(alphabet="ab/_{*", min_size=1, max_size=6), st.text(min_size=1, max_size=12))
@settings(max_examples=100, deadline=None)
def test_a_prefix_added_and_stripped_is_the_same_name(prefix: str, name: str) -> None:
    there = renamed(quick_rules(add_prefix=prefix), name)
    assert there == prefix + name
    assert renamed(quick_rules(strip_prefix=prefix), there) == name


def test_the_index_finds_what_trying_all_rules_finds() -> None:
    draw = random.Random(5)  # noqa: S311
    words = ["a", "b", "layer_1", "{x}", "*", "**", "w"]
    sources = {"/".join(draw.choices(words, k=draw.randint(1, 3))) for _ in range(150)}
    sources |= {"re:a/(.*)", "re:(a|b)/w", "a**", "re:.*w"}
    rules = compile_rules(
        document_from({"rules": [{"from": source, "drop": True} for source in sorted(sources)]})
    )
    for _ in range(2000):
        name = "/".join(draw.choices(["a", "b", "layer_1", "w", "x"], k=draw.randint(1, 4)))
        expected = next((rule for rule in rules.rules if match(rule, name) is not None), None)
        found = rules.first(name)
        assert (found and found[0]) == expected
