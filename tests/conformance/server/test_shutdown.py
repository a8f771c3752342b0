"""The end: nothing new, nothing cut short without need, nothing that lasts."""

from __future__ import annotations

import errno
import resource
import socket
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swapd.http.server import Receive, Scope, Send, ServerSettings, serve
from tests.conformance.server.support import (
    GET,
    Client,
    Running,
    StartServer,
    Stuck,
    answer,
    by_path,
    hello,
    listen,
    open_files,
    part,
    patience,
    read_body,
    start,
)


async def test_idle_connections_are_closed_and_the_server_ends(
    serve_app: StartServer, clock: MockClock
) -> None:
    # Given connections that were used, and one that was not
    server = await serve_app(hello)
    clients = [await server.connect() for _ in range(3)]
    await clients[0].ask(GET)
    await clients[1].ask(GET)
    before = trio.current_time()
    # When the server is to stop
    server.stopping.set()
    # Then they are closed and it has ended, at once
    for client in clients:
        assert await client.rest() == b""
    await server.finished.wait()
    assert trio.current_time() == before


async def test_requests_in_hand_are_finished_and_say_that_they_were_the_last(serve_app: StartServer) -> None:
    # Given an app that is about to answer, and one that is in the middle of it
    go = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        if scope["path"] == "/middle":
            await part(send, b"first ")
        await go.wait()
        await part(send, b"last", more=False)

    server = await serve_app(app)
    before, middle = await server.connect(), await server.connect()
    await before.send(GET)
    await middle.send(GET.replace(b"/", b"/middle", 1))
    await wait_all_tasks_blocked()
    # When the server is to stop
    server.stopping.set()
    await wait_all_tasks_blocked()
    assert not server.finished.is_set()
    go.set()
    # Then both get their answers, and the end
    got = await before.answer()
    assert (got.body, got["connection"]) == (b"last", "close")
    assert (await middle.answer()).body == b"first last"
    assert await before.rest() == b""
    assert await middle.rest() == b""
    with patience():
        await server.finished.wait()


async def test_nothing_new_is_accepted(serve_app: StartServer) -> None:
    # Given a server that is to stop, but not done
    stuck = Stuck()
    server = await serve_app(by_path(stuck=stuck))
    client = await server.connect()
    await client.send(GET.replace(b"/", b"/stuck", 1))
    await stuck.begun.wait()
    server.stopping.set()
    await wait_all_tasks_blocked()
    # When a client wants to connect
    # Then it learns at once that nobody is there
    with pytest.raises(ConnectionRefusedError):
        await server.connect()


async def test_clients_that_were_in_the_queue_are_still_served() -> None:
    # Given clients that have connected before the server got to accept them
    listener = listen()
    stopping = trio.Event()
    running = Running([listener.getsockname()])
    clients = [await running.connect() for _ in range(3)]
    for client in clients:
        await client.send(GET)
    # When it is to stop at once
    stopping.set()
    await serve(hello, [listener], ServerSettings(), stopping=stopping)
    # Then they have been answered
    for client in clients:
        got = await client.answer()
        assert (got.body, got["connection"]) == (b"hello", "close")
        await client.close()


async def test_a_request_that_arrives_with_the_end_is_served(serve_app: StartServer) -> None:
    # Given a kept connection
    server = await serve_app(hello)
    client = await server.connect()
    await client.ask(GET)
    # When a request and the end arrive at the same time
    await client.send(GET)
    server.stopping.set()
    # Then the request is answered, and was the last
    assert (await client.answer()).body == b"hello"
    assert await client.rest() == b""
    with patience():
        await server.finished.wait()


async def test_a_head_that_is_on_its_way_may_arrive(serve_app: StartServer) -> None:
    # Given half a request
    server = await serve_app(hello)
    client = await server.connect()
    await client.send(GET[:10])
    await wait_all_tasks_blocked()
    # When the server is to stop
    server.stopping.set()
    await wait_all_tasks_blocked()
    # Then the other half may follow
    got = await client.ask(GET[10:])
    assert (got.body, got["connection"]) == (b"hello", "close")
    with patience():
        await server.finished.wait()


async def test_cancelling_ends_everything_at_once(serve_app: StartServer, clock: MockClock) -> None:
    # Given connections in every phase
    stuck = Stuck()

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        await part(send, b"x")
        await stuck.wait()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        while True:
            await part(send, bytes(65536))

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        await read_body(receive)

    server = await serve_app(by_path(stuck=stuck, streaming=streaming, endless=endless, reading=reading))
    idle, half, waiting, mid, stalled, upload = [await server.connect(receive_buffer=4096) for _ in range(6)]
    await idle.ask(GET)
    await half.send(GET[:10])
    await waiting.send(GET.replace(b"/", b"/stuck", 1))
    await mid.send(GET.replace(b"/", b"/streaming", 1))
    await stalled.send(GET.replace(b"/", b"/endless", 1))
    await upload.send(b"POST /reading HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
    await wait_all_tasks_blocked()
    before = trio.current_time()
    # When the server is cancelled
    server.scope.cancel()
    # Then it has ended, and no time has passed
    await server.finished.wait()
    assert trio.current_time() == before
    # And who had not got anything of an answer is told
    assert await idle.rest() == b""
    assert (await half.answer()).status == 503
    assert (await waiting.answer()).status == 503
    assert (await upload.answer()).status == 503
    assert (await mid.head()).status == 200
    assert await mid.chunk() == b"x"
    assert await mid.ended()
    assert server.errors == []


async def test_a_drain_that_takes_too_long_is_the_callers_to_cut(
    serve_app: StartServer, clock: MockClock
) -> None:
    # Given an app that does not end
    stuck = Stuck()
    server = await serve_app(stuck)
    client = await server.connect()
    await client.send(GET)
    await stuck.begun.wait()
    # When the server is to stop, and the caller's patience has an end
    server.stopping.set()
    with trio.move_on_after(30) as scope:
        await server.finished.wait()
    assert scope.cancelled_caught
    server.scope.cancel()
    # Then that ends it
    await server.finished.wait()
    assert stuck.cancelled.is_set()


async def test_a_server_on_several_listeners_and_a_unix_socket(tmp_path: Path) -> None:
    # Given listeners of three kinds
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await answer(send, b"ok")

    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(tmp_path / "socket"))
    unix.listen()
    listeners = [listen(), unix]
    if socket.has_ipv6:
        dual = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        listeners.append(dual)
    stopping = trio.Event()
    async with trio.open_nursery() as nursery:
        addresses = [listener.getsockname() for listener in listeners]
        await nursery.start(
            lambda task_status: serve(
                app, listeners, ServerSettings(), stopping=stopping, task_status=task_status
            )
        )
        # When each is asked
        streams: list[trio.SocketStream] = [
            await trio.open_tcp_stream(*addresses[0]),
            await trio.open_unix_socket(tmp_path / "socket"),
        ]
        if socket.has_ipv6:
            streams.append(await trio.open_tcp_stream("127.0.0.1", addresses[2][1]))
        names = []
        for stream in streams:
            client = Client(stream)
            assert (await client.ask(GET)).body == b"ok"
            names.append(stream.socket.getsockname())
            await client.close()
        stopping.set()
    # Then each says where its client comes from, IPv4 always in its own notation
    assert scopes[0]["client"] == names[0]
    assert (scopes[1]["client"], scopes[1]["server"]) == (None, (str(tmp_path / "socket"), None))
    if socket.has_ipv6:
        assert scopes[2]["client"] == names[2]


async def test_a_server_out_of_descriptors_waits_for_some(serve_app: StartServer) -> None:
    # Given a server in a process that may not open any more files
    server = await serve_app(hello)
    client = await server.connect()
    await client.ask(GET)
    waiting = await server.connect()
    await waiting.ask(GET)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    late = trio.socket.socket()
    used = open_files()
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))
    try:
        # When a client connects
        await late.connect(server.addresses[0])
        with patience():
            while not server.errors:
                await trio.lowlevel.checkpoint()
        assert isinstance(server.errors[0], OSError)
        assert server.errors[0].errno == errno.EMFILE
        # Then the others are served
        assert (await client.ask(GET)).status == 200
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    # And so is it, once there are some again
    newcomer = Client(trio.SocketStream(late))
    assert (await newcomer.ask(GET)).status == 200
    await newcomer.close()
