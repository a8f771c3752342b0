"""HTTP/2, spoken by hypercorn's `H2Protocol` (with h2), for clients that asked for it by ALPN.

What is ours here: apps are cancelled when their stream or connection goes; nothing that an app is slow to
take holds up the connection (the stream's flow control does its work instead); an answer that is not whole
is a reset stream, never the end of one; and what is sent is written by one task, so that cancelling an app
cannot leave half a frame behind.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import h2.events
import trio
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hypercorn.events import Closed, RawData, Updated
from hypercorn.events import Event as ConnectionEvent
from hypercorn.protocol.events import Body, Event, Response, StreamClosed
from hypercorn.protocol.events import Request as RequestEvent
from hypercorn.protocol.h2 import (
    BUFFER_HIGH_WATER,
    BUFFER_LOW_WATER,
    BufferCompleteError,
    H2Protocol,
    StreamBuffer,
)
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.utils import filter_pseudo_headers
from priority.priority import DuplicateStreamError, MissingStreamError, PriorityError

from swapd.http.server.response import date
from swapd.http.server.stream_app import HIGH_WATER, AppTasks, StreamApp
from swapd.http.server.websocket import WebSocketStream

if TYPE_CHECKING:
    from swapd.http.server.connection import Connection

_READ_SIZE = 64 * 1024
_CONNECTION_FIELDS = {b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"}


class _Tasks(TaskGroup):
    """hypercorn's task group on a nursery that somebody else waits for."""

    def __init__(self, nursery: trio.Nursery) -> None:
        super().__init__()
        self._nursery = nursery


class BoundedBuffer(StreamBuffer):
    """`StreamBuffer`, bounded for a client that reads nothing at all.

    hypercorn lets the app go on whenever little was taken out of the buffer, also if that is because nothing
    could be sent; here it goes on when little is left in it.
    """

    async def push(self, data: bytes) -> None:
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        if len(self.buffer) >= BUFFER_HIGH_WATER:
            if self._paused.is_set():  # else others are waiting for it
                await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class HTTP2Protocol(H2Protocol):
    """`H2Protocol`, with apps that can be cancelled and answers that are whole or reset.

    Mutable state besides hypercorn's: `apps` by stream; `_unacknowledged`, bytes by stream that the client
    may not send again yet; `_receiving`, the streams whose request is not complete; `_headed`, those whose
    response has begun.
    """

    def __init__(self, session: HTTP2Session, nursery: trio.Nursery) -> None:
        connection = session.connection
        server = connection.server
        hypercorn = server.hypercorn()
        super().__init__(
            cast("AppWrapper", server.app),
            hypercorn.config,
            hypercorn.context,
            _Tasks(nursery),
            ConnectionState({}),
            True,
            cast("tuple[str, int] | None", connection.client),
            cast("tuple[str, int] | None", connection.local),
            session.send,
        )
        self.apps: dict[int, StreamApp] = {}
        self._session = session
        self._nursery = nursery
        self._unacknowledged: dict[int, int] = {}
        self._receiving: set[int] = set()
        self._headed: set[int] = set()

    # What the client sends.

    async def _handle_events(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.DataReceived):
                await self._take_data(event)
                continue
            if isinstance(event, h2.events.RequestReceived):
                self._receiving.add(event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                self._receiving.discard(event.stream_id)
            await super()._handle_events([event])
        await self._flush()

    async def _take_data(self, event: h2.events.DataReceived) -> None:
        stream_id = event.stream_id
        waiting = self._unacknowledged.get(stream_id, 0) + (event.flow_controlled_length or 0)
        self._unacknowledged[stream_id] = waiting
        stream = self.streams.get(stream_id)
        if stream is not None:
            await stream.handle(Body(stream_id=stream_id, data=event.data or b""))
        self._acknowledge(stream_id)

    def _acknowledge(self, stream_id: int) -> None:
        """Let the client send as much again as it has, unless the app is behind."""
        app = self.apps.get(stream_id)
        if app is not None and app.waiting > HIGH_WATER:
            return
        size = self._unacknowledged.pop(stream_id, 0)
        if size:
            with contextlib.suppress(ProtocolError):  # the connection is about to end
                self.connection.acknowledge_received_data(size, stream_id)
            self._session.push(self.connection.data_to_send())

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        stream_id = request.stream_id
        pseudo = {name: value for name, value in request.headers or [] if name.startswith(b":")}
        method = pseudo[b":method"].decode("latin-1").upper()
        raw_path = pseudo.get(b":path", b"")
        if not raw_path.isascii() or (method == "CONNECT" and pseudo.get(b":protocol") != b"websocket"):
            self._reset(stream_id, ErrorCodes.CONNECT_ERROR)
            return
        kind: type[HTTPStream] | type[WSStream] = WebSocketStream if method == "CONNECT" else HTTPStream
        tasks = AppTasks(
            self._nursery,
            self._session.connection.server.settings,
            taken=lambda: self._acknowledge(stream_id),
            abort=lambda: self.abort(stream_id),
        )
        stream = self.streams[stream_id] = kind(
            self.app,
            self.config,
            self.context,
            tasks,
            self.ssl,
            self.client,
            self.server,
            self.stream_send,
            stream_id,
        )
        self.stream_buffers[stream_id] = BoundedBuffer(self.context.event_class)
        with contextlib.suppress(DuplicateStreamError):  # a PRIORITY frame came first
            self.priority.insert_stream(stream_id)
            self.priority.block(stream_id)
        try:
            await stream.handle(
                RequestEvent(
                    stream_id=stream_id,
                    headers=filter_pseudo_headers(request.headers or []),
                    http_version="2",
                    method=method,
                    raw_path=raw_path,
                    state=self.connection_state,
                )
            )
        except UnicodeError:
            self._reset(stream_id, ErrorCodes.PROTOCOL_ERROR)
            return
        if tasks.app is not None:
            self.apps[stream_id] = tasks.app

    async def _close_stream(self, stream_id: int) -> None:
        await super()._close_stream(stream_id)
        self.apps.pop(stream_id, None)
        self._receiving.discard(stream_id)
        self._headed.discard(stream_id)
        self._acknowledge(stream_id)

    # What the app sends.

    async def stream_send(self, event: Event) -> None:
        if isinstance(event, Response):
            self._send_head(event)
        elif isinstance(event, StreamClosed):
            self._end_stream(event.stream_id)
            await super().stream_send(event)
        else:
            await super().stream_send(event)

    def _send_head(self, event: Response) -> None:
        headers = [(name.lower(), value) for name, value in event.headers]
        headers = [pair for pair in headers if pair[0] not in _CONNECTION_FIELDS]
        if not any(name == b"date" for name, _ in headers):
            headers.append((b"date", date()))
        with contextlib.suppress(ProtocolError):  # reset by the client a moment ago
            self.connection.send_headers(event.stream_id, [(b":status", b"%d" % event.status_code), *headers])
            self._headed.add(event.stream_id)
        self._session.push(self.connection.data_to_send())

    def _end_stream(self, stream_id: int) -> None:
        """The app has ended. Reset the stream unless both sides have said all that they had to."""
        stream = self.streams.get(stream_id)
        if stream is None:
            return
        whole = stream.state is ASGIHTTPState.CLOSED if isinstance(stream, HTTPStream) else stream.idle
        if not whole or stream_id not in self._headed:
            self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
        elif stream_id in self._receiving and stream_id not in self.stream_buffers:
            self._reset(stream_id, ErrorCodes.NO_ERROR)  # answered; the rest of the request is not wanted

    def abort(self, stream_id: int) -> None:
        """Break the stream off, and cancel what is left of its app. Nothing happens if it has answered."""
        app = self.apps.get(stream_id)
        if app is None or app.answered:
            return
        self._reset(stream_id, ErrorCodes.INTERNAL_ERROR)
        app.leave({"type": "http.disconnect"})
        app.cancel_scope.cancel()

    def _reset(self, stream_id: int, code: ErrorCodes) -> None:
        with contextlib.suppress(ProtocolError):
            self.connection.reset_stream(stream_id, code)
        self._session.push(self.connection.data_to_send())
        with contextlib.suppress(MissingStreamError):
            self.priority.unblock(
                stream_id
            )  # so that hypercorn's sending task finds it closed, and forgets it


class HTTP2Session:
    """A connection that speaks HTTP/2, from the end of the TLS handshake on.

    Mutable state: the protocol's, and the bytes that wait to be written.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._protocol: HTTP2Protocol | None = None
        self._outgoing = bytearray()
        self._writing = False
        self._changed = trio.lowlevel.ParkingLot()
        self._reading = trio.CancelScope()

    async def run(self) -> None:
        """Serve the connection to its end. Cancelling it cancels all of its apps."""
        connection = self.connection
        async with trio.open_nursery() as nursery:
            protocol = self._protocol = HTTP2Protocol(self, nursery)
            nursery.start_soon(self._write)
            await protocol.initiate()
            connection.server.idle.start(connection)
            with self._reading, contextlib.suppress(PriorityError):
                while data := await connection.read(_READ_SIZE):
                    await protocol.handle(RawData(bytes(data)))
            if connection.closing:
                protocol.connection.close_connection()
                self.push(protocol.connection.data_to_send())
            await protocol.handle(Closed())
            connection.server.linger.start(connection)
            await self._wait_until(lambda: not self._outgoing and not self._writing)
            nursery.cancel_scope.cancel()

    def drain(self) -> None:
        """Be done with the streams there are, or at once if there is none. New ones are refused already."""
        if self._protocol is None or self._protocol.idle:
            self._reading.cancel()

    async def send(self, event: ConnectionEvent) -> None:
        """Do what the protocol asks for; waits while more than `HIGH_WATER` bytes are to be written."""
        connection = self.connection
        if isinstance(event, RawData):
            self.push(event.data)
            await self._wait_until(lambda: len(self._outgoing) <= HIGH_WATER)
        elif isinstance(event, Closed):
            self._reading.cancel()
        elif isinstance(event, Updated):
            if not event.idle:
                connection.server.idle.stop(connection)
            elif connection.closing:
                self._reading.cancel()
            else:
                connection.server.idle.start(connection)

    def push(self, data: bytes) -> None:
        """Have `data` written, in order."""
        if data:
            self._outgoing += data
            self._changed.unpark_all()

    async def _wait_until(self, condition: Callable[[], Any]) -> None:
        while not condition():
            await self._changed.park()

    async def _write(self) -> None:
        while True:
            await self._wait_until(lambda: self._outgoing)
            data = bytes(self._outgoing)
            self._outgoing.clear()
            self._writing = True
            self._changed.unpark_all()
            await self.connection.write(data)
            self._writing = False
            self._changed.unpark_all()
