"""A running server, raw clients for it, and apps: the vocabulary of the tests in this directory."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import trio
from attrs import define, field, frozen
from trio.testing import MockClock

from swapd.http.server import ASGIApp, Receive, Scope, Send


def patience() -> AbstractContextManager[trio.CancelScope]:
    """A scope for what must come. Its time is up in a failing test only, on whatever clock that runs."""
    virtual = isinstance(trio.lowlevel.current_clock(), MockClock)
    return trio.fail_after(1e6 if virtual else 60)


GET = b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"


def post(body: bytes, *lines: bytes, target: bytes = b"/") -> bytes:
    """A POST with `body` and its length; `lines` are further header lines."""
    head = [b"POST %b HTTP/1.1" % target, b"Host: example", b"Content-Length: %d" % len(body), *lines]
    return b"\r\n".join([*head, b"", body])


@frozen
class Answer:
    """A response as it was on the wire, but for the framing of its body."""

    status: int
    reason: str
    version: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(factory=list)

    def __getitem__(self, name: str) -> str | None:
        values = [value for key, value in self.headers if key.lower() == name]
        assert len(values) < 2, f"{name} repeated: {values}"
        return values[0] if values else None


class Client:
    """Speaks HTTP/1.1 as crudely as the test wants."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self._buffer = b""

    @property
    def socket(self) -> trio.socket.SocketType:
        assert isinstance(self.stream, trio.SocketStream)
        return self.stream.socket

    async def send(self, data: bytes) -> None:
        with patience():
            await self.stream.send_all(data)

    async def send_quietly(self, data: bytes) -> None:
        """Send what the server may not wait for."""
        try:
            await self.send(data)
        except trio.BrokenResourceError:
            pass

    async def _more(self) -> bytes:
        with patience():
            data = await self.stream.receive_some(65536)
        self._buffer += data
        return bytes(data)

    async def until(self, end: bytes) -> bytes:
        """Read up to and including `end`."""
        while end not in self._buffer:
            assert await self._more(), f"the connection ended; {self._buffer!r} was left"
        data, self._buffer = self._buffer.split(end, 1)
        return data + end

    async def exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            assert await self._more(), f"the connection ended; {self._buffer!r} was left"
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data

    async def rest(self) -> bytes:
        """Everything up to the end of the connection. A reset raises `trio.BrokenResourceError`."""
        while await self._more():
            pass
        data, self._buffer = self._buffer, b""
        return data

    async def ended(self) -> bool:
        """Wait for the end of the connection, be it orderly or not; False if anything came before it."""
        try:
            return await self.rest() == b""
        except trio.BrokenResourceError:
            return True

    async def head(self) -> Answer:
        """The next response's head."""
        lines = (await self.until(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        version, status, reason = lines[0].split(" ", 2)
        return Answer(int(status), reason, version, [_pair(line) for line in lines[1:]])

    async def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty for the last one, whose trailers are still to be read."""
        size = int((await self.until(b"\r\n"))[:-2], 16)
        return (await self.exactly(size + 2))[:-2] if size else b""

    async def answer(self, *, bodyless: bool = False) -> Answer:
        """The next response, whole. `bodyless` is for the answer to a HEAD."""
        head = await self.head()
        body = b""
        trailers: list[tuple[str, str]] = []
        if bodyless or head.status in (204, 304):
            pass
        elif head["transfer-encoding"] == "chunked":
            while part := await self.chunk():
                body += part
            while (line := await self.until(b"\r\n")) != b"\r\n":
                trailers.append(_pair(line[:-2].decode("latin-1")))
        elif (length := head["content-length"]) is not None:
            body = await self.exactly(int(length))
        else:
            body = await self.rest()
        return Answer(head.status, head.reason, head.version, head.headers, body, trailers)

    async def ask(self, request: bytes) -> Answer:
        await self.send(request)
        return await self.answer()

    async def close(self) -> None:
        await trio.aclose_forcefully(self.stream)


def _pair(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name, value.strip()


@define(eq=False)
class Running:
    """A server under test. `errors` is what it has reported."""

    addresses: list[tuple[str, int]]
    stopping: trio.Event = field(factory=trio.Event)
    finished: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    errors: list[BaseException] = field(factory=list)
    clients: list[Client] = field(factory=list)

    def report(self, error: BaseException, scope: Mapping[str, Any] | None) -> None:
        self.errors.append(error)

    async def connect(self, *, receive_buffer: int | None = None) -> Client:
        """A client. One with a small `receive_buffer` soon makes the server wait."""
        sock = trio.socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            await sock.connect(self.addresses[0])
        except OSError:
            sock.close()
            raise
        client = Client(trio.SocketStream(sock))
        self.clients.append(client)
        return client

    async def ask(self, request: bytes) -> Answer:
        """The answer to one request on a connection of its own."""
        client = await self.connect()
        try:
            return await client.ask(request)
        finally:
            await client.close()

    async def is_well(self) -> bool:
        """Whether a new client is served."""
        return (await self.ask(GET)).status == 200


StartServer = Callable[..., Any]


def listen() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0), backlog=128)


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, answers `hello`."""
    await read_body(receive)
    await answer(send, b"hello")


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body it got."""
    await answer(send, await read_body(receive))


async def read_body(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        assert message["type"] == "http.request", message
        body += bytes(message["body"])
        if not message["more_body"]:
            return body


async def answer(
    send: Send, body: bytes, *, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    await start(send, status=status, headers=headers or [(b"content-length", b"%d" % len(body))])
    await send({"type": "http.response.body", "body": body})


async def start(send: Send, *, status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers or []})


async def part(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


@define(eq=False)
class Stuck:
    """An app that waits for ever. `begun` and `cancelled` say how far it has come."""

    begun: trio.Event = field(factory=trio.Event)
    cancelled: trio.Event = field(factory=trio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.wait()

    async def wait(self) -> None:
        self.begun.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled.set()
            raise

    async def ends_at_once(self, leave: Callable[[], Awaitable[object]]) -> bool:
        """Wait until it waits, `leave`, and wait until it is cancelled; whether that took no time.

        On a clock that only moves when everybody waits.
        """
        await self.begun.wait()
        before = trio.current_time()
        await leave()
        await self.cancelled.wait()
        return trio.current_time() == before


def open_files() -> int:
    """How many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir())) - 1


def by_path(**apps: ASGIApp) -> ASGIApp:
    """Dispatches on the first segment of the path; anything else gets `hello`."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await apps.get(scope["path"].split("/")[1], hello)(scope, receive, send)

    return app
