"""Keeping swapd's own API keys in the house.

A client shows its key to swapd, not to the servers behind it: those may be anybody's. Credentials that are
none of ours are meant for the server, and pass.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

from swapd.config import ApiKey
from swapd.http.server.asgi import Headers

_CARRIERS = frozenset({b"authorization", b"x-api-key"})


def without_own_keys(headers: Headers, keys: Sequence[ApiKey]) -> Headers:
    """`headers` without those whose credential is one of `keys`, whichever of them admitted the request."""
    own = {key.key.encode() for key in keys}
    return [pair for pair in headers if pair[0] not in _CARRIERS or _credential(*pair) not in own]


def _credential(name: bytes, value: bytes) -> bytes | None:
    """What of a header is compared with keys: a Bearer token, a Basic password, an `X-Api-Key` as it is."""
    if name == b"x-api-key":
        return value
    scheme, _, credentials = value.partition(b" ")
    match scheme.lower():
        case b"bearer":
            return credentials
        case b"basic":
            return _password(credentials)
    return None


def _password(credentials: bytes) -> bytes | None:
    try:
        return base64.b64decode(credentials.strip(), validate=True).partition(b":")[2]
    except binascii.Error:
        return None
