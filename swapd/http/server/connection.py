"""One client's connection: a socket, its deadlines, and the requests on it, one after another.

A connection is one task. It waits for bytes, has them parsed, and then runs the app itself, so that a request
starts no task and passes through no channel. While the app runs nobody reads the socket; that the client has
left is told by `Hangups`, and cancels the connection's one cancel scope and with it the app. Once that scope
is cancelled, for whatever reason, nothing more happens on the connection but a last word to the client, if
one is due and the kernel takes it without waiting.

What an app puts into context variables is still there in the connection's next request, as that runs in the
same task.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from typing import TYPE_CHECKING

import trio

from swapd.http.server.asgi import ABORT, ClientGone, Receive, Scope, Send
from swapd.http.server.exchange import Exchange, http_scope
from swapd.http.server.parser import BadRequest, Request, RequestParser
from swapd.http.server.response import Stage, plain_error

if TYPE_CHECKING:
    from swapd.http.server.deadlines import Phase
    from swapd.http.server.serve import Server
    from swapd.http.server.websocket import WebSocketSession

Address = tuple[str, int | None] | None

READ_SIZE = 64 * 1024
HEAD_READ_SIZE = 16 * 1024
"""How much is read while no body is expected: bounds what requests that come all at once take in memory."""

_WRITES_WITHOUT_PAUSE = 32
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

# One buffer serves every connection: a read is parsed before anything else can run, and what the parser keeps
# is a copy. So a connection that waits, idle or in the middle of a stream, holds no buffer at all.
_buffer = memoryview(bytearray(READ_SIZE))
_NOTHING = b""


class Connection:
    """A connection without TLS, owner of its socket.

    Mutable state besides the parser's: `exchange` is the request being answered and `websocket` what an
    upgrade has turned the connection into. `closing` says that it is to end after the response in hand,
    `hung_up` that the client sends nothing any more, `gone` that nothing can be sent to it any more.
    """

    tls = False

    __slots__ = (
        "_fd",
        "_idle",
        "_last_word",
        "_left",
        "_request_scope",
        "_sock",
        "_write_lock",
        "_writes",
        "client",
        "closing",
        "exchange",
        "gone",
        "hung_up",
        "local",
        "parser",
        "scope",
        "server",
        "websocket",
    )

    def __init__(self, server: Server, sock: socket.socket, client: Address, local: Address) -> None:
        self.server = server
        self.client = client
        self.local = local
        self.scope = trio.CancelScope()
        self.parser = RequestParser(server.settings.max_head_bytes)
        self.exchange: Exchange | None = None
        self.websocket: WebSocketSession | None = None
        self.closing = server.draining
        self.hung_up = False
        self.gone = False
        self._sock = sock
        self._fd = sock.fileno()
        self._idle = False
        self._left: trio.Event | None = None
        self._last_word: BadRequest | None = None
        self._write_lock: trio.Lock | None = None
        self._writes = 0
        self._request_scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "scheme": "https" if self.tls else "http",
            "root_path": "",
            "client": client,
            "server": local,
            "extensions": {"http.response.trailers": {}, ABORT: self.abandon},
        }

    async def run(self) -> None:
        """Serve the connection to its end, and close it. Never raises an `Exception`.

        Cancelling it ends the connection at once: the app is cancelled, then the socket is closed.
        """
        interrupted = True
        try:
            with self.scope:
                self.server.hangups.watch(self._fd, self.on_hangup)
                await self.serve()
            interrupted = False
        except Exception as error:  # noqa: BLE001 - a connection must not take the server with it
            interrupted = False
            self.server.settings.report_error(error, None)
        finally:
            if interrupted:
                self._last_word = BadRequest(503, "the server is shutting down")
            await self._close()

    async def serve(self) -> None:
        """What happens on the connection, within its cancel scope."""
        await self.serve_http1()

    async def serve_http1(self) -> None:
        parser = self.parser
        app = self.server.app
        body_limit = self.server.settings.max_body_bytes
        while parser.requests or await self._await_request():
            request = parser.requests.pop(0)
            if request.websocket:
                await self._serve_websocket(request)
                return
            exchange = self.exchange = Exchange(self, request, body_limit)
            if self.hung_up:
                self.scope.cancel()  # an app that needs not wait for anything can still answer
            scope = http_scope(self._request_scope, request)
            await exchange.run(_answer_options if request.target == b"*" else app, scope)
            if not exchange.response.persistent or not (request.complete or await self._skip_body(request)):
                break
            self.exchange = None
            if parser.requests:
                await trio.lowlevel.cancel_shielded_checkpoint()  # it is the others' turn
        await self._finish()

    async def _serve_websocket(self, request: Request) -> None:
        # Imported by the first WebSocket, for most servers never see one and start faster without it.
        from swapd.http.server.websocket import WebSocketSession

        self.websocket = WebSocketSession(self, request)
        await self.websocket.run()
        await self._linger()

    # Waiting for a request.

    async def _await_request(self) -> bool:
        """Read until the head of a request is complete; False when there will be no further one."""
        parser = self.parser
        if not parser.in_head and parser.failed is None:
            if parser.refused or not await self._read_first():
                return False
            if parser.requests:
                return True
        head = self.server.head
        head.start(self)
        while not parser.requests:
            if parser.failed is not None:
                await self._refuse(parser.failed)
                return False
            data = await self.read(HEAD_READ_SIZE)
            if not data:
                return False
            parser.feed(data)
        head.stop(self)
        return True

    async def _read_first(self) -> bool:
        """Wait for the first bytes of a request, as long as a connection may be idle; False if none come."""
        data: bytes | memoryview
        idle = self.server.idle
        idle.start(self)
        self._idle = True
        try:
            # What has arrived when a connection is to end is still served.
            data = self.read_now() if self.closing else await self.read(HEAD_READ_SIZE)
        except trio.ClosedResourceError:  # waked by `drain`
            data = self.read_now()
        self._idle = False
        idle.stop(self)
        if data:
            self.parser.feed(data)
        return bool(data)

    async def _refuse(self, problem: BadRequest) -> None:
        await self.write(plain_error(problem.status, str(problem)))

    # What an exchange needs (see `exchange.Wire`).

    async def read_body(self, request: Request) -> None:
        """Wait until more of the body of `request` has arrived, or all of it.

        Neither has if it returns to a caller that is shielded from the cancellation of a lost client's app.
        """
        parser = self.parser
        body = self.server.body
        body.start(self)
        try:
            while not request.chunks and not request.complete:
                data: bytes | memoryview = _NOTHING
                if parser.failed is None and not self.gone:
                    data = await self.read(READ_SIZE)
                if not data:
                    self._last_word = self._last_word or parser.failed
                    self.lose()
                    await trio.lowlevel.checkpoint()
                    return
                parser.feed(data)
        finally:
            body.stop(self)

    async def until_gone(self) -> None:
        if self._left is None:
            self._left = trio.Event()
            if self.gone or self.hung_up:
                self._left.set()
        await self._left.wait()

    def abandon(self) -> None:
        """Break the connection, as the answer on it is not whole. Nothing happens if it is, and was sent."""
        exchange = self.exchange
        if exchange is None or self.gone:
            return
        is_being_sent = self._write_lock is not None and self._write_lock.locked()
        if exchange.response.stage is Stage.DONE and not is_being_sent:
            return
        if not exchange.response.until_close:  # else the client would take this for the end of the body
            with contextlib.suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)
        self.lose()

    def report(self, error: BaseException, scope: Scope) -> None:
        self.server.settings.report_error(error, scope)

    # Ends of various kinds.

    def on_hangup(self) -> None:
        """The client has left, or at least will send nothing more."""
        self.hung_up = True
        if self.websocket is not None:
            self.websocket.on_hangup()
        elif self.exchange is not None:
            self.scope.cancel()
            if self._left is not None:
                self._left.set()

    def lose(self) -> None:
        """Nothing can be sent any more: cancel whatever is going on."""
        self.gone = True
        self.scope.cancel()
        if self._left is not None:
            self._left.set()

    def expire(self, phase: Phase) -> None:
        """A deadline has passed."""
        if phase is self.server.head:
            self._last_word = BadRequest(408, "the request's head did not arrive in time")
        elif phase is self.server.body:
            self._last_word = BadRequest(408, "the request's body did not arrive in time")
        self.lose()

    def drain(self) -> None:
        """Be done soon: after the request in hand, or at once if there is none."""
        self.closing = True
        if self._idle:
            trio.lowlevel.notify_closing(self._fd)  # nothing is closed by it, but the wait for bytes ends

    async def _skip_body(self, request: Request) -> bool:
        """Read what the app did not want of a short body; False if the connection is of no use after it."""
        parser = self.parser
        self.server.linger.start(self)
        while not request.complete:
            if parser.failed is not None:
                return False
            data = await self.read(READ_SIZE)
            if not data:
                return False
            parser.feed(data)
            request.chunks.clear()
        self.server.linger.stop(self)
        return True

    async def _finish(self) -> None:
        """Close in such a way that the client can read what was sent.

        To close a socket with unread bytes resets the connection, and a reset may overtake the answer.
        """
        complete = self.exchange is None or self.exchange.request.complete
        if not self.gone and (not complete or self.parser.failed is not None or self._has_unread()):
            await self._linger()

    async def _linger(self) -> None:
        """Read and throw away until the client closes its side, or `linger_s` have passed."""
        if self.gone:
            return
        self.server.linger.start(self)
        self._shut_down_sending()
        while await self.read(READ_SIZE):
            pass

    async def _close(self) -> None:
        server = self.server
        server.deadlines.forget(self)
        server.hangups.forget(self._fd)
        server.connections.discard(self)
        response = self.exchange.response if self.exchange is not None else None
        if self._last_word is not None and (response is None or response.stage in (Stage.IDLE, Stage.HEAD)):
            if response is not None or self.parser.in_head:
                await self.say_last(plain_error(self._last_word.status, str(self._last_word)))
        elif response is not None and response.until_close and response.stage is not Stage.DONE:
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        await self._close_socket()
        self.gone = True
        self.parser.close()

    # The socket.

    async def _close_socket(self) -> None:
        trio.lowlevel.notify_closing(self._fd)
        self._sock.close()

    async def read(self, limit: int) -> bytes | memoryview:
        """Up to `limit` bytes (at most `READ_SIZE`) once some have arrived; none at the end of the stream.

        What is returned is good until the next await: it is in the one buffer that all connections use.
        """
        while True:
            await trio.lowlevel.wait_readable(self._fd)
            try:
                return _buffer[: self._sock.recv_into(_buffer, limit)]
            except BlockingIOError:
                continue
            except OSError:
                return _NOTHING

    def read_now(self) -> bytes:
        """What `read` would return without waiting."""
        try:
            return self._sock.recv(HEAD_READ_SIZE)
        except OSError:
            return _NOTHING

    async def write(self, data: bytes | memoryview) -> None:
        """Send all of `data`, waiting for the client to read if need be. Writes never interleave.

        Raises `ClientGone` if the client has gone and the caller is shielded from the cancellation that
        follows from it. A write that is cancelled half-way loses the connection.
        """
        if self.gone:
            await self._raise_gone()
        sent = 0
        if self._write_lock is None or not self._write_lock.locked():
            try:
                sent = self._sock.send(data)
            except BlockingIOError:
                pass
            except OSError:
                self.lose()
                await self._raise_gone()
        if sent == len(data):
            self._writes += 1
            if self._writes == _WRITES_WITHOUT_PAUSE:
                self._writes = 0
                await trio.lowlevel.checkpoint()
        else:
            await self._write_rest(memoryview(data)[sent:])

    async def _write_rest(self, rest: memoryview) -> None:
        if self._write_lock is None:
            self._write_lock = trio.Lock()
        try:
            async with self._write_lock:
                while rest and not self.gone:
                    await trio.lowlevel.wait_writable(self._fd)
                    try:
                        rest = rest[self._sock.send(rest) :]
                    except BlockingIOError:
                        continue
                    except OSError:
                        break
        finally:
            if rest:
                self.lose()
        if rest:
            await self._raise_gone()

    async def say_last(self, data: bytes) -> None:
        """Send `data`, if that is still possible, in next to no time."""
        if not self.gone or self._last_word is not None:
            with contextlib.suppress(OSError):
                self._sock.send(data)
                self._sock.shutdown(socket.SHUT_WR)

    async def _raise_gone(self) -> None:
        await trio.lowlevel.checkpoint()
        raise ClientGone("the client has gone")

    def _shut_down_sending(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)

    def _has_unread(self) -> bool:
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK))
        except OSError:
            return False


async def _answer_options(scope: Scope, receive: Receive, send: Send) -> None:
    """`OPTIONS *` asks about the server as a whole (RFC 9110 §9.3.7): it works, is all there is to say."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})
