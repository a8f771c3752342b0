"""A server that does exactly what a test says, down to the byte: one script a connection."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio
from attrs import define, field, frozen

from swapd.http.upstream import BaseURL, Timeouts, UpstreamPool

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

Script = Callable[["Peer"], Awaitable[None]]


@frozen
class Request:
    """One request as it came over the wire."""

    line: bytes
    headers: dict[bytes, bytes]
    """Lower-case names."""
    body: bytes


class Hangup(Exception):
    """The client closed the connection while a script was waiting for something from it."""


@define(eq=False)
class Peer:
    """The server's end of one connection."""

    stream: trio.SocketStream
    number: int
    """0 for the first connection of the server, and so on."""
    left: trio.Event = field(factory=trio.Event)
    """Set when the script has seen that the client closed the connection."""
    _unread: bytearray = field(factory=bytearray)

    async def request(self) -> Request:
        """Read one whole request. Raises `Hangup` if there is none."""
        head = await self._until(b"\r\n\r\n")
        line, *lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (each.partition(b":") for each in lines)}
        if headers.get(b"transfer-encoding") == b"chunked":
            body = await self._chunked_body()
        else:
            body = await self.exactly(int(headers.get(b"content-length", 0)))
        return Request(line, headers, body)

    async def head(self) -> bytes:
        """Read the head of a request, and leave its body unread."""
        return await self._until(b"\r\n\r\n")

    async def send(self, data: bytes) -> None:
        """Send. Raises `Hangup` if the client has gone."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            self.left.set()
            raise Hangup from None

    async def gone(self) -> None:
        """Wait until the client has closed."""
        try:
            while await self.stream.receive_some(65536):
                pass
        except trio.BrokenResourceError:
            pass
        self.left.set()

    def reset(self) -> None:
        """Close with a TCP reset instead of a proper end."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()

    async def exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            await self._more()
        data = bytes(self._unread[:size])
        del self._unread[:size]
        return data

    async def _chunked_body(self) -> bytes:
        body = b""
        while size := int(await self._until(b"\r\n"), 16):
            body += await self.exactly(size)
            await self._until(b"\r\n")
        await self._until(b"\r\n")
        return body

    async def _until(self, end: bytes) -> bytes:
        while end not in self._unread:
            await self._more()
        size = self._unread.index(end)
        data = await self.exactly(size)
        await self.exactly(len(end))
        return data

    async def _more(self) -> None:
        try:
            data = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            self.left.set()
            raise Hangup
        self._unread += data


@define(eq=False)
class Server:
    """A listening server and the connections it has accepted."""

    port: int
    peers: list[Peer] = field(factory=list)
    _pools: list[UpstreamPool] = field(factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def pool(self, **limits: float) -> UpstreamPool:
        """A new pool of connections to this server; closed together with it."""
        pool = UpstreamPool(BaseURL.parse(self.url), Timeouts(**limits))
        self._pools.append(pool)
        return pool

    def close_pools(self) -> None:
        while self._pools:
            self._pools.pop().close()


@asynccontextmanager
async def serving(*scripts: Script, host: str = "127.0.0.1") -> AsyncIterator[Server]:
    """A server whose first connection plays the first script, and so on; further ones repeat the last.

    A connection is closed when its script returns, and everything at the end of the block.
    """
    listeners = await trio.open_tcp_listeners(0, host=host)
    server = Server(listeners[0].socket.getsockname()[1])

    async def play(stream: trio.SocketStream) -> None:
        number = len(server.peers)
        peer = Peer(stream, number)
        server.peers.append(peer)
        try:
            await scripts[min(number, len(scripts) - 1)](peer)
        except Hangup:
            pass

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, play, listeners)
        try:
            yield server
        finally:
            server.close_pools()
        nursery.cancel_scope.cancel()


def answering(response: bytes = OK) -> Script:
    """A script: answer every request with the same bytes, for as long as the client likes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(response)

    return script


def answering_once(response: bytes = OK) -> Script:
    """A script: answer one request, then close."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(response)

    return script
