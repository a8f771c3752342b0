"""One path of the control API: its methods, and what a handler's result becomes on the wire."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from swapd.http.answers import method_not_allowed, send_whole
from swapd.http.api.control import Control
from swapd.http.auth import Authentication, refuse, require_admin
from swapd.http.errors import Rejected, render
from swapd.http.server.asgi import ASGIApp, Receive, Scope, Send

Handler = Callable[[Control, Request], Awaitable[Response | ASGIApp]]
"""Returns the whole answer, or an ASGI application that sends one (and keeps the request's record itself).

May raise `Rejected`. Parameters captured from the path are still escaped: `swapd.http.paths.parameter`.
"""

SHORT_BODY = 65_536

ANY = "*"
"""Stands in a resource's methods for every method that has no handler of its own."""


class Resource:
    """An ASGI application for one path. GET handlers answer HEAD too; other methods get 405.

    Whether a method exists is told to everybody; `auth`, if there is any, is asked after that.
    """

    def __init__(
        self,
        control: Control,
        handlers: Mapping[str, Handler],
        auth: Authentication | None,
        *,
        admin: bool = False,
        is_public: Callable[[], bool] = lambda: False,
    ) -> None:
        """With `admin`, a key must be one that may manage the daemon. While `is_public` says so, no key is
        asked for."""
        self._control = control
        self._auth = auth
        self._admin = admin
        self._is_public = is_public
        self._handlers = dict(handlers)
        if "GET" in handlers:
            self._handlers["HEAD"] = handlers["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        handler = self._handlers.get(scope["method"]) or self._handlers.get(ANY)
        if handler is None:
            return await method_not_allowed(scope, send, self._handlers)
        if self._auth is not None and not self._is_public() and not self._auth.admits(scope):
            return await refuse(scope, send)
        try:
            if self._admin:
                require_admin(scope)
            result = await handler(self._control, Request(scope, receive))
        except Rejected as rejected:
            return await send_whole(scope, send, *render(rejected.answer, scope))
        if not isinstance(result, Response):
            return await result(scope, receive, send)
        return await send_whole(scope, send, result.status_code, result.raw_headers, bytes(result.body))


def json_response(value: Any, headers: Mapping[str, str] | None = None, *, status: int = 200) -> Response:
    """`value` as compact JSON with a line feed at the end, for those who look at it in a terminal."""
    body = msgspec.json.encode(value) + b"\n"
    return Response(body, status, media_type="application/json", headers=headers)


async def short_body(request: Request) -> bytes:
    """The request's body, which has no reason to be long. Raises `Rejected` if it is longer than 64 KiB."""
    body, more = b"", True
    while more:
        message = await request.receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > SHORT_BODY:
            raise Rejected.with_code("request_too_large", "the request body is too large")
    return body


def flag(request: Request, name: str) -> bool:
    """Whether a query parameter like `?wait=1` is given, and not as 0 or false."""
    return request.query_params.get(name, "0").lower() not in ("0", "false")


def text_response(text: str) -> Response:
    """A short text for people, without a line feed."""
    return Response(text, media_type="text/plain")
