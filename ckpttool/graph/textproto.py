"""Protocol-buffer text format to wire bytes, by the tables of ``graph/schema.py``.

Reads what TensorFlow and protobuf write, in all its spellings: ``{}`` and ``<>``, an optional
colon before a message, ``[a, b]`` lists, adjacent strings, escapes, comments, ``,`` and ``;``
between fields, expanded ``Any``.  Unknown fields are stepped over.  One decoder, that of the wire
form, then serves both.  The grammar is protobuf's "Text Format Language Specification".
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

from ckpttool.graph.schema import MAX_DEPTH, Field, Message, enum_value, has_message, message
from ckpttool.storage import wire

MAX_BYTES = 256 << 20  # a text graph of this size takes minutes; TensorFlow's own limit is 2 GiB

_TOKEN = re.compile(
    rb"[ \t\r\n\f\v]*"
    rb"(?:([A-Za-z_][A-Za-z0-9_]*)|([0-9.][0-9A-Za-z_.]*(?:(?<=[eE])[-+][0-9]+[fF]?)?)"
    rb"|([\"'])|([{}<>\[\]:;,/.+-])|(\#[^\n]*))?"
)
_ESCAPE = re.compile(
    rb"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))?",
    re.DOTALL,
)
_LETTERS = {
    b"n": b"\n", b"r": b"\r", b"t": b"\t", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v",
    b"\\": b"\\", b"'": b"'", b'"': b'"', b"?": b"?",
}  # fmt: skip
_INTEGER = re.compile(rb"0[xX][0-9a-fA-F]{1,16}|[0-9]{1,22}")
_BITS = {"int32": 32, "uint32": 32, "int64": 64, "uint64": 64, "enum": 32, "bool": 1}
_SIGNED = frozenset({"int32", "int64", "enum"})
_PAIRS = {b"{": b"}", b"<": b">"}


class TextError(ValueError):
    """Text that cannot be parsed; ``line`` and ``column`` count from 1."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"{message} at {line}:{column}")
        self.message = message
        self.line = line
        self.column = column


class _Open(NamedTuple):
    """A message whose closing brace has not come yet."""

    table: Message | None  # None: unknown, its bytes are thrown away
    out: bytearray
    number: int  # its field in the parent
    closer: bytes
    listed: bool  # an element of [ … ]
    any_url: bytes | None  # it is the expanded content of an Any


def encode_text(text: bytes, name: str) -> bytes:
    """The wire bytes of the message ``name`` that ``text`` spells.  Raises :class:`TextError`."""
    return _Parser(text, message(name)).run()


class _Parser:
    def __init__(self, text: bytes, table: Message) -> None:
        self._text = text
        self._pos = 3 if text.startswith(b"\xef\xbb\xbf") else 0
        self._at = self._pos  # where the current token begins
        self._word = self._number = self._quote = self._sign = b""
        self._stack = [_Open(table, bytearray(), 0, b"", False, None)]

    def run(self) -> bytes:
        self._next()
        while True:
            top = self._stack[-1]
            self._check_size(top)
            if self._word or self._sign == b"[":
                self._field(top)
            elif self._sign and self._sign == top.closer:
                self._next()
                self._close(self._stack.pop())
            elif self._ended() and len(self._stack) == 1:
                return bytes(top.out)
            else:
                raise self._error("a field name is expected", self._at)

    # Tokens

    def _next(self) -> None:
        comment = b"#"
        while comment:
            match = _TOKEN.match(self._text, self._pos)
            if match is None:  # the pattern matches the empty string
                raise self._error("cannot read on", self._pos)
            word, number, quote, sign, comment = match.groups(b"")
            self._pos = match.end()
        self._word, self._number, self._quote, self._sign = word, number, quote, sign
        self._at = self._pos - len(word or number or quote or sign)

    def _check_size(self, top: _Open) -> None:
        if len(top.out) > MAX_BYTES:  # `1,` is nine bytes of a double
            raise self._error(f"a message of more than {MAX_BYTES} bytes", self._at)

    def _ended(self) -> bool:
        return self._at >= len(self._text)

    def _error(self, text: str, at: int) -> TextError:
        line = self._text.count(b"\n", 0, at) + 1
        column = at - (self._text.rfind(b"\n", 0, at) + 1) + 1
        return TextError(text, line, column)

    def _expect(self, sign: bytes) -> None:
        if self._sign != sign:
            raise self._error(f"{sign.decode()!r} is expected", self._at)
        self._next()

    def _separator(self) -> None:
        if self._sign in (b",", b";"):
            self._next()

    # Structure

    def _field(self, top: _Open) -> None:
        if self._word:
            name = self._word.decode()
            field = top.table.by_name.get(name) if top.table else None
            self._next()
            if self._sign == b".":  # an extension's name outside brackets: not in TF's files
                raise self._error("':' or '{' is expected", self._at)
        else:
            self._bracket_field(top)
            return
        colon = self._sign == b":"
        if colon:
            self._next()
        if self._sign == b"[":
            self._list(top, field)
        elif self._sign in _PAIRS and self._sign:
            self._open(top, field, False)
        elif colon:
            self._scalar(top, field)
            self._separator()
        else:
            raise self._error("':' or '{' is expected", self._at)

    def _bracket_field(self, top: _Open) -> None:
        """``[type.googleapis.com/x.Y] { … }`` or an extension."""
        start = self._pos
        close = self._text.find(b"]", start, start + 1024)
        if close < 0:
            raise self._error("']' is expected", self._at)
        url = self._text[start:close].strip()
        self._pos = close + 1
        self._next()
        colon = self._sign == b":"
        if colon:
            self._next()
        if self._sign and self._sign in _PAIRS:
            expanded = top.table is not None and top.table.name == "Any" and b"/" in url
            self._open(top, None, False, url if expanded else None)
        elif self._sign == b"[" and colon:
            self._list(top, None)
        elif colon:
            self._scalar(top, None)
            self._separator()
        else:
            raise self._error("':' or '{' is expected", self._at)

    def _open(
        self, top: _Open, field: Field | None, listed: bool, any_url: bytes | None = None
    ) -> None:
        if len(self._stack) > MAX_DEPTH:
            raise self._error(f"messages nested deeper than {MAX_DEPTH}", self._at)
        table = None
        if any_url is not None:
            inner = any_url.rpartition(b".")[2].decode("ascii", "replace")
            table = message(inner) if has_message(inner) else None
        elif field is not None:
            if field.type not in ("message", "map"):
                raise self._error(f"{field.name} is no message", self._at)
            table = message(field.of)
        closer = _PAIRS[self._sign]
        number = field.number if field else 0
        self._stack.append(_Open(table, bytearray(), number, closer, listed, any_url))
        self._next()

    def _close(self, done: _Open) -> None:
        parent = self._stack[-1]
        if done.any_url is not None:
            parent.out.extend(wire.encode_bytes_field(1, done.any_url))
            if done.table is not None:
                parent.out.extend(wire.encode_bytes_field(2, bytes(done.out)))
        elif done.table is not None:
            parent.out.extend(wire.encode_varint(done.number << 3 | wire.BYTES))
            parent.out.extend(wire.encode_varint(len(done.out)))
            parent.out.extend(done.out)
        if done.listed:
            self._after_element(parent, done)
        else:
            self._separator()

    def _list(self, top: _Open, field: Field | None) -> None:
        self._next()
        if self._sign == b"]":
            self._next()
            self._separator()
        elif self._sign and self._sign in _PAIRS:
            self._open(top, field, True)
        else:
            while True:
                self._scalar(top, field)
                self._check_size(top)
                if self._sign != b",":
                    break
                self._next()
            self._expect(b"]")
            self._separator()

    def _after_element(self, parent: _Open, done: _Open) -> None:
        """After a message in a list: the next one, or the end of the list."""
        if self._sign == b",":
            self._next()
            if not self._sign or self._sign not in _PAIRS:
                raise self._error("'{' is expected", self._at)
            field = None
            if done.table is not None and parent.table is not None:
                field = parent.table.by_number[done.number]
            self._open(parent, field, True)
        else:
            self._expect(b"]")
            self._separator()

    # Values

    def _scalar(self, top: _Open, field: Field | None) -> None:
        at = self._at
        if self._quote:
            value = self._string()
            if field is not None:
                if field.type not in ("string", "bytes"):
                    raise self._error(f"{field.name} is no string", at)
                top.out.extend(wire.encode_bytes_field(field.number, value))
            return
        negative = self._sign == b"-"
        if negative:
            self._next()
        token = self._word or self._number
        if not token:
            raise self._error("a value is expected", at)
        if field is not None:
            encoded = _encode_number(field, token, negative)
            if encoded is None:
                shown = token[:40].decode("ascii", "replace")
                raise self._error(f"{shown!r} is no value of {field.name} ({field.type})", at)
            top.out.extend(encoded)
        self._next()

    def _string(self) -> bytes:
        pieces = []
        while self._quote:
            quote, start = self._quote, self._pos
            end = self._text.find(quote, start)
            while end >= 0 and self._escaped(start, end):
                end = self._text.find(quote, end + 1)
            if end < 0 or self._text.find(b"\n", start, end) >= 0:
                raise self._error("the string has no end", self._at)
            raw = self._text[start:end]
            if b"\\" in raw:
                raw = self._unescape(raw, start)
            pieces.append(raw)
            self._pos = end + 1
            self._next()
        return b"".join(pieces)

    def _escaped(self, start: int, end: int) -> bool:
        """Whether the quote at ``end`` follows an odd number of backslashes."""
        pos = end
        while pos > start and self._text[pos - 1] == 0x5C:
            pos -= 1
        return (end - pos) % 2 == 1

    def _unescape(self, raw: bytes, start: int) -> bytes:
        def replace(match: re.Match[bytes]) -> bytes:
            octal, hexadecimal, short, long, letter = match.groups()
            if octal is not None:
                return bytes((int(octal, 8) & 0xFF,))
            if hexadecimal is not None:
                return bytes((int(hexadecimal, 16),))
            code = short or long
            if code is not None and int(code, 16) < 0x110000:
                return chr(int(code, 16)).encode("utf-8", "surrogatepass")
            if letter not in _LETTERS:
                raise self._error("unknown escape", start + match.start())
            return _LETTERS[letter]

        return _ESCAPE.sub(replace, raw)


def _encode_number(field: Field, token: bytes, negative: bool) -> bytes | None:
    """A number, bool or enum as a field; None if the token is not one."""
    if field.type in ("float", "double"):
        value = _float(token)
        if value is None:
            return None
        return _encode_float(field, -value if negative else value)
    if field.type not in _BITS:
        return None
    number = _integer(token)
    if number is None and not negative:
        if field.type == "bool":
            words = {b"true": 1, b"True": 1, b"t": 1, b"false": 0, b"False": 0, b"f": 0}
            number = words.get(token)
        elif field.type == "enum":
            number = enum_value(field.of, token.decode("ascii", "replace"))
            if number is None:
                return b""  # a value of a later TensorFlow: as good as an unknown field
    if number is None:
        return None
    bits = _BITS[field.type]
    low, high = (-(1 << bits - 1), 1 << bits - 1) if field.type in _SIGNED else (0, 1 << bits)
    number = -number if negative else number
    return wire.encode_varint_field(field.number, number) if low <= number < high else None


def _integer(token: bytes) -> int | None:
    if not _INTEGER.fullmatch(token):
        return None
    if token[:2] in (b"0x", b"0X"):
        return int(token, 16)
    if token[:1] == b"0" and len(token) > 1:
        return None if b"8" in token or b"9" in token else int(token, 8)
    return int(token)


def _float(token: bytes) -> float | None:
    lowered = token.lower()
    if lowered in (b"inf", b"infinity", b"nan"):
        return float(lowered)
    if b"_" in token or lowered[:1] in (b"i", b"n"):
        return None
    if lowered[:2] == b"0x":
        number = _integer(token)
        return None if number is None else float(number)
    if lowered.endswith(b"f"):
        lowered = lowered[:-1]
    try:
        return float(lowered)
    except ValueError:
        return None


def _encode_float(field: Field, value: float) -> bytes:
    if field.type == "double":
        return wire.encode_varint(field.number << 3 | wire.FIXED64) + struct.pack("<d", value)
    try:
        packed = struct.pack("<f", value)
    except OverflowError:  # beyond float32: protobuf reads an infinity
        packed = struct.pack("<f", float("inf") if value > 0 else float("-inf"))
    return wire.encode_varint(field.number << 3 | wire.FIXED32) + packed
