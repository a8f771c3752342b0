"""Query strings and url-encoded bodies, read and edited the way the clients of llama-swap's server expect.

`+` is a space. A pair with a semicolon or a broken escape does not count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote_plus, unquote_to_bytes

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def first_value(encoded: bytes, name: str) -> str | None:
    """The first value of `name` in `a=1&b=2`; None if it does not occur."""
    for start, end in _values(encoded, name):
        return _decoded(encoded[start:end]).decode("utf-8", "replace")
    return None


def with_value(encoded: bytes, name: str, value: str) -> bytes:
    """`encoded` with `value` for every `name`, appended if there is none; other pairs stay as they are."""
    new = quote_plus(value).encode("ascii")
    parts: list[bytes] = []
    position = 0
    for start, end in _values(encoded, name):
        parts += (encoded[position:start], b"" if encoded[start - 1 : start] == b"=" else b"=", new)
        position = end
    if parts:
        return b"".join((*parts, encoded[position:]))
    pair = quote_plus(name).encode("ascii") + b"=" + new
    return encoded + b"&" + pair if encoded else pair


def without_unreadable(encoded: bytes) -> bytes:
    """`encoded` without the pairs that do not count."""
    if b";" not in encoded and not _BAD_ESCAPE.search(encoded):
        return encoded
    return b"&".join(pair for pair in encoded.split(b"&") if _counts(pair))


def _values(encoded: bytes, name: str) -> Iterator[tuple[int, int]]:
    """Where the values of `name` begin and end."""
    wanted = name.encode("ascii")
    position = 0
    for pair in encoded.split(b"&"):
        key, equals, _ = pair.partition(b"=")
        if _decoded(key) == wanted and _counts(pair):
            yield position + len(key) + len(equals), position + len(pair)
        position += len(pair) + 1


def _counts(pair: bytes) -> bool:
    return b";" not in pair and not _BAD_ESCAPE.search(pair)


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))
