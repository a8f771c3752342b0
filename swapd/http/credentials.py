"""Keys as requests carry them: which of a request's headers show one, and how to keep ours in the house.

A client shows its key to swapd, not to the servers behind it: those may be anybody's. Credentials that are
none of ours are meant for the server, and pass.
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from swapd.http.server.asgi import Headers

SESSION_COOKIE: Final = b"swapd_session"

_CARRIERS: Final = frozenset({b"authorization", b"x-api-key", b"cookie"})


def shown_key(headers: Headers) -> bytes | None:
    """The one key that counts; None if the request shows none.

    The password of `Authorization: Basic` if it has one, else the token of `Authorization: Bearer`, else
    `x-api-key`. Of equal headers the first one counts.
    """
    authorization = api_key = None
    for name, value in headers:
        if name == b"authorization" and authorization is None:
            authorization = value
        elif name == b"x-api-key" and api_key is None:
            api_key = value
    if authorization is None:
        return api_key
    scheme, shown = _of_authorization(authorization)
    return api_key if shown is None or (scheme == b"basic" and not shown) else shown


def shown_session(headers: Headers) -> bytes | None:
    """The token of the session that counts: none does where a key is shown."""
    token = session_cookie(headers)
    return token if token is not None and shown_key(headers) is None else None


def session_cookie(headers: Headers) -> bytes | None:
    """The token of our own cookie; None if there is none."""
    for name, value in headers:
        if name == b"cookie" and SESSION_COOKIE in value:
            for item in value.split(b";"):
                cookie, _, token = item.strip().partition(b"=")
                if cookie == SESSION_COOKIE:
                    return token
    return None


def without_own_keys(headers: Headers, keys: Collection[bytes]) -> Headers:
    """`headers` without those whose credential is one of `keys`, whichever of them admitted the request."""
    kept: Headers = []
    for pair in headers:
        name, value = pair
        if name not in _CARRIERS:
            kept.append(pair)
        elif name == b"cookie":
            kept += _without_session(value)
        elif (value if name == b"x-api-key" else _of_authorization(value)[1]) not in keys:
            kept.append(pair)
    return kept


def _of_authorization(value: bytes) -> tuple[bytes, bytes | None]:
    """Scheme, in lower case, and key of an `Authorization` header (RFC 9110 §11.6.2, RFC 7617)."""
    scheme, _, credentials = value.partition(b" ")
    scheme = scheme.lower()
    match scheme:
        case b"bearer":
            return scheme, credentials
        case b"basic":
            return scheme, _password(credentials)
    return scheme, None


def _password(credentials: bytes) -> bytes:
    """The password of Basic credentials; empty if they cannot be read."""
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except binascii.Error:
        return b""
    return decoded.partition(b":")[2]


def _without_session(cookie: bytes) -> Headers:
    """A `Cookie` header without our own session; none if nothing is left of it."""
    if SESSION_COOKIE not in cookie:
        return [(b"cookie", cookie)]
    items = (item.strip() for item in cookie.split(b";"))
    others = [item for item in items if item.partition(b"=")[0] != SESSION_COOKIE]
    return [(b"cookie", b"; ".join(others))] if others else []
