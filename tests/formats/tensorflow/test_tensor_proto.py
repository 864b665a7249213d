"""Values of TensorProto messages: each dtype's field, packed and not, content, the splat rule."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from format_makers import shape_message

from ckpttool.formats.streaming import Where
from ckpttool.formats.tensorflow.table import MemoryFile
from ckpttool.formats.tensorflow.tensor_proto import (
    decode_tensor,
    file_fields,
    tensor_head,
    value_stream,
)
from ckpttool.storage.files import LocalFile
from ckpttool.storage.wire import (
    WireError,
    encode_bytes_field,
    encode_fixed32_field,
    encode_varint,
    encode_varint_field,
    fields,
)
from ckpttool.tensors import BY_NAME


def proto(dtype: str, shape: tuple[int, ...], rest: bytes = b"") -> bytes:
    head = encode_varint_field(1, BY_NAME[dtype].enum)
    return head + encode_bytes_field(2, shape_message(shape)) + rest


def packed(number: int, values: list[int]) -> bytes:
    return encode_bytes_field(number, b"".join(map(encode_varint, values)))


CASES: list[tuple[str, bytes, list[Any]]] = [
    ("float32", encode_bytes_field(5, struct.pack("<2f", 1.5, -2)), [1.5, -2]),
    ("float64", encode_bytes_field(6, struct.pack("<2d", 1.5, -2)), [1.5, -2]),
    ("complex64", encode_bytes_field(9, struct.pack("<4f", 1, 2, 3, 4)), [1 + 2j, 3 + 4j]),
    ("complex128", encode_bytes_field(12, struct.pack("<4d", 1, 2, 3, 4)), [1 + 2j, 3 + 4j]),
    ("int32", packed(7, [-1, 1 << 30]), [-1, 1 << 30]),
    ("int8", packed(7, [-128, 127]), [-128, 127]),
    ("uint8", packed(7, [0, 255]), [0, 255]),
    ("int16", packed(7, [-300, 300]), [-300, 300]),
    ("uint16", packed(7, [1, 65535]), [1, 65535]),
    ("qint8", packed(7, [-1, 1]), [-1, 1]),
    ("qint32", packed(7, [-1, 1]), [-1, 1]),
    ("int4", packed(7, [-8, 7]), [-8, 7]),
    ("uint4", packed(7, [15, 0]), [15, 0]),
    ("int64", packed(10, [-(1 << 63), (1 << 63) - 1]), [-(1 << 63), (1 << 63) - 1]),
    ("bool", packed(11, [1, 0]), [True, False]),
    ("float16", encode_bytes_field(13, bytes.fromhex("8078808003")), [1.0, -2.0]),
    ("bfloat16", packed(13, [0x3F80, 0xC000]), [1.0, -2.0]),
    ("uint32", packed(16, [0, (1 << 32) - 1]), [0, (1 << 32) - 1]),
    ("uint64", packed(17, [0, (1 << 64) - 1]), [0, (1 << 64) - 1]),
    ("float8_e5m2", encode_bytes_field(18, b"\x3c\xc0"), [1.0, -2.0]),
    ("string", encode_bytes_field(8, b"ab") + encode_bytes_field(8, b""), [b"ab", b""]),
]


def stream_of(data: bytes, dtype: str, count: int) -> Any:
    where = Where("w", "f", 0)
    stream = value_stream(MemoryFile("f", data), 0, len(data), BY_NAME[dtype], count, where)
    assert stream.count == count
    out = [stream.take(1) for _ in range(count)]
    stream.finish()
    return np.concatenate(out) if out else []


@pytest.mark.parametrize(("dtype", "values", "expected"), CASES, ids=[row[0] for row in CASES])
def test_each_dtype(dtype: str, values: bytes, expected: list[Any]) -> None:
    message = proto(dtype, (2,), values)
    head = tensor_head(message)
    assert (head[0].name, head[1]) == (dtype, (2,))
    for array in (decode_tensor(message), stream_of(message, dtype, 2)):
        assert array.dtype == BY_NAME[dtype].numpy
        wanted = np.empty(2, object) if dtype == "string" else np.zeros(2, BY_NAME[dtype].numpy)
        wanted[:] = expected
        assert array.tolist() == wanted.tolist()


def test_content() -> None:
    raw = struct.pack("<3f", 1, 2, 3)
    message = proto("float32", (3,), encode_bytes_field(4, raw))
    assert decode_tensor(message).tolist() == [1, 2, 3]
    assert stream_of(message, "float32", 3).tolist() == [1, 2, 3]
    strings = proto("string", (2,), encode_bytes_field(4, b"\x02\x00ab"))
    assert decode_tensor(strings).tolist() == [b"ab", b""]


def test_unpacked_and_mixed_values() -> None:
    loose = encode_fixed32_field(5, 0x3F800000) + encode_bytes_field(5, struct.pack("<f", 2))
    assert decode_tensor(proto("float32", (2,), loose)).tolist() == [1, 2]
    assert stream_of(loose, "float32", 2).tolist() == [1, 2]
    loose = encode_varint_field(7, -5) + packed(7, [6, 7]) + encode_varint_field(7, 8)
    assert decode_tensor(proto("int32", (4,), loose)).tolist() == [-5, 6, 7, 8]
    assert stream_of(loose, "int32", 4).tolist() == [-5, 6, 7, 8]
    loose = encode_fixed32_field(9, 0x3F800000) + encode_fixed32_field(9, 0x40000000)
    assert decode_tensor(proto("complex64", (), loose)).tolist() == 1 + 2j


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "string", "bfloat16", "float16"])
def test_missing_values_are_zeros(dtype: str) -> None:
    array = decode_tensor(proto(dtype, (2, 2)))
    empty = b"" if dtype == "string" else 0
    assert array.tolist() == [[empty, empty], [empty, empty]]


def test_the_last_value_is_repeated() -> None:
    values = encode_bytes_field(5, struct.pack("<2f", 1, 7))
    assert decode_tensor(proto("float32", (2, 2), values)).tolist() == [[1, 7], [7, 7]]
    values = encode_bytes_field(8, b"x")
    assert decode_tensor(proto("string", (3,), values)).tolist() == [b"x"] * 3


@pytest.mark.parametrize(
    "message",
    [
        proto("float32", (1,), encode_bytes_field(5, b"123")),
        proto("float32", (1,), encode_bytes_field(5, struct.pack("<2f", 1, 2))),
        proto("float32", (2,), encode_bytes_field(4, b"1234567")),
        proto("float32", (1 << 50,), encode_bytes_field(5, struct.pack("<f", 1))),
        proto("string", (1 << 50,)),
        proto("string", (2,), encode_bytes_field(4, b"\x05\x00ab")),
        proto("string", (9,), encode_bytes_field(4, b"\x05\x00ab")),
        proto("int32", (1,), encode_bytes_field(7, b"\xff\xff")),
        proto("int32", (1,), encode_bytes_field(7, b"\xff" * 11 + b"\x01")),
        proto("resource", ()),
        proto("variant", ()),
        proto("float32", (-1,)),
        b"\x0a",
        b"\x22\x7f",
    ],
)
def test_damaged_messages(message: bytes) -> None:
    with pytest.raises(WireError):
        decode_tensor(message)


def test_fields_of_a_file_are_those_of_its_bytes(tmp_path: Any, monkeypatch: Any) -> None:
    message = b"".join(values for _, values, _ in CASES) + b"".join(
        encode_varint_field(number, 1 << number) + encode_fixed32_field(number, number)
        for number in range(1, 60)
    )
    message += bytes((3 << 3 | 1,)) + b"12345678" + encode_bytes_field(99, b"z" * 3000)
    path = tmp_path / "f"
    path.write_bytes(b"head" + message + b"tail")
    monkeypatch.setattr("ckpttool.formats.tensorflow.tensor_proto._WINDOW", 100)
    file = LocalFile(str(path))
    expected = []
    for number, kind, a, b in fields(message):
        expected.append((number, kind, a + 4 if kind == 2 else a, b + 4))
    assert list(file_fields(file, 4, 4 + len(message))) == expected
    for cut in range(1, 12):
        with pytest.raises(WireError):
            list(file_fields(file, 4, 4 + len(message) - cut))
