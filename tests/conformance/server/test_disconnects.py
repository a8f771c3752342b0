"""Clients that leave: in whatever phase of a request, the app is told, and nothing is left behind."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from swapd.http.server import Receive, Scope, Send
from tests.conformance.server.support import (
    GET,
    StartServer,
    Stuck,
    answer,
    by_path,
    hello,
    open_files,
    part,
    patience,
    read_body,
    start,
)


@pytest.mark.parametrize("where", ["before", "body", "head", "streaming", "after"])
async def test_leaving_cancels_the_app_wherever_it_waits(serve_app: StartServer, where: str) -> None:
    # Given an app that waits in some phase of a request
    stuck = Stuck()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if where == "before":
            await stuck.wait()
        if where == "body":
            stuck.begun.set()
            try:
                await read_body(receive)
            except trio.Cancelled:
                stuck.cancelled.set()
                raise
        await read_body(receive)
        await start(send)
        if where == "head":
            await stuck.wait()
        await part(send, b"x")
        if where == "streaming":
            await stuck.wait()
        await part(send, b"x", more=False)
        await stuck.wait()

    server = await serve_app(by_path(stuck=app))
    client = await server.connect()
    length = b"Content-Length: %d\r\n\r\n" % (10 if where == "body" else 0)
    await client.send(b"POST /stuck HTTP/1.1\r\nHost: x\r\n" + length)
    await stuck.begun.wait()
    # When the client leaves
    await client.close()
    # Then the app is cancelled, and no error is reported
    with patience():
        await stuck.cancelled.wait()
    assert await server.is_well()
    assert server.errors == []


async def test_leaving_reaches_every_task_of_the_app(serve_app: StartServer) -> None:
    # Given an app with children
    children = [Stuck() for _ in range(3)]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async with trio.open_nursery() as nursery:
            for child in children:
                nursery.start_soon(child.wait)

    server = await serve_app(app)
    client = await server.connect()
    await client.send(GET)
    for child in children:
        await child.begun.wait()
    # When the client leaves
    await client.close()
    # Then all are cancelled
    with patience():
        for child in children:
            await child.cancelled.wait()
    assert server.errors == []


async def test_leaving_cancels_an_app_that_waits_for_a_reader(serve_app: StartServer) -> None:
    # Given an app whose client does not read
    done = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        try:
            while True:
                await part(send, bytes(65536))
        finally:
            done.set()

    server = await serve_app(app)
    client = await server.connect(receive_buffer=4096)
    await client.send(GET)
    await wait_all_tasks_blocked()
    # When the client leaves
    await client.close()
    # Then the app does not go on waiting
    with patience():
        await done.wait()
    assert server.errors == []


async def test_leaving_is_noticed_behind_a_pipelined_request(serve_app: StartServer) -> None:
    # Given an app that waits, and a client that has sent another request already
    stuck = Stuck()
    server = await serve_app(stuck)
    client = await server.connect()
    await client.send(GET)
    await stuck.begun.wait()
    await client.send(GET * 3)
    await wait_all_tasks_blocked()
    # When the client leaves
    await client.close()
    # Then the unread bytes do not hide it
    with patience():
        await stuck.cancelled.wait()


async def test_a_client_that_only_stops_sending_still_gets_an_answer_that_needs_no_waiting(
    serve_app: StartServer,
) -> None:
    # Given an app that answers at once, and one that has to wait
    stuck = Stuck()
    server = await serve_app(by_path(stuck=stuck))
    # When a client shuts down its sending side right behind its requests
    quick = await server.connect()
    await quick.send(GET + GET)
    await quick.stream.send_eof()
    # Then the quick ones are answered
    assert [(await quick.answer()).body for _ in range(2)] == [b"hello", b"hello"]
    assert await quick.rest() == b""
    # And the slow one is cancelled, as its client may as well have left
    slow = await server.connect()
    await slow.send(GET.replace(b"/", b"/stuck", 1))
    await slow.stream.send_eof()
    with patience():
        await stuck.cancelled.wait()


@pytest.mark.parametrize("data", [b"", b"GET / HT", GET[:-2], b"\r\n"])
async def test_leaving_before_a_request_is_complete_is_no_event(serve_app: StartServer, data: bytes) -> None:
    # Given a server
    server = await serve_app(hello)
    client = await server.connect()
    # When a client leaves without having asked
    await client.send(data)
    await wait_all_tasks_blocked()
    await client.close()
    await wait_all_tasks_blocked()
    # Then there is nothing to report
    assert await server.is_well()
    assert server.errors == []


async def test_receive_waits_for_the_client_to_leave_once_the_body_is_complete(
    serve_app: StartServer,
) -> None:
    # Given an app that listens for the disconnect beside its work, as ASGI apps may
    order: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)

        async def listen() -> None:
            await receive()
            order.append("disconnect")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await wait_all_tasks_blocked()
            order.append("answer")
            await answer(send, b"ok")
            nursery.cancel_scope.cancel()

    server = await serve_app(app)
    client = await server.connect()
    # When the client stays
    for _ in range(2):
        assert (await client.ask(GET)).body == b"ok"
    # Then there is no disconnect
    assert order == ["answer", "answer"]


async def test_a_write_that_is_cancelled_halfway_loses_the_connection(serve_app: StartServer) -> None:
    # Given an app that gives up on a client that is slow to read
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(part, send, bytes(32 * 1024 * 1024))
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        await part(send, b"more", more=False)

    server = await serve_app(app)
    client = await server.connect(receive_buffer=4096)
    # When the client reads after all
    await client.send(GET)
    await client.head()
    await wait_all_tasks_blocked()
    # Then what it finds is no whole response
    with pytest.raises((AssertionError, trio.BrokenResourceError)):
        while await client.chunk():
            pass
    assert server.errors == []


async def test_thousands_of_connections_leave_no_descriptor(serve_app: StartServer) -> None:
    # Given a server, and the files that are open
    server = await serve_app(hello)
    await server.is_well()
    await wait_all_tasks_blocked()
    before = open_files()
    # When many connections come and go in various ways
    for number in range(300):
        client = await server.connect()
        if number % 3:
            await client.send(GET)
        if number % 3 == 2:
            await client.answer()
        await client.close()
    server.clients.clear()
    await wait_all_tasks_blocked()
    # Then the same files are open
    assert open_files() == before
