"""Mapping files: what they say, and where they are wrong, to the line and column."""

from __future__ import annotations

from pathlib import Path

import pytest
from remap_support import told

from ckpttool.errors import MappingError
from ckpttool.mapping.language import nodes
from ckpttool.mapping.language.document import (
    Document,
    document_from,
    load_document,
    parse_document,
)
from ckpttool.mapping.language.nodes import resolve_scalar

WHOLE = """\
version: 1
description: one of everything
target: keras
params: {heads: 12, rate: 1e-3}
slots: drop
averages: ignore
unmatched: error
assumes:
  gelu: tanh approximation
  layer_norm_epsilon: 1.0e-12
  bias: no
rules:
  - from: global_step
    drop: true
  - from: bert/{i}/{part}/kernel
    to:   layer_{i}/{part}/kernel
    where: {part: [query, key]}
    apply: [{reshape: [0, $heads, -1]}]
  - from: [fw/bias, bw/bias]
    to: both/bias
    apply: [{stack: {axis: 0}}]
assign: {old_scope/: new_scope/}
"""


def test_everything_is_read() -> None:
    document = parse_document(WHOLE, "m.yaml")
    assert document.description == "one of everything"
    assert document.target == ("keras", "m.yaml:3:9")
    assert document.params == {"heads": 12, "rate": 1e-3}
    assert document.slots is not None
    assert document.slots.text == "drop"
    assert document.assumes == {
        "gelu": "tanh approximation",
        "layer_norm_epsilon": 1e-12,
        "bias": "no",
    }
    first, second, third = document.rules
    assert (first.where, first.sources, first.targets) == (
        "m.yaml:13:5",
        (("global_step", "m.yaml:13:11"),),
        (),
    )
    assert second.conditions[0][0] == ("part", "m.yaml:17:13")
    assert [item.text for item in second.conditions[0][1]] == ["query", "key"]
    assert second.apply is not None
    assert second.apply.plain() == [{"reshape": [0, "$heads", -1]}]
    assert [source.where for source in third.sources] == ["m.yaml:19:12", "m.yaml:19:21"]
    assert third.text == "from: fw/bias, bw/bias to: both/bias"
    assert document.assign == ((("old_scope/", "m.yaml:22:10"), ("new_scope/", "m.yaml:22:22")),)


WRONG = [
    # text, the problems' codes and places
    ("rules: [\n", [("MAP001", "m.yaml:2:1")]),
    ("a: 1\nb:\n\t- c\n", [("MAP001", "m.yaml:3:1")]),
    ("rules:\n  - from: {x}/w\n", [("MAP001", "m.yaml:2:14")]),
    ("rules:\n  - from: **/w\n", [("MAP001", "m.yaml:2:11")]),
    ("rules:\n  - from: *w\n", [("MAP001", "m.yaml:2:11")]),
    ("rules:\n  - from: &w a\n", [("MAP001", "m.yaml:2:11")]),
    ("rules:\n  - from: !!str a\n", [("MAP001", "m.yaml:2:11")]),
    ("rules: []\n---\nrules: []\n", [("MAP001", "m.yaml:2:1")]),
    ("a: b\x07\n", [("MAP001", "m.yaml:1:5")]),
    ("é: x\nü: y\x07\n", [("MAP001", "m.yaml:2:5")]),
    (b"rules:\n  - from: \xff\n", [("MAP001", "m.yaml:2:11")]),
    ("ruls: []\n", [("MAP002", "m.yaml:1:1")]),
    ("slots: drop\nslots: follow\n", [("MAP002", "m.yaml:2:1")]),
    ("slots: dropp\n", [("MAP003", "m.yaml:1:8")]),
    ("unmatched: [keep]\n", [("MAP003", "m.yaml:1:12")]),
    ("version: 2\n", [("MAP003", "m.yaml:1:10")]),
    ("version: true\n", [("MAP003", "m.yaml:1:10")]),
    ("- a\n", [("MAP003", "m.yaml:1:1")]),
    ("params: [a]\n", [("MAP003", "m.yaml:1:9")]),
    ("params: {a: [1]}\n", [("MAP003", "m.yaml:1:13")]),
    ("rules: {a: b}\n", [("MAP003", "m.yaml:1:8")]),
    ("rules:\n  - a\n", [("MAP003", "m.yaml:2:5")]),
    ("rules:\n  - to: b\n", [("MAP002", "m.yaml:2:5")]),
    ("rules:\n  - from: a\n", [("MAP002", "m.yaml:2:5")]),
    ("rules:\n  - from: a\n    to: b\n    drop: true\n", [("MAP002", "m.yaml:4:5")]),
    ("rules:\n  - from: a\n    drop: maybe\n", [("MAP003", "m.yaml:3:11")]),
    ("rules:\n  - from: a\n    drop: true\n    apply: []\n", [("MAP002", "m.yaml:4:5")]),
    ("rules:\n  - from:\n    to: b\n", [("MAP003", "m.yaml:2:10")]),
    ("rules:\n  - from: ''\n    to: b\n", [("MAP003", "m.yaml:2:11")]),
    ("rules:\n  - from: []\n    to: b\n", [("MAP003", "m.yaml:2:11")]),
    ("rules:\n  - from: a\n    to: {b: c}\n", [("MAP003", "m.yaml:3:9")]),
    ("rules:\n  - form: a\n    to: b\n", [("MAP002", "m.yaml:2:5"), ("MAP002", "m.yaml:2:5")]),
    ("rules:\n  - from: a\n    to: b\n    where: [x]\n", [("MAP003", "m.yaml:4:12")]),
    ("rules:\n  - from: a\n    to: b\n    where: {x: []}\n", [("MAP003", "m.yaml:4:16")]),
    ("rules:\n  - from: a\n    to: b\n    apply: x\n", [("MAP003", "m.yaml:4:12")]),
    ("assign: [a]\n", [("MAP003", "m.yaml:1:9")]),
    ("assign: {a/: b}\n", [("MAP003", "m.yaml:1:14")]),
    ("assign: {a: b, a: c}\n", [("MAP002", "m.yaml:1:16")]),
    ("[" * 40 + "]" * 40, [("MAP007", "m.yaml:1:18")]),
]


@pytest.mark.parametrize(("text", "problems"), WRONG)
def test_mistakes_have_their_place(text: str | bytes, problems: list[tuple[str, str]]) -> None:
    with pytest.raises(MappingError) as raised:
        parse_document(text, "m.yaml")
    assert told(raised.value) == problems


def test_all_mistakes_are_told_at_once() -> None:
    text = "slots: x\nfoo: 1\nrules:\n  - from: a\n  - to: b\n"
    with pytest.raises(MappingError) as raised:
        parse_document(text, "m.yaml")
    assert sorted(told(raised.value)) == [
        ("MAP002", "m.yaml:2:1"),
        ("MAP002", "m.yaml:4:5"),
        ("MAP002", "m.yaml:5:5"),
        ("MAP003", "m.yaml:1:8"),
    ]


def test_unknown_keys_name_the_nearest() -> None:
    with pytest.raises(MappingError) as raised:
        parse_document("unmached: keep\n", "m.yaml")
    assert raised.value.problems[0].hint == "did you mean unmatched?"


@pytest.mark.parametrize("text", ["rules:\n  - from: {x}/w\n", "rules:\n  - from: **/w\n"])
def test_patterns_that_yaml_takes_for_its_own_get_a_hint(text: str) -> None:
    with pytest.raises(MappingError) as raised:
        parse_document(text, "m.yaml")
    assert "quote" in (raised.value.problems[0].hint or "")


@pytest.mark.parametrize("name", ["no", "1e5", "007", "true", "3", "-", "a: b", "ключ", "1_000"])
def test_names_are_text_as_written(name: str) -> None:
    quoted = f'"{name}"' if ":" in name or name == "-" else name
    document = parse_document(f"rules:\n  - {{from: {quoted}, to: {quoted}}}\n", "m")
    assert document.rules[0].sources[0].text == name
    assert document.rules[0].targets[0].text == name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("12", 12),
        ("-3", -3),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 17),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("1e-12", 1e-12),
        ("1.0e-12", 1e-12),
        (".5", 0.5),
        ("-.inf", float("-inf")),
        ("2016-01-01", "2016-01-01"),
        ("٣", "٣"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_plain_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    assert resolve_scalar(text) == value
    assert type(resolve_scalar(text)) is type(value)


@pytest.mark.parametrize(
    "data", [WHOLE.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + WHOLE.encode()]
)
def test_line_ends_and_byte_order_marks_move_no_position(data: bytes) -> None:
    assert parse_document(data, "m.yaml") == parse_document(WHOLE, "m.yaml")


def test_both_yaml_readers_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    yaml = pytest.importorskip("yaml")
    if not hasattr(yaml, "CSafeLoader"):
        pytest.skip("PyYAML without libyaml")
    fast = parse_document(WHOLE, "m")
    monkeypatch.delattr(yaml, "CSafeLoader")
    assert parse_document(WHOLE, "m") == fast
    for text, problems in WRONG:
        with pytest.raises(MappingError) as raised:
            parse_document(text, "m.yaml")
        assert told(raised.value) == problems


def test_plain_data_is_read_the_same_way() -> None:
    document = document_from({"rules": [{"from": "a/{i}", "to": "b/{i}", "where": {"i": ["1"]}}]})
    assert document.rules[0].where == "mapping: rules[0].from"
    with pytest.raises(MappingError) as raised:
        document_from({"rules": [{"from": "a", "too": "b"}]}, "call")
    assert told(raised.value)[0] == ("MAP002", "call: rules[0].too")
    with pytest.raises(MappingError) as raised:
        document_from({"rules": [{"from": b"a", "to": "b"}]})
    assert told(raised.value)[0] == ("MAP003", "mapping: rules[0].from")


def test_an_empty_file_is_a_mapping_that_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(b"# nothing\n")
    assert load_document(str(path)) == Document(str(path), path=str(path))


def test_size_is_capped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "MAX_BYTES", 100)
    with pytest.raises(MappingError) as raised:
        parse_document("a" * 101, "m")
    assert told(raised.value) == [("MAP007", "m")]
    monkeypatch.setattr(nodes, "MAX_NODES", 10)
    with pytest.raises(MappingError) as raised:
        parse_document("[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]", "m")
    assert raised.value.problems[0].code == "MAP007"
