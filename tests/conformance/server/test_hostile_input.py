"""Bytes that no decent client sends: each ends its own connection at most, and the server serves on."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from swapd.http.server import Receive, Scope, Send
from tests.conformance.server.support import GET, StartServer, answer, by_path, echo, hello, part, start

WEBSOCKET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
KEY = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2C = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"

REFUSED: dict[str, tuple[bytes, int]] = {
    "random bytes": (random.Random(1).randbytes(500), 400),
    "NULs": (bytes(500), 400),
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100), 400),
    "the HTTP/2 preface alone": (PREFACE, 400),
    "the HTTP/2 preface with SETTINGS": (PREFACE + b"\0\0\0\4\0\0\0\0\0", 400),
    "the HTTP/2 preface with garbage": (PREFACE + b"\xff" * 100, 400),
    "HTTP/2.0 as a version": (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505),
    "an unknown method": (b"FROB / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a method in lower case": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "CONNECT": (b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n\x16\x03\x01", 501),
    "CONNECT to a path": (b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n", 501),
    "CONNECT to a path, as an upgrade": (
        b"CONNECT / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        501,
    ),
    "GET *": (b"GET * HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a target that is neither path nor URL": (b"GET path HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a space in the target": (b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a target that is not ASCII": (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "a control character in the target": (b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
    "a header name that is not ASCII": (b"GET / HTTP/1.1\r\nHost: x\r\nX\xe4: y\r\n\r\n", 400),
    "a header name with a space": (b"GET / HTTP/1.1\r\nHost: x\r\nX y: z\r\n\r\n", 400),
    "white space before the colon": (b"GET / HTTP/1.1\r\nHost: x\r\nX : z\r\n\r\n", 400),
    "an empty header name": (b"GET / HTTP/1.1\r\nHost: x\r\n: z\r\n\r\n", 400),
    "a header line without a colon": (b"GET / HTTP/1.1\r\nHost: x\r\nXyz\r\n\r\n", 400),
    "a NUL in a header value": (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", 400),
    "a folded line": (b"GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: x\n\n", 400),
    "bare LF behind a header": (b"GET / HTTP/1.1\r\nHost: x\nX: y\r\n\r\n", 400),
    "bare LF as the last line": (b"GET / HTTP/1.1\r\nHost: x\r\n\n", 400),
    "bare CR behind a header": (b"GET / HTTP/1.1\r\nHost: x\rX: y\r\n\r\n", 400),
    "two equal Content-Lengths": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        400,
    ),
    "two different Content-Lengths": (
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        400,
    ),
    "a list of Content-Lengths": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    "a signed Content-Length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", 400),
    "an immense Content-Length": (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1%040d\r\n\r\n" % 0, 400),
    "a length, then a coding": (CHUNKED.replace(b"Transfer", b"Content-Length: 3\r\nTransfer"), 400),
    "a coding, then a length": (CHUNKED[:-2] + b"Content-Length: 3\r\n\r\n", 400),
    "chunked twice": (CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n", 400),
    "chunked, but not last": (CHUNKED.replace(b"chunked", b"chunked, gzip"), 400),
    "a coding that is not chunked": (CHUNKED.replace(b"chunked", b"gzip"), 400),
    "a second coding": (CHUNKED.replace(b"chunked", b"gzip, chunked"), 501),
    "a transfer coding in HTTP/1.0": (CHUNKED.replace(b"1.1", b"1.0"), 400),
    "chunk size ZZ": (CHUNKED + b"ZZ\r\nabc\r\n", 400),
    "chunk size of twenty f": (CHUNKED + b"f" * 20 + b"\r\n", 400),
    "a chunk longer than it says": (CHUNKED + b"3\r\nabcdef\r\n0\r\n\r\n", 400),
    "a chunk ended by bare LF": (CHUNKED + b"3\nabc\n0\n\n", 400),
    "an endless chunk extension": (CHUNKED + b"3;" + b"x" * 100_000, 431),
    "endless trailers": (CHUNKED + b"0\r\nX: " + b"x" * 100_000, 431),
    "a head without an end": (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000, 431),
    "too many header fields": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 1000 + b"\r\n", 431),
    "too many header fields without an end": (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 1000, 431),
    "empty lines for ever": (b"\r\n" * 100_000, 431),
    "a WebSocket upgrade without a key": (WEBSOCKET + b"Sec-WebSocket-Version: 13\r\n\r\n", 400),
    "a WebSocket upgrade of version 1": (WEBSOCKET + KEY + b"Sec-WebSocket-Version: 1\r\n\r\n", 426),
    "a WebSocket upgrade without a version": (WEBSOCKET + KEY + b"\r\n", 400),
    "a WebSocket protocol that is not ASCII": (
        WEBSOCKET + KEY + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: \xff\r\n\r\n",
        400,
    ),
}

SERVED: dict[str, bytes] = {
    "an h2c upgrade": H2C + b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    "an h2c upgrade whose settings are not base64": H2C + b"HTTP2-Settings: !!!!notb64\r\n\r\n",
    "an h2c upgrade whose settings are of odd length": H2C + b"HTTP2-Settings: AAM\r\n\r\n",
    "an h2c upgrade without settings": H2C + b"\r\n",
    "an upgrade to something that is not ASCII": H2C.replace(b"h2c", b"w\xe4bsocket") + b"\r\n",
    "a WebSocket upgrade by POST": WEBSOCKET.replace(b"GET", b"POST") + KEY + b"\r\n",
    "a WebSocket upgrade over HTTP/1.0": WEBSOCKET.replace(b"HTTP/1.1", b"HTTP/1.0") + KEY + b"\r\n",
    "a path of bytes that are not UTF-8": b"GET /%ff%fe%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an escape that is none": b"GET /%zz%1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target": b"GET http://example.org/a?b HTTP/1.1\r\nHost: x\r\n\r\n",
    "an absolute target without a path": b"GET http://example.org HTTP/1.1\r\nHost: x\r\n\r\n",
    "OPTIONS *": b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header value that is not ASCII": b"GET / HTTP/1.1\r\nHost: x\r\nX: \xff\xfe\r\n\r\n",
    "empty lines before the request": b"\r\n\r\n" + GET,
    "a chunk extension": CHUNKED + b'3;a=b;c="d"\r\nabc\r\n0\r\n\r\n',
}


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_and_the_server_serves_on(serve_app: StartServer, name: str) -> None:
    # Given a server, and another client's connection to it
    server = await serve_app(echo)
    other = await server.connect()
    assert (await other.ask(GET)).status == 200
    data, status = REFUSED[name]
    client = await server.connect()
    # When something impossible arrives
    await client.send_quietly(data)
    # Then it is refused in HTTP/1.1, with a line that says why, and its connection ends
    got = await client.answer()
    assert (got.status, got["connection"]) == (status, "close")
    if status != 400 or not data.startswith(WEBSOCKET):
        assert got.body.startswith(b"%d %b: " % (status, got.reason.encode()))
    await client.stream.send_eof()
    assert await client.ended()
    # And nobody else notices
    assert (await other.ask(GET)).status == 200
    assert await server.is_well()
    assert server.errors == []


@pytest.mark.parametrize("name", REFUSED)
async def test_it_is_refused_however_it_is_cut(serve_app: StartServer, name: str) -> None:
    # Given a server
    server = await serve_app(echo)
    data, status = REFUSED[name]
    client = await server.connect()
    # When something impossible arrives in two pieces
    cut = min(len(data) // 2, 2000)
    await client.send(data[:cut])
    await wait_all_tasks_blocked()
    await client.send_quietly(data[cut:])
    # Then it is refused all the same
    assert (await client.answer()).status == status
    assert await server.is_well()
    assert server.errors == []


@pytest.mark.parametrize("name", SERVED)
async def test_it_is_odd_but_served(serve_app: StartServer, name: str) -> None:
    # Given a server
    server = await serve_app(echo)
    client = await server.connect()
    # When something odd arrives
    got = await client.ask(SERVED[name])
    # Then it is answered
    assert got.status == 200
    assert await server.is_well()
    assert server.errors == []


async def test_garbage_behind_a_body_is_refused_after_the_answer(serve_app: StartServer) -> None:
    # Given a server
    server = await serve_app(echo)
    client = await server.connect()
    # When garbage follows a good request
    await client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGARBAGE\r\n\r\n")
    # Then the request is answered, and the garbage refused
    assert (await client.answer()).body == b"abc"
    assert (await client.answer()).status == 400
    assert await server.is_well()


async def test_garbage_behind_the_last_request_is_not_looked_at(serve_app: StartServer) -> None:
    # Given a server
    server = await serve_app(echo)
    client = await server.connect()
    # When garbage follows a request that is to be the last
    await client.send(GET[:-2] + b"Connection: close\r\n\r\nGARBAGE")
    # Then the request is answered, and that is all
    assert (await client.answer()).status == 200
    assert await client.rest() == b""


async def test_a_bad_chunk_after_the_response_has_begun_breaks_it_off(serve_app: StartServer) -> None:
    # Given an app that answers while it reads
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await start(send)
        while True:
            message = await receive()
            await part(send, message["body"], more=message["more_body"])

    server = await serve_app(by_path(echo=app))
    client = await server.connect()
    await client.send(CHUNKED.replace(b"/ ", b"/echo ", 1) + b"3\r\nabc\r\n")
    assert (await client.head()).status == 200
    assert await client.chunk() == b"abc"
    # When a chunk makes no sense
    await client.send(b"ZZ\r\n")
    # Then the response ends without the last chunk
    assert await client.ended()
    assert await server.is_well()
    assert server.errors == []


@pytest.mark.parametrize("frames", [b"\xff" * 100, b"\x81\x05hello", bytes(1000), b"\x88\x00"])
async def test_garbage_frames_end_a_websocket(serve_app: StartServer, frames: bytes) -> None:
    # Given an app that accepts WebSockets and waits for their end
    ended = trio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await answer(send, b"")
            return
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"
        ended.set()

    server = await serve_app(app)
    client = await server.connect()
    # When frames that make no sense come right behind the handshake
    await client.send(WEBSOCKET + KEY + b"Sec-WebSocket-Version: 13\r\n\r\n" + frames)
    # Then the WebSocket ends with a close frame: protocol error
    assert (await client.head()).status == 101
    assert await client.rest() == b"\x88\x02" + (1002).to_bytes(2, "big")
    await ended.wait()
    assert await server.is_well()
    assert server.errors == []


async def test_more_pipelined_requests_than_are_parsed_ahead_end_the_connection(
    serve_app: StartServer,
) -> None:
    # Given a server
    server = await serve_app(hello)
    client = await server.connect()
    # When a client sends a great many requests without waiting
    await client.send(GET * 400)
    # Then it gets a number of answers, and the connection ends between two of them
    answers = (await client.rest()).split(b"HTTP/1.1 200 OK\r\n")[1:]
    assert 32 <= len(answers) < 400
    assert all(answer.endswith(b"hello") for answer in answers)
    assert await server.is_well()


async def test_random_bytes_of_many_clients_at_once(serve_app: StartServer) -> None:
    # Given a server
    server = await serve_app(echo)
    randomly = random.Random(7)
    # When many clients send nonsense, some of it after the beginning of a request
    for number in range(60):
        client = await server.connect()
        await client.send_quietly(b"POST / HTTP/1.1\r\nHost: x\r\n"[: number % 30] + randomly.randbytes(300))
    await wait_all_tasks_blocked()
    # Then the server is well
    assert await server.is_well()
    assert server.errors == []
