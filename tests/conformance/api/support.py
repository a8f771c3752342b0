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
        async with self.http.stream("GET", f"/api/events{query}", timeout=None) as response:
            assert response.status_code == 200
            yield Events(response)


class Events:
    """An event stream, read message by message."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.aiter_lines()

    async def next(self) -> tuple[str, Any]:
        """(type, decoded data) of the next message; comments are passed over."""
        with trio.fail_after(15):
            while (line := await anext(self._lines)) in ("", ":"):
                pass
            assert line == "event:message"
            line = await anext(self._lines)
        assert line.startswith('data:{"type":"')
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
