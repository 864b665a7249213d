"""Checkpoints that are valid, but that TensorFlow does not write on a machine of today."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from common import (
    Sample,
    array_crc,
    expectation,
    numbers,
    plain_rows,
    read_specs,
    sample,
    twin_truth,
    values_of,
)
from table import SNAPPY, big_endian_twin, read_table, table_bytes, write_bundle


@sample("big_endian")
def big_endian(made: Sample) -> None:
    """A twin of partitioned/model.ckpt-2 as a big-endian machine would have written it."""
    _big_endian(made, "partitioned/model.ckpt-2", 2)


@sample("big_endian_dtypes")
def big_endian_dtypes(made: Sample) -> None:
    """A big-endian twin of shapes/model.ckpt: two, four and eight byte elements, scalars and empty
    tensors."""
    _big_endian(made, "shapes/model.ckpt", None)


@sample("big_endian_strings")
def big_endian_strings(made: Sample) -> None:
    """A big-endian twin of strings/model.ckpt."""
    _big_endian(made, "strings/model.ckpt", None)


def _big_endian(made: Sample, source: str, step: int | None) -> None:
    target = made.folder / Path(source).name
    big_endian_twin(made.root / source, target)
    extra = {"twin_of": source}
    made.entry(target, format="tf-v2", truth=twin_truth(source, target), step=step, extra=extra)


@sample("snappy_index")
def snappy_index(made: Sample) -> None:
    """A twin of numbered_layers/model.ckpt-5 whose index blocks are compressed with snappy."""
    _rewritten(made, block_size=512, compression=SNAPPY)


@sample("small_blocks")
def small_blocks(made: Sample) -> None:
    """A twin of numbered_layers/model.ckpt-5 whose index has one block for each variable."""
    _rewritten(made, block_size=1)


def _rewritten(made: Sample, **options: int) -> None:
    source = "numbered_layers/model.ckpt-5"
    target = made.folder / "model.ckpt-5"
    data = ".data-00000-of-00001"
    shutil.copyfile(f"{made.root / source}{data}", f"{target}{data}")
    entries = read_table(Path(f"{made.root / source}.index"))
    Path(f"{target}.index").write_bytes(table_bytes(entries, **options))
    truth = twin_truth(source, target)
    made.entry(target, format="tf-v2", truth=truth, step=5, extra={"twin_of": source})


@sample("many_blocks")
def many_blocks(made: Sample) -> None:
    """An index of 600 variables in some 50 blocks: a reader that stops at the first block loses
    most of them."""
    arrays = {
        f"layer_{layer}/{leaf}".encode(): numbers(f"{layer}/{leaf}", [2])
        for layer in range(300)
        for leaf in ("kernel", "bias")
    }
    prefix = made.folder / "model.ckpt"
    write_bundle(prefix, arrays, block_size=512)
    specs = read_specs(prefix)
    made.entry(
        prefix, format="tf-v2", truth=expectation(plain_rows(specs), values_of(prefix, specs))
    )


@sample("odd_variable_names")
def odd_variable_names(made: Sample) -> None:
    """Variable names with markup, terminal escapes, a newline, spaces, empty components, a colon
    and names that differ by case only."""
    names = [
        "[bold]weights[/bold]",
        "[link=file:///etc/passwd]x[/link]",
        "\x1b[31mred\x1b[0m/w",
        "\x1b]0;title\x07/w",
        "new\nline/w",
        "tab\tand\rreturn",
        "Case/w",
        "case/w",
        "CASE/w",
        "a//b",
        "/leading",
        "trailing/",
        "../../escape",
        "space in/the name ",
        "weights:0",
        "ünïcödé/重み",
        "right\u202eto left",
        "-dash",
        "*glob?[a-z]{x}",
        "quote'\"\\",
    ]
    prefix = made.folder / "model.ckpt"
    write_bundle(prefix, {name.encode(): numbers(name, [2]) for name in names})
    specs = read_specs(prefix)
    truth = expectation(plain_rows(specs), values_of(prefix, specs, limit=len(specs)))
    made.entry(prefix, format="tf-v2", truth=truth)


@sample("bytes_in_names")
def bytes_in_names(made: Sample) -> None:
    """Variable names that are not UTF-8: TensorFlow's Python reader cannot list them.

    The manifest writes such bytes as surrogate escapes, as Python does for file names, and gives
    the name in hex too.
    """
    raw = [b"latin\xe9/w", b"\xff\xfe", b"cut utf-8 \xe9\x87", b"plain/w"]
    arrays: dict[bytes, np.ndarray] = {name: numbers(name.hex(), [2]) for name in raw}
    prefix = made.folder / "model.ckpt"
    write_bundle(prefix, arrays)
    names = {name: name.decode("utf-8", "surrogateescape") for name in raw}
    rows = plain_rows({text: ("float32", [2]) for text in names.values()})
    for row in rows:
        row["name_hex"] = row["name"].encode("utf-8", "surrogateescape").hex()
    values = {names[name]: array_crc(array) for name, array in sorted(arrays.items())}
    made.entry(prefix, format="tf-v2", truth=expectation(rows, values))
