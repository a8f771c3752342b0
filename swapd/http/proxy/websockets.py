"""WebSockets through the passthrough routes: the handshake of the client becomes one with the upstream.

The client is accepted only after the upstream has accepted, with the subprotocol that the upstream chose. An
upstream that says no answers as it would to a plain request. From then on messages pass both ways, each
taken only when the one before it has been delivered, until either side closes; its code and reason pass too.
A side that goes away without closing is not made to look as if it had.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any

import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, wrap_client_stream

from swapd.http.answers import send_whole
from swapd.http.errors import Rejected, request_id
from swapd.http.proxy.headers import headers_for_client
from swapd.http.record import RECORD
from swapd.http.server.asgi import ABORT, ClientGone, Headers, Receive, Scope, Send
from swapd.http.upstream import ConnectFailed
from swapd.http.upstream.dial import Dialer

MAX_MESSAGE = 16 * 1024 * 1024
"""Bytes of one message; a side that sends more is closed with 1009."""

READ_SIZE = 64 * 1024
CLOSE_S = 2.0
"""How long an upstream may take to answer a close frame."""

_ABNORMAL = 1006
_NO_STATUS = 1005
_UNSENDABLE = frozenset({1004, 1015})

_OF_THE_HANDSHAKE = (b"sec-websocket-", b"content-length", b"accept-encoding", b"host")


class Destination:
    """Where a WebSocket leads, and how long each step of getting there may take (0: any time)."""

    def __init__(
        self,
        host: str,
        port: int,
        resource: bytes,
        *,
        tls: ssl.SSLContext | None = None,
        connect_s: float = 0,
        handshake_s: float = 0,
        keepalive_s: float = 0,
    ) -> None:
        self.host = host
        self.port = port
        self.resource = resource
        self.tls = tls
        self.connect_s = connect_s
        self.handshake_s = handshake_s
        self.keepalive_s = keepalive_s

    async def connect(self) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
        """A fresh connection. Raises `ConnectFailed`."""
        sock = await Dialer(self.host, self.port, self.keepalive_s).dial(self.connect_s)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
        if self.tls is None:
            return stream
        return trio.SSLStream(stream, self.tls, server_hostname=self.host)


class UpstreamRefused(Exception):
    """The upstream has answered the handshake with something else than 101."""

    def __init__(self, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(f"status {status}")
        self.status = status
        self.headers = headers
        self.body = body


async def bridge(
    destination: Destination, headers: Headers, scope: Scope, receive: Receive, send: Send
) -> None:
    """Serve the WebSocket of `scope` until either side has closed it.

    `headers` are those for the upstream, `Host` among them. Raises `ConnectFailed`, or `Rejected` for an
    upstream that does not answer in time, before the client was accepted. Cancelling it closes the
    connection to the upstream at once.
    """
    try:
        stream = await destination.connect()
        try:
            async with trio.open_nursery() as nursery:
                upstream = await _shake_hands(destination, stream, headers, scope, nursery)
                await _Bridge(upstream, scope, receive, send).run()
                nursery.cancel_scope.cancel()
        finally:
            with trio.move_on_after(CLOSE_S, shield=True) as closing:
                closing.cancel()
                await stream.aclose()
    except BaseExceptionGroup as group:
        raise _unwrapped(group) from None


def _unwrapped(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What the caller is to see of several things that went wrong at once."""
    rejected = group.subgroup(ConnectionRejected)
    if rejected is not None:
        error = _first(rejected)
        assert isinstance(error, ConnectionRejected)
        return UpstreamRefused(error.status_code, list(error.headers or ()), error.body or b"")
    for kind in (trio.Cancelled, Rejected, ConnectFailed, ClientGone):
        found = group.subgroup(kind)
        if found is not None:
            return _first(found)
    return _first(group)


def _first(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


async def _shake_hands(
    destination: Destination, stream: Any, headers: Headers, scope: Scope, nursery: trio.Nursery
) -> WebSocketConnection:
    host = next((value for name, value in headers if name == b"host"), destination.host.encode())
    with trio.CancelScope() as waiting:
        if destination.handshake_s:
            waiting.deadline = trio.current_time() + destination.handshake_s
        connection = await wrap_client_stream(
            nursery,
            stream,
            host.decode("latin-1"),
            destination.resource.decode("latin-1"),
            subprotocols=scope.get("subprotocols") or (),
            extra_headers=[pair for pair in headers if not pair[0].startswith(_OF_THE_HANDSHAKE)],
            max_message_size=MAX_MESSAGE,
            receive_buffer_size=READ_SIZE,
        )
        closed = connection.closed  # an upstream may also accept and close in one go
        if closed is not None and closed.code == _ABNORMAL:
            raise ConnectFailed("the upstream has closed the connection", request_sent=True)
        return connection
    raise Rejected.with_code(
        "upstream_timeout", f"upstream error: no answer within {destination.handshake_s:g} s"
    )


class _Bridge:
    """The two directions. The mutable state is whether the end of one has been passed on."""

    def __init__(self, upstream: WebSocketConnection, scope: Scope, receive: Receive, send: Send) -> None:
        self._upstream = upstream
        self._scope = scope
        self._receive = receive
        self._send = send

    async def run(self) -> None:
        message = await self._receive()
        if message["type"] != "websocket.connect":
            return  # it has left already
        await self._accept()
        async with trio.open_nursery() as directions:
            directions.start_soon(self._to_upstream, directions.cancel_scope.cancel)
            directions.start_soon(self._to_client, directions.cancel_scope.cancel)

    async def _accept(self) -> None:
        headers = headers_for_client(
            [pair for pair in self._upstream.handshake_headers if not pair[0].startswith(_OF_THE_HANDSHAKE)],
            request_id(self._scope).encode("ascii"),
        )
        self._scope[RECORD].status = HTTPStatus.SWITCHING_PROTOCOLS
        await self._send(
            {"type": "websocket.accept", "subprotocol": self._upstream.subprotocol, "headers": headers}
        )

    async def _to_upstream(self, finish: Callable[[], None]) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                await self._close_upstream(message.get("code", _NO_STATUS), message.get("reason") or "")
                finish()
                return
            text = message.get("text")
            try:
                await self._upstream.send_message(message["bytes"] if text is None else text)
            except ConnectionClosed:
                return  # the other direction says goodbye

    async def _close_upstream(self, code: int, reason: str) -> None:
        """Pass the client's close frame on. One that left without any is cut off there, too."""
        if code == _ABNORMAL or code in _UNSENDABLE:
            return
        with trio.move_on_after(CLOSE_S), suppress(ConnectionClosed):
            await self._upstream.aclose(1000 if code == _NO_STATUS else code, reason or None)

    async def _to_client(self, finish: Callable[[], None]) -> None:
        record = self._scope[RECORD]
        while True:
            try:
                message = await self._upstream.get_message()
            except ConnectionClosed as closed:
                await self._close_client(closed)
                finish()
                return
            record.bytes_sent += len(message)
            kind = "text" if isinstance(message, str) else "bytes"
            await self._send({"type": "websocket.send", kind: message})

    async def _close_client(self, closed: ConnectionClosed) -> None:
        code = _ABNORMAL if closed.reason is None else closed.reason.code
        if code == _ABNORMAL or code in _UNSENDABLE:
            abort = self._scope.get("extensions", {}).get(ABORT)
            if abort is not None:
                abort()
            return
        reason = closed.reason.reason if closed.reason is not None else None
        sent_code = 1000 if code == _NO_STATUS else code
        with suppress(ClientGone):
            await self._send({"type": "websocket.close", "code": sent_code, "reason": reason or ""})


async def deny(refused: UpstreamRefused, scope: Scope, send: Send) -> None:
    """Give the client the upstream's own answer instead of a WebSocket."""
    headers = [
        (name.lower(), value)
        for name, value in refused.headers
        if name.lower() not in (b"content-length", b"transfer-encoding", b"connection")
    ]
    headers = [pair for pair in headers_for_client(headers, b"") if pair[0] != b"x-request-id"]
    length = (b"content-length", b"%d" % len(refused.body))
    await send_whole(scope, send, refused.status, [*headers, length], refused.body)
