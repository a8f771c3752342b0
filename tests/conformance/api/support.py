"""The daemon of the conformance cases: four models, one that cannot start, and what tests ask of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import trio

from swapd.testing.daemon import Daemon, upstream_command
from swapd.testing.fixtures import StartDaemon

CHAT = "/v1/chat/completions"


def config(*, m1: str = "", more: str = "", flags: tuple[str, ...] = ()) -> str:
    """The set-up of the cases; `m1` are further keys of model m1, `more` further top-level keys."""
    serve = upstream_command("--tokens", "4", *flags)
    return f"""
{more}
performance: {{disabled: true}}
models:
  m1: {{cmd: "{serve}", aliases: [nick], ttl: 300, name: Model One, {m1}}}
  a/b: {{cmd: "{serve}", useModelName: real}}
  hid: {{cmd: "{serve}", unlisted: true}}
  cap:
    cmd: "{serve}"
    capabilities: {{in: [text, image], out: [text], tools: true, context: 4096}}
  "off": {{cmd: "sh -c 'echo no such weights on ${{PORT}} >&2; exit 3'"}}
"""


@asynccontextmanager
async def running(daemon: StartDaemon, text: str = "", *arguments: str) -> AsyncIterator[Client]:
    """A daemon with the set-up of the cases, and a client for it."""
    started = await daemon(text or config(), *arguments)
    async with started.client() as http:
        yield Client(started, http)


class Client:
    """A client of one daemon."""

    def __init__(self, daemon: Daemon, http: httpx.AsyncClient) -> None:
        self.daemon = daemon
        self.http = http

    async def chat(self, model: str = "m1", **members: Any) -> httpx.Response:
        body = {"model": model, "messages": [{"role": "user", "content": "hello"}], **members}
        return await self.http.post(CHAT, json=body)

    async def get(self, path: str, **options: Any) -> Any:
        """The JSON of a successful GET."""
        response = await self.http.get(path, **options)
        assert response.status_code == 200, response.text
        return response.json()

    @asynccontextmanager
    async def events(self, query: str = "") -> AsyncIterator[Events]:
        """The event stream for the length of the block."""
        async with self.stream(f"/api/events{query}") as (headers, stream):
            yield Events(headers, stream)

    @asynccontextmanager
    async def stream(self, target: str) -> AsyncIterator[tuple[dict[str, str], ByteLines]]:
        """An answer without end, read as it comes: its headers, and its lines.

        HTTP/1.0, for then the body is the bytes that follow.
        """
        url = httpx.URL(self.daemon.url)
        async with await trio.open_tcp_stream(url.host, url.port or 80) as connection:
            await connection.send_all(f"GET {target} HTTP/1.0\r\nHost: {url.host}\r\n\r\n".encode())
            lines = ByteLines(connection)
            assert b" 200 " in await lines.next()
            headers: dict[str, str] = {}
            while line := (await lines.next()).strip():
                name, _, value = line.decode().partition(":")
                headers[name.lower()] = value.strip()
            yield headers, lines


class ByteLines:
    """The lines of a connection, as they come; waits at most 15 s for one."""

    def __init__(self, connection: trio.SocketStream) -> None:
        self._connection = connection
        self._received = bytearray()

    async def next(self) -> bytes:
        """One line without its line feed. Raises `EndOfStream` when the connection has ended."""
        with trio.fail_after(15):
            while b"\n" not in self._received:
                data = await self._connection.receive_some()
                if not data:
                    raise EndOfStream
                self._received += data
        line, _, self._received = self._received.partition(b"\n")
        return bytes(line)


class EndOfStream(Exception):
    """The daemon has ended the stream."""


class Events:
    """An event stream, read message by message."""

    def __init__(self, headers: dict[str, str], lines: ByteLines) -> None:
        self.headers = headers
        self._lines = lines

    async def next(self) -> tuple[str, Any]:
        """(type, decoded data) of the next message; comments are passed over."""
        while (line := await self._lines.next()) in (b"", b":"):
            pass
        assert line == b"event:message"
        line = await self._lines.next()
        assert line.startswith(b'data:{"type":"')
        envelope = json.loads(line[5:])
        assert isinstance(envelope["data"], str)
        return envelope["type"], json.loads(envelope["data"])

    async def initial(self) -> list[tuple[str, Any]]:
        """The six messages every stream begins with."""
        return [await self.next() for _ in range(6)]

    async def until(self, kind: str, condition: Any = lambda value: True) -> Any:
        """The data of the next message of this type that fulfils the condition."""
        while True:
            type_, data = await self.next()
            if type_ == kind and condition(data):
                return data
