"""One request and its response, as the app sees them: `receive`, `send` and the scope.

The app runs in the connection's own task. So `receive` reads from the connection itself, only when the app
wants more, which is all the back-pressure there is to it, and nothing is handed from task to task.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import unquote_to_bytes

import trio

from swapd.http.server.asgi import ASGIApp, BodyTooLarge, Scope
from swapd.http.server.response import CONTINUE, Response, ResponseError, Stage, plain_error

if TYPE_CHECKING:
    from swapd.http.server.parser import Request

SHORT_BODY = 64 * 1024
"""How long a body that the app does not want may be to be read all the same, to keep the connection."""

_DISCONNECT = {"type": "http.disconnect"}


class Wire(Protocol):
    """What an exchange needs of its connection."""

    closing: bool
    """Whether this is to be the last exchange on the connection."""

    async def write(self, data: bytes) -> None:
        """Send all of `data`; raises `trio.Cancelled` or `ClientGone` once the client has gone."""

    async def read_body(self, request: Request) -> None:
        """Wait until more of the body of `request` has arrived, or all of it."""

    async def until_gone(self) -> None:
        """Wait until the client has gone; a shield does not keep it from returning."""

    def abandon(self) -> None:
        """Break the connection: the answer on it is not whole."""

    def report(self, error: BaseException, scope: Scope) -> None:
        """Tell of an error that the app did not handle."""


class Exchange:
    """A request being answered. Mutable state: what of the request the app has had, and `response`."""

    __slots__ = ("_awaits_continue", "_body_limit", "_ended", "_received", "_wire", "request", "response")

    def __init__(self, wire: Wire, request: Request, body_limit: int) -> None:
        self._wire = wire
        self.request = request
        self.response = Response(request.method, request.version, persistent=request.keep_alive)
        self._awaits_continue = request.expects_continue
        self._body_limit = body_limit
        self._received = 0
        self._ended = False  # the app has had all of the body

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        """Run `app` to its end, and see to it that the request gets an answer, or else no whole one.

        Cancelling it cancels the app. Never raises anything else but what is not an `Exception`.
        """
        try:
            if self._body_limit and self.request.content_length > self._body_limit:
                raise BodyTooLarge
            await app(scope, self.receive, self.send)
        except BodyTooLarge:
            await self._close_with(413, "the request's body is too large")
        except Exception as error:  # noqa: BLE001 - whatever an app raises, its client gets an answer
            self._wire.report(error, scope)
            await self._close_with(500, "the server has failed")
        except BaseExceptionGroup as group:
            cancelled, errors = group.split(trio.Cancelled)
            if errors is not None:
                self._wire.report(errors, scope)
            if cancelled is not None:
                raise cancelled from None
            await self._close_with(500, "the server has failed")
        else:
            if self.response.stage is Stage.IDLE:
                self._wire.report(ResponseError("the app has returned without a response"), scope)
            if self.response.stage is not Stage.DONE:
                await self._close_with(500, "the server has failed")

    async def _close_with(self, status: int, text: str) -> None:
        """End with an error: as an answer if none has begun, else by breaking off the one that has."""
        response = self.response
        if response.stage is Stage.IDLE or response.stage is Stage.HEAD:
            response.stage = Stage.DONE
            response.persistent = False
            await self._wire.write(plain_error(status, text, bodyless=self.request.method == "HEAD"))
        elif response.stage is not Stage.DONE:
            self._wire.abandon()

    async def receive(self) -> dict[str, Any]:
        """The next part of the body: everything that has arrived and was not yet taken.

        Once the body is complete, waits for the client to go (and is then cancelled, if not shielded).
        """
        request = self.request
        if self._ended:
            await self._wire.until_gone()
            return _DISCONNECT
        if not request.chunks and not request.complete:
            if self._awaits_continue:
                self._awaits_continue = False
                if self.response.stage is Stage.IDLE:
                    await self._wire.write(CONTINUE)
            await self._wire.read_body(request)
            if not request.chunks and not request.complete:
                return _DISCONNECT  # gone, and the caller shielded
        chunks = request.chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        self._ended = request.complete
        if self._body_limit:
            self._received += len(body)
            if self._received > self._body_limit:
                raise BodyTooLarge
        return {"type": "http.request", "body": body, "more_body": not self._ended}

    async def send(self, message: Mapping[str, Any]) -> None:
        """Take a part of the response. Raises `ResponseError` if it is out of place.

        Returns when the kernel has taken the bytes, so an app is as slow as its client. No checkpoint as
        long as there is no need to wait.
        """
        kind = message["type"]
        response = self.response
        if kind == "http.response.body":
            if response.stage is Stage.HEAD and (self._wire.closing or not self._is_short()):
                response.persistent = False
            data = response.body(message.get("body", b""), more=message.get("more_body", False))
        elif kind == "http.response.start":
            response.start(
                message["status"], message.get("headers", ()), trailers=message.get("trailers", False)
            )
            return
        elif kind == "http.response.trailers":
            more = message.get("more_trailers", False)
            data = response.trailers(message.get("headers", ()), more=more)
        else:
            raise ResponseError(f"{kind!r} is not a message of an HTTP response")
        if data:
            await self._wire.write(data)

    def _is_short(self) -> bool:
        """Whether what is still to come of the request is little enough to be read and thrown away.

        Otherwise an answer that does not wait for it is the last on its connection. The same holds for a
        client that waits to be told to go on: whether it will send the body now is up to it.
        """
        request = self.request
        if request.complete:
            return True
        return 0 < request.content_length <= SHORT_BODY and not self._awaits_continue


def http_scope(connection_scope: dict[str, Any], request: Request) -> dict[str, Any]:
    """The ASGI scope of `request`, on top of what is the same for all requests of its connection."""
    scope = connection_scope.copy()
    target = request.target
    if target[:1] != b"/" and target != b"*":
        target = _take_authority(request)
    raw_path, _, query = target.partition(b"?")
    scope["http_version"] = request.version
    scope["method"] = request.method
    scope["path"] = decode_path(raw_path)
    scope["raw_path"] = raw_path
    scope["query_string"] = query
    scope["headers"] = request.headers
    return scope


def decode_path(raw_path: bytes) -> str:
    """The path with its escapes decoded once. Bytes that are not UTF-8 become U+FFFD; `raw_path` has them."""
    escaped = raw_path.find(b"%") >= 0
    return (unquote_to_bytes(raw_path) if escaped else raw_path).decode("utf-8", "replace")


def _take_authority(request: Request) -> bytes:
    """The path and query of an absolute target; its authority is what counts as Host (RFC 9112 §3.2.2)."""
    authority, slash, rest = request.target.partition(b"://")[2].partition(b"/")
    if not slash:
        authority, question, rest = authority.partition(b"?")
        rest = question + rest
    host = (b"host", authority.rpartition(b"@")[2])
    request.headers = [host, *(pair for pair in request.headers if pair[0] != b"host")]
    return b"/" + rest
