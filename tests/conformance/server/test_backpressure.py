"""A slow side slows the other: no buffer grows without bound, nothing is mixed up, nobody else suffers."""

from __future__ import annotations

import hashlib

import trio
from trio.testing import wait_all_tasks_blocked

from swapd.http.server import Receive, Scope, Send
from tests.conformance.server.support import GET, StartServer, answer, by_path, part, patience, start

MIB = 1024 * 1024


async def test_a_slow_reader_slows_its_own_app_and_nobody_else(serve_app: StartServer) -> None:
    # Given an app that would send for ever
    sent = 0

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await start(send)
        while True:
            await part(send, bytes(65536))
            sent += 65536

    server = await serve_app(by_path(endless=app))
    client = await server.connect(receive_buffer=4096)
    # When its client does not read
    await client.send(GET.replace(b"/", b"/endless", 1))
    await wait_all_tasks_blocked()
    # Then it comes no further than the kernel's buffers, and others are served
    stuck_at = sent
    assert stuck_at < 16 * MIB
    for _ in range(10):
        assert await server.is_well()
    assert sent == stuck_at
    # And it goes on when the client reads
    await client.head()
    for _ in range(stuck_at // 65536):
        assert await client.chunk() == bytes(65536)
    await wait_all_tasks_blocked()
    assert sent > stuck_at


async def test_an_upload_is_read_no_faster_than_the_app_takes_it(serve_app: StartServer) -> None:
    # Given an app that takes one part and then thinks
    go = trio.Event()
    taken = 0
    digest = hashlib.sha256()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal taken
        more = True
        while more:
            message = await receive()
            assert len(message["body"]) <= 128 * 1024
            digest.update(message["body"])
            taken += len(message["body"])
            more = message["more_body"]
            await go.wait()
        await answer(send, b"%d" % taken)

    server = await serve_app(app)
    client = await server.connect()
    body = bytes(range(256)) * 4096 * 32  # 32 MiB
    sent = 0

    async def upload() -> None:
        nonlocal sent
        await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 65536):
            await client.stream.send_all(body[at : at + 65536])
            sent += 65536

    async with trio.open_nursery() as nursery:
        # When a client uploads more than the kernel's buffers hold
        nursery.start_soon(upload)
        await wait_all_tasks_blocked()
        # Then it is held up
        stuck_at = sent
        assert stuck_at < 16 * MIB
        await wait_all_tasks_blocked()
        assert sent == stuck_at
        # And all of it arrives unharmed when the app goes on
        go.set()
        with patience():
            got = await client.answer()
    assert got.body == b"%d" % len(body)
    assert digest.digest() == hashlib.sha256(body).digest()


async def test_concurrent_writes_never_interleave(serve_app: StartServer) -> None:
    # Given an app whose tasks send at the same time, to a client that reads slowly
    size = 3 * MIB

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b", b"c", b"d"):
                nursery.start_soon(part, send, letter * size)
        await part(send, b"", more=False)

    server = await serve_app(app)
    client = await server.connect(receive_buffer=4096)
    await client.send(GET)
    await wait_all_tasks_blocked()
    # When the client reads
    await client.head()
    chunks = []
    while chunk := await client.chunk():
        chunks.append(chunk)
    # Then each part is in one piece
    assert sorted(chunks) == [letter * size for letter in (b"a", b"b", b"c", b"d")]


async def test_an_answer_of_many_megabytes_arrives_unharmed(serve_app: StartServer) -> None:
    # Given an app that sends a body of known length in parts of odd sizes
    body = b"".join(hashlib.sha256(b"%d" % number).digest() * 31 for number in range(8000))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, headers=[(b"content-length", b"%d" % len(body))])
        for at in range(0, len(body), 99_991):
            await part(send, body[at : at + 99_991], more=at + 99_991 < len(body))

    server = await serve_app(app)
    client = await server.connect(receive_buffer=16384)
    # When it is read
    for _ in range(2):
        got = await client.ask(GET)
        # Then it is what was sent
        assert hashlib.sha256(got.body).digest() == hashlib.sha256(body).digest()


async def test_an_app_that_sends_without_end_leaves_others_their_turn(serve_app: StartServer) -> None:
    # Given an app that could send for ever without having to wait, as nothing is ever written
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        while True:
            await part(send, b"x")

    server = await serve_app(by_path(endless=app))
    client = await server.connect()
    await client.send(GET.replace(b"/", b"/endless", 1))
    # When others ask, and the first one is read all the time
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def read() -> None:
            while True:
                await client.stream.receive_some(65536)

        # Then they are served
        for _ in range(20):
            assert await server.is_well()
        nursery.cancel_scope.cancel()
