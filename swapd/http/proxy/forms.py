"""Query strings and url-encoded bodies, read the way the clients of llama-swap's server expect."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def first_value(encoded: bytes, name: str) -> str | None:
    """The first value of `name` in `a=1&b=2`; None if it does not occur.

    `+` is a space. A pair with a semicolon or a broken escape does not count.
    """
    wanted = name.encode("ascii")
    for pair in encoded.split(b"&"):
        if b";" in pair or _BAD_ESCAPE.search(pair):
            continue
        key, _, value = pair.partition(b"=")
        if _decoded(key) == wanted:
            return _decoded(value).decode("utf-8", "replace")
    return None


def _decoded(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))
