"""WebSockets from the handshake to the close frame, with a real client (trio-websocket) and a crude one."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
)

from swapd.http.server import ABORT, ClientGone, Receive, Scope, Send
from tests.conformance.server.support import (
    GET,
    Client,
    Running,
    StartServer,
    Stuck,
    answer,
    patience,
)

HANDSHAKE = b"\r\n".join(
    [
        b"GET /chat HTTP/1.1",
        b"Host: x",
        b"Connection: keep-alive, Upgrade",
        b"Upgrade: WebSocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + base64.b64encode(bytes(16)),
        b"",
        b"",
    ]
)


@asynccontextmanager
async def connected(
    server: Running, path: str = "/", *, subprotocols: list[str] | None = None
) -> AsyncIterator[WebSocketConnection]:
    client = await server.connect()
    async with trio.open_nursery() as nursery:
        websocket = await wrap_client_stream(nursery, client.stream, "x", path, subprotocols=subprotocols)
        yield websocket
        nursery.cancel_scope.cancel()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Accepts and echoes; answers plain requests too."""
    if scope["type"] == "http":
        await answer(send, b"plain")
        return
    assert await receive() == {"type": "websocket.connect"}
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"], "bytes": message["bytes"]})


async def test_text_and_binary_messages_go_both_ways(serve_app: StartServer) -> None:
    # Given an app that echoes
    server = await serve_app(echo)
    async with connected(server) as websocket:
        # When messages of either kind are sent, small and large
        for message in ("grüße", b"\0\1\2", "x" * 200_000, bytes(300_000), ""):
            await websocket.send_message(message)
            # Then they come back as they were
            assert await websocket.get_message() == message
        await websocket.aclose()
    assert server.errors == []


async def test_the_scope_of_a_websocket(serve_app: StartServer) -> None:
    # Given an app that keeps its scope and picks a subprotocol
    scopes: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(dict(scope))
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "b", "headers": [(b"x-y", b"z")]})
        await receive()

    server = await serve_app(app)
    # When a client connects
    async with connected(server, "/a%20b?q=1", subprotocols=["a", "b"]) as websocket:
        # Then both sides know what was agreed on
        assert websocket.subprotocol == "b"
        assert (b"x-y", b"z") in websocket.handshake_headers
    (scope,) = scopes
    assert (scope["type"], scope["scheme"], scope["http_version"]) == ("websocket", "ws", "1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b", b"/a%20b", b"q=1")
    assert scope["subprotocols"] == ["a", "b"]
    assert scope["server"] == server.addresses[0]
    assert set(scope["extensions"]) == {"websocket.http.response", ABORT}


@pytest.mark.parametrize("reason", ["", "enough"])
async def test_the_clients_close_code_and_reason_reach_the_app(serve_app: StartServer, reason: str) -> None:
    # Given an app that waits for the end
    messages: list[Any] = []
    ended = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        messages.append(await receive())
        messages.append(await receive())
        with pytest.raises(ClientGone):
            await send({"type": "websocket.send", "text": "too late"})
        ended.set()

    server = await serve_app(app)
    async with connected(server) as websocket:
        # When the client closes with a code
        await websocket.aclose(code=4001, reason=reason or None)
    # Then the app is told, and has time for it
    with patience():
        await ended.wait()
    assert messages == [{"type": "websocket.disconnect", "code": 4001, "reason": reason}] * 2
    assert server.errors == []


@pytest.mark.parametrize("code", [1000, 1012, 4999])
async def test_the_apps_close_code_and_reason_reach_the_client(serve_app: StartServer, code: int) -> None:
    # Given an app that closes
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "bye"})
        await send({"type": "websocket.close", "code": code, "reason": "why"})

    server = await serve_app(app)
    async with connected(server) as websocket:
        # When the client listens
        assert await websocket.get_message() == "bye"
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.get_message()
        # Then it is told
        assert (closed.value.reason.code, closed.value.reason.reason) == (code, "why")
    assert server.errors == []


async def test_an_app_can_refuse_with_an_http_response(serve_app: StartServer) -> None:
    # Given an app that refuses
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert "websocket.http.response" in scope["extensions"]
        await receive()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "websocket.http.response.start", "status": 409, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b'{"a":', "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"1}"})

    server = await serve_app(app)
    client = await server.connect()
    # When a client shakes hands
    got = await client.ask(HANDSHAKE)
    # Then it gets the response, and the end
    assert (got.status, got["content-type"], got["connection"]) == (409, "application/json", "close")
    assert got.body == b'{"a":1}'
    assert await client.rest() == b""
    assert server.errors == []


async def test_closing_before_accepting_is_a_403(serve_app: StartServer) -> None:
    # Given an app that closes at once
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})

    server = await serve_app(app)
    client = await server.connect()
    # When a client shakes hands
    got = await client.ask(HANDSHAKE)
    # Then it is refused
    assert (got.status, got.body) == (403, b"")
    assert server.errors == []


@pytest.mark.parametrize("accepted", [False, True])
async def test_an_app_that_fails_is_a_500_or_an_internal_error(
    serve_app: StartServer, accepted: bool
) -> None:
    # Given an app that fails, before or after it has accepted
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if accepted:
            await send({"type": "websocket.accept"})
        raise RuntimeError("broken")

    server = await serve_app(app)
    client = await server.connect()
    await client.send(HANDSHAKE)
    # When a client shakes hands, then it is told in the way that is left
    if accepted:
        assert (await client.head()).status == 101
        assert await client.rest() == b"\x88\x02" + (1011).to_bytes(2, "big")
    else:
        assert (await client.answer()).status == 500
    assert [str(error) for error in server.errors] == ["broken"]


@pytest.mark.parametrize("accepted", [False, True])
async def test_leaving_without_a_close_frame_cancels_the_app(
    serve_app: StartServer, clock: MockClock, accepted: bool
) -> None:
    # Given an app that waits for something, before or after it has accepted
    stuck = Stuck()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if accepted:
            await send({"type": "websocket.accept"})
        await stuck.wait()

    server = await serve_app(app)
    client = await server.connect()
    await client.send(HANDSHAKE)
    # When the client is gone
    # Then the app is cancelled at once
    assert await stuck.ends_at_once(client.close)
    assert server.errors == []


async def test_an_app_that_ignores_the_close_frame_is_cancelled_in_the_end(
    serve_app: StartServer, clock: MockClock
) -> None:
    # Given an app that does not listen
    stuck = Stuck()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await stuck.wait()

    server = await serve_app(app, websocket_close_s=7)
    async with connected(server) as websocket:
        await stuck.begun.wait()
        before = trio.current_time()
        # When the client closes
        await websocket.aclose()
    await stuck.cancelled.wait()
    # Then the app has had its time
    assert trio.current_time() - before == 7


async def test_a_handshake_that_waits_at_shutdown_gets_an_answer(serve_app: StartServer) -> None:
    # Given an app that has not accepted yet
    stuck = Stuck()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await stuck.wait()

    server = await serve_app(app)
    client = await server.connect()
    await client.send(HANDSHAKE)
    await stuck.begun.wait()
    # When the server is cancelled
    server.scope.cancel()
    # Then the client gets a 503
    assert (await client.answer()).status == 503


async def test_an_open_websocket_lasts_until_the_server_is_cancelled(serve_app: StartServer) -> None:
    # Given an open WebSocket
    server = await serve_app(echo)
    async with connected(server) as websocket:
        # When the server is to stop
        server.stopping.set()
        await wait_all_tasks_blocked()
        # Then it goes on
        await websocket.send_message("still there?")
        assert await websocket.get_message() == "still there?"
        # And ends with a word when that lasts too long
        server.scope.cancel()
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.get_message()
        assert closed.value.reason.code == 1001
    assert server.errors == []


async def test_a_slow_app_slows_its_client(serve_app: StartServer) -> None:
    # Given an app that does not take messages for a while
    go = trio.Event()
    taken = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal taken
        await receive()
        await send({"type": "websocket.accept"})
        await go.wait()
        while (message := await receive())["type"] == "websocket.receive":
            taken += len(message["bytes"])

    server = await serve_app(app)
    sent = 0
    async with connected(server) as websocket, trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            nonlocal sent
            for _ in range(256):
                await websocket.send_message(bytes(65536))
                sent += 65536

        # When its client sends more than the kernel's buffers hold
        await wait_all_tasks_blocked()
        stuck_at = sent
        # Then that one is held up, until the app goes on
        assert stuck_at < 256 * 65536
        go.set()
        with patience():
            while taken < 256 * 65536:
                await trio.lowlevel.checkpoint()


async def test_a_message_that_is_too_large_ends_the_websocket(serve_app: StartServer) -> None:
    # Given a limit of a thousand bytes
    server = await serve_app(echo, websocket_max_message=1000)
    async with connected(server) as websocket:
        await websocket.send_message(bytes(1000))
        assert len(await websocket.get_message()) == 1000
        # When a larger message comes
        await websocket.send_message(bytes(1001))
        # Then the client learns why that was the end
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.get_message()
        assert closed.value.reason.code == 1009
    assert server.errors == []


async def test_pings_are_answered(serve_app: StartServer) -> None:
    # Given an open WebSocket
    server = await serve_app(echo)
    async with connected(server) as websocket:
        # When the client pings
        # Then there is a pong
        with patience():
            await websocket.ping(b"there?")


async def test_a_websocket_after_other_requests_on_the_connection(serve_app: StartServer) -> None:
    # Given a connection that was used for something else
    server = await serve_app(echo)
    client = await server.connect()
    # When the handshake comes right behind another request, and a frame right behind that
    masked_hi = b"\x81\x82\0\0\0\0hi"
    await client.send(GET + HANDSHAKE + masked_hi)
    # Then all are answered
    assert (await client.answer()).body == b"plain"
    assert (await client.head()).status == 101
    assert await client.exactly(4) == b"\x81\x02hi"


async def test_an_app_can_abort_a_websocket(serve_app: StartServer) -> None:
    # Given an app that aborts
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        scope["extensions"][ABORT]()
        await trio.sleep_forever()

    server = await serve_app(app)
    client: Client = await server.connect()
    await client.send(HANDSHAKE)
    # When a client is connected
    assert (await client.head()).status == 101
    # Then it sees the end without a close frame
    assert await client.ended()
    assert server.errors == []
