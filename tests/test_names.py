"""Names: order, globs, nearest, safe printing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpttool import names
from ckpttool.errors import UsageError

any_bytes = st.binary(max_size=40)
any_name = any_bytes.map(names.decode_name)


@given(any_bytes)
def test_every_stored_name_round_trips(raw: bytes) -> None:
    assert names.encode_name(names.decode_name(raw)) == raw


@given(any_name)
def test_printable_has_nothing_that_drives_a_terminal(name: str) -> None:
    shown = names.printable(name)
    shown.encode("utf-8")  # no lone surrogate is left
    assert not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 for char in shown)


def test_printable_shows_the_bytes() -> None:
    assert names.printable("a\x1b[31m\n") == "a\\x1b[31m\\x0a"
    assert names.printable(names.decode_name(b"w\xff")) == "w\\xff"
    assert names.printable("\u202egnp") == "\\u202egnp"
    assert names.printable("größe/[bold]") == "größe/[bold]"


def test_natural_order() -> None:
    assert sorted(["l_10", "l_2", "l_1", "l"], key=names.natural_key) == ["l", "l_1", "l_2", "l_10"]


@given(st.lists(any_name, max_size=8))
def test_natural_key_orders_any_names(items: list[str]) -> None:
    sorted(items, key=names.natural_key)


def test_natural_key_takes_endless_digits() -> None:
    assert names.natural_key("w" + "9" * 10_000)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("bert/**", ["bert/a", "bert/a/b"], ["bert", "albert/a"]),
        ("**/kernel", ["kernel", "a/kernel", "a/b/kernel"], ["a/xkernel", "kernel/a"]),
        ("layer_*/w", ["layer_1/w", "layer_/w"], ["layer_1/x/w", "layer_1/w/Adam"]),
        ("layer_[0-3]/w", ["layer_2/w"], ["layer_4/w"]),
        ("layer_[!0]/w", ["layer_2/w"], ["layer_0/w", "layer_//w"]),
        ("w?", ["w1"], ["w", "w/", "w12"]),
        ("bert", ["bert", "bert/x"], ["bertx", "a/bert"]),
        ("a/", ["a", "a/b"], ["ab"]),
        ("a[b", ["a[b"], ["ab"]),
        ("a.b", ["a.b"], ["axb"]),
        ("**", ["", "a", "a/b\nc"], []),
    ],
)
def test_globs(pattern: str, yes: list[str], no: list[str]) -> None:
    matches = names.glob_matcher([pattern])
    assert [name for name in yes if not matches(name)] == []
    assert [name for name in no if matches(name)] == []


def test_a_bad_glob_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="USE003"):
        names.glob_matcher(["[z-a]"])


@given(st.text(alphabet="ab/*?[]!-^\\.", max_size=12), st.text(alphabet="ab/", max_size=6))
def test_globs_never_crash(pattern: str, name: str) -> None:
    try:
        matches = names.glob_matcher([pattern])
    except UsageError:
        return
    matches(name)


def test_nearest_prefers_the_same_tail_and_containment() -> None:
    pool = ["bert/encoder/layer_0/kernel", "cls/bias", "bert/pooler/kernel"]
    assert names.nearest("encoder/layer_0", pool)[0] == "bert/encoder/layer_0/kernel"
    assert names.nearest("clz/bias", pool)[0] == "cls/bias"
