"""A real daemon over a real socket, with fake upstreams that tell what reached them.

The daemon's models are processes that do nothing; requests for them go to one upstream of the test, and those
for peers to another, so that every byte can be looked at. All of it lives in a thread of its own: tests are
plain functions, and one daemon serves all tests of a module.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from swapd.testing.daemon import Daemon, run_daemon
from swapd.testing.upstream.local import LocalUpstream, serve_upstream
from swapd.testing.upstream.wire import Request

IDLE = "python3 -c 'import signal; signal.pause()'"
"""The `cmd` of a model whose requests are served elsewhere."""


class WebSocketUpstream:
    """A server that speaks WebSocket only; what it does is in the path, what it saw in `requests`.

    `/echo` sends everything back, `/close/CODE/REASON` closes, `/drop` breaks the connection at the first
    message, `/reject` refuses, `/stall` reads nothing until the client has left, `/flood` sends without end.
    """

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.closed: list[tuple[int, str | None]] = []
        self.sent = 0

    async def __call__(self, request: WebSocketRequest) -> None:
        headers = {name.decode().lower(): value.decode() for name, value in request.headers}
        self.requests.append((request.path, headers))
        path = request.path.partition("?")[0]
        if path == "/reject":
            await request.reject(403, extra_headers=[(b"X-Why", b"test")], body=b"not today")
            return
        protocols = request.proposed_subprotocols
        socket = await request.accept(subprotocol=protocols[-1] if protocols else None)
        try:
            await self._talk(socket, path)
        except ConnectionClosed as closed:
            assert closed.reason is not None
            self.closed.append((closed.reason.code, closed.reason.reason))

    async def _talk(self, socket: WebSocketConnection, path: str) -> None:
        match path.split("/")[1:]:
            case ["close", code, reason]:
                await socket.aclose(int(code), reason)
            case ["drop"]:
                await socket.get_message()  # by then the client has been accepted for sure
                await socket._stream.aclose()
            case ["stall"]:
                await trio.sleep_forever()
            case ["flood"]:
                while True:
                    await socket.send_message(b"x" * 65536)
                    self.sent += 1
            case _:
                while True:
                    await socket.send_message(await socket.get_message())


class World:
    """The daemon and what stands behind it. `client` is an HTTP client that follows no redirects."""

    def __init__(self) -> None:
        self.client: httpx.Client
        self.daemon: Daemon
        self.upstream: LocalUpstream
        self.peer: LocalUpstream
        self.websockets = WebSocketUpstream()

    @property
    def url(self) -> str:
        return self.daemon.url

    @property
    def address(self) -> tuple[str, int]:
        url = httpx.URL(self.url)
        assert url.port is not None
        return url.host, url.port

    def seen(self) -> Request:
        """The latest request that reached the models' server."""
        return self.upstream.requests[-1]

    def seen_by_peer(self) -> Request:
        return self.peer.requests[-1]

    def chat(self, body: Any, **headers: str) -> httpx.Response:
        """A chat request with this body: bytes as they are, anything else as JSON."""
        content = {"content": body} if isinstance(body, bytes) else {"json": body}
        fields = {"content-type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
        return self.client.post("/v1/chat/completions", headers=fields, **content)

    def in_daemon(self, function: Any, *arguments: Any) -> Any:
        """Call an async function where the upstreams live, and return what it returns."""
        return trio.from_thread.run(function, *arguments, trio_token=self._token)

    def set_knobs(self, **knobs: object) -> None:
        """Turn knobs of the models' server."""

        async def turn() -> None:
            self.upstream.set(**knobs)

        self.in_daemon(turn)

    _token: trio.lowlevel.TrioToken


@contextmanager
def running_world(directory: Path, config: str) -> Iterator[World]:
    """A world for the length of the block. In `config`, `UPSTREAM`, `PEER` and `WEBSOCKETS` stand for base
    URLs, and `IDLE` for a command that does nothing."""
    world, started, failures = World(), threading.Event(), []

    async def live() -> None:
        world._token = trio.lowlevel.current_trio_token()
        world._end = trio.Event()  # type: ignore[attr-defined]
        async with (
            serve_upstream() as world.upstream,
            serve_upstream() as world.peer,
            trio.open_nursery() as nursery,
        ):
            listening = await nursery.start(serve_websocket, world.websockets, "127.0.0.1", 0, None)
            places = {
                "WEBSOCKETS": f"http://127.0.0.1:{listening.port}",
                "UPSTREAM": world.upstream.url,
                "PEER": world.peer.url,
                "IDLE": IDLE,
            }
            text = config
            for name, place in places.items():
                text = text.replace(name, place)
            async with run_daemon(text, directory) as world.daemon:
                started.set()
                await world._end.wait()  # type: ignore[attr-defined]
            nursery.cancel_scope.cancel()

    def run() -> None:
        try:
            trio.run(live)
        except BaseException as error:  # noqa: BLE001 - handed over to the test
            failures.append(error)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="daemon under test")
    thread.start()
    started.wait(timeout=30)
    try:
        if not failures:
            with httpx.Client(base_url=world.url, timeout=20, trust_env=False) as world.client:
                yield world
    finally:
        if not failures:
            world._token.run_sync_soon(world._end.set)  # type: ignore[attr-defined]
        thread.join(timeout=30)
    if failures:
        raise failures[0]
