"""Whole answers that need no routing, no model and no key: redirects, preflights, "not found".

They are sent as plain ASGI messages, with the bytes counted in the request's record.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from swapd.http.errors import ErrorAnswer, render, request_id
from swapd.http.prefix import prefix_of
from swapd.http.record import RECORD
from swapd.http.server.asgi import Headers, Scope, Send

PLAIN_ERROR: Final[Headers] = [
    (b"content-type", b"text/plain; charset=utf-8"),
    (b"x-content-type-options", b"nosniff"),
]
NOT_FOUND: Final = b"404 page not found\n"

_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2


async def answer(scope: Scope, send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    """Send one complete response; a HEAD request gets the head of it, with the length its body would have."""
    if status != HTTPStatus.NO_CONTENT:
        headers = [*headers, (b"content-length", b"%d" % len(body))]
    await send_whole(scope, send, status, headers, body)


async def send_whole(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    """The same for `headers` that are complete. A WebSocket is denied with it, if the server can do that."""
    record = scope[RECORD]
    record.status = status
    headers = [*headers, (b"x-request-id", request_id(scope).encode("ascii"))]
    if scope["type"] == "websocket":
        return await _deny(scope, send, status, headers, body)
    if scope["method"] == "HEAD":
        body = b""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    record.bytes_sent += len(body)
    return await send({"type": "http.response.body", "body": body})


async def _deny(scope: Scope, send: Send, status: int, headers: Headers, body: bytes) -> None:
    if "websocket.http.response" not in scope.get("extensions", {}):
        return await send({"type": "websocket.close"})
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    scope[RECORD].bytes_sent += len(body)
    return await send({"type": "websocket.http.response.body", "body": body})


async def answer_error(scope: Scope, send: Send, code: str, message: str) -> None:
    """An error in the format the client asked for; see `swapd.http.errors` for the codes."""
    status, headers, body = render(ErrorAnswer(code, message), scope)
    await send_whole(scope, send, status, headers, body)


async def not_found(scope: Scope, send: Send) -> None:
    """No route has this path. Never the JSON envelope: nothing of swapd's answered."""
    await answer(scope, send, 404, PLAIN_ERROR, NOT_FOUND)


async def method_not_allowed(scope: Scope, send: Send, allowed: Iterable[str]) -> None:
    """The path exists, for the methods `allowed`."""
    allow = ", ".join(sorted(allowed)).encode("ascii")
    await answer(scope, send, 405, [*PLAIN_ERROR, (b"allow", allow)], b"Method Not Allowed\n")


async def redirect(scope: Scope, send: Send, status: int, target: str) -> None:
    """Send the client to `target`, an ASCII path of ours with escapes, below the prefix that a proxy shows us
    under; GET gets a small page with the link too."""
    target = prefix_of(scope) + target
    headers: Headers = [(b"location", target.encode("ascii"))]
    body = b""
    if scope["method"] in ("GET", "HEAD"):
        headers.append((b"content-type", b"text/html; charset=utf-8"))
        body = f'<a href="{html.escape(target)}">{HTTPStatus(status).phrase}</a>.\n\n'.encode("ascii")
    await answer(scope, send, status, headers, body)


async def preflight(scope: Scope, send: Send) -> None:
    """The answer to any OPTIONS request: any page may ask, the request itself needs its key."""
    requested = next((value for name, value in scope["headers"] if name == _REQUEST_HEADERS), None)
    allowed = _DEFAULT_HEADERS if requested is None else _tokens(requested)
    await answer(scope, send, 204, [*_PREFLIGHT, (b"access-control-allow-headers", allowed)])


_REQUEST_HEADERS: Final = b"access-control-request-headers"
_DEFAULT_HEADERS: Final = b"Content-Type, Authorization, Accept, X-Requested-With"
_PREFLIGHT: Final[Headers] = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"GET, POST, PUT, PATCH, DELETE, OPTIONS"),
    (b"access-control-max-age", b"86400"),
]


def _tokens(requested: bytes) -> bytes:
    """The header names of a comma-separated list that are names at all."""
    items = (item.strip() for item in requested.split(b","))
    return b", ".join(item for item in items if _TOKEN.fullmatch(item))
