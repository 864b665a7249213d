"""Rules: compiled from documents and from options, and found by name."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remap_support import told

from ckpttool.errors import MappingError
from ckpttool.mapping.language.document import document_from, parse_document
from ckpttool.mapping.language.rules import RuleSet, compile_rules, match, quick_rules


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
    ("rules:\n  - {from: 'a/{x}', to: b, where: {x: [c/d]}}\n", ("MAP003", "m.yaml:2:40")),
    ("rules:\n  - {from: 'a/{x}', to: b, where: {x: {c/d: e}}}\n", ("MAP003", "m.yaml:2:40")),
    ("rules:\n  - {from: 'a/{x}', to: b, where: {x: {}}}\n", ("MAP003", "m.yaml:2:39")),
    ("rules:\n  - {from: 'a/{x}', to: b, where: {x: {c: [d]}}}\n", ("MAP003", "m.yaml:2:43")),
    (
        "rules:\n  - {from: 'a/{x}', to: b, where: {x: {c: d, e: {f: g}}}}\n",
        ("MAP003", "m.yaml:2:49"),
    ),
    ("rules:\n  - {from: 'a/{x}', to: b, where: {x: {c: d, c: e}}}\n", ("MAP002", "m.yaml:2:46")),
    (
        "rules:\n  - {from: 'a/{x}', to: '{x.y}', where: {x: {c: {z: d}}}}\n",
        ("MAP005", "m.yaml:2:25"),
    ),
    ("rules:\n  - {from: 'a/{x}', to: '{x+1}'}\n", ("MAP005", "m.yaml:2:25")),
    ("rules:\n  - {from: 'a/{x}', to: '{x:suffix}'}\n", ("MAP005", "m.yaml:2:25")),
    ("rules:\n  - {from: 'a/{x}', to: '{x+}'}\n", ("MAP004", "m.yaml:2:25")),
    ("rules:\n  - {from: 'a/{x:int}/{x}', to: b}\n", ("MAP004", "m.yaml:2:12")),
    ("rules:\n  - {from: [a, 'b/{x}'], to: [c, d]}\n", ("MAP005", "m.yaml:2:16")),
    ("rules:\n  - {from: ['{x}', 're:b'], to: [c, d]}\n", ("MAP004", "m.yaml:2:20")),
    ("rules:\n  - {from: ['a/{x}', 'b{x:suffix}'], to: [c, d]}\n", ("MAP005", "m.yaml:2:22")),
    ("rules:\n  - {from: [a, c], to: [b, d, e]}\n", ("MAP017", "m.yaml:2:6")),
    ("rules:\n  - {from: [a, c], to: b}\n", ("MAP017", "m.yaml:2:6")),
    (
        "rules:\n  - {from: a, to: b, apply: [{split: {axis: 0, sizes: [1, 2]}}]}\n",
        ("MAP017", "m.yaml:2:29"),
    ),
    ("rules:\n  - {from: a, to: b, apply: [transposed]}\n", ("MAP020", "m.yaml:2:30")),
    ("rules:\n  - {from: a, to: b, apply: [{reshape: x}]}\n", ("MAP021", "m.yaml:2:40")),
    ("rules:\n  - {from: a, to: b, apply: [{reshape: [$n]}]}\n", ("MAP004", "m.yaml:2:41")),
    ("rules:\n  - {from: 'a/{k}', to: b, collect: k}\n", ("MAP005", "m.yaml:2:37")),
    ("rules:\n  - {from: 'a/{k:int}', to: 'b/{k}', collect: k}\n", ("MAP005", "m.yaml:2:29")),
    ("rules:\n  - {from: a, to: b, spread: n}\n", ("MAP005", "m.yaml:2:19")),
    ("rules:\n  - {from: 'a/{n}', to: 'b/{n}', spread: n}\n", ("MAP005", "m.yaml:2:42")),
    ("rules:\n  - {from: 'a/{x}', to: b, when: {exists: '{y}'}}\n", ("MAP005", "m.yaml:2:43")),
    ("rules:\n  - {from: a, to: b, when: {param: {n: 1}}}\n", ("MAP004", "m.yaml:2:37")),
    ("params: {n: }\nrules:\n  - {from: 'a$n', to: b}\n", ("MAP023", "m.yaml")),
    ("include: nowhere\n", ("MAP006", "m.yaml:1:10")),
    ("rules:\n  - {include: add_scope, set: {scop: x}}\n", ("MAP004", "m.yaml:2:32")),
]


@pytest.mark.parametrize(("yaml", "problem"), WRONG)
def test_mistakes_have_their_place(yaml: str, problem: tuple[str, str]) -> None:
    with pytest.raises(MappingError) as raised:
        rules_of(yaml)
    assert told(raised.value) == [problem]


def test_all_mistakes_are_told_at_once() -> None:
    yaml = "params: {n: }\nrules:\n  - {from: 'a/{', to: b}\n  - {from: a, to: 'b/{y}'}\n"
    with pytest.raises(MappingError) as raised:
        rules_of(yaml)
    assert told(raised.value) == [
        ("MAP023", "m.yaml"),
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
