"""The list of mapping files at any width."""

from __future__ import annotations

from ckpttool.mapping.language.catalog import MappingInfo
from ckpttool.render.lines import Layout
from ckpttool.render.mappings import list_lines


def _info(name: str, status: str | None) -> MappingInfo:
    free = {} if status is None else {"proof": {"status": status}}
    words = "what it was -> what it becomes, in some words"
    return MappingInfo(name, f"{name}.yaml", words, "keras", {}, {}, (), 1, free)


FOUND = [_info("one", "equal"), _info("another", "equal_after_change"), _info("third", None)]


def _text(width: int | None) -> list[str]:
    lines = list_lines(FOUND, Layout(width, True))
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def test_a_line_each_where_there_is_room() -> None:
    text = _text(None)
    assert len(text) == 3
    assert [line.split()[:3] for line in text[:2]] == [
        ["one", "keras", "equal"],
        ["another", "keras", "equal"],
    ]
    assert "equal after a change  what it was" in text[1]
    assert text == _text(200)


def test_descriptions_below_where_there_is_not() -> None:
    text = _text(50)
    assert max(map(len, text)) <= 50
    assert text[1].startswith("    what it was")


def test_the_status_of_a_file() -> None:
    assert [item.status for item in FOUND] == ["equal", "equal_after_change", None]
    assert FOUND[0].data()["status"] == "equal"
