"""The lexical side of JSON (RFC 8259), for those who look for places in a document rather than build it.

Tolerant: what is between the tokens that matter may be anything, so that a truncated or sloppy document can
be read as far as it makes sense.
"""

from __future__ import annotations

import json
import re

import msgspec

SPACE = re.compile(rb"[ \t\r\n]*")
SEPARATORS = re.compile(rb"[ \t\r\n,]*")
COLON = re.compile(rb"[ \t\r\n]*:[ \t\r\n]*")
STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
BOM = b"\xef\xbb\xbf"

_NESTED = re.compile(rb'"[^"\\]{0,128}+"|["\[\]{}]')
"""What matters inside a nested value: brackets, short simple strings as a whole, the quote of any other."""
_BACKSLASH = ord("\\")
_SCALAR = re.compile(rb"[^ \t\r\n,:\"\[\]{}]+")

_decode_string = msgspec.json.Decoder(str).decode


def match_end(pattern: re.Pattern[bytes], body: bytes, position: int) -> int:
    """Where `pattern` ends if it matches at `position`, else `position`."""
    match = pattern.match(body, position)
    return match.end() if match else position


def value_end(body: bytes, start: int) -> int | None:
    """Where the value that begins at `start` ends; None if it does not."""
    first = body[start : start + 1]
    if first in (b"{", b"["):
        return _nested_end(body, start)
    if first == b'"':
        return _string_end(body, start)
    match = _SCALAR.match(body, start)
    return match.end() if match else None


def key_name(spelled: bytes) -> bytes:
    """The name that a key, quotes included, spells."""
    return string(spelled).encode("utf-8", "replace") if b"\\" in spelled else spelled[1:-1]


def string(value: bytes) -> str:
    """The text of a string, quotes included; what is wrong with it is read as well as it can be."""
    try:
        return _decode_string(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    text = value.decode("utf-8", "replace")
    try:
        decoded: str = json.loads(text, strict=False)
    except ValueError:
        return text[1:-1]
    return decoded


def _nested_end(body: bytes, start: int) -> int | None:
    depth = 0
    position: int | None = start
    while position is not None and (token := _NESTED.search(body, position)) is not None:
        position = token.end()
        match token.group():
            case b"{" | b"[":
                depth += 1
            case b"}" | b"]":
                depth -= 1
                if not depth:
                    return position
            case b'"':
                position = _string_end(body, token.start())
    return None


def _string_end(body: bytes, start: int) -> int | None:
    """Where the string ends whose opening quote is at `start`; None if it does not.

    Strings may hold whole pictures, and nothing finds the next quote as fast as `find`.
    """
    position = start + 1
    while (quote := body.find(b'"', position)) >= 0:
        before = quote - 1
        while body[before] == _BACKSLASH and before > start:
            before -= 1
        if (quote - 1 - before) % 2 == 0:
            return quote + 1
        position = quote + 1
    return None
