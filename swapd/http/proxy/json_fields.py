"""Reading `model` and `stream` from a JSON body without building the rest of it.

Clients of inference servers send what they like: duplicate keys, truncated documents, a byte order mark, text
after the end. Whatever names a model is good enough here; judging the document is the upstream's business,
which gets the bytes as they came. The rules: the first top-level key of a name counts, keys may be spelled
with escapes, nothing is trimmed, and what follows the fields may be anything.

A valid document takes the fast path (msgspec, in C). Where that might see it differently, or refuses it, a
scan over the top level follows.
"""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec

from swapd.http.proxy.json_text import (
    BOM,
    COLON,
    SEPARATORS,
    SPACE,
    STRING,
    key_name,
    match_end,
    string,
    value_end,
)


class JsonFields(msgspec.Struct, eq=False):
    """What a body says. `model` is empty if it names none.

    Its value begins at or, if `end` is None, somewhere behind `start`: most bodies are never edited.
    """

    model: str = ""
    start: int = 0
    end: int | None = 0
    stream: bool = False


class _Document(msgspec.Struct, gc=False):
    model: str = ""
    stream: bool = False


_decode_document = msgspec.json.Decoder(_Document).decode
LONG = 256 * 1024
"""Bytes of a document of which it matters how it is read, ..."""
LONG_STRING = 256
"""... and of the strings in it, on average, if most of it are pictures."""
_SAMPLE = 4096

_MODEL = b'"model"'
_INTEGER = re.compile(r"-?\d+")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def read_fields(body: bytes) -> JsonFields:
    """The fields of `body`, which need not be valid JSON."""
    if len(body) > LONG and _has_long_strings(body):
        return _scan(body)  # which jumps from quote to quote, where the parser reads every byte
    return _read_strictly(body) or _scan(body)


def _has_long_strings(body: bytes) -> bool:
    """Whether most of a long document are pictures and the like, told by samples of it."""
    places = (0, len(body) // 2, len(body) - _SAMPLE)
    quotes = sum(body.count(b'"', place, place + _SAMPLE) for place in places)
    return quotes * LONG_STRING < len(places) * _SAMPLE


def _read_strictly(body: bytes) -> JsonFields | None:
    """The fields of a document that is valid and spells them once, literally, and as expected; else None.

    Duplicates must not get here, because msgspec takes the last. A key with escapes could be one: every
    letter of both names is \\u006x or \\u007x. And a key that occurs once, and is known to be there, is where
    it is found.
    """
    place = body.find(_MODEL)
    if place < 0 or body.find(_MODEL, place + 1) >= 0 or body.count(b'"stream"') > 1:
        return None
    if body.find(b"\\u00") >= 0 and (body.find(b"\\u006") >= 0 or body.find(b"\\u007") >= 0):
        return None
    try:
        document = _decode_document(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not document.model:
        return None
    return JsonFields(document.model, place + len(_MODEL), None, document.stream)


def _scan(body: bytes) -> JsonFields:
    """The fields of a top-level object as far as it can be made sense of, first key of a name first."""
    fields = JsonFields()
    wanted = {b"model", b"stream"}
    position = match_end(SPACE, body, len(BOM) if body.startswith(BOM) else 0)
    if body[position : position + 1] != b"{":
        return fields
    position += 1
    while wanted:
        key = STRING.match(body, match_end(SEPARATORS, body, position))
        colon = COLON.match(body, key.end()) if key else None
        if key is None or colon is None:
            break
        start = colon.end()
        end = value_end(body, start)
        if end is None:
            break
        name = key_name(key.group())
        if name in wanted:
            wanted.remove(name)
            if name == b"stream":
                fields.stream = _is_true(body[start:end])
            else:
                fields.model, fields.start, fields.end = _as_text(body[start:end]), start, end
        position = end
    return fields


def _as_text(value: bytes) -> str:
    """A value where a model's name is expected; empty if it is none."""
    if value[:1] == b'"':
        return string(value)
    text = value.decode("utf-8", "replace")
    if value[:1] in (b"{", b"[") or text in ("true", "false") or _INTEGER.fullmatch(text):
        return text
    if _NUMBER.fullmatch(text):
        return _plain_decimal(text)
    return ""


def _plain_decimal(text: str) -> str:
    """`1.50` → `1.5`, `1e3` → `1000`: the number as a 64-bit float, written without an exponent."""
    number = float(text)
    if number in (float("inf"), float("-inf")):
        return text
    plain = format(Decimal(repr(number)), "f")
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


def _is_true(value: bytes) -> bool:
    if value[:1] == b'"':
        return string(value).lower() in ("1", "t", "true")
    text = value.decode("utf-8", "replace")
    return text == "true" or (_NUMBER.fullmatch(text) is not None and float(text) != 0)


def replace_model(body: bytes, fields: JsonFields, name: str) -> bytes:
    """`body` with `name` as its model; every byte outside the old value stays what it was.

    `fields` describes the new body then.
    """
    start, end = fields.start, fields.end
    if end is None:
        start = match_end(COLON, body, start)
        end = match_end(STRING, body, start)
    new = msgspec.json.encode(name)
    fields.model, fields.start, fields.end = name, start, start + len(new)
    around = memoryview(body)  # a body may be large: it is copied once
    return b"".join((around[:start], new, around[end:]))
