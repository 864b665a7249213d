"""The `checkpoint` file: TensorFlow's own form, and what people and other machines make of it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool.errors import CkptError
from ckpttool.formats.tensorflow.state_file import CheckpointState, parse_state, read_state

_SIMPLE = {
    "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v",
    "\\": r"\\", "'": r"\'", '"': r"\"",
}  # fmt: skip


def quote(text: str, *, octal: bool, mark: str = '"') -> str:
    """A text-format literal, as protobuf writes it: octal escapes, or plain UTF-8."""
    out = []
    for char in text:
        if char in _SIMPLE:
            out.append(_SIMPLE[char])
        elif char.isprintable() if char.isascii() else not octal:
            out.append(char)
        else:
            out += [f"\\{byte:03o}" for byte in char.encode()]
    return mark + "".join(out) + mark


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('model_checkpoint_path: "m-1"\n', CheckpointState("m-1")),
        (
            """model_checkpoint_path: "m-2"
            all_model_checkpoint_paths: "m-1"
            all_model_checkpoint_paths: "m-2"
            all_model_checkpoint_timestamps: 1.5
            all_model_checkpoint_timestamps: 2e3
            last_preserved_timestamp: 1.0
            """,
            CheckpointState("m-2", ("m-1", "m-2"), (1.5, 2000.0)),
        ),
        ('\ufeffmodel_checkpoint_path: "m-1"\r\n', CheckpointState("m-1")),
        ("model_checkpoint_path: 'm'", CheckpointState("m")),
        ('model_checkpoint_path: "a" "b"\n  \'c\'', CheckpointState("abc")),
        ('model_checkpoint_path:"a";all_model_checkpoint_paths:"b"', CheckpointState("a", ("b",))),
        ('model_checkpoint_path: "a"\nmodel_checkpoint_path: "b"', CheckpointState("b")),
        (
            'model_checkpoint_path: "a"\nall_model_checkpoint_paths: ["b", "c"]',
            CheckpointState("a", ("b", "c")),
        ),
        ('# model_checkpoint_path: "x"\nmodel_checkpoint_path: "a"', CheckpointState("a")),
        ('model_checkpoint_path: "a"\nnew_field: TRUE\nother: 5', CheckpointState("a")),
        ('all_model_checkpoint_paths: "a"\nall_model_checkpoint_paths: "b"',
         CheckpointState("b", ("a", "b"))),
        ('model_checkpoint_path: ""', CheckpointState(None)),
        (r'model_checkpoint_path: "C:\Users\new\m-1"', CheckpointState(r"C:\Users\new\m-1")),
        (r'model_checkpoint_path: "C:\temp\new"', CheckpointState(r"C:\temp\new")),
        (r'model_checkpoint_path: "C:\\run\\m-1"', CheckpointState(r"C:\run\m-1")),
        (r'model_checkpoint_path: "run\model-1"', CheckpointState(r"run\model-1")),
        (r'model_checkpoint_path: "\346\250\241.ckpt"', CheckpointState("模.ckpt")),
        (r'model_checkpoint_path: "\u6a21\x2e\U0001f600"', CheckpointState("模.😀")),
        (r'model_checkpoint_path: "it\'s"', CheckpointState("it's")),
        (r'model_checkpoint_path: "\377"', CheckpointState("\udcff")),
    ],
)  # fmt: skip
def test_parsed(text: str, expected: CheckpointState) -> None:
    assert parse_state(text.encode("utf-8"), "checkpoint") == expected


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b"hello", b'model_checkpoint_path "x"', b'model_checkpoint_path: "x',
     b'model_checkpoint_path: "a\nb"', b"\xff\xfe\0", b'"lost"', b"model_checkpoint_path: {}",
     b'other: "x"', b"<html>"],
)  # fmt: skip
def test_refused_with_the_place(data: bytes) -> None:
    with pytest.raises(CkptError) as caught:
        parse_state(data, "dir/checkpoint")
    assert caught.value.problems[0].code == "INP004"
    assert (caught.value.problems[0].where or "").startswith("dir/checkpoint")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(CkptError) as caught:
        read_state(str(path))
    assert caught.value.problems[0].code == "INP009"


# Not a drive letter with one backslash: that is taken for a Windows path written as it is.
paths = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30).filter(
    lambda text: text[1:3] != ":\\"
)


@settings(max_examples=100, deadline=None)
@given(paths, st.lists(paths, max_size=4), st.booleans(), st.sampled_from(["\n", "\r\n", " ; "]))
def test_what_was_written_is_read(
    latest: str, others: list[str], octal: bool, between: str
) -> None:
    lines = [f"model_checkpoint_path: {quote(latest, octal=octal)}"]
    lines += [f"all_model_checkpoint_paths: {quote(each, octal=octal)}" for each in others]
    data = (between.join(lines) + "\n").encode()
    assert parse_state(data, "x") == CheckpointState(latest, tuple(others))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_end_in_an_answer(data: bytes, begun: bool) -> None:
    with suppress(CkptError):
        parse_state(b"model_checkpoint_path: " * begun + data, "x")
