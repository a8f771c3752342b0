"""What stock hypercorn 0.18 gets wrong on trio, row by row of the table in the design: right here."""

from __future__ import annotations

import base64
import socket
from http import HTTPStatus

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from swapd.http.server import Receive, Scope, Send
from tests.conformance.server.support import (
    GET,
    StartServer,
    Stuck,
    answer,
    by_path,
    echo,
    hello,
    part,
    post,
    start,
)

H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: %b\r\n"


@pytest.mark.parametrize("settings", [b"AAMAAABkAARAAAAAAAIAAAAA", b"!!!!notb64", b"AAM", b""])
async def test_an_h2c_upgrade_is_not_taken_whatever_its_settings(
    serve_app: StartServer, settings: bytes
) -> None:
    # Given a server
    server = await serve_app(echo)
    client = await server.connect()
    # When a client offers to go on in HTTP/2, in a request with a body
    got = await client.ask(post(b"some body", H2C[:-2] % settings))
    # Then it is answered in HTTP/1.1, and so is the next request on the connection
    assert (got.status, got.version, got.body) == (200, "HTTP/1.1", b"some body")
    assert (await client.ask(GET)).status == 200
    assert server.errors == []


async def test_an_h2c_upgrade_hides_neither_chunks_nor_the_request_behind_it(serve_app: StartServer) -> None:
    # Given a server
    server = await serve_app(echo)
    client = await server.connect()
    # When an upgrade has a chunked body, and another request comes right behind it
    upgrade = b"POST / HTTP/1.1\r\nHost: x\r\n" + H2C % b"AAM" + b"Transfer-Encoding: chunked\r\n\r\n"
    await client.send(upgrade + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" + post(b"next"))
    # Then both are answered
    assert (await client.answer()).body == b"abcde"
    assert (await client.answer()).body == b"next"


@pytest.mark.parametrize("behind", [b"", b"\0\0\0\4\0\0\0\0\0", b"garbage garbage garbage"])
async def test_the_http2_preface_on_cleartext_is_refused(serve_app: StartServer, behind: bytes) -> None:
    # Given a server without TLS
    server = await serve_app(hello)
    client = await server.connect()
    # When a client begins in HTTP/2
    await client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + behind)
    # Then it gets a 400 in HTTP/1.1 and the end of the connection
    got = await client.answer()
    assert (got.status, got["connection"]) == (400, "close")
    assert await server.is_well()


async def test_a_client_that_leaves_cancels_its_app_at_once(serve_app: StartServer, clock: MockClock) -> None:
    # Given an app that waits for something
    stuck = Stuck()
    server = await serve_app(stuck)
    client = await server.connect()
    await client.send(GET)
    # When the client leaves
    # Then the app is cancelled without a moment's delay
    assert await stuck.ends_at_once(client.close)
    assert server.errors == []


async def test_a_client_that_resets_the_connection_cancels_its_app_at_once(
    serve_app: StartServer, clock: MockClock
) -> None:
    # Given an app that waits for something
    stuck = Stuck()
    server = await serve_app(stuck)
    client = await server.connect()
    await client.send(GET)

    # When the client's system resets the connection
    async def reset() -> None:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.socket.close()

    # Then the app is cancelled without a moment's delay
    assert await stuck.ends_at_once(reset)


async def test_sending_to_a_client_that_has_left_is_not_silently_dropped(serve_app: StartServer) -> None:
    # Given an app that shields itself and wants to go on sending
    outcome: list[BaseException] = []
    left = trio.Event()
    done = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        with trio.CancelScope(shield=True):
            await part(send, b"x")
            assert (await receive())["type"] == "http.request"
            left.set()
            assert (await receive())["type"] == "http.disconnect"
            try:
                while True:
                    await part(send, b"x")
            except OSError as error:
                outcome.append(error)
            done.set()

    server = await serve_app(app)
    client = await server.connect()
    await client.send(GET)
    await left.wait()
    # When the client leaves
    await client.close()
    # Then sending soon raises
    await done.wait()
    assert len(outcome) == 1


async def test_an_app_that_cancels_itself_leaves_the_idle_deadline_in_force(
    serve_app: StartServer, clock: MockClock
) -> None:
    # Given an app that cancels its own doings and answers
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        with trio.move_on_after(1):
            await trio.sleep_forever()
        await answer(send, b"late")

    server = await serve_app(app, keep_alive_s=20)
    client = await server.connect()
    assert (await client.ask(GET)).body == b"late"
    before = trio.current_time()
    # When the connection is not used again
    # Then it is closed after the time for that
    assert await client.rest() == b""
    assert trio.current_time() - before == 20


async def test_a_stalled_reader_does_not_hold_up_the_end(serve_app: StartServer) -> None:
    # Given clients that do not read an endless answer
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        while True:
            await part(send, bytes(65536))

    server = await serve_app(app)
    clients = [await server.connect(receive_buffer=4096) for _ in range(5)]
    for client in clients:
        await client.send(GET)
    await wait_all_tasks_blocked()
    # When the server is cancelled
    server.scope.cancel()
    # Then it has ended before any time has passed in which it could wait for a client
    with trio.fail_after(0.5):
        await server.finished.wait()


async def test_a_large_body_is_refused_without_being_read(serve_app: StartServer) -> None:
    # Given an app that refuses by the head alone
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"too large", status=413)

    server = await serve_app(app)
    client = await server.connect()
    # When a client sends a large body and looks for the answer only then
    body = bytes(8 * 1024 * 1024)
    await client.send_quietly(post(body))
    # Then it finds the answer, and the end of the connection, rather than a reset
    got = await client.answer()
    assert (got.status, got["connection"], got.body) == (413, "close", b"too large")
    assert await client.rest() == b""
    # And nothing of it is left
    assert server.errors == []


async def test_a_client_that_never_stops_sending_after_an_early_answer_is_cut(
    serve_app: StartServer, clock: MockClock
) -> None:
    # Given an app that refuses by the head alone, and two seconds for a client to take note
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"too large", status=413)

    server = await serve_app(app, linger_s=2)
    client = await server.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % 2**40)
    assert (await client.answer()).status == 413
    before = trio.current_time()
    # When the client neither closes nor stops
    await client.send(bytes(1000))
    await trio.sleep(1.5)
    await client.send(bytes(1000))
    # Then the connection is closed when the two seconds are over
    with pytest.raises((trio.BrokenResourceError, AssertionError)):
        while True:
            await client.send(bytes(1000))
            await trio.sleep(0.1)
    assert 2 <= trio.current_time() - before < 2.5


async def test_a_healthy_stream_is_never_cut_however_long_it_pauses(
    serve_app: StartServer, clock: MockClock
) -> None:
    # Given a stream with long pauses, and short deadlines all round
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send, headers=[(b"content-type", b"text/event-stream")])
        for _ in range(3):
            await part(send, b"data: x\n\n")
            await trio.sleep(10_000)
        await part(send, b"", more=False)

    server = await serve_app(app, keep_alive_s=1, head_timeout_s=1, body_gap_s=1)
    client = await server.connect()
    # When it is read
    got = await client.ask(GET)
    # Then it is whole
    assert got.body == b"data: x\n\n" * 3


async def test_a_slow_head_ends_with_408(serve_app: StartServer, clock: MockClock) -> None:
    # Given ten seconds for a head
    server = await serve_app(hello, head_timeout_s=10)
    client = await server.connect()
    await trio.sleep(50)  # idle, which is another matter
    before = trio.current_time()
    # When a client sends a byte a second, for ever
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 1000:
                await client.send_quietly(bytes([byte]))
                await trio.sleep(1)

        # Then it gets a 408 after ten seconds
        got = await client.answer()
        assert (got.status, got.reason) == (408, "Request Timeout")
        assert trio.current_time() - before == 10
        nursery.cancel_scope.cancel()


async def test_a_slow_body_ends_with_408(serve_app: StartServer, clock: MockClock) -> None:
    # Given five seconds for a pause within a body
    server = await serve_app(echo, body_gap_s=5)
    client = await server.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
    for _ in range(4):  # shorter pauses are none of it
        await trio.sleep(4)
        await client.send(b"a")
    await wait_all_tasks_blocked()
    before = trio.current_time()
    # When the client pauses for good
    got = await client.answer()
    # Then it gets a 408 in five seconds, and no error is reported
    assert (got.status, trio.current_time() - before) == (408, 5)
    assert server.errors == []


async def test_the_gap_in_a_body_only_counts_while_the_app_waits_for_it(
    serve_app: StartServer, clock: MockClock
) -> None:
    # Given an app that takes its time before it reads, and in between
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep(100)
        first = await receive()
        with trio.move_on_after(3):
            await receive()
        await trio.sleep(100)
        second = await receive()
        await answer(send, first["body"] + second["body"])

    server = await serve_app(app, body_gap_s=5)
    client = await server.connect()
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
    # When the client sends the rest much later, though in time by what the app has waited
    await trio.sleep(150)
    await client.send(b"cd")
    # Then it is answered
    assert (await client.answer()).body == b"abcd"


@pytest.mark.parametrize("status", [200, 201, 204, 304, 404, 418, 429, 499, 503, 529])
async def test_a_status_has_its_reason(serve_app: StartServer, status: int) -> None:
    # Given an app that answers with a status
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", status=status, headers=[])

    server = await serve_app(app)
    # When asked
    got = await server.ask(GET)
    # Then the reason phrase is the standard's, or at least says what kind of status it is
    known = {s.value: s.phrase for s in HTTPStatus} | {499: "Client Closed Request", 529: "Server Error"}
    assert (got.status, got.reason) == (status, known[status])


@pytest.mark.parametrize("whole", [True, False])
async def test_a_head_beyond_the_limit_is_refused_even_if_it_is_complete(
    serve_app: StartServer, whole: bool
) -> None:
    # Given four kilobytes for a head
    server = await serve_app(hello, max_head_bytes=4096)
    client = await server.connect()
    # When a larger one comes, in one piece, or without ever ending
    large = b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 5000
    await client.send(large + b"\r\n\r\n" if whole else large)
    # Then it is refused
    got = await client.answer()
    assert (got.status, got["connection"]) == (431, "close")
    assert await server.is_well()


async def test_content_length_with_transfer_encoding_is_refused(serve_app: StartServer) -> None:
    # Given a server
    server = await serve_app(echo)
    client = await server.connect()
    # When a request can be read in two ways
    lengths = b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\n" + lengths + b"\r\n0\r\n\r\n" + GET)
    # Then it is refused, and what may have been smuggled behind it is not looked at
    got = await client.answer()
    assert (got.status, got["connection"]) == (400, "close")
    assert await client.rest() == b""


async def test_a_body_has_a_limit_if_one_is_set(serve_app: StartServer) -> None:
    # Given a limit of a thousand bytes
    server = await serve_app(echo, max_body_bytes=1000)
    # When a body is just within it, its length is beyond it, or only its chunks are
    assert len((await server.ask(post(bytes(1000)))).body) == 1000
    said = await server.ask(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
    chunk = b"1f4\r\n" + bytes(500) + b"\r\n"
    chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 3
    unsaid = await server.ask(chunked)
    # Then the latter two get 413
    assert (said.status, unsaid.status) == (413, 413)
    assert server.errors == []


async def test_100_continue_is_sent_when_the_app_asks_for_the_body(serve_app: StartServer) -> None:
    # Given one app that wants the body and one that does not
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, b"", status=401)

    server = await serve_app(by_path(take=echo, refuse=refuse))
    # When a client expects to be told to go on
    expect = b"Host: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    client = await server.connect()
    await client.send(b"POST /take HTTP/1.1\r\n" + expect)
    # Then it is told by the first app
    assert await client.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert (await client.ask(b"body")).body == b"body"
    # And gets nothing but the answer from the second, and the end, as nobody knows what it will send
    await client.send(b"POST /refuse HTTP/1.1\r\n" + expect)
    got = await client.answer()
    assert (got.status, got["connection"]) == (401, "close")
    assert await client.rest() == b""


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_100_continue_is_not_sent_for_a_body_that_is_there_nor_to_http_1_0(
    serve_app: StartServer, version: bytes
) -> None:
    # Given a server
    server = await serve_app(echo)
    client = await server.connect()
    # When the body comes along with an expectation, or the client is too old to have one
    head = b"POST / HTTP/%b\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n" % version
    if version == b"1.1":
        await client.send(head + b"body")
    else:
        await client.send(head)
        await wait_all_tasks_blocked()
        await client.send(b"body")
    # Then the answer comes first
    assert (await client.answer()).body == b"body"


async def test_a_websocket_gets_a_close_frame_at_shutdown(serve_app: StartServer) -> None:
    # Given an open WebSocket
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await trio.sleep_forever()

    server = await serve_app(app)
    client = await server.connect()
    key = base64.b64encode(bytes(16))
    lines = [b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13"]
    head = b"\r\n".join([b"GET / HTTP/1.1", b"Host: x", *lines, b"Sec-WebSocket-Key: " + key, b"", b""])
    await client.send(head)
    assert (await client.head()).status == 101
    # When the server is cancelled
    server.scope.cancel()
    # Then the client gets a close frame: going away
    assert await client.rest() == b"\x88\x02" + (1001).to_bytes(2, "big")
