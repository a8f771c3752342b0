"""Connections with TLS: HTTP/1.1 as ever, HTTP/2 for clients that ask for it by ALPN.

trio's `SSLStream` does the TLS. It cannot send without waiting, so this path is slower than the one without.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import trio

from swapd.http.server.connection import Address, Connection
from swapd.http.server.http2 import HTTP2Session

if TYPE_CHECKING:
    from swapd.http.server.serve import Server

_LAST_WORD_S = 0.2
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


class TLSConnection(Connection):
    """A connection with TLS. Mutable state besides that of `Connection`: `_http2`, if that is spoken."""

    tls = True

    __slots__ = ("_http2", "_stream")

    def __init__(self, server: Server, sock: socket.socket, client: Address, local: Address) -> None:
        super().__init__(server, sock, client, local)
        assert server.ssl_context is not None
        self._http2: HTTP2Session | None = None
        self._stream = trio.SSLStream(
            trio.SocketStream(trio.socket.from_stdlib_socket(sock)), server.ssl_context, server_side=True
        )

    async def serve(self) -> None:
        self._idle = True
        try:
            with trio.fail_after(self.server.settings.tls_handshake_s):
                await self._stream.do_handshake()
        except (*_GONE, trio.TooSlowError):
            self.gone = True
            return
        self._idle = False
        if self._stream.selected_alpn_protocol() == "h2":
            self._http2 = HTTP2Session(self)
            await self._http2.run()
        else:
            await self.serve_http1()

    def on_hangup(self) -> None:
        if self._http2 is None:  # else the connection is being read all the time, and the end will be seen
            super().on_hangup()

    def drain(self) -> None:
        self.closing = True
        if self._http2 is not None:
            self._http2.drain()
        elif self._idle:
            self.scope.cancel()  # unlike a plain socket, a TLS stream cannot be waked and then go on

    async def read(self, limit: int) -> bytes | memoryview:
        try:
            return bytes(await self._stream.receive_some(limit))
        except _GONE:
            return b""

    async def write(self, data: bytes | memoryview) -> None:
        if self.gone:
            await self._raise_gone()
        await self._write_rest(memoryview(data))

    async def _write_rest(self, rest: memoryview) -> None:
        if self._write_lock is None:
            self._write_lock = trio.Lock()
        sent = False
        try:
            async with self._write_lock:
                if not self.gone:
                    await self._stream.send_all(rest)
                    sent = True
        except _GONE:
            pass
        finally:
            if not sent:
                self.lose()
        if not sent:
            await self._raise_gone()

    async def say_last(self, data: bytes) -> None:
        if not self.gone or self._last_word is not None:
            with trio.move_on_after(_LAST_WORD_S, shield=True), contextlib.suppress(*_GONE):
                await self._stream.send_all(data)

    async def _linger(self) -> None:
        if self.exchange is not None:  # a WebSocket has said good-bye already, and TLS has a word of its own
            await super()._linger()

    def _shut_down_sending(self) -> None:
        """TLS is shut down by `_close_socket`."""

    async def _close_socket(self) -> None:
        if not self.gone:
            with trio.move_on_after(_LAST_WORD_S, shield=True), contextlib.suppress(*_GONE):
                await self._stream.aclose()  # sends close_notify
        await super()._close_socket()
