"""Request paths, from what stands in the request line to what is looked up.

Everything here works on the still-escaped path: `%2F` is a character of a name, never a separator, and an
escaped dot is not a dot.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote, quote_from_bytes, unquote_to_bytes

from swapd.http.server.asgi import Scope

_SEGMENT_CHARACTERS: Final = "!\"#$&'()*+,:;<=>?@[\\]^`{|} "  # besides letters, digits and _.-~
_LOCATION_CHARACTERS: Final = "/%!$&'()*+,:;=@"
_NEEDS_CLEANING: Final = re.compile(rb"//|/\.\.?(?:/|\Z)")


def raw_path(scope: Scope) -> bytes:
    """The path of the request line without its query; ASGI leaves it to the server to pass it on."""
    raw: Any = scope.get("raw_path")
    return raw if raw else quote(scope["path"]).encode("ascii")


def clean_path(raw: bytes) -> bytes:
    """`raw` without empty segments, `.` and `..`, as RFC 3986 §5.2.4 removes them; a slash at the end stays.

    Returns `raw` itself when there is nothing to clean, which is the case for practically every request.
    """
    if not raw.startswith(b"/") or not _NEEDS_CLEANING.search(raw):
        return raw
    kept: list[bytes] = []
    segments = raw.split(b"/")
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    slash = b"/" if kept and segments[-1] in (b"", b".", b"..") else b""
    return b"/" + b"/".join(kept) + slash


def routing_path(raw: bytes) -> str:
    """The path in the one spelling that routes are compared with.

    Segment by segment, characters that need no escape lose theirs; what remains escaped are slashes and
    percent signs within a segment, control characters and everything that is not ASCII. So `/v1/%6dodels` is
    `/v1/models`, `/v1%2Fmodels` is not, and `parameter` gives each captured part back as it was meant.
    """
    if b"%" not in raw and raw.isascii():
        return raw.decode("ascii")
    segments = [unquote_to_bytes(segment) for segment in raw.split(b"/")]
    return "/".join(quote_from_bytes(segment, safe=_SEGMENT_CHARACTERS) for segment in segments)


def parameter(captured: str) -> str:
    """A part of a routing path, decoded; what is no UTF-8 becomes U+FFFD and so matches no name."""
    return unquote_to_bytes(captured).decode("utf-8", "replace")


def location(path: bytes, query: bytes = b"") -> str:
    """A `Location` for a path of this server.

    Escapes in `path` survive. A backslash is escaped, because browsers take it for a slash and `/\\host` for
    another server.
    """
    text = quote_from_bytes(path, safe=_LOCATION_CHARACTERS)
    return f"{text}?{quote_from_bytes(query, safe=_LOCATION_CHARACTERS + '?')}" if query else text
