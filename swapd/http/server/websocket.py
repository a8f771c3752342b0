"""A connection that has become a WebSocket (RFC 6455).

hypercorn's `WSStream` speaks the protocol (with wsproto) and ASGI; this module gives it its bytes, and adds
what it lacks: the code and reason of the client's close frame, a close frame for frames that make no sense,
one at shutdown, and back-pressure.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.protocol.events import Body, Data, EndBody, Event, StreamClosed
from hypercorn.protocol.events import Request as RequestEvent
from hypercorn.protocol.events import Response as ResponseEvent
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from hypercorn.typing import AppWrapper, ConnectionState
from wsproto.connection import ConnectionState as FrameState
from wsproto.events import CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import LocalProtocolError

from swapd.http.server.response import Response, plain_error, switching_protocols
from swapd.http.server.stream_app import AppTasks, StreamApp

if TYPE_CHECKING:
    from swapd.http.server.connection import Connection
    from swapd.http.server.parser import Request

READ_SIZE = 64 * 1024
_STREAM_ID = 1
_VERSION = b"13"


class WebSocketStream(WSStream):
    """`WSStream`, telling the app how the WebSocket was really closed.

    `goodbye` is the code and reason of the client's close frame, once that has come.
    """

    goodbye: tuple[int, str] | None = None

    async def handle(self, event: Event) -> None:
        if not isinstance(event, StreamClosed):
            await super().handle(event)
        elif not self.closed:
            self.closed = True
            code, reason = self.goodbye or (CloseReason.ABNORMAL_CLOSURE.value, "")
            if self.app_put is not None:
                await self.app_put({"type": "websocket.disconnect", "code": code, "reason": reason})

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                await self._take(event)
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                self.goodbye = (int(event.code), event.reason or "")
                if self.connection.state is FrameState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                else:  # frames that make no sense; refused by wsproto if we are closing already
                    await self._send_wsproto_event(CloseConnection(code=event.code))
                await self.send(StreamClosed(stream_id=self.stream_id))
                return

    async def _take(self, event: Message[Any]) -> None:
        try:
            self.buffer.extend(event)
        except FrameTooLargeError:
            self.buffer.clear()
            self.goodbye = (CloseReason.MESSAGE_TOO_BIG.value, "message too big")
            await self._send_wsproto_event(CloseConnection(code=CloseReason.MESSAGE_TOO_BIG))
            await self.send(StreamClosed(stream_id=self.stream_id))
            return
        if event.message_finished:
            assert self.app_put is not None
            await self.app_put(self.buffer.to_message())
            self.buffer.clear()


class WebSocketSession:
    """The rest of a connection's life after the handshake arrived.

    It ends when the app has returned, at most `websocket_close_s` after the client's close frame. A
    connection that ends without a close frame cancels the app at once.
    """

    def __init__(self, connection: Connection, request: Request) -> None:
        self._connection = connection
        self._request = request
        self._accepted = trio.Event()
        self._reading = trio.CancelScope()
        self._refusal: Response | None = None  # the app's answer instead of a handshake
        self._stream: WebSocketStream | None = None

    async def run(self) -> None:
        """Serve the WebSocket. Cancelling it cancels the app, and sends a close frame (1001, going away)."""
        problem = _unsuitable(self._request)
        if problem is not None:
            await self._connection.write(problem)
            return
        try:
            async with trio.open_nursery() as nursery:
                await self._serve(nursery)
        except BaseException:
            await self._say_goodbye()
            raise

    async def _serve(self, nursery: trio.Nursery) -> None:
        """Run the app in `nursery`, and bring it what the client sends until either has had enough."""
        connection = self._connection
        server = connection.server
        hypercorn = server.hypercorn()
        tasks = AppTasks(nursery, server.settings, taken=_nothing, abort=connection.lose)
        stream = self._stream = WebSocketStream(
            cast("AppWrapper", server.app),
            hypercorn.config,
            hypercorn.context,
            tasks,
            connection.tls,
            cast("tuple[str, int] | None", connection.client),
            cast("tuple[str, int] | None", connection.local),
            self._send,
            _STREAM_ID,
        )
        try:
            await stream.handle(_request_event(self._request))
        except UnicodeError:
            await connection.write(plain_error(400, "a field of the WebSocket handshake is not ASCII"))
            return
        if tasks.app is None:
            return  # not a valid handshake, and answered by the stream
        with self._reading:
            await self._read(stream, tasks.app)
        if not stream.closed:
            await stream.handle(StreamClosed(stream_id=_STREAM_ID))

    async def _read(self, stream: WebSocketStream, app: StreamApp) -> None:
        """Feed `stream` until the client's bytes end or it is closed, no faster than the app takes them."""
        connection = self._connection
        await self._accepted.wait()
        data: bytes | memoryview = connection.parser.beyond or await connection.read(READ_SIZE)
        while data:
            await stream.handle(Data(stream_id=_STREAM_ID, data=bytes(data)))
            if stream.closed:
                return
            await app.wait_for_room()
            data = await connection.read(READ_SIZE)

    async def _send(self, event: Event) -> None:
        """Do what the stream asks for."""
        connection = self._connection
        if isinstance(event, Data):
            await connection.write(event.data)
        elif isinstance(event, ResponseEvent):
            if event.status_code == 101:
                await connection.write(switching_protocols(event.headers))
                self._accepted.set()
            else:
                self._refusal = Response("GET", "1.1", persistent=False)
                self._refusal.start(event.status_code, event.headers)
        elif isinstance(event, Body | EndBody):
            assert self._refusal is not None
            part = event.data if isinstance(event, Body) else b""
            data = self._refusal.body(part, more=isinstance(event, Body))
            if data:
                await connection.write(data)
        elif isinstance(event, StreamClosed):
            assert self._stream is not None
            await self._stream.handle(event)
            self._reading.cancel()

    def on_hangup(self) -> None:
        """The client sends nothing more. What it has sent is still to be read, in bounded time."""
        if self._accepted.is_set():
            limit = trio.current_time() + self._connection.server.settings.websocket_close_s
            self._connection.scope.deadline = min(self._connection.scope.deadline, limit)
        else:
            self._connection.scope.cancel()

    async def _say_goodbye(self) -> None:
        """Cut short: an open WebSocket gets a close frame, a waiting handshake an answer."""
        connection, stream = self._connection, self._stream
        if connection.hung_up or stream is None or stream.closed:
            return
        if stream.state is ASGIWebsocketState.HANDSHAKE:
            await connection.say_last(plain_error(503, "the server is shutting down"))
        elif stream.state is ASGIWebsocketState.CONNECTED:
            with contextlib.suppress(LocalProtocolError):
                await connection.say_last(
                    stream.connection.send(CloseConnection(code=CloseReason.GOING_AWAY))
                )


def _unsuitable(request: Request) -> bytes | None:
    """The answer to a handshake of a version that is not spoken (RFC 6455 §4.4)."""
    versions = [value for name, value in request.headers if name == b"sec-websocket-version"]
    if not versions or versions == [_VERSION]:
        return None
    extra = [(b"sec-websocket-version", _VERSION), (b"upgrade", b"websocket")]
    return plain_error(426, "only version 13 of the WebSocket protocol is spoken here", extra=extra)


def _request_event(request: Request) -> RequestEvent:
    """The handshake as hypercorn expects it: it reads two of the fields too literally."""
    headers = [pair for pair in request.headers if pair[0] not in (b"connection", b"upgrade")]
    headers += [(b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
    return RequestEvent(
        stream_id=_STREAM_ID,
        headers=headers,
        http_version=request.version,
        method=request.method,
        raw_path=request.target,
        state=ConnectionState({}),
    )


def _nothing() -> None:
    """A WebSocket has no flow control of its own."""
