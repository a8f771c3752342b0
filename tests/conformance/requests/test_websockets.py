"""Conformance case 48 and what belongs to it: WebSockets through the passthrough routes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)

from tests.conformance.requests.world import World


@asynccontextmanager
async def websocket(
    world: World, path: str, *, subprotocols: list[str] | None = None, headers: dict[str, str] | None = None
) -> AsyncIterator[WebSocketConnection]:
    extra = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    try:
        async with await trio.open_tcp_stream(*world.address) as stream, trio.open_nursery() as nursery:
            yield await wrap_client_stream(
                nursery, stream, "swapd", path, subprotocols=subprotocols, extra_headers=extra
            )
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        assert len(group.exceptions) == 1
        raise group.exceptions[0] from None


def state_of(world: World, model: str) -> str:
    running = {each["model"]: each["state"] for each in world.client.get("/running").json()["running"]}
    return running.get(model, "stopped")


@pytest.mark.parametrize(("model", "base"), [("ws", "/base"), ("pws/wsm", "")])
async def test_case_48_echo_both_ways_with_the_upstreams_subprotocol(
    world: World, model: str, base: str
) -> None:
    headers = {"Cookie": "a=1", "Origin": "http://page"}
    async with websocket(
        world, f"/upstream/{model}/echo?x=1", subprotocols=["a", "b"], headers=headers
    ) as client:
        assert client.subprotocol == "b"
        for message in ("text ü", b"\x00bytes\xff", "", b"", "x" * 300_000):
            await client.send_message(message)
            assert await client.get_message() == message
    path, seen = world.websockets.requests[-1]
    assert path == f"{base}/echo?x=1"
    assert (seen["cookie"], seen["origin"]) == ("a=1", "http://page")
    assert seen["x-request-id"].startswith("req_")
    assert ("x-forwarded-for" in seen) == (model == "ws")


@pytest.mark.parametrize(("code", "reason"), [(1000, "done"), (4001, "bye"), (1011, "why")])
async def test_given_a_side_closes_when_it_does_then_the_other_learns_code_and_reason(
    world: World, code: int, reason: str
) -> None:
    async with websocket(world, f"/upstream/pws/wsm/close/{code}/{reason}") as client:
        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()
        assert closed.value.reason is not None
        assert (closed.value.reason.code, closed.value.reason.reason) == (code, reason)
    before = len(world.websockets.closed)
    async with websocket(world, "/upstream/pws/wsm/echo") as client:
        await client.aclose(code, reason)
        with trio.fail_after(5):
            while len(world.websockets.closed) == before:
                await trio.lowlevel.checkpoint()
    assert world.websockets.closed[-1] == (code, reason)


async def test_given_an_upstream_that_vanishes_then_the_client_is_not_told_it_closed(world: World) -> None:
    async with websocket(world, "/upstream/pws/wsm/drop") as client:
        await client.send_message("x")
        with pytest.raises(ConnectionClosed) as closed:
            await client.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1006


async def test_given_an_upstream_that_refuses_then_the_client_gets_its_answer(world: World) -> None:
    with pytest.raises(ConnectionRejected) as rejected:
        async with websocket(world, "/upstream/pws/wsm/reject"):
            pass
    assert (rejected.value.status_code, rejected.value.body) == (403, b"not today")
    assert (b"x-why", b"test") in [(name.lower(), value) for name, value in rejected.value.headers or ()]


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("/upstream/nope/x", 404, b"model not found"),
        ("/upstream/idle/app.js", 409, b"path matches upstream.ignorePaths"),
        ("/upstream/gone/x", 502, b"upstream error"),
        ("/upstream/dead/gone/x", 502, b"peer proxy error"),
        ("/nope", 404, b"404 page not found"),
        ("/props?model=nope", 404, b"no local server found for requested model"),
        ("/comfyui/ws", 404, b"comfyui_auto not found"),
    ],
)
async def test_given_a_websocket_that_leads_nowhere_then_it_is_denied(
    world: World, path: str, status: int, message: bytes
) -> None:
    with pytest.raises(ConnectionRejected) as rejected:
        async with websocket(world, path):
            pass
    assert rejected.value.status_code == status
    assert message in (rejected.value.body or b"")


async def test_given_a_websocket_on_a_route_with_a_model_in_its_query_then_it_leads_there(
    world: World,
) -> None:
    async with websocket(world, "/props?model=ws") as client:
        await client.send_message("x")
        assert await client.get_message() == "x"


async def test_given_keys_then_a_websocket_needs_one_and_it_stays_here(guarded: World) -> None:
    with pytest.raises(ConnectionRejected) as rejected:
        async with websocket(guarded, "/upstream/ws/echo"):
            pass
    assert rejected.value.status_code == 401
    async with websocket(guarded, "/upstream/ws/echo", headers={"Authorization": "Bearer secret"}) as client:
        await client.send_message("x")
        assert await client.get_message() == "x"
    assert "authorization" not in guarded.websockets.requests[-1][1]


async def test_given_an_ignored_websocket_then_it_neither_starts_nor_holds_its_model(world: World) -> None:
    with pytest.raises(ConnectionRejected) as rejected:
        async with websocket(world, "/upstream/quiet/echo"):
            pass
    assert rejected.value.status_code == 409
    assert b"ignored websocket requests cannot start it" in (rejected.value.body or b"")
    await trio.to_thread.run_sync(world.client.get, "/upstream/quiet/")
    assert state_of(world, "quiet") == "ready"
    async with websocket(world, "/upstream/quiet/echo") as client:
        await client.send_message("x")
        assert await client.get_message() == "x"
        await trio.to_thread.run_sync(world.client.post, "/api/models/unload/quiet")
        assert state_of(world, "quiet") == "stopped"


async def test_given_an_open_websocket_when_its_model_is_unloaded_then_it_breaks(world: World) -> None:
    async with websocket(world, "/upstream/ws/echo") as client:
        await client.send_message("x")
        assert await client.get_message() == "x"
        await trio.to_thread.run_sync(world.client.post, "/api/models/unload/ws")
        with pytest.raises(ConnectionClosed) as closed, trio.fail_after(10):
            await client.get_message()
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1006


async def test_given_a_client_that_does_not_read_then_its_upstream_is_held_back(world: World) -> None:
    world.websockets.sent = 0
    async with websocket(world, "/upstream/pws/wsm/flood") as client:
        await client.get_message()
        sent = -1
        with trio.fail_after(20):
            while sent != world.websockets.sent:  # until it has come to a stop
                sent = world.websockets.sent
                await trio.sleep(0.3)
        assert sent * 65536 < 60_000_000


async def test_given_a_client_that_vanishes_then_its_upstream_is_let_go(world: World) -> None:
    before = len(world.websockets.closed)
    async with websocket(world, "/upstream/pws/wsm/echo") as client:
        await client.send_message("x")
        assert await client.get_message() == "x"
        await client._stream.aclose()
        with trio.fail_after(5):
            while len(world.websockets.closed) == before:
                await trio.lowlevel.checkpoint()
    assert world.websockets.closed[-1][0] == 1006
