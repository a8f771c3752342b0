"""The serve loop: accept connections, run each in a task, and stop without cutting an answer short."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import trio

from swapd.http.server.asgi import ASGIApp
from swapd.http.server.connection import Address, Connection
from swapd.http.server.deadlines import Deadlines
from swapd.http.server.hangups import Hangups
from swapd.http.server.settings import ServerSettings

if TYPE_CHECKING:
    import ssl

    from swapd.http.server.hypercorn_parts import HypercornParts

_ACCEPTS_WITHOUT_PAUSE = 64
_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_RETRY_ACCEPT_S = 0.1


class Server:
    """What the connections of a server share.

    Mutable state: `connections`; `draining`, once it stops; hypercorn's parts, once one of them is needed;
    `ssl_context`, of which `reload_tls` makes another.
    """

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app = app
        self.settings = settings
        self.connections: set[Connection] = set()
        self.draining = False
        self.hangups = Hangups()
        self.deadlines = Deadlines()
        self.idle = self.deadlines.phase(settings.keep_alive_s)
        self.head = self.deadlines.phase(settings.head_timeout_s)
        self.body = self.deadlines.phase(settings.body_gap_s)
        self.linger = self.deadlines.phase(settings.linger_s)
        self._hypercorn: HypercornParts | None = None
        self._connection_class: type[Connection] = Connection
        self.ssl_context: ssl.SSLContext | None = None
        if settings.tls is not None:
            # Imported only here because a server without TLS starts much faster without it.
            from swapd.http.server.tls import TLSConnection

            self._connection_class = TLSConnection
            self.ssl_context = self.hypercorn().create_ssl_context()

    def hypercorn(self) -> HypercornParts:
        """What hypercorn's classes want to be given; the first call takes a moment."""
        if self._hypercorn is None:
            from swapd.http.server.hypercorn_parts import HypercornParts

            self._hypercorn = HypercornParts(self.settings)
        return self._hypercorn

    def open_connection(self, sock: socket.socket, peer: Any, local: Address) -> Connection:
        plain = local is not None and local == (self.settings.plain_socket, None)
        connection_class = Connection if plain else self._connection_class
        connection = connection_class(self, sock, _address(sock.family, peer), local)
        self.connections.add(connection)
        return connection

    def reload_tls(self) -> None:
        """Read the TLS files again. Handshakes from now on use them; connections that are open go on.

        Raises OSError (`ssl.SSLError` is one) for files that cannot be used, and then those before stay. Does
        nothing on a server without TLS.
        """
        if self.ssl_context is not None:
            self.ssl_context = self.hypercorn().create_ssl_context()

    async def drain(self) -> None:
        """Tell every connection to end after the request in hand."""
        self.draining = True
        if self._hypercorn is not None:
            await self._hypercorn.terminate()
        for connection in list(self.connections):
            connection.drain()


async def serve(
    app: ASGIApp,
    listeners: Sequence[socket.socket],
    settings: ServerSettings,
    *,
    stopping: trio.Event,
    task_status: trio.TaskStatus[Server] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` on `listeners`, bound and listening stream sockets, which it takes over and closes.

    Reports itself started, with the `Server`, once it accepts. When `stopping` is set it accepts what has
    been waiting to be accepted, closes the listeners and the idle connections, and lets the others finish the
    request in hand; their answers say `Connection: close`. It returns when the last of them has gone. That
    has no deadline of its own: cancelling `serve` ends all connections at once, unfinished answers broken
    off, unbegun ones 503, WebSockets with a close frame (1001). This takes less than half a second, unless an
    app shields itself.

    A disconnecting client cancels the app that serves it. What an app raises goes to `settings.report_error`;
    nothing that a client sends makes `serve` raise.
    """
    server = Server(app, settings)
    try:
        for listener in listeners:
            _prepare(listener)
        async with trio.open_nursery() as helpers:
            helpers.start_soon(server.hangups.run)
            helpers.start_soon(server.deadlines.watch)
            async with trio.open_nursery() as handlers:
                async with trio.open_nursery() as accepting:
                    for listener in listeners:
                        accepting.start_soon(_accept_connections, server, listener, handlers)
                    task_status.started(server)
                    await stopping.wait()
                    accepting.cancel_scope.cancel()
                for listener in listeners:
                    _accept_waiting(server, listener, handlers)
                    _close(listener)
                await server.drain()
            helpers.cancel_scope.cancel()
    finally:
        for listener in listeners:
            _close(listener)


def _prepare(listener: socket.socket) -> None:
    """Set the options that the kernel passes on to accepted sockets, so that no connection pays for it."""
    listener.setblocking(False)
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # A client that vanished without a word must not hold a model for ever.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
            if hasattr(socket, name):
                listener.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def _accept_connections(server: Server, listener: socket.socket, handlers: trio.Nursery) -> None:
    while True:
        await trio.lowlevel.wait_readable(listener)
        try:
            _accept_waiting(server, listener, handlers)
        except OSError as error:
            if error.errno not in _OUT_OF_RESOURCES:
                raise
            # The client stays in the queue; connections that end meanwhile make room for it.
            server.settings.report_error(error, None)
            await trio.sleep(_RETRY_ACCEPT_S)


def _accept_waiting(server: Server, listener: socket.socket, handlers: trio.Nursery) -> None:
    """Accept the connections that are there, up to a number that leaves others their turn."""
    for _ in range(_ACCEPTS_WITHOUT_PAUSE):
        try:
            sock, peer = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno in _OUT_OF_RESOURCES or error.errno in (errno.EBADF, errno.EINVAL):
                raise
            continue  # the one connection failed before it was accepted: accept(2) hands on network errors
        sock.setblocking(False)
        connection = server.open_connection(sock, peer, _local_address(sock))
        handlers.start_soon(connection.run)


def _close(listener: socket.socket) -> None:
    if listener.fileno() >= 0:
        trio.lowlevel.notify_closing(listener)
        listener.close()


def _local_address(sock: socket.socket) -> Address:
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return (name, None) if isinstance(name, str) else None
    return _address(sock.family, name)


def _address(family: int, name: Any) -> Address:
    """(host, port) of an Internet address, else None. IPv4 seen through an IPv6 socket is written as IPv4."""
    if family not in (socket.AF_INET, socket.AF_INET6):
        return None
    return name[0].removeprefix("::ffff:") if "." in name[0] else name[0], name[1]
