"""API keys: may this request be answered?

A request shows one key: the password of `Authorization: Basic` (so that a browser can ask for it), the token
of `Authorization: Bearer`, or `x-api-key`, the first of these that is there. A wrong one is not made good by
a right one further down. Without configured keys everybody may do everything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from swapd.http.answers import send_whole
from swapd.http.errors import ErrorAnswer, render

if TYPE_CHECKING:
    from swapd.config import ApiKey
    from swapd.http.server.asgi import Headers, Scope, Send

_CHALLENGE: Final = (b"www-authenticate", b'Basic realm="swapd"')


class Authentication:
    """Compares what requests show with the configured keys.

    `keys` returns those in force and is asked for every request. The only mutable state are their digests,
    kept as long as the keys stay the same.
    """

    def __init__(self, keys: Callable[[], Sequence[ApiKey]]) -> None:
        self._keys = keys
        self._digested: Sequence[ApiKey] = ()
        self._digests: list[bytes] = []

    def admits(self, scope: Scope) -> bool:
        """Whether the request may be answered."""
        keys = self._keys()
        if not keys:
            return True
        if keys is not self._digested:
            self._digested, self._digests = keys, [_digest(key.key.encode()) for key in keys]
        # All are compared, digests of equal length and each in constant time: how long it takes tells nothing
        # about any of them. "" equals no key, as a configured key is never empty.
        shown = _digest(_shown_key(scope["headers"]) or b"")
        return sum(hmac.compare_digest(shown, digest) for digest in self._digests) > 0


async def refuse(scope: Scope, send: Send) -> None:
    """Answer that a key is needed. Browsers get to ask for it, except on behalf of our own pages."""
    error = ErrorAnswer("unauthorized", "unauthorized: invalid or missing API key")
    status, headers, body = render(error, scope)
    if not _sent_by_our_own_page(scope["headers"]):
        headers = [*headers, _CHALLENGE]
    await send_whole(scope, send, status, headers, body)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _shown_key(headers: Headers) -> bytes | None:
    """The one key that counts; None if the request shows none."""
    authorization = api_key = None
    for name, value in headers:
        if name == b"authorization" and authorization is None:
            authorization = value
        elif name == b"x-api-key" and api_key is None:
            api_key = value
    scheme, _, credentials = (authorization or b"").partition(b" ")
    match scheme.lower():
        case b"basic":
            password = _password(credentials)
            return password if password else api_key
        case b"bearer":
            return credentials
    return api_key


def _password(credentials: bytes) -> bytes:
    """The password of Basic credentials; empty if they cannot be read."""
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except binascii.Error:
        return b""
    return decoded.partition(b":")[2]


def _sent_by_our_own_page(headers: Headers) -> bool:
    return any(
        (name == b"x-swapd-ui" and value == b"1") or (name == b"sec-fetch-site" and value == b"same-origin")
        for name, value in headers
    )
